//! Rewrites a run of sealed segments into one file without what goes; or takes segments out of which nothing survives.
//!
//! | stage | what it means | a crash then |
//! |---|---|---|
//! | copying | `rewrite.new` is being made, in steps | it is removed |
//! | ready | it is complete and synced; an operation that declares it is on its way | it is removed |
//! | declared | the losses are in the ledger, the directory names the new segment, a row in `Space::Meta` notes the swap | opening finishes the swap |
//! | swapped | renamed over the run's last file; the others are given up | opening removes what is left of them |
//!
//! The note is cleared by a later commit, at the latest when the next rewrite wants to begin.
//!
//! Invariants: at most one rewrite at a time, and while there is one nothing else takes segments out of the ring; what
//! the new file may come to take counts against the bound before it is written; readers find every record that stays at
//! every moment: in the old files until the new one has its name.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::copy::{Copied, Copy, STEP_BYTES};
use super::directory::{MARKS_MAX, SegmentRow};
use super::draft::Draft;
use super::error::StoreError;
use super::format::{u32_at, u64_at};
use super::heads::Marks;
use super::holdings::{self, Holding};
use super::read::Attempt;
use super::ring::{REWRITE_NEW, Ring, Segment, lock};
use super::segment::{Seal, SegmentError};
use super::shared::Shared;
use super::types::{Committed, Operation, PartitionId, Refused, Space};
use super::view::{META_REWRITE, META_REWRITTEN, View};

/// How long the clearing of a note may wait for a commit to ride with.
const CLEAR_WITHIN_MS: u64 = 60_000;
/// How long none begins after one has failed.
const BLOCKED_MS: u64 = 60_000;
const DAY_MS: u128 = 86_400_000;
/// What a copy takes besides an eighth more than its batches: redb's own pages, the index.
const FILE_OVERHEAD_BYTES: u64 = 128 * 1_024;

/// The one rewrite that there is at a time.
#[derive(Debug, Default)]
pub(super) struct Rewrite {
    /// Held by whoever moves it on: maintenance, or the writer in need of room.
    driving: Mutex<()>,
    stage: Arc<Mutex<Stage>>,
    /// There is one.
    active: AtomicBool,
    bucket: Mutex<Option<Bucket>>,
    /// A note is being cleared right now.
    clearing: Arc<AtomicBool>,
    /// One failed: none begins before this moment of the monotonic clock.
    blocked_until_ms: AtomicU64,
}

/// What of the day's budget is used up, as of a moment of the monotonic clock.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    used: u64,
    at_ms: u64,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Idle,
    Copying(Box<Copy>, Goal),
    Ready(Box<Ready>),
    Declared(Swap),
}

/// What partitions lose by a rewrite: where each begins afterwards.
#[derive(Clone, Debug, Default)]
pub(super) struct Goal {
    pub starts: Vec<(PartitionId, i64)>,
}

/// A complete copy, or none where nothing survives, about to be declared.
#[derive(Debug)]
struct Ready {
    run: Vec<Arc<Segment>>,
    goal: Goal,
    /// What goes; `None` if it must be counted, for the first time or again.
    holdings: Option<Vec<Holding>>,
    /// The row of the new segment.
    row: Option<SegmentRow>,
    /// What of the day's budget is used up with it.
    used: u64,
    /// It is in the open commit.
    entered: bool,
    /// It can't be declared any more.
    void: bool,
}

impl Ready {
    fn new(run: Vec<Arc<Segment>>, goal: Goal) -> Self {
        Self { run, goal, holdings: None, row: None, used: 0, entered: false, void: false }
    }
}

/// A declared swap.
#[derive(Debug)]
struct Swap {
    run: Vec<Arc<Segment>>,
    row: Option<SegmentRow>,
}

/// What became of an attempt to declare a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Yes,
    /// A partition doesn't begin any more where it did when what goes was counted.
    Stale,
    /// A segment of the run is gone, or something of it is pinned now.
    Void,
}

/// Declares a rewrite that is ready.
struct Declare(Arc<Mutex<Stage>>);

impl Operation for Declare {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        if let Stage::Ready(ready) = &mut *lock(&self.0) {
            ready.enter(draft);
        }
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        if outcome.is_ok() {
            declared(&self.0);
        }
    }
}

