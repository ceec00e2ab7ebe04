//! What the store knows of a partition, and when commits were made.
//!
//! A partition's row in `Space::Head` (key: its id, big-endian) is a list of LEB128 numbers: log start · next offset ·
//! bytes ever appended · number of reasons for which something went · for each its number, records, bytes · number of
//! epochs · for each its ordinal and first offset · if any offsets were given up, how many. Rows are brought up to date when a segment is activated; in between
//! the commits themselves say what changed.
//!
//! Invariants: `log_start <= Σ removed records + given up <= next_offset`; what isn't removed is retained, in records and in bytes.
//! While the first two are equal, the partition has no gap between log start and end.

use super::epoch_time::Ages;
use super::format::{u32_at, u64_at};
use super::intervals::{put_leb128, take_leb128};
use super::status::LossReason;
use super::types::{CommitSeq, PartitionAccounts, PartitionHead, PartitionId, Removed, Stamp};

/// Most epochs remembered for a partition; the oldest go first. One of them is needed per reboot that is still kept.
const EPOCHS_MAX: usize = 64;

/// A partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    /// First offset kept.
    pub log_start: i64,
    /// Next offset to be assigned: the high watermark.
    pub next_offset: i64,
    /// Entries of all batches ever appended, headers included.
    pub appended_bytes: u64,
    /// What went, by reason, ascending.
    pub removed: Vec<(LossReason, Removed)>,
    /// Ordinal and first offset of each epoch that appended, ascending.
    pub epochs: Vec<(u32, i64)>,
    /// Offsets that hold nothing, as far as anyone knows, and are never given: behind what damage has cut off (see `cut`).
    pub given_up: u64,
}

impl Partition {
    pub(super) fn head(&self) -> PartitionHead {
        PartitionHead {
            log_start: self.log_start,
            high_watermark: self.next_offset,
            // Until there are transactions, all that is committed is stable.
            last_stable_offset: self.next_offset,
        }
    }

