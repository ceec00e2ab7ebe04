//! What is kept here of an uplink's transactions: one row in the broker's cursor space, written in the commit that makes the
//! positions before it durable.
//!
//! Layout: a byte, the format (1), then [`Local`] in postcard.

use serde::{Deserialize, Serialize};

use crate::broker::dead_letter::Letter;
use crate::store::PartitionId;

const FORMAT: u8 = 1;

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
}
