//! What a client publishes with QoS 1 and 2, from its PUBLISH to the last acknowledgement. Pure.
//!
//! QoS 1: stored, then PUBACK. QoS 2 (MQTT 5.0, section 4.3.3, method B): stored together with its packet id, then PUBREC; the id is
//! taken out of the store at PUBREL, and only when that is durable comes PUBCOMP. So a message that is sent again, on this connection or
//! the next, before or after a restart, is recognised as long as the client may send it; and an id that the client uses anew
//! is never taken for the old message.
//!
//! There are clients that forget a flow when their connection breaks, and later use its id for another message, without the PUBREL that
//! the standard asks for. So an id is kept with a mark of its message: another message under the same id is another message.
//!
//! Invariants: nothing is acknowledged before it is stored; at most as many messages are open as the client was told.

use std::collections::BTreeMap;

use crate::mqtt::{PacketId, Qos, ReasonCode};

/// Tells messages under one packet id apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark([u8; 8]);

impl Mark {
    pub(super) fn of(topic: &str, payload: &[u8]) -> Self {
        let sum = crc32c::crc32c_append(crc32c::crc32c(topic.as_bytes()), payload);
        let mut mark = [0; 8];
        let (high, low) = mark.split_at_mut(4);
        high.copy_from_slice(&sum.to_le_bytes());
        low.copy_from_slice(&(payload.len() as u32).to_le_bytes());
        Self(mark)
    }

    /// Of a row; nothing is as one that can't be read.
    pub(super) fn of_row(value: &[u8]) -> Self {
        Self(value.try_into().unwrap_or_default())
    }

    pub(super) fn to_row(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

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
    Storing(Mark),
    /// Stored, and PUBREC sent; PUBREL is awaited.
    Stored(Mark),
    /// Its id is being taken out of the store.
    Releasing(Mark),
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
    Release(Mark),
    /// Nothing is known of it: PUBCOMP, as for one that is released. It is what a client sends again that lost the first PUBCOMP with its
    /// connection or with our process, where the standard calls reason 0x92 no error (MQTT 5.0, section 3.7.2.1); there are clients that
    /// take it for one all the same, and give up.
    Unknown,
    /// The answer comes anyway.
    Wait,
}

impl Inbound {
    /// Nothing open but `stored`: the ids of an earlier connection that wait for PUBREL.
    pub(super) fn new(open_max: u16, stored: impl IntoIterator<Item = (PacketId, Mark)>) -> Self {
        let exactly_once = stored.into_iter().map(|(id, mark)| (id, Stage::Stored(mark))).collect();
        Self { open_max: usize::from(open_max), storing: 0, exactly_once }
    }

