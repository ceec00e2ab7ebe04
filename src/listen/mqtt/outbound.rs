//! What is on its way to a client with QoS 1 and 2, from its packet id to the last acknowledgement, over connections and restarts. Pure.
//!
//! A message keeps its packet id until it is done. Those of QoS 2 are a part of what is stored of a session: an id is given, stored,
//! and only then does the PUBLISH go out; PUBREC is stored before PUBREL goes out. So whatever ends in between, the client gets the same
//! message under the same id, or PUBREL, and never the message twice. Of QoS 1 only the position is stored.
//!
//! Invariants: at most as many are open as the client takes; ids are unique among those open; what is open is sent again in the
//! order it was sent first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::mqtt::{PacketId, Qos};

/// Where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Origin {
    /// A record: the store-wide partition and the offset.
    Record { partition: u32, offset: i64 },
    /// The retained message of this topic.
    Retained { topic: String },
    /// A record that a share has given to this session.
    Shared { share: String, partition: u32, offset: i64 },
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flight {
    pub(super) origin: Origin,
    pub(super) qos: u8,
    pub(super) stage: Stage,
}

impl Flight {
    /// Whether it goes to another member of its share when its client is gone.
    pub(super) fn comes_back(&self) -> bool {
        self.qos == Qos::AtLeastOnce as u8 && matches!(self.origin, Origin::Shared { .. })
    }
}

/// What is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// PUBACK or PUBREC.
    Published,
    /// PUBCOMP: PUBREL has gone out, or may.
    Released,
}

/// What is open towards a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outbound {
    open_max: usize,
    /// By number in the order of sending.
    open: BTreeMap<u64, (PacketId, Flight)>,
    numbers: BTreeMap<PacketId, u64>,
    next_number: u64,
    last_id: u16,
}

/// What an acknowledgement led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// The message is done.
    Done(Origin),
    /// It awaits PUBCOMP now: PUBREL goes out when that is stored.
    Release,
    /// There is no such message, or it does not await this.
    Unknown,
}

impl Outbound {
    /// What is open of earlier connections, in the order it was sent; `open_max` is the client's receive maximum.
    pub(super) fn new(open_max: u16, open: impl IntoIterator<Item = (PacketId, Flight)>) -> Self {
        let mut outbound = Self { open_max: usize::from(open_max), ..Self::default() };
        for (id, flight) in open {
            outbound.insert(id, flight);
        }
        outbound
    }

    fn insert(&mut self, id: PacketId, flight: Flight) {
        self.next_number += 1;
        // Two of one id can't come of what was stored by this; the later one stands.
        if let Some(older) = self.numbers.insert(id, self.next_number) {
            self.open.remove(&older);
        }
        self.open.insert(self.next_number, (id, flight));
        self.last_id = id.get();
    }

