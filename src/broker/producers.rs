//! Idempotent Kafka producers: whether a batch is new, a resend, or out of its order.
//!
//! Rules of Kafka's producer state (KIP-98): a batch continues the last sequence, or is one of the last five
//! (answered with its offset), else it is out of order; a newer epoch starts at sequence 0; an older one is fenced. A
//! producer that is not known may start anywhere: its state has expired.
//!
//! The states are rows of `Space::Producer` that the store derives from the headers of the batches it appends.

use super::janitor;
use crate::limits;
use crate::store::{PartitionId, ProducerState, advance_sequence, is_producer_key};

/// What to do with a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Append,
    Duplicate { base_offset: i64 },
    OutOfOrder { expected: i32 },
    Fenced,
}

/// What to do with a batch of `count` records from `sequence` on, of a producer that wrote `known` last.
pub(super) fn check(known: &ProducerState, epoch: i16, sequence: i32, count: u32) -> Verdict {
    if epoch < known.epoch {
        return Verdict::Fenced;
    }
    if epoch > known.epoch {
        return if sequence == 0 { Verdict::Append } else { Verdict::OutOfOrder { expected: 0 } };
    }
    let last_sequence = advance_sequence(sequence, count.saturating_sub(1));
    let resent = known.batches.iter().find(|b| b.first_sequence == sequence && b.last_sequence == last_sequence);
    if let Some(batch) = resent {
        return Verdict::Duplicate { base_offset: batch.base_offset };
    }
    match known.batches.last().map(|last| advance_sequence(last.last_sequence, 1)) {
        Some(expected) if expected != sequence => Verdict::OutOfOrder { expected },
        _ => Verdict::Append,
    }
}

/// Whether a key of `Space::Producer` is that of a producer's state in this partition.
pub(super) fn is_of(key: &[u8], partition: PartitionId) -> bool {
    is_producer_key(key) && key.starts_with(&partition.0.to_be_bytes())
}

/// The keys of those producers among `entries` of `Space::Producer` that are to be forgotten. That they are not too many
/// is the store's care.
pub(super) fn expired(entries: &[(Vec<u8>, Vec<u8>)], now_ms: Option<i64>) -> Vec<Vec<u8>> {
    let producers = entries.iter().filter(|(key, _)| is_producer_key(key));
    let states = producers.filter_map(|(key, row)| {
        let state = ProducerState::decode(row)?;
        Some((key.clone(), state.seen_commit, state.seen_wall_ms))
    });
    janitor::expired(states.collect(), now_ms, limits::PRODUCERS_MAX, limits::PRODUCER_EXPIRY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ProducerBatch;

    fn known(epoch: i16, batches: &[(i32, i32)]) -> ProducerState {
        let batches = batches.iter().map(|(first_sequence, last_sequence)| ProducerBatch {
            first_sequence: *first_sequence,
            last_sequence: *last_sequence,
            base_offset: i64::from(*first_sequence) * 10,
        });
        ProducerState { epoch, batches: batches.collect(), ..ProducerState::default() }
    }

    #[test]
    fn the_remembered_are_recognised_and_a_gap_is_refused() {
        let state = known(0, &[(20, 29), (30, 39), (40, 49), (50, 59), (60, 69)]);
        for first in [20, 30, 40, 50, 60] {
            let base_offset = i64::from(first) * 10;
            assert_eq!(check(&state, 0, first, 10), Verdict::Duplicate { base_offset });
        }
        assert_eq!(check(&state, 0, 70, 1), Verdict::Append);
        assert_eq!(check(&state, 0, 10, 10), Verdict::OutOfOrder { expected: 70 });
        assert_eq!(check(&state, 0, 80, 1), Verdict::OutOfOrder { expected: 70 });
        // The same start with another length is not what was sent before.
        assert_eq!(check(&state, 0, 60, 5), Verdict::OutOfOrder { expected: 70 });
        assert_eq!(check(&known(0, &[]), 0, 77, 5), Verdict::Append);
        assert_eq!(check(&known(0, &[(i32::MAX, i32::MAX)]), 0, 0, 5), Verdict::Append);
    }

    #[test]
    fn a_newer_epoch_starts_at_zero_and_fences_the_older() {
        let state = known(3, &[(0, 4)]);
        assert_eq!(check(&state, 2, 5, 1), Verdict::Fenced);
        assert_eq!(check(&state, 4, 5, 1), Verdict::OutOfOrder { expected: 0 });
        assert_eq!(check(&state, 4, 0, 1), Verdict::Append);
    }
}
