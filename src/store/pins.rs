//! Ranges of offsets that must not go for a while, whatever happens: what an upstream transaction is in doubt about.
//!
//! Not durable: whoever pins does so again after each opening. Retention, evictions and rewrites leave pinned ranges;
//! deleting records or their topic does not.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::types::PartitionId;

/// Who has pinned what.
#[derive(Debug, Default)]
pub(super) struct Pins {
    ranges: HashMap<PartitionId, BTreeMap<String, Range<i64>>>,
}

impl Pins {
    /// Pins a range for a reader, in place of what it had pinned of that partition.
    pub(super) fn pin(&mut self, reader: &str, partition: PartitionId, range: Range<i64>) {
        self.ranges.entry(partition).or_default().insert(reader.to_owned(), range);
    }

    pub(super) fn unpin(&mut self, reader: &str, partition: PartitionId) {
        if let Some(readers) = self.ranges.get_mut(&partition) {
            readers.remove(reader);
            if readers.is_empty() {
                self.ranges.remove(&partition);
            }
        }
    }

    /// The first pinned offset of a partition.
    pub(super) fn first_of(&self, partition: PartitionId) -> Option<i64> {
        let ranges = self.ranges.get(&partition)?.values();
        ranges.filter(|range| !range.is_empty()).map(|range| range.start).min()
    }

    /// Whether anything of a range is pinned.
    pub(super) fn holds(&self, partition: PartitionId, range: &Range<i64>) -> bool {
        let ranges = self.ranges.get(&partition).into_iter().flat_map(BTreeMap::values);
        ranges.into_iter().any(|pinned| pinned.start.max(range.start) < pinned.end.min(range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_hold_until_each_reader_lets_go() {
        let (mut pins, p) = (Pins::default(), PartitionId(1));
        pins.pin("a", p, 10..20);
        pins.pin("b", p, 5..8);
        assert_eq!((pins.first_of(p), pins.first_of(PartitionId(2))), (Some(5), None));
        assert!(pins.holds(p, &(0..6)) && pins.holds(p, &(19..40)) && !pins.holds(p, &(8..10)));
        pins.pin("b", p, 9..9);
        assert_eq!(pins.first_of(p), Some(10));
        pins.unpin("a", p);
        pins.unpin("b", p);
        assert!(pins.first_of(p).is_none() && pins.ranges.is_empty());
    }
}