    /// A PUBLISH has come. One that is sent again (`dup`) may be beyond what may be open: there are clients that send again whatever
    /// they have, all at once, when they are back, and a client that is sent away for it would never get rid of it.
    pub(super) fn publish(&mut self, qos: Qos, dup: bool, id: Option<PacketId>, mark: Mark) -> Publishing {
        let Some(id) = id.filter(|_| qos != Qos::AtMostOnce) else { return Publishing::Store };
        let mut replaces = false;
        if qos == Qos::ExactlyOnce {
            match self.exactly_once.get(&id) {
                Some(Stage::Storing(known)) if *known == mark => return Publishing::Wait,
                Some(Stage::Stored(known)) if *known == mark => return Publishing::Stored,
                // A client that forgets its flows: the other message is stored, this one is new.
                Some(Stage::Stored(_)) => replaces = true,
                Some(Stage::Releasing(known)) if *known != mark => replaces = true,
                // It says that it has not yet heard of the end of the other message of this name.
                Some(_) => return Publishing::End(ReasonCode::PACKET_IDENTIFIER_IN_USE),
                None => {}
            }
        }
        if self.open() >= self.open_max && !dup && !replaces {
            return Publishing::End(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
        }
        match qos {
            Qos::ExactlyOnce => drop(self.exactly_once.insert(id, Stage::Storing(mark))),
            _ => self.storing += 1,
        }
        Publishing::Store
    }

    /// A message is stored: now PUBACK or PUBREC goes out.
    pub(super) fn stored(&mut self, qos: Qos, id: PacketId) {
        match qos {
            Qos::ExactlyOnce => {
                if let Some(stage) = self.exactly_once.get_mut(&id)
                    && let Stage::Storing(mark) = *stage
                {
                    *stage = Stage::Stored(mark);
                }
            }
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
        match self.exactly_once.get(&id).copied() {
            Some(Stage::Stored(mark)) => {
                self.exactly_once.insert(id, Stage::Releasing(mark));
                Releasing::Release(mark)
            }
            Some(Stage::Releasing(_)) => Releasing::Wait,
            // PUBREL before PUBREC: there is nothing it could mean.
            Some(Stage::Storing(_)) | None => Releasing::Unknown,
        }
    }

    /// The id is out of the store: now PUBCOMP goes out.
    pub(super) fn released(&mut self, id: PacketId) {
        // Unless the client has used it for another message meanwhile.
        if matches!(self.exactly_once.get(&id), Some(Stage::Releasing(_))) {
            self.exactly_once.remove(&id);
        }
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
    const MARK: Mark = Mark([1; 8]);
    const OTHER: Mark = Mark([2; 8]);
    const TWICE: Qos = Qos::AtLeastOnce;
    const ONCE: Qos = Qos::ExactlyOnce;

    #[test]
    fn a_message_of_qos_2_is_stored_once_however_often_it_comes() {
        let mut inbound = Inbound::new(10, []);
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::Store);
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::Wait);
        inbound.stored(ONCE, A);
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::Stored);
        assert_eq!(inbound.release(A), Releasing::Release(MARK));
        assert_eq!(inbound.release(A), Releasing::Wait);
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::End(ReasonCode::PACKET_IDENTIFIER_IN_USE));
        inbound.released(A);
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::Store, "the id is free: another message");
    }

    #[test]
    fn what_an_earlier_connection_has_brought_is_known() {
        let mut inbound = Inbound::new(10, [(A, MARK)]);
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::Stored);
        assert_eq!(inbound.release(A), Releasing::Release(MARK));
        assert_eq!(inbound.release(B), Releasing::Unknown);
    }

    #[test]
    fn another_message_under_the_id_of_a_forgotten_one_is_stored() {
        let mut inbound = Inbound::new(1, [(A, MARK)]);
        assert_eq!(inbound.publish(ONCE, false, Some(A), OTHER), Publishing::Store);
        inbound.stored(ONCE, A);
        assert_eq!(inbound.publish(ONCE, true, Some(A), OTHER), Publishing::Stored);
        assert_eq!(inbound.release(A), Releasing::Release(OTHER));
        assert_eq!(inbound.publish(ONCE, false, Some(A), MARK), Publishing::Store, "while the other is released");
        inbound.released(A);
        inbound.stored(ONCE, A);
        assert_eq!(inbound.release(A), Releasing::Release(MARK));
    }

    #[test]
    fn marks_tell_messages_apart() {
        let marks = [Mark::of("a", b"1"), Mark::of("a", b"2"), Mark::of("b", b"1"), Mark::of("a1", b"")];
        for (at, mark) in marks.iter().enumerate() {
            assert_eq!(Mark::of_row(&mark.to_row()), *mark);
            assert!(!marks[at + 1..].contains(mark));
        }
    }

    #[test]
    fn no_more_is_open_than_the_client_was_told() {
        let mut inbound = Inbound::new(2, []);
        assert_eq!(inbound.publish(TWICE, false, Some(A), MARK), Publishing::Store);
        assert_eq!(inbound.publish(ONCE, false, Some(B), MARK), Publishing::Store);
        assert_eq!(inbound.publish(Qos::AtMostOnce, false, None, MARK), Publishing::Store, "those are not counted");
        assert_eq!(inbound.publish(TWICE, false, Some(C), MARK), Publishing::End(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED));
        assert_eq!(inbound.publish(ONCE, false, Some(B), MARK), Publishing::Wait, "the same one");
        assert_eq!(inbound.publish(TWICE, true, Some(C), MARK), Publishing::Store, "sent again");
        inbound.stored(TWICE, C);
        inbound.stored(TWICE, A);
        assert_eq!(inbound.publish(TWICE, false, Some(C), MARK), Publishing::Store);
        inbound.refused(ONCE, B);
        assert_eq!(inbound.open(), 1);
    }
}
