//! What a segment file says: its rows, read in one snapshot a call and checked.

use super::super::chunks::Stream;
use super::super::directory::Beginnings;
use super::super::format::{self, u32_at, u64_at};
use super::super::index::{BatchRef, PartitionSummary};
use super::super::log_parts;
use super::super::ring::lock;
use super::super::state::State;
use super::super::types::{CommitSeq, PartitionId, Space};
use super::{
    Activation, BEGIN, INDEX, META, META_ACTIVATED, META_COLD, META_HOT, META_SEALED, STATE, SUMMARY, Seal,
    SegmentError, SegmentFile, fail, table_if_any, without_crc,
};

impl SegmentFile {
    /// What the activation said; `None` if the segment is blank.
    pub(in crate::store) fn activation(&self) -> Result<Option<Activation>, SegmentError> {
        self.read(|txn| {
            let Some(meta) = table_if_any(txn.open_table(META))? else { return Ok(None) };
            let Some(raw) = meta.get(META_ACTIVATED).map_err(fail)? else { return Ok(None) };
            let spaces = |name| -> Result<Vec<Space>, SegmentError> {
                let raw = meta.get(name).map_err(fail)?;
                let numbers = raw.as_ref().map_or(&[][..], |raw| raw.value());
                let spaces: Option<Vec<Space>> = numbers.iter().map(|&n| Space::from_number(n)).collect();
                spaces.ok_or_else(|| SegmentError::damaged("it names an unknown space"))
            };
            Activation::decode(raw.value(), spaces(META_HOT)?, spaces(META_COLD)?).map(Some)
        })
    }

    /// What sealing said; `None` if the segment isn't sealed.
    pub(in crate::store) fn sealed(&self) -> Result<Option<Seal>, SegmentError> {
        self.read(|txn| {
            let Some(meta) = table_if_any(txn.open_table(META))? else { return Ok(None) };
            let raw = meta.get(META_SEALED).map_err(fail)?;
            Ok(raw.map(|raw| {
                let raw = raw.value();
                Seal { last_commit: u64_at(raw, 0), marks: raw.get(8..).unwrap_or_default().to_vec() }
            }))
        })
    }

    /// The next offset of a partition before the first commit; 0 if there was no such partition.
    pub(in crate::store) fn beginning(&self, partition: PartitionId) -> Result<i64, SegmentError> {
        self.read(|txn| {
            let begin = txn.open_table(BEGIN).map_err(fail)?;
            let Some(block) = begin.range(..=partition.0).map_err(fail)?.next_back() else { return Ok(0) };
            let (first, packed) = block.map_err(fail)?;
            for row in Beginnings::new(first.value(), without_crc(packed.value())?) {
                let (other, next_offset) = row.map_err(SegmentError::damaged)?;
                if other == partition {
                    return Ok(next_offset);
                }
            }
            Ok(0)
        })
    }

    /// The next offsets of all partitions before the first commit, by partition.
    pub(in crate::store) fn beginnings(&self) -> Result<Vec<(PartitionId, i64)>, SegmentError> {
        self.read(|txn| {
            let begin = txn.open_table(BEGIN).map_err(fail)?;
            let mut all = Vec::new();
            for block in begin.range(0u32..).map_err(fail)? {
                let (first, packed) = block.map_err(fail)?;
                for row in Beginnings::new(first.value(), without_crc(packed.value())?) {
                    all.push(row.map_err(SegmentError::damaged)?);
                }
            }
            Ok(all)
        })
    }

    /// Fills a space of `state` from the snapshot.
    pub(in crate::store) fn read_snapshot(&self, space: Space, state: &mut State) -> Result<(), SegmentError> {
        let bytes = self.read(|txn| {
            let mut bytes = Vec::new();
            let Some(table) = table_if_any(txn.open_table(STATE))? else { return Ok(bytes) };
            for row in table.range((space.number(), 0)..=(space.number(), u32::MAX)).map_err(fail)? {
                bytes.extend_from_slice(row.map_err(fail)?.1.value());
            }
            Ok(bytes)
        })?;
        let rows = bytes.get(4..).ok_or_else(|| SegmentError::damaged("a snapshot of the state is missing"))?;
        if crc32c::crc32c(rows) != u32_at(&bytes, 0) {
            return Err(SegmentError::damaged("a snapshot of the state fails its checksum"));
        }
        state.decode(space, rows).map_err(SegmentError::damaged)
    }

