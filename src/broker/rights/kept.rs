//! Rules as the store keeps them: a row each in `Space::Acl`, whose key says it all and whose value is the format.
//!
//! | part of the key (postcard) | what |
//! |---|---|
//! | u8 | kind: 0 topic, 1 group, 2 cluster, 3 transactional id |
//! | bool, text | whether it is a prefix; the name (`*` is any) |
//! | option of text | the user's name; none: everyone |
//! | option of text | the address; none: anywhere |
//! | option of u8 | the operation, by its place in [`Operation::ALL`]; none: all |
//! | bool | whether it allows |
//!
//! Invariants: rules change on the store's writer only, at most [`limits::ACL_RULES_MAX`] of them; what is asked is the set of the last
//! commit, and a restart finds the same.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::{Operation, ResourceKind};
use super::rule::{Origin, Pattern, Rule, RuleFilter, What, Who};
use super::set::RuleSet;
use crate::broker::Broker;
use crate::broker::call::call;
use crate::broker::caller::Principal;
use crate::broker::error::CommitError;
use crate::limits;
use crate::metrics::METRICS;
use crate::store::{Draft, DraftError, Space, Store};

/// The value of every row.
const FORMAT: &[u8] = &[1];

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    kind: u8,
    is_prefix: bool,
    name: &'a str,
    who: Option<&'a str>,
    from: Option<&'a str>,
    what: Option<u8>,
    allows: bool,
}

fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    // There are fewer than 256 of each.
    all.iter().position(|it| it == one).unwrap_or_default() as u8
}

fn key(rule: &Rule) -> Vec<u8> {
    let from = match rule.from {
        Origin::Anywhere => None,
        Origin::Host(address) => Some(address.to_string()),
    };
    let row = Row {
        kind: place(&ResourceKind::ALL, &rule.kind),
        is_prefix: rule.pattern.is_prefixed(),
        name: rule.pattern.name(),
        who: match &rule.who {
            Who::Everyone => None,
            Who::One(principal) => Some(principal.name()),
        },
        from: from.as_deref(),
        what: match &rule.what {
            What::All => None,
            What::One(operation) => Some(place(&Operation::ALL, operation)),
        },
        allows: rule.allows,
    };
    // Serializing plain values into a growing vector has nothing that can fail.
    postcard::to_extend(&row, Vec::new()).unwrap_or_default()
}

fn decode(key: &[u8], value: &[u8]) -> Option<Rule> {
    if value != FORMAT {
        return None;
    }
    let row: Row<'_> = postcard::from_bytes(key).ok()?;
    Some(Rule {
        kind: *ResourceKind::ALL.get(usize::from(row.kind))?,
        pattern: Pattern::new(row.name, row.is_prefix),
        who: row.who.map_or(Some(Who::Everyone), |name| Some(Who::One(Principal::new(name).ok()?)))?,
        from: row.from.map_or(Some(Origin::Anywhere), |text| Some(Origin::Host(text.parse().ok()?)))?,
        what: match row.what {
            None => What::All,
            Some(at) => What::One(*Operation::ALL.get(usize::from(at))?),
        },
        allows: row.allows,
    })
}

/// All rules that the store has.
///
/// # Errors
/// A text: one can't be read. Going on without it might allow what it denies.
pub(super) fn stored(store: &Store) -> Result<BTreeSet<Rule>, String> {
    let rows = store.entries(Space::Acl, &[]);
    let rule = |(key, value): &(Vec<u8>, Vec<u8>)| {
        decode(key, value).ok_or("a rule of access can't be read; a newer version may have written it".to_owned())
    };
    rows.iter().map(rule).collect()
}

/// Why rules were not changed.
#[derive(Clone, Debug)]
pub enum RuleError {
    /// It isn't a rule; the text says why.
    Invalid(String),
    /// There are as many as there may be.
    TooMany,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => f.write_str(text),
            Self::TooMany => {
                let max = limits::ACL_RULES_MAX;
                write!(f, "there are {max} rules of access, as many as there may be; prefixes and User:* spare some")
            }
        }
    }
}

