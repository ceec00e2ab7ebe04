//! A gateway in this process, and a client that sends and expects packet by packet.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use brooklet::config::{Config, DiskBudget};
use brooklet::gateway::Gateway;
use brooklet::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, ReasonCode,
    RetainHandling, Split, Subscribe, Subscription, Subscriptions, put_subscription, split,
};
use tempfile::TempDir;

/// A gateway in a directory of its own, at an address that stays over restarts.
pub(crate) struct Server {
    gateway: Option<Gateway>,
    pub(crate) config: Config,
    _dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        config.store.max_bytes = DiskBudget::Bytes(64 << 20);
        config.listen.native.enabled = false;
        config.listen.kafka.enabled = false;
        config.listen.mqtt.addr = "127.0.0.1:0".parse().unwrap();
        change(&mut config);
        let gateway = Gateway::start(&config).unwrap();
        config.listen.mqtt.addr = gateway.mqtt_addr().unwrap();
        Self { gateway: Some(gateway), config, _dir: dir }
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.config.listen.mqtt.addr
    }

    pub(crate) fn restart(&mut self) {
        self.restart_after(|_| {});
    }

    /// A restart, and what happens to the data directory in between.
    pub(crate) fn restart_after(&mut self, between: impl FnOnce(&Path)) {
        self.gateway.take().unwrap().stop();
        between(&self.config.data_dir);
        self.gateway = Some(Gateway::start(&self.config).unwrap());
    }

    /// A client that has said CONNECT, and whether it has a session here.
    pub(crate) fn connect(&self, connect: Connect<'_>) -> (Client, bool) {
        self.try_connect(connect).unwrap_or_else(|reason| panic!("{reason}"))
    }

    /// The same, or why it is refused.
    pub(crate) fn try_connect(&self, connect: Connect<'_>) -> Result<(Client, bool), ReasonCode> {
        let mut client = Client::open(self.addr(), connect.protocol);
        client.send(&Packet::Connect(connect));
        let present = client.next(|packet| match packet {
            Packet::ConnAck(connack) if connack.reason.is_error() => Err(connack.reason),
            Packet::ConnAck(connack) => Ok(connack.session_present),
            other => panic!("{other:?} in place of CONNACK"),
        })?;
        Ok((client, present))
    }

    /// A client without a session, by 3.1.1.
    pub(crate) fn client(&self, id: &str) -> Client {
        self.connect(Connect { level: 4, client_id: id, clean_start: true, ..Connect::default() }).0
    }

    /// A client whose session is kept, by 3.1.1; whether it had one.
    pub(crate) fn kept(&self, id: &str) -> (Client, bool) {
        self.connect(Connect { level: 4, client_id: id, ..Connect::default() })
    }

    /// A client by 5.0, with these properties.
    pub(crate) fn v5(&self, id: &str, properties: &[Property<'_>]) -> (Client, bool) {
        let mut builder = PropertiesBuilder::default();
        builder.extend(properties.iter().copied());
        self.connect(Connect {
            protocol: Protocol::V5,
            level: 5,
            client_id: id,
            properties: builder.as_properties(),
            ..Connect::default()
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.stop();
        }
    }
}

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) id: Option<PacketId>,
}

impl Got {
    fn of(publish: &Publish<'_>) -> Self {
        Self {
            topic: publish.topic.to_owned(),
            payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            id: publish.packet_id,
        }
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    protocol: Protocol,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn open(addr: SocketAddr, protocol: Protocol) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self { stream, protocol, buffer: Vec::new() }
    }

    /// The connection, for a thread that writes while this one reads.
    pub(crate) fn writer(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes, self.protocol).unwrap();
        self.send_raw(&bytes);
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Hands the next packet to `take`.
    pub(crate) fn next<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> T {
        self.try_next(take).expect("the connection was closed")
    }

