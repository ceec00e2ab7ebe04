//! The store's errors, split by what the caller does next.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::cold::STATE_FILE;

const DISK_FULL: &str = "the filesystem is full, though the store is within its bound: free some space; nothing that was \
                         not forwarded is given up for it";

/// Why a commit failed. Cheap to clone: every operation of the commit is told.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// A write or sync failed in the midst of it: whether it is there is known only when the store is open again, which
    /// it tries by itself. What is sent again then is recognised, if it was there.
    Poisoned(Arc<str>),
    /// The store stopped after such a failure, and tries to open its files again: this was not tried.
    Stopped(Arc<str>),
    /// No room within `max_bytes`, and nothing may be evicted (`on_full = "refuse"`). Nothing was changed; later commits
    /// may succeed.
    Full,
    /// The filesystem is full within the store's bound, by what others keep there, and nothing is left that was forwarded
    /// and could go. Nothing was changed; commits succeed again when there is room.
    DiskFull,
    /// The store is closing or closed; the operation was not tried.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(why) => write!(f, "the store failed while it stored this, which may be there or not: {why}"),
            Self::Stopped(why) => {
                write!(f, "the store stopped after a failure, and opens its files again as soon as that works: {why}")
            }
            Self::Full => f.write_str("the store is full"),
            Self::DiskFull => f.write_str(DISK_FULL),
            Self::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for StoreError {}

/// Why something can't go into the open draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftError {
    /// Not in this commit: return `Err(Refused)` from `apply` if nothing was changed yet.
    Full,
    /// Larger than any commit may be.
    TooLarge,
    /// No such partition (or dropped earlier in commit order).
    UnknownPartition,
    /// Not exactly one well-formed batch, or a space that only the store writes.
    Invalid,
    /// The keyed state has reached its bound (`StoreOptions::state_bytes_max`).
    StateFull,
    /// No room for appends within `max_bytes`, and nothing may be evicted (`on_full = "refuse"`).
    StoreFull,
    /// No room for appends on the filesystem; see [`StoreError::DiskFull`].
    DiskFull,
}

impl fmt::Display for DraftError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "this commit is full",
            Self::TooLarge => "larger than a commit may be",
            Self::UnknownPartition => "no such partition",
            Self::Invalid => "not one well-formed batch, or a space that is not the caller's",
            Self::StateFull => "the keyed state has reached its bound",
            Self::StoreFull => "the store is full",
            Self::DiskFull => DISK_FULL,
        })
    }
}

impl std::error::Error for DraftError {}

/// Why a read failed.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// No such partition.
    UnknownPartition,
    /// The offset is before the log start or behind the readable end; the head says where they are.
    OutOfRange(super::PartitionHead),
    /// What is on disk there fails its checksum or its structure.
    Damaged(Arc<str>),
    /// Reading failed; another try may succeed.
    Io(Arc<str>),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPartition => f.write_str("no such partition"),
            Self::OutOfRange(head) => {
                write!(f, "offset out of range: {} to {} are kept", head.log_start, head.readable_end())
            }
            Self::Damaged(what) => write!(f, "damaged data: {what}"),
            Self::Io(what) => write!(f, "reading failed: {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Why a store can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has this directory.
    InUse(PathBuf),
    /// A setting contradicts another or the filesystem; the text says what to change.
    Options(String),
    /// Written by a later version that this one must not read.
    TooNew { file: PathBuf, needs: u32 },
    /// Written by an earlier version, in a format that is no longer read.
    TooOld { file: PathBuf, version: u32 },
    /// A file fails its checksums or its structure, and going on without it would lose or repeat offsets.
    Damaged { file: PathBuf, what: String },
    /// The filesystem refused.
    Io { file: PathBuf, error: io::Error },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(dir) => write!(f, "{} is in use by another process", dir.display()),
            Self::Options(what) => f.write_str(what),
            Self::TooNew { file, needs } => {
                let (least, reads, own) = (super::FORMAT_MIN, super::FORMAT_NEW, env!("CARGO_PKG_VERSION"));
                write!(
                    f,
                    "{} was written by a later version of Brooklet: it needs one that reads format {needs}, and this one ({own}) \
                     reads {least} to {reads}. Run that version again: the files are unharmed, and it can export them; or begin with an \
                     empty directory",
                    file.display()
                )
            }
            Self::TooOld { file, version } => write!(
                f,
                "{} has the store format of version {version}, which this program no longer reads: export the records \
                 with the version that wrote them, or begin with an empty directory",
                file.display()
            ),
            Self::Damaged { file, what } => {
                let way_out = if file.ends_with(STATE_FILE) {
                    "`brooklet fsck --repair DIR` begins it anew: all records stay, what it held besides is given up (`brooklet serve` does \
                     so by itself)"
                } else {
                    "`brooklet fsck --repair DIR` keeps what is intact and gives the rest up"
                };
                write!(
                    f,
                    "{} is damaged: {what}. {way_out}; `brooklet export` gets out what can be read and changes nothing",
                    file.display()
                )
            }
            Self::Io { file, error } => write!(f, "{}: {error}", file.display()),
        }
    }
}

impl std::error::Error for OpenError {}

/// The queue takes nothing any more; see [`super::shared::Shared::why_closed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Why an operation wasn't queued at once; gives it back.
pub enum TrySubmitError {
    /// The queue is full: that is the back-pressure.
    Full(Box<dyn super::Operation>),
    /// The store is closing, closed or poisoned.
    Closed(Box<dyn super::Operation>),
}

impl fmt::Debug for TrySubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repair_is_offered_and_what_it_does() {
        let said = |file: &str| OpenError::Damaged { file: PathBuf::from(file), what: "x".to_owned() }.to_string();
        let (segment, state) = (said("/d/segment-1.redb"), said("/d/state.redb"));
        assert!(segment.contains("fsck --repair") && segment.contains("export"), "{segment}");
        assert!(state.contains("--repair") && state.contains("records stay") && state.contains("export"), "{state}");
    }
}
