//! Reads of one partition: by offset, by time.
//!
//! A read takes what it must know from the view, lets go of it, then reads the disk. So a segment may be sealed or
//! evicted in between: sealing changes nothing for it; after an eviction it starts again, and finds the log start moved.
//!
//! Invariants: the recent tail is asked first; no lock of the view and no read transaction is held longer than a call
//! needs; at most one segment's worth of a batch list is in memory.

use std::sync::Arc;

use super::error::ReadError;
use super::heads::proportion;
use super::index::BatchRef;
use super::place::{Ground, Place, Want};
use super::ring::UseError;
use super::segment::SegmentError;
use super::shared::Shared;
use super::types::{CommitSeq, PartitionHead, PartitionId, ReadBatches, Removed};
use super::view::View;
use crate::record::{BatchView, VerifyLimits, decompress, header, records};

/// Evictions that a read survives before it gives up: each moves the log start, so it soon fails or finishes.
const RETRIES_MAX: usize = 100;

/// Why a try of a read didn't end well.
pub(super) enum Attempt {
    /// A segment went away under it, or turned out to be unreadable.
    Again,
    Failed(ReadError),
}

impl From<UseError> for Attempt {
    fn from(error: UseError) -> Self {
        match error {
            UseError::Gone | UseError::Unreadable => Self::Again,
            UseError::Segment(SegmentError::Io(error)) => Self::Failed(ReadError::Io(error.to_string().into())),
            UseError::Segment(error) => Self::Failed(ReadError::Damaged(error.to_string().into())),
        }
    }
}

impl From<SegmentError> for Attempt {
    fn from(error: SegmentError) -> Self {
        UseError::Segment(error).into()
    }
}

impl From<ReadError> for Attempt {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

/// Tries until no eviction comes in between.
pub(super) fn retry<T>(mut attempt: impl FnMut() -> Result<T, Attempt>) -> Result<T, ReadError> {
    for _ in 0..RETRIES_MAX {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(Attempt::Failed(error)) => return Err(error),
            Err(Attempt::Again) => {}
        }
    }
    Err(ReadError::Io("the store is closed, or evicts faster than can be read".into()))
}

/// See [`super::Store::read`].
pub(super) fn read(
    shared: &Shared,
    partition: PartitionId,
    offset: i64,
    bytes_max: usize,
) -> Result<ReadBatches, ReadError> {
    retry(|| {
        let (head, ground) = {
            let view = shared.view();
            if let Some(read) = read_tail(&view, partition, offset, bytes_max) {
                return Ok(read?);
            }
            (head(&view, partition)?, Ground::new(&view, partition)?)
        };
        let mut from = offset;
        let mut place = ground.place(shared, offset)?;
        while let Some(at) = place {
            let found = at.batches(shared, from, Want::Bytes(bytes_max))?;
            if let Some(last) = found.last() {
                let bytes = bytes_of(shared, &at, partition, &found)?;
                return Ok(ReadBatches { bytes, next_offset: last.next_offset, head });
            }
            // A gap at the end of the segment.
            place = at.after(shared, from)?.map(|(place, offset)| {
                from = offset;
                place
            });
        }
        Ok(ReadBatches { bytes: Vec::new(), next_offset: head.readable_end(), head })
    })
}

/// The bytes of these batches, each checked.
fn bytes_of(shared: &Shared, at: &Place, partition: PartitionId, batches: &[BatchRef]) -> Result<Vec<u8>, Attempt> {
    let mut bytes = Vec::new();
    if let Some(segment) = at.segment() {
        shared.ring.with_file(segment, |file| file.read_batches(partition, batches, &mut bytes))?;
    }
    if batches.iter().any(|batch| batch.provisional) {
        let corrections = Arc::clone(&shared.view().corrections);
        let mut at = 0;
        for batch in batches {
            let Some(rest) = bytes.get_mut(at..) else { break };
            let length = BatchView::parse(rest).map_or(rest.len(), |(view, _)| view.bytes().len());
            at += length;
            if let (Some(delta), Some(place)) = (corrections.of(batch.location.commit), rest.get_mut(..length))
                && batch.provisional
            {
                correct(place, delta);
            }
        }
    }
    Ok(bytes)
}

/// Moves the provisional timestamps of a batch to the true time. A damaged one stays as it is: it gets no fresh checksum.
pub(super) fn correct(batch: &mut [u8], delta_ms: i64) {
    if delta_ms != 0
        && let Err(error) = header::correct_stamps(batch, delta_ms)
    {
        log::warn!("the timestamps of a stored batch can't be corrected: {error}");
    }
}

