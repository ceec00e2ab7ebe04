//! The store's vocabulary: what its callers name, and the operations they send to the writer.

use std::fmt;

use super::draft::Draft;
use super::epoch_time::EpochTime;
use super::error::StoreError;
use super::status::{LossEntry, LossReason};
use crate::record::SharedBytes;

/// Number of an atomic commit. The first is 1; each commit is one higher than the one before; never reused.
pub type CommitSeq = u64;

/// A partition of the store: never reused, also not after it was dropped. The broker maps (topic UUID, index) to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The named spaces of keyed state. The numbers are on disk; keys and values belong to whoever owns the space.
///
/// `Head`, `Epoch`, `Ledger`, `Meta` and `Segment` are the store's own: operations read them but can't write them.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    Topic = 1,
    Head = 2,
    Cursor = 3,
    Group = 4,
    Producer = 5,
    Device = 6,
    Ledger = 7,
    User = 8,
    Acl = 9,
    Mqtt = 10,
    Streams = 11,
    Transaction = 12,
    Epoch = 13,
    Meta = 14,
    Segment = 15,
    /// Of the gateway itself: who it is, when it was started.
    Gateway = 16,
}

impl Space {
    /// All spaces, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Topic,
        Self::Head,
        Self::Cursor,
        Self::Group,
        Self::Producer,
        Self::Device,
        Self::Ledger,
        Self::User,
        Self::Acl,
        Self::Mqtt,
        Self::Streams,
        Self::Transaction,
        Self::Epoch,
        Self::Meta,
        Self::Segment,
        Self::Gateway,
    ];

    /// The space with this number on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|space| space.number() == number)
    }

    /// Its number on disk.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether only the store writes it.
    pub(super) fn is_internal(self) -> bool {
        matches!(self, Self::Head | Self::Epoch | Self::Ledger | Self::Meta | Self::Segment)
    }
}

/// One opening of the store for writing. Its ordinal is the `partitionLeaderEpoch` of what it appends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootEpoch {
    /// Counts the openings that wrote something, from 1.
    pub ordinal: u32,
    /// Random: tells two histories apart that share an ordinal (after a restore from a backup).
    pub id: u64,
}

/// A row of the boot-epoch table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochRow {
    pub epoch: BootEpoch,
    /// The first commit of that epoch.
    pub first_commit: CommitSeq,
    /// What is known of time in it.
    pub time: EpochTime,
}

/// A moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Milliseconds of the machine's monotonic clock.
    pub mono_ms: u64,
    /// Unix milliseconds.
    pub wall_ms: i64,
    /// Whether the wall clock was to be believed.
    pub wall_trusted: bool,
}

/// The readable range of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionHead {
    /// First offset still kept.
    pub log_start: i64,
    /// One past the last committed offset.
    pub high_watermark: i64,
    /// One past the last offset not in an open transaction; equals `high_watermark` until transactions exist.
    pub last_stable_offset: i64,
}

impl PartitionHead {
    /// Where every fetch ends: `min(high watermark, last stable offset)`.
    pub fn readable_end(&self) -> i64 {
        self.high_watermark.min(self.last_stable_offset)
    }
}

/// A durable commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    pub seq: CommitSeq,
    /// The partitions that grew, ascending, each with its new high watermark.
    pub advanced: Vec<(PartitionId, i64)>,
    /// The partitions that lost records at their beginning, ascending, each with its new log start.
    pub trimmed: Vec<(PartitionId, i64)>,
}

/// Called by the writer after each commit, before the operations of that commit are told.
///
/// Runs on the writer: it must only signal, never wait.
pub trait CommitObserver: Send + Sync {
    fn committed(&self, committed: &Committed);
}

/// Called by the writer with all losses of a commit, before that is made: what it appends and puts is part of it.
///
/// Runs on the writer: it must never wait.
pub trait LossSink: Send + Sync {
    fn tell(&self, draft: &mut Draft<'_>, losses: &[LossEntry]);
}

/// The draft is full: the writer commits what it has, and applies the operation again in the next commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// A unit of change, all or nothing, evaluated by the writer in commit order.
pub trait Operation: Send {
    /// Runs on the writer. Sees the effect of all earlier operations, committed or not.
    ///
    /// A domain failure (a duplicate, a fenced producer) isn't an error here: the operation keeps it and tells it in
    /// [`Operation::done`], which still waits for what it saw to be durable.
    ///
    /// # Errors
    /// [`Refused`], when the draft said `DraftError::Full`; don't invent it. The writer then undoes what this operation
    /// has already done to the draft.
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused>;

    /// Runs on the writer once the commit is durable and the high watermarks are published, or once it failed.
    ///
    /// It must only signal, never wait.
    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>);

    /// Bytes that this operation keeps in memory while it waits: they count against the queue's bound.
    fn queued_bytes(&self) -> usize {
        256
    }

    /// Whether somebody waits for [`Operation::apply`] rather than for the commit: then the writer is woken for it,
    /// where it would else take it in when the open commit is due.
    fn is_urgent(&self) -> bool {
        false
    }

    /// Whether it is to be committed at once, without waiting for company or for the flash budget.
    fn commits_at_once(&self) -> bool {
        false
    }
}

/// How long and how much of a partition is kept, besides the store's own bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Milliseconds since the append, by the store's clock; `None` is for ever.
    pub ms: Option<u64>,
    /// Bytes of the newest batches; `None` is without bound.
    pub bytes: Option<u64>,
    /// Whether what a following reader has not read goes as well; else it is kept until it is read.
    pub expire_unforwarded: bool,
}

/// Records and bytes that were taken away. Bytes are those of batches with their store headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub records: u64,
    pub bytes: u64,
}

/// The books of a partition since it was created: `accepted = retained + Σ removed`, in records and in bytes, always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionAccounts {
    /// Records that were ever appended: the next offset.
    pub accepted: Removed,
    /// What is still there. Its bytes are exact as long as nothing was trimmed inside a batch list: then they are
    /// estimated in proportion, and right again when all of it has gone.
    pub retained: Removed,
    /// What went, by reason, ascending; reasons that never occurred aren't listed.
    pub removed: Vec<(LossReason, Removed)>,
}

/// What `read` returns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBatches {
    /// Whole batches, ascending, one after the other; empty at the end of the partition.
    pub bytes: Vec<u8>,
    /// Where to read on.
    pub next_offset: i64,
    /// The head as of this read.
    pub head: PartitionHead,
}

/// What `scan` returns.
#[derive(Clone, Debug, Default)]
pub struct ScanChunk {
    /// Batches of whole commits, in commit order; within a commit by partition, then by offset.
    pub batches: Vec<ScannedBatch>,
    /// Where to scan on.
    pub next: CommitSeq,
    /// Whether `next` is not yet committed.
    pub at_end: bool,
}

/// A batch met by a scan.
#[derive(Clone, Debug)]
pub struct ScannedBatch {
    pub commit: CommitSeq,
    pub partition: PartitionId,
    pub base_offset: i64,
    pub next_offset: i64,
    /// Kept for long only [compact](SharedBytes::compact): it may be a part of its commit.
    pub bytes: SharedBytes,
    /// Whether its records came without timestamps and got the gateway's.
    pub gateway_stamped: bool,
    /// Whether it was put together here out of single records.
    pub gathered: bool,
    /// Its records bear the gateway's time, which wasn't known then and isn't yet: it may be corrected later.
    pub provisional: bool,
    /// Ordinal of the boot epoch that appended it.
    pub epoch: u32,
}
