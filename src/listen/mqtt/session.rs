//! What a client has with the gateway beyond a connection: its subscriptions, how far each has been read, and what is on its way to it.
//! Pure, but for its form on disk.
//!
//! A subscription is a reader of the log: it costs a position for each partition that may hold something for it, and no copy of anything.
//! All plain filters of a session are read together, so that a message that several of them match is delivered once, with the highest
//! of their QoS and all their identifiers. Each replay is read for itself.
//!
//! Invariant: a position never passes a message that is neither delivered nor on its way.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::message::Message;
use super::outbound::{Flight, Outbound};
use crate::broker::owner::{Owner, decode_row, encode_row};
use crate::mqtt::{PacketId, Qos, Subscription as Asked, topic};

/// One subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscription {
    /// At most this QoS.
    pub(super) qos: u8,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) id: Option<u32>,
    /// Of partitions that were being read when it was made: the first offset that is for it.
    pub(super) from: BTreeMap<u32, i64>,
}

/// What is read together: the next offset of each partition (by its number in the store).
pub(super) type Positions = BTreeMap<u32, i64>;

/// What is durable of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// How long it outlives its connection, seconds; `u32::MAX`: for ever.
    pub(super) expiry_s: u32,
    /// By filter, as the client wrote it.
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) positions: Positions,
    /// Those of replays, by filter.
    pub(super) replays: BTreeMap<String, Positions>,
    pub(super) flights: Vec<(u16, Flight)>,
    pub(super) owed: VecDeque<Owed>,
    /// Stands before all the others.
    #[serde(skip)]
    pub(super) owner: Owner,
}

/// A retained message that comes with a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owed {
    pub(super) topic: String,
    /// At most this QoS.
    pub(super) qos: u8,
    pub(super) id: Option<u32>,
}

impl Stored {
    pub(super) fn encode(&self) -> Vec<u8> {
        encode_row(&self.owner, self)
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        decode_row::<Self>(value).map(|(owner, stored)| Self { owner, ..stored })
    }
}

/// What a message is delivered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) ids: Vec<u32>,
}

impl Match {
    /// A subscription has this message as well.
    fn take(&mut self, subscription: &Subscription, message: &Message) {
        let qos = Qos::of_bits(subscription.qos).unwrap_or_default();
        self.qos = self.qos.max(qos.min(message.qos()));
        self.retain |= subscription.retain_as_published && message.retain;
        if let Some(id) = subscription.id {
            // In their order: it says nothing by the standard, but there are programs that count on it.
            self.ids.insert(self.ids.partition_point(|known| *known <= id), id);
        }
    }
}

fn stored((id, flight): &(PacketId, Flight)) -> (u16, Flight) {
    (id.get(), flight.clone())
}

/// A session whose client is connected.
#[derive(Debug)]
pub(super) struct Session {
    client: String,
    owner: Owner,
    pub(super) expiry_s: u32,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    pub(super) positions: Positions,
    pub(super) replays: BTreeMap<String, Positions>,
    pub(super) outbound: Outbound,
    /// Retained messages that are still to be delivered.
    pub(super) owed: VecDeque<Owed>,
    /// Messages whose PUBREC has come, and for which PUBREL is to go out.
    pub(super) released: Vec<PacketId>,
    /// Counts changes of the subscriptions.
    pub(super) revision: u64,
    /// Changed since it was stored.
    pub(super) is_dirty: bool,
}

impl Session {
    /// A session of `client`, an id of `owner`'s, which takes `open_max` messages at a time: a new one, or the one that is stored.
    pub(super) fn new((client, owner): (&str, Owner), expiry_s: u32, open_max: u16, stored: Option<Stored>) -> Self {
        let stored = stored.unwrap_or_default();
        // What else a damaged row may hold has no form on the wire.
        let flights = stored.flights.into_iter().filter(|(_, flight)| matches!(flight.qos, 1 | 2));
        let flights = flights.filter_map(|(id, flight)| Some((PacketId::new(id)?, flight)));
        Self {
            client: client.to_owned(),
            expiry_s,
            subscriptions: stored.subscriptions,
            positions: stored.positions,
            replays: stored.replays,
            outbound: Outbound::new(open_max, flights),
            owed: stored.owed,
            released: Vec::new(),
            revision: 0,
            // What is stored has another end, or is another's.
            is_dirty: stored.expiry_s != expiry_s || stored.owner != owner,
            owner,
        }
    }

