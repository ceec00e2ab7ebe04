//! From what a Fetch of a partition brought to batches that can be stored here. Pure.
//!
//! A batch whose records all stay keeps its payload byte for byte; only its header is written anew, without producer and
//! without marks of a transaction. Where records go (aborted, seen before, passed through this gateway already), or where
//! offsets have gaps (compaction) or times stand for the whole batch (`LogAppendTime`), its records are re-encoded.
//!
//! Invariants: a record of an aborted transaction, or from the last stable offset on, never comes out; what can't be read
//! ends the digestion before it and is told, so nothing is passed over silently; a damaged batch never gets a fresh checksum.

use std::collections::BTreeSet;

use super::super::batches::origins::Origins;
use super::super::batches::recode::{self, Recoded};
use crate::record::{
    BatchBuilder, BatchError, BatchView, Compression, Producer, RecordRef, TimestampType, VerifyLimits,
    append_records_where, decompress, header, provenance, recompress, records,
};

/// The control record that ends an aborted transaction: version 0, type 0.
const ABORT_MARKER: [u8; 4] = [0, 0, 0, 0];

/// What holds for the local topic.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// This gateway's id: records that bear it in their headers don't come in again.
    pub(super) gateway: String,
    /// Largest batch that the topic takes.
    pub(super) batch_bytes_max: usize,
    /// The codec that the topic is kept in; `None` as it comes.
    pub(super) codec: Option<Compression>,
}

/// What came of a partition, as the broker answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched<'a> {
    /// A run of batches; the last may be cut off.
    pub(super) batches: &'a [u8],
    /// Producer id and first offset of aborted transactions.
    pub(super) aborted: &'a [(i64, i64)],
    /// Nothing from here on is to be read; `None` if not told.
    pub(super) stable_end: Option<i64>,
}

/// What is to be stored of one batch upstream, all of it or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// One batch, or several where that was too large for the local topic.
    pub(super) batches: Vec<Vec<u8>>,
    pub(super) records: u64,
    /// The position behind it.
    pub(super) next_offset: i64,
    pub(super) leader_epoch: i32,
}

/// What is to be stored, and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digested {
    pub(super) pieces: Vec<Piece>,
    /// Where to read on.
    pub(super) next_offset: i64,
    /// Of the last batch met; the one before if none was.
    pub(super) leader_epoch: i32,
    /// Records of aborted transactions.
    pub(super) aborted: u64,
    /// Records that had passed this gateway.
    pub(super) looped: u64,
    /// Why it ends before the end of what came.
    pub(super) fault: Option<Fault>,
}

/// A batch that can't be brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) why: String,
    /// The offset behind it, by its header; `None` where even that can't be read.
    pub(super) behind: Option<i64>,
}

/// Digests what was fetched from `from` on, where the last batch before had `leader_epoch`.
pub(super) fn digest(fetched: Fetched<'_>, from: i64, leader_epoch: i32, rules: &Rules) -> Digested {
    let mut out = Digested { next_offset: from, leader_epoch, ..Digested::default() };
    let mut aborted = Aborted::new(fetched.aborted);
    let mut rest = fetched.batches;
    while !rest.is_empty() {
        let view = match BatchView::parse(rest) {
            Ok((view, more)) => {
                rest = more;
                view
            }
            // The last one may be cut off; alone it may not.
            Err(BatchError::Truncated) if rest.len() < fetched.batches.len() => break,
            Err(error) => {
                out.fault = Some(Fault { why: format!("offset {}: {error}", out.next_offset), behind: None });
                break;
            }
        };
        if fetched.stable_end.is_some_and(|end| view.base_offset() >= end) {
            break;
        }
        if let Err(why) = out.take(&view, &mut aborted, rules) {
            let why = format!("the batch at offset {}: {why}", view.base_offset());
            out.fault = Some(Fault { why, behind: Some(view.next_offset()) });
            break;
        }
        out.next_offset = out.next_offset.max(view.next_offset());
        out.leader_epoch = view.leader_epoch();
    }
    out
}

impl Digested {
    /// Takes in one batch. On an error nothing of it was.
    fn take(&mut self, view: &BatchView<'_>, aborted: &mut Aborted, rules: &Rules) -> Result<(), String> {
        let damaged = |error: BatchError| error.to_string();
        if !view.crc_matches() {
            return Err("its checksum is wrong: it was damaged on the way, or upstream".to_owned());
        }
        let is_aborted = aborted.meet(view).map_err(damaged)?;
        // Compaction leaves empty ones behind, which remember what their producer wrote last.
        if view.attributes().is_control() || view.record_count() == 0 || view.last_offset() < self.next_offset {
            return Ok(());
        }
        if is_aborted {
            self.aborted += u64::from(view.record_count());
            return Ok(());
        }
        let sifted = sift(view, self.next_offset, &rules.gateway).map_err(damaged)?;
        self.looped += sifted.looped;
        if sifted.kept == 0 {
            return Ok(());
        }
        let batches = shape(view, &sifted, self.next_offset, rules)?;
        let (next_offset, leader_epoch) = (view.next_offset(), view.leader_epoch());
        self.pieces.push(Piece { batches, records: u64::from(sifted.kept), next_offset, leader_epoch });
        Ok(())
    }
}

