//! Faults that are planted on purpose, one at a time, to show that the tests find them.
//!
//! Each is a plain `if` where the rule it breaks is kept; none exists in release builds. `scripts/crash.sh --planted` runs
//! the power cuts with each of them, and fails where one is not found.

/// A rule of the store that is broken on purpose ([`crate::store::StoreOptions::planted`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Names of segments are not made durable: the directory is never synced.
    NoDirSync,
    /// Operations are told of success before their commit is written.
    AckBeforeCommit,
    /// An evicted file is recycled without waiting for those who still read it.
    RecycleUnderReader,
    /// The oldest file is removed before the commit that declares it evicted, and enters what readers lose.
    UnlinkBeforeLedger,
    /// Commits are not synced.
    CommitWithoutSync,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NoDirSync,
        Self::AckBeforeCommit,
        Self::RecycleUnderReader,
        Self::UnlinkBeforeLedger,
        Self::CommitWithoutSync,
    ];
}
