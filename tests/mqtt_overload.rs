//! The real binary under publishers that never pause and subscribers that take nothing: nothing is dropped, others are served, memory stays.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use brooklet::mqtt::{
    Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, RetainHandling, Split,
    Subscribe, Subscription, Subscriptions, put_subscription, split,
};
use common::gateway::Gateway;

const PUBLISHERS: usize = 3;
const MESSAGES: u16 = 20_000;
const PAYLOAD_BYTES: usize = 600;
/// What the process may hold more than before, at its peak: a fraction of what is published.
const GROWTH_MAX: u64 = 30 << 20;

struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// One by 5.0 that takes `open_max` messages at a time.
    fn connect(to: SocketAddr, id: &str, open_max: u16) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self { stream, buffer: Vec::new() };
        let mut properties = PropertiesBuilder::default();
        properties.push(Property::ReceiveMaximum(open_max));
        let properties = properties.as_properties();
        client.send(&Packet::Connect(Connect {
            protocol: Protocol::V5,
            level: 5,
            client_id: id,
            properties,
            ..Connect::default()
        }));
        client.next(|packet| assert!(matches!(packet, Packet::ConnAck(_)), "{packet:?}"));
        client
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes, Protocol::V5).unwrap();
        self.stream.write_all(&bytes).unwrap();
    }

    fn next<T>(&mut self, take: impl FnOnce(Packet<'_>) -> T) -> T {
        loop {
            if let Split::Packet { first, body, taken } = split(&self.buffer, 1 << 20).unwrap() {
                let value = take(Packet::decode(first, body, Protocol::V5).unwrap());
                self.buffer.drain(..taken);
                return value;
            }
            let mut bytes = [0; 4_096];
            let read = self.stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the connection was closed");
            self.buffer.extend_from_slice(&bytes[..read]);
        }
    }

    fn subscribe(&mut self, filter: &str, qos: Qos) {
        let mut bytes = Vec::new();
        let one =
            Subscription { filter, qos, no_local: false, retain_as_published: false, retain: RetainHandling::Send };
        put_subscription(&mut bytes, &one).unwrap();
        let packet_id = PacketId::new(1).unwrap();
        let filters = Subscriptions::of(&bytes);
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties: Properties::default(), filters }));
        self.next(|packet| assert!(matches!(packet, Packet::SubAck(_)), "{packet:?}"));
    }
}

fn publish(topic: &str, payload: &[u8], id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let publish = Publish { topic, payload, qos: Qos::AtLeastOnce, packet_id: PacketId::new(id), ..Publish::default() };
    Packet::Publish(publish).encode(&mut bytes, Protocol::V3).unwrap();
    bytes
}

/// Publishes by 3.1.1, which has no receive maximum, without waiting for anything; returns when everything is acknowledged.
fn flood(to: SocketAddr, name: &str) {
    let mut reader = TcpStream::connect(to).unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut writer = reader.try_clone().unwrap();
    let mut connect = Vec::new();
    let packet = Packet::Connect(Connect { level: 4, client_id: name, clean_start: true, ..Connect::default() });
    packet.encode(&mut connect, Protocol::V3).unwrap();
    writer.write_all(&connect).unwrap();
    let topic = format!("flood/{name}");
    thread::scope(|scope| {
        scope.spawn(move || {
            for id in 1..=MESSAGES {
                let mut payload = id.to_string().into_bytes();
                payload.resize(PAYLOAD_BYTES, b' ');
                writer.write_all(&publish(&topic, &payload, id)).unwrap();
            }
        });
        // CONNACK and the PUBACKs have four bytes each.
        let mut answers = vec![0; 4 + 4 * usize::from(MESSAGES)];
        reader.read_exact(&mut answers).unwrap();
        let ids = answers[4..].chunks(4).map(|ack| u16::from_be_bytes([ack[2], ack[3]]));
        assert!(ids.eq(1..=MESSAGES), "each once, in order");
    });
}

/// The most that the process has held, bytes.
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

#[test]
fn who_publishes_too_fast_is_slowed_and_who_takes_nothing_holds_nobody_up() {
    let gateway = Gateway::start("store.max_bytes = \"256MiB\"\n");
    let mut stuck = Client::connect(gateway.mqtt, "stuck", 5);
    stuck.subscribe("flood/#", Qos::AtLeastOnce);
    // It never reads again.
    let mut deaf = Client::connect(gateway.mqtt, "deaf", 100);
    deaf.subscribe("flood/#", Qos::AtMostOnce);
    let mut honest = Client::connect(gateway.mqtt, "honest", 100);
    honest.subscribe("other", Qos::AtMostOnce);
    let mut publisher = Client::connect(gateway.mqtt, "publisher", 100);
    let (before, to) = (peak(&gateway), gateway.mqtt);
    thread::scope(|scope| {
        let floods: Vec<_> =
            (0..PUBLISHERS).map(|number| scope.spawn(move || flood(to, &format!("p{number}")))).collect();
        let mut rounds = 0_u32;
        while rounds < 20 || floods.iter().any(|flood| !flood.is_finished()) {
            rounds += 1;
            let text = rounds.to_string();
            let packet_id = PacketId::new(7);
            let (topic, payload, qos) = ("other", text.as_bytes(), Qos::AtLeastOnce);
            publisher.send(&Packet::Publish(Publish { topic, payload, qos, packet_id, ..Publish::default() }));
            publisher.next(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}"));
            honest.next(|packet| match packet {
                Packet::Publish(publish) => assert_eq!(publish.payload, text.as_bytes()),
                other => panic!("{other:?}"),
            });
        }
    });
    let grown = peak(&gateway).saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{grown} bytes more than before");
    // All of it is there, in order, for whoever asks.
    let mut late = Client::connect(gateway.mqtt, "late", 100);
    late.subscribe("$replay/earliest/flood/#", Qos::AtMostOnce);
    let mut next = [1; PUBLISHERS];
    while next.iter().any(|next| *next <= MESSAGES) {
        late.next(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let number: usize = publish.topic.strip_prefix("flood/p").unwrap().parse().unwrap();
            let text = std::str::from_utf8(publish.payload).unwrap();
            assert_eq!(text.trim_end(), next[number].to_string(), "of {}", publish.topic);
            next[number] += 1;
        });
    }
    // Who acknowledges nothing has as many as it takes, and no more.
    stuck.send(&Packet::PingReq);
    let mut had = 0;
    while stuck.next(|packet| packet != Packet::PingResp) {
        had += 1;
    }
    assert_eq!(had, 5);
}