    /// Whether it outlives its connection.
    pub(super) fn is_kept(&self) -> bool {
        self.expiry_s > 0
    }

    /// What is to be stored of it.
    pub(super) fn to_stored(&self) -> Stored {
        Stored {
            expiry_s: self.expiry_s,
            subscriptions: self.subscriptions.clone(),
            positions: self.positions.clone(),
            replays: self.replays.clone(),
            // What a share has given with QoS 1 it gives to another when this session is not connected.
            flights: self.outbound.flights().filter(|(_, flight)| !flight.comes_back()).map(stored).collect(),
            owed: self.owed.clone(),
            owner: self.owner.clone(),
        }
    }

    /// Retained messages of these topics are to be delivered.
    pub(super) fn owe_retained(&mut self, topics: impl Iterator<Item = String>, qos: Qos, id: Option<u32>) {
        self.owed.extend(topics.map(|topic| Owed { topic, qos: qos as u8, id }));
        self.is_dirty = true;
    }

    /// Makes or replaces a subscription; whether it is new. `ends` are the partitions that may hold something for it, and where each
    /// ends now: what comes from there on is for it.
    pub(super) fn subscribe(&mut self, asked: &Asked<'_>, id: Option<u32>, ends: &Positions) -> bool {
        let mut from = Positions::new();
        for (partition, end) in ends {
            match self.positions.get(partition) {
                Some(position) if position < end => drop(from.insert(*partition, *end)),
                Some(_) => {}
                None => drop(self.positions.insert(*partition, *end)),
            }
        }
        let old = self.subscriptions.get(asked.filter);
        // What a subscription that is replaced has not had yet is still for it.
        let from = old.map_or(from, |old| old.from.clone());
        self.put(asked, id, from)
    }

    /// A partition may hold something for the subscriptions, or for a replay: it is read on from where it was read to, if it is new to them from
    /// where it `begins`.
    pub(super) fn read_also(&mut self, replay: Option<&String>, partition: u32, begins: impl FnOnce(&Self) -> i64) {
        let positions = match replay {
            None => Some(&self.positions),
            Some(filter) => self.replays.get(filter),
        };
        if positions.is_none_or(|positions| positions.contains_key(&partition)) {
            return;
        }
        let begin = begins(self);
        let positions = match replay {
            None => Some(&mut self.positions),
            Some(filter) => self.replays.get_mut(filter),
        };
        // Stored soon: after a restart nobody knows any more why it begins there.
        self.is_dirty |= positions.is_some_and(|positions| positions.insert(partition, begin).is_none());
    }

    fn changed(&mut self) {
        self.is_dirty = true;
        self.revision += 1;
    }

    /// Makes or replaces a replay, which begins at these positions. Whether it is new.
    pub(super) fn replay(&mut self, asked: &Asked<'_>, id: Option<u32>, begins: Positions) -> bool {
        self.replays.insert(asked.filter.to_owned(), begins);
        self.put(asked, id, Positions::new())
    }

    /// Makes or replaces a part in a share, which has its position itself. Whether it is new.
    pub(super) fn share(&mut self, asked: &Asked<'_>, id: Option<u32>) -> bool {
        self.put(asked, id, Positions::new())
    }

    fn put(&mut self, asked: &Asked<'_>, id: Option<u32>, from: Positions) -> bool {
        self.changed();
        let subscription = Subscription {
            qos: asked.qos as u8,
            no_local: asked.no_local,
            retain_as_published: asked.retain_as_published,
            id,
            from,
        };
        self.subscriptions.insert(asked.filter.to_owned(), subscription).is_none()
    }

    /// Ends a subscription; whether there was one.
    pub(super) fn unsubscribe(&mut self, filter: &str) -> bool {
        self.replays.remove(filter);
        let existed = self.subscriptions.remove(filter).is_some();
        if !self.subscriptions.keys().any(|filter| matches!(Filter::parse(filter), Ok(Filter::Plain(_)))) {
            self.positions.clear();
        }
        self.changed();
        existed
    }