/// See [`super::Store::read_tail`].
pub(super) fn read_tail(
    view: &View,
    partition: PartitionId,
    offset: i64,
    bytes_max: usize,
) -> Option<Result<ReadBatches, ReadError>> {
    let head = match head(view, partition) {
        Ok(head) => head,
        Err(error) => return Some(Err(error)),
    };
    let end = head.readable_end();
    if offset < head.log_start || offset > end {
        return Some(Err(ReadError::OutOfRange(head)));
    }
    if offset == end {
        return Some(Ok(ReadBatches { bytes: Vec::new(), next_offset: offset, head }));
    }
    let mut bytes: Vec<u8> = Vec::new();
    let mut next_offset = end;
    for batch in view.tail.read(partition, offset)? {
        if !bytes.is_empty() && bytes.len() + batch.bytes.len() > bytes_max {
            break;
        }
        let at = bytes.len();
        bytes.extend_from_slice(&batch.bytes);
        if batch.provisional
            && let (Some(delta), Some(place)) = (view.corrections.of(batch.commit), bytes.get_mut(at..))
        {
            correct(place, delta);
        }
        next_offset = batch.next_offset;
    }
    Some(Ok(ReadBatches { bytes, next_offset, head }))
}

/// The commit that holds `offset`, or the first one behind it.
pub(super) fn commit_of(shared: &Shared, partition: PartitionId, offset: i64) -> Result<CommitSeq, ReadError> {
    retry(|| {
        let (head, ground, next) = {
            let view = shared.view();
            (head(&view, partition)?, Ground::new(&view, partition)?, view.last_commit + 1)
        };
        Ok(first_batch(shared, ground, offset.max(head.log_start))?.map_or(next, |batch| batch.location.commit))
    })
}

/// The batch that holds `offset`, or the first one behind it.
fn first_batch(shared: &Shared, ground: Ground, offset: i64) -> Result<Option<BatchRef>, Attempt> {
    let mut from = offset;
    let mut place = ground.place(shared, offset)?;
    while let Some(at) = place {
        if let Some(batch) = at.batches(shared, from, Want::First)?.pop() {
            return Ok(Some(batch));
        }
        place = at.after(shared, from)?.map(|(place, offset)| {
            from = offset;
            place
        });
    }
    Ok(None)
}

/// The base offset of the first batch behind the one that holds `offset`.
pub(super) fn next_batch(shared: &Shared, partition: PartitionId, offset: i64) -> Result<Option<i64>, ReadError> {
    retry(|| {
        let ground = Ground::new(&shared.view(), partition)?;
        let mut batch = first_batch(shared, ground.clone(), offset)?;
        if let Some(holds) = batch.filter(|batch| batch.base_offset <= offset) {
            batch = first_batch(shared, ground, holds.next_offset)?;
        }
        Ok(batch.map(|batch| batch.base_offset))
    })
}

/// The first record at or behind the log start whose timestamp is at least `timestamp_ms`.
pub(super) fn offset_for_time(
    shared: &Shared,
    partition: PartitionId,
    timestamp_ms: i64,
) -> Result<Option<(i64, i64)>, ReadError> {
    retry(|| {
        let (head, ground) = {
            let view = shared.view();
            (head(&view, partition)?, Ground::new(&view, partition)?)
        };
        let mut place = ground.place(shared, head.log_start)?;
        while let Some(at) = place {
            // Records below the log start don't count, though they may still be there.
            let wanted = |offset: i64, timestamp| offset >= head.log_start && timestamp >= timestamp_ms;
            let mut from = head.log_start;
            let may_hold = at.max_timestamp(&shared.view()) >= timestamp_ms;
            while may_hold && let Some(batch) = at.batches(shared, from, Want::Time(timestamp_ms))?.first() {
                if let Some(found) = find_record(shared, &at, partition, batch, wanted)? {
                    return Ok(Some(found));
                }
                from = batch.next_offset;
            }
            place = at.next();
        }
        Ok(None)
    })
}

/// The first of the readable records with the highest timestamp.
pub(super) fn max_timestamp(shared: &Shared, partition: PartitionId) -> Result<Option<(i64, i64)>, ReadError> {
    retry(|| {
        let head = head(&shared.view(), partition)?;
        let Some((at, batch)) = highest_batch(shared, partition, head.log_start)? else { return Ok(None) };
        let best = highest_record(shared, &at, partition, &batch, head.log_start)?;
        if batch.base_offset >= head.log_start {
            return Ok(best);
        }
        // The log begins inside this batch: what made it the highest may lie before.
        match highest_batch(shared, partition, batch.next_offset)? {
            Some((at, batch)) if best.is_none_or(|(_, timestamp)| timestamp < batch.max_timestamp) => {
                highest_record(shared, &at, partition, &batch, head.log_start)
            }
            _ => Ok(best),
        }
    })
}

