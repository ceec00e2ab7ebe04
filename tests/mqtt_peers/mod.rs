//! MQTT clients whose own state outlives every crash of the gateway: they know what was acknowledged to them, send the rest again, and
//! count what they get. Whether the gateway keeps its promises is then a matter of counting.
//!
//! Publishers number their messages, for each QoS by itself. Subscribers have kept sessions: two hear everything, two share it. What must
//! hold at the end, when everybody is done ([`Crew::check`]):
//! - QoS 2: each message comes to each subscriber, and to one of those that share, exactly once, and in order.
//! - QoS 1: each comes at least once.
//! - Who was told that his session is there finds it again.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};

use brooklet::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, RetainHandling,
    Split, Subscribe, Subscription, Subscriptions, put_subscription, split,
};
use fastrand::Rng;

/// Messages that a publisher has open.
const OPEN_MAX: usize = 6;

/// A connection's bytes.
pub trait Link {
    /// Sends; what can't be sent is lost with the connection.
    fn send(&mut self, bytes: &[u8]);

    /// Appends what has come. `false` once the other side has closed it.
    fn receive(&mut self, into: &mut Vec<u8>) -> bool;
}

/// A connection of a peer.
pub struct Line<L> {
    link: L,
    buffer: Vec<u8>,
    /// CONNACK has come.
    pub greeted: bool,
    /// PINGRESPs that have come.
    pub pings: u32,
}

/// What a peer is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Publisher,
    /// To all of it, or (`Shares`) to a part.
    Hears,
    Shares,
}

/// A publisher's message that isn't done.
#[derive(Clone, Copy, Debug)]
struct Open {
    id: u16,
    qos: Qos,
    number: u64,
    /// PUBREC has come.
    released: bool,
}

/// A client's own state.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub role: Role,
    protocol: Protocol,
    receive_maximum: u16,
    /// The gateway has said that the session is there.
    knows_session: bool,
    pub subscribed: bool,
    /// In the order of sending.
    open: Vec<Open>,
    /// The next number of QoS 1 and of QoS 2.
    next: [u64; 2],
    /// Ids of messages of QoS 2 that were taken, and whose PUBREL hasn't come.
    taken: BTreeSet<u16>,
    /// Numbers by publisher and QoS, as they came.
    got: BTreeMap<(String, u8), Vec<u64>>,
}

impl<L: Link> Line<L> {
    pub fn new(link: L) -> Self {
        Self { link, buffer: Vec::new(), greeted: false, pings: 0 }
    }

    fn send(&mut self, packet: &Packet<'_>, protocol: Protocol) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes, protocol).unwrap();
        self.link.send(&bytes);
    }
}

impl Peer {
    fn new(name: &str, role: Role, protocol: Protocol, receive_maximum: u16) -> Self {
        Self {
            name: name.to_owned(),
            role,
            protocol,
            receive_maximum,
            knows_session: false,
            subscribed: role == Role::Publisher,
            open: Vec::new(),
            next: [0; 2],
            taken: BTreeSet::new(),
            got: BTreeMap::new(),
        }
    }

    /// Says CONNECT on a new connection.
    pub fn greet<L: Link>(&self, line: &mut Line<L>) {
        let mut properties = PropertiesBuilder::default();
        properties.extend([Property::SessionExpiry(3_600), Property::ReceiveMaximum(self.receive_maximum)]);
        let level = if self.protocol == Protocol::V5 { 5 } else { 4 };
        let connect = Connect { protocol: self.protocol, level, client_id: &self.name, ..Connect::default() };
        let properties = if level == 5 { properties.as_properties() } else { Properties::default() };
        line.send(&Packet::Connect(Connect { properties, ..connect }), self.protocol);
    }

    /// Whether nothing of its own is open.
    pub fn is_done(&self) -> bool {
        self.open.is_empty() && self.subscribed
    }

    /// How many it has published with the QoS that it used more.
    pub fn published(&self) -> u64 {
        self.next.into_iter().max().unwrap_or(0)
    }

