//! From batches as they lie in the store to batches as they go upstream. Pure.
//!
//! A batch of at least `min_bytes`, or the only one of its run, stays as it is: its payload is not touched. Smaller ones with the
//! same destination are merged, in order, and so are those whose records are to get headers that say where they come from. By key,
//! records are dealt out to one batch a partition upstream. A record that upstream is known not to take becomes a letter.
//!
//! Invariants: what leaves has passed the check of its old CRC; a partition with a damaged batch ends before that batch, and
//! the others go on; for each destination, order is the order of the input; each wanted record is in one batch, or a letter.

mod keyed;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::super::sending::producer::LaneId;
use super::origins::Origins;
use super::partitioning::Route;
use super::provenance::{Header, Provenance, Source};
use super::recode::{self, Piece, Recoded};
use crate::broker::dead_letter::{Cause, Letter};
use crate::record::{
    BatchBuilder, BatchError, BatchView, Compression, RecordRef, Saving, VerifyLimits, decompress, records, verify,
};
use crate::store::PartitionId;
use keyed::Keyed;

/// The header of records whose time the gateway has only estimated: it never learned it.
const ESTIMATED: Header<'static> = (crate::record::provenance::TIME, Some(b"estimated"));

/// How batches are merged.
#[derive(Clone, Copy, Debug)]
pub(in crate::uplink) struct Rules<'a> {
    pub(in crate::uplink) compression: Compression,
    pub(in crate::uplink) saves: Saving,
    /// A batch of this size passes through.
    pub(in crate::uplink) min_bytes: usize,
    /// Merged batches end about here, before compression.
    pub(in crate::uplink) max_bytes: usize,
    pub(in crate::uplink) provenance: &'a Provenance,
}

/// What the topic upstream takes, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Takes {
    /// The largest batch, bytes.
    pub(in crate::uplink) bytes_max: usize,
    /// Whether upstream has told that; else a record that is larger is sent all the same.
    pub(in crate::uplink) told: bool,
    /// It is compacted: no record without key.
    pub(in crate::uplink) keyed_only: bool,
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
    pub(in crate::uplink) source: Source,
    pub(in crate::uplink) takes: Takes,
    /// Of its records, those that upstream has refused already.
    pub(in crate::uplink) condemned: Vec<Letter>,
}

/// A batch for upstream. Its header is the producer's to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Ready {
    pub(in crate::uplink) lane: LaneId,
    pub(in crate::uplink) batch: Recoded,
    /// Which of [`Gathered::pieces`] it carries a part of.
    pub(in crate::uplink) pieces: Vec<usize>,
}

/// A range of a local partition that is done with once all batches that carry a part of it are acknowledged (at once, if there
/// are none). Letters within it are to be written with the position that passes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct PieceSpec {
    pub(in crate::uplink) partition: PartitionId,
    pub(in crate::uplink) range: Range<i64>,
    /// Timestamp of its first record, ms since 1970.
    pub(in crate::uplink) first_timestamp: i64,
}

/// Why a partition can't go on: the batch that holds this offset is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Fault {
    offset: i64,
    error: BatchError,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, error } = self;
        write!(f, "the stored batch at offset {offset} is not forwarded: {error}; run `brooklet fsck`")
    }
}

/// What came of a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Gathered {
    /// In order for each lane.
    pub(in crate::uplink) ready: Vec<Ready>,
    pub(in crate::uplink) pieces: Vec<PieceSpec>,
    /// Records that are not in `ready` because upstream does not take them.
    pub(in crate::uplink) letters: Vec<Letter>,
    /// The partitions that ended early. What came before the fault is in `ready`.
    pub(in crate::uplink) faults: BTreeMap<PartitionId, Fault>,
}

/// Makes batches for upstream of stored ones, which come in their partitions' order.
pub(in crate::uplink) fn gather(items: Vec<Item<'_>>, rules: Rules<'_>) -> Gathered {
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
    rules: Rules<'a>,
    /// Small batches that wait for company, for each destination.
    runs: BTreeMap<LaneId, Vec<Item<'a>>>,
    keyed: Keyed,
    gathered: Gathered,
}

/// A batch for upstream under construction.
#[derive(Default)]
struct Open {
    builder: BatchBuilder,
    origins: Origins,
    pieces: Vec<usize>,
    /// Of the topic; `None` while it is empty.
    takes: Option<Takes>,
}

