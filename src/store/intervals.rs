//! The set of offsets that a reader is done with: a reader's position in a partition.
//!
//! Normally one interval `[0, n)`; more while later records went ahead of earlier ones. Encoded as LEB128 numbers, for
//! each interval the distance from the end of the one before and the length; so a position costs a few bytes.
//!
//! Invariants: intervals are non-empty, ascending, and never touch; at most [`POSITION_INTERVALS_MAX`] of them.

use std::fmt;
use std::ops::Range;

use super::types::PartitionId;
use crate::limits::POSITION_INTERVALS_MAX;

/// A set of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals {
    ranges: Vec<Range<i64>>,
}

/// The set would fall into more intervals than a position may have; it is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyIntervals;

impl fmt::Display for TooManyIntervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a position has at most {POSITION_INTERVALS_MAX} intervals")
    }
}

impl std::error::Error for TooManyIntervals {}

/// Not what [`Intervals::encode`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidIntervals;

impl fmt::Display for InvalidIntervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an encoded set of intervals")
    }
}

impl std::error::Error for InvalidIntervals {}

/// The key in `Space::Cursor` under which a reader's position in a partition is kept: the reader's name, a zero byte,
/// the partition in big-endian order. The name must not contain a zero byte.
pub fn cursor_key(reader: &str, partition: PartitionId) -> Vec<u8> {
    let mut key = Vec::with_capacity(reader.len() + 5);
    key.extend_from_slice(reader.as_bytes());
    key.push(0);
    key.extend_from_slice(&partition.0.to_be_bytes());
    key
}

impl Intervals {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// `[0, end)`.
    pub fn up_to(end: i64) -> Self {
        Self { ranges: (end > 0).then_some(0..end).into_iter().collect() }
    }

    /// The intervals, ascending.
    pub fn ranges(&self) -> &[Range<i64>] {
        &self.ranges
    }

    /// Adds all offsets of `range`; negative ones don't exist and are ignored.
    ///
    /// # Errors
    /// [`TooManyIntervals`]; nothing is changed then.
    pub fn insert(&mut self, range: Range<i64>) -> Result<(), TooManyIntervals> {
        let mut range = range.start.max(0)..range.end;
        if range.is_empty() {
            return Ok(());
        }
        // All that overlap or touch the new one melt into it.
        let from = self.ranges.partition_point(|r| r.end < range.start);
        let to = self.ranges.partition_point(|r| r.start <= range.end);
        if from >= to && self.ranges.len() >= POSITION_INTERVALS_MAX {
            return Err(TooManyIntervals);
        }
        for old in self.ranges.drain(from..to.max(from)) {
            range = range.start.min(old.start)..range.end.max(old.end);
        }
        self.ranges.insert(from, range);
        Ok(())
    }

    /// The first offset that isn't in the set: where a reader that goes in order reads on.
    pub fn first_gap(&self) -> i64 {
        match self.ranges.first() {
            Some(first) if first.start == 0 => first.end,
            _ => 0,
        }
    }

    /// Whether `offset` is in the set.
    pub fn contains(&self, offset: i64) -> bool {
        let at = self.ranges.partition_point(|r| r.end <= offset);
        self.ranges.get(at).is_some_and(|r| r.contains(&offset))
    }

