//! `brooklet bench room`: how much payload a store holds within its bound, at its worst: when it is full, and a segment
//! was just begun or the oldest one has just gone.

use std::path::{Path, PathBuf};

use super::store::{BenchStore, case};
use super::{RoomArgs, StateSize};
use crate::cli::error::CliError;
use crate::cli::scratch::ScratchDir;
use crate::cli::signals;
use crate::cli::term::{Progress, human_bytes, print};
use crate::json::JsonObject;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::store::disk::RealDisk;

const BATCHES: usize = 16;
const BATCH_BYTES: usize = 4_000;

#[derive(Debug, Default)]
struct Outcome {
    /// The least payload that was held just after a segment was begun, once the store was full.
    after_roll: u64,
    /// The least at any moment since.
    least: u64,
    disk_bytes_max: u64,
}

/// Runs `bench room`.
///
/// # Errors
/// [`CliError::Failed`] when the directory can't be written, the store stops, or a signal ends it.
pub(super) fn run(args: &RoomArgs) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let scratch = ScratchDir::new(&parent, "brooklet-bench")?;
    let outcome = measure(args, scratch.path(), &stop)?;
    let Outcome { after_roll, least, disk_bytes_max } = outcome;
    if args.json {
        let mut object = JsonObject::new();
        object.number("max_bytes", args.bytes).number("payload_after_roll", after_roll);
        object.number("payload_least", least).number("disk_bytes_max", disk_bytes_max);
        return print(&format!("{}\n", object.finish()));
    }
    let state = if args.state == StateSize::Full { ", its keyed state at its limit" } else { "" };
    print(&format!(
        "a store of {}{state}\n  just after a segment was begun it holds at least {}\n  at any moment at least {}\n  \
         most on disk {}\n",
        human_bytes(args.bytes),
        human_bytes(after_roll),
        human_bytes(least),
        human_bytes(disk_bytes_max),
    ))
}

fn measure(args: &RoomArgs, dir: &Path, stop: &Shutdown) -> Result<Outcome, CliError> {
    let case = case(BATCHES, BATCHES, BATCH_BYTES);
    let mut bench = BenchStore::open(&case, &RealDisk::new(), dir, args.state, args.bytes)?;
    let mut outcome = Outcome { after_roll: u64::MAX, least: u64::MAX, disk_bytes_max: 0 };
    let mut progress = Progress::new("filling", Some(2 * args.bytes));
    let (mut written, mut begun) = (0, 0);
    while written < 2 * args.bytes {
        if stop.has_begun() {
            return Err(CliError::Failed("interrupted".to_owned()));
        }
        bench.commit(&case)?;
        written += case.payload() as u64;
        progress.advance(case.payload() as u64);
        let status = bench.store.status();
        outcome.disk_bytes_max = outcome.disk_bytes_max.max(status.disk_bytes);
        // Segments without payload go early; it is full when as much was written as it could ever hold.
        if written < args.bytes {
            continue;
        }
        let held = payload(&bench.store);
        outcome.least = outcome.least.min(held);
        let segments = status.segments as u64 + status.evictions;
        if begun > 0 && segments > begun {
            outcome.after_roll = outcome.after_roll.min(held);
        }
        begun = segments;
    }
    progress.finish();
    bench.close();
    Ok(outcome)
}

/// Bytes of all batches that are held.
fn payload(store: &Store) -> u64 {
    store.partitions().into_iter().filter_map(|partition| store.partition_bytes(partition)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_store_holds_what_its_bound_promises() {
        let dir = tempfile::tempdir().unwrap();
        let args = RoomArgs { dir: None, bytes: 24 << 20, state: StateSize::Small, json: false };
        let outcome = measure(&args, dir.path(), &Shutdown::default()).unwrap();
        assert!(outcome.disk_bytes_max <= 24 << 20, "{outcome:?}");
        // Of six segments of 4 MiB, two are the spare and the one just begun.
        assert!(outcome.after_roll >= outcome.least && outcome.after_roll >= 10 << 20, "{outcome:?}");
    }
}