    /// The client is back: what came meanwhile is for subscriptions of QoS 1 and 2 only. `ends`: the partitions that may hold
    /// something for a pattern, and where each ends now.
    pub(super) fn resume(&mut self, ends: impl Fn(&str) -> Positions) {
        for (filter, subscription) in self.subscriptions.iter_mut().filter(|(_, subscription)| subscription.qos == 0) {
            if let Ok(Filter::Plain(pattern)) = Filter::parse(filter) {
                subscription.from = ends(pattern);
            }
        }
    }

    /// The shares that it takes part in, by their whole filters.
    pub(super) fn shares(&self) -> impl Iterator<Item = &str> {
        self.subscriptions
            .keys()
            .map(String::as_str)
            .filter(|filter| matches!(Filter::parse(filter), Ok(Filter::Shared { .. })))
    }

    /// How a message of a share is delivered; `None` if this session takes no part in it.
    pub(super) fn matches_share(&self, filter: &str, message: &Message) -> Option<Match> {
        let mut matched = Match::default();
        matched.take(self.subscriptions.get(filter)?, message);
        Some(matched)
    }

    /// Takes out what shares have given to it with QoS 1, for others to get.
    pub(super) fn give_back(&mut self) -> Vec<Flight> {
        let ids: Vec<PacketId> =
            self.outbound.flights().filter(|(_, flight)| flight.comes_back()).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.outbound.forget(id)).collect()
    }

    /// Patterns of the plain filters.
    pub(super) fn patterns(&self) -> impl Iterator<Item = &str> {
        self.subscriptions.keys().filter_map(|filter| match Filter::parse(filter) {
            Ok(Filter::Plain(pattern)) => Some(pattern),
            _ => None,
        })
    }

    /// Whether, and how, a message at this place is for the plain filters (`replay` is `None`), or for that replay.
    pub(super) fn matches(&self, replay: Option<&str>, at: (u32, i64), message: &Message) -> Option<Match> {
        let mut matched: Option<Match> = None;
        for (filter, subscription) in &self.subscriptions {
            let pattern = match (Filter::parse(filter), replay) {
                (Ok(Filter::Plain(pattern)), None) => pattern,
                (Ok(Filter::Replay { filter: pattern, .. }), Some(replay)) if replay == filter => pattern,
                _ => continue,
            };
            let early = subscription.from.get(&at.0).is_some_and(|from| at.1 < *from);
            let own = subscription.no_local && message.client.as_deref() == Some(&*self.client);
            if early || own || !topic::matches(pattern, &message.topic) {
                continue;
            }
            matched.get_or_insert_default().take(subscription, message);
        }
        matched
    }

    /// The next offset of a partition is this one.
    pub(super) fn advance(&mut self, replay: Option<&str>, partition: u32, offset: i64) {
        let positions = match replay {
            None => Some(&mut self.positions),
            Some(filter) => self.replays.get_mut(filter),
        };
        // A subscription that has ended meanwhile has no positions.
        let Some(position) = positions.and_then(|positions| positions.get_mut(&partition)) else { return };
        *position = offset.max(*position);
        self.is_dirty = true;
        if replay.is_none() {
            for subscription in self.subscriptions.values_mut() {
                if subscription.from.get(&partition).is_some_and(|from| *from <= offset) {
                    subscription.from.remove(&partition);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::RetainHandling;

    fn asked(filter: &str, qos: Qos) -> Asked<'_> {
        Asked { filter, qos, no_local: false, retain_as_published: false, retain: RetainHandling::Send }
    }

    fn message(topic: &str, qos: u8) -> Message {
        Message { topic: topic.into(), qos, client: Some("other".into()), ..Message::default() }
    }

    fn session() -> Session {
        Session::new(("me", Owner::default()), 60, 10, None)
    }

    #[test]
    fn a_message_comes_once_with_the_highest_qos_and_all_identifiers() {
        let mut session = session();
        assert!(session.subscribe(&asked("a/#", Qos::AtMostOnce), Some(2), &[(7, 100)].into()));
        assert!(session.subscribe(&asked("a/+", Qos::ExactlyOnce), Some(1), &[(7, 100)].into()));
        let matched = session.matches(None, (7, 100), &message("a/b", 1)).unwrap();
        assert_eq!(matched, Match { qos: Qos::AtLeastOnce, retain: false, ids: vec![1, 2] });
        assert_eq!(session.matches(None, (7, 100), &message("b", 1)), None);
        assert!(!session.subscribe(&asked("a/+", Qos::AtMostOnce), None, &[(7, 100)].into()), "replaced");
    }

    #[test]
    fn a_later_filter_gets_nothing_from_before_it() {
        let mut session = session();
        session.subscribe(&asked("a", Qos::AtLeastOnce), None, &[(7, 10)].into());
        // The reader is behind: offsets 10 to 19 are still to be read for the first filter.
        session.subscribe(&asked("b", Qos::AtLeastOnce), None, &[(7, 20)].into());
        assert!(session.matches(None, (7, 15), &message("a", 1)).is_some());
        assert!(session.matches(None, (7, 15), &message("b", 1)).is_none());
        assert!(session.matches(None, (7, 20), &message("b", 1)).is_some());
        session.advance(None, 7, 20);
        assert!(session.subscriptions.values().all(|subscription| subscription.from.is_empty()));
    }

    #[test]
    fn nobody_hears_himself_who_does_not_want_to() {
        let mut session = session();
        session.subscribe(&Asked { no_local: true, ..asked("a", Qos::AtLeastOnce) }, None, &[(7, 0)].into());
        let own = Message { client: Some("me".into()), ..message("a", 1) };
        assert!(session.matches(None, (7, 0), &own).is_none());
        assert!(session.matches(None, (7, 0), &message("a", 1)).is_some());
    }

    #[test]
    fn offline_only_qos_1_and_2_gather() {
        let mut session = session();
        session.subscribe(&asked("a", Qos::AtMostOnce), None, &[(7, 0)].into());
        session.subscribe(&asked("+", Qos::AtLeastOnce), None, &[(7, 0)].into());
        session.resume(|_| [(7, 5)].into());
        assert_eq!(session.matches(None, (7, 4), &message("a", 2)).unwrap().qos, Qos::AtLeastOnce);
        session.unsubscribe("+");
        assert!(session.matches(None, (7, 4), &message("a", 2)).is_none());
        assert!(session.matches(None, (7, 5), &message("a", 2)).is_some());
    }

    #[test]
    fn replays_are_read_for_themselves() {
        let mut session = session();
        session.subscribe(&asked("a", Qos::AtMostOnce), None, &[(7, 50)].into());
        let filter = "$replay/earliest/a";
        assert!(session.replay(&asked(filter, Qos::AtLeastOnce), Some(9), [(7, 0)].into()));
        assert_eq!(session.matches(Some(filter), (7, 3), &message("a", 1)).unwrap().ids, [9]);
        session.advance(Some(filter), 7, 4);
        assert_eq!((session.positions[&7], session.replays[filter][&7]), (50, 4));
        assert!(session.unsubscribe(filter));
        assert!(session.replays.is_empty() && !session.unsubscribe(filter));
    }

    #[test]
    fn a_session_reads_back() {
        let mut session = session();
        session.subscribe(&asked("a", Qos::ExactlyOnce), Some(3), &[(7, 50)].into());
        let origin = super::super::outbound::Origin::Record { partition: 7, offset: 50 };
        session.outbound.open(origin, Qos::ExactlyOnce).unwrap();
        let stored = session.to_stored();
        let value = stored.encode();
        assert_eq!(Stored::decode(&value), Some(stored.clone()));
        for cut in 0..value.len() {
            assert_eq!(Stored::decode(&value[..cut]), None);
        }
        let again = Session::new(("me", Owner::default()), 60, 10, Some(stored.clone()));
        assert_eq!((again.to_stored(), again.is_dirty), (stored.clone(), false));
        assert!(
            Session::new(("me", Owner::default()), 90, 10, Some(stored)).is_dirty,
            "it is to last longer than what is stored says"
        );
    }
}
