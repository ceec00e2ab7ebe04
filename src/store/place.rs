//! Where in the ring a partition's offsets lie.
//!
//! Nothing is kept in memory for a segment and a partition. A segment's file tells, by one lookup, the next offset of any
//! partition before its first commit; so an offset is found by halving the ring, with at most log2(segments) files
//! opened, and the recent lookups are remembered (`directory::BeginCache`). What the active segment holds, the view knows.
//!
//! Invariants: no lock of the view is held while a file is read; a [`Place`] belongs to the ring as it was when the
//! search began: a segment that was evicted since is met as [`Attempt::Again`].

use std::collections::VecDeque;
use std::sync::Arc;

use super::epoch_time::Corrections;
use super::error::ReadError;
use super::index::{BatchRef, BlockReader, PartitionIndex};
use super::read::Attempt;
use super::ring::Segment;
use super::segment::SegmentError;
use super::shared::Shared;
use super::types::{CommitSeq, PartitionId};
use super::view::View;

/// The ring as a search for places of one partition sees it.
#[derive(Clone)]
pub(super) struct Ground {
    partition: PartitionId,
    /// The last one is the active segment.
    segments: Arc<VecDeque<Arc<Segment>>>,
    /// First offset that the active segment holds.
    active_first: Option<i64>,
    /// The partition's next offset.
    end: i64,
}

impl Ground {
    /// # Errors
    /// If there is no such partition.
    pub(super) fn new(view: &View, partition: PartitionId) -> Result<Self, ReadError> {
        let known = view.partitions.get(&partition).ok_or(ReadError::UnknownPartition)?;
        Ok(Self {
            partition,
            segments: Arc::clone(&view.segments),
            active_first: view.active_index.get(partition).and_then(PartitionIndex::first_offset),
            end: known.next_offset,
        })
    }

    /// The segment that holds an offset, or the last one that begins before it; `None` behind the last record.
    pub(super) fn place(self, shared: &Shared, offset: i64) -> Result<Option<Place>, Attempt> {
        self.place_from(shared, offset, 0)
    }

    /// The segment that a commit is in, or would have been.
    pub(super) fn place_of_commit(self, commit: CommitSeq) -> Option<Place> {
        let behind = self.segments.partition_point(|segment| segment.first_commit <= commit);
        let at = behind.saturating_sub(1);
        (at < self.segments.len()).then_some(Place { ground: self, at })
    }

    /// All segments, the newest first.
    pub(super) fn places_back(self) -> impl Iterator<Item = Place> {
        (0..self.segments.len()).rev().map(move |at| Place { ground: self.clone(), at })
    }

    /// As [`Ground::place`], among the segments from number `from` on, which begins before the offset.
    fn place_from(self, shared: &Shared, offset: i64, from: usize) -> Result<Option<Place>, Attempt> {
        let Some(active) = self.segments.len().checked_sub(1) else { return Ok(None) };
        if offset >= self.end {
            return Ok(None);
        }
        if self.active_first.is_some_and(|first| first <= offset) {
            return Ok(Some(Place { ground: self, at: active }));
        }
        let (mut low, mut high) = (from, active);
        if low >= high {
            let held = self.active_first.is_some();
            return Ok(held.then_some(Place { ground: self, at: active }));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.readable(middle, high) {
                Some((at, segment)) if shared.ring.beginning(segment, self.partition)? <= offset => low = at,
                _ => high = middle,
            }
        }
        Ok(Some(Place { ground: self, at: low }))
    }

    /// The first segment that can be read, of these.
    fn readable(&self, from: usize, to: usize) -> Option<(usize, &Arc<Segment>)> {
        (from..to).filter_map(|at| Some((at, self.segments.get(at)?))).find(|(_, segment)| !segment.is_damaged())
    }
}

/// A segment in which to look for a partition's batches.
pub(super) struct Place {
    ground: Ground,
    /// Which of the ring's segments.
    at: usize,
}

impl Place {
    pub(super) fn segment(&self) -> Option<&Arc<Segment>> {
        self.ground.segments.get(self.at)
    }

    /// Where to look on when nothing from `offset` on is left here: the next segment with anything, and the offset.
    pub(super) fn after(self, shared: &Shared, offset: i64) -> Result<Option<(Self, i64)>, Attempt> {
        let Some(begin) = self.end(shared)? else { return Ok(None) };
        let offset = offset.max(begin);
        let from = self.at + 1;
        let active = self.ground.segments.len() - 1;
        let at = self.ground.readable(from, active).map_or(active, |(at, _)| at);
        Ok(self.ground.place_from(shared, offset, at)?.map(|place| (place, offset)))
    }

    /// The partition's next offset when the next segment that can be read began; `None` if nothing comes behind here.
    pub(super) fn end(&self, shared: &Shared) -> Result<Option<i64>, Attempt> {
        let ground = &self.ground;
        let active = ground.segments.len().saturating_sub(1);
        match ground.readable(self.at + 1, active) {
            Some((_, next)) => Ok(Some(shared.ring.beginning(next, ground.partition)?)),
            None if self.at < active => Ok(Some(ground.active_first.unwrap_or(ground.end))),
            None => Ok(None),
        }
    }

    /// The next segment of the ring, whether it holds anything or not.
    pub(super) fn next(self) -> Option<Self> {
        let at = self.at + 1;
        (at < self.ground.segments.len()).then_some(Self { at, ..self })
    }

    /// The wanted batches of the partition that end behind `offset`; none of a damaged segment.
    pub(super) fn batches(&self, shared: &Shared, offset: i64, want: Want) -> Result<Vec<BatchRef>, Attempt> {
        let partition = self.ground.partition;
        let corrections = Arc::clone(&shared.view().corrections);
        let mut select = Select { want, offset, bytes: 0, corrections, found: Vec::new() };
        let Some(segment) = self.segment().filter(|segment| !segment.is_damaged()) else { return Ok(select.found) };
        if self.at + 1 == self.ground.segments.len() {
            let view = shared.view();
            if view.is_active(segment) {
                select.search(view.active_index.get(partition))?;
                return Ok(select.found);
            }
        }
        if let Some(unsealed) = segment.unsealed() {
            select.search(unsealed.index.get(partition))?;
            return Ok(select.found);
        }
        shared.ring.with_file(segment, |file| {
            if let Want::Time(timestamp) = want
                && file.summary(partition)?.is_some_and(|s| select.corrections.bound(s.max_timestamp) < timestamp)
            {
                return Ok(());
            }
            file.index_blocks(partition, offset, |first, packed| {
                select.block(first, packed).map_err(SegmentError::damaged)
            })
        })?;
        Ok(select.found)
    }

    /// The highest timestamp of any record of any partition here, as far as it is known without the file.
    pub(super) fn max_timestamp(&self, view: &View) -> i64 {
        let row = self.segment().and_then(|segment| view.row(segment.id));
        row.map_or(i64::MAX, |row| view.corrections.bound(row.totals.max_timestamp))
    }
}

/// What to look for in a segment's index.
#[derive(Clone, Copy)]
pub(super) enum Want {
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

/// A search through the blocks of an index.
struct Select {
    want: Want,
    offset: i64,
    bytes: u64,
    corrections: Arc<Corrections>,
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
            let mut batch = batch?;
            if batch.provisional {
                let delta = self.corrections.of(batch.location.commit).unwrap_or(0);
                batch.max_timestamp = batch.max_timestamp.saturating_add(delta);
            }
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
