//! Rules of access as Kafka's APIs write them: codes, filters, and what may be done with a resource as bits (KIP-430).

use std::borrow::Cow;

use crate::broker::Access;
use crate::broker::rights::{
    Operation, Origin, Pattern, PatternFilter, Resource, ResourceKind, Rule, RuleFilter, What, Who,
};
use crate::kafka::error_code::ErrorCode;

const ANY: i8 = 1;
const PATTERN_MATCH: i8 = 2;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const OPERATION_ALL: i8 = 2;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

/// Codes of resources and operations that Kafka has and this broker doesn't: no rule is about them.
const OTHER_RESOURCES: [i8; 2] = [6, 7];
const OTHER_OPERATIONS: [i8; 3] = [13, 14, 15];

fn kind_code(kind: ResourceKind) -> i8 {
    match kind {
        ResourceKind::Topic => 2,
        ResourceKind::Group => 3,
        ResourceKind::Cluster => 4,
        ResourceKind::TransactionalId => 5,
    }
}

fn operation_code(operation: Operation) -> i8 {
    match operation {
        Operation::Read => 3,
        Operation::Write => 4,
        Operation::Create => 5,
        Operation::Delete => 6,
        Operation::Alter => 7,
        Operation::Describe => 8,
        Operation::ClusterAction => 9,
        Operation::DescribeConfigs => 10,
        Operation::AlterConfigs => 11,
        Operation::IdempotentWrite => 12,
    }
}

fn kind(code: i8) -> Option<ResourceKind> {
    ResourceKind::ALL.into_iter().find(|kind| kind_code(*kind) == code)
}

fn what(code: i8) -> Option<What> {
    if code == OPERATION_ALL {
        return Some(What::All);
    }
    Operation::ALL.into_iter().find(|operation| operation_code(*operation) == code).map(What::One)
}

/// What is wrong with a rule or a filter.
pub(super) type Refusal = (ErrorCode, String);

fn invalid(text: impl Into<String>) -> Refusal {
    (ErrorCode::InvalidRequest, text.into())
}

/// A rule as it is on the wire.
pub(super) struct Codes<'a> {
    pub(super) resource_type: i8,
    pub(super) resource_name: &'a str,
    pub(super) pattern_type: i8,
    pub(super) principal: Cow<'a, str>,
    pub(super) host: Cow<'a, str>,
    pub(super) operation: i8,
    pub(super) permission_type: i8,
}

impl<'a> Codes<'a> {
    pub(super) fn of(rule: &'a Rule) -> Self {
        Self {
            resource_type: kind_code(rule.kind),
            resource_name: rule.pattern.name(),
            pattern_type: if rule.pattern.is_prefixed() { PREFIXED } else { LITERAL },
            principal: rule.who.to_string().into(),
            host: rule.from.to_string().into(),
            operation: match rule.what {
                What::All => OPERATION_ALL,
                What::One(operation) => operation_code(operation),
            },
            permission_type: if rule.allows { ALLOW } else { DENY },
        }
    }

    /// # Errors
    /// What is unknown, or not to be had here.
    pub(super) fn rule(&self) -> Result<Rule, Refusal> {
        Ok(Rule {
            kind: kind(self.resource_type).ok_or_else(|| {
                invalid(format!("resources of type {} are unknown, or have no rules here", self.resource_type))
            })?,
            pattern: match self.pattern_type {
                LITERAL => Pattern::new(self.resource_name, false),
                PREFIXED => Pattern::new(self.resource_name, true),
                other => return Err(invalid(format!("a rule's pattern is literal or a prefix, not of type {other}"))),
            },
            who: Who::parse(&self.principal).map_err(invalid)?,
            from: Origin::parse(&self.host).map_err(invalid)?,
            what: what(self.operation).ok_or_else(|| {
                invalid(format!("operation {} is unknown, or there is none such here", self.operation))
            })?,
            allows: match self.permission_type {
                ALLOW => true,
                DENY => false,
                other => return Err(invalid(format!("a rule allows or denies; {other} is neither"))),
            },
        })
    }
}

