//! The one writer: takes operations in, commits them together, tells them.
//!
//! A step function without waiting or threads: [`Writer::step`] does what is due now and says when to come again.
//!
//! Invariants:
//! - Commits are numbered without gaps; only this file appends to the log.
//! - An operation is told of success only after its commit is durable and visible to readers.
//! - Any failure of the medium ends the writer: what is on disk is known again only after the store is opened anew.
//! - When a commit begins is decided by `commit_policy`, unless the draft is full.

mod step;
pub use step::WriterStep;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::chunks::{Room, Stream};
use super::commit_policy::{self, CLOSE_BYTES, Waiting};
use super::directory::SegmentRow;
use super::draft::{self, Draft};
use super::error::StoreError;
use super::evictor;
use super::format::CommitHeader;
use super::formats::{FORMAT_NEW, FormatRow, META_FORMAT};
use super::options::OnFull;
use super::pending::Pending;
use super::plan::Plan;
use super::progress::Work;
use super::queue::Queued;
use super::rewrite::{self, Declared};
use super::ring::{Segment, lock};
use super::room::{self, Lack};
use super::sealer;
use super::segment::{Activation, SegmentError, SegmentFile};
use super::shared::{COMMIT_OVERHEAD_BYTES, Shared};
use super::types::{CommitSeq, Committed, Operation, Refused, Space};
use super::view::META_FLASH;

/// Most operations in a commit: what is told at the end of it.
const OPS_MAX: usize = 16_384;
/// How often the account of what is written is written itself.
const ACCOUNT_EVERY_MS: u64 = 60_000;

