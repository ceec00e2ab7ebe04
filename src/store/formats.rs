//! In which format a store is written, so that the version before can open what this one has written.
//!
//! A version reads all formats from [`FORMAT_MIN`] to [`FORMAT_NEW`], and goes on writing [`FORMAT_OLD`] until it is told otherwise
//! (`brooklet store finalize`) or has run for [`FINALIZE_AFTER_MS`]: an updater that keeps two systems goes back by itself to the one before
//! when the new one doesn't do. From then on each new segment is written in the new format; which that is its file says.
//!
//! The row `format` of `Space::Meta`, LEB128 numbers: 1 (of the row), the format in which new segments may be written, the newest
//! format of the version that counts, for how long that has run, ms. The time is that of the monotonic clock while the store was open
//! and sound; it rides with other commits, and begins anew with another version.
//!
//! | format | what is new in it |
//! |---|---|
//! | 2 | |
//! | 3 | heads of partitions tell of offsets that were given up: only a repair makes those, and writes in this format then |
//!
//! Invariant: nothing that a format doesn't know is in a file that says it has that format.

use std::path::Path;
use std::sync::Arc;

use super::clock::RealClock;
use super::disk::Disk;
use super::draft::Draft;
use super::error::{OpenError, StoreError};
use super::intervals::{put_leb128, take_leb128};
use super::options::StoreOptions;
use super::recovery::io_error;
use super::state::State;
use super::types::{Committed, Operation, Refused, Space};
use super::{Reader, Store};
use crate::oneshot;

/// The oldest format that this version reads.
pub const FORMAT_MIN: u32 = 2;
/// What the version before reads, and this one goes on writing.
pub const FORMAT_OLD: u32 = 2;
/// The newest format that this version reads and writes.
pub const FORMAT_NEW: u32 = 3;
/// The format that knows of offsets that were given up.
pub(super) const FORMAT_GIVEN_UP: u32 = 3;
/// After so long in health nobody goes back to the version before: 14 days, ms.
pub const FINALIZE_AFTER_MS: u64 = 14 * 86_400_000;

/// The row's key.
pub(super) const META_FORMAT: &[u8] = b"format";
/// Of the row itself.
const ROW_FORMAT: u64 = 1;

/// What a store's files are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormatStatus {
    /// The format of the newest segment: versions that read it open the store. 0 before the first commit.
    pub written: u32,
    /// The format of segments from the next one on.
    pub next: u32,
    /// The newest that this version could write.
    pub newest: u32,
    /// For how long this version has run in health, ms; counts until it writes the newest.
    pub healthy_ms: u64,
    /// When `healthy_ms` reaches this, the newest is written.
    pub finalize_after_ms: u64,
}

/// What the row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FormatRow {
    /// New segments may be written in it.
    pub allowed: u32,
    /// How long this version has run.
    pub healthy_ms: u64,
}

impl FormatRow {
    /// As the state has it, for a version whose newest format is `newest`.
    pub(super) fn of(state: &State, newest: u32) -> Self {
        let read = || {
            let mut raw = state.get(Space::Meta, META_FORMAT)?;
            let mut number = || take_leb128(&mut raw).ok();
            let (row, allowed, counted_for, healthy_ms) = (number()?, number()?, number()?, number()?);
            let healthy_ms = if counted_for == u64::from(newest) { healthy_ms } else { 0 };
            (row == ROW_FORMAT).then_some(Self { allowed: u32::try_from(allowed).ok()?, healthy_ms })
        };
        let row = read().unwrap_or(Self { allowed: FORMAT_OLD, healthy_ms: 0 });
        Self { allowed: row.allowed.clamp(FORMAT_MIN, newest), ..row }
    }

    pub(super) fn encode(self, newest: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        for number in [ROW_FORMAT, self.allowed.into(), newest.into(), self.healthy_ms] {
            put_leb128(&mut out, number);
        }
        out
    }