impl Ready {
    fn enter(&mut self, draft: &mut Draft<'_>) -> Declared {
        // The writer may have declared it already, or it is to be counted again.
        let Some(holdings) = &self.holdings else { return Declared::Stale };
        let ids: Vec<u32> = self.run.iter().map(|segment| segment.id).collect();
        let entered = draft.rewrite(&ids, self.row.as_ref(), holdings, self.used);
        match entered {
            Declared::Yes => self.entered = true,
            Declared::Stale => self.holdings = None,
            Declared::Void => self.void = true,
        }
        entered
    }
}

/// Clears the note of a swap that is done.
struct ClearNote(Arc<AtomicBool>);

impl Operation for ClearNote {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        draft.set(Space::Meta, META_REWRITE, None);
        Ok(())
    }

    fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {
        self.0.store(false, Ordering::Release);
    }
}

/// After the commit: a rewrite that was entered is declared.
fn declared(stage: &Mutex<Stage>) {
    let mut stage = lock(stage);
    if let Stage::Ready(ready) = &mut *stage
        && ready.entered
    {
        let swap = Swap { run: std::mem::take(&mut ready.run), row: ready.row.take() };
        *stage = Stage::Declared(swap);
    }
}

/// The note of a swap in `Space::Meta`: ids of the first and the last segment of the run, u32 each, little-endian.
pub(super) fn noted(view: &View) -> Option<(u32, u32)> {
    let raw = view.state.get(Space::Meta, META_REWRITE)?;
    Some((u32_at(raw, 0), u32_at(raw, 4)))
}

/// Bytes that a file of so many bytes of batches may come to occupy.
pub(super) fn file_bytes(survivors: u64) -> u64 {
    survivors + survivors / 8 + FILE_OVERHEAD_BYTES
}

/// Most bytes of batches in a file that may occupy so much.
pub(super) fn survivors_max(file_bytes: u64) -> u64 {
    file_bytes.saturating_sub(FILE_OVERHEAD_BYTES) / 9 * 8
}

impl Rewrite {
    /// Whether there is one under way.
    pub(super) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Whether one failed a short while ago, so that none begins.
    pub(super) fn is_blocked(&self, shared: &Shared) -> bool {
        shared.env.clock.mono_ms() < self.blocked_until_ms.load(Ordering::Relaxed)
    }

    /// Whether one waits to be declared.
    pub(super) fn is_ready(&self) -> bool {
        matches!(&*lock(&self.stage), Stage::Ready(ready) if ready.holdings.is_some() && !ready.void)
    }

    /// What of the day's budget is used up now; a restart goes on with what was used when the last rewrite was declared.
    fn used(&self, shared: &Shared) -> u64 {
        let now = shared.env.clock.mono_ms();
        let saved = || {
            let view = shared.view();
            let used = view.state.get(Space::Meta, META_REWRITTEN).map_or(0, |raw| u64_at(raw, 8));
            Bucket { used, at_ms: now }
        };
        let bucket = *lock(&self.bucket).get_or_insert_with(saved);
        let gained = u128::from(shared.rewrite_budget) * u128::from(now.saturating_sub(bucket.at_ms)) / DAY_MS;
        bucket.used.saturating_sub(u64::try_from(gained).unwrap_or(u64::MAX))
    }

    /// Bytes that may be rewritten now.
    pub(super) fn budget_left(&self, shared: &Shared) -> u64 {
        shared.rewrite_budget.saturating_sub(self.used(shared))
    }

    /// What is used up with so many bytes more.
    fn spend(&self, shared: &Shared, bytes: u64) -> u64 {
        let used = self.used(shared).saturating_add(bytes);
        *lock(&self.bucket) = Some(Bucket { used, at_ms: shared.env.clock.mono_ms() });
        used
    }
}