    /// Notes a batch whose entry has `bytes` bytes.
    pub(super) fn append(&mut self, epoch: u32, base_offset: i64, next_offset: i64, bytes: u32) {
        if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
            if self.epochs.len() >= EPOCHS_MAX {
                self.epochs.remove(0);
            }
            self.epochs.push((epoch, base_offset));
        }
        self.appended_bytes = self.appended_bytes.saturating_add(bytes.into());
        self.next_offset = next_offset;
    }

    /// Notes that something went, and where the partition begins now; whether that moved.
    pub(super) fn remove(&mut self, reason: LossReason, log_start: i64, what: Removed) -> bool {
        let retained = self.retained();
        let records = what.records.min(retained.records);
        // Bytes may be an estimate; when nothing is left they are not, and what is left has some.
        let left = retained.records - records;
        let bytes = if left == 0 { retained.bytes } else { what.bytes.min(retained.bytes.saturating_sub(left)) };
        add_removed(&mut self.removed, reason, Removed { records, bytes });
        self.advance_log_start(log_start)
    }

    /// Advances the log start; whether it moved.
    fn advance_log_start(&mut self, offset: i64) -> bool {
        let offset = offset.min(self.next_offset);
        if offset <= self.log_start {
            return false;
        }
        self.log_start = offset;
        // The epoch in which the log start lies is still needed.
        let gone = self.epochs.partition_point(|(_, start)| *start <= offset).saturating_sub(1);
        self.epochs.drain(..gone);
        true
    }

    /// What is still there.
    pub(super) fn retained(&self) -> Removed {
        let removed = total(&self.removed);
        Removed {
            records: self.accepted_records().saturating_sub(removed.records),
            bytes: self.appended_bytes.saturating_sub(removed.bytes),
        }
    }

    /// Records ever taken.
    pub(super) fn accepted_records(&self) -> u64 {
        self.next_offset.unsigned_abs().saturating_sub(self.given_up)
    }

    /// Goes on so many offsets further.
    pub(super) fn give_up(&mut self, offsets: u64) {
        let retains = self.retained().records > 0;
        let next = self.next_offset.saturating_add_unsigned(offsets);
        self.given_up = self.given_up.saturating_add(next.abs_diff(self.next_offset));
        self.next_offset = next;
        if !retains {
            self.advance_log_start(next);
        }
    }

    /// Bytes of so many of its records, in proportion.
    pub(super) fn estimate_bytes(&self, records: u64) -> u64 {
        proportion(self.retained(), records)
    }

    pub(super) fn accounts(&self) -> PartitionAccounts {
        PartitionAccounts {
            accepted: Removed { records: self.accepted_records(), bytes: self.appended_bytes },
            retained: self.retained(),
            removed: self.removed.clone(),
        }
    }

    /// The latest epoch at or below `ordinal`, and the offset where it ends.
    pub(super) fn epoch_end(&self, ordinal: u32) -> Option<(u32, i64)> {
        let next = self.epochs.partition_point(|(epoch, _)| *epoch <= ordinal);
        let (epoch, _) = self.epochs.get(next.checked_sub(1)?)?;
        let end = self.epochs.get(next).map_or(self.next_offset, |(_, start)| *start);
        Some((*epoch, end))
    }

    /// The epoch that appended an offset, or the latest one for what comes next.
    pub(super) fn epoch_at(&self, offset: i64) -> Option<u32> {
        let behind = self.epochs.partition_point(|(_, start)| *start <= offset);
        self.epochs.get(behind.checked_sub(1)?).map(|(epoch, _)| *epoch)
    }

    /// Its row in `Space::Head`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        put_leb128(&mut out, self.log_start as u64);
        put_leb128(&mut out, self.next_offset as u64);
        put_leb128(&mut out, self.appended_bytes);
        put_leb128(&mut out, self.removed.len() as u64);
        for (reason, what) in &self.removed {
            put_leb128(&mut out, reason.number().into());
            put_leb128(&mut out, what.records);
            put_leb128(&mut out, what.bytes);
        }
        put_leb128(&mut out, self.epochs.len() as u64);
        for (epoch, start) in &self.epochs {
            put_leb128(&mut out, u64::from(*epoch));
            put_leb128(&mut out, *start as u64);
        }
        if self.given_up > 0 {
            put_leb128(&mut out, self.given_up);
        }
        out
    }

    /// Reads what [`Partition::encode`] made.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut number = || take_leb128(&mut rest).ok();
        let (log_start, next_offset, appended_bytes) = (number()? as i64, number()? as i64, number()?);
        let mut removed = Vec::new();
        for _ in 0..number()? {
            let reason = LossReason::from_number(number()?.try_into().ok()?)?;
            removed.push((reason, Removed { records: number()?, bytes: number()? }));
        }
        let mut epochs = Vec::new();
        for _ in 0..number()? {
            epochs.push((number()?.try_into().ok()?, number()? as i64));
        }
        let given_up = if rest.is_empty() { 0 } else { take_leb128(&mut rest).ok()? };
        let valid = 0 <= log_start && log_start <= next_offset && rest.is_empty();
        valid.then_some(Self { log_start, next_offset, appended_bytes, removed, epochs, given_up })
    }
}

/// Adds to the sum of a reason.
pub(super) fn add_removed(removed: &mut Vec<(LossReason, Removed)>, reason: LossReason, what: Removed) {
    if what == Removed::default() {
        return;
    }
    let at = removed.partition_point(|(other, _)| *other < reason);
    match removed.get_mut(at) {
        Some((other, sum)) if *other == reason => {
            sum.records = sum.records.saturating_add(what.records);
            sum.bytes = sum.bytes.saturating_add(what.bytes);
        }
        _ => removed.insert(at, (reason, what)),
    }
}

/// The sum of all reasons.
pub(super) fn total(removed: &[(LossReason, Removed)]) -> Removed {
    removed.iter().fold(Removed::default(), |sum, (_, what)| Removed {
        records: sum.records.saturating_add(what.records),
        bytes: sum.bytes.saturating_add(what.bytes),
    })
}

