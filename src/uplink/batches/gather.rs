//! From batches as they lie in the store to batches as they go upstream. Pure.
//!
//! A batch of at least `min_bytes`, or the only one of its run, stays as it is: its payload is not touched. Smaller ones with the
//! same destination are merged, in order. By key, records are dealt out to one batch a partition upstream.
//!
//! Invariants: what leaves has passed the check of its old CRC; a partition with a damaged batch ends before that batch, and
//! the others go on; for each destination, order is the order of the input.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::super::sending::producer::LaneId;
use super::partitioning::Route;
use super::recode::{self, Recoded, SplitError};
use crate::record::{
    BatchBuilder, BatchError, BatchView, Compression, RecordRef, VerifyLimits, append_records_with, decompress, records,
};
use crate::store::PartitionId;

/// The header of records whose time the gateway has only estimated: it never learned it.
const ESTIMATED: &[(&[u8], Option<&[u8]>)] = &[(b"brooklet.time", Some(b"estimated"))];

/// How batches are merged.
#[derive(Clone, Copy, Debug)]
pub(in crate::uplink) struct Rules {
    pub(in crate::uplink) compression: Compression,
    /// A batch of this size passes through.
    pub(in crate::uplink) min_bytes: usize,
    /// Merged batches end about here, before compression.
    pub(in crate::uplink) max_bytes: usize,
}

/// A batch to forward.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Item<'a> {
    pub(in crate::uplink) partition: PartitionId,
    /// The topic upstream.
    pub(in crate::uplink) topic: Arc<str>,
    pub(in crate::uplink) route: Route,
    pub(in crate::uplink) batch: &'a [u8],
    /// The offsets of it that are not forwarded yet, ascending; at least one.
    pub(in crate::uplink) wanted: Vec<Range<i64>>,
    /// Its time is an estimate: each record says so in a header.
    pub(in crate::uplink) estimated: bool,
    /// The largest batch that the topic upstream takes, bytes.
    pub(in crate::uplink) upstream_bytes_max: usize,
}

/// A batch for upstream. Its header is the producer's to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Ready {
    pub(in crate::uplink) lane: LaneId,
    pub(in crate::uplink) bytes: Vec<u8>,
    pub(in crate::uplink) records: u32,
    /// Which of [`Gathered::pieces`] it carries a part of.
    pub(in crate::uplink) pieces: Vec<usize>,
}

/// A range of a local partition that is done with once all batches that carry a part of it are acknowledged (at once, if there
/// are none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct PieceSpec {
    pub(in crate::uplink) partition: PartitionId,
    pub(in crate::uplink) range: Range<i64>,
    /// Timestamp of its first record, ms since 1970.
    pub(in crate::uplink) first_timestamp: i64,
}

/// Why a partition can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Fault {
    /// The batch that holds this offset is damaged: it isn't forwarded.
    Damaged { offset: i64, error: BatchError },
    /// A record is larger than the topic upstream takes, bytes.
    TooLarge { offset: i64, bytes: usize, bytes_max: usize },
}

impl Fault {
    fn offset(&self) -> i64 {
        match self {
            Self::Damaged { offset, .. } | Self::TooLarge { offset, .. } => *offset,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged { offset, error } => {
                write!(f, "the stored batch at offset {offset} is not forwarded: {error}; run `brooklet fsck`")
            }
            Self::TooLarge { offset, bytes, bytes_max } => write!(
                f,
                "the record at offset {offset} takes {bytes} bytes, the topic upstream {bytes_max}: raise its \
                 max.message.bytes"
            ),
        }
    }
}

/// What came of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Gathered {
    /// In order for each lane.
    pub(in crate::uplink) ready: Vec<Ready>,
    pub(in crate::uplink) pieces: Vec<PieceSpec>,
    /// The partitions that ended early. What came before the fault is in `ready`.
    pub(in crate::uplink) faults: BTreeMap<PartitionId, Fault>,
}