/// Begins to rewrite the segments with ids `from` to `to`, without what lies before the `starts` of the goal. Whether it
/// did: not before the note of the last one is cleared.
pub(super) fn begin(shared: &Shared, from: u32, to: u32, goal: Goal, survivors: u64) -> Result<bool, SegmentError> {
    let _driving = lock(&shared.rewrite.driving);
    if shared.rewrite.is_active() {
        return Ok(true);
    }
    if shared.rewrite.is_blocked(shared) {
        return Ok(false);
    }
    if noted(&shared.view()).is_some() {
        let clearing = &shared.rewrite.clearing;
        let first = !clearing.swap(true, Ordering::AcqRel);
        return Ok(first && shared.queue.push_internal(Box::new(ClearNote(Arc::clone(clearing)))).is_ok());
    }
    let (run, starts) = {
        let view = shared.view();
        let run: Vec<_> = view.segments.iter().filter(|s| (from..=to).contains(&s.id)).cloned().collect();
        let mut starts: BTreeMap<_, _> = view.partitions.iter().map(|(&id, p)| (id, p.log_start)).collect();
        for (partition, start) in &goal.starts {
            starts.entry(*partition).and_modify(|known| *known = (*known).max(*start));
        }
        (run, starts)
    };
    if run.is_empty() {
        return Ok(false);
    }
    let stage = if survivors == 0 {
        Stage::Ready(Box::new(Ready::new(run, goal)))
    } else {
        let file = shared.ring.create_rewrite(file_bytes(survivors))?;
        Stage::Copying(Box::new(Copy::new(run, starts, file)), goal)
    };
    *lock(&shared.rewrite.stage) = stage;
    shared.rewrite.active.store(true, Ordering::Release);
    Ok(true)
}

/// Moves the rewrite on, if there is one. Whether there was anything to do.
pub(super) fn step(shared: &Shared) -> Result<bool, SegmentError> {
    let _driving = lock(&shared.rewrite.driving);
    let stage = std::mem::take(&mut *lock(&shared.rewrite.stage));
    let (next, moved) = match stage {
        Stage::Idle => return Ok(false),
        Stage::Copying(copy, goal) => (or_abandon(shared, copying(shared, copy, goal))?, true),
        Stage::Ready(ready) if ready.void => (or_abandon(shared, Err(Attempt::Again))?, true),
        Stage::Ready(ready) if ready.holdings.is_some() => (Stage::Ready(ready), false),
        Stage::Ready(ready) => (or_abandon(shared, count(shared, ready))?, true),
        Stage::Declared(swap) => match finish(shared, &swap) {
            Ok(()) => (Stage::Idle, true),
            Err(error) => {
                // It is declared: there is no way but on.
                *lock(&shared.rewrite.stage) = Stage::Declared(swap);
                return Err(error);
            }
        },
    };
    let submit = moved && matches!(&next, Stage::Ready(ready) if ready.holdings.is_some());
    if matches!(next, Stage::Idle) {
        shared.rewrite.active.store(false, Ordering::Release);
    }
    *lock(&shared.rewrite.stage) = next;
    if submit {
        let _closed = shared.queue.push_internal(Box::new(Declare(Arc::clone(&shared.rewrite.stage))));
    }
    Ok(moved)
}

/// Declares what is ready in a commit of the writer's own. The writer calls [`settle`] once that is durable.
pub(super) fn declare(shared: &Shared, draft: &mut Draft<'_>) -> Declared {
    match &mut *lock(&shared.rewrite.stage) {
        Stage::Ready(ready) => ready.enter(draft),
        _ => Declared::Void,
    }
}

/// Gives a rewrite up that isn't declared yet, and its room with it.
pub(super) fn give_up(shared: &Shared) -> Result<(), SegmentError> {
    let _driving = lock(&shared.rewrite.driving);
    let mut stage = lock(&shared.rewrite.stage);
    let undeclared = match &*stage {
        Stage::Copying(..) => true,
        Stage::Ready(ready) => !ready.entered,
        Stage::Idle | Stage::Declared(_) => false,
    };
    if undeclared {
        *stage = Stage::Idle;
        drop(stage);
        or_abandon(shared, Err(Attempt::Again))?;
    }
    Ok(())
}

/// After the writer's own commit.
pub(super) fn settle(shared: &Shared) {
    declared(&shared.rewrite.stage);
}

fn copying(shared: &Shared, mut copy: Box<Copy>, goal: Goal) -> Result<Stage, Attempt> {
    let copied = copy.step(shared)?;
    let allocated = copy.allocated().map_err(SegmentError::Io)?;
    shared.ring.count_rewrite(allocated + (STEP_BYTES as u64).min(shared.ring.segment_bytes / 8));
    if copied == Copied::More {
        return Ok(Stage::Copying(copy, goal));
    }
    Ok(Stage::Ready(Box::new(complete(shared, *copy, goal)?)))
}