    /// Whether one more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < self.open_max.min(usize::from(u16::MAX))
    }

    /// Whether half of what may be open is free: who has waited for room goes on then, not at each acknowledgement.
    pub(super) fn has_much_room(&self) -> bool {
        self.open.len() <= self.open_max / 2
    }

    /// Opens a message: the id it has until it is done. `None` without room.
    pub(super) fn open(&mut self, origin: Origin, qos: Qos) -> Option<PacketId> {
        if !self.has_room() {
            return None;
        }
        let free = |id: &PacketId| !self.numbers.contains_key(id);
        // From the last one on, so that ids are not used again soon; there is a free one, as there is room.
        let id = (1..=u16::MAX).filter_map(|step| PacketId::new(self.last_id.wrapping_add(step))).find(free)?;
        self.insert(id, Flight { origin, qos: qos as u8, stage: Stage::Published });
        Some(id)
    }

    /// PUBACK.
    pub(super) fn acknowledged(&mut self, id: PacketId) -> Acked {
        self.done_if(id, |flight| flight.qos == Qos::AtLeastOnce as u8)
    }

    /// PUBREC; `failed` if it bears an error, which ends the message.
    pub(super) fn received(&mut self, id: PacketId, failed: bool) -> Acked {
        if failed {
            return self.done_if(id, |flight| flight.qos == Qos::ExactlyOnce as u8 && flight.stage == Stage::Published);
        }
        let flight = self.numbers.get(&id).and_then(|number| self.open.get_mut(number)).map(|(_, flight)| flight);
        match flight.filter(|flight| flight.qos == Qos::ExactlyOnce as u8) {
            Some(flight) => {
                flight.stage = Stage::Released;
                Acked::Release
            }
            None => Acked::Unknown,
        }
    }

    /// PUBCOMP.
    pub(super) fn completed(&mut self, id: PacketId) -> Acked {
        self.done_if(id, |flight| flight.stage == Stage::Released)
    }

    fn done_if(&mut self, id: PacketId, expected: impl Fn(&Flight) -> bool) -> Acked {
        let flight = self.numbers.get(&id).and_then(|number| self.open.get(number)).map(|(_, flight)| flight);
        if !flight.is_some_and(expected) {
            return Acked::Unknown;
        }
        self.forget(id).map_or(Acked::Unknown, |flight| Acked::Done(flight.origin))
    }

    /// Gives a message up: it can't be had any more.
    pub(super) fn forget(&mut self, id: PacketId) -> Option<Flight> {
        let number = self.numbers.remove(&id)?;
        self.open.remove(&number).map(|(_, flight)| flight)
    }

    /// All that is open, in the order it was sent first.
    pub(super) fn flights(&self) -> impl Iterator<Item = &(PacketId, Flight)> {
        self.open.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(offset: i64) -> Origin {
        Origin::Record { partition: 7, offset }
    }

    #[test]
    fn qos_1_is_done_by_puback_and_qos_2_by_pubcomp() {
        let mut outbound = Outbound::new(10, []);
        let one = outbound.open(record(4), Qos::AtLeastOnce).unwrap();
        let two = outbound.open(record(5), Qos::ExactlyOnce).unwrap();
        assert_eq!(outbound.acknowledged(two), Acked::Unknown);
        assert_eq!(outbound.acknowledged(one), Acked::Done(record(4)));
        assert_eq!(outbound.completed(two), Acked::Unknown);
        assert_eq!(outbound.received(two, false), Acked::Release);
        assert_eq!(outbound.received(two, false), Acked::Release, "again: PUBREL may have been lost");
        assert_eq!(outbound.completed(two), Acked::Done(record(5)));
        assert_eq!(outbound.flights().count(), 0);
    }

    #[test]
    fn a_refused_message_is_done() {
        let mut outbound = Outbound::new(10, []);
        let id = outbound.open(record(1), Qos::ExactlyOnce).unwrap();
        assert_eq!(outbound.received(id, true), Acked::Done(record(1)));
        assert_eq!(outbound.received(id, false), Acked::Unknown);
    }

    #[test]
    fn ids_go_around_and_pass_over_those_in_use() {
        let kept = PacketId::new(2).unwrap();
        let flight = Flight { origin: record(0), qos: 2, stage: Stage::Released };
        let mut outbound = Outbound::new(3, [(kept, flight)]);
        let mut seen = Vec::new();
        for offset in 0..70_000 {
            let id = outbound.open(record(offset), Qos::AtLeastOnce).unwrap();
            assert_ne!(id, kept);
            seen.push(id.get());
            outbound.acknowledged(id);
        }
        assert_eq!(&seen[..3], [3, 4, 5]);
        assert_eq!(seen.iter().filter(|id| **id == 1).count(), 1);
        assert_eq!(seen.iter().filter(|id| **id == 3).count(), 2);
    }

    proptest! {
        /// What survives in the store has the same ids and stages, whatever was acknowledged before.
        #[test]
        fn a_session_goes_on_where_it_was(steps in prop::collection::vec((0u8..4, 0usize..8), 0..60)) {
            let mut outbound = Outbound::new(5, []);
            let mut next = 0;
            for (what, which) in steps {
                let ids: Vec<PacketId> = outbound.flights().map(|(id, _)| *id).collect();
                let id = ids.get(which % ids.len().max(1)).copied();
                match (what, id) {
                    (0, _) | (_, None) => {
                        next += 1;
                        let qos = if which % 2 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
                        prop_assert_eq!(outbound.open(record(next), qos).is_some(), ids.len() < 5);
                    }
                    (1, Some(id)) => drop(outbound.acknowledged(id)),
                    (2, Some(id)) => drop(outbound.received(id, false)),
                    (_, Some(id)) => drop(outbound.completed(id)),
                }
                let again = Outbound::new(5, outbound.flights().cloned());
                prop_assert_eq!(again.flights().collect::<Vec<_>>(), outbound.flights().collect::<Vec<_>>());
            }
        }
    }
}