/// Makes batches for upstream of stored ones, which come in their partitions' order.
pub(in crate::uplink) fn gather(items: Vec<Item<'_>>, rules: Rules) -> Gathered {
    let mut gatherer =
        Gatherer { rules, runs: BTreeMap::new(), keyed: Keyed::default(), gathered: Gathered::default() };
    for item in items {
        gatherer.take(item);
    }
    let runs: Vec<LaneId> = gatherer.runs.keys().cloned().collect();
    for lane in runs {
        gatherer.flush(&lane);
    }
    gatherer.flush_keyed();
    gatherer.gathered
}

struct Gatherer<'a> {
    rules: Rules,
    /// Small batches that wait for company, for each destination.
    runs: BTreeMap<LaneId, Vec<Item<'a>>>,
    keyed: Keyed,
    gathered: Gathered,
}

/// Records dealt out by key.
#[derive(Default)]
struct Keyed {
    open: BTreeMap<LaneId, Open>,
    pieces: BTreeMap<PartitionId, usize>,
}

/// A batch for upstream under construction.
#[derive(Default)]
struct Open {
    builder: BatchBuilder,
    pieces: Vec<usize>,
    upstream_bytes_max: usize,
}

impl Item<'_> {
    fn first_wanted(&self) -> i64 {
        self.wanted.first().map_or(0, |range| range.start)
    }

    /// What each of its records is given besides.
    fn headers(&self) -> &'static [(&'static [u8], Option<&'static [u8]>)] {
        if self.estimated { ESTIMATED } else { &[] }
    }

    fn wants(&self, offset: i64) -> bool {
        self.wanted.iter().any(|range| range.contains(&offset))
    }

    /// Whether the batch can go as it is: all of it is wanted, it has no gaps (compaction leaves them), and its time is known.
    fn is_whole(&self, view: &BatchView<'_>) -> bool {
        let dense = i64::from(view.record_count()) == i64::from(view.last_offset_delta()) + 1;
        let all = view.base_offset()..view.next_offset();
        dense
            && !self.estimated
            && matches!(self.wanted.as_slice(), [range] if range.start <= all.start && range.end >= all.end)
    }

    /// A merged batch ends here: a merged batch plus one more small one must fit upstream even if nothing compresses.
    fn merge_bytes_max(&self, rules: Rules) -> usize {
        rules.max_bytes.min(self.upstream_bytes_max / 2)
    }
}

impl<'a> Gatherer<'a> {
    fn take(&mut self, item: Item<'a>) {
        if self.gathered.faults.contains_key(&item.partition) {
            return;
        }
        let offset = item.first_wanted();
        let view = match BatchView::parse(item.batch) {
            Ok((view, [])) if view.crc_matches() => view,
            Ok((view, _)) => return self.damaged(item.partition, offset, damage(&view)),
            Err(error) => return self.damaged(item.partition, offset, error),
        };
        if view.attributes().is_control() {
            // Transaction markers stay here; the offsets are done with.
            self.piece(&item, &view);
            return;
        }
        let Route::One(partition) = item.route else { return self.deal_out(&item, &view) };
        let lane = (Arc::clone(&item.topic), partition);
        if item.batch.len() >= self.rules.min_bytes && item.is_whole(&view) {
            self.flush(&lane);
            self.pass_through(&lane, &item, &view);
            return;
        }
        let max = item.merge_bytes_max(self.rules);
        let run = self.runs.entry(lane.clone()).or_default();
        run.push(item);
        if run.iter().map(|item| item.batch.len()).sum::<usize>() >= max {
            self.flush(&lane);
        }
    }

    /// Sends the run of small batches of one destination on its way.
    fn flush(&mut self, lane: &LaneId) {
        let run = self.runs.remove(lane).unwrap_or_default();
        if let [item] = run.as_slice()
            && let Ok((view, _)) = BatchView::parse(item.batch)
            && item.is_whole(&view)
        {
            return self.pass_through(lane, item, &view);
        }
        let mut open = Open::default();
        for item in &run {
            // What lies before the fault goes on.
            let fault = self.gathered.faults.get(&item.partition);
            if fault.is_none_or(|fault| item.first_wanted() < fault.offset()) {
                self.merge(lane, item, &mut open);
            }
        }
        self.close(lane, &mut open);
    }