/// Seals the copy and makes its name durable, so that it can be declared.
fn complete(shared: &Shared, copy: Copy, goal: Goal) -> Result<Ready, SegmentError> {
    let run = copy.run.clone();
    let (mut marks, mut ends) = (Marks::default(), None);
    {
        let view = shared.view();
        for row in run.iter().filter_map(|segment| view.row(segment.id)) {
            marks.append(&row.marks);
            let first = ends.map_or(row.first_commit, |(first, _)| first);
            ends = Some((first, row.last_commit));
        }
    }
    let (Some((first_commit, last_commit)), Some(first), Some(last)) = (ends, run.first(), run.last()) else {
        return Ok(Ready { void: true, ..Ready::new(run, goal) });
    };
    let marks = marks.coarse(MARKS_MAX);
    let index = copy.finish(&Seal { last_commit, marks: marks.encode() })?;
    let occupied_bytes = shared.ring.complete_rewrite()?;
    let used = shared.rewrite.spend(shared, occupied_bytes);
    let row = SegmentRow {
        id: last.id,
        covers_from: first.covers_from,
        first_commit,
        last_commit,
        totals: index.totals(),
        occupied_bytes,
        marks,
    };
    Ok(Ready { row: Some(row), used, ..Ready::new(run, goal) })
}

/// Counts what goes.
fn count(shared: &Shared, mut ready: Box<Ready>) -> Result<Stage, Attempt> {
    let last = ready.run.last().map_or(0, |segment| segment.id);
    ready.holdings = Some(holdings::before(shared, &ready.goal.starts, last)?);
    Ok(Stage::Ready(ready))
}

/// The next stage, or none any more where something came in between: nothing of it was declared.
fn or_abandon(shared: &Shared, next: Result<Stage, Attempt>) -> Result<Stage, SegmentError> {
    let error = match next {
        Ok(next) => return Ok(next),
        Err(error) => error,
    };
    if let Attempt::Failed(error) = &error {
        log::warn!("rewriting segments: {error}");
        let until = shared.env.clock.mono_ms().saturating_add(BLOCKED_MS);
        shared.rewrite.blocked_until_ms.store(until, Ordering::Relaxed);
    }
    shared.rewrite.active.store(false, Ordering::Release);
    shared.ring.remove_rewrite().map_err(SegmentError::Io)?;
    Ok(Stage::Idle)
}

/// Gives the copy its name, puts it into the ring, and gives up the files that it stands for.
fn finish(shared: &Shared, swap: &Swap) -> Result<(), SegmentError> {
    let new = match &swap.row {
        Some(row) => {
            let allocated = shared.ring.name_rewrite(row.id).map_err(SegmentError::Io)?;
            let covers = (row.covers_from, row.id);
            Some(Arc::new(Segment::sealed(covers, row.first_commit, shared.ring.path(row.id), allocated)))
        }
        None => None,
    };
    let replaced = new.as_ref().and_then(|new| swap.run.iter().find(|segment| segment.id == new.id));
    let others = swap.run.iter().filter(|segment| replaced.is_none_or(|replaced| !Arc::ptr_eq(replaced, segment)));
    shared.view_mut().replace(&swap.run, new.clone());
    shared.ring.count_rewrite(0);
    if let Some(replaced) = replaced {
        shared.ring.replaced(replaced);
    }
    shared.counters.rewrites.fetch_add(1, Ordering::Relaxed);
    let bytes = swap.row.as_ref().map_or(0, |row| row.occupied_bytes);
    shared.counters.rewritten_bytes.fetch_add(bytes, Ordering::Relaxed);
    shared.ring.doom(others.cloned().collect());
    let until = shared.env.clock.mono_ms().saturating_add(CLEAR_WITHIN_MS);
    let _closed_or_full = shared.queue.try_push(Box::new(ClearNote(Arc::default())), Some(until));
    Ok(())
}

/// Names or removes what a crash left of a copy. Returns the segment that got a new file by it.
pub(super) fn recover(ring: &Ring, view: &View) -> io::Result<Option<u32>> {
    let new = ring.dir.join(REWRITE_NEW);
    let Some((_, to)) = noted(view).filter(|(_, to)| *to > view.evicted_through()) else {
        return ring.disk.remove(&new).map(|()| None);
    };
    ring.disk.rename(&new, &ring.path(to))?;
    ring.disk.sync_dir(&ring.dir)?;
    Ok(Some(to))
}
