//! How a store is opened, and what follows from its budget.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::medium::Device;
use crate::record::Compression;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How often the store commits, and for what budget: what can change while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// As [`StoreOptions::commit_window`].
    pub commit_window: Duration,
    /// As [`StoreOptions::commit_interval_max`].
    pub commit_interval_max: Duration,
    /// As [`StoreOptions::flash_budget`].
    pub flash_budget: Option<u64>,
}

/// What happens when `max_bytes` is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// The oldest segment goes; what a following reader still missed of it goes into the loss ledger.
    #[default]
    EvictOldest,
    /// Appends fail with `StoreError::Full` until retention or a dropped topic makes room.
    Refuse,
}

/// Settings of a store. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The store's own directory; created if missing.
    pub dir: PathBuf,
    /// Bound of everything on disk, at every moment. `None`: `min(1 GiB, 25 % of the filesystem)`.
    pub max_bytes: Option<u64>,
    pub on_full: OnFull,
    /// Whether the room of `max_bytes` is claimed from the filesystem beforehand.
    pub preallocate: bool,
    /// Size of a segment file. `None`: by [`segment_bytes_for`].
    pub segment_bytes: Option<u64>,
    /// Two commits begin at least this far apart; what arrives in between is committed together, earlier if it is
    /// 256 KiB. Zero: a commit begins as soon as the writer is free.
    pub commit_window: Duration,
    /// To this much the flash budget stretches the window, if that is longer.
    pub commit_interval_max: Duration,
    /// What may be written a day (`flash.rs` says how it is counted); more data is not refused. `None`: any amount.
    pub flash_budget: Option<u64>,
    /// The device below `dir`, to account what is written to it.
    pub device: Option<Device>,
    /// Codec of batches that the store gathers out of single records.
    pub compression: Compression,
    /// A commit begins at once when this much waits in it. `None`: the smaller of 4 MiB and an eighth of a segment.
    pub draft_bytes_max: Option<usize>,
    /// Most operations waiting for the writer.
    pub queue_ops_max: usize,
    /// Most bytes that the waiting operations hold (`Operation::queued_bytes`).
    pub queue_bytes_max: usize,
    /// Recent committed batches kept in memory.
    pub tail_bytes_max: usize,
    /// redb's cache for the segment being written.
    pub active_cache_bytes: usize,
    /// redb's cache for each open sealed segment (at most [`SEALED_OPEN_MAX`]). It is for the pages above the leaves: who reads a log reads
    /// each leaf once, and what the kernel keeps of the file costs nobody's memory.
    pub sealed_cache_bytes: usize,
    /// Most bytes that rewriting sealed segments may write in a day; beyond, the oldest segment is evicted whole. `None`:
    /// as much as `max_bytes`.
    pub rewrite_budget_bytes: Option<u64>,
    /// Bound of all keyed state. `None`: a 16th of `max_bytes`, at least 256 KiB and at most 16 MiB.
    pub state_bytes_max: Option<u64>,
    /// Counts up while the store is opened, with every read and every commit that is replayed: for a watchdog.
    pub opening_steps: Arc<AtomicU64>,
    /// A fault planted on purpose, for tests.
    #[cfg(debug_assertions)]
    pub planted: Option<super::sim::Planted>,
}

/// Sealed segments that are open at a time.
pub const SEALED_OPEN_MAX: usize = 2;

impl StoreOptions {
    /// For a stopped store that is only mended: no bound binds, nothing is evicted by it.
    pub fn unbounded(dir: impl Into<PathBuf>) -> Self {
        Self { max_bytes: Some(1 << 50), on_full: OnFull::Refuse, ..Self::new(dir) }
    }

    /// The defaults, for a store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            max_bytes: None,
            on_full: OnFull::EvictOldest,
            preallocate: false,
            segment_bytes: None,
            commit_window: Duration::ZERO,
            commit_interval_max: Duration::from_secs(5),
            flash_budget: None,
            device: None,
            compression: Compression::None,
            draft_bytes_max: None,
            queue_ops_max: 4_096,
            queue_bytes_max: 8 * MIB as usize,
            tail_bytes_max: 2 * MIB as usize,
            active_cache_bytes: MIB as usize,
            sealed_cache_bytes: 256 << 10,
            rewrite_budget_bytes: None,
            state_bytes_max: None,
            opening_steps: Arc::default(),
            #[cfg(debug_assertions)]
            planted: None,
        }
    }
}

/// The default bound: 1 GiB, or a quarter of the filesystem if that is less.
pub fn max_bytes_default(filesystem_bytes: u64) -> u64 {
    GIB.min(filesystem_bytes / 4)
}

/// Segment size for a budget: large enough that rolls are rare, small enough that recovery is quick and evicting one
/// segment gives up little (64 MiB → 8 MiB, 256 MiB → 16, 1 GiB → 32, 16 GiB → 64).
pub fn segment_bytes_for(max_bytes: u64) -> u64 {
    match max_bytes / MIB {
        ..=16 => max_bytes / 8,
        17..64 => 4 * MIB,
        64..256 => 8 * MIB,
        256..1_024 => 16 * MIB,
        1_024..16_384 => 32 * MIB,
        _ => 64 * MIB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_sizes_follow_the_budget() {
        for (budget, segment) in
            [(8, 1), (16, 2), (32, 4), (64, 8), (100, 8), (256, 16), (1_024, 32), (16_384, 64), (100_000, 64)]
        {
            assert_eq!(segment_bytes_for(budget * MIB), segment * MIB, "{budget} MiB");
        }
        assert_eq!(max_bytes_default(100 * GIB), GIB);
        assert_eq!(max_bytes_default(GIB), 256 * MIB);
    }
}
