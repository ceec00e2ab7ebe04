//! What can go wrong in the broker, split by what the caller does next. Wire codes for these exist only in the listeners.

use std::fmt;

use super::call::IsDraftFull;
use super::groups::GroupError;
use super::owner::NotYours;
use super::rights::Denied;
use crate::record::BatchError;
use crate::store::{DraftError, PartitionHead, ReadError, StoreError};

/// Why the store did not commit something. Nothing of it is there, unless the store was poisoned meanwhile.
#[derive(Clone, Debug)]
pub enum CommitError {
    /// The store stopped, is full or is closing.
    Store(StoreError),
    /// It cannot go into any commit.
    Draft(DraftError),
}

impl CommitError {
    /// Whether the same may succeed later without anyone's doing.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Store(StoreError::Full | StoreError::DiskFull | StoreError::Poisoned(_) | StoreError::Stopped(_))
                | Self::Draft(DraftError::Full | DraftError::StateFull | DraftError::DiskFull)
        )
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Draft(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CommitError {}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Why a topic operation was not done.
#[derive(Clone, Debug)]
pub enum TopicError {
    /// The caller may not.
    Denied(Denied),
    /// There is one of that name already.
    Exists(String),
    /// There is none of that name.
    Unknown(String),
    /// Name, partition count or a configuration is not allowed; the text says what is.
    Invalid(String),
    /// The limit on topics or partitions is reached.
    TooMany(String),
    /// The store did not take it.
    Store(CommitError),
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::Exists(name) => write!(f, "topic {name} exists already"),
            Self::Unknown(name) => write!(f, "there is no topic {name}"),
            Self::Invalid(text) | Self::TooMany(text) => f.write_str(text),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TopicError {}

impl From<Denied> for TopicError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<CommitError> for TopicError {
    fn from(error: CommitError) -> Self {
        Self::Store(error)
    }
}

/// A record that is larger than the topic upstream takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLargeUpstream {
    /// Its size alone in a batch, as the uplink would send it.
    pub bytes: usize,
    /// The largest batch that the topic upstream takes.
    pub max: usize,
    pub uplink: String,
    /// The topic upstream.
    pub upstream: String,
    /// Its place in its batch, from 0.
    pub record: Option<u32>,
}

impl fmt::Display for TooLargeUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, max, uplink, upstream, .. } = self;
        write!(
            f,
            "{bytes} bytes are more than uplink {uplink} can forward: topic {upstream} there has max.message.bytes of {max}; raise \
             that, or set uplink.{uplink}.refuse_too_large = false, by which such records are kept in brooklet.dead-letter"
        )
    }
}

/// Why records were not taken.
#[derive(Clone, Debug)]
pub enum ProduceError {
    /// The gateway is being drained: it takes no new records. Later it may again.
    Draining,
    /// The caller may not.
    Denied(Denied),
    /// The topic has no such partition (or was deleted meanwhile).
    UnknownPartition,
    /// The batch fails its checks: the producer must not send it again as it is.
    Corrupt(BatchError),
    /// Larger than the topic's `max.message.bytes`.
    TooLarge {
        /// Size of what came, bytes.
        bytes: usize,
        /// Largest size the topic takes, bytes.
        max: usize,
    },
    /// An uplink that follows the topic could not forward it.
    TooLargeUpstream(Box<TooLargeUpstream>),
    /// A record's timestamp is further from the gateway's clock than the topic allows.
    Timestamp {
        /// The record's, ms since 1970.
        timestamp_ms: i64,
        /// The gateway's, ms since 1970.
        now_ms: i64,
        /// The setting that says how far it may be.
        key: &'static str,
        /// Places of such records in their batch, from 0, ascending; the first [`crate::limits::RECORDS_AT_FAULT_MAX`].
        records: Vec<u32>,
    },
    /// An idempotent producer skipped a sequence: what it sent before is missing.
    OutOfOrderSequence {
        /// The sequence that would continue what is stored.
        expected: i32,
        /// The sequence that came.
        got: i32,
    },
    /// A newer epoch of this idempotent producer has written already.
    ProducerFenced,
    /// A newer connection with the same client id has taken over.
    SessionFenced,
    /// The client id belongs to another principal.
    NotYours(NotYours),
    /// A native client skipped a sequence: what it sent before is missing.
    SequenceGap {
        /// The sequence that would continue what is stored.
        expected: u64,
        /// The sequence that came.
        got: u64,
    },
    /// The store did not take it; [`CommitError::is_transient`] says whether later helps.
    Store(CommitError),
}