    fn merge(&mut self, lane: &LaneId, item: &Item<'_>, open: &mut Open) {
        let Ok((view, _)) = BatchView::parse(item.batch) else { return };
        let max = item.merge_bytes_max(self.rules);
        // A small batch can hold a lot; what doesn't fit in a merged one goes alone, and isn't unpacked at all if it can stay.
        let whole = item.is_whole(&view);
        let limits = if whole {
            VerifyLimits { decompressed_bytes_max: max as u64, ..recode::stored_limits() }
        } else {
            recode::stored_limits()
        };
        let keep = |record: &RecordRef<'_>| item.wants(record.offset);
        match append_records_with(&view, &limits, &mut open.builder, item.headers(), keep) {
            Ok(_) => {
                self.extend_piece(item, &view, &mut open.pieces);
                open.upstream_bytes_max = item.upstream_bytes_max;
            }
            Err(BatchError::TooLarge { .. }) if whole => {
                self.close(lane, open);
                self.pass_through(lane, item, &view);
            }
            Err(error) => self.damaged(item.partition, item.first_wanted(), error),
        }
        if open.builder.size() >= max {
            self.close(lane, open);
        }
    }

    /// Ends a batch under construction.
    fn close(&mut self, lane: &LaneId, open: &mut Open) {
        let pieces = std::mem::take(&mut open.pieces);
        if let Some(recoded) = recode::finish(&mut open.builder, self.rules.compression) {
            self.emit(lane, recoded, pieces, open.upstream_bytes_max);
        }
    }

    fn pass_through(&mut self, lane: &LaneId, item: &Item<'_>, view: &BatchView<'_>) {
        let piece = self.piece(item, view);
        let as_it_is = Recoded { bytes: item.batch.to_vec(), records: view.record_count() };
        self.emit(lane, as_it_is, vec![piece], item.upstream_bytes_max);
    }

    /// Hands a batch over, cut to what upstream takes. Its pieces are done once its last part is: parts are acknowledged in order.
    fn emit(&mut self, lane: &LaneId, batch: Recoded, pieces: Vec<usize>, bytes_max: usize) {
        let Recoded { bytes, records } = batch;
        let size = bytes.len();
        match recode::split_to_fit(bytes, records, bytes_max, self.rules.compression) {
            Ok(mut parts) => {
                let last = parts.pop();
                let ready = |part: Recoded, pieces| Ready {
                    lane: lane.clone(),
                    bytes: part.bytes,
                    records: part.records,
                    pieces,
                };
                self.gathered.ready.extend(parts.into_iter().map(|part| ready(part, Vec::new())));
                self.gathered.ready.extend(last.map(|part| ready(part, pieces)));
            }
            Err(error) => {
                let bytes = if let SplitError::OneRecord(bytes) = error { bytes } else { size };
                self.too_large(&pieces, bytes, bytes_max);
            }
        }
    }

    fn too_large(&mut self, pieces: &[usize], bytes: usize, bytes_max: usize) {
        for at in pieces {
            if let Some(piece) = self.gathered.pieces.get_mut(*at) {
                let offset = piece.range.start;
                // Nothing carries it: emptied, it is nobody's progress.
                piece.range = offset..offset;
                let fault = Fault::TooLarge { offset, bytes, bytes_max };
                self.gathered.faults.entry(piece.partition).or_insert(fault);
            }
        }
    }

    /// Deals the records of a batch out by their keys.
    fn deal_out(&mut self, item: &Item<'_>, view: &BatchView<'_>) {
        let unpacked = decompress(view, &recode::stored_limits()).and_then(|payload| {
            // All of it first: of a damaged batch, no record leaves.
            records(view, &payload).try_for_each(|record| record.map(drop))?;
            Ok(payload)
        });
        let payload = match unpacked {
            Ok(payload) => payload,
            Err(error) => return self.damaged(item.partition, item.first_wanted(), error),
        };
        let piece = match self.keyed.pieces.get(&item.partition) {
            Some(piece) => *piece,
            None => self.piece(item, view),
        };
        self.keyed.pieces.insert(item.partition, piece);
        self.stretch(piece, item);
        for record in records(view, &payload).flatten().filter(|record| item.wants(record.offset)) {
            if let Err(fault) = self.deal(item, piece, &record) {
                // The partition ends before this record.
                if let Some(piece) = self.gathered.pieces.get_mut(piece) {
                    piece.range.end = record.offset.max(piece.range.start);
                }
                self.gathered.faults.entry(item.partition).or_insert(fault);
                return;
            }
        }
    }

