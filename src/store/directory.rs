//! The directory of sealed segments: a row of `Space::Segment` for each, so that opening a store reads none of them; and
//! what a segment's file says of where partitions stood when it began.
//!
//! A row (key: the segment's id u32, big-endian): id of the first segment that it covers u32 (its own, unless it is the
//! rewritten form of a run of segments), first commit u64, last commit u64, bytes of its batches u64, occupied bytes at
//! the roll u64, highest timestamp i64, then at most [`MARKS_MAX`] time marks of 29 bytes (see `heads::Marks`);
//! little-endian. The first commit of the next segment writes it, an eviction deletes it.
//!
//! The *beginnings* of a segment lie in its file: for each partition that existed, the next offset before the segment's
//! first commit, in blocks of at most [`BLOCK_PARTITIONS_MAX`]; as LEB128 numbers, by partition: its id less the one
//! before, next offset. The key of a block is its first partition, to which the first id is relative.

use super::format::{Malformed, u32_at, u64_at};
use super::heads::Marks;
use super::index::Totals;
use super::intervals::{put_leb128, take_leb128};
use super::types::{CommitSeq, PartitionId};

/// Time marks in a row: what retention by age is sure of without opening the file.
pub(super) const MARKS_MAX: usize = 16;
/// Partitions in a block of beginnings: what a lookup decodes at most.
pub(super) const BLOCK_PARTITIONS_MAX: usize = 256;

const FIXED_BYTES: usize = 44;

/// What is known of a sealed segment without its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentRow {
    pub id: u32,
    pub covers_from: u32,
    pub first_commit: CommitSeq,
    pub last_commit: CommitSeq,
    pub totals: Totals,
    /// What the file occupied when its successor was activated; sealing changes that.
    pub occupied_bytes: u64,
    pub marks: Marks,
}

impl SegmentRow {
    pub(super) fn key(id: u32) -> [u8; 4] {
        id.to_be_bytes()
    }

    /// The segment of a row's key.
    pub(super) fn id(key: &[u8]) -> Option<u32> {
        Some(u32::from_be_bytes(key.try_into().ok()?))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_BYTES + 128);
        out.extend_from_slice(&self.covers_from.to_le_bytes());
        for number in [
            self.first_commit,
            self.last_commit,
            self.totals.payload_bytes,
            self.occupied_bytes,
            self.totals.max_timestamp as u64,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.marks.encode());
        out
    }

    /// Reads a row of the directory.
    pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let malformed = "a row of the segment directory is malformed";
        let id = Self::id(key).ok_or(malformed)?;
        let (fixed, marks) = value.split_at_checked(FIXED_BYTES).ok_or(malformed)?;
        let row = Self {
            id,
            covers_from: u32_at(fixed, 0),
            first_commit: u64_at(fixed, 4),
            last_commit: u64_at(fixed, 12),
            totals: Totals { payload_bytes: u64_at(fixed, 20), max_timestamp: u64_at(fixed, 36) as i64 },
            occupied_bytes: u64_at(fixed, 28),
            marks: Marks::decode(marks),
        };
        let valid = row.covers_from <= row.id && row.first_commit <= row.last_commit;
        valid.then_some(row).ok_or(malformed)
    }
}

/// The blocks of beginnings of these partitions, ascending: key and packed numbers.
pub(super) fn encode_beginnings(partitions: impl Iterator<Item = (PartitionId, i64)>) -> Vec<(u32, Vec<u8>)> {
    let mut blocks: Vec<(u32, Vec<u8>)> = Vec::new();
    let (mut in_block, mut before) = (BLOCK_PARTITIONS_MAX, 0);
    for (partition, next_offset) in partitions {
        if in_block >= BLOCK_PARTITIONS_MAX {
            blocks.push((partition.0, Vec::new()));
            (in_block, before) = (0, partition.0);
        }
        if let Some((_, packed)) = blocks.last_mut() {
            put_leb128(packed, (partition.0 - before).into());
            put_leb128(packed, next_offset as u64);
        }
        (in_block, before) = (in_block + 1, partition.0);
    }
    blocks
}

/// The partitions of a block of beginnings.
#[derive(Debug)]
pub(super) struct Beginnings<'a> {
    packed: &'a [u8],
    before: u32,
}

impl<'a> Beginnings<'a> {
    /// `first` is the block's key.
    pub(super) fn new(first: u32, packed: &'a [u8]) -> Self {
        Self { packed, before: first }
    }

    fn take(&mut self) -> Option<(PartitionId, i64)> {
        let mut number = || take_leb128(&mut self.packed).ok();
        let partition = self.before.checked_add(number()?.try_into().ok()?)?;
        let next_offset = number()?.try_into().ok()?;
        self.before = partition;
        Some((PartitionId(partition), next_offset))
    }
}

