//! What idempotent Kafka producers wrote last, kept as rows of `Space::Producer` that no commit carries: each follows from
//! the headers of the batches themselves.
//!
//! [`View::apply`](super::view) brings a producer's row up to date with each of its batches, live and at recovery alike,
//! so that snapshots of the state hold the rows, and what came after a snapshot is rebuilt from the batches after it. The
//! broker reads the rows and decides by them; puts and deletes that it makes itself are entries of commits, as in any
//! space, and come after the batches of their commit.
//!
//! Invariant: a row is a function of the row before, the batch, and the header of its commit; of nothing else. So it is
//! the same after every replay.

use serde::{Deserialize, Serialize};

use super::state::State;
use super::types::{CommitSeq, PartitionId, Space, Stamp};
use crate::limits::PRODUCERS_MAX;
use crate::record::BatchView;

/// How many batches back a resend is recognised (a producer has at most 5 requests in flight).
const BATCHES_REMEMBERED: usize = 5;
/// The first byte of every row of a producer.
const FORMAT: u8 = 1;
/// Length of a producer's key: partition and producer id. Rows of other kinds have keys of other lengths.
const KEY_BYTES: usize = 12;
/// How many producers are forgotten at once where they are too many: to find the oldest, all are looked at.
const FORGOTTEN_AT_ONCE: usize = PRODUCERS_MAX / 10;

/// One batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerBatch {
    /// Sequence of its first record.
    pub first_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: i64,
}

/// What one producer wrote last to one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// The producer's epoch.
    pub epoch: i16,
    /// The commit it last wrote in: the order in which states are forgotten when there are too many.
    pub seen_commit: CommitSeq,
    /// Wall time it last wrote at, ms since 1970; `None` while the clock was not to be trusted.
    pub seen_wall_ms: Option<i64>,
    /// The last five batches of its epoch at most, oldest first.
    pub batches: Vec<ProducerBatch>,
}

