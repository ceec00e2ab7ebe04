//! The loss ledger: which records went, and which of them before a following reader had read them.
//!
//! A row of `Space::Ledger` is a range: reader, a zero byte, partition u32 and first offset i64, both big-endian → last
//! offset i64, records u64, bytes u64, wall time ms i64, reason u8, then two bounds of when the records were appended, wall
//! time ms i64 each; little-endian. Rows without a reader are the partition's own: what went, whoever had read it. Ranges
//! that touch and have the same reason melt into one; a reader has at most [`ROWS_MAX`] rows for a partition, beyond which
//! the oldest two neighbours of one reason melt (the oldest two, if no neighbours have one), keeping their sums. So the ledger is bounded and its sums are exact.
//!
//! A deleted topic leaves one row of sums: a zero byte, 0xff four times, the commit u64 big-endian, the topic's id →
//! LEB128 numbers: wall time ms, records and bytes accepted, number of reasons, for each its number, records, bytes; then
//! number of readers, for each the length of its name, the name, records; then the topic's name. The oldest of them go
//! beyond [`DELETED_TOPICS_MAX`].

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::format::u64_at;
use super::intervals::{Intervals, cursor_key};
use super::status::{LossEntry, LossReason};
use super::types::PartitionId;

/// Most rows of a reader for a partition.
pub(super) const ROWS_MAX: usize = 16;

/// Most deleted topics whose sums are kept.
pub(super) const DELETED_TOPICS_MAX: usize = 64;
/// The beginning of the keys of deleted topics: no partition has this number.
pub(super) const DELETED: [u8; 5] = [0, 0xff, 0xff, 0xff, 0xff];

const VALUE_BYTES: usize = 49;

/// Who follows what.
#[derive(Debug, Default)]
pub(super) struct Followers {
    readers: HashMap<PartitionId, BTreeSet<String>>,
}

impl Followers {
    pub(super) fn follow(&mut self, reader: &str, partition: PartitionId) {
        self.readers.entry(partition).or_default().insert(reader.to_owned());
    }

    pub(super) fn unfollow(&mut self, reader: &str, partition: PartitionId) {
        if let Some(readers) = self.readers.get_mut(&partition) {
            readers.remove(reader);
            if readers.is_empty() {
                self.readers.remove(&partition);
            }
        }
    }

    pub(super) fn of(&self, partition: PartitionId) -> impl Iterator<Item = &str> {
        self.readers.get(&partition).into_iter().flatten().map(String::as_str)
    }
}

/// Where what a partition's followers have all read ends, going in order; `None` if nobody follows it. `position` gives
/// the value of a reader's cursor.
pub(super) fn read_by_all<'a>(
    readers: impl Iterator<Item = &'a str>,
    partition: PartitionId,
    position: impl Fn(&[u8]) -> Option<Intervals>,
) -> Option<i64> {
    readers.map(|reader| position(&cursor_key(reader, partition)).map_or(0, |position| position.first_gap())).min()
}

/// The prefix of the keys of a reader's rows for a partition: the same as the key of its cursor.
pub(super) fn key_prefix(reader: &str, partition: PartitionId) -> Vec<u8> {
    cursor_key(reader, partition)
}

/// The key of a row.
pub(super) fn key(entry: &LossEntry) -> Vec<u8> {
    let mut key = key_prefix(&entry.reader, entry.partition);
    key.extend_from_slice(&entry.first_offset.to_be_bytes());
    key
}

/// The value of a row.
pub(super) fn value(entry: &LossEntry) -> Vec<u8> {
    let mut value = Vec::with_capacity(VALUE_BYTES);
    value.extend_from_slice(&entry.last_offset.to_le_bytes());
    value.extend_from_slice(&entry.records.to_le_bytes());
    value.extend_from_slice(&entry.bytes.to_le_bytes());
    value.extend_from_slice(&entry.wall_ms.to_le_bytes());
    value.push(entry.reason as u8);
    value.extend_from_slice(&entry.appended_from_ms.to_le_bytes());
    value.extend_from_slice(&entry.appended_to_ms.to_le_bytes());
    value
}

/// Reads a row; `None` if it isn't one.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<LossEntry> {
    let (rest, first_offset) = key.split_last_chunk()?;
    let (rest, partition) = rest.split_last_chunk()?;
    let (_zero, reader) = rest.split_last()?;
    if value.len() != VALUE_BYTES || key.starts_with(&DELETED) {
        return None;
    }
    let reason = LossReason::from_number(*value.get(32)?)?;
    Some(LossEntry {
        reader: String::from_utf8(reader.to_vec()).ok()?,
        partition: PartitionId(u32::from_be_bytes(*partition)),
        first_offset: i64::from_be_bytes(*first_offset),
        last_offset: u64_at(value, 0) as i64,
        records: u64_at(value, 8),
        bytes: u64_at(value, 16),
        reason,
        wall_ms: u64_at(value, 24) as i64,
        appended_from_ms: u64_at(value, 33) as i64,
        appended_to_ms: u64_at(value, 41) as i64,
    })
}

