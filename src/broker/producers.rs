//! Idempotent Kafka producers: what each wrote last to a partition, so that a resend is answered and not appended.
//!
//! Rules of Kafka's producer state (KIP-98): a batch continues the last sequence, or is one of the last five
//! (answered with its offset), else it is out of order; a newer epoch starts at sequence 0; an older one is fenced. A
//! producer that is not known may start anywhere: its state has expired.

use serde::{Deserialize, Serialize};

use super::janitor;
use crate::limits;
use crate::store::{CommitSeq, PartitionId};

/// How many batches back a resend is recognised (a producer has at most 5 requests in flight).
const BATCHES_REMEMBERED: usize = 5;
/// The first byte of every value in `Space::Producer`.
const FORMAT: u8 = 1;
/// Length of a producer's key: partition and producer id.
const KEY_BYTES: usize = 12;

/// One batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Appended {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

/// What one producer wrote last to one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProducerState {
    epoch: i16,
    /// The commit it last wrote in: the order in which states are forgotten when there are too many.
    pub(super) seen_commit: CommitSeq,
    /// Wall time it last wrote at, ms since 1970; `None` while the clock was not to be trusted.
    pub(super) seen_wall_ms: Option<i64>,
    /// Oldest first.
    batches: Vec<Appended>,
}

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    Duplicate { base_offset: i64 },
    OutOfOrder { expected: i32 },
    Fenced,
}

impl ProducerState {
    /// A producer that has written nothing yet.
    pub(super) fn new(epoch: i16) -> Self {
        Self { epoch, seen_commit: 0, seen_wall_ms: None, batches: Vec::new() }
    }

    /// What to do with a batch of `count` records from `sequence` on.
    pub(super) fn check(&self, epoch: i16, sequence: i32, count: u32) -> Verdict {
        if epoch < self.epoch {
            return Verdict::Fenced;
        }
        if epoch > self.epoch {
            return if sequence == 0 { Verdict::Append } else { Verdict::OutOfOrder { expected: 0 } };
        }
        let last_sequence = advance(sequence, count.saturating_sub(1));
        let resent = self.batches.iter().find(|b| b.first_sequence == sequence && b.last_sequence == last_sequence);
        if let Some(batch) = resent {
            return Verdict::Duplicate { base_offset: batch.base_offset };
        }
        match self.batches.last() {
            Some(last) if advance(last.last_sequence, 1) != sequence => {
                Verdict::OutOfOrder { expected: advance(last.last_sequence, 1) }
            }
            _ => Verdict::Append,
        }
    }

    /// Remembers a batch that is being appended.
    pub(super) fn appended(&mut self, epoch: i16, sequence: i32, count: u32, base_offset: i64) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
        if self.batches.len() >= BATCHES_REMEMBERED {
            self.batches.remove(0);
        }
        let last_sequence = advance(sequence, count.saturating_sub(1));
        self.batches.push(Appended { first_sequence: sequence, last_sequence, base_offset });
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Serializing owned values into a growing vector has nothing that can fail.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        match value.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }
}

/// The key of a producer's state in `Space::Producer`.
pub(super) fn key(partition: PartitionId, producer_id: i64) -> [u8; KEY_BYTES] {
    let mut key = [0u8; KEY_BYTES];
    let (head, tail) = key.split_at_mut(4);
    head.copy_from_slice(&partition.0.to_be_bytes());
    tail.copy_from_slice(&producer_id.to_be_bytes());
    key
}

/// Whether a key of `Space::Producer` is that of a producer's state in this partition.
pub(super) fn is_of(key: &[u8], partition: PartitionId) -> bool {
    key.len() == KEY_BYTES && key.starts_with(&partition.0.to_be_bytes())
}

/// The keys of those producers among `entries` of `Space::Producer` that are to be forgotten.
pub(super) fn expired(entries: Vec<(Vec<u8>, Vec<u8>)>, now_ms: Option<i64>) -> Vec<Vec<u8>> {
    let seen = |(key, value): (Vec<u8>, Vec<u8>)| {
        // Entries of other kinds have other lengths of key.
        let state = ProducerState::decode(&value).filter(|_| key.len() == KEY_BYTES)?;
        Some((key, state.seen_commit, state.seen_wall_ms))
    };
    let states = entries.into_iter().filter_map(seen).collect();
    janitor::expired(states, now_ms, limits::PRODUCERS_MAX, limits::PRODUCER_EXPIRY_MS)
}

/// `sequence + by`, wrapping from `i32::MAX` to 0.
fn advance(sequence: i32, by: u32) -> i32 {
    ((i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 3), 1);
    }

    #[test]
    fn the_last_five_are_recognised_and_a_gap_is_refused() {
        let mut state = ProducerState::new(0);
        for i in 0..7 {
            assert_eq!(state.check(0, i * 10, 10), Verdict::Append);
            state.appended(0, i * 10, 10, i64::from(i) * 100);
        }
        for i in 2..7 {
            assert_eq!(state.check(0, i * 10, 10), Verdict::Duplicate { base_offset: i64::from(i) * 100 });
        }
        assert_eq!(state.check(0, 10, 10), Verdict::OutOfOrder { expected: 70 });
        assert_eq!(state.check(0, 80, 1), Verdict::OutOfOrder { expected: 70 });
        // The same start with another length is not what was sent before.
        assert_eq!(state.check(0, 60, 5), Verdict::OutOfOrder { expected: 70 });
        let read_back = ProducerState::decode(&state.encode());
        assert_eq!(read_back, Some(state));
    }

    #[test]
    fn a_newer_epoch_starts_at_zero_and_fences_the_older() {
        let mut state = ProducerState::new(3);
        state.appended(3, 0, 5, 0);
        assert_eq!(state.check(2, 5, 1), Verdict::Fenced);
        assert_eq!(state.check(4, 5, 1), Verdict::OutOfOrder { expected: 0 });
        assert_eq!(state.check(4, 0, 1), Verdict::Append);
        state.appended(4, 0, 1, 5);
        assert_eq!(state.check(3, 5, 1), Verdict::Fenced);
    }
}
