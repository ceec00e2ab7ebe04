//! Retention of single partitions, by age and by size: moves log starts, at most once a minute.
//!
//! It is logical: the records are out of reach at once, their segment goes when nothing in it is wanted any more. Ages
//! are told by the store's own clock at the append (see `epoch_time`), never by the records' timestamps.

use std::sync::Arc;

use super::draft::Draft;
use super::epoch_time::Ages;
use super::error::{ReadError, StoreError};
use super::heads::Marks;
use super::intervals::Intervals;
use super::ledger;
use super::read;
use super::ring::{Segment, lock};
use super::segment::SegmentFile;
use super::shared::Shared;
use super::status::LossReason;
use super::types::{CommitSeq, Committed, Operation, PartitionId, Refused, Retention, Space};

/// Moves the log starts of partitions.
struct Trim {
    starts: Vec<Start>,
}

struct Start {
    partition: PartitionId,
    log_start: i64,
    /// Not beyond what all followers have read.
    keep_unread: bool,
}

impl Operation for Trim {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        for &Start { partition, log_start, keep_unread } in &self.starts {
            let read = draft.read_by_all(partition).filter(|_| keep_unread).unwrap_or(i64::MAX);
            // Dropped meanwhile, or no room in this commit: the next round finds it again.
            let _skipped = draft.trim(partition, log_start.min(read), LossReason::Expired);
        }
        Ok(())
    }

    fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {}
}

/// Looks at all partitions that have a retention. Whether anything has to go.
pub(super) fn step(shared: &Shared) -> bool {
    let ages = ages(shared);
    let bounded: Vec<(PartitionId, Retention, i64)> = {
        let mut retention = lock(&shared.retention);
        let view = shared.view();
        retention.retain(|id, _| view.partitions.contains_key(id));
        let filled = |(&id, &retention): (&PartitionId, &Retention)| {
            let partition = view.partitions.get(&id)?;
            (partition.log_start < partition.next_offset).then_some((id, retention, partition.log_start))
        };
        retention.iter().filter_map(filled).collect()
    };
    let mut starts = Vec::new();
    for (partition, retention, log_start) in bounded {
        let by_age = retention.ms.and_then(|ms| start_by_age(shared, partition, ms, &ages));
        let by_bytes = retention.bytes.and_then(|bytes| noted(read::first_offset_within(shared, partition, bytes))?);
        let keep_unread = !retention.expire_unforwarded;
        let read = read_by_all(shared, partition).filter(|_| keep_unread).unwrap_or(i64::MAX);
        if let Some(start) = by_age.max(by_bytes).filter(|start| read.min(*start) > log_start) {
            starts.push(Start { partition, log_start: start, keep_unread });
        }
    }
    !starts.is_empty() && shared.queue.push_internal(Box::new(Trim { starts })).is_ok()
}

/// The ages of commits as of now.
fn ages(shared: &Shared) -> Ages {
    let env = &shared.env;
    let rows = shared.view().epochs();
    Ages::new(&rows, env.epoch.ordinal, &lock(&env.time), env.clock.mono_ms())
}

/// Where what all followers have read ends, as committed.
fn read_by_all(shared: &Shared, partition: PartitionId) -> Option<i64> {
    let view = shared.view();
    let followers = lock(&shared.env.followers);
    ledger::read_by_all(followers.of(partition), partition, |key| {
        view.state.get(Space::Cursor, key).and_then(|value| Intervals::decode(value).ok())
    })
}

/// The log start of a partition without what is older than `ms`.
fn start_by_age(shared: &Shared, partition: PartitionId, ms: u64, ages: &Ages) -> Option<i64> {
    let old = last_commit_older_than(shared, ms, ages)?;
    match noted(read::first_offset_after(shared, partition, old))? {
        Some(start) => Some(start),
        // Nothing is younger: all of it goes, but for what is appended from now on.
        None => Some(shared.view().partitions.get(&partition)?.next_offset),
    }
}

/// The last commit, as far as the time marks tell, that is older than `ms`.
fn last_commit_older_than(shared: &Shared, ms: u64, ages: &Ages) -> Option<CommitSeq> {
    let (coarse, segment) = {
        let view = shared.view();
        if let Some(commit) = view.active_marks.older_than(ms, ages) {
            return Some(commit);
        }
        let mut rows = view.rows().rev().filter_map(Result::ok);
        let (commit, id) = rows.find_map(|row| Some((row.marks.older_than(ms, ages)?, row.id)))?;
        (commit, view.segments.iter().find(|segment| segment.id == id).cloned())
    };
    // The directory has some of the marks; the segment has all.
    let all = segment.and_then(|segment| marks_of(shared, &segment));
    Some(all.and_then(|all| all.older_than(ms, ages)).map_or(coarse, |fine| fine.max(coarse)))
}

fn marks_of(shared: &Shared, segment: &Arc<Segment>) -> Option<Marks> {
    if let Some(unsealed) = segment.unsealed() {
        return Some(Marks::clone(&unsealed.marks));
    }
    let sealed = shared.ring.with_file(segment, SegmentFile::sealed);
    sealed.ok().flatten().map(|seal| Marks::decode(&seal.marks))
}

/// Damage or I/O trouble in an old segment is no reason to stop; it is told where somebody reads it.
fn noted<T>(read: Result<T, ReadError>) -> Option<T> {
    read.inspect_err(|error| log::warn!("retention: {error}")).ok()
}
