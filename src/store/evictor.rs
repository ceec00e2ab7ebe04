//! Gives up old segments, removes or recycles their files, and keeps a spare ready.
//!
//! An eviction is two steps: first a commit that declares it, with what following readers lose entered into the ledger;
//! then, with that durable and nobody using the file any more, the file goes. Opening a store finishes what a crash left
//! between the two. Which way room is made, [`way::plan`] decides; a rewrite is moved on by [`rewrite::step`], and until it is
//! done nothing else takes segments out of the ring. What a segment still holds is read from its summary before the operation is sent, and comes along
//! with it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::draft::Draft;
use super::error::StoreError;
use super::holdings::{self, Holding};
use super::intervals::Intervals;
use super::ledger::read_by_all;
use super::options::OnFull;
use super::plan::Plan;
use super::quarantine;
use super::read::Attempt;
use super::rewrite::{self, Goal};
use super::ring::{Segment, lock};
use super::segment::SegmentError;
use super::shared::{RESERVE_BYTES, Shared};
use super::status::LossReason;
use super::types::{Committed, Operation, PartitionId, Refused, Space};
use super::way;

/// Declares all segments up to one evicted.
#[derive(Debug)]
pub(super) struct Evict {
    segment: u32,
    reason: LossReason,
    holdings: Vec<Holding>,
    /// What it holds had changed when its turn came: it must be looked at again.
    stale: bool,
    /// [`Shared::evicting`].
    submitted: Arc<AtomicU32>,
}

impl Evict {
    pub(super) fn enter(&mut self, draft: &mut Draft<'_>) {
        self.stale = !draft.evict_through(self.segment, &self.holdings, self.reason);
    }
}

impl Operation for Evict {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        // It may have been evicted meanwhile, by the writer in need of room.
        if draft.evicted_through() < self.segment {
            self.enter(draft);
        }
        Ok(())
    }

    /// The writer wakes maintenance when it has taken the segment out of the ring; a failed one may be tried again.
    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        if outcome.is_err() || self.stale {
            self.submitted.store(0, Ordering::Release);
        }
    }
}

/// The eviction of the oldest segment, which must be sealed; `None` if it is the active one.
pub(super) fn oldest(shared: &Shared) -> Result<Option<Evict>, SegmentError> {
    let Some(oldest) = oldest_but_active(shared) else { return Ok(None) };
    let holdings = look(shared, &oldest)?;
    #[cfg(debug_assertions)]
    if shared.ring.planted == Some(super::sim::Planted::UnlinkBeforeLedger) {
        let _removed = shared.ring.disk.remove(&oldest.path);
    }
    Ok(holdings.map(|holdings| evict(shared, oldest.id, holdings, LossReason::Evicted)))
}

/// The eviction of the oldest segment, if all that it holds was read by all who follow it; `None` if something is still
/// needed, or nobody follows it, who could have it elsewhere.
pub(super) fn unneeded(shared: &Shared) -> Result<Option<Evict>, SegmentError> {
    let Some(oldest) = oldest_but_active(shared) else { return Ok(None) };
    let Some(holdings) = look(shared, &oldest)? else { return Ok(None) };
    let view = shared.view();
    let followers = lock(&shared.env.followers);
    let position = |key: &[u8]| Intervals::decode(view.state.get(Space::Cursor, key)?).ok();
    let needed = holdings.iter().any(|holding| {
        let read = read_by_all(followers.of(holding.partition), holding.partition, position);
        read.is_none_or(|read| read < holding.end)
    });
    Ok((!needed).then(|| evict(shared, oldest.id, holdings, LossReason::Evicted)))
}

fn oldest_but_active(shared: &Shared) -> Option<Arc<Segment>> {
    let view = shared.view();
    (view.segments.len() > 1).then(|| view.segments.front().cloned())?
}

fn evict(shared: &Shared, segment: u32, holdings: Vec<Holding>, reason: LossReason) -> Evict {
    Evict { segment, reason, holdings, stale: false, submitted: Arc::clone(&shared.evicting) }
}

/// What the oldest segment holds; `None` if it went meanwhile.
fn look(shared: &Shared, oldest: &Arc<Segment>) -> Result<Option<Vec<Holding>>, SegmentError> {
    match holdings::of_oldest(shared, oldest) {
        Ok(holdings) => Ok(Some(holdings)),
        Err(Attempt::Again) => Ok(None),
        Err(Attempt::Failed(error)) => Err(SegmentError::Io(io::Error::other(error.to_string()))),
    }
}