    /// Publishes one more, if it may.
    pub fn publish<L: Link>(&mut self, line: &mut Line<L>, rng: &mut Rng) {
        if !line.greeted || self.open.len() >= OPEN_MAX {
            return;
        }
        let qos = if rng.bool() { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
        // The lowest free one: ids are used again as soon as may be.
        let id = (1..).find(|id| self.open.iter().all(|open| open.id != *id)).unwrap();
        let next = &mut self.next[qos as usize - 1];
        self.open.push(Open { id, qos, number: *next, released: false });
        *next += 1;
        self.send_open(line, self.open.len() - 1, false);
    }

    fn send_open<L: Link>(&self, line: &mut Line<L>, at: usize, dup: bool) {
        let Open { id, qos, number, released } = self.open[at];
        let id = PacketId::new(id).unwrap();
        if released {
            return line.send(&Packet::PubRel(Ack::of(id)), self.protocol);
        }
        let topic = format!("t/{}/{}", self.name, qos as u8);
        let (topic, payload) = (&*topic, number.to_string());
        let packet_id = Some(id);
        let publish = Publish { dup, qos, topic, packet_id, payload: payload.as_bytes(), ..Publish::default() };
        line.send(&Packet::Publish(publish), self.protocol);
    }

    pub fn ping<L: Link>(&self, line: &mut Line<L>) {
        line.send(&Packet::PingReq, self.protocol);
    }

    /// Takes the next packet, if there is one. Whether there was; an error if the gateway breaks a promise. `Ok(None)`: the
    /// connection is gone.
    pub fn take<L: Link>(&mut self, line: &mut Line<L>) -> Result<Option<bool>, String> {
        let is_open = line.link.receive(&mut line.buffer);
        let buffer = std::mem::take(&mut line.buffer);
        match split(&buffer, 1 << 20).map_err(|error| error.to_string())? {
            Split::Packet { first, body, taken } => {
                let packet = Packet::decode(first, body, self.protocol).map_err(|error| error.to_string())?;
                let name = self.name.clone();
                self.handle(line, packet).map_err(|what| format!("{name}: {what}"))?;
                line.buffer = buffer[taken..].to_vec();
                Ok(Some(true))
            }
            Split::Need(_) => {
                line.buffer = buffer;
                Ok(is_open.then_some(false))
            }
        }
    }

    fn handle<L: Link>(&mut self, line: &mut Line<L>, packet: Packet<'_>) -> Result<(), String> {
        match packet {
            Packet::ConnAck(connack) => {
                if connack.reason.is_error() {
                    return Err(format!("not let in: {}", connack.reason));
                }
                self.greeted(line, connack.session_present)?;
            }
            Packet::SubAck(ack) if ack.reasons == [2] => self.subscribed = true,
            Packet::PingResp => line.pings += 1,
            Packet::PubAck(ack) => self.done(&ack, Qos::AtLeastOnce)?,
            Packet::PubRec(ack) => {
                if ack.reason.is_error() {
                    return Err(format!("PUBREC: {}", ack.reason));
                }
                if let Some(open) = self.open.iter_mut().find(|open| open.id == ack.packet_id.get()) {
                    open.released = true;
                }
                line.send(&Packet::PubRel(Ack::of(ack.packet_id)), self.protocol);
            }
            Packet::PubComp(ack) => self.done(&ack, Qos::ExactlyOnce)?,
            Packet::PubRel(ack) => {
                self.taken.remove(&ack.packet_id.get());
                line.send(&Packet::PubComp(Ack::of(ack.packet_id)), self.protocol);
            }
            Packet::Publish(publish) => self.got(line, &publish)?,
            Packet::Disconnect(_) => {}
            other => return Err(format!("unexpected {other:?}")),
        }
        Ok(())
    }

    fn greeted<L: Link>(&mut self, line: &mut Line<L>, present: bool) -> Result<(), String> {
        if self.knows_session && !present {
            return Err("its session is gone".into());
        }
        if !present {
            self.taken.clear();
        }
        (self.knows_session, line.greeted) = (true, true);
        for at in 0..self.open.len() {
            self.send_open(line, at, true);
        }
        if !self.subscribed {
            let filter = if self.role == Role::Shares { "$share/g/t/#" } else { "t/#" };
            let (qos, retain) = (Qos::ExactlyOnce, RetainHandling::Send);
            let mut filters = Vec::new();
            let one = Subscription { filter, qos, retain, no_local: false, retain_as_published: false };
            put_subscription(&mut filters, &one).unwrap();
            let packet_id = PacketId::new(1).unwrap();
            let (properties, filters) = (Properties::default(), Subscriptions::of(&filters));
            line.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters }), self.protocol);
        }
        Ok(())
    }

    /// A message of its own is done. That of a resend may come twice.
    fn done(&mut self, ack: &Ack<'_>, qos: Qos) -> Result<(), String> {
        let at = self.open.iter().position(|open| open.id == ack.packet_id.get() && open.qos == qos);
        let Some(at) = at else { return Ok(()) };
        // PUBCOMP with "not found" is what a PUBREL gets that comes again.
        if ack.reason.is_error() && qos == Qos::AtLeastOnce {
            return Err(format!("PUBACK: {}", ack.reason));
        }
        self.open.remove(at);
        Ok(())
    }

    fn got<L: Link>(&mut self, line: &mut Line<L>, publish: &Publish<'_>) -> Result<(), String> {
        let what = || format!("a message it can't have sent: {publish:?}");
        let publisher = publish.topic.split('/').nth(1).ok_or_else(what)?.to_owned();
        let number = std::str::from_utf8(publish.payload).ok().and_then(|text| text.parse().ok()).ok_or_else(what)?;
        let packet_id = publish.packet_id.ok_or_else(what)?;
        let is_new = publish.qos == Qos::AtLeastOnce || self.taken.insert(packet_id.get());
        if is_new {
            self.got.entry((publisher, publish.qos as u8)).or_default().push(number);
        }
        let ack = Ack::of(packet_id);
        let exactly_once = publish.qos == Qos::ExactlyOnce;
        line.send(&if exactly_once { Packet::PubRec(ack) } else { Packet::PubAck(ack) }, self.protocol);
        Ok(())
    }

    fn got_of(&self, publisher: &str, qos: usize) -> &[u64] {
        self.got.get(&(publisher.to_owned(), qos as u8)).map_or(&[], Vec::as_slice)
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Crew {
    pub peers: Vec<Peer>,
}

impl Crew {
    pub fn new() -> Self {
        let peers = [
            ("p3", Role::Publisher, Protocol::V3, 100),
            ("p5", Role::Publisher, Protocol::V5, 100),
            ("h3", Role::Hears, Protocol::V3, 100),
            ("h5", Role::Hears, Protocol::V5, 3),
            ("s3", Role::Shares, Protocol::V3, 100),
            ("s5", Role::Shares, Protocol::V5, 2),
        ];
        Self {
            peers: peers.into_iter().map(|(name, role, version, most)| Peer::new(name, role, version, most)).collect(),
        }
    }

    /// Whether all subscriptions stand: what is published from now on is heard.
    pub fn all_subscribed(&self) -> bool {
        self.peers.iter().all(|peer| peer.subscribed)
    }

    /// What is published, as publisher, QoS, and how many.
    pub fn published(&self) -> Vec<(String, usize, u64)> {
        let publishers = self.peers.iter().filter(|peer| peer.role == Role::Publisher);
        publishers.flat_map(|peer| (1..=2).map(|qos| (peer.name.clone(), qos, peer.next[qos - 1]))).collect()
    }

    /// Whether everything was done, and heard at least once.
    pub fn is_done(&self) -> bool {
        self.peers.iter().all(Peer::is_done) && self.missing().is_none()
    }

    /// How many messages came, in all.
    pub fn heard(&self) -> usize {
        self.peers.iter().flat_map(|peer| peer.got.values()).map(Vec::len).sum()
    }

    /// What wasn't heard.
    pub fn missing(&self) -> Option<String> {
        for (publisher, qos, count) in self.published() {
            let mut groups: Vec<(String, BTreeSet<u64>)> = Vec::new();
            let mut shared = BTreeSet::new();
            for peer in &self.peers {
                let got = peer.got_of(&publisher, qos).iter().copied();
                match peer.role {
                    Role::Publisher => {}
                    Role::Hears => groups.push((peer.name.clone(), got.collect())),
                    Role::Shares => shared.extend(got),
                }
            }
            groups.push(("the share".to_owned(), shared));
            for (name, got) in groups {
                if let Some(number) = (0..count).find(|number| !got.contains(number)) {
                    return Some(format!("{name} did not get {number} of {publisher}, QoS {qos}; of {count}"));
                }
            }
        }
        None
    }

    /// Holds what was heard against what was published.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if let Some(what) = self.missing() {
            return Err(what);
        }
        for (publisher, _, count) in self.published().into_iter().filter(|(_, qos, _)| *qos == 2) {
            let mut shared: Vec<u64> = Vec::new();
            for peer in &self.peers {
                let got = peer.got_of(&publisher, 2);
                match peer.role {
                    Role::Publisher => {}
                    Role::Hears if !got.iter().copied().eq(0..count) => {
                        return Err(format!("{} got of {publisher} with QoS 2: {got:?}", peer.name));
                    }
                    Role::Hears => {}
                    Role::Shares => shared.extend(got),
                }
            }
            shared.sort_unstable();
            if !shared.iter().copied().eq(0..count) {
                return Err(format!("the share got of {publisher} with QoS 2: {shared:?}"));
            }
        }
        Ok(())
    }
}