impl Open {
    /// Adds a record, which is a part of `piece`.
    fn push(
        &mut self,
        item: &Item<'_>,
        piece: usize,
        record: &RecordRef<'_>,
        headers: &[Header<'_>],
    ) -> Result<(), BatchError> {
        self.builder.push(record.timestamp, record.key, record.value, headers.iter().copied())?;
        self.origins.push(item.partition, record.offset);
        self.takes = Some(item.takes);
        if !self.pieces.contains(&piece) {
            self.pieces.push(piece);
        }
        Ok(())
    }

    /// What is in it, with its pieces.
    fn finish(&mut self, rules: Rules<'_>) -> Option<(Recoded, Vec<usize>, Takes)> {
        let (origins, pieces) = (std::mem::take(&mut self.origins), std::mem::take(&mut self.pieces));
        let takes = self.takes.take()?;
        self.builder.save_first(rules.saves);
        let records = self.builder.record_count();
        Some((Recoded { bytes: self.builder.finish(rules.compression), records, origins }, pieces, takes))
    }
}

impl Item<'_> {
    fn first_wanted(&self) -> i64 {
        self.wanted.first().map_or(0, |range| range.start)
    }

    fn wants(&self, offset: i64) -> bool {
        self.wanted.iter().any(|range| range.contains(&offset))
    }

    /// Whether the batch can go as it is: all of it is wanted and taken, it has no gaps (compaction leaves them), and no record
    /// needs a header.
    fn is_whole(&self, view: &BatchView<'_>, rules: Rules<'_>) -> bool {
        let dense = i64::from(view.record_count()) == i64::from(view.last_offset_delta()) + 1;
        let all = view.base_offset()..view.next_offset();
        dense
            && !self.estimated
            && self.condemned.is_empty()
            && !rules.provenance.rebuilds(self.source)
            && matches!(self.wanted.as_slice(), [range] if range.start <= all.start && range.end >= all.end)
            && (!self.takes.keyed_only || verify(view, &recode::stored_limits()).is_ok_and(|facts| !facts.has_null_key))
    }

    /// A merged batch ends here: a merged batch plus one more small one must fit upstream even if nothing compresses.
    fn merge_bytes_max(&self, rules: Rules<'_>) -> usize {
        rules.max_bytes.min(self.takes.bytes_max / 2)
    }

    /// The letter that a record is to be, if upstream does not take it.
    fn letter(&self, record: &RecordRef<'_>) -> Option<Letter> {
        if let Some(letter) = self.condemned.iter().find(|letter| letter.offset == record.offset) {
            return Some(letter.clone());
        }
        if record.key.is_some() || !self.takes.keyed_only {
            return None;
        }
        let error = format!("topic {} upstream is compacted and takes no record without key", self.topic);
        let bytes = record.value.map_or(0, <[u8]>::len) as u64;
        let (partition, offset, upstream) = (self.partition, record.offset, self.topic.to_string());
        Some(Letter { partition, offset, bytes, upstream, cause: Cause::NoKey, error })
    }

