//! What the crash tests share: verdicts, seeds, counts, tiny stores on a simulated disk.
//!
//! Everything is drawn from a seed and, save where a test says otherwise, driven by one thread: so a failure prints its
//! seed, and happens again with it.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod seeds;
pub mod tally;

use std::path::Path;
use std::time::Duration;

use brooklet::store::StoreOptions;
use brooklet::store::sim::SimDisk;
use fastrand::Rng;

/// The store's directory.
pub const DIR: &str = "/store";
/// Smallest bound that the tiny segments fit in, bytes.
pub const TIGHT: u64 = 4 << 20;
/// A bound that is never met, bytes.
pub const ROOMY: u64 = 256 << 20;

/// What is wrong, in words.
pub type Verdict = Result<(), String>;

/// Returns an error with this text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use ensure;

/// Tiny limits, so that rare paths are common.
pub fn options(rng: &mut Rng, max_bytes: u64) -> StoreOptions {
    StoreOptions {
        max_bytes: Some(max_bytes),
        segment_bytes: Some(*rng.choice(&[512 << 10, 640 << 10, 768 << 10]).unwrap()),
        commit_window: Duration::from_millis(*rng.choice(&[0, 10]).unwrap()),
        tail_bytes_max: *rng.choice(&[0, 20_000, 1 << 20]).unwrap(),
        active_cache_bytes: 128 << 10,
        sealed_cache_bytes: 64 << 10,
        ..StoreOptions::new(DIR)
    }
}

/// The directory must exist before the store is first opened; everything else is the store's.
pub fn new_disk(seed: u64) -> SimDisk {
    with_directory(SimDisk::new(seed))
}

/// A disk with the store's directory.
pub fn with_directory(disk: SimDisk) -> SimDisk {
    brooklet::store::disk::Disk::create_dir_all(&disk, Path::new("/")).unwrap();
    disk
}