    /// Gives the commits from `from` on to `visit`, in order, until it says `false`. A commit is whole in memory.
    pub(in crate::store) fn commits(
        &self,
        from: CommitSeq,
        mut visit: impl FnMut(CommitSeq, Stream) -> Result<bool, SegmentError>,
    ) -> Result<(), SegmentError> {
        let parts = lock(&self.parts).from(from).to_vec();
        self.read(|txn| {
            let mut open: Option<(CommitSeq, Vec<u8>, Vec<usize>)> = None;
            for part in parts {
                let name = log_parts::name(part);
                let Some(log) = table_if_any(txn.open_table(log_parts::table(&name)))? else { continue };
                for row in log.range((from, 0)..).map_err(fail)? {
                    let (key, value) = row.map_err(fail)?;
                    let (seq, chunk) = key.value();
                    if open.as_ref().is_some_and(|(at, ..)| *at != seq)
                        && let Some((seq, bytes, chunk_ends)) = open.take()
                        && !visit(seq, stream(bytes, chunk_ends))?
                    {
                        return Ok(());
                    }
                    let (_, bytes, chunk_ends) = open.get_or_insert_with(|| (seq, Vec::new(), Vec::new()));
                    if chunk as usize != chunk_ends.len() {
                        return Err(SegmentError::damaged(format!("a chunk of commit {seq} is missing")));
                    }
                    bytes.extend_from_slice(value.value());
                    chunk_ends.push(bytes.len());
                }
            }
            match open {
                Some((seq, bytes, chunk_ends)) => visit(seq, stream(bytes, chunk_ends)).map(drop),
                None => Ok(()),
            }
        })
    }

    /// Appends the batches at these places to `out`, each checked.
    pub(in crate::store) fn read_batches(
        &self,
        partition: PartitionId,
        batches: &[BatchRef],
        out: &mut Vec<u8>,
    ) -> Result<(), SegmentError> {
        self.read(|txn| {
            // Entries are read where the batches shall lie; their headers are taken out behind the check.
            out.reserve_exact(batches.iter().map(|batch| batch.location.bytes as usize).sum());
            let mut open = None;
            for batch in batches {
                let place = batch.location;
                let part = lock(&self.parts)
                    .of(place.commit)
                    .ok_or_else(|| SegmentError::damaged("a part of the log is missing"))?;
                let (_, log) = match open.take().filter(|(at, _)| *at == part) {
                    Some(opened) => open.insert(opened),
                    None => {
                        open.insert((part, txn.open_table(log_parts::table(&log_parts::name(part))).map_err(fail)?))
                    }
                };
                let bytes = place.bytes as usize;
                let mut skip = place.at as usize;
                let from = out.len();
                for row in log.range((place.commit, place.chunk)..=(place.commit, u32::MAX)).map_err(fail)? {
                    let row = row.map_err(fail)?;
                    let chunk = row.1.value().get(std::mem::take(&mut skip)..).unwrap_or_default();
                    let missing = bytes - (out.len() - from);
                    out.extend_from_slice(chunk.get(..missing).unwrap_or(chunk));
                    if out.len() - from == bytes {
                        break;
                    }
                }
                let entry = out.get(from..).unwrap_or_default();
                let found = format::parse_batch_entry(entry, partition).map(<[u8]>::len).map_err(|what| {
                    SegmentError::damaged(format!("partition {partition}, offset {}: {what}", batch.base_offset))
                });
                let header = found.inspect_err(|_| out.truncate(from)).map(|batch| bytes - batch)?;
                out.drain(from..from + header);
            }
            Ok(())
        })
    }

    /// Gives the blocks of a sealed segment's index to `visit`, from the one that `offset` falls into, or the next,
    /// until it says `false`.
    pub(in crate::store) fn index_blocks(
        &self,
        partition: PartitionId,
        offset: i64,
        mut visit: impl FnMut(i64, &[u8]) -> Result<bool, SegmentError>,
    ) -> Result<(), SegmentError> {
        self.read(|txn| {
            let index = txn.open_table(INDEX).map_err(fail)?;
            let before = index.range((partition.0, i64::MIN)..=(partition.0, offset)).map_err(fail)?.next_back();
            let from = match before {
                Some(row) => row.map_err(fail)?.0.value().1,
                None => offset,
            };
            for row in index.range((partition.0, from)..=(partition.0, i64::MAX)).map_err(fail)? {
                let (key, value) = row.map_err(fail)?;
                if !visit(key.value().1, without_crc(value.value())?)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// What a sealed segment holds of each partition.
    pub(in crate::store) fn summaries(&self) -> Result<Vec<(PartitionId, PartitionSummary)>, SegmentError> {
        self.read(|txn| {
            let table = txn.open_table(SUMMARY).map_err(fail)?;
            let mut all = Vec::new();
            for row in table.range(0u32..).map_err(fail)? {
                let (key, value) = row.map_err(fail)?;
                let summary = PartitionSummary::decode(without_crc(value.value())?)
                    .ok_or_else(|| SegmentError::damaged("a summary is malformed"))?;
                all.push((PartitionId(key.value()), summary));
            }
            Ok(all)
        })
    }

    /// What a sealed segment holds of one partition.
    pub(in crate::store) fn summary(&self, partition: PartitionId) -> Result<Option<PartitionSummary>, SegmentError> {
        self.read(|txn| {
            let table = txn.open_table(SUMMARY).map_err(fail)?;
            let Some(value) = table.get(partition.0).map_err(fail)? else { return Ok(None) };
            Ok(PartitionSummary::decode(without_crc(value.value())?))
        })
    }
}

/// A stream that was put together out of its chunks; whoever keeps it keeps no room that it grew by.
fn stream(mut bytes: Vec<u8>, chunk_ends: Vec<usize>) -> Stream {
    bytes.shrink_to_fit();
    Stream { bytes: bytes.into(), chunk_ends }
}