impl fmt::Display for ProduceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("the gateway is being drained: it takes no new records; try again later"),
            Self::Denied(denied) => denied.fmt(f),
            Self::UnknownPartition => f.write_str("the topic has no such partition"),
            Self::Corrupt(error) => write!(f, "batch refused: {error}"),
            Self::TooLarge { bytes, max } => {
                write!(f, "{bytes} bytes are more than the topic's max.message.bytes of {max}")
            }
            Self::TooLargeUpstream(told) => told.fmt(f),
            Self::Timestamp { timestamp_ms, now_ms, key, .. } => write!(
                f,
                "timestamp {timestamp_ms} is further from the gateway's clock, {now_ms}, than the topic's {key} allows"
            ),
            Self::OutOfOrderSequence { expected, got } => {
                write!(f, "producer sequence {got} came where {expected} was due")
            }
            Self::ProducerFenced => f.write_str("a newer epoch of this producer has taken over"),
            Self::NotYours(error) => error.fmt(f),
            Self::SessionFenced => f.write_str("a newer connection with this client id has taken over"),
            Self::SequenceGap { expected, got } => write!(f, "sequence {got} came where {expected} was due"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ProduceError {}

impl From<Denied> for ProduceError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<NotYours> for ProduceError {
    fn from(error: NotYours) -> Self {
        Self::NotYours(error)
    }
}

impl From<CommitError> for ProduceError {
    fn from(error: CommitError) -> Self {
        Self::Store(error)
    }
}

impl From<StoreError> for ProduceError {
    fn from(error: StoreError) -> Self {
        Self::Store(CommitError::Store(error))
    }
}

impl From<DraftError> for ProduceError {
    fn from(error: DraftError) -> Self {
        match error {
            DraftError::UnknownPartition => Self::UnknownPartition,
            other => Self::Store(CommitError::Draft(other)),
        }
    }
}

impl IsDraftFull for ProduceError {
    fn is_draft_full(&self) -> bool {
        matches!(self, Self::Store(CommitError::Draft(DraftError::Full)))
    }
}

/// Why what a downlink, or a gateway below, brought was not taken in.
#[derive(Clone, Debug)]
pub enum IntakeError {
    /// The position is not the one that the bringer knew: it must look it up again.
    Moved,
    /// The partition is not there (any more).
    UnknownPartition,
    /// What is to be moved belongs to another user; the text says what to do.
    NotOwner(String),
    /// A batch is none that its topic takes.
    Refused(ProduceError),
    /// The store did not take it; [`CommitError::is_transient`] says whether later helps.
    Store(CommitError),
}

impl fmt::Display for IntakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("the position has moved meanwhile"),
            Self::UnknownPartition => f.write_str("the topic has no such partition"),
            Self::NotOwner(text) => f.write_str(text),
            Self::Refused(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for IntakeError {}

impl From<CommitError> for IntakeError {
    fn from(error: CommitError) -> Self {
        Self::Store(error)
    }
}

/// Why offsets were not committed.
#[derive(Clone, Debug)]
pub enum OffsetError {
    /// An offset or note that is not allowed; the text says what is.
    Invalid(String),
    /// The group does not let this reader commit.
    Group(GroupError),
    /// The store did not take it.
    Store(CommitError),
}

impl fmt::Display for OffsetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => f.write_str(text),
            Self::Group(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OffsetError {}

impl From<GroupError> for OffsetError {
    fn from(error: GroupError) -> Self {
        Self::Group(error)
    }
}

impl From<CommitError> for OffsetError {
    fn from(error: CommitError) -> Self {
        Self::Store(error)
    }
}

/// Why a fetch was not served.
#[derive(Clone, Debug)]
pub enum FetchError {
    /// The caller may not.
    Denied(Denied),
    /// The topic has no such partition (or was deleted meanwhile).
    UnknownPartition,
    /// The offset is outside [log start, high watermark].
    OutOfRange(PartitionHead),
    /// The store failed to read.
    Store(String),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denied) => denied.fmt(f),
            Self::UnknownPartition => f.write_str("the topic has no such partition"),
            Self::OutOfRange(head) => {
                write!(f, "offset out of range: the partition has {} to {}", head.log_start, head.readable_end())
            }
            Self::Store(text) => write!(f, "the store cannot read: {text}"),
        }
    }
}

impl std::error::Error for FetchError {}

impl From<Denied> for FetchError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<ReadError> for FetchError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::UnknownPartition => Self::UnknownPartition,
            ReadError::OutOfRange(head) => Self::OutOfRange(head),
            other => Self::Store(other.to_string()),
        }
    }
}