    /// The same; `None` if the connection was closed.
    pub(crate) fn try_next<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> Option<T> {
        loop {
            if let Split::Packet { first, body, taken } = split(&self.buffer, 1 << 20).unwrap() {
                let value = take(Packet::decode(first, body, self.protocol).unwrap());
                self.buffer.drain(..taken);
                return Some(value);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Whether the connection is closed without another packet.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.try_next(|packet| panic!("{packet:?}")).is_none()
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_quiet(&mut self) -> bool {
        assert!(self.buffer.is_empty(), "{:?}", self.buffer);
        std::thread::sleep(Duration::from_millis(100));
        self.send(&Packet::PingReq);
        self.next(|packet| packet == Packet::PingResp)
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: Qos) -> Vec<u8> {
        let one =
            Subscription { filter, qos, no_local: false, retain_as_published: false, retain: RetainHandling::Send };
        self.subscribe_to(&[one], Properties::default())
    }

    pub(crate) fn send_subscribe(&mut self, filters: &[Subscription<'_>], properties: Properties<'_>) {
        let mut bytes = Vec::new();
        for one in filters {
            put_subscription(&mut bytes, one).unwrap();
        }
        let packet_id = PacketId::new(9).unwrap();
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters: Subscriptions::of(&bytes) }));
    }

    pub(crate) fn subscribe_to(&mut self, filters: &[Subscription<'_>], properties: Properties<'_>) -> Vec<u8> {
        self.send_subscribe(filters, properties);
        self.next(|packet| match packet {
            Packet::SubAck(ack) => ack.reasons.to_vec(),
            other => panic!("{other:?} in place of SUBACK"),
        })
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &str, qos: Qos, id: u16) {
        self.publish_with(Publish { topic, payload: payload.as_bytes(), qos, ..Publish::default() }, id);
    }

    pub(crate) fn publish_with(&mut self, publish: Publish<'_>, id: u16) {
        let packet_id = PacketId::new(id).filter(|_| publish.qos != Qos::AtMostOnce);
        self.send(&Packet::Publish(Publish { packet_id, ..publish }));
    }

    pub(crate) fn expect(&mut self, expected: Packet<'_>) {
        self.next(|packet| assert_eq!(packet, expected));
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub(crate) fn publish_acked(&mut self, topic: &str, payload: &str) {
        self.publish(topic, payload, Qos::AtLeastOnce, 77);
        self.expect(Packet::PubAck(Ack::of(PacketId::new(77).unwrap())));
    }

    /// The next message; it isn't acknowledged.
    pub(crate) fn message(&mut self) -> Got {
        self.next(|packet| match packet {
            Packet::Publish(publish) => Got::of(&publish),
            other => panic!("{other:?} in place of a message"),
        })
    }

    /// What comes within a while; it isn't acknowledged.
    pub(crate) fn messages_until_quiet(&mut self) -> Vec<Got> {
        std::thread::sleep(Duration::from_millis(100));
        self.send(&Packet::PingReq);
        let mut all = Vec::new();
        let mut is_quiet = false;
        while !is_quiet {
            self.next(|packet| match packet {
                Packet::Publish(publish) => all.push(Got::of(&publish)),
                Packet::PingResp => is_quiet = true,
                other => panic!("{other:?} in place of a message"),
            });
        }
        all
    }

    /// The next message, acknowledged to the end.
    pub(crate) fn take(&mut self) -> (String, String) {
        let got = self.message();
        match (got.qos, got.id) {
            (Qos::AtLeastOnce, Some(id)) => self.send(&Packet::PubAck(Ack::of(id))),
            (Qos::ExactlyOnce, Some(id)) => {
                self.send(&Packet::PubRec(Ack::of(id)));
                self.expect(Packet::PubRel(Ack::of(id)));
                self.send(&Packet::PubComp(Ack::of(id)));
            }
            _ => {}
        }
        (got.topic, got.payload)
    }

    pub(crate) fn payloads(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.take().1).collect()
    }

    /// Cuts the connection.
    pub(crate) fn cut(self) {
        drop(self.stream);
    }
}
