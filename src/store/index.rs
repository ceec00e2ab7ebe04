//! Where each batch of a segment lies: the index, in memory for the segment being written, on disk in a sealed one.
//!
//! The form is the same in both: per partition a row of blocks of at most [`BLOCK_BATCHES_MAX`] batches, each batch
//! packed into LEB128 numbers relative to the one before it in its block (signed ones zigzag), ten bytes or so:
//! base offset less the end of the one before · last offset delta · commit · chunk · position in the chunk · twice the
//! length, and one more if its timestamps are provisional · highest timestamp. The first of a block is relative to the block's key and zeroes. On disk a block is the value under
//! (partition, base offset of its first batch); sealing a segment copies them out.
//!
//! Invariants: base offsets ascend without overlap, commits never descend; both per partition.

use std::collections::BTreeMap;

use super::chunks::Location;
use super::format::Malformed;
use super::intervals::{put_leb128, take_leb128};
use super::types::PartitionId;

/// Batches in a block: what a lookup decodes at most.
const BLOCK_BATCHES_MAX: usize = 128;

/// A batch, as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchRef {
    pub base_offset: i64,
    /// One past its last offset.
    pub next_offset: i64,
    /// Its entry.
    pub location: Location,
    /// Highest timestamp of its records.
    pub max_timestamp: i64,
    /// Its timestamps are the gateway's from before it knew the time.
    pub provisional: bool,
}

impl BatchRef {
    /// Records in it: a batch has no gaps.
    pub(super) fn records(&self) -> u64 {
        self.next_offset.abs_diff(self.base_offset)
    }
}

/// What a segment holds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PartitionSummary {
    pub first_offset: i64,
    pub next_offset: i64,
    pub batches: u64,
    pub records: u64,
    /// Entries, headers included.
    pub bytes: u64,
    pub max_timestamp: i64,
}

impl PartitionSummary {
    /// Bytes of the encoded form.
    pub(super) const BYTES: usize = 48;

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let fields = [
            self.first_offset as u64,
            self.next_offset as u64,
            self.batches,
            self.records,
            self.bytes,
            self.max_timestamp as u64,
        ];
        let mut out = [0; Self::BYTES];
        for (place, byte) in out.iter_mut().zip(fields.into_iter().flat_map(u64::to_le_bytes)) {
            *place = byte;
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let raw: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let at = |index: usize| super::format::u64_at(raw, index * 8);
        Some(Self {
            first_offset: at(0) as i64,
            next_offset: at(1) as i64,
            batches: at(2),
            records: at(3),
            bytes: at(4),
            max_timestamp: at(5) as i64,
        })
    }
}

/// The index of a segment, in memory.
#[derive(Debug, Default)]
pub(super) struct SegmentIndex {
    partitions: BTreeMap<PartitionId, PartitionIndex>,
    packed_bytes: usize,
    totals: Totals,
}

/// What a segment holds altogether.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Totals {
    /// Entries of batches, headers included.
    pub payload_bytes: u64,
    /// Highest timestamp of any record; `i64::MIN` if there is none.
    pub max_timestamp: i64,
}

impl Default for Totals {
    fn default() -> Self {
        Self { payload_bytes: 0, max_timestamp: i64::MIN }
    }
}

