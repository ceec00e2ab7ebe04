//! Takes segments that can't be read out of the ring, in one commit with the ledger's rows for what they held.
//!
//! What a segment held of a partition lies between the end of the one before and the beginning of the one behind; where
//! its own summary can be read still, that tells. The file is renamed to `NNNNNNNNNN.bad` afterwards: nobody reads it, it
//! counts in the bound, and it is the first to go when room is needed. Opening a store finishes what a crash left.
//!
//! Only what can't be used as a segment is taken out by itself. One in which single batches are damaged stays: the rest of
//! it is good, and may be needed; `brooklet fsck --repair` takes it out when somebody has looked.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::draft::Draft;
use super::error::StoreError;
use super::heads::proportion;
use super::index::PartitionSummary;
use super::ring::{Segment, UseError};
use super::segment::{SegmentError, SegmentFile};
use super::shared::Shared;
use super::types::{Committed, Operation, PartitionId, Refused, Removed};

/// What goes of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub partition: PartitionId,
    /// Where the partition began when this was found out.
    pub log_start: i64,
    pub range: Range<i64>,
    pub what: Removed,
}

/// Takes a run of neighbouring segments out of the ring.
struct Quarantine {
    segments: Vec<u32>,
    lost: Vec<Lost>,
    /// [`Shared::quarantining`].
    submitted: Arc<AtomicU32>,
}

impl Operation for Quarantine {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        // Where a log start has moved meanwhile, it is found out anew.
        let _stale = draft.quarantine(&self.segments, &self.lost);
        Ok(())
    }

    fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {
        self.submitted.store(0, Ordering::Release);
    }
}

/// Sends the first run of segments that can't be read to the writer. Whether there is one.
pub(super) fn step(shared: &Shared) -> Result<bool, SegmentError> {
    if shared.quarantining.load(Ordering::Acquire) != 0 {
        return Ok(false);
    }
    let segments = Arc::clone(&shared.view().segments);
    let Some(first) = segments.iter().position(|segment| segment.is_damaged()) else { return Ok(false) };
    let run: Vec<_> = segments.iter().skip(first).take_while(|segment| segment.is_damaged()).cloned().collect();
    let before = first.checked_sub(1).and_then(|at| segments.get(at));
    // The active segment is never taken for damaged, so one stands behind.
    let Some(behind) = segments.get(first + run.len()) else { return Ok(false) };
    let Some(lost) = lost(shared, before, &run, behind)? else { return Ok(false) };
    let ids: Vec<u32> = run.iter().map(|segment| segment.id).collect();
    shared.quarantining.store(1, Ordering::Release);
    let submitted = Arc::clone(&shared.quarantining);
    let sent = shared.queue.push_internal(Box::new(Quarantine { segments: ids, lost, submitted }));
    if sent.is_err() {
        shared.quarantining.store(0, Ordering::Release);
    }
    Ok(sent.is_ok())
}

/// What goes with a run of segments; `None` if its neighbours went meanwhile.
fn lost(
    shared: &Shared,
    before: Option<&Arc<Segment>>,
    run: &[Arc<Segment>],
    behind: &Arc<Segment>,
) -> Result<Option<Vec<Lost>>, SegmentError> {
    let Some(ends) = used(shared.ring.with_file(behind, SegmentFile::beginnings))? else { return Ok(None) };
    // Its own beginnings are better evidence than the end of what is before it: there may be a gap in between.
    let own = run.first().and_then(|first| shared.ring.open_sealed_clean(&first.path).ok()?.beginnings().ok());
    let begins: HashMap<_, _> = match (own, before) {
        (Some(own), _) => own.into_iter().collect(),
        (None, None) => HashMap::new(),
        (None, Some(before)) => {
            let Some(ends) = used(shared.ring.with_file(before, end_of))? else { return Ok(None) };
            ends
        }
    };
    let summaries = match run {
        [only] => summaries(shared, only).unwrap_or_default(),
        _ => HashMap::new(),
    };
    let view = shared.view();
    let lost = |(partition, end): (PartitionId, i64)| {
        let known = view.partitions.get(&partition)?;
        let start = begins.get(&partition).copied().unwrap_or(0).max(known.log_start);
        if start >= end {
            return None;
        }
        let records = end.abs_diff(start).min(known.retained().records);
        let what = match summaries.get(&partition) {
            Some(summary) => {
                let whole = Removed { records: summary.records, bytes: summary.bytes };
                let records = records.min(summary.records);
                Removed { records, bytes: proportion(whole, records) }
            }
            None => Removed { records, bytes: known.estimate_bytes(records) },
        };
        Some(Lost { partition, log_start: known.log_start, range: start..end, what })
    };
    Ok(Some(ends.into_iter().filter_map(lost).collect()))
}

/// The next offset of each partition behind a segment.
fn end_of(file: &SegmentFile) -> Result<HashMap<PartitionId, i64>, SegmentError> {
    let mut ends: HashMap<_, _> = file.beginnings()?.into_iter().collect();
    ends.extend(file.summaries()?.into_iter().map(|(partition, summary)| (partition, summary.next_offset)));
    Ok(ends)
}

/// What a segment says it holds, if that much of it can be read.
fn summaries(shared: &Shared, segment: &Segment) -> Option<HashMap<PartitionId, PartitionSummary>> {
    Some(shared.ring.open_sealed_clean(&segment.path).ok()?.summaries().ok()?.into_iter().collect())
}

/// `None` if the segment went away meanwhile, or is damaged itself.
fn used<T>(result: Result<T, UseError>) -> Result<Option<T>, SegmentError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(UseError::Gone | UseError::Unreadable) => Ok(None),
        Err(UseError::Segment(error)) => Err(error),
    }
}