    fn deal(&mut self, item: &Item<'_>, piece: usize, record: &RecordRef<'_>) -> Result<(), Fault> {
        let lane = (Arc::clone(&item.topic), item.route.partition_for(record.key));
        let max = item.merge_bytes_max(self.rules);
        let mut open = self.keyed.open.remove(&lane).unwrap_or_default();
        open.upstream_bytes_max = item.upstream_bytes_max;
        let damaged = |error| Fault::Damaged { offset: record.offset, error };
        let (time, key, value) = (record.timestamp, record.key, record.value);
        // A timestamp too far from the first one's needs a batch of its own.
        let headers = record.headers.clone().chain(item.headers().iter().copied());
        let fits = open.builder.size_with(time, key, value, headers.clone()).is_ok_and(|size| size <= max);
        if !fits {
            self.close(&lane, &mut open);
        }
        open.builder.push(time, key, value, headers).map_err(damaged)?;
        if open.builder.size() > item.upstream_bytes_max {
            // It is alone. If compression doesn't help, nothing does.
            let alone = open.builder.finish(self.rules.compression);
            let (bytes, bytes_max) = (alone.len(), item.upstream_bytes_max);
            if bytes > bytes_max {
                return Err(Fault::TooLarge { offset: record.offset, bytes, bytes_max });
            }
            self.gathered.ready.push(Ready { lane, bytes: alone, records: 1, pieces: vec![piece] });
            return Ok(());
        }
        if !open.pieces.contains(&piece) {
            open.pieces.push(piece);
        }
        self.keyed.open.insert(lane, open);
        Ok(())
    }

    fn flush_keyed(&mut self) {
        for (lane, mut open) in std::mem::take(&mut self.keyed.open) {
            self.close(&lane, &mut open);
        }
    }

    /// A new piece: this item.
    fn piece(&mut self, item: &Item<'_>, view: &BatchView<'_>) -> usize {
        let end = item.wanted.last().map_or(0, |range| range.end);
        self.gathered.pieces.push(PieceSpec {
            partition: item.partition,
            range: item.first_wanted()..end,
            first_timestamp: view.base_timestamp(),
        });
        self.gathered.pieces.len() - 1
    }

    /// The piece of this item's partition among `pieces` reaches to the end of the item; a new one, if there is none.
    fn extend_piece(&mut self, item: &Item<'_>, view: &BatchView<'_>, pieces: &mut Vec<usize>) {
        let same = |at: &usize| self.gathered.pieces.get(*at).is_some_and(|piece| piece.partition == item.partition);
        match pieces.iter().copied().find(|at| same(at)) {
            Some(at) => self.stretch(at, item),
            None => pieces.push(self.piece(item, view)),
        }
    }

    fn stretch(&mut self, piece: usize, item: &Item<'_>) {
        if let (Some(piece), Some(last)) = (self.gathered.pieces.get_mut(piece), item.wanted.last()) {
            piece.range.end = piece.range.end.max(last.end);
        }
    }

    fn damaged(&mut self, partition: PartitionId, offset: i64, error: BatchError) {
        self.gathered.faults.entry(partition).or_insert(Fault::Damaged { offset, error });
    }
}

/// What is wrong with a batch whose header could be read.
fn damage(view: &BatchView<'_>) -> BatchError {
    if view.crc_matches() {
        return BatchError::Malformed("other bytes follow it");
    }
    // The computed value costs another pass, over a batch that is lost anyway.
    match crate::record::verify(view, &recode::stored_limits()) {
        Err(error) => error,
        Ok(_) => BatchError::Malformed("its checksum does not fit"),
    }
}

#[cfg(test)]
mod tests;
