//! `[store]`: what the store may take of disk, memory and flash.

use std::time::Duration;

use super::{types::Compression, words::words};

#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// Bound of everything on disk: segments, spares, state, files unlinked but still open.
    pub max_bytes: DiskBudget,
    /// Size of a segment file. `None`: the store chooses by the budget.
    pub segment_bytes: Option<u64>,
    /// Least time between the beginnings of two commits; zero commits as fast as the disk can. `None`: by the medium.
    pub commit_window: Option<Duration>,
    /// To this the flash budget stretches the window, if that is longer.
    pub commit_interval_max: Duration,
    /// Bytes that may be written a day; commits wait for it, nothing is refused. `None`: any amount.
    pub flash_budget: Option<u64>,
    /// Bytes a day that rewriting segments may write. `None`: as much as `max_bytes`.
    pub rewrite_budget: Option<u64>,
    pub medium: StoreMedium,
    /// Of batches that are gathered here out of single records.
    pub compression: Compression,
    /// Page cache of the store.
    pub cache_bytes: u64,
    /// Recent committed batches kept in memory for readers.
    pub tail_bytes: u64,
    pub on_full: OnFull,
    /// Claim the room of `max_bytes` from the filesystem beforehand.
    pub preallocate: bool,
}

/// How much disk the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBudget {
    /// The smaller of 1 GiB and a quarter of the filesystem.
    Auto,
    Bytes(u64),
    /// Of the whole filesystem's size, 1 to 95.
    Percent(u8),
}

words! {
    /// What the data directory lies on.
    pub enum StoreMedium {
        /// As /sys tells.
        Auto = "auto",
        /// eMMC or an SD card: at most a commit a second while traffic trickles.
        FlashCard = "flash-card",
        /// Anything else.
        Disk = "disk",
    }
}

words! {
    /// What happens when `store.max_bytes` is reached: of the store, and of a topic.
    pub enum OnFull {
        /// The oldest segment goes; what a reader still missed of it is recorded in the loss ledger.
        EvictOldest = "evict-oldest",
        /// Producers get an error until space is free again.
        Refuse = "refuse",
    }
}
