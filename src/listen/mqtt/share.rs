//! How far a shared subscription is: where it reads on, what its members have in hand, and what came back. Pure, but for its form on disk.
//!
//! A message is *handed out* to one member; it is *settled* when it needs nothing more of the share, and *comes back* when its member goes
//! without having acknowledged it. One of QoS 2 is settled as soon as it is stored with its member's session: from then on it is that
//! session's to deliver, and nobody else's (MQTT 5.0, section 4.8.2).
//!
//! Invariant: what lies before a position is settled, handed out or back; so a crash gives out again what was not settled, and nothing
//! is passed over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::session::Positions;
use crate::limits::MQTT_SHARE_OPEN_MAX;

/// The first byte of a stored share.
const FORMAT: u8 = 1;

/// A record: the store-wide partition and the offset.
pub(super) type At = (u32, i64);

/// What is durable of a share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredShare {
    /// Counts what was stored: of two, the higher one is newer.
    pub(super) version: u64,
    pub(super) positions: Positions,
    /// Before the positions, but not settled.
    pub(super) open: Vec<At>,
}

impl StoredShare {
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

    /// The version of a stored share, without the rest of it.
    pub(super) fn version_of(value: &[u8]) -> Option<u64> {
        let body = value.split_first().filter(|(format, _)| **format == FORMAT)?.1;
        postcard::take_from_bytes(body).ok().map(|(version, _)| version)
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    positions: Positions,
    /// To be handed out again, before anything else.
    back: BTreeSet<At>,
    out: BTreeSet<At>,
    /// Changed since it was stored.
    pub(super) is_dirty: bool,
}

impl Share {
    /// A share that begins at these positions.
    pub(super) fn new(positions: Positions) -> Self {
        Self { positions, is_dirty: true, ..Self::default() }
    }

    /// One that was stored; `with_members` are those messages that sessions have in hand.
    pub(super) fn load(stored: StoredShare, with_members: &BTreeSet<At>) -> Self {
        let back = stored.open.into_iter().filter(|at| !with_members.contains(at)).collect();
        Self { positions: stored.positions, back, ..Self::default() }
    }

    /// What is to be stored of it.
    pub(super) fn to_stored(&self, version: u64) -> StoredShare {
        let open = self.back.iter().chain(&self.out).copied().collect();
        StoredShare { version, positions: self.positions.clone(), open }
    }

    /// Where a partition is read on; one that is new to it begins at `start`.
    pub(super) fn position(&mut self, partition: u32, start: impl FnOnce() -> i64) -> i64 {
        *self.positions.entry(partition).or_insert_with(|| {
            self.is_dirty = true;
            start()
        })
    }

    /// Nothing before this offset is to be handed out any more.
    pub(super) fn advance(&mut self, partition: u32, offset: i64) {
        let position = self.positions.entry(partition).or_insert(offset);
        self.is_dirty |= *position < offset;
        *position = offset.max(*position);
    }

    /// Whether one more message may be out.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() + self.back.len() < MQTT_SHARE_OPEN_MAX
    }

    /// What came back and is to be handed out first.
    pub(super) fn first_back(&self) -> Option<At> {
        self.back.first().copied()
    }

    /// A member has it in hand.
    pub(super) fn hand_out(&mut self, at: At) {
        self.back.remove(&at);
        self.out.insert(at);
        self.advance(at.0, at.1 + 1);
        self.is_dirty = true;
    }

    /// It needs nothing more.
    pub(super) fn settle(&mut self, at: At) {
        self.is_dirty |= self.out.remove(&at) | self.back.remove(&at);
    }

    /// The member that had it in hand is gone. What is settled stays so.
    pub(super) fn come_back(&mut self, at: At) {
        if self.out.remove(&at) {
            self.back.insert(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_comes_back_is_handed_out_first_and_once() {
        let mut share = Share::new([(7, 10)].into());
        for offset in 10..13 {
            share.hand_out((7, offset));
        }
        share.settle((7, 11));
        for offset in 10..13 {
            share.come_back((7, offset));
        }
        assert_eq!(share.first_back(), Some((7, 10)));
        share.hand_out((7, 10));
        assert_eq!(share.first_back(), Some((7, 12)));
        assert_eq!(share.position(7, || 0), 13);
    }

    #[test]
    fn what_a_session_has_in_hand_is_not_given_to_another() {
        let mut share = Share::new([(7, 10)].into());
        share.hand_out((7, 10));
        share.hand_out((7, 11));
        let stored = StoredShare::decode(&share.to_stored(3).encode()).unwrap();
        let again = Share::load(stored, &[(7, 10)].into());
        assert_eq!((again.first_back(), again.to_stored(0).open), (Some((7, 11)), vec![(7, 11)]));
    }

    #[test]
    fn a_stored_share_tells_its_version() {
        let share = Share::new([(7, 10)].into());
        assert_eq!(StoredShare::version_of(&share.to_stored(300).encode()), Some(300));
        assert_eq!(StoredShare::version_of(&[]), None);
        assert_eq!(StoredShare::version_of(&[9, 1]), None);
    }

    proptest! {
        /// Whatever happens, each offset before the position is settled, out or back; and what is loaded hands out what was not settled.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0u8..4, 0usize..6), 0..80)) {
            let mut share = Share::new([(7, 0)].into());
            let mut settled = BTreeSet::new();
            for (what, which) in steps {
                let out: Vec<At> = share.out.iter().copied().collect();
                let one = out.get(which % out.len().max(1)).copied();
                match (what, one) {
                    (0 | 1, _) | (_, None) => {
                        let next = share.position(7, || 0);
                        let at = share.first_back().unwrap_or((7, next));
                        prop_assert!(!settled.contains(&at));
                        share.hand_out(at);
                    }
                    (2, Some(at)) => {
                        share.settle(at);
                        settled.insert(at);
                    }
                    (_, Some(at)) => share.come_back(at),
                }
                let end = share.position(7, || 0);
                for offset in 0..end {
                    let at = (7, offset);
                    let known = [share.out.contains(&at), share.back.contains(&at), settled.contains(&at)];
                    prop_assert_eq!(known.iter().filter(|known| **known).count(), 1);
                }
                let loaded = Share::load(share.to_stored(1), &BTreeSet::new());
                prop_assert_eq!(loaded.back.len() + settled.len(), usize::try_from(end).unwrap());
            }
        }
    }
}