impl std::error::Error for RuleError {}

/// What became of each, and all rules there are then.
type Changed<T> = (Vec<T>, BTreeSet<Rule>);

impl Broker {
    /// The rules that `filter` chooses, in order.
    pub fn rules(&self, filter: &RuleFilter) -> Vec<Rule> {
        let rules = self.shared.rights.rules();
        rules.rules().iter().filter(|rule| filter.chooses(rule)).cloned().collect()
    }

    /// Adds rules, in one commit; what is there already stays. Outcomes are in their order.
    ///
    /// # Errors
    /// The store's; then none was added.
    pub async fn add_rules(&self, rules: Vec<Rule>) -> Result<Vec<Result<(), RuleError>>, CommitError> {
        self.change_rules(move |draft, known| {
            let mut outcomes = Vec::with_capacity(rules.len());
            for rule in &rules {
                let outcome = match rule.check() {
                    Err(text) => Err(RuleError::Invalid(text)),
                    Ok(()) if known.contains(rule) => Ok(()),
                    Ok(()) if known.len() >= limits::ACL_RULES_MAX => {
                        METRICS.kept_refused.add(1);
                        Err(RuleError::TooMany)
                    }
                    Ok(()) => {
                        draft.put(Space::Acl, &key(rule), FORMAT)?;
                        known.insert(rule.clone());
                        Ok(())
                    }
                };
                outcomes.push(outcome);
            }
            Ok(outcomes)
        })
        .await
    }

    /// Removes the rules that each of `filters` chooses, in one commit; which those were, for each filter in turn.
    ///
    /// # Errors
    /// The store's; then none was removed.
    pub async fn remove_rules(&self, filters: Vec<RuleFilter>) -> Result<Vec<Vec<Rule>>, CommitError> {
        self.change_rules(move |draft, known| {
            let before = known.clone();
            let mut removed = Vec::with_capacity(filters.len());
            for filter in &filters {
                let chosen: Vec<Rule> = before.iter().filter(|rule| filter.chooses(rule)).cloned().collect();
                for rule in &chosen {
                    if known.remove(rule) {
                        draft.delete(Space::Acl, &key(rule))?;
                    }
                }
                removed.push(chosen);
            }
            Ok(removed)
        })
        .await
    }

    /// Runs `change` on the writer over the rules as they are then.
    async fn change_rules<T: Send + 'static>(
        &self,
        change: impl Fn(&mut Draft<'_>, &mut BTreeSet<Rule>) -> Result<Vec<T>, DraftError> + Send + 'static,
    ) -> Result<Vec<T>, CommitError> {
        let shared = Arc::clone(&self.shared);
        let apply = move |draft: &mut Draft<'_>| -> Result<Changed<T>, DraftError> {
            let rows = draft.entries(Space::Acl, &[]);
            let mut known = rows.iter().filter_map(|(key, value)| decode(key, value)).collect();
            Ok((change(draft, &mut known)?, known))
        };
        let publish = move |(_, rules): &Changed<T>| {
            shared.rights.replace(RuleSet::new(rules.clone()));
            // Who shows or reads topics looks again.
            shared.topics_changed.notify(usize::MAX);
        };
        Ok(call(&self.shared.store, apply, publish).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_and_a_damaged_row_does_not() {
        let rule = Rule {
            kind: ResourceKind::Group,
            pattern: Pattern::Prefixed("g-".to_owned()),
            who: Who::parse("User:alice").unwrap(),
            from: Origin::parse("10.0.0.1").unwrap(),
            what: What::One(Operation::Read),
            allows: false,
        };
        let wide = Rule {
            kind: ResourceKind::Topic,
            pattern: Pattern::Any,
            who: Who::Everyone,
            from: Origin::Anywhere,
            what: What::All,
            allows: true,
        };
        for rule in [rule, wide] {
            let key = key(&rule);
            assert_eq!(decode(&key, FORMAT), Some(rule));
            assert_eq!(decode(&key, &[2]), None);
            assert_eq!(decode(&key[..key.len() - 1], FORMAT), None);
        }
    }
}