/// What a look at each record of a batch tells.
struct Sifted {
    kept: u32,
    looped: u64,
    /// All records are kept, and the batch is as a producer would send it.
    whole: bool,
    /// Largest timestamp of the records.
    max_timestamp: i64,
}

/// Looks at each record of a batch.
fn sift(view: &BatchView<'_>, from: i64, gateway: &str) -> Result<Sifted, BatchError> {
    let payload = decompress(view, &limits())?;
    let (mut kept, mut looped, mut expected, mut dense) = (0, 0, view.base_offset(), true);
    let mut max_timestamp = i64::MIN;
    for record in records(view, &payload) {
        let record = record?;
        dense &= record.offset == expected;
        expected += 1;
        max_timestamp = max_timestamp.max(record.timestamp);
        if has_passed(&record, gateway) && record.offset >= from {
            looped += 1;
        } else if record.offset >= from {
            kept += 1;
        }
    }
    let all = kept == view.record_count() && expected == view.next_offset();
    let whole = dense && all && view.attributes().timestamp_type() == TimestampType::CreateTime;
    Ok(Sifted { kept, looped, whole, max_timestamp })
}

/// Whether a record bears the mark of this gateway.
fn has_passed(record: &RecordRef<'_>, gateway: &str) -> bool {
    record.headers.clone().any(|(name, value)| name == provenance::GATEWAY && value == Some(gateway.as_bytes()))
}

/// The batch as it is stored: untouched in its payload where that is possible.
fn shape(view: &BatchView<'_>, sifted: &Sifted, from: i64, rules: &Rules) -> Result<Vec<Vec<u8>>, String> {
    let damaged = |error: BatchError| error.to_string();
    let came_in = view.attributes().compression().unwrap_or_default();
    let codec = rules.codec.unwrap_or(came_in);
    let mut batch = view.bytes().to_vec();
    if sifted.whole {
        header::rewrite_for_forward(&mut batch, Producer::NONE, false).map_err(damaged)?;
        if view.max_timestamp() != sifted.max_timestamp {
            header::set_max_timestamp(&mut batch, sifted.max_timestamp);
        }
        let (parsed, _) = BatchView::parse(&batch).map_err(damaged)?;
        if let Some(other) = recompress(&parsed, codec, &limits()).map_err(damaged)? {
            batch = other;
        }
    } else {
        let mut builder = BatchBuilder::new();
        let keep = |record: &RecordRef<'_>| record.offset >= from && !has_passed(record, &rules.gateway);
        append_records_where(view, &limits(), &mut builder, keep).map_err(damaged)?;
        batch = builder.finish(codec);
    }
    let most = rules.batch_bytes_max;
    let batch = Recoded { bytes: batch, records: sifted.kept, origins: Origins::default() };
    let pieces = recode::split_to_fit(batch, most, codec).map_err(damaged)?;
    let fits = |piece| match piece {
        recode::Piece::Fits(part) => Ok(part.bytes),
        recode::Piece::TooLarge(part) => Err(format!(
            "a record of {} bytes as a batch, where the local topic takes {most}: raise its max.message.bytes",
            part.bytes.len()
        )),
    };
    pieces.into_iter().map(fits).collect()
}

fn limits() -> VerifyLimits {
    recode::stored_limits()
}

/// Whose records don't count at the moment, as batches are met in the order of their offsets.
struct Aborted {
    /// First offset and producer id of transactions not met yet, the first one last.
    to_come: Vec<(i64, i64)>,
    open: BTreeSet<i64>,
}

impl Aborted {
    fn new(listed: &[(i64, i64)]) -> Self {
        let mut to_come: Vec<(i64, i64)> = listed.iter().map(|(producer, first)| (*first, *producer)).collect();
        to_come.sort_unstable_by(|one, other| other.cmp(one));
        Self { to_come, open: BTreeSet::new() }
    }

    /// Whether the records of this batch belong to an aborted transaction.
    fn meet(&mut self, view: &BatchView<'_>) -> Result<bool, BatchError> {
        while let Some((_, producer)) = self.to_come.pop_if(|(first, _)| *first <= view.last_offset()) {
            self.open.insert(producer);
        }
        let attributes = view.attributes();
        if attributes.is_control() && is_abort_marker(view)? {
            self.open.remove(&view.producer_id());
        }
        Ok(attributes.is_transactional() && self.open.contains(&view.producer_id()))
    }
}

fn is_abort_marker(view: &BatchView<'_>) -> Result<bool, BatchError> {
    let payload = decompress(view, &limits())?;
    let first = records(view, &payload).next().transpose()?;
    Ok(first.is_some_and(|record| record.key.is_some_and(|key| key.starts_with(&ABORT_MARKER))))
}

#[cfg(test)]
mod tests;
