//! Messages about rules of access.

use serde::{Deserialize, Serialize};

/// What to do about rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RuleAction {
    /// Tell those that a filter chooses: a JSON list of them.
    List,
    /// Add those of a JSON list.
    Add,
    /// Remove those that a filter chooses: a JSON list of them.
    Remove,
}

/// Looks at rules, or changes them. Answered by [`super::Text`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules<'a> {
    /// Comes back.
    pub id: u32,
    /// What to do.
    pub action: RuleAction,
    /// JSON: a filter as an object, or rules as a list.
    pub text: &'a str,
}