impl SegmentIndex {
    /// Adds a batch behind all of its partition.
    pub(super) fn push(&mut self, partition: PartitionId, batch: &BatchRef) {
        let index = self.partitions.entry(partition).or_default();
        let before = index.packed_bytes();
        index.push(batch);
        self.packed_bytes += index.packed_bytes() - before;
        self.totals.payload_bytes += u64::from(batch.location.bytes);
        self.totals.max_timestamp = self.totals.max_timestamp.max(batch.max_timestamp);
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn get(&self, partition: PartitionId) -> Option<&PartitionIndex> {
        self.partitions.get(&partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PartitionId, &PartitionIndex)> {
        self.partitions.iter().map(|(&partition, index)| (partition, index))
    }

    /// About what sealing will add to the file.
    pub(super) fn sealed_bytes(&self) -> u64 {
        // A row of each table costs its key, its place in the leaf, and half-empty pages at worst.
        (self.packed_bytes as u64 + self.partitions.len() as u64 * 96) * 3 / 2 + 64 * 1_024
    }
}

/// The index of a partition in a segment.
#[derive(Debug, Default)]
pub(super) struct PartitionIndex {
    blocks: Vec<Block>,
    summary: Option<PartitionSummary>,
    /// The last batch: what the next one is packed relative to.
    last: Option<BatchRef>,
    full_blocks_bytes: usize,
}

#[derive(Debug)]
struct Block {
    first_offset: i64,
    batches: usize,
    packed: Vec<u8>,
}

impl PartitionIndex {
    fn push(&mut self, batch: &BatchRef) {
        let full = self.blocks.last().is_none_or(|block| block.batches >= BLOCK_BATCHES_MAX);
        if full {
            if let Some(last) = self.blocks.last_mut() {
                last.packed.shrink_to_fit();
                self.full_blocks_bytes += last.packed.len();
            }
            self.blocks.push(Block { first_offset: batch.base_offset, batches: 0, packed: Vec::new() });
            self.last = None;
        }
        if let Some(block) = self.blocks.last_mut() {
            let before = self.last.unwrap_or_else(|| origin(block.first_offset));
            pack(&mut block.packed, &before, batch);
            block.batches += 1;
        }
        self.last = Some(*batch);
        let summary = self.summary.get_or_insert(PartitionSummary {
            first_offset: batch.base_offset,
            next_offset: batch.next_offset,
            batches: 0,
            records: 0,
            bytes: 0,
            max_timestamp: i64::MIN,
        });
        summary.next_offset = batch.next_offset;
        summary.batches += 1;
        summary.records += batch.records();
        summary.bytes += u64::from(batch.location.bytes);
        summary.max_timestamp = summary.max_timestamp.max(batch.max_timestamp);
    }

    fn packed_bytes(&self) -> usize {
        self.full_blocks_bytes + self.blocks.last().map_or(0, |block| block.packed.len())
    }

    pub(super) fn summary(&self) -> Option<&PartitionSummary> {
        self.summary.as_ref()
    }

    /// Base offset of the first batch.
    pub(super) fn first_offset(&self) -> Option<i64> {
        self.summary.as_ref().map(|summary| summary.first_offset)
    }

    /// The blocks: key offset and packed batches.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (i64, &[u8])> {
        self.blocks.iter().map(|block| (block.first_offset, block.packed.as_slice()))
    }

    /// The blocks from the one that `offset` falls into, or the next.
    pub(super) fn blocks_from(&self, offset: i64) -> impl Iterator<Item = (i64, &[u8])> {
        let behind = self.blocks.partition_point(|block| block.first_offset <= offset);
        let from = self.blocks.get(behind.saturating_sub(1)..).unwrap_or_default();
        from.iter().map(|block| (block.first_offset, block.packed.as_slice()))
    }
}

/// The batches of a packed block.
#[derive(Debug)]
pub(super) struct BlockReader<'a> {
    packed: &'a [u8],
    before: BatchRef,
}

impl<'a> BlockReader<'a> {
    /// `first_offset` is the block's key.
    pub(super) fn new(first_offset: i64, packed: &'a [u8]) -> Self {
        Self { packed, before: origin(first_offset) }
    }
}

impl Iterator for BlockReader<'_> {
    type Item = Result<BatchRef, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.packed.is_empty() {
            return None;
        }
        let read = unpack(&mut self.packed, &self.before);
        match read {
            Some(batch) => self.before = batch,
            None => self.packed = &[],
        }
        Some(read.ok_or("a block of the index is malformed"))
    }
}

/// What the first batch of a block is packed relative to.
fn origin(first_offset: i64) -> BatchRef {
    BatchRef {
        base_offset: 0,
        next_offset: first_offset,
        location: Location::default(),
        max_timestamp: 0,
        provisional: false,
    }
}

