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

use super::partitioning::Route;
use super::producer::LaneId;
use super::recode::{self, Recoded, SplitError};
use crate::record::{
    BatchBuilder, BatchError, BatchView, Compression, RecordRef, VerifyLimits, append_records_with, decompress, records,
};
use crate::store::PartitionId;

/// The header of records whose time the gateway has only estimated: it never learned it.
const ESTIMATED: &[(&[u8], Option<&[u8]>)] = &[(b"brooklet.time", Some(b"estimated"))];

/// How batches are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) compression: Compression,
    /// A batch of this size passes through.
    pub(super) min_bytes: usize,
    /// Merged batches end about here, before compression.
    pub(super) max_bytes: usize,
}

/// A batch to forward.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) partition: PartitionId,
    /// The topic upstream.
    pub(super) topic: Arc<str>,
    pub(super) route: Route,
    pub(super) batch: &'a [u8],
    /// The offsets of it that are not forwarded yet, ascending; at least one.
    pub(super) wanted: Vec<Range<i64>>,
    /// Its time is an estimate: each record says so in a header.
    pub(super) estimated: bool,
    /// The largest batch that the topic upstream takes, bytes.
    pub(super) upstream_bytes_max: usize,
}

/// A batch for upstream. Its header is the producer's to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) lane: LaneId,
    pub(super) bytes: Vec<u8>,
    pub(super) records: u32,
    /// Which of [`Gathered::pieces`] it carries a part of.
    pub(super) pieces: Vec<usize>,
}

/// A range of a local partition that is done with once all batches that carry a part of it are acknowledged (at once, if there
/// are none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PieceSpec {
    pub(super) partition: PartitionId,
    pub(super) range: Range<i64>,
    /// Timestamp of its first record, ms since 1970.
    pub(super) first_timestamp: i64,
}

/// Why a partition can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
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
pub(super) struct Gathered {
    /// In order for each lane.
    pub(super) ready: Vec<Ready>,
    pub(super) pieces: Vec<PieceSpec>,
    /// The partitions that ended early. What came before the fault is in `ready`.
    pub(super) faults: BTreeMap<PartitionId, Fault>,
}