/// Does one thing that is due. Whether there was anything to do.
pub(super) fn step(shared: &Shared) -> Result<bool, SegmentError> {
    if shared.poisoned().is_some() || shared.queue.is_closed() {
        return Ok(false);
    }
    if shared.rewrite.is_active() {
        return rewrite::step(shared);
    }
    let differ = shared.classes_differ();
    let planned = shared.planned_bytes() + if differ { shared.ring.spare_growth() } else { 0 };
    let over = planned > shared.max_bytes;
    let (next_id, sealed) = {
        let view = shared.view();
        let sealed = shared.sealed_through.load(Ordering::Acquire);
        (view.active().map_or(1, |active| active.id + 1), view.segments.front().is_some_and(|s| s.id <= sealed))
    };
    let has_spare = shared.ring.has_spare();
    if let Some(doomed) = shared.ring.doomed() {
        let recycle = !has_spare && !over;
        #[cfg(debug_assertions)]
        let recycle = recycle && shared.ring.planted != Some(super::sim::Planted::UnlinkBeforeLedger);
        if recycle {
            shared.ring.prepare_spare(next_id, Some(&doomed))?;
        } else {
            shared.ring.remove(&doomed).map_err(SegmentError::Io)?;
        }
        return Ok(true);
    }
    let room_for_another = planned + shared.ring.segment_bytes <= shared.max_bytes;
    let wanted = over || (!has_spare && !room_for_another);
    if wanted && shared.ring.remove_condemned().map_err(SegmentError::Io)? {
        return Ok(true);
    }
    if quarantine::step(shared)? {
        return Ok(true);
    }
    if sealed && let Some(dead) = dead_segment(shared)? {
        return Ok(submit(shared, evict(shared, dead, Vec::new(), LossReason::Expired)));
    }
    // Where rewrites are to be expected there is always room for one.
    let headroom = if differ { shared.ring.segment_bytes } else { 0 };
    let room_for_another = planned + headroom + shared.ring.segment_bytes <= shared.max_bytes;
    let wanted = planned + headroom > shared.max_bytes || (!has_spare && !room_for_another);
    if wanted && sealed && shared.on_full == OnFull::EvictOldest && make_room(shared, planned)? {
        return Ok(true);
    }
    // Whoever only opens a store and reads it leaves it as it was.
    let in_use = shared.counters.commits.load(Ordering::Relaxed) > 0;
    if !has_spare && !over && in_use {
        shared.ring.prepare_spare(next_id, None)?;
        return Ok(true);
    }
    if in_use && shared.reclaim.swap(false, Ordering::AcqRel) && reclaim(shared, planned)? {
        return Ok(true);
    }
    reserve(shared, planned).map_err(SegmentError::Io)
}

/// Claims room that the bound leaves, or gives it back before it is needed otherwise. Whether there was anything to do.
pub(super) fn reserve(shared: &Shared, planned: u64) -> io::Result<bool> {
    let (claimed, more) = (shared.reserve_bytes(), shared.ring.reserve_file_bytes());
    if planned + claimed > shared.max_bytes {
        return shared.ring.shrink_reserve();
    }
    let room = shared.ring.reserve.is_wanted() && planned + claimed + more <= shared.max_bytes;
    // What it can't have now is asked for again at the next look.
    Ok(room && shared.ring.grow_reserve().is_ok())
}

/// Begins to make room in the way that costs the least that matters. Whether it did.
fn make_room(shared: &Shared, planned: u64) -> Result<bool, SegmentError> {
    if oldest_but_active(shared).is_none_or(|oldest| is_submitted(shared, oldest.id)) {
        return Ok(false);
    }
    let spare = if shared.ring.has_spare() { shared.ring.segment_bytes } else { 0 };
    match unless_gone(way::plan(shared, false, (shared.max_bytes + spare).saturating_sub(planned)))? {
        Plan::Nothing => Ok(false),
        Plan::Oldest => Ok(oldest(shared)?.is_some_and(|evict| submit(shared, evict))),
        Plan::Rewrite { from, to, starts, survivors } => {
            if planned + rewrite::file_bytes(survivors) > shared.max_bytes {
                shared.ring.remove_spare().map_err(SegmentError::Io)?;
            }
            make_way(shared, planned + rewrite::file_bytes(survivors))?;
            if rewrite::begin(shared, from, to, Goal { starts }, survivors)? {
                return Ok(true);
            }
            if !shared.rewrite.is_blocked(shared) {
                return Ok(false);
            }
            Ok(oldest(shared)?.is_some_and(|evict| submit(shared, evict)))
        }
    }
}

