//! Repairs a stopped store as far as that loses nothing that could be proven: finishes what a crash interrupted, takes
//! sealed segments with damage out of the ring, with what they held entered into the books and the ledger, and gives a store whose
//! newest segment is damaged an end again ([`super::cut`]), behind all offsets that may have been acknowledged.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::clock::{Clock, RealClock};
use super::cut::{self, CutReport};
use super::disk::Disk;
use super::draft::Draft;
use super::engine::Engine;
use super::error::{OpenError, StoreError};
use super::fsck::{FsckReport, fsck};
use super::options::StoreOptions;
use super::recovery::io_error;
use super::renew::{StateRenewed, renew_state};
use super::ring::REWRITE_NEW;
use super::status::LossEntry;
use super::types::{Committed, Operation, PartitionId, Refused, Removed, Space};
use super::{LossReason, Store, ledger, quarantine};

/// The newest segment and the one before it.
const CUTS_MAX: usize = 3;

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// What was wrong before.
    pub before: FsckReport,
    /// Segments without which the store didn't open, and of which what was intact is kept.
    pub cuts: Vec<CutReport>,
    /// That `state.redb` began anew.
    pub renewed: Option<StateRenewed>,
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
/// [`OpenError::InUse`] if a process runs it; [`OpenError::Damaged`] if its newest segment is damaged and so is what the state as of
/// its beginning is in; what [`renew_state`] says; else see [`OpenError`].
pub fn repair(dir: &Path, disk: &Arc<dyn Disk>, progress: &mut dyn FnMut(u64, u64)) -> Result<RepairReport, OpenError> {
    // A file whose copy has not got its name yet is not what is to be judged.
    let names = disk.list(dir).map_err(|error| io_error(dir, error))?;
    if names.iter().any(|entry| entry.name == REWRITE_NEW) {
        let (store, engine, _, _) = open_mended(dir, disk)?;
        store.shutdown();
        engine.close().map_err(|error| io_error(dir, error))?;
    }
    let before = fsck(dir, Arc::clone(disk), progress)?;
    let (store, mut engine, cuts, renewed) = open_mended(dir, disk)?;
    follow_all(&store);
    let lost = cuts.iter().flat_map(|cut| cut.lost.iter().cloned()).collect();
    if store.try_submit(Box::new(Book(lost))).is_ok() {
        engine.step_writer(true);
    }
    // What was cut is whole now.
    let is_cut = |file: &PathBuf| cuts.iter().any(|cut| cut.file == *file);
    let damaged = before.findings.iter().map(|finding| finding.file.clone()).filter(|file| !is_cut(file));
    let damaged: Vec<PathBuf> = damaged.collect();
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
    Ok(RepairReport { before, cuts, renewed, quarantined, lost, after })
}

/// A store that opens, and what was cut and begun anew for that.
type Mended = (Store, Engine, Vec<CutReport>, Option<StateRenewed>);

/// Opens the store, which finishes what a crash interrupted; mends what doesn't let it open.
fn open_mended(dir: &Path, disk: &Arc<dyn Disk>) -> Result<Mended, OpenError> {
    let clock = Arc::new(RealClock::default());
    let (mut cuts, mut renewed) = (Vec::new(), None);
    loop {
        let clock = Arc::clone(&clock);
        match Store::open(StoreOptions::unbounded(dir), Arc::clone(disk), Arc::clone(&clock) as Arc<dyn Clock>) {
            Ok((store, engine)) => return Ok((store, engine, cuts, renewed)),
            Err(OpenError::Damaged { file, what }) if cuts.len() < CUTS_MAX => {
                if renewed.is_none() {
                    renewed = renew_state(dir, disk, &file)?;
                    if renewed.is_some() {
                        continue;
                    }
                }
                let cut = cut::mend(dir, disk, &*clock, &file)?;
                cuts.push(cut.ok_or(OpenError::Damaged { file, what })?);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Enters what a cut has lost into the books, where it isn't there already.
struct Book(Vec<(PartitionId, Range<i64>)>);

impl Operation for Book {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        for (partition, range) in &self.0 {
            let rows = draft.entries(Space::Ledger, &ledger::key_prefix("", *partition));
            let covers = |row: LossEntry| {
                row.reason == LossReason::Quarantined
                    && row.first_offset <= range.start
                    && row.last_offset >= range.end - 1
            };
            if !rows.iter().filter_map(|(key, value)| ledger::decode(key, value)).any(covers) {
                let what = Removed { records: range.end.abs_diff(range.start), bytes: 0 };
                draft.remove(*partition, range.clone(), what, LossReason::Quarantined);
            }
        }
        Ok(())
    }

    fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {}
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
