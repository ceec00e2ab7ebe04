//! Messages about users.

use core::fmt;

use serde::{Deserialize, Serialize};

/// What to do about users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserAction {
    /// Tell all: a JSON list.
    List,
    /// Add one that there is not.
    Add,
    /// Change what is kept of the password of one that there is.
    Change,
    /// Remove one.
    Remove,
}

/// Looks at users, or changes one. Answered by [`super::Text`]s.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users<'a> {
    /// Comes back.
    pub id: u32,
    /// What to do.
    pub action: UserAction,
    /// Which one; "" for all.
    pub name: &'a str,
    /// What is kept of the password, for each mechanism: never the password itself.
    pub verifiers: &'a [u8],
}

impl fmt::Debug for Users<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, action, name, .. } = self;
        f.debug_struct("Users").field("id", id).field("action", action).field("name", name).finish_non_exhaustive()
    }
}
