//! Messages about the letters of the dead-letter topic.

use serde::{Deserialize, Serialize};

/// What to do about letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LetterAction {
    /// Tell some: a JSON object with them and with where to go on.
    List,
    /// Put their records back into the topics they came from: a JSON object with how many, and which not.
    Retry,
    /// Let them go: a JSON object as for `Retry`.
    Drop,
}

/// Looks at letters, or settles them. Answered by [`super::Text`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetters {
    /// Comes back.
    pub id: u32,
    /// What to do.
    pub action: LetterAction,
    /// The first and the last letter meant, by their offsets in the dead-letter topic; any order of size is taken.
    pub first: i64,
    pub last: i64,
}
