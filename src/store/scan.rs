//! The scan in commit order: how backlogs drain, and how a standby could follow.

use std::sync::Arc;

use super::error::ReadError;
use super::format::{self, Entry, Stamps};
use super::read::{Attempt, correct, retry};
use super::ring::Segment;
use super::segment::SegmentError;
use super::shared::Shared;
use super::types::{CommitSeq, PartitionId, ScanChunk, ScannedBatch};
use super::view::View;
use crate::record::{BatchView, SharedBytes};

/// A call reads no more than this of commits in which nothing passes the filter, before it says how far it got.
const READ_BYTES_MAX: usize = 8 << 20;

/// See [`super::Store::scan`].
pub(super) fn scan(
    shared: &Shared,
    from: CommitSeq,
    filter: &dyn Fn(PartitionId) -> bool,
    bytes_max: usize,
) -> Result<ScanChunk, ReadError> {
    let mut collect = Collect { chunk: ScanChunk::default(), bytes: 0, read: 0, bytes_max };
    retry(|| {
        let view = shared.view();
        let first = view.segments.front().map_or(view.last_commit + 1, |segment| segment.first_commit);
        let from = from.max(first).max(collect.chunk.next);
        collect.chunk.next = from;
        if from >= view.tail.complete_from() {
            collect.tail(&view, from, filter);
            return Ok(());
        }
        let segment = view.segment_of_commit(from).cloned();
        let behind = segment.as_ref().and_then(|s| view.segment_after(s.id)).map(|next| next.first_commit);
        let end = view.last_commit + 1;
        drop(view);
        match segment {
            Some(segment) if segment.is_damaged() => collect.chunk.next = behind.unwrap_or(end),
            Some(segment) => collect.segment(shared, &segment, from, filter)?,
            None => collect.chunk.next = end,
        }
        // Up to here was no other commit of the segment.
        if collect.goes_on() && collect.chunk.next < end {
            collect.chunk.next = collect.chunk.next.max(behind.unwrap_or(collect.chunk.next));
        }
        Ok(())
    })?;
    let view = shared.view();
    collect.chunk.at_end = collect.chunk.next > view.last_commit;
    // What was trimmed or dropped since it was written isn't there any more.
    collect.chunk.batches.retain(|batch| {
        let kept = view.partitions.get(&batch.partition);
        kept.is_some_and(|partition| batch.next_offset > partition.log_start)
    });
    let corrections = Arc::clone(&view.corrections);
    drop(view);
    for batch in collect.chunk.batches.iter_mut().filter(|batch| batch.provisional) {
        if let Some(delta) = corrections.of(batch.commit) {
            let mut bytes = batch.bytes.to_vec();
            correct(&mut bytes, delta);
            batch.bytes = bytes.into();
            batch.provisional = false;
        }
    }
    Ok(collect.chunk)
}

struct Collect {
    chunk: ScanChunk,
    bytes: usize,
    read: usize,
    bytes_max: usize,
}

impl Collect {
    /// Whether another commit may come along.
    fn goes_on(&self) -> bool {
        (self.chunk.batches.is_empty() || self.bytes < self.bytes_max) && self.read < READ_BYTES_MAX
    }

    fn tail(&mut self, view: &View, from: CommitSeq, filter: &dyn Fn(PartitionId) -> bool) {
        for batch in view.tail.scan(from) {
            if batch.commit >= self.chunk.next {
                if !self.goes_on() {
                    self.chunk.next = batch.commit;
                    return;
                }
                self.chunk.next = batch.commit + 1;
            }
            if filter(batch.partition) {
                self.bytes += batch.bytes.len();
                // An uplink keeps it for as long as its link takes; the tail doesn't.
                self.chunk.batches.push(ScannedBatch { bytes: batch.bytes.compact(), ..batch.clone() });
            }
        }
        self.chunk.next = from.max(view.last_commit + 1);
    }

    fn segment(
        &mut self,
        shared: &Shared,
        segment: &Arc<Segment>,
        from: CommitSeq,
        filter: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), Attempt> {
        Ok(shared.ring.with_file(segment, |file| {
            file.commits(from, |seq, stream| {
                self.commit(seq, stream.bytes, filter)
                    .map_err(|what| SegmentError::damaged(format!("commit {seq}: {what}")))?;
                Ok(self.goes_on())
            })
        })?)
    }

    fn commit(
        &mut self,
        seq: CommitSeq,
        whole: SharedBytes,
        filter: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), format::Malformed> {
        let (_, entries) = format::parse_stream(&whole)?;
        let (kept, before) = (self.chunk.batches.len(), self.bytes);
        for placed in entries {
            let placed = placed.inspect_err(|_| self.chunk.batches.truncate(kept))?;
            if let Entry::Batch { partition, made, epoch, bytes } = placed.entry
                && filter(partition)
            {
                let (batch, _) = BatchView::parse(bytes).map_err(|_| "a stored batch is malformed")?;
                self.bytes += bytes.len();
                self.chunk.batches.push(ScannedBatch {
                    commit: seq,
                    partition,
                    base_offset: batch.base_offset(),
                    next_offset: batch.next_offset(),
                    bytes: whole.part(bytes),
                    gateway_stamped: made.stamps != Stamps::Producer,
                    gathered: made.gathered,
                    provisional: made.stamps == Stamps::Provisional,
                    epoch,
                });
            }
        }
        // What passes shares the commit's memory, unless most of that would be kept for nothing.
        if 2 * (self.bytes - before) < whole.held() {
            for batch in self.chunk.batches.iter_mut().skip(kept) {
                batch.bytes = batch.bytes.as_ref().into();
            }
        }
        self.read += whole.len();
        self.chunk.next = seq + 1;
        Ok(())
    }
}
