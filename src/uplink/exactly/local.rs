//! What is kept here of an uplink's transactions: one row in the broker's cursor space, written in the commit that makes the
//! positions before it durable.
//!
//! Layout: a byte, the format (1), then [`Local`] in postcard.
//!
//! Invariant: a row that can't be true in any part counts for nothing; upstream is asked then.

use serde::{Deserialize, Serialize};

use crate::broker::dead_letter::Letter;
use crate::store::PartitionId;

const FORMAT: u8 = 1;
/// No uplink makes as many transactions; upstream it is an offset.
pub(super) const NUMBER_MAX: u64 = 1 << 62;

/// A record upstream, in the topic of cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// A transaction, as this side knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) number: u64,
    /// The id of the boot epoch in which it was made.
    pub(super) epoch: u64,
    /// Where its last batch of cursors lies.
    pub(super) place: Place,
}

/// A transaction whose end is not known to be durable here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) mark: Mark,
    /// By local partition (store-wide number): the first offset behind it.
    pub(super) positions: Vec<(u32, i64)>,
    /// Records that these positions pass without being delivered.
    pub(super) letters: Vec<Letter>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Local {
    /// The history that the cursors belong to: the store's incarnation, or another number after it had diverged.
    pub(super) lineage: [u8; 16],
    /// The last transaction that is known to be committed.
    pub(super) last: Option<Mark>,
    pub(super) pending: Option<Pending>,
}

impl Local {
    /// Before the first transaction.
    pub(super) fn new(incarnation: [u8; 16]) -> Self {
        Self { lineage: incarnation, last: None, pending: None }
    }

    /// Reads what [`Local::encode`] made; `None` if it is anything else.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        match value.split_first()? {
            (&FORMAT, body) => postcard::from_bytes(body).ok(),
            _ => None,
        }
    }

    /// Whether this could have been kept: `end` tells where the log of a partition ends, if there is such a partition.
    pub(super) fn is_possible(&self, end: impl Fn(PartitionId) -> Option<i64>) -> bool {
        let Some(pending) = &self.pending else { return self.number() <= NUMBER_MAX };
        let is_later = self.last.is_none_or(|last| last.number < pending.mark.number);
        let ascends = pending.positions.is_sorted_by(|(one, _), (other, _)| one < other);
        // One that was dropped since is no contradiction.
        let is_there =
            |(partition, next): (PartitionId, i64)| next >= 0 && end(partition).is_none_or(|end| next <= end);
        let passes = |letter: &Letter| {
            let mut of = pending.positions().filter(|(partition, _)| *partition == letter.partition);
            of.any(|(_, next)| letter.offset < next)
        };
        let numbered = self.number() <= NUMBER_MAX && is_later && ascends;
        numbered && pending.positions().all(is_there) && pending.letters.iter().all(passes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// The highest number that was used.
    pub(super) fn number(&self) -> u64 {
        let pending = self.pending.as_ref().map(|pending| pending.mark.number);
        pending.into_iter().chain(self.last.map(|last| last.number)).max().unwrap_or(0)
    }

    /// The partition of cursors that was written last.
    pub(super) fn cursor_partition(&self) -> Option<i32> {
        self.pending.as_ref().map(|pending| pending.mark).or(self.last).map(|mark| mark.place.partition)
    }
}

impl Pending {
    /// The positions, by partition.
    pub(super) fn positions(&self) -> impl Iterator<Item = (PartitionId, i64)> {
        self.positions.iter().map(|(partition, next)| (PartitionId(*partition), *next))
    }
}

/// The key of the row: no partition's, whose keys end in four bytes after the zero.
pub(super) fn key(uplink: &str) -> Vec<u8> {
    [uplink.as_bytes(), b"\0exactly-once"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_reads_back_and_nothing_else_does() {
        let place = Place { partition: 3, offset: 1 << 40 };
        let mark = Mark { number: 9, epoch: u64::MAX, place };
        let mut local = Local::new([7; 16]);
        assert_eq!((local.number(), local.cursor_partition()), (0, None));
        local.last = Some(Mark { number: 8, ..mark });
        local.pending = Some(Pending { mark, positions: vec![(1, 17), (200_000, 0)], letters: vec![] });
        assert_eq!(Local::decode(&local.encode()), Some(local.clone()));
        assert_eq!((local.number(), local.cursor_partition()), (9, Some(3)));
        assert_eq!(Local::decode(&[]), None);
        assert_eq!(Local::decode(&[2, 0]), None);
        assert_eq!(Local::decode(&local.encode()[..10]), None);
    }

    #[test]
    fn what_cannot_have_been_is_not_possible() {
        let place = Place { partition: 3, offset: 1 };
        let mark = |number| Mark { number, epoch: 1, place };
        let letter = |partition, offset| {
            let (cause, upstream) = (crate::broker::dead_letter::Cause::NoKey, String::new());
            Letter { partition: PartitionId(partition), offset, bytes: 1, cause, error: upstream.clone(), upstream }
        };
        let end = |partition: PartitionId| (partition.0 < 3).then_some(6);
        let is = |last: Option<u64>, number, positions: &[(u32, i64)], letters: &[Letter]| {
            let pending = Pending { mark: mark(number), positions: positions.to_vec(), letters: letters.to_vec() };
            Local { lineage: [7; 16], last: last.map(mark), pending: Some(pending) }.is_possible(end)
        };
        assert!(Local::new([7; 16]).is_possible(end));
        assert!(is(None, 1, &[(1, 6), (2, 0)], &[letter(1, 5)]));
        assert!(is(Some(7), 9, &[(1, 6), (90, 1_000)], &[]), "that one was dropped");
        for beyond in [7, i64::MAX, -1] {
            assert!(!is(Some(7), 8, &[(1, beyond)], &[]), "{beyond}");
        }
        assert!(!is(Some(8), 8, &[(1, 6)], &[]) && !is(Some(9), 8, &[(1, 6)], &[]), "numbers ascend");
        assert!(!is(None, u64::MAX, &[(1, 6)], &[]) && !is(Some(u64::MAX), 8, &[], &[]));
        assert!(!is(None, 1, &[(2, 6), (1, 6)], &[]) && !is(None, 1, &[(1, 6), (1, 6)], &[]));
        assert!(!is(None, 1, &[(1, 6)], &[letter(1, 6)]) && !is(None, 1, &[(1, 6)], &[letter(2, 1)]));
    }
}