/// A filter as it is on the wire.
pub(super) struct FilterCodes<'a> {
    pub(super) resource_type: i8,
    pub(super) resource_name: Option<&'a str>,
    pub(super) pattern_type: i8,
    pub(super) principal: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) operation: i8,
    pub(super) permission_type: i8,
}

impl FilterCodes<'_> {
    /// The filter; `None` if no rule can pass it.
    ///
    /// # Errors
    /// What has no meaning.
    pub(super) fn filter(&self) -> Result<Option<RuleFilter>, Refusal> {
        let patterns = match self.pattern_type {
            ANY => PatternFilter::Any,
            PATTERN_MATCH => PatternFilter::Match,
            LITERAL => PatternFilter::Literal,
            PREFIXED => PatternFilter::Prefixed,
            other => return Err(invalid(format!("patterns of type {other} are unknown"))),
        };
        let allows = match self.permission_type {
            ANY => None,
            DENY => Some(false),
            ALLOW => Some(true),
            other => return Err(invalid(format!("permissions of type {other} are unknown"))),
        };
        if OTHER_RESOURCES.contains(&self.resource_type) || OTHER_OPERATIONS.contains(&self.operation) {
            return Ok(None);
        }
        let kind = match self.resource_type {
            ANY => None,
            code => Some(kind(code).ok_or_else(|| invalid(format!("resources of type {code} are unknown")))?),
        };
        let what = match self.operation {
            ANY => None,
            code => Some(what(code).ok_or_else(|| invalid(format!("operation {code} is unknown")))?),
        };
        // Nobody and nowhere of that name has rules.
        let (Ok(who), Ok(from)) =
            (self.principal.map(Who::parse).transpose(), self.host.map(Origin::parse).transpose())
        else {
            return Ok(None);
        };
        let name = self.resource_name.map(str::to_owned);
        Ok(Some(RuleFilter { kind, name, patterns, who, from, what, allows }))
    }
}

/// What may be done with a resource, as a bit an operation; or that it was not asked for.
pub(super) fn operations(access: &Access, asked: bool, resource: Resource<'_>) -> i32 {
    if !asked {
        return i32::MIN;
    }
    let allowed = resource.kind.operations().iter().filter(|operation| access.may(**operation, resource));
    allowed.fold(0, |bits, operation| bits | (1 << operation_code(*operation)))
}

/// As [`operations`], for the cluster: who may not see it learns nothing.
pub(super) fn cluster_operations(access: &Access, asked: bool) -> i32 {
    match asked && !access.may(Operation::Describe, Resource::CLUSTER) {
        true => 0,
        false => operations(access, asked, Resource::CLUSTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_back_from_their_codes() {
        for kind in ResourceKind::ALL {
            for what in Operation::ALL.map(What::One).into_iter().chain([What::All]) {
                for (pattern, allows) in [
                    (Pattern::Any, true),
                    (Pattern::Literal("x".to_owned()), false),
                    (Pattern::Prefixed("*".to_owned()), true),
                ] {
                    let (who, from) = (Who::parse("User:a").unwrap(), Origin::parse("::1").unwrap());
                    let rule = Rule { kind, pattern, who, from, what, allows };
                    assert_eq!(Codes::of(&rule).rule().unwrap(), rule);
                }
            }
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused_and_what_is_not_here_is_not_found() {
        let any = || FilterCodes {
            resource_type: ANY,
            resource_name: None,
            pattern_type: ANY,
            principal: None,
            host: None,
            operation: ANY,
            permission_type: ANY,
        };
        assert_eq!(any().filter().unwrap(), Some(RuleFilter::ALL));
        for nowhere in [
            FilterCodes { resource_type: 7, ..any() },
            FilterCodes { operation: 13, ..any() },
            FilterCodes { principal: Some("Group:x"), ..any() },
            FilterCodes { host: Some("example.org"), ..any() },
        ] {
            assert_eq!(nowhere.filter().unwrap(), None);
        }
        for wrong in [
            FilterCodes { resource_type: 0, ..any() },
            FilterCodes { pattern_type: 0, ..any() },
            FilterCodes { operation: 99, ..any() },
            FilterCodes { permission_type: 0, ..any() },
        ] {
            assert_eq!(wrong.filter().unwrap_err().0, ErrorCode::InvalidRequest);
        }
    }
}
