//! Reads of one partition: by offset, by time.
//!
//! A read takes what it must know from the view, lets go of it, then reads the disk. So a segment may be sealed or
//! evicted in between: sealing changes nothing for it; after an eviction it starts again, and finds the log start moved.
//!
//! Invariants: the recent tail is asked first; no lock of the view and no read transaction is held longer than a call
//! needs; at most one segment's worth of a batch list is in memory.

use std::sync::Arc;

use super::error::ReadError;
use super::index::{BatchRef, BlockReader, PartitionIndex};
use super::ring::{Segment, UseError};
use super::segment::SegmentError;
use super::shared::Shared;
use super::types::{CommitSeq, PartitionHead, PartitionId, ReadBatches};
use super::view::View;
use crate::record::{BatchView, VerifyLimits, decompress, records};

/// Evictions that a read survives before it gives up: each moves the log start, so it soon fails or finishes.
const RETRIES_MAX: usize = 100;

/// Why a try of a read didn't end well.
pub(super) enum Attempt {
    /// A segment went away under it.
    Again,
    Failed(ReadError),
}

impl From<UseError> for Attempt {
    fn from(error: UseError) -> Self {
        match error {
            UseError::Gone => Self::Again,
            UseError::Segment(SegmentError::Io(error)) => Self::Failed(ReadError::Io(error.to_string().into())),
            UseError::Segment(error) => Self::Failed(ReadError::Damaged(error.to_string().into())),
        }
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
        let (head, mut place) = {
            let view = shared.view();
            if let Some(read) = read_tail(&view, partition, offset, bytes_max) {
                return Ok(read?);
            }
            let head = head(&view, partition)?;
            (head, Place::of_offset(&view, partition, offset))
        };
        while let Some(at) = place {
            let found = at.batches(shared, partition, offset, Want::Bytes(bytes_max))?;
            if let Some(last) = found.last() {
                let mut bytes = Vec::new();
                shared.ring.with_file(&at.segment, |file| file.read_batches(partition, &found, &mut bytes))?;
                return Ok(ReadBatches { bytes, next_offset: last.next_offset, head });
            }
            // A gap at the end of the segment.
            place = Place::after(&shared.view(), partition, at.segment.id);
        }
        Ok(ReadBatches { bytes: Vec::new(), next_offset: head.readable_end(), head })
    })
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
        bytes.extend_from_slice(&batch.bytes);
        next_offset = batch.next_offset;
    }
    Some(Ok(ReadBatches { bytes, next_offset, head }))
}

/// The commit that holds `offset`, or the first one behind it.
pub(super) fn commit_of(shared: &Shared, partition: PartitionId, offset: i64) -> Result<CommitSeq, ReadError> {
    retry(|| {
        let (mut place, next) = {
            let view = shared.view();
            let head = head(&view, partition)?;
            if offset >= head.high_watermark {
                return Ok(view.last_commit + 1);
            }
            (Place::of_offset(&view, partition, offset.max(head.log_start)), view.last_commit + 1)
        };
        while let Some(at) = place {
            let kept = shared.view().partitions.get(&partition).map_or(offset, |p| p.log_start);
            if let Some(batch) = at.batches(shared, partition, offset.max(kept), Want::First)?.first() {
                return Ok(batch.location.commit);
            }
            place = Place::after(&shared.view(), partition, at.segment.id);
        }
        Ok(next)
    })
}

/// The base offset of the first batch behind the one that holds `offset`.
pub(super) fn next_batch(shared: &Shared, partition: PartitionId, offset: i64) -> Result<Option<i64>, ReadError> {
    retry(|| {
        let mut place = Place::of_offset(&shared.view(), partition, offset);
        let mut from = offset;
        while let Some(at) = place {
            while let Some(batch) = at.batches(shared, partition, from, Want::First)?.first() {
                if batch.base_offset > offset {
                    return Ok(Some(batch.base_offset));
                }
                from = batch.next_offset;
            }
            place = Place::after(&shared.view(), partition, at.segment.id);
        }
        Ok(None)
    })
}