/// Bytes of so many of these records, in proportion.
pub(super) fn proportion(of: Removed, records: u64) -> u64 {
    let all = of.records.max(1);
    (u128::from(of.bytes) * u128::from(records.min(all)) / u128::from(all)) as u64
}

/// The key of a partition's row.
pub(super) fn head_key(partition: PartitionId) -> Vec<u8> {
    partition.0.to_be_bytes().to_vec()
}

/// The partition of a row's key.
pub(super) fn head_partition(key: &[u8]) -> Option<PartitionId> {
    Some(PartitionId(u32::from_be_bytes(key.try_into().ok()?)))
}

/// That a commit was made at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub commit: CommitSeq,
    pub epoch: u32,
    pub stamp: Stamp,
}

/// When the commits of a segment were made: its first commit, and one a minute or so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    const EVERY_MS: u64 = 60_000;
    const MARKS_MAX: usize = 256;
    const MARK_BYTES: usize = 29;

    /// Notes a commit, if the last noted one is old enough.
    pub(super) fn note(&mut self, mark: Mark) {
        let due = self.0.last().is_none_or(|last| {
            last.epoch != mark.epoch
                || last.stamp.wall_trusted != mark.stamp.wall_trusted
                || mark.stamp.mono_ms.saturating_sub(last.stamp.mono_ms) >= Self::EVERY_MS
        });
        if !due {
            return;
        }
        if self.0.len() >= Self::MARKS_MAX {
            // A coarser grid: every second one, the first kept.
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.0.push(mark);
    }

    /// The last commit among the marked ones that is older than `ms`.
    pub(super) fn older_than(&self, ms: u64, ages: &Ages) -> Option<CommitSeq> {
        let old = |mark: &&Mark| ages.age_ms(mark.epoch, &mark.stamp).is_some_and(|age| age > ms);
        self.0.iter().rev().find(old).map(|mark| mark.commit)
    }

    /// At most so many of them, evenly spread, the first among them.
    pub(super) fn coarse(&self, marks_max: usize) -> Self {
        let step = self.0.len().div_ceil(marks_max.max(1)).max(1);
        Self(self.0.iter().step_by(step).copied().collect())
    }

    /// Takes later ones over.
    pub(super) fn append(&mut self, later: &Self) {
        self.0.extend_from_slice(&later.0);
    }

    /// When the first commit was made, by the wall clock of then.
    pub(super) fn first_wall_ms(&self) -> Option<i64> {
        self.0.first().map(|mark| mark.stamp.wall_ms)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * Self::MARK_BYTES);
        for mark in &self.0 {
            out.extend_from_slice(&mark.commit.to_le_bytes());
            out.extend_from_slice(&mark.epoch.to_le_bytes());
            out.extend_from_slice(&mark.stamp.mono_ms.to_le_bytes());
            out.extend_from_slice(&mark.stamp.wall_ms.to_le_bytes());
            out.push(u8::from(mark.stamp.wall_trusted));
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let marks = bytes.chunks_exact(Self::MARK_BYTES).map(|raw| Mark {
            commit: u64_at(raw, 0),
            epoch: u32_at(raw, 8),
            stamp: Stamp {
                mono_ms: u64_at(raw, 12),
                wall_ms: u64_at(raw, 20) as i64,
                wall_trusted: raw.last() == Some(&1),
            },
        });
        Self(marks.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::epoch_time::EpochTime;
    use super::super::types::{BootEpoch, EpochRow};
    use super::*;

    #[test]
    fn epochs_end_where_the_next_begins() {
        let mut partition = Partition::default();
        assert_eq!(partition.epoch_end(9), None);
        for (epoch, base) in [(1, 0), (1, 10), (3, 20), (4, 30)] {
            partition.append(epoch, base, base + 10, 100);
        }
        assert_eq!(
            [0, 1, 2, 3, 4, 9].map(|e| partition.epoch_end(e)),
            [None, Some((1, 20)), Some((1, 20)), Some((3, 30)), Some((4, 40)), Some((4, 40))]
        );
        assert_eq!(
            [-1, 0, 19, 20, 30, 40].map(|o| partition.epoch_at(o)),
            [None, Some(1), Some(1), Some(3), Some(4), Some(4)]
        );
        partition.remove(LossReason::Deleted, 25, Removed { records: 25, bytes: 250 });
        assert_eq!([1, 3].map(|e| partition.epoch_end(e)), [None, Some((3, 30))]);
        let back = Partition::decode(&partition.encode()).unwrap();
        assert_eq!((back.log_start, back.next_offset, &back.epochs), (25, 40, &partition.epochs));
        assert_eq!(back.accounts(), partition.accounts());
        assert!(Partition::decode(&partition.encode()[1..]).is_none());
        for epoch in 5..200 {
            partition.append(epoch, 40, 41, 1);
        }
        assert_eq!(partition.epochs.len(), EPOCHS_MAX);
    }

    #[test]
    fn the_books_balance_whatever_goes() {
        let mut partition = Partition::default();
        partition.append(1, 0, 10, 100);
        partition.append(1, 10, 20, 300);
        assert_eq!((partition.retained(), partition.estimate_bytes(5)), (Removed { records: 20, bytes: 400 }, 100));
        let what = |records, bytes| Removed { records, bytes };
        assert!(partition.remove(LossReason::Expired, 10, what(10, 100)));
        // From the middle: the log start stays.
        assert!(!partition.remove(LossReason::Evicted, 10, what(3, 90)));
        assert_eq!((partition.log_start, partition.retained()), (10, what(7, 210)));
        // More than there is can't go, and with the last record all bytes have gone.
        assert!(partition.remove(LossReason::Evicted, 99, what(9, 5)));
        assert_eq!((partition.log_start, partition.retained()), (20, what(0, 0)));
        let accounts = Partition::decode(&partition.encode()).unwrap().accounts();
        assert_eq!(accounts.accepted, what(20, 400));
        assert_eq!(accounts.removed, [(LossReason::Evicted, what(10, 300)), (LossReason::Expired, what(10, 100))]);
    }

    #[test]
    fn marks_tell_what_is_old() {
        let stamp = |mono_ms, wall_trusted| Stamp { mono_ms, wall_ms: 7, wall_trusted };
        let mut marks = Marks::default();
        for (commit, epoch, at) in
            [(1, 1, stamp(0, false)), (2, 1, stamp(10, false)), (5, 1, stamp(70_000, true)), (9, 2, stamp(5, true))]
        {
            marks.note(Mark { commit, epoch, stamp: at });
        }
        assert_eq!(marks.0.len(), 3);
        assert_eq!(Marks::decode(&marks.encode()), marks);
        // The first epoch began at age 0, the second one at 75,000.
        let row = EpochRow { epoch: BootEpoch { ordinal: 1, id: 0 }, ..EpochRow::default() };
        let time = EpochTime { age_ms: 75_000, ..EpochTime::default() };
        let older = |ms, mono_ms| marks.older_than(ms, &Ages::new(&[row], 2, &time, mono_ms));
        assert_eq!([older(50_000, 50_006), older(50_000, 50_005), older(70_001, 0)], [Some(9), Some(5), Some(1)]);
        assert_eq!(older(80_000, 0), None);
        assert_eq!(marks.coarse(2).0.iter().map(|mark| mark.commit).collect::<Vec<_>>(), [1, 9]);
        assert_eq!(marks.coarse(3), marks);
        for commit in 10..2_000 {
            marks.note(Mark { commit, epoch: 2, stamp: stamp(commit * 60_000, false) });
        }
        assert!(marks.0.len() <= Marks::MARKS_MAX && marks.0[0].commit == 1);
    }
}