/// Makes batches for upstream of stored ones, which come in their partitions' order.
pub(super) fn gather(items: Vec<Item<'_>>, rules: Rules) -> Gathered {
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
mod tests {
    use super::super::recode::tests::{batch_of, values_of};
    use super::*;

    const RULES: Rules = Rules { compression: Compression::None, min_bytes: 200, max_bytes: 1_000 };

    fn item(partition: u32, batch: &[u8], route: Route) -> Item<'_> {
        let (view, _) = BatchView::parse(batch).unwrap();
        Item {
            partition: PartitionId(partition),
            topic: "up".into(),
            route,
            batch,
            wanted: std::iter::once(view.base_offset()..view.next_offset()).collect(),
            estimated: false,
            upstream_bytes_max: 100_000,
        }
    }

    fn values(gathered: &Gathered) -> Vec<(i32, Vec<String>)> {
        gathered.ready.iter().map(|ready| (ready.lane.1, values_of(&ready.bytes))).collect()
    }

    fn piece(partition: u32, range: Range<i64>) -> PieceSpec {
        PieceSpec { partition: PartitionId(partition), range, first_timestamp: 0 }
    }

    #[test]
    fn large_ones_and_lone_ones_stay_byte_for_byte() {
        let large = "x".repeat(300);
        for compression in [Compression::None, Compression::Zstd, Compression::Gzip] {
            let noise: String =
                (0..400u32).map(|i| char::from(b'0' + (i.wrapping_mul(2_654_435_761) >> 24) as u8 % 70)).collect();
            let batches = [batch_of(&[&large, &noise], 0, compression), batch_of(&["lone"], 2, compression)];
            let gathered = gather(batches.iter().map(|batch| item(1, batch, Route::One(4))).collect(), RULES);
            let ready: Vec<_> = gathered.ready.iter().map(|ready| ready.bytes.clone()).collect();
            assert_eq!(ready, batches);
            assert_eq!(gathered.pieces, [piece(1, 0..2), piece(1, 2..3)]);
        }
    }

    #[test]
    fn records_whose_time_is_estimated_say_so() {
        let batch = batch_of(&["a", "b", &"x".repeat(500)], 7, Compression::Lz4);
        for route in [Route::One(0), Route::ByKey { partitions: 3, keyless: 0 }] {
            let gathered = gather(vec![Item { estimated: true, ..item(1, &batch, route) }], RULES);
            let mut seen = 0;
            for ready in &gathered.ready {
                let (view, _) = BatchView::parse(&ready.bytes).unwrap();
                let payload = decompress(&view, &recode::stored_limits()).unwrap();
                for record in records(&view, &payload).map(Result::unwrap) {
                    let headers: Vec<_> = record.headers.collect();
                    assert_eq!(headers, [(&b"brooklet.time"[..], Some(&b"estimated"[..]))]);
                    seen += 1;
                }
            }
            assert_eq!((seen, gathered.pieces), (3, vec![piece(1, 7..10)]));
        }
    }

    #[test]
    fn small_ones_are_merged_in_order_around_large_ones() {
        let large = batch_of(&[&"x".repeat(300)], 2, Compression::None);
        let small: Vec<_> = [("a", 0), ("b", 1), ("c", 3), ("d", 4)]
            .map(|(value, offset)| batch_of(&[value], offset, Compression::Lz4))
            .to_vec();
        let other = batch_of(&["z"], 9, Compression::None);
        let order = [&small[0], &small[1], &large, &small[2], &other, &small[3]];
        let items = order.iter().enumerate().map(|(at, batch)| item(if at == 4 { 2 } else { 1 }, batch, Route::One(0)));
        let gathered = gather(items.collect(), RULES);
        let long = "x".repeat(300);
        let expected = [vec!["a", "b"], vec![&long], vec!["c", "z", "d"]];
        assert_eq!(values(&gathered).into_iter().map(|(_, values)| values).collect::<Vec<_>>(), expected);
        assert_eq!(gathered.pieces, [piece(1, 0..2), piece(1, 2..3), piece(1, 3..5), piece(2, 9..10)]);
        assert_eq!(gathered.ready[2].pieces, [2, 3]);
    }

    #[test]
    fn merged_ones_end_at_their_size() {
        let batches: Vec<_> = (0..40).map(|i| batch_of(&[&format!("{i:0>60}")], i, Compression::None)).collect();
        let gathered = gather(batches.iter().map(|batch| item(1, batch, Route::One(0))).collect(), RULES);
        assert!(gathered.ready.len() > 3);
        assert!(gathered.ready.iter().all(|ready| ready.bytes.len() < 1_300), "one more small one at most");
        assert_eq!(gathered.ready.iter().map(|ready| ready.records).sum::<u32>(), 40);
    }

    #[test]
    fn a_damaged_batch_ends_its_partition_only() {
        let mut damaged = batch_of(&["bad"], 1, Compression::None);
        *damaged.last_mut().unwrap() ^= 1;
        let (good, after, other) = (
            batch_of(&["good"], 0, Compression::None),
            batch_of(&["after"], 2, Compression::None),
            batch_of(&["other"], 0, Compression::None),
        );
        for route in [Route::One(0), Route::ByKey { partitions: 3, keyless: 0 }] {
            let items =
                vec![item(1, &good, route), item(1, &damaged, route), item(2, &other, route), item(1, &after, route)];
            let gathered = gather(items, RULES);
            let mut forwarded: Vec<String> = values(&gathered).into_iter().flat_map(|(_, values)| values).collect();
            forwarded.sort();
            assert_eq!(forwarded, ["good", "other"]);
            let fault = gathered.faults[&PartitionId(1)];
            assert!(matches!(fault, Fault::Damaged { offset: 1, error: BatchError::Crc { .. } }), "{fault}");
            assert!(gathered.pieces.iter().all(|piece| piece.range == (0..1)));
        }
    }

    #[test]
    fn what_is_done_already_is_left_out() {
        let batch = batch_of(&["a", "b", "c", "d"], 10, Compression::Snappy);
        let mut partly = item(1, &batch, Route::One(0));
        partly.wanted = vec![11..12, 13..14];
        let gathered = gather(vec![partly], RULES);
        assert_eq!(values(&gathered), [(0, vec!["b".to_owned(), "d".to_owned()])]);
        assert_eq!(gathered.pieces, [piece(1, 11..14)]);
    }

    #[test]
    fn keys_are_dealt_out_and_a_piece_is_one_however_many_batches_carry_it() {
        let route = Route::ByKey { partitions: 3, keyless: 0 };
        let names: Vec<String> = (0..30).map(|i| format!("k{i}")).collect();
        let batches: Vec<_> = names
            .chunks(10)
            .enumerate()
            .map(|(at, chunk)| {
                let refs: Vec<&str> = chunk.iter().map(String::as_str).collect();
                batch_of(&refs, at as i64 * 10, Compression::Gzip)
            })
            .collect();
        let gathered = gather(batches.iter().map(|batch| item(1, batch, route)).collect(), RULES);
        assert_eq!(gathered.pieces, [piece(1, 0..30)]);
        let got = values(&gathered);
        assert_eq!(got.len(), 3);
        for (partition, values) in got {
            let expected: Vec<&String> =
                names.iter().filter(|name| route.partition_for(Some(name.as_bytes())) == partition).collect();
            assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_upstream_would_refuse_for_its_size_is_cut_or_told() {
        let values: Vec<String> = (0..10).map(|i| format!("{i}{}", "y".repeat(100))).collect();
        let refs: Vec<&str> = values.iter().map(String::as_str).collect();
        let batch = batch_of(&refs, 5, Compression::None);
        let mut large = item(1, &batch, Route::One(0));
        large.upstream_bytes_max = 800;
        let gathered = gather(vec![large], RULES);
        assert!(gathered.ready.len() > 1 && gathered.ready.iter().all(|ready| ready.bytes.len() <= 800));
        let carrying: Vec<_> = gathered.ready.iter().map(|ready| ready.pieces.len()).collect();
        assert_eq!(carrying.iter().sum::<usize>(), 1);
        assert_eq!(carrying.last(), Some(&1));

        let single = batch_of(&[&"z".repeat(900)], 5, Compression::None);
        for route in [Route::One(0), Route::ByKey { partitions: 2, keyless: 0 }] {
            let mut large = item(1, &single, route);
            large.upstream_bytes_max = 800;
            let gathered = gather(vec![large], RULES);
            assert!(gathered.ready.is_empty() && gathered.pieces.iter().all(|piece| piece.range.is_empty()));
            assert!(gathered.faults[&PartitionId(1)].to_string().contains("offset 5"));
        }
    }
}