/// What a reader at `position` loses when the offsets of `range` go: first, last, and how many.
pub(super) fn lost(position: &Intervals, range: Range<i64>) -> Option<(i64, i64, u64)> {
    let missing = position.missing_in(range);
    let records = missing.iter().map(|range| range.end.abs_diff(range.start)).sum();
    Some((missing.first()?.start, missing.last()?.end - 1, records))
}

/// Puts a new entry to a reader's rows for a partition, ascending. Returns the keys to delete and the rows to put.
pub(super) fn add(rows: &[LossEntry], entry: LossEntry) -> (Vec<Vec<u8>>, Vec<LossEntry>) {
    let touches = |last: &&LossEntry| last.reason == entry.reason && last.last_offset + 1 == entry.first_offset;
    if let Some(last) = rows.last().filter(touches) {
        return (Vec::new(), vec![melt(last, &entry)]);
    }
    // Of one reason, if there are such: the sums by reason stay exact then.
    let alike = rows.windows(2).position(|pair| matches!(pair, [a, b] if a.reason == b.reason)).unwrap_or(0);
    match rows.get(alike..) {
        Some([first, second, ..]) if rows.len() >= ROWS_MAX => {
            // The merged row bears the first one's key.
            (vec![key(second)], vec![melt(first, second), entry])
        }
        _ => (Vec::new(), vec![entry]),
    }
}

fn melt(earlier: &LossEntry, later: &LossEntry) -> LossEntry {
    LossEntry {
        first_offset: earlier.first_offset,
        records: earlier.records + later.records,
        bytes: earlier.bytes + later.bytes,
        appended_from_ms: earlier.appended_from_ms.min(later.appended_from_ms),
        appended_to_ms: earlier.appended_to_ms.max(later.appended_to_ms),
        ..later.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first_offset: i64, last_offset: i64, reason: LossReason) -> LossEntry {
        LossEntry {
            reader: "uplink/a".into(),
            partition: PartitionId(258),
            first_offset,
            last_offset,
            records: (last_offset - first_offset + 1) as u64,
            bytes: 10,
            reason,
            wall_ms: -7,
            appended_from_ms: first_offset,
            appended_to_ms: last_offset,
        }
    }

    #[test]
    fn rows_come_back() {
        let entry = entry(5, 9, LossReason::Expired);
        assert_eq!(decode(&key(&entry), &value(&entry)), Some(entry.clone()));
        assert!(key(&entry).starts_with(&key_prefix("uplink/a", PartitionId(258))));
        assert_eq!(decode(&key(&entry), &value(&entry)[..48]), None);
        assert_eq!(decode(b"short", &value(&entry)), None);
    }

    #[test]
    fn only_what_was_not_read_is_lost() {
        let mut position = Intervals::up_to(10);
        position.insert(15..20).unwrap();
        assert_eq!(lost(&position, 0..10), None);
        assert_eq!(lost(&position, 5..30), Some((10, 29, 15)));
        assert_eq!(lost(&position, 12..18), Some((12, 14, 3)));
    }

    #[test]
    fn rows_of_one_reason_melt_first() {
        use LossReason::{DeadLettered, Evicted};
        let mut rows = vec![entry(0, 9, LossReason::Quarantined)];
        rows.extend((1..ROWS_MAX as i64).map(|n| entry(n * 100, n * 100 + 9, DeadLettered)));
        let (gone, put) = add(&rows, entry(9_000, 9_009, Evicted));
        assert_eq!((gone, put[0].first_offset, put[0].last_offset), (vec![key(&rows[2])], 100, 209));
        assert_eq!((put[0].reason, put[1].first_offset), (DeadLettered, 9_000));
    }

    #[test]
    fn touching_rows_melt_and_the_number_is_bounded() {
        use LossReason::{Deleted, Evicted};
        let mut rows = vec![entry(0, 9, Evicted)];
        let (gone, put) = add(&rows, entry(10, 19, Evicted));
        assert_eq!(
            (gone.len(), put[0].first_offset, put[0].last_offset, put[0].records, put[0].bytes),
            (0, 0, 19, 20, 20)
        );
        assert_eq!(add(&rows, entry(10, 19, Deleted)).1.len(), 1);

        for n in 1..100 {
            let (gone, put) = add(&rows, entry(n * 100, n * 100 + 9, Evicted));
            rows.retain(|row| !gone.contains(&key(row)));
            for new in put {
                rows.retain(|row| row.first_offset != new.first_offset);
                rows.push(new);
            }
            rows.sort_by_key(|row| row.first_offset);
        }
        assert_eq!(rows.len(), ROWS_MAX);
        assert_eq!(rows.iter().map(|row| row.records).sum::<u64>(), 1_000);
        assert_eq!((rows[0].first_offset, rows[15].last_offset), (0, 9_909));
    }
}