    /// The offsets of `range` that aren't in the set, as intervals, ascending.
    pub fn missing_in(&self, range: Range<i64>) -> Vec<Range<i64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        let from = self.ranges.partition_point(|r| r.end <= range.start);
        for done in self.ranges.iter().skip(from) {
            if done.start >= range.end {
                break;
            }
            if at < done.start {
                missing.push(at..done.start);
            }
            at = at.max(done.end);
        }
        if at < range.end {
            missing.push(at..range.end);
        }
        missing
    }

    /// The offsets of the set that lie before `end`.
    #[must_use]
    pub fn before(&self, end: i64) -> Self {
        let clipped = self.ranges.iter().map(|range| range.start..range.end.min(end));
        Self { ranges: clipped.filter(|range| !range.is_empty()).collect() }
    }

    /// As [`Intervals::decode`], of a log that ends before `end`. `None` as well, if it speaks of offsets that are not there: nobody can be done
    /// with those, so all that it says is in doubt.
    pub fn decode_within(bytes: &[u8], end: i64) -> Option<Self> {
        Self::decode(bytes).ok().filter(|read| read.ranges.last().is_none_or(|last| last.end <= end))
    }

    /// The value for `Space::Cursor`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.ranges.len() * 6);
        let mut at = 0;
        for range in &self.ranges {
            put_leb128(&mut out, range.start.abs_diff(at));
            put_leb128(&mut out, range.end.abs_diff(range.start));
            at = range.end;
        }
        out
    }

    /// Reads what [`Intervals::encode`] made.
    ///
    /// # Errors
    /// [`InvalidIntervals`] if it is anything else.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, InvalidIntervals> {
        let mut ranges: Vec<Range<i64>> = Vec::new();
        let mut at = 0i64;
        while !bytes.is_empty() {
            let gap = take_leb128(&mut bytes)?;
            let length = take_leb128(&mut bytes)?;
            let start = at.checked_add_unsigned(gap).ok_or(InvalidIntervals)?;
            let end = start.checked_add_unsigned(length).ok_or(InvalidIntervals)?;
            let touches = gap == 0 && !ranges.is_empty();
            if touches || length == 0 || ranges.len() >= POSITION_INTERVALS_MAX {
                return Err(InvalidIntervals);
            }
            ranges.push(start..end);
            at = end;
        }
        Ok(Self { ranges })
    }
}

pub(super) fn put_leb128(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn take_leb128(bytes: &mut &[u8]) -> Result<u64, InvalidIntervals> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(InvalidIntervals)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return Err(InvalidIntervals);
        }
        number |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(InvalidIntervals)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reader_in_order_has_one_interval() {
        let mut position = Intervals::new();
        assert_eq!(position.first_gap(), 0);
        position.insert(0..5).unwrap();
        position.insert(5..9).unwrap();
        assert_eq!(position, Intervals::up_to(9));
        assert_eq!((position.first_gap(), position.encode()), (9, vec![0, 9]));
        position.insert(20..22).unwrap();
        assert_eq!(position.first_gap(), 9);
        assert_eq!(position.missing_in(3..30), [9..20, 22..30]);
    }

    #[test]
    fn too_many_intervals_are_refused_but_filling_gaps_is_not() {
        let mut position = Intervals::new();
        for n in 0..POSITION_INTERVALS_MAX as i64 {
            position.insert(n * 10..n * 10 + 5).unwrap();
        }
        assert_eq!(position.insert(7..8), Err(TooManyIntervals));
        position.insert(5..10).unwrap();
        assert_eq!(position.ranges().len(), POSITION_INTERVALS_MAX - 1);
        position.insert(100_000..100_001).unwrap();
    }

    #[test]
    fn only_canonical_encodings_are_read() {
        for bad in
            [&[0u8, 0][..], &[0, 3, 0, 2], &[1], &[0x80], &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert_eq!(Intervals::decode(bad), Err(InvalidIntervals), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(inserts in prop::collection::vec((0i64..120, 0i64..12), 0..40), asked in (0i64..130, 0i64..60)) {
            let (mut set, mut model) = (Intervals::new(), BTreeSet::new());
            for (start, length) in inserts {
                set.insert(start..start + length).unwrap();
                model.extend(start..start + length);
            }
            for offset in 0..140 {
                prop_assert_eq!(set.contains(offset), model.contains(&offset));
            }
            prop_assert_eq!(set.first_gap(), (0..).find(|o| !model.contains(o)).unwrap());
            let range = asked.0..asked.0 + asked.1;
            let missing: Vec<i64> = set.missing_in(range.clone()).into_iter().flatten().collect();
            let expected: Vec<i64> = range.filter(|o| !model.contains(o)).collect();
            prop_assert_eq!(missing, expected);
            let before: BTreeSet<i64> = set.before(asked.0).ranges().iter().cloned().flatten().collect();
            prop_assert_eq!(before, model.range(..asked.0).copied().collect::<BTreeSet<i64>>());
            prop_assert_eq!(Intervals::decode(&set.encode()), Ok(set));
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(set) = Intervals::decode(&bytes) {
                prop_assert_eq!(Intervals::decode(&set.encode()), Ok(set));
            }
        }
    }
}