/// The first record at or behind the log start whose timestamp is at least `timestamp_ms`.
pub(super) fn offset_for_time(
    shared: &Shared,
    partition: PartitionId,
    timestamp_ms: i64,
) -> Result<Option<(i64, i64)>, ReadError> {
    retry(|| {
        let (head, mut place) = first_place(shared, partition)?;
        while let Some(at) = place {
            // Records below the log start don't count, though they may still be there.
            let wanted = |offset: i64, timestamp| offset >= head.log_start && timestamp >= timestamp_ms;
            let mut from = head.log_start;
            while let Some(batch) = at.batches(shared, partition, from, Want::Time(timestamp_ms))?.first() {
                if let Some(found) = find_record(shared, &at, partition, batch, wanted)? {
                    return Ok(Some(found));
                }
                from = batch.next_offset;
            }
            place = Place::after(&shared.view(), partition, at.segment.id);
        }
        Ok(None)
    })
}

/// The first of the readable records with the highest timestamp.
pub(super) fn max_timestamp(shared: &Shared, partition: PartitionId) -> Result<Option<(i64, i64)>, ReadError> {
    retry(|| {
        let (head, _) = first_place(shared, partition)?;
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

/// The first batch with the highest timestamp, of those that end behind `offset`.
fn highest_batch(shared: &Shared, partition: PartitionId, offset: i64) -> Result<Option<(Place, BatchRef)>, Attempt> {
    let (_, mut place) = first_place(shared, partition)?;
    let mut best: Option<(Place, BatchRef)> = None;
    while let Some(at) = place {
        let highest = at.batches(shared, partition, offset, Want::Highest)?.pop();
        place = Place::after(&shared.view(), partition, at.segment.id);
        if let Some(batch) = highest
            && best.as_ref().is_none_or(|(_, best)| best.max_timestamp < batch.max_timestamp)
        {
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

/// The first commit later than `commit` that has records of a partition: the base offset there.
pub(super) fn first_offset_after(
    shared: &Shared,
    partition: PartitionId,
    commit: CommitSeq,
) -> Result<Option<i64>, ReadError> {
    retry(|| {
        let (_, mut place) = first_place(shared, partition)?;
        while let Some(at) = place {
            let next = Place::after(&shared.view(), partition, at.segment.id);
            // A segment whose successor begins at or before the commit holds nothing later.
            if next.as_ref().is_none_or(|next| next.segment.first_commit > commit)
                && let Some(batch) = at.batches(shared, partition, i64::MIN, Want::After(commit))?.first()
            {
                return Ok(Some(batch.base_offset));
            }
            place = next;
        }
        Ok(None)
    })
}

/// The base offset of the batch with which the newest batches begin that have at most `bytes_max` bytes together.
pub(super) fn first_offset_within(
    shared: &Shared,
    partition: PartitionId,
    bytes_max: u64,
) -> Result<Option<i64>, ReadError> {
    retry(|| {
        let (mut excess, mut place) = {
            let view = shared.view();
            let known = view.partitions.get(&partition).ok_or(ReadError::UnknownPartition)?;
            (known.bytes().saturating_sub(bytes_max), Place::first(&view, partition))
        };
        if excess == 0 {
            return Ok(None);
        }
        while let Some(at) = place {
            if at.bytes > excess {
                for batch in at.batches(shared, partition, i64::MIN, Want::Prefix(excess))? {
                    if excess == 0 {
                        return Ok(Some(batch.base_offset));
                    }
                    excess = excess.saturating_sub(batch.location.bytes.into());
                }
                return Ok(None);
            }
            excess -= at.bytes;
            place = Place::after(&shared.view(), partition, at.segment.id);
        }
        Ok(None)
    })
}

fn head(view: &View, partition: PartitionId) -> Result<PartitionHead, ReadError> {
    Ok(view.partitions.get(&partition).ok_or(ReadError::UnknownPartition)?.head())
}

fn first_place(shared: &Shared, partition: PartitionId) -> Result<(PartitionHead, Option<Place>), ReadError> {
    let view = shared.view();
    Ok((head(&view, partition)?, Place::first(&view, partition)))
}

/// What to look for in a segment's index.
#[derive(Clone, Copy)]
enum Want {
    /// Batches of at most so many bytes together, but one at least.
    Bytes(usize),
    /// One batch.
    First,
    /// One batch with a timestamp at or behind this.
    Time(i64),
    /// The first one with the highest timestamp.
    Highest,
    /// One batch of a later commit.
    After(CommitSeq),
    /// The batches at the beginning that have more than so many bytes together, and one more.
    Prefix(u64),
}

/// A segment with some of the partition in it.
struct Place {
    segment: Arc<Segment>,
    /// Bytes of the partition in it.
    bytes: u64,
    /// The segment is the active one: its index is in the view.
    active: bool,
}

impl Place {
    fn of_offset(view: &View, partition: PartitionId, offset: i64) -> Option<Self> {
        let shares = &view.partitions.get(&partition)?.segments;
        let behind = shares.partition_point(|share| share.first_offset <= offset);
        Self::of_share(view, shares.get(behind.saturating_sub(1))?)
    }

    fn first(view: &View, partition: PartitionId) -> Option<Self> {
        Self::of_share(view, view.partitions.get(&partition)?.segments.first()?)
    }

    fn after(view: &View, partition: PartitionId, segment: u32) -> Option<Self> {
        let shares = &view.partitions.get(&partition)?.segments;
        Self::of_share(view, shares.get(shares.partition_point(|share| share.segment <= segment))?)
    }

    fn of_share(view: &View, share: &super::heads::Share) -> Option<Self> {
        let segment = Arc::clone(view.segment(share.segment)?);
        let active = view.is_active(&segment);
        Some(Self { segment, bytes: share.bytes.into(), active })
    }

    /// The wanted batches of a partition that end behind `offset`.
    fn batches(
        &self,
        shared: &Shared,
        partition: PartitionId,
        offset: i64,
        want: Want,
    ) -> Result<Vec<BatchRef>, Attempt> {
        let mut select = Select { want, offset, bytes: 0, found: Vec::new() };
        if self.active {
            let view = shared.view();
            if view.is_active(&self.segment) {
                select.search(view.active_index.get(partition))?;
                return Ok(select.found);
            }
        }
        if let Some(index) = self.segment.ram_index() {
            select.search(index.get(partition))?;
            return Ok(select.found);
        }
        shared.ring.with_file(&self.segment, |file| {
            if let Want::Time(timestamp) = want
                && file.summary(partition)?.is_some_and(|summary| summary.max_timestamp < timestamp)
            {
                return Ok(());
            }
            file.index_blocks(partition, offset, |first, packed| {
                select.block(first, packed).map_err(SegmentError::damaged)
            })
        })?;
        Ok(select.found)
    }
}

/// A search through the blocks of an index.
struct Select {
    want: Want,
    offset: i64,
    bytes: u64,
    found: Vec<BatchRef>,
}

impl Select {
    fn search(&mut self, index: Option<&PartitionIndex>) -> Result<(), Attempt> {
        let offset = self.offset;
        for (first, packed) in index.into_iter().flat_map(|index| index.blocks_from(offset)) {
            let go_on = self.block(first, packed).map_err(|what| ReadError::Damaged(what.into()))?;
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    /// Whether the next block is wanted too.
    fn block(&mut self, first: i64, packed: &[u8]) -> Result<bool, super::format::Malformed> {
        for batch in BlockReader::new(first, packed) {
            let batch = batch?;
            if batch.next_offset > self.offset && !self.take(batch) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at one batch; whether the next one is wanted too.
    fn take(&mut self, batch: BatchRef) -> bool {
        let bytes = u64::from(batch.location.bytes);
        match self.want {
            Want::Bytes(bytes_max) => {
                let fits = self.found.is_empty() || self.bytes + bytes <= bytes_max as u64;
                if fits {
                    self.bytes += bytes;
                    self.found.push(batch);
                }
                fits
            }
            Want::First => {
                self.found.push(batch);
                false
            }
            Want::Time(timestamp) => {
                if batch.max_timestamp >= timestamp {
                    self.found.push(batch);
                }
                self.found.is_empty()
            }
            Want::Highest => {
                if self.found.last().is_none_or(|best| best.max_timestamp < batch.max_timestamp) {
                    self.found = vec![batch];
                }
                true
            }
            Want::After(commit) => {
                if batch.location.commit > commit {
                    self.found.push(batch);
                }
                self.found.is_empty()
            }
            Want::Prefix(bytes_max) => {
                let more = self.bytes < bytes_max;
                self.bytes += bytes;
                self.found.push(batch);
                more
            }
        }
    }
}

/// The first record of a batch that is wanted: its offset and timestamp.
fn find_record(
    shared: &Shared,
    at: &Place,
    partition: PartitionId,
    batch: &BatchRef,
    mut wanted: impl FnMut(i64, i64) -> bool,
) -> Result<Option<(i64, i64)>, Attempt> {
    let mut bytes = Vec::new();
    shared.ring.with_file(&at.segment, |file| file.read_batches(partition, std::slice::from_ref(batch), &mut bytes))?;
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
