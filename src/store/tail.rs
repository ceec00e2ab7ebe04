//! The recent tail: batches of the last commits, in memory, so that whoever keeps up never reads the disk.
//!
//! Invariants: only committed batches; whole commits enter, single batches leave, oldest first, when the byte bound is
//! reached. What is here is also on disk.

use std::collections::{HashMap, VecDeque};

use super::types::{CommitSeq, PartitionId, ScannedBatch};

/// What a batch costs here besides its bytes: its entry, its number, what shares the bytes, and what the allocator adds.
const OVERHEAD_BYTES: usize = 240;

/// What a batch costs here. Alone in its commit it keeps all of that in memory; several that share one pay their parts.
fn cost(batch: &ScannedBatch) -> usize {
    let (length, held) = (batch.bytes.len(), batch.bytes.held());
    OVERHEAD_BYTES + if held <= 2 * length { held } else { length }
}

/// The recent tail.
#[derive(Debug)]
pub(super) struct Tail {
    bytes_max: usize,
    bytes: usize,
    /// In commit order.
    batches: VecDeque<ScannedBatch>,
    /// How many have left: the number of the first of `batches`.
    gone: u64,
    /// Numbers of each partition's batches.
    by_partition: HashMap<PartitionId, VecDeque<u64>>,
    /// All batches of commits from this one on are here.
    complete_from: CommitSeq,
}

impl Tail {
    /// An empty tail; `next` is the next commit.
    pub(super) fn new(bytes_max: usize, next: CommitSeq) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            batches: VecDeque::new(),
            gone: 0,
            by_partition: HashMap::new(),
            complete_from: next,
        }
    }

    /// Adds a batch of the newest commit.
    pub(super) fn push(&mut self, batch: ScannedBatch) {
        self.bytes += cost(&batch);
        self.by_partition.entry(batch.partition).or_default().push_back(self.gone + self.batches.len() as u64);
        self.batches.push_back(batch);
        while self.bytes > self.bytes_max {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(batch) = self.batches.pop_front() else { return };
        self.gone += 1;
        self.bytes = self.bytes.saturating_sub(cost(&batch));
        self.complete_from = batch.commit + 1;
        if let Some(numbers) = self.by_partition.get_mut(&batch.partition) {
            numbers.pop_front();
            if numbers.is_empty() {
                self.by_partition.remove(&batch.partition);
            }
        }
    }

    /// Bytes kept, overhead included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// From which commit on nothing is missing.
    pub(super) fn complete_from(&self) -> CommitSeq {
        self.complete_from
    }

    /// The batches of commits from `from` on, which must not be before [`Tail::complete_from`].
    pub(super) fn scan(&self, from: CommitSeq) -> impl Iterator<Item = &ScannedBatch> {
        let at = self.batches.partition_point(|batch| batch.commit < from);
        self.batches.range(at..)
    }

    /// The batches of a partition from the one that holds `offset` on, or the next behind a gap; `None` if it may be
    /// on disk only.
    pub(super) fn read(&self, partition: PartitionId, offset: i64) -> Option<impl Iterator<Item = &ScannedBatch>> {
        let numbers = self.by_partition.get(&partition)?;
        let batch = |number: &u64| self.batches.get(usize::try_from(number - self.gone).ok()?);
        let first = batch(numbers.front()?)?;
        if offset < first.base_offset {
            return None;
        }
        let at = numbers.partition_point(|number| batch(number).is_some_and(|b| b.next_offset <= offset));
        Some(numbers.range(at..).filter_map(batch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(commit: CommitSeq, partition: u32, base_offset: i64, bytes: usize) -> ScannedBatch {
        ScannedBatch {
            commit,
            partition: PartitionId(partition),
            base_offset,
            next_offset: base_offset + 10,
            bytes: vec![base_offset as u8; bytes].into(),
            gateway_stamped: false,
            gathered: false,
            provisional: false,
            epoch: 1,
        }
    }

    #[test]
    fn serves_what_it_holds_and_no_more() {
        let mut tail = Tail::new(3 * (100 + OVERHEAD_BYTES), 5);
        for (commit, partition, base) in [(5, 1, 0), (5, 2, 0), (6, 1, 20)] {
            tail.push(batch(commit, partition, base, 100));
        }
        let read = |tail: &Tail, partition, offset| {
            tail.read(PartitionId(partition), offset).map(|found| found.map(|batch| batch.bytes[0]).collect::<Vec<_>>())
        };
        assert_eq!(read(&tail, 1, 5), Some(vec![0, 20]));
        assert_eq!(read(&tail, 1, 12), Some(vec![20]), "inside a gap");
        assert_eq!((tail.complete_from(), tail.scan(6).count(), tail.scan(5).count()), (5, 1, 3));

        tail.push(batch(7, 2, 10, 100));
        assert_eq!((tail.complete_from(), tail.bytes()), (6, 3 * (100 + OVERHEAD_BYTES)));
        assert_eq!(read(&tail, 1, 5), None);
        assert_eq!(read(&tail, 1, 20), Some(vec![20]));
        assert_eq!(read(&tail, 2, 3), Some(vec![0, 10]));

        tail.push(batch(8, 3, 0, 100_000));
        assert_eq!((tail.complete_from(), tail.bytes(), tail.by_partition.len()), (9, 0, 0));
    }
}
