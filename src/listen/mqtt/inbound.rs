//! What a client publishes with QoS 1 and 2, from its PUBLISH to the last acknowledgement. Pure.
//!
//! QoS 1: stored, then PUBACK. QoS 2 (MQTT 5.0, section 4.3.3, method B): stored together with its packet id, then PUBREC; the id is
//! taken out of the store at PUBREL, and only when that is durable comes PUBCOMP. So a message that is sent again, on this connection or
//! the next, before or after a restart, is recognised as long as the client may send it; and an id that the client uses anew
//! is never taken for the old message.
//!
//! Invariants: nothing is acknowledged before it is stored; at most as many messages are open as the client was told.

use std::collections::BTreeMap;

use crate::mqtt::{PacketId, Qos, ReasonCode};

/// What is open of the client's.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Most messages open at a time.
    open_max: usize,
    /// QoS 1 messages that are being stored.
    storing: usize,
    exactly_once: BTreeMap<PacketId, Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Being stored.
    Storing,
    /// Stored, and PUBREC sent; PUBREL is awaited.
    Stored,
    /// Its id is being taken out of the store.
    Releasing,
}

/// What is to be done with a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Publishing {
    /// Store it.
    Store,
    /// It is stored: PUBREC again.
    Stored,
    /// It is being stored: the answer comes anyway.
    Wait,
    /// The connection ends for this reason.
    End(ReasonCode),
}

/// What is to be done with a PUBREL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Releasing {
    /// Take the id out of the store.
    Release,
    /// Nothing is known of it: PUBCOMP, with this reason where there are reasons.
    Unknown(ReasonCode),
    /// The answer comes anyway.
    Wait,
}

impl Inbound {
    /// Nothing open but `stored`: the ids of an earlier connection that wait for PUBREL.
    pub(super) fn new(open_max: u16, stored: impl IntoIterator<Item = PacketId>) -> Self {
        let exactly_once = stored.into_iter().map(|id| (id, Stage::Stored)).collect();
        Self { open_max: usize::from(open_max), storing: 0, exactly_once }
    }

    /// A PUBLISH has come. One that is sent again (`dup`) may be beyond what may be open: there are clients that send again whatever
    /// they have, all at once, when they are back, and a client that is sent away for it would never get rid of it.
    pub(super) fn publish(&mut self, qos: Qos, dup: bool, id: Option<PacketId>) -> Publishing {
        let Some(id) = id.filter(|_| qos != Qos::AtMostOnce) else { return Publishing::Store };
        if qos == Qos::ExactlyOnce {
            match self.exactly_once.get(&id) {
                Some(Stage::Storing) => return Publishing::Wait,
                Some(Stage::Stored) => return Publishing::Stored,
                // It says that it has not yet heard of the end of the other message of this name.
                Some(Stage::Releasing) => return Publishing::End(ReasonCode::PACKET_IDENTIFIER_IN_USE),
                None => {}
            }
        }
        if self.open() >= self.open_max && !dup {
            return Publishing::End(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
        }
        match qos {
            Qos::ExactlyOnce => drop(self.exactly_once.insert(id, Stage::Storing)),
            _ => self.storing += 1,
        }
        Publishing::Store
    }

    /// A message is stored: now PUBACK or PUBREC goes out.
    pub(super) fn stored(&mut self, qos: Qos, id: PacketId) {
        match qos {
            Qos::ExactlyOnce => drop(self.exactly_once.insert(id, Stage::Stored)),
            _ => self.storing = self.storing.saturating_sub(1),
        }
    }

    /// A message is refused: with the PUBACK or PUBREC that says so it is closed.
    pub(super) fn refused(&mut self, qos: Qos, id: PacketId) {
        match qos {
            Qos::ExactlyOnce => drop(self.exactly_once.remove(&id)),
            _ => self.storing = self.storing.saturating_sub(1),
        }
    }

    /// A PUBREL has come.
    pub(super) fn release(&mut self, id: PacketId) -> Releasing {
        match self.exactly_once.get_mut(&id) {
            Some(stage @ Stage::Stored) => {
                *stage = Stage::Releasing;
                Releasing::Release
            }
            Some(Stage::Releasing) => Releasing::Wait,
            // PUBREL before PUBREC: there is nothing it could mean.
            Some(Stage::Storing) | None => Releasing::Unknown(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND),
        }
    }

    /// The id is out of the store: now PUBCOMP goes out.
    pub(super) fn released(&mut self, id: PacketId) {
        self.exactly_once.remove(&id);
    }

    /// Messages that are open.
    pub(super) fn open(&self) -> usize {
        self.storing + self.exactly_once.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PacketId = PacketId::new(1).unwrap();
    const B: PacketId = PacketId::new(2).unwrap();
    const C: PacketId = PacketId::new(3).unwrap();
    const TWICE: Qos = Qos::AtLeastOnce;
    const ONCE: Qos = Qos::ExactlyOnce;

    #[test]
    fn a_message_of_qos_2_is_stored_once_however_often_it_comes() {
        let mut inbound = Inbound::new(10, []);
        assert_eq!(inbound.publish(ONCE, false, Some(A)), Publishing::Store);
        assert_eq!(inbound.publish(ONCE, false, Some(A)), Publishing::Wait);
        inbound.stored(ONCE, A);
        assert_eq!(inbound.publish(ONCE, false, Some(A)), Publishing::Stored);
        assert_eq!(inbound.release(A), Releasing::Release);
        assert_eq!(inbound.release(A), Releasing::Wait);
        assert_eq!(inbound.publish(ONCE, false, Some(A)), Publishing::End(ReasonCode::PACKET_IDENTIFIER_IN_USE));
        inbound.released(A);
        assert_eq!(inbound.publish(ONCE, false, Some(A)), Publishing::Store, "the id is free: another message");
    }

    #[test]
    fn what_an_earlier_connection_has_brought_is_known() {
        let mut inbound = Inbound::new(10, [A]);
        assert_eq!(inbound.publish(ONCE, false, Some(A)), Publishing::Stored);
        assert_eq!(inbound.release(A), Releasing::Release);
        assert_eq!(inbound.release(B), Releasing::Unknown(ReasonCode::PACKET_IDENTIFIER_NOT_FOUND));
    }

    #[test]
    fn no_more_is_open_than_the_client_was_told() {
        let mut inbound = Inbound::new(2, []);
        assert_eq!(inbound.publish(TWICE, false, Some(A)), Publishing::Store);
        assert_eq!(inbound.publish(ONCE, false, Some(B)), Publishing::Store);
        assert_eq!(inbound.publish(Qos::AtMostOnce, false, None), Publishing::Store, "those are not counted");
        assert_eq!(inbound.publish(TWICE, false, Some(C)), Publishing::End(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED));
        assert_eq!(inbound.publish(ONCE, false, Some(B)), Publishing::Wait, "the same one");
        assert_eq!(inbound.publish(TWICE, true, Some(C)), Publishing::Store, "sent again");
        inbound.stored(TWICE, C);
        inbound.stored(TWICE, A);
        assert_eq!(inbound.publish(TWICE, false, Some(C)), Publishing::Store);
        inbound.refused(ONCE, B);
        assert_eq!(inbound.open(), 1);
    }
}
