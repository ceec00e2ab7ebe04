//! Repairs a stopped store as far as that loses nothing that could be proven: finishes what a crash interrupted, and takes
//! sealed segments with damage out of the ring, with what they held entered into the books and the ledger.
//!
//! Nothing is cut off the end of the log: what stood there may have been acknowledged, and its offsets would be given
//! again. A store whose newest segment is damaged can't be opened, and stays as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::RealClock;
use super::disk::Disk;
use super::error::OpenError;
use super::fsck::{FsckReport, fsck};
use super::options::StoreOptions;
use super::recovery::io_error;
use super::types::{PartitionId, Removed, Space};
use super::{LossReason, Store, quarantine};

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was wrong before.
    pub before: FsckReport,
    /// Segments that were taken out of the ring, by the names they had. Their files end in `.bad` now.
    pub quarantined: Vec<PathBuf>,
    /// What went with them, by partition.
    pub lost: Vec<(PartitionId, Removed)>,
    /// What is wrong still.
    pub after: FsckReport,
}

/// Repairs the stopped store in `dir`; see above. Calls `progress` as [`fsck`] does, for both of its rounds. Blocks.
///
/// # Errors
/// [`OpenError::InUse`] if a process runs it; [`OpenError::Damaged`] if its newest segment is damaged, or the state; else
/// see [`OpenError`].
pub fn repair(dir: &Path, disk: &Arc<dyn Disk>, progress: &mut dyn FnMut(u64, u64)) -> Result<RepairReport, OpenError> {
    let before = fsck(dir, Arc::clone(disk), progress)?;
    let options = StoreOptions::unbounded(dir);
    // Opening finishes what a crash interrupted.
    let (store, mut engine) = Store::open(options, Arc::clone(disk), Arc::new(RealClock::default()))?;
    follow_all(&store);
    let damaged: Vec<PathBuf> = before.findings.iter().map(|finding| finding.file.clone()).collect();
    let quarantined = condemn(&store, &damaged);
    let gone = |store: &Store| -> Vec<(PartitionId, Removed)> {
        let of = |id: PartitionId| {
            let removed = store.accounts(id)?.removed;
            removed.into_iter().find(|(reason, _)| *reason == LossReason::Quarantined).map(|(_, what)| (id, what))
        };
        store.partitions().into_iter().filter_map(of).collect()
    };
    let gone_before = gone(&store);
    // Runs of neighbours go together, so this ends.
    for _ in 0..=quarantined.len() {
        let sent = quarantine::step(&store.shared())
            .map_err(|error| io_error(dir, std::io::Error::other(error.to_string())))?;
        engine.step_writer(true);
        if !sent {
            break;
        }
    }
    let since = |(id, now): &(PartitionId, Removed)| {
        let then = gone_before.iter().find(|(other, _)| other == id).map_or(Removed::default(), |(_, what)| *what);
        let what = Removed { records: now.records - then.records, bytes: now.bytes.saturating_sub(then.bytes) };
        (what.records > 0).then_some((*id, what))
    };
    let lost = gone(&store).iter().filter_map(since).collect();
    store.shutdown();
    engine.close().map_err(|error| io_error(dir, error))?;
    drop(store);
    let after = fsck(dir, Arc::clone(disk), progress)?;
    Ok(RepairReport { before, quarantined, lost, after })
}

/// Lets everyone follow whose position is known, so that the ledger tells what they lose.
fn follow_all(store: &Store) {
    for (key, _) in store.entries(Space::Cursor, &[]) {
        let Some((rest, partition)) = key.split_last_chunk::<4>() else { continue };
        let Some((0, reader)) = rest.split_last() else { continue };
        if let Ok(reader) = std::str::from_utf8(reader) {
            store.follow(reader, PartitionId(u32::from_be_bytes(*partition)));
        }
    }
}

/// Marks the sealed segments among these files as not to be read. Returns which they were.
fn condemn(store: &Store, files: &[PathBuf]) -> Vec<PathBuf> {
    let shared = store.shared();
    let sealed_through = shared.sealed_through.load(Ordering::Acquire);
    let segments = Arc::clone(&shared.view().segments);
    let damaged = segments.iter().filter(|segment| segment.id <= sealed_through && files.contains(&segment.path));
    let condemned = damaged.map(|segment| {
        segment.note_unreadable("found by the repair");
        segment.path.clone()
    });
    condemned.collect()
}
