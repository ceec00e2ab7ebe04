//! What a draft takes away, and what it says about that: the partition's books, the loss ledger, the directory.
//!
//! Invariant: whatever goes, goes through [`Draft::lose`] in the commit that makes it so; only then may files go.

use std::collections::BTreeMap;
use std::ops::Range;

use super::deleted::DeletedTopic;
use super::directory::SegmentRow;
use super::draft::Draft;
use super::error::DraftError;
use super::format::u64_at;
use super::heads::{add_removed, proportion};
use super::holdings::Holding;
use super::intervals::cursor_key;
use super::ledger;
use super::quarantine::Lost;
use super::rewrite::Declared;
use super::ring::lock;
use super::status::{LossEntry, LossReason};
use super::types::{PartitionId, Removed, Space};
use super::view::{META_EVICTED, META_REWRITE, META_REWRITTEN};

impl Draft<'_> {
    /// Gives up the segments up to this one, which hold nothing of value besides these. Nothing happens, and `false`
    /// comes back, if a partition doesn't begin any more where it did when that was found out.
    pub(super) fn evict_through(&mut self, segment: u32, holdings: &[Holding], reason: LossReason) -> bool {
        if holdings.iter().any(|held| self.is_stale(held)) {
            return false;
        }
        for held in holdings {
            self.remove(held.partition, held.log_start..held.end, held.what, reason);
        }
        for (key, _) in self.entries(Space::Segment, &[]) {
            if SegmentRow::id(&key).is_some_and(|id| id <= segment) {
                self.set(Space::Segment, &key, None);
            }
        }
        self.set(Space::Meta, META_EVICTED, Some(&segment.to_le_bytes()));
        true
    }

    /// Takes segments out of the ring that can't be read, and what they held. Nothing happens, and `false` comes back, if
    /// a partition doesn't begin any more where it did when that was found out.
    pub(super) fn quarantine(&mut self, segments: &[u32], lost: &[Lost]) -> bool {
        let stale = |lost: &Lost| self.head(lost.partition).is_some_and(|head| head.log_start != lost.log_start);
        let known = |id: &u32| self.get(Space::Segment, &SegmentRow::key(*id)).is_some();
        if lost.iter().any(stale) || !segments.iter().all(known) {
            return false;
        }
        for lost in lost {
            self.remove(lost.partition, lost.range.clone(), lost.what, LossReason::Quarantined);
        }
        for id in segments {
            self.set(Space::Segment, &SegmentRow::key(*id), None);
        }
        true
    }

    /// Puts one segment, or none, in the place of the sealed segments with these ids, which ascend; what goes with them
    /// is in `holdings`. `used` is what of the day's budget of rewriting is used up then.
    pub(super) fn rewrite(
        &mut self,
        ids: &[u32],
        new: Option<&SegmentRow>,
        holdings: &[Holding],
        used: u64,
    ) -> Declared {
        let row = |id: &u32| {
            let key = SegmentRow::key(*id);
            SegmentRow::decode(&key, self.get(Space::Segment, &key)?).ok()
        };
        let rows: Option<Vec<SegmentRow>> = ids.iter().map(row).collect();
        let Some(rows) = rows else { return Declared::Void };
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Declared::Void };
        let pinned = |held: &Holding| lock(&self.env.pins).holds(held.partition, &(held.log_start..held.end));
        if holdings.iter().any(pinned) {
            return Declared::Void;
        }
        if holdings.iter().any(|held| self.is_stale(held)) {
            return Declared::Stale;
        }
        for held in holdings {
            self.remove(held.partition, held.log_start..held.end, held.what, LossReason::Evicted);
        }
        ids.iter().for_each(|id| self.set(Space::Segment, &SegmentRow::key(*id), None));
        match new {
            Some(new) => {
                let new = SegmentRow { covers_from: first.covers_from, ..new.clone() };
                self.set(Space::Segment, &SegmentRow::key(new.id), Some(&new.encode()));
                let note = [first.covers_from.to_le_bytes(), new.id.to_le_bytes()].concat();
                self.set(Space::Meta, META_REWRITE, Some(&note));
            }
            None => self.cover(first.covers_from, last.id),
        }
        let total = self.get(Space::Meta, META_REWRITTEN).map_or(0, |raw| u64_at(raw, 0));
        let total = total + new.map_or(0, |new| new.occupied_bytes);
        self.set(Space::Meta, META_REWRITTEN, Some(&[total.to_le_bytes(), used.to_le_bytes()].concat()));
        Declared::Yes
    }

    /// Lets the segment behind `last` cover the ones from `from` on, so that their files are known to be of no use.
    fn cover(&mut self, from: u32, last: u32) {
        let rows = self.entries(Space::Segment, &[]);
        let next = rows.iter().filter_map(|(key, row)| SegmentRow::decode(key, row).ok()).find(|row| row.id > last);
        if let Some(next) = next {
            let next = SegmentRow { covers_from: from, ..next };
            self.set(Space::Segment, &SegmentRow::key(next.id), Some(&next.encode()));
        }
    }

    /// Whether a partition doesn't begin any more where it did.
    fn is_stale(&self, held: &Holding) -> bool {
        self.head(held.partition).is_some_and(|head| head.log_start != held.log_start)
    }

    /// Enters into the ledger that the offsets of `range`, which hold `what`, go. Every loss goes this way, in the commit
    /// that makes it one: call it before the change itself. An empty range is none.
    pub(super) fn lose(&mut self, partition: PartitionId, range: Range<i64>, what: Removed, reason: LossReason) {
        if range.is_empty() || what.records == 0 {
            return;
        }
        let own = self.loss("", partition, &range, what, reason);
        let readers: Vec<String> = lock(&self.env.followers).of(partition).map(str::to_owned).collect();
        for reader in readers {
            let mut position = self.position(&cursor_key(&reader, partition)).unwrap_or_default();
            let rows = self.entries(Space::Ledger, &ledger::key_prefix(&reader, partition));
            let rows = rows.iter().filter_map(|(key, value)| ledger::decode(key, value));
            // What was taken out of the middle is met again when the log start passes it.
            for row in rows.filter(|row| row.reason == LossReason::Quarantined) {
                let _too_many = position.insert(row.first_offset..row.last_offset + 1);
            }
            let Some((first_offset, last_offset, records)) = ledger::lost(&position, range.clone()) else {
                continue;
            };
            let records = records.min(what.records);
            let bytes = proportion(what, records);
            self.enter(LossEntry { reader, first_offset, last_offset, records, bytes, ..own.clone() });
        }
        self.enter(own);
    }

    /// Enters into the ledger that `reader` goes past the records of `range`, which hold `what`, without having delivered
    /// them. They stay where they are. The commit must also let the reader's position pass them. An empty range is none.
    pub fn pass_over(
        &mut self,
        reader: &str,
        partition: PartitionId,
        range: Range<i64>,
        what: Removed,
        reason: LossReason,
    ) {
        if range.is_empty() || what.records == 0 {
            return;
        }
        self.enter(self.loss(reader, partition, &range, what, reason));
    }

    /// A loss of now; `reader` is empty where it is the partition's own. The range is not empty.
    fn loss(
        &self,
        reader: &str,
        partition: PartitionId,
        range: &Range<i64>,
        what: Removed,
        reason: LossReason,
    ) -> LossEntry {
        let wall_ms = self.now().wall_ms;
        LossEntry {
            reader: reader.to_owned(),
            partition,
            first_offset: range.start,
            last_offset: range.end - 1,
            records: what.records,
            bytes: what.bytes,
            reason,
            wall_ms,
            appended_from_ms: self.view.oldest_append_ms().unwrap_or(wall_ms).min(wall_ms),
            appended_to_ms: wall_ms,
        }
    }

    /// Puts an entry into the ledger, and remembers it for the one who tells of losses.
    fn enter(&mut self, entry: LossEntry) {
        self.pending.losses.push(entry.clone());
        let rows = self.entries(Space::Ledger, &ledger::key_prefix(&entry.reader, entry.partition));
        let rows: Vec<LossEntry> = rows.iter().filter_map(|(key, value)| ledger::decode(key, value)).collect();
        let (gone, put) = ledger::add(&rows, entry);
        for key in gone {
            self.set(Space::Ledger, &key, None);
        }
        for row in put {
            self.set(Space::Ledger, &ledger::key(&row), Some(&ledger::value(&row)));
        }
    }

    /// Drops all partitions of a topic with their records; their ledger becomes one row of sums.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then, if the operation ends with it.
    pub fn drop_topic(&mut self, id: [u8; 16], name: &str, partitions: &[PartitionId]) -> Result<(), DraftError> {
        let mut topic = DeletedTopic { id, name: name.to_owned(), wall_ms: self.now().wall_ms, ..Default::default() };
        for &partition in partitions {
            let Some((accepted, removed)) = self.books(partition) else { continue };
            topic.accepted.records += accepted.records;
            topic.accepted.bytes += accepted.bytes;
            removed.iter().for_each(|(reason, what)| add_removed(&mut topic.removed, *reason, *what));
            add_removed(&mut topic.removed, LossReason::Deleted, self.retained(partition));
            self.drop_partition(partition)?;
        }
        let rows = self.entries(Space::Ledger, &[]);
        let rows = rows.iter().filter_map(|(key, value)| Some((key, ledger::decode(key, value)?)));
        let mut lost_to: BTreeMap<String, u64> = BTreeMap::new();
        for (key, row) in rows.filter(|(_, row)| partitions.contains(&row.partition)) {
            self.set(Space::Ledger, key, None);
            if !row.reader.is_empty() {
                *lost_to.entry(row.reader).or_default() += row.records;
            }
        }
        topic.lost_to = lost_to;
        self.set(Space::Ledger, &topic.key(self.seq()), Some(&topic.encode()));
        let deleted = self.entries(Space::Ledger, &ledger::DELETED);
        let surplus = deleted.len().saturating_sub(ledger::DELETED_TOPICS_MAX);
        deleted.iter().take(surplus).for_each(|(key, _)| self.set(Space::Ledger, key, None));
        Ok(())
    }

    /// What a partition ever took, and what of it went, as of all earlier operations.
    fn books(&self, partition: PartitionId) -> Option<(Removed, Vec<(LossReason, Removed)>)> {
        let head = self.head(partition)?;
        let committed = self.view.partitions.get(&partition);
        let mut removed = committed.map(|known| known.removed.clone()).unwrap_or_default();
        if let Some(pending) = self.pending.partition(partition) {
            pending.removed.iter().for_each(|(reason, what)| add_removed(&mut removed, *reason, *what));
        }
        let (bytes, given_up) = committed.map_or((0, 0), |known| (known.appended_bytes, known.given_up));
        let records = head.high_watermark.unsigned_abs().saturating_sub(given_up);
        Some((Removed { records, bytes }, removed))
    }
}
