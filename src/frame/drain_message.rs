//! The message that empties a gateway.

use serde::{Deserialize, Serialize};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DrainAction {
    /// Take no new records, and forward what is here. Holds for 30 s, so ask again before; once nothing is pending any more it
    /// holds until `End` or a restart.
    Go,
    /// Take records again.
    End,
}

/// Empties a gateway. Answered by [`super::Text`]s that make one JSON object: what is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Comes back.
    pub id: u32,
    /// What to do.
    pub action: DrainAction,
    /// How long to wait for nothing to be pending before the answer, ms; at most 10,000.
    pub wait_ms: u32,
}