fn pack(out: &mut Vec<u8>, before: &BatchRef, batch: &BatchRef) {
    let numbers = [
        batch.base_offset.abs_diff(before.next_offset),
        batch.next_offset.abs_diff(batch.base_offset),
        batch.location.commit.saturating_sub(before.location.commit),
        batch.location.chunk.into(),
        batch.location.at.into(),
        u64::from(batch.location.bytes) << 1 | u64::from(batch.provisional),
        zigzag(batch.max_timestamp.wrapping_sub(before.max_timestamp)),
    ];
    for number in numbers {
        put_leb128(out, number);
    }
}

fn unpack(packed: &mut &[u8], before: &BatchRef) -> Option<BatchRef> {
    let mut number = || take_leb128(packed).ok();
    let base_offset = before.next_offset.checked_add_unsigned(number()?)?;
    let next_offset = base_offset.checked_add_unsigned(number()?)?;
    let commit = before.location.commit.checked_add(number()?)?;
    let (chunk, at) = (number()?.try_into().ok()?, number()?.try_into().ok()?);
    let length = number()?;
    let location = Location { commit, chunk, at, bytes: (length >> 1).try_into().ok()? };
    let provisional = length & 1 == 1;
    let max_timestamp = before.max_timestamp.wrapping_add(unzigzag(number()?));
    Some(BatchRef { base_offset, next_offset, location, max_timestamp, provisional })
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batches() -> impl Strategy<Value = Vec<BatchRef>> {
        let one = (0i64..3, 1i64..1_000, 0u64..5, 0u32..20, 0u32..65_472, 1u32..2_000_000, any::<i64>());
        prop::collection::vec(one, 0..400).prop_map(|rows| {
            let (mut offset, mut commit) = (1_000_000, 77);
            rows.into_iter()
                .map(|(gap, records, commits, chunk, at, bytes, max_timestamp)| {
                    commit += commits;
                    let base_offset = offset + gap;
                    offset = base_offset + records;
                    let location = Location { commit, chunk, at, bytes };
                    BatchRef { base_offset, next_offset: offset, location, max_timestamp, provisional: bytes % 2 == 0 }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_is_found(batches in batches()) {
            let mut index = SegmentIndex::default();
            let p = PartitionId(1);
            for batch in &batches {
                index.push(p, batch);
            }
            let Some(index) = index.get(p) else { return Ok(()) };
            let read: Vec<BatchRef> = index.blocks().flat_map(|(key, packed)| BlockReader::new(key, packed)).map(Result::unwrap).collect();
            prop_assert_eq!(&read, &batches);
            prop_assert!(index.blocks().all(|(key, packed)| BlockReader::new(key, packed).next().unwrap().unwrap().base_offset == key));
            for batch in &batches {
                for offset in [batch.base_offset, batch.next_offset - 1] {
                    let found = index.blocks_from(offset).flat_map(|(key, packed)| BlockReader::new(key, packed))
                        .map(Result::unwrap).find(|found| found.next_offset > offset);
                    prop_assert_eq!(found, Some(*batch));
                }
            }
            let summary = index.summary().unwrap();
            prop_assert_eq!(PartitionSummary::decode(&summary.encode()), Some(*summary));
            prop_assert_eq!(summary.batches as usize, batches.len());
            prop_assert_eq!(summary.records, batches.iter().map(BatchRef::records).sum::<u64>());
        }

        #[test]
        fn unpacking_never_panics(key in any::<i64>(), packed in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = BlockReader::new(key, &packed).count();
        }
    }

    #[test]
    fn a_small_batch_costs_about_ten_bytes() {
        let mut index = SegmentIndex::default();
        for n in 0..100_000u32 {
            let location = Location { commit: 5_000 + u64::from(n / 10), chunk: n % 3, at: n * 37 % 4_032, bytes: 120 };
            let base_offset = i64::from(n);
            let max_timestamp = 1_800_000_000_000 + i64::from(n / 10 * 100);
            index.push(
                PartitionId(1),
                &BatchRef { base_offset, next_offset: base_offset + 1, location, max_timestamp, provisional: false },
            );
        }
        assert!(index.packed_bytes < 100_000 * 11, "{}", index.packed_bytes);
    }
}