impl Iterator for Beginnings<'_> {
    type Item = Result<(PartitionId, i64), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.packed.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            self.packed = &[];
        }
        Some(taken.ok_or("a block of beginnings is malformed"))
    }
}

/// Beginnings that were looked up lately: a place each, found by hash. They never change, so none is ever wrong.
#[derive(Debug, Default)]
pub(super) struct BeginCache {
    places: Vec<Option<(CommitSeq, PartitionId, i64)>>,
}

impl BeginCache {
    const PLACES: usize = 4_096;

    fn place(first_commit: CommitSeq, partition: PartitionId) -> usize {
        // Fibonacci hashing: the upper bits are well mixed.
        let mixed = (first_commit ^ (u64::from(partition.0) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize % Self::PLACES
    }

    /// Where a partition stood before a segment's first commit, if that was looked up lately.
    pub(super) fn get(&self, first_commit: CommitSeq, partition: PartitionId) -> Option<i64> {
        let place = self.places.get(Self::place(first_commit, partition))?.as_ref();
        place.filter(|(commit, of, _)| *commit == first_commit && *of == partition).map(|(_, _, offset)| *offset)
    }

    pub(super) fn set(&mut self, first_commit: CommitSeq, partition: PartitionId, offset: i64) {
        if self.places.is_empty() {
            self.places.resize(Self::PLACES, None);
        }
        if let Some(place) = self.places.get_mut(Self::place(first_commit, partition)) {
            *place = Some((first_commit, partition, offset));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::heads::Mark;
    use super::super::types::Stamp;
    use super::*;

    #[test]
    fn rows_come_back() {
        let mut marks = Marks::default();
        for n in 0..40u64 {
            let stamp = Stamp { mono_ms: n * 60_000, wall_ms: -5, wall_trusted: n > 3 };
            marks.note(Mark { commit: n + 7, epoch: 2, stamp });
        }
        let row = SegmentRow {
            id: 9,
            covers_from: 5,
            first_commit: 7,
            last_commit: 46,
            totals: Totals { payload_bytes: 1 << 33, max_timestamp: -3 },
            occupied_bytes: 77,
            marks: marks.coarse(MARKS_MAX),
        };
        let value = row.encode();
        assert!(value.len() <= FIXED_BYTES + 29 * MARKS_MAX, "{}", value.len());
        assert_eq!(SegmentRow::decode(&SegmentRow::key(9), &value), Ok(row));
        assert!(SegmentRow::decode(&SegmentRow::key(4), &value).is_err(), "it would cover later ones");
        assert!(SegmentRow::decode(&SegmentRow::key(9), &value[..FIXED_BYTES - 1]).is_err());
        assert!(SegmentRow::decode(b"short", &value).is_err());
    }

    proptest! {
        #[test]
        fn beginnings_come_back(steps in prop::collection::vec((1u32..400, 0i64..1 << 50), 0..600)) {
            let mut id = 0;
            let partitions: Vec<(PartitionId, i64)> =
                steps.into_iter().map(|(step, next)| { id += step; (PartitionId(id), next) }).collect();
            let blocks = encode_beginnings(partitions.iter().copied());
            prop_assert_eq!(blocks.len(), partitions.len().div_ceil(BLOCK_PARTITIONS_MAX));
            let back: Vec<_> =
                blocks.iter().flat_map(|(first, packed)| Beginnings::new(*first, packed)).map(Result::unwrap).collect();
            prop_assert!(blocks.iter().zip(partitions.chunks(BLOCK_PARTITIONS_MAX)).all(|(b, p)| b.0 == p[0].0.0));
            prop_assert_eq!(back, partitions);
        }

        #[test]
        fn unpacking_never_panics(first in any::<u32>(), packed in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Beginnings::new(first, &packed).count();
        }
    }

    #[test]
    fn the_cache_tells_what_it_was_told_or_nothing() {
        let mut cache = BeginCache::default();
        assert_eq!(cache.get(1, PartitionId(1)), None);
        let value = |commit: u64, partition: u32| (commit * 1_000 + u64::from(partition)) as i64;
        for commit in 1..40 {
            for partition in 0..1_000 {
                cache.set(commit * 5_000, PartitionId(partition), value(commit, partition));
            }
        }
        let mut found = 0;
        for commit in 1..40 {
            for partition in 0..1_000 {
                let told = cache.get(commit * 5_000, PartitionId(partition));
                assert!(told.is_none_or(|told| told == value(commit, partition)));
                found += usize::from(told.is_some());
            }
        }
        assert!(found > BeginCache::PLACES / 2 && found <= BeginCache::PLACES, "{found}");
    }
}
