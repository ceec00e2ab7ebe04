//! Seals the segment before the active one, and keeps `state.redb` up with the log.
//!
//! A step is idempotent and may be called by the writer (before a roll) and by maintenance; one at a time.

use std::sync::atomic::Ordering;

use super::backend::PAGE_BYTES;
use super::cold::{ColdChanges, SpaceChanges};
use super::ring::lock;
use super::room;
use super::segment::{Seal, SegmentError, SegmentFile};
use super::shared::{COMMIT_OVERHEAD_BYTES, RESERVE_BYTES, Shared};
use super::types::{CommitSeq, Space};

/// Seals what isn't sealed yet, and tells `state.redb` what it doesn't know yet. Whether there was anything to do.
///
/// # Errors
/// [`SegmentError::NoRoom`] while the filesystem has no room for that; any other ends the store.
pub(super) fn step(shared: &Shared) -> Result<bool, SegmentError> {
    let _one_at_a_time = lock(&shared.sealing);
    let mut waiting = lock(&shared.cold_changes);
    if waiting.as_ref().is_some_and(|changes| !room::for_maintenance(shared, cold_growth(changes), 0)) {
        return Err(SegmentError::NoRoom);
    }
    let changes = waiting.take();
    drop(waiting);
    let told = changes.is_some();
    if let Some(changes) = changes {
        apply_cold(shared, &changes)?;
    }
    let (before, last_commit) = {
        let view = shared.view();
        let Some(active) = view.active() else { return Ok(told) };
        let Some(before) = view.segments.iter().rev().nth(1) else { return Ok(told) };
        (std::sync::Arc::clone(before), active.first_commit - 1)
    };
    if let Some(unsealed) = before.unsealed() {
        let used = before.with_open(SegmentFile::used_bytes).unwrap_or(0);
        let claimed = before.allocated().saturating_sub(used);
        if !room::for_maintenance(shared, unsealed.index.sealed_bytes() + COMMIT_OVERHEAD_BYTES, claimed) {
            return Err(SegmentError::NoRoom);
        }
        let seal = Seal { last_commit, marks: unsealed.marks.encode() };
        let sealed = before.with_open(|file| file.seal(&unsealed.index, &seal));
        sealed.unwrap_or_else(|| Err(SegmentError::damaged("it is not open")))?;
        before.close_file()?;
        let file = shared.ring.disk.open(&before.path, super::disk::OpenMode::Read).map_err(SegmentError::Io)?;
        before.set_allocated(file.allocated().map_err(SegmentError::Io)?);
        before.set_sealed();
        shared.sealed_through.store(before.id, Ordering::Release);
        return Ok(true);
    }
    shared.sealed_through.fetch_max(before.id, Ordering::AcqRel);
    Ok(told)
}

/// Takes the changes of these spaces out of the state, for `state.redb`.
pub(super) fn changes(shared: &Shared, spaces: &[Space], through: CommitSeq) -> ColdChanges {
    let mut view = shared.view_mut();
    let (rows, bytes) = view.state.dirty();
    let format = view.next_format();
    let take = |&space: &Space| {
        let whole = !view.state.is_cold(space);
        SpaceChanges { space, whole, rows: view.state.take_changes(space) }
    };
    let changes = ColdChanges { format, through, spaces: spaces.iter().map(take).collect() };
    let growth = growth_of(rows, bytes).max(cold_growth(&changes));
    shared.cold_waiting.store(growth, Ordering::Relaxed);
    changes
}

/// What `state.redb` may come to take more while it is told of so many rows, of so many bytes: the pages of the new rows
/// and of what they displace exist side by side until the transaction has ended, a page a row at worst.
pub(super) fn growth_of(rows: u64, bytes: u64) -> u64 {
    (rows * (PAGE_BYTES + 64)).max(3 * (bytes + 64 * rows)) + RESERVE_BYTES
}

/// As [`growth_of`]; for a space that comes whole, its rows lie side by side.
fn cold_growth(changes: &ColdChanges) -> u64 {
    let rows = changes.spaces.iter().flat_map(|space| &space.rows);
    let bytes: usize = rows.map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 64).sum();
    3 * bytes as u64 + RESERVE_BYTES
}

fn apply_cold(shared: &Shared, changes: &ColdChanges) -> Result<(), SegmentError> {
    let cold = lock(&shared.cold);
    shared.cold_bytes.fetch_add(cold_growth(changes), Ordering::Relaxed);
    shared.cold_waiting.store(0, Ordering::Relaxed);
    let applied = cold.apply(changes);
    shared.cold_bytes.store(cold.allocated(), Ordering::Relaxed);
    applied
}
