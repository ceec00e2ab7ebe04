//! Rules and filters as JSON, between the gateway and who administers it.

use serde::{Deserialize, Serialize};

use super::model::{Operation, ResourceKind};
use super::rule::{Origin, Pattern, PatternFilter, Rule, RuleFilter, What, Who};

/// A rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuleReport {
    /// `User:NAME`, or `User:*` for everyone.
    pub principal: String,
    /// An IP address, or `*`.
    pub host: String,
    /// As Kafka's tools write it, `Read` for example; `All` for every one.
    pub operation: String,
    /// `Topic`, `Group`, `Cluster` or `TransactionalId`.
    pub resource: String,
    pub name: String,
    /// Whether it is about all names that begin so.
    pub prefix: bool,
    /// Else it denies.
    pub allow: bool,
}

/// Which rules; what is left out may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FilterReport {
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<String>,
    pub resource: Option<String>,
    pub name: Option<String>,
    /// Only prefixes, or only whole names.
    pub prefix: Option<bool>,
    pub allow: Option<bool>,
}

impl RuleReport {
    /// The rule as it is told.
    pub fn of(rule: &Rule) -> Self {
        Self {
            principal: rule.who.to_string(),
            host: rule.from.to_string(),
            operation: rule.what.name().to_owned(),
            resource: rule.kind.name().to_owned(),
            name: rule.pattern.name().to_owned(),
            prefix: rule.pattern.is_prefixed(),
            allow: rule.allows,
        }
    }

    /// The rule.
    ///
    /// # Errors
    /// A text that names what is wrong, and what is allowed.
    pub fn rule(&self) -> Result<Rule, String> {
        let rule = Rule {
            kind: kind(&self.resource)?,
            pattern: Pattern::new(&self.name, self.prefix),
            who: Who::parse(&self.principal)?,
            from: Origin::parse(&self.host)?,
            what: what(&self.operation)?,
            allows: self.allow,
        };
        rule.check().map(|()| rule)
    }
}

impl FilterReport {
    /// The filter.
    ///
    /// # Errors
    /// As [`RuleReport::rule`].
    pub fn filter(&self) -> Result<RuleFilter, String> {
        Ok(RuleFilter {
            kind: self.resource.as_deref().map(kind).transpose()?,
            name: self.name.clone(),
            patterns: match self.prefix {
                None => PatternFilter::Any,
                Some(true) => PatternFilter::Prefixed,
                Some(false) => PatternFilter::Literal,
            },
            who: self.principal.as_deref().map(Who::parse).transpose()?,
            from: self.host.as_deref().map(Origin::parse).transpose()?,
            what: self.operation.as_deref().map(what).transpose()?,
            allows: self.allow,
        })
    }
}

fn kind(name: &str) -> Result<ResourceKind, String> {
    let found = ResourceKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("{name:?} is no kind of resource: {}", list(ResourceKind::ALL.map(ResourceKind::name))))
}

/// An operation by its name, whatever its case; hyphens may be left out.
///
/// # Errors
/// A text with those that there are.
pub fn what(name: &str) -> Result<What, String> {
    let plain = name.replace(['-', '_'], "");
    if plain.eq_ignore_ascii_case(What::All.name()) {
        return Ok(What::All);
    }
    let found = Operation::ALL.into_iter().find(|operation| operation.name().eq_ignore_ascii_case(&plain));
    found.map(What::One).ok_or_else(|| {
        format!("{name:?} is no operation: {}, {}", What::All.name(), list(Operation::ALL.map(Operation::name)))
    })
}

fn list<const N: usize>(names: [&str; N]) -> String {
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_rule_makes_the_rule_again() {
        let report = RuleReport {
            principal: "User:alice".to_owned(),
            host: "*".to_owned(),
            operation: "DescribeConfigs".to_owned(),
            resource: "Topic".to_owned(),
            name: "plant.".to_owned(),
            prefix: true,
            allow: false,
        };
        assert_eq!(RuleReport::of(&report.rule().unwrap()), report);
        assert_eq!(what("describe-configs"), what("DescribeConfigs"));
        for (wrong, said) in [
            (RuleReport { operation: "Fly".to_owned(), ..report.clone() }, "All, Read, Write"),
            (RuleReport { resource: "Thing".to_owned(), ..report.clone() }, "Topic, Group"),
            (RuleReport { resource: "Cluster".to_owned(), ..report.clone() }, "kafka-cluster"),
            (RuleReport { principal: "alice".to_owned(), ..report.clone() }, "User:NAME"),
            (RuleReport { host: "example.org".to_owned(), ..report.clone() }, "an IP address"),
            (RuleReport { name: String::new(), ..report }, "1 to 249 bytes"),
        ] {
            let text = wrong.rule().unwrap_err();
            assert!(text.contains(said), "{text}");
        }
    }
}