    /// As it is after so long in health; `None` if there is nothing to count any more.
    pub(super) fn after(self, ms: u64, newest: u32) -> Option<Self> {
        if self.allowed >= newest {
            return None;
        }
        let healthy_ms = self.healthy_ms.saturating_add(ms);
        let allowed = if healthy_ms >= FINALIZE_AFTER_MS { newest } else { self.allowed };
        Some(Self { allowed, healthy_ms })
    }
}

/// Lets new segments be written in the newest format.
struct Finalize(oneshot::Sender<Result<(), StoreError>>);

impl Operation for Finalize {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        let row = FormatRow { allowed: FORMAT_NEW, healthy_ms: 0 };
        draft.set(Space::Meta, META_FORMAT, Some(&row.encode(FORMAT_NEW)));
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        self.0.send(outcome.map(drop).map_err(Clone::clone));
    }

    fn commits_at_once(&self) -> bool {
        true
    }
}

impl Store {
    /// Lets new segments be written in [`FORMAT_NEW`]: the version before won't open the store then. Durable when it returns.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn finalize(&self) -> Result<(), StoreError> {
        let (told, outcome) = oneshot::channel();
        self.submit(Box::new(Finalize(told))).await?;
        outcome.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// As [`Store::finalize`], of a stopped store. Blocks.
///
/// # Errors
/// [`OpenError::InUse`] if a process runs it; else see [`OpenError`].
pub fn finalize(dir: &Path, disk: &Arc<dyn Disk>) -> Result<FormatStatus, OpenError> {
    let options = StoreOptions::unbounded(dir);
    let (store, mut engine) = Store::open(options, Arc::clone(disk), Arc::new(RealClock::default()))?;
    let failed = |what: String| io_error(dir, std::io::Error::other(what));
    let (told, outcome) = oneshot::channel();
    store.try_submit(Box::new(Finalize(told))).map_err(|_| failed("the store takes nothing".to_owned()))?;
    engine.step_writer(true);
    outcome.take().unwrap_or(Err(StoreError::Closed)).map_err(|error| failed(error.to_string()))?;
    let status = store.status().format;
    store.shutdown();
    engine.close().map_err(|error| io_error(dir, error))?;
    Ok(status)
}

/// What a stopped store is written in. Blocks.
///
/// # Errors
/// See [`Reader::open`].
pub fn format_of(dir: &Path, disk: Arc<dyn Disk>) -> Result<FormatStatus, OpenError> {
    Ok(Reader::open(dir, disk)?.format())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(row: FormatRow, newest: u32) -> State {
        let mut state = State::default();
        state.set(Space::Meta, META_FORMAT.to_vec(), Some(row.encode(newest)));
        state
    }

    #[test]
    fn fourteen_days_in_health_and_the_new_format_is_written() {
        let day = 86_400_000;
        let mut row = FormatRow::of(&State::default(), 3);
        assert_eq!(row, FormatRow { allowed: 2, healthy_ms: 0 });
        for _ in 0..13 {
            row = FormatRow::of(&state(row.after(day, 3).unwrap(), 3), 3);
        }
        assert_eq!(row, FormatRow { allowed: 2, healthy_ms: 13 * day });
        let row = row.after(day, 3).unwrap();
        assert_eq!((row.allowed, row.after(day, 3)), (3, None));
    }

    #[test]
    fn another_version_counts_anew() {
        let row = FormatRow { allowed: 2, healthy_ms: FINALIZE_AFTER_MS - 1 };
        assert_eq!(FormatRow::of(&state(row, 3), 3), row);
        assert_eq!(FormatRow::of(&state(row, 4), 3), FormatRow { healthy_ms: 0, ..row });
        // It may write no more than it can.
        assert_eq!(FormatRow::of(&state(FormatRow { allowed: 4, healthy_ms: 0 }, 4), 3).allowed, 3);
    }
}