/// The writer.
pub(super) struct Writer {
    shared: Arc<Shared>,
    pending: Pending,
    /// What the open commit waits for.
    waiting: Waiting,
    /// Whether there is anything to write in it.
    changed: bool,
    /// When the account of the day was last written.
    accounted_ms: u64,
    room: Room,
    /// With what appends are refused, as there is no room and nothing may be evicted.
    full: Option<Lack>,
    epoch_written: bool,
    committed: Option<CommitSeq>,
    /// Operations told in this step.
    told: usize,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let accounted_ms = shared.env.clock.mono_ms();
        Self {
            shared,
            pending: Pending::default(),
            waiting: Waiting::default(),
            changed: false,
            accounted_ms,
            room: Room::default(),
            full: None,
            epoch_written: false,
            committed: None,
            told: 0,
        }
    }

    /// Takes in what waits, and commits if that is due; `now` commits in any case.
    pub(super) fn step(&mut self, now: bool) -> WriterStep {
        self.committed = None;
        self.told = 0;
        while let Some(queued) = self.shared.queue.pop() {
            self.take_in(queued);
        }
        let due = self.due_ms().is_some_and(|due| now || due <= self.shared.env.clock.mono_ms());
        if due || self.shared.queue.is_closed() {
            self.commit();
        }
        let due_ms = self.due_ms();
        let riders_only = due_ms.is_some() && !self.waiting.wanted;
        let short_bytes = CLOSE_BYTES.saturating_sub(self.pending.bytes);
        WriterStep { committed: self.committed, due_ms, riders_only, short_bytes, told: self.told }
    }

    /// When the open commit must begin.
    fn due_ms(&self) -> Option<u64> {
        // Where there is nothing to write, nothing is saved by waiting.
        let at_once = self.waiting.at_once || !self.changed;
        commit_policy::due_ms(self.shared.rules(), &Waiting { at_once, bytes: self.pending.bytes, ..self.waiting })
    }

    /// Whether all that was queued is committed, or failed.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.ops.is_empty() && self.shared.queue.len() == 0
    }

    /// Applies an operation to the open commit.
    fn take_in(&mut self, queued: Queued) {
        let Queued { mut op, rides_until_ms, .. } = queued;
        if self.pending.bytes >= self.shared.draft_bytes_max || self.pending.ops.len() >= OPS_MAX {
            self.commit();
        }
        if let Some(error) = self.shared.poisoned() {
            return op.done(Err(&error));
        }
        let mut applied = self.apply(&mut *op);
        if applied.is_err() && !self.pending.ops.is_empty() {
            self.commit();
            applied = self.apply(&mut *op);
        }
        match applied {
            Ok(()) => {
                let waiting = &mut self.waiting;
                waiting.wanted |= rides_until_ms.is_none();
                waiting.at_once |= op.commits_at_once();
                waiting.rides_until_ms = waiting.rides_until_ms.into_iter().chain(rides_until_ms).min();
                self.changed = self.changed || !self.pending.is_unchanged();
                self.pending.ops.push(op);
            }
            // Refused by a commit in which it would be alone: it can't ever be applied.
            Err(Refused) => op.done(Err(self.shared.poisoned().as_ref().unwrap_or(&StoreError::Full))),
        }
    }

    fn apply(&mut self, op: &mut dyn Operation) -> Result<(), Refused> {
        if self.pending.ops.is_empty() {
            self.full = self.make_room().err();
            if self.full.is_some() {
                room::note(&self.shared, self.full);
            }
            self.shared.env.promises_used_up.store(self.shared.promises_are_used_up(), Ordering::Relaxed);
        }
        let view = self.shared.view();
        self.pending.begin_operation();
        let applied =
            op.apply(&mut Draft::new(&view, &self.shared.env, &mut self.pending, self.full.map(Lack::refusal)));
        if applied.is_err() {
            self.pending.undo_operation();
        }
        applied
    }

    /// Ends the open commit: makes it durable, shows it to readers, **then** tells its operations.
    fn commit(&mut self) {
        let Waiting { began_ms, earned_ms, .. } = self.waiting;
        self.waiting = Waiting { began_ms, earned_ms, ..Waiting::default() };
        self.changed = false;
        let mut pending = std::mem::take(&mut self.pending);
        if pending.ops.is_empty() {
            return;
        }
        #[cfg(debug_assertions)]
        if self.shared.ring.planted == Some(super::sim::Planted::AckBeforeCommit) {
            pending.ops.drain(..).for_each(|op| op.done(Ok(&Committed::default())));
        }
        let shared = Arc::clone(&self.shared);
        let outcome = shared.progress.during(Work::Commit, &*shared.env.clock, || self.store(&mut pending));
        if let Ok(committed) = &outcome {
            let observers = lock(&self.shared.observers).0.clone();
            observers.iter().for_each(|observer| observer.committed(committed));
        }
        room::note_outcome(&self.shared, outcome.as_ref().err(), self.full);
        self.told += pending.ops.len();
        pending.ops.into_iter().for_each(|op| op.done(outcome.as_ref()));
    }

    /// Makes a commit durable and visible. One that changes nothing isn't written: what its operations saw is durable.
    fn store(&mut self, pending: &mut Pending) -> Result<Committed, StoreError> {
        if let Some(error) = self.shared.poisoned() {
            return Err(error);
        }
        if pending.is_unchanged() {
            return Ok(Committed { seq: self.shared.view().last_commit, ..Committed::default() });
        }
        self.tell_losses(pending);
        let bytes = room::pages_bytes(pending.bytes) + COMMIT_OVERHEAD_BYTES;
        if let Some(lack) = room::lack(&self.shared, bytes) {
            return Err(lack.error());
        }
        let roll = self.must_roll(bytes);
        let drops = pending.drops();
        let committed = self.append(pending, roll)?;
        if drops {
            let view = self.shared.view();
            lock(&self.shared.classes).retain(|id| view.partitions.contains_key(&id));
            self.shared.reclaim.store(true, Ordering::Release);
        }
        if drops || self.shared.rewrite.is_active() {
            self.shared.maintenance.wake();
        }
        Ok(committed)
    }

    /// Whether the active segment can't take `bytes` more and its own index.
    fn must_roll(&self, bytes: u64) -> bool {
        let cap = self.shared.ring.segment_bytes;
        let view = self.shared.view();
        let Some(active) = view.active() else { return true };
        let used = active.with_open(SegmentFile::used_bytes).unwrap_or(u64::MAX);
        // redb may place pages far up in a recycled file, beyond the blocks that it has.
        used.saturating_add(bytes + view.active_index.sealed_bytes()) > cap || active.allocated() > cap + cap / 8
    }

    /// Sees to it that the largest commit has room, within `max_bytes` and on the filesystem. It is done before a commit
    /// is begun, because an eviction is a commit of its own.
    ///
    /// Maintenance does so ahead of need; this is for when it has not caught up. For want of room on the filesystem, which
    /// others have taken, only what nobody needs any more is given up.
    fn make_room(&mut self) -> Result<(), Lack> {
        let bytes = room::of_any_commit(&self.shared);
        while let Some(lack) = room::lack(&self.shared, bytes) {
            if self.shared.poisoned().is_some() {
                return Err(lack);
            }
            let ring = &self.shared.ring;
            // What nobody can read goes first.
            match ring.remove_condemned() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => log::warn!("removing a damaged segment: {error}"),
            }
            if let Some(doomed) = ring.doomed() {
                if let Err(error) = ring.remove(&doomed) {
                    log::warn!("removing an evicted segment: {error}");
                    return Err(lack);
                }
                continue;
            }
            if self.shared.rewrite.is_active() {
                if !self.drive_rewrite(lack) {
                    return Err(lack);
                }
                continue;
            }
            if lack == Lack::Bound && self.shared.on_full == OnFull::Refuse {
                return Err(lack);
            }
            match sealer::step(&self.shared) {
                Ok(_) => {}
                Err(SegmentError::NoRoom) => return Err(lack),
                Err(error) => {
                    let _poisoned = self.fail(&error);
                    return Err(lack);
                }
            }
            match self.way_out(lack) {
                Some(Plan::Oldest) => {}
                Some(Plan::Rewrite { .. }) => continue,
                Some(Plan::Nothing) | None => return Err(lack),
            }
            let evict = match lack {
                Lack::Bound => evictor::oldest(&self.shared),
                Lack::Filesystem => evictor::unneeded(&self.shared),
            };
            let mut evict = match evict {
                Ok(Some(evict)) => evict,
                Ok(None) => return Err(lack),
                Err(error) => {
                    log::warn!("looking at what the oldest segment holds: {error}");
                    return Err(lack);
                }
            };
            let mut pending = Pending::default();
            evict.enter(&mut Draft::new(&self.shared.view(), &self.shared.env, &mut pending, None));
            self.tell_losses(&mut pending);
            if self.append(&mut pending, false).is_err() {
                return Err(lack);
            }
        }
        Ok(())
    }

    /// Which way there is to make room; begins it if it is a rewrite.
    fn way_out(&self, lack: Lack) -> Option<Plan> {
        match lack {
            Lack::Filesystem => Some(Plan::Oldest),
            Lack::Bound => evictor::begin_rewrite_in_need(&self.shared)
                .inspect_err(|error| log::warn!("looking for room: {error}"))
                .ok(),
        }
    }

    /// Moves the rewrite on that is under way, if need be by a commit of its own; gives it up where the filesystem has no
    /// room for it. Whether that went well.
    fn drive_rewrite(&mut self, lack: Lack) -> bool {
        if lack == Lack::Filesystem {
            if let Err(error) = rewrite::give_up(&self.shared) {
                log::warn!("giving up a rewrite: {error}");
            }
        } else if self.shared.rewrite.is_ready() {
            let mut pending = Pending::default();
            let entered = {
                let view = self.shared.view();
                rewrite::declare(&self.shared, &mut Draft::new(&view, &self.shared.env, &mut pending, None))
            };
            if entered != Declared::Yes {
                return true;
            }
            match sealer::step(&self.shared) {
                Ok(_) => {}
                Err(SegmentError::NoRoom) => return false,
                Err(error) => {
                    let _poisoned = self.fail(&error);
                    return false;
                }
            }
            self.tell_losses(&mut pending);
            if self.append(&mut pending, false).is_err() {
                return false;
            }
            rewrite::settle(&self.shared);
        }
        rewrite::step(&self.shared).inspect_err(|error| log::warn!("rewriting segments: {error}")).is_ok()
    }

    /// Lets the one who tells of losses add to the commit what it says of this one's.
    fn tell_losses(&self, pending: &mut Pending) {
        let losses = std::mem::take(&mut pending.losses);
        let teller = lock(&self.shared.loss_sink).clone();
        if let Some(teller) = teller.filter(|_| !losses.is_empty()) {
            let view = self.shared.view();
            teller.0.tell(&mut Draft::new(&view, &self.shared.env, pending, None), &losses);
        }
    }

    /// Writes a commit, into the active segment or as the first one of the next, and moves the view.
    fn append(&mut self, pending: &mut Pending, roll: bool) -> Result<Committed, StoreError> {
        self.waiting.began_ms = Some(self.shared.env.clock.mono_ms());
        let appended = self.append_now(pending, roll);
        self.waiting.earned_ms = self.shared.account(false);
        appended
    }

    fn append_now(&mut self, pending: &mut Pending, roll: bool) -> Result<Committed, StoreError> {
        let epoch = self.shared.env.epoch;
        let seq = self.shared.view().last_commit + 1;
        self.enter_epoch(pending);
        self.enter_account(pending);
        let stamp = draft::now(&self.shared.env.clock);
        let header = CommitHeader { seq, epoch_ordinal: epoch.ordinal, epoch_id: epoch.id, stamp };
        let begins = |active: &Arc<Segment>| active.with_open(super::segment::SegmentFile::begins_part);
        if roll || self.shared.view().active().and_then(begins) == Some(true) {
            self.room = Room::default();
        }
        if roll && let Some(row) = self.shared.view().active_row(seq) {
            // The one before is known from now on without its file.
            pending.set_row(Space::Segment, &SegmentRow::key(row.id), Some(&row.encode()));
        }
        let stream = pending.encode(header, self.room, self.shared.compression);
        if roll {
            self.activate_next(seq, &stream)?;
        } else {
            let active = self.shared.view().active().cloned();
            let append = SegmentFile::append;
            #[cfg(debug_assertions)]
            let append = match self.shared.ring.planted {
                Some(super::sim::Planted::CommitWithoutSync) => SegmentFile::append_without_sync,
                _ => append,
            };
            let stored = active.and_then(|active| active.with_open(|file| append(file, seq, &stream)));
            stored.unwrap_or(Err(SegmentError::Unclean)).map_err(|error| self.fail(&error))?;
        }
        self.epoch_written = true;
        self.room = self.room.after(&stream.chunk_ends);
        self.publish(seq, &stream)
    }

    /// Shows a durable commit to readers.
    fn publish(&mut self, seq: CommitSeq, stream: &Stream) -> Result<Committed, StoreError> {
        let shared = &self.shared;
        let (committed, evicted, quarantined) = {
            let mut view = shared.view_mut();
            let committed = view.apply_own(seq, stream).map_err(|what| shared.poison(what))?;
            if let Some(active) = view.active() {
                let allocated = active.with_open(|file| file.file.allocated());
                if let Some(Ok(bytes)) = allocated {
                    active.set_allocated(bytes);
                }
            }
            let evicted = view.take_evicted();
            (committed, evicted, view.take_quarantined())
        };
        if !quarantined.is_empty() {
            shared.ring.condemn(quarantined);
        }
        if !evicted.is_empty() {
            shared.counters.evictions.fetch_add(evicted.len() as u64, Ordering::Relaxed);
            shared.ring.doom(evicted);
            shared.maintenance.wake();
        }
        shared.counters.commits.fetch_add(1, Ordering::Relaxed);
        shared.counters.payload_bytes.fetch_add(stream.bytes.len() as u64, Ordering::Relaxed);
        self.committed = Some(seq);
        Ok(committed)
    }

    /// Puts the row of this opening's epoch into its first commit, and what is learned of time later; the oldest row goes
    /// when the table is full.
    fn enter_epoch(&self, pending: &mut Pending) {
        let view = self.shared.view();
        let mut draft = Draft::new(&view, &self.shared.env, pending, None);
        draft.enter_time();
        if self.epoch_written {
            return;
        }
        let rows = draft.entries(Space::Epoch, &[]);
        if rows.len() > crate::limits::EPOCHS_MAX
            && let Some((oldest, _)) = rows.first()
        {
            draft.set(Space::Epoch, oldest, None);
        }
    }

    /// Puts the account of what is written into a commit that is made anyway, if it is old.
    fn enter_account(&mut self, pending: &mut Pending) {
        let now = self.shared.env.clock.mono_ms();
        if now.saturating_sub(self.accounted_ms) < ACCOUNT_EVERY_MS {
            return;
        }
        let ran_ms = now.saturating_sub(self.accounted_ms);
        self.accounted_ms = now;
        self.shared.account(true);
        let row = lock(&self.shared.flash).encode();
        let view = self.shared.view();
        let mut draft = Draft::new(&view, &self.shared.env, pending, None);
        draft.set(Space::Meta, META_FLASH, Some(&row));
        if let Some(row) = FormatRow::of(&view.state, FORMAT_NEW).after(ran_ms, FORMAT_NEW) {
            draft.set(Space::Meta, META_FORMAT, Some(&row.encode(FORMAT_NEW)));
        }
    }

    /// Makes the spare the active segment, this commit its first.
    fn activate_next(&mut self, seq: CommitSeq, stream: &Stream) -> Result<(), StoreError> {
        let shared = &self.shared;
        // At most one segment is neither active nor sealed.
        sealer::step(shared).map_err(|error| match error {
            SegmentError::NoRoom => StoreError::DiskFull,
            error => self.fail(&error),
        })?;
        let id = shared.view().active().map_or(1, |active| active.id + 1);
        let spare = shared.ring.take_spare(id).map_err(|error| match error {
            // Nothing of the log was touched: there may be room later.
            SegmentError::Io(error) if error.kind() == io::ErrorKind::StorageFull => StoreError::DiskFull,
            error => self.fail(&error),
        })?;
        let hot = {
            let mut view = shared.view_mut();
            view.refresh_heads();
            view.state.hot_spaces(shared.ring.segment_bytes / 32)
        };
        let cold: Vec<Space> = {
            let view = shared.view();
            let cold =
                |space: &Space| !hot.contains(space) && (view.state.len(*space) > 0 || view.state.is_cold(*space));
            Space::ALL.into_iter().filter(cold).collect()
        };
        let incarnation = shared.incarnation;
        let (begin, format) = {
            let view = shared.view();
            (view.beginnings(), view.next_format())
        };
        let activation = Activation { format, incarnation, id: id.into(), first_commit: seq, hot, cold, begin };
        spare.file.activate(&activation, &shared.view().state, stream).map_err(|error| self.fail(&error))?;
        if !activation.cold.is_empty() {
            *lock(&shared.cold_changes) = Some(sealer::changes(shared, &activation.cold, seq - 1));
        }
        {
            let mut view = shared.view_mut();
            view.activate(Arc::new(Segment::open(id, seq, spare.path, spare.file)));
            view.written_format = format;
        }
        shared.maintenance.wake();
        Ok(())
    }

    fn fail(&self, error: &SegmentError) -> StoreError {
        self.shared.poison(&error.to_string())
    }
}
