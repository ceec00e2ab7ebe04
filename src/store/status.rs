//! What a store tells about itself.

use super::flash::FlashDay;
use super::formats::FormatStatus;
use super::handle::Healing;
use super::medium::CardLife;
use super::types::{BootEpoch, CommitSeq, PartitionId};

/// A snapshot of the store's figures. Sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Bound of everything on disk.
    pub max_bytes: u64,
    /// Everything on disk now.
    pub disk_bytes: u64,
    /// Of it, what `StoreOptions::preallocate` has claimed for later.
    pub reserve_bytes: u64,
    /// Why it has claimed less than it could; `None` if it hasn't.
    pub reserve_failure: Option<String>,
    pub segment_bytes: u64,
    /// Segments with data, the active one included.
    pub segments: usize,
    /// Segments that can't be read, and are about to be taken out of the ring.
    pub damaged_segments: usize,
    /// Files that were taken out for that, and [`super::STATE_BAD`]; the first to go when room is needed.
    pub quarantined_segments: usize,
    pub quarantined_bytes: u64,
    pub first_commit: CommitSeq,
    /// 0 if nothing was ever committed.
    pub last_commit: CommitSeq,
    pub epoch: BootEpoch,
    pub opening: Opening,
    pub partitions: usize,
    /// Keyed state: keys and values of all spaces.
    pub state_bytes: u64,
    /// Operations waiting for the writer.
    pub queued_ops: usize,
    /// Bytes of recent batches kept in memory.
    pub tail_bytes: usize,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Bytes of batches committed since the store was opened.
    pub payload_bytes: u64,
    /// Segments evicted since the store was opened.
    pub evictions: u64,
    /// Runs of segments that were rewritten, or taken out, since the store was opened.
    pub rewrites: u64,
    /// Bytes of files that rewrites have made since the store was opened.
    pub rewritten_bytes: u64,
    /// What may still be rewritten today, and a day's budget of it.
    pub rewrite_budget_left: u64,
    pub rewrite_budget: u64,
    /// Why new records are refused, while they are.
    pub refused: Option<String>,
    /// Why the store stopped, while it is not open again.
    pub poisoned: Option<String>,
    pub healing: Healing,
    /// What is written to the medium.
    pub flash: FlashStatus,
    /// What its files are written in.
    pub format: FormatStatus,
}

/// What opening the store took, the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// From the claim on the directory until operations are taken, by the store's monotonic clock.
    pub ms: u64,
    /// Bytes read from files.
    pub bytes_read: u64,
}

/// What is written to the medium, and how commits are held back for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlashStatus {
    pub day: FlashDay,
    /// Least time between two commits as of now, the budget included, ms.
    pub interval_ms: u64,
    /// The disks below, by their names in /sys/block; empty if unknown.
    pub device: String,
    /// Whether one of them is eMMC or an SD card.
    pub is_card: bool,
    /// How much of its life an eMMC says is used up.
    pub life: Option<CardLife>,
}

/// Why records are gone. The numbers are on disk.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// `max_bytes` was reached.
    Evicted = 1,
    /// `retention.ms` or `retention.bytes` of the partition.
    Expired = 2,
    /// The records were deleted, or their topic was.
    Deleted = 3,
    /// The medium damaged them: the segment was taken out of the ring.
    Quarantined = 4,
    /// The cluster upstream refused them for good, and they went to the dead-letter topic.
    DeadLettered = 5,
    /// An operator told the uplink to pass over them.
    Skipped = 6,
    /// A newer record of the same key stands for them.
    Compacted = 7,
}

impl LossReason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Evicted,
        Self::Expired,
        Self::Deleted,
        Self::Quarantined,
        Self::DeadLettered,
        Self::Skipped,
        Self::Compacted,
    ];

    /// Its number on disk.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The reason with this number on disk.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// Its name in status, metrics and records: one word in lower case, with a hyphen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
            Self::Quarantined => "quarantined",
            Self::DeadLettered => "dead-lettered",
            Self::Skipped => "skipped",
            Self::Compacted => "compacted",
        }
    }
}

/// An entry of the loss ledger: a range that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossEntry {
    /// A reader that follows and had not read these; empty for the partition's own book, whoever had read them.
    pub reader: String,
    pub partition: PartitionId,
    /// First and last offset lost.
    pub first_offset: i64,
    pub last_offset: i64,
    /// Records lost: less than the span where parts of it had been read or never existed.
    pub records: u64,
    /// Bytes lost; estimated in proportion where a batch had been read in part.
    pub bytes: u64,
    pub reason: LossReason,
    /// Wall clock of the latest loss in this entry, Unix milliseconds, believed or not.
    pub wall_ms: i64,
    /// Bounds of when the records were appended, by the wall clock of then.
    pub appended_from_ms: i64,
    pub appended_to_ms: i64,
}
