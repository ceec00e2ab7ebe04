//! What a step of the writer did, and when the next is due.

use crate::store::types::CommitSeq;

/// What a step of the writer did, and when to come again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterStep {
    /// The last commit that the step made.
    pub committed: Option<CommitSeq>,
    /// The open commit is due at this moment of the monotonic clock; `None` if there is none.
    pub due_ms: Option<u64>,
    /// All that is in the open commit rides: it is due so late only because nothing else has come yet.
    pub riders_only: bool,
    /// With this many bytes more it is due at once.
    pub short_bytes: usize,
    /// Operations that were told the outcome of a commit.
    pub told: usize,
}