impl ProducerState {
    /// The state in a row of `Space::Producer`; `None` if the row is not a producer's.
    pub fn decode(row: &[u8]) -> Option<Self> {
        match row.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        // Serializing owned values into a growing vector has nothing that can fail.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// Takes a batch in, whatever it is: that it fits was decided before it was appended.
    fn append(&mut self, batch: &BatchView<'_>, base_offset: i64) {
        let epoch = batch.producer_epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
        if self.batches.len() >= BATCHES_REMEMBERED {
            self.batches.remove(0);
        }
        let first_sequence = batch.base_sequence();
        let last_sequence = advance_sequence(first_sequence, batch.record_count().saturating_sub(1));
        self.batches.push(ProducerBatch { first_sequence, last_sequence, base_offset });
    }
}

/// The key of a producer's row.
pub fn producer_key(partition: PartitionId, producer_id: i64) -> [u8; KEY_BYTES] {
    let mut key = [0u8; KEY_BYTES];
    let (head, tail) = key.split_at_mut(4);
    head.copy_from_slice(&partition.0.to_be_bytes());
    tail.copy_from_slice(&producer_id.to_be_bytes());
    key
}

/// Whether a key of `Space::Producer` is that of a producer's row.
pub fn is_producer_key(key: &[u8]) -> bool {
    key.len() == KEY_BYTES
}

/// `sequence + by`, wrapping from `i32::MAX` to 0.
pub fn advance_sequence(sequence: i32, by: u32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

/// The row of a batch's producer with the batch taken in, which lies at `base_offset`; `None` if the batch has no producer.
pub(super) fn row_after<'a>(
    partition: PartitionId,
    batch: &BatchView<'_>,
    base_offset: i64,
    commit: CommitSeq,
    stamp: Stamp,
    before: impl FnOnce(&[u8]) -> Option<&'a [u8]>,
) -> Option<([u8; KEY_BYTES], Vec<u8>)> {
    if batch.producer_id() < 0 {
        return None;
    }
    let key = producer_key(partition, batch.producer_id());
    let mut state = before(&key).and_then(ProducerState::decode).unwrap_or_default();
    state.append(batch, base_offset);
    state.seen_commit = commit;
    state.seen_wall_ms = stamp.wall_trusted.then_some(stamp.wall_ms);
    Some((key, state.encode()))
}

/// Sets a row that [`row_after`] gave; where that makes too many, those that wrote least recently are forgotten.
pub(super) fn set_row(state: &mut State, key: &[u8], row: Vec<u8>) {
    let is_new = state.get(Space::Producer, key).is_none();
    state.set(Space::Producer, key.to_vec(), Some(row));
    if !is_new || state.len(Space::Producer) <= PRODUCERS_MAX {
        return;
    }
    let rows = state.range(Space::Producer, &[]).filter(|(key, _)| is_producer_key(key));
    let seen = rows.map(|(key, row)| (ProducerState::decode(row).map_or(0, |state| state.seen_commit), key.to_vec()));
    let mut seen: Vec<(CommitSeq, Vec<u8>)> = seen.collect();
    seen.sort_unstable();
    for (_, key) in seen.into_iter().take(FORGOTTEN_AT_ONCE) {
        state.set(Space::Producer, key, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression, NO_HEADERS, Producer};

    fn batch(id: i64, epoch: i16, base_sequence: i32, records: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            builder.push(1, None, None, NO_HEADERS).unwrap();
        }
        builder.finish_with(Compression::None, Producer { id, epoch, base_sequence })
    }

    fn take_in(state: &mut State, bytes: &[u8], base_offset: i64, commit: CommitSeq) {
        let (view, _) = BatchView::parse(bytes).unwrap();
        let before = |key: &[u8]| state.get(Space::Producer, key);
        if let Some((key, row)) = row_after(PartitionId(3), &view, base_offset, commit, Stamp::default(), before) {
            set_row(state, &key, row);
        }
    }

    fn state_of(state: &State, id: i64) -> Option<ProducerState> {
        ProducerState::decode(state.get(Space::Producer, &producer_key(PartitionId(3), id))?)
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance_sequence(i32::MAX, 1), 0);
        assert_eq!(advance_sequence(i32::MAX - 1, 3), 1);
    }

    #[test]
    fn a_row_holds_the_last_five_batches_of_the_newest_epoch() {
        let mut state = State::default();
        take_in(&mut state, &batch(-1, -1, -1, 1), 0, 1);
        assert_eq!(state.len(Space::Producer), 0, "a batch without a producer leaves nothing");
        for i in 0..7 {
            take_in(&mut state, &batch(9, 0, i * 10, 10), i64::from(i) * 10, 1 + i as u64);
        }
        let nine = state_of(&state, 9).unwrap();
        let firsts: Vec<_> = nine.batches.iter().map(|b| (b.first_sequence, b.last_sequence, b.base_offset)).collect();
        assert_eq!(firsts, [(20, 29, 20), (30, 39, 30), (40, 49, 40), (50, 59, 50), (60, 69, 60)]);
        assert_eq!((nine.epoch, nine.seen_commit, nine.seen_wall_ms), (0, 7, None));
        take_in(&mut state, &batch(9, 1, 0, 1), 70, 8);
        let nine = state_of(&state, 9).unwrap();
        assert_eq!((nine.epoch, nine.batches.len()), (1, 1));
    }

    #[test]
    fn the_longest_unseen_are_forgotten_when_there_are_too_many() {
        let mut state = State::default();
        state.set(Space::Producer, b"next".to_vec(), Some(vec![1]));
        for id in 0..PRODUCERS_MAX as i64 {
            take_in(&mut state, &batch(id, 0, 0, 1), id, 1 + id as u64);
            assert!(state.len(Space::Producer) <= PRODUCERS_MAX);
        }
        assert_eq!(state_of(&state, 0), None);
        assert!(state_of(&state, FORGOTTEN_AT_ONCE as i64).is_some());
        assert!(state.get(Space::Producer, b"next").is_some(), "what is no producer stays");
    }
}