    fn headers<'h>(&self, rules: Rules<'h>, record: &RecordRef<'h>, origin: &'h mut String) -> Vec<Header<'h>> {
        rules.provenance.origin(self.partition, record.offset, origin);
        let mut headers: Vec<Header<'h>> = record.headers.clone().collect();
        if self.estimated {
            headers.push(ESTIMATED);
        }
        rules.provenance.tell(self.source, record, origin, &mut headers);
        headers
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
        if item.batch.len() >= self.rules.min_bytes && item.is_whole(&view, self.rules) {
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
            && item.is_whole(&view, self.rules)
        {
            return self.pass_through(lane, item, &view);
        }
        let mut open = Open::default();
        for item in &run {
            // What lies before the fault goes on.
            let fault = self.gathered.faults.get(&item.partition);
            if fault.is_none_or(|fault| item.first_wanted() < fault.offset)
                && let Ok((view, _)) = BatchView::parse(item.batch)
            {
                self.merge(lane, item, &view, &mut open);
            }
        }
        self.close(lane, &mut open);
    }

    fn merge(&mut self, lane: &LaneId, item: &Item<'_>, view: &BatchView<'_>, open: &mut Open) {
        let max = item.merge_bytes_max(self.rules);
        // A small batch can hold a lot; what doesn't fit in a merged one goes alone, and isn't unpacked at all if it can stay.
        let whole = item.is_whole(view, self.rules);
        let limits = if whole {
            VerifyLimits { decompressed_bytes_max: max as u64, ..recode::stored_limits() }
        } else {
            recode::stored_limits()
        };
        let payload = match unpack(view, &limits) {
            Ok(payload) => payload,
            Err(BatchError::TooLarge { .. }) if whole => {
                self.close(lane, open);
                return self.pass_through(lane, item, view);
            }
            Err(error) => return self.damaged(item.partition, item.first_wanted(), error),
        };
        let piece = self.extend_piece(item, view, &open.pieces);
        let mut origin = String::new();
        for record in records(view, &payload).flatten().filter(|record| item.wants(record.offset)) {
            if let Some(letter) = item.letter(&record) {
                self.gathered.letters.push(letter);
                continue;
            }
            let headers = item.headers(self.rules, &record, &mut origin);
            if open.push(item, piece, &record, &headers).is_err() {
                // A timestamp too far from the first one's needs a batch of its own.
                self.close(lane, open);
                if let Err(error) = open.push(item, piece, &record, &headers) {
                    return self.damaged(item.partition, record.offset, error);
                }
            }
        }
        if open.builder.size() >= max {
            self.close(lane, open);
        }
    }

    /// Ends a batch under construction.
    fn close(&mut self, lane: &LaneId, open: &mut Open) {
        if let Some((recoded, pieces, takes)) = open.finish(self.rules) {
            self.emit(lane, recoded, pieces, takes);
        }
    }

    fn pass_through(&mut self, lane: &LaneId, item: &Item<'_>, view: &BatchView<'_>) {
        let piece = self.piece(item, view);
        let origins = Origins::run(item.partition, view.base_offset(), view.record_count());
        let as_it_is = Recoded { bytes: item.batch.to_vec(), records: view.record_count(), origins };
        self.emit(lane, as_it_is, vec![piece], item.takes);
    }

    /// Hands a batch over, cut to what upstream takes. Its pieces are done once its last part is: parts are acknowledged in order.
    fn emit(&mut self, lane: &LaneId, batch: Recoded, pieces: Vec<usize>, takes: Takes) {
        let first = batch.origins.iter().next();
        let cut = match recode::split_to_fit(batch, takes.bytes_max, self.rules.compression) {
            Ok(cut) => cut,
            Err(error) => {
                if let Some((partition, offset)) = first {
                    self.damaged(partition, offset, error);
                }
                return;
            }
        };
        let mut parts = Vec::new();
        for piece in cut {
            match piece {
                Piece::TooLarge(alone) if takes.told => {
                    self.gathered.letters.extend(too_large(&alone, &lane.0, takes));
                }
                Piece::Fits(part) | Piece::TooLarge(part) => {
                    parts.push(Ready { lane: lane.clone(), batch: part, pieces: Vec::new() });
                }
            }
        }
        if let Some(last) = parts.last_mut() {
            last.pieces = pieces;
        }
        self.gathered.ready.append(&mut parts);
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
    fn extend_piece(&mut self, item: &Item<'_>, view: &BatchView<'_>, pieces: &[usize]) -> usize {
        let same = |at: &usize| self.gathered.pieces.get(*at).is_some_and(|piece| piece.partition == item.partition);
        match pieces.iter().copied().find(|at| same(at)) {
            Some(at) => {
                self.stretch(at, item);
                at
            }
            None => self.piece(item, view),
        }
    }

    fn stretch(&mut self, piece: usize, item: &Item<'_>) {
        if let (Some(piece), Some(last)) = (self.gathered.pieces.get_mut(piece), item.wanted.last()) {
            piece.range.end = piece.range.end.max(last.end);
        }
    }

    /// A partition ends before `offset`: also the pieces that reach beyond it, and what of them is a letter.
    fn damaged(&mut self, partition: PartitionId, offset: i64, error: BatchError) {
        for piece in self.gathered.pieces.iter_mut().filter(|piece| piece.partition == partition) {
            piece.range.end = piece.range.end.min(offset).max(piece.range.start);
        }
        self.gathered.letters.retain(|letter| letter.partition != partition || letter.offset < offset);
        self.gathered.faults.entry(partition).or_insert(Fault { offset, error });
    }
}

/// The letter of a record that is a batch of its own, and too large.
pub(in crate::uplink) fn too_large(alone: &Recoded, topic: &str, takes: Takes) -> Option<Letter> {
    let (partition, offset) = alone.origins.iter().next()?;
    let (bytes, bytes_max) = (alone.bytes.len() as u64, takes.bytes_max);
    let error = format!("alone it takes {bytes} bytes, topic {topic} upstream {bytes_max}: see its max.message.bytes");
    Some(Letter { partition, offset, bytes, upstream: topic.to_owned(), cause: Cause::TooLarge, error })
}

/// The records of a batch, decompressed, after a look at all of them: of a damaged batch, none leaves.
fn unpack<'v>(view: &BatchView<'v>, limits: &VerifyLimits) -> Result<std::borrow::Cow<'v, [u8]>, BatchError> {
    let payload = decompress(view, limits)?;
    records(view, &payload).try_for_each(|record| record.map(drop))?;
    Ok(payload)
}

/// What is wrong with a batch whose header could be read.
fn damage(view: &BatchView<'_>) -> BatchError {
    if view.crc_matches() {
        return BatchError::Malformed("other bytes follow it");
    }
    // The computed value costs another pass, over a batch that is lost anyway.
    match verify(view, &recode::stored_limits()) {
        Err(error) => error,
        Ok(_) => BatchError::Malformed("its checksum does not fit"),
    }
}

#[cfg(test)]
mod tests;