/// The first batch with the highest timestamp, of those that end behind `offset`. Looks into no segment whose highest
/// timestamp is lower than what newer ones had.
fn highest_batch(shared: &Shared, partition: PartitionId, offset: i64) -> Result<Option<(Place, BatchRef)>, Attempt> {
    let ground = Ground::new(&shared.view(), partition)?;
    let mut best: Option<(Place, BatchRef)> = None;
    for at in ground.places_back() {
        let at_least = best.as_ref().map_or(i64::MIN, |(_, best)| best.max_timestamp);
        if at.max_timestamp(&shared.view()) < at_least {
            continue;
        }
        let highest = at.batches(shared, offset, Want::Highest)?.pop();
        if let Some(batch) = highest.filter(|batch| batch.max_timestamp >= at_least) {
            best = Some((at, batch));
        }
    }
    Ok(best)
}

/// The first record of a batch with the highest timestamp, of those from `offset` on.
fn highest_record(
    shared: &Shared,
    at: &Place,
    partition: PartitionId,
    batch: &BatchRef,
    offset: i64,
) -> Result<Option<(i64, i64)>, Attempt> {
    let mut best: Option<(i64, i64)> = None;
    find_record(shared, at, partition, batch, |at, timestamp| {
        if at >= offset && best.is_none_or(|(_, highest)| highest < timestamp) {
            best = Some((at, timestamp));
        }
        false
    })?;
    Ok(best)
}

/// The first offset of a partition that was appended by a later commit than `commit`; `None` if there is none.
pub(super) fn first_offset_after(
    shared: &Shared,
    partition: PartitionId,
    commit: CommitSeq,
) -> Result<Option<i64>, ReadError> {
    retry(|| {
        let (head, ground) = {
            let view = shared.view();
            (head(&view, partition)?, Ground::new(&view, partition)?)
        };
        let Some(at) = ground.place_of_commit(commit.saturating_add(1)) else { return Ok(None) };
        if let Some(batch) = at.batches(shared, i64::MIN, Want::After(commit))?.first() {
            return Ok(Some(batch.base_offset));
        }
        Ok(at.end(shared)?.filter(|end| *end < head.high_watermark))
    })
}

/// The base offset of the batch with which the newest batches begin that have at most `bytes_max` bytes together.
pub(super) fn first_offset_within(
    shared: &Shared,
    partition: PartitionId,
    bytes_max: u64,
) -> Result<Option<i64>, ReadError> {
    retry(|| {
        let (mut excess, mut from, ground) = {
            let view = shared.view();
            let known = view.partitions.get(&partition).ok_or(ReadError::UnknownPartition)?;
            let excess = known.retained().bytes.saturating_sub(bytes_max);
            (excess, known.log_start, Ground::new(&view, partition)?)
        };
        if excess == 0 {
            return Ok(None);
        }
        let mut place = ground.place(shared, from)?;
        while let Some(at) = place {
            for batch in at.batches(shared, from, Want::Prefix(excess))? {
                if excess == 0 {
                    return Ok(Some(batch.base_offset));
                }
                let whole = Removed { records: batch.records(), bytes: batch.location.bytes.into() };
                let records = batch.next_offset.abs_diff(batch.base_offset.max(from));
                excess = excess.saturating_sub(proportion(whole, records));
            }
            place = at.after(shared, from)?.map(|(place, offset)| {
                from = offset;
                place
            });
        }
        Ok(None)
    })
}

fn head(view: &View, partition: PartitionId) -> Result<PartitionHead, ReadError> {
    Ok(view.partitions.get(&partition).ok_or(ReadError::UnknownPartition)?.head())
}

/// The first record of a batch that is wanted: its offset and timestamp.
fn find_record(
    shared: &Shared,
    at: &Place,
    partition: PartitionId,
    batch: &BatchRef,
    mut wanted: impl FnMut(i64, i64) -> bool,
) -> Result<Option<(i64, i64)>, Attempt> {
    let bytes = bytes_of(shared, at, partition, std::slice::from_ref(batch))?;
    let damaged = |error: crate::record::BatchError| ReadError::Damaged(error.to_string().into());
    let (view, _) = BatchView::parse(&bytes).map_err(damaged)?;
    let payload = decompress(&view, &VerifyLimits::default()).map_err(damaged)?;
    for record in records(&view, &payload) {
        let record = record.map_err(damaged)?;
        if wanted(record.offset, record.timestamp) {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}
