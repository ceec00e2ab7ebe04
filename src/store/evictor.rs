//! Gives up old segments, removes or recycles their files, and keeps a spare ready.
//!
//! An eviction is two steps: first a commit that declares it, with what following readers lose entered into the ledger;
//! then, with that durable and nobody using the file any more, the file goes. Opening a store finishes what a crash left
//! between the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::draft::Draft;
use super::error::StoreError;
use super::heads::Partition;
use super::options::OnFull;
use super::segment::SegmentError;
use super::shared::Shared;
use super::status::LossReason;
use super::types::{Committed, Operation, Refused};
use super::view::View;

/// Declares all segments up to one evicted.
#[derive(Debug)]
pub(super) struct Evict {
    segment: u32,
    reason: LossReason,
    /// [`Shared::evicting`].
    submitted: Arc<AtomicU32>,
}

impl Evict {
    pub(super) fn enter(&self, draft: &mut Draft<'_>) {
        draft.evict_through(self.segment, self.reason);
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
        if outcome.is_err() {
            self.submitted.store(0, Ordering::Release);
        }
    }
}

/// The eviction of the oldest segment; `None` if it is the active one.
pub(super) fn oldest(shared: &Shared) -> Option<Evict> {
    let view = shared.view();
    let oldest = view.segments.front()?;
    #[cfg(debug_assertions)]
    if shared.ring.planted == Some(super::sim::Planted::UnlinkBeforeLedger) && view.segments.len() > 1 {
        let _removed = shared.ring.disk.remove(&oldest.path);
    }
    (view.segments.len() > 1).then(|| evict(shared, oldest.id, LossReason::Evicted))
}

fn evict(shared: &Shared, segment: u32, reason: LossReason) -> Evict {
    Evict { segment, reason, submitted: Arc::clone(&shared.evicting) }
}

/// Does one thing that is due. Whether there was anything to do.
pub(super) fn step(shared: &Shared) -> Result<bool, SegmentError> {
    if shared.poisoned().is_some() || shared.queue.is_closed() {
        return Ok(false);
    }
    let planned = shared.planned_bytes();
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
    if sealed && let Some(dead) = dead_segment(&shared.view()) {
        return Ok(submit(shared, evict(shared, dead, LossReason::Expired)));
    }
    let room_for_another = planned + shared.ring.segment_bytes <= shared.max_bytes;
    let wanted = over || (!has_spare && !room_for_another);
    if wanted
        && sealed
        && shared.on_full == OnFull::EvictOldest
        && let Some(evict) = oldest(shared)
    {
        return Ok(submit(shared, evict));
    }
    // Whoever only opens a store and reads it leaves it as it was.
    let in_use = shared.counters.commits.load(Ordering::Relaxed) > 0;
    if !has_spare && !over && in_use {
        shared.ring.prepare_spare(next_id, None)?;
        return Ok(true);
    }
    Ok(false)
}

/// Sends an eviction to the writer, unless it is on its way already.
fn submit(shared: &Shared, evict: Evict) -> bool {
    let before = shared.evicting.fetch_max(evict.segment, Ordering::AcqRel);
    before < evict.segment && shared.queue.push_internal(Box::new(evict)).is_ok()
}

/// The oldest segment, if nothing in it is wanted any more.
fn dead_segment(view: &View) -> Option<u32> {
    let oldest = view.segments.front()?;
    if view.segments.len() < 2 {
        return None;
    }
    let lives = |partition: &Partition| {
        let (first, rest) = partition.segments.split_first()?;
        let end = rest.first().map_or(partition.next_offset, |share| share.first_offset);
        Some(first.segment <= oldest.id && partition.log_start < end)
    };
    let alive = view.partitions.values().any(|partition| lives(partition) == Some(true));
    (!alive).then_some(oldest.id)
}
