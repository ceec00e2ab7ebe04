//! What a sealed segment holds that would be lost with it.
//!
//! It is read from the segment's summary when it is wanted, not kept: memory doesn't grow with what is stored. Reading
//! it is maintenance's work; only where maintenance has not kept up, the writer does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::heads::proportion;
use super::index::{BlockReader, PartitionSummary};
use super::plan::Piece;
use super::read::Attempt;
use super::ring::{Segment, UseError};
use super::segment::{SegmentError, SegmentFile};
use super::shared::Shared;
use super::types::{PartitionId, Removed};

/// What a segment and those before it hold of a partition from its log start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub partition: PartitionId,
    /// Where the partition began when this was found out.
    pub log_start: i64,
    /// Where it begins without them.
    pub end: i64,
    pub what: Removed,
}

/// What the segment `oldest` of the ring still holds, by partition; nothing of partitions that were dropped. It must be
/// sealed.
pub(super) fn of_oldest(shared: &Shared, oldest: &Arc<Segment>) -> Result<Vec<Holding>, Attempt> {
    if oldest.is_damaged() {
        return of_unreadable(shared, oldest);
    }
    let read = shared.ring.with_file(oldest, |file| {
        let mut holdings = Vec::new();
        for (partition, summary) in file.summaries()? {
            let log_start = shared.view().partitions.get(&partition).map(|partition| partition.log_start);
            if let Some(log_start) = log_start.filter(|log_start| *log_start < summary.next_offset) {
                let what = held(file, partition, &summary, log_start)?;
                holdings.push(Holding { partition, log_start, end: summary.next_offset, what });
            }
        }
        Ok(holdings)
    });
    match read {
        Err(UseError::Segment(SegmentError::Damaged(why))) => {
            oldest.note_unreadable(&why);
            of_unreadable(shared, oldest)
        }
        Err(UseError::Unreadable) => of_unreadable(shared, oldest),
        read => Ok(read?),
    }
}

/// What a segment holds of a partition from its log start on.
fn held(
    file: &SegmentFile,
    partition: PartitionId,
    summary: &PartitionSummary,
    log_start: i64,
) -> Result<Removed, SegmentError> {
    let mut what = Removed { records: summary.records, bytes: summary.bytes };
    if log_start <= summary.first_offset {
        return Ok(what);
    }
    what = Removed::default();
    file.index_blocks(partition, log_start, |first, packed| {
        for batch in BlockReader::new(first, packed) {
            let batch = batch.map_err(SegmentError::damaged)?;
            if batch.next_offset > log_start {
                let records = batch.next_offset.abs_diff(batch.base_offset.max(log_start));
                let whole = Removed { records: batch.records(), bytes: batch.location.bytes.into() };
                what.records += records;
                what.bytes += proportion(whole, records);
            }
        }
        Ok(true)
    })?;
    Ok(what)
}

/// What nobody can count is what lies between the log starts and where the next segment begins.
fn of_unreadable(shared: &Shared, oldest: &Arc<Segment>) -> Result<Vec<Holding>, Attempt> {
    let segments = Arc::clone(&shared.view().segments);
    let next = segments.iter().find(|segment| segment.id > oldest.id && !segment.is_damaged());
    // Behind the last one stands the active segment, which is never damaged.
    let Some(next) = next else { return Err(Attempt::Again) };
    let beginnings = shared.ring.with_file(next, SegmentFile::beginnings)?;
    let view = shared.view();
    let holding = |(partition, end): (PartitionId, i64)| {
        let known = view.partitions.get(&partition).filter(|known| known.log_start < end)?;
        let records = end.abs_diff(known.log_start).min(known.retained().records);
        let what = Removed { records, bytes: known.estimate_bytes(records) };
        Some(Holding { partition, log_start: known.log_start, end, what })
    };
    Ok(beginnings.into_iter().filter_map(holding).collect())
}

/// What partitions hold from their log starts to these offsets, in the segments up to `last`. Nothing of those that were
/// dropped, or begin there already.
pub(super) fn before(shared: &Shared, starts: &[(PartitionId, i64)], last: u32) -> Result<Vec<Holding>, Attempt> {
    let mut holdings: BTreeMap<PartitionId, Holding> = {
        let view = shared.view();
        let holding = |&(partition, end): &(PartitionId, i64)| {
            let log_start = view.partitions.get(&partition)?.log_start;
            let holding = Holding { partition, log_start, end, what: Removed::default() };
            (log_start < end).then_some((partition, holding))
        };
        starts.iter().filter_map(holding).collect()
    };
    let segments = Arc::clone(&shared.view().segments);
    for segment in segments.iter().filter(|segment| segment.id <= last && !segment.is_damaged()) {
        shared.ring.with_file(segment, |file| {
            for (partition, holding) in &mut holdings {
                if let Some(summary) = file.summary(*partition)?
                    && summary.next_offset > holding.log_start
                    && summary.first_offset < holding.end
                {
                    let (from, to) = (holding.log_start, holding.end);
                    let all = held(file, *partition, &summary, from)?;
                    let beyond = if to < summary.next_offset {
                        held(file, *partition, &summary, to)?
                    } else {
                        Removed::default()
                    };
                    holding.what.records += all.records.saturating_sub(beyond.records);
                    holding.what.bytes += all.bytes.saturating_sub(beyond.bytes);
                }
            }
            Ok(())
        })?;
    }
    Ok(holdings.into_values().collect())
}

/// What a sealed segment still holds, for a plan: whole batches, since those are what a copy takes.
pub(super) fn pieces(shared: &Shared, segment: &Arc<Segment>) -> Result<Vec<Piece>, Attempt> {
    Ok(shared.ring.with_file(segment, |file| {
        let summaries = file.summaries()?;
        let mut pieces = Vec::new();
        for (partition, summary) in summaries {
            let log_start = shared.view().partitions.get(&partition).map(|known| known.log_start);
            let Some(log_start) = log_start.filter(|log_start| *log_start < summary.next_offset) else { continue };
            let first = log_start.max(summary.first_offset);
            let whole = log_start <= summary.first_offset;
            let bytes = if whole { summary.bytes } else { bytes_of_batches(file, partition, first)? };
            pieces.push(Piece { partition, first, end: summary.next_offset, bytes });
        }
        Ok(pieces)
    })?)
}

/// Bytes of the batches of a partition that hold anything from an offset on.
fn bytes_of_batches(file: &SegmentFile, partition: PartitionId, from: i64) -> Result<u64, SegmentError> {
    let mut bytes = 0;
    file.index_blocks(partition, from, |first, packed| {
        for batch in BlockReader::new(first, packed) {
            let batch = batch.map_err(SegmentError::damaged)?;
            bytes += if batch.next_offset > from { u64::from(batch.location.bytes) } else { 0 };
        }
        Ok(true)
    })?;
    Ok(bytes)
}