/// Gives back room that was claimed for later, as far as this many bytes are wanted within the bound.
fn make_way(shared: &Shared, wanted: u64) -> Result<(), SegmentError> {
    while wanted + shared.reserve_bytes() > shared.max_bytes {
        if !shared.ring.shrink_reserve().map_err(SegmentError::Io)? {
            break;
        }
    }
    Ok(())
}

/// Begins to make room in the writer's need of it: as [`make_room`], but whole evictions are the writer's own.
pub(super) fn begin_rewrite_in_need(shared: &Shared) -> Result<Plan, SegmentError> {
    let disk = shared.disk_bytes() + RESERVE_BYTES;
    let free = (shared.max_bytes + shared.ring.spare_bytes()).saturating_sub(disk);
    let plan = unless_gone(way::plan(shared, false, free))?;
    if let Plan::Rewrite { from, to, starts, survivors } = &plan {
        if disk + rewrite::file_bytes(*survivors) > shared.max_bytes {
            shared.ring.remove_spare().map_err(SegmentError::Io)?;
        }
        make_way(shared, disk + rewrite::file_bytes(*survivors))?;
        let goal = Goal { starts: starts.clone() };
        if !rewrite::begin(shared, *from, *to, goal, *survivors)? || !shared.rewrite.is_active() {
            return Ok(Plan::Oldest);
        }
    }
    Ok(plan)
}

/// Begins to leave out what is dead, if that is worth it.
fn reclaim(shared: &Shared, planned: u64) -> Result<bool, SegmentError> {
    let plan = unless_gone(way::plan(shared, true, shared.max_bytes.saturating_sub(planned)))?;
    // There may be more: also behind an oldest segment that is about to go.
    shared.reclaim.store(plan != Plan::Nothing, Ordering::Release);
    let Plan::Rewrite { from, to, starts, survivors } = plan else { return Ok(false) };
    make_way(shared, planned + rewrite::file_bytes(survivors))?;
    rewrite::begin(shared, from, to, Goal { starts }, survivors)
}

fn unless_gone(plan: Result<Plan, Attempt>) -> Result<Plan, SegmentError> {
    match plan {
        Ok(plan) => Ok(plan),
        Err(Attempt::Again) => Ok(Plan::Nothing),
        Err(Attempt::Failed(error)) => Err(SegmentError::Io(io::Error::other(error.to_string()))),
    }
}

/// Sends an eviction to the writer, unless it is on its way already.
fn submit(shared: &Shared, evict: Evict) -> bool {
    let before = shared.evicting.fetch_max(evict.segment, Ordering::AcqRel);
    before < evict.segment && shared.queue.push_internal(Box::new(evict)).is_ok()
}

fn is_submitted(shared: &Shared, segment: u32) -> bool {
    shared.evicting.load(Ordering::Acquire) >= segment
}

/// A partition of which the oldest segment holds something: while it does, nothing else needs to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    segment: u32,
    partition: PartitionId,
    /// Behind the last record there.
    end: i64,
}

/// The oldest segment, if nothing in it is wanted any more.
fn dead_segment(shared: &Shared) -> Result<Option<u32>, SegmentError> {
    let Some(oldest) = oldest_but_active(shared).filter(|oldest| !is_submitted(shared, oldest.id)) else {
        return Ok(None);
    };
    let lives = lock(&shared.witness).is_some_and(|witness| {
        let view = shared.view();
        let partition = view.partitions.get(&witness.partition);
        witness.segment == oldest.id && partition.is_some_and(|partition| partition.log_start < witness.end)
    });
    if lives {
        return Ok(None);
    }
    let Some(holdings) = look(shared, &oldest)? else { return Ok(None) };
    let witness = |held: &Holding| Witness { segment: oldest.id, partition: held.partition, end: held.end };
    *lock(&shared.witness) = holdings.first().map(witness);
    Ok(holdings.is_empty().then_some(oldest.id))
}
