//! Packets by chance, of both versions, whole and spoilt, in any order, from many clients of few names: the gateway goes on, holds no more
//! memory, and serves an honest client all the while. `BROOKLET_MQTT_SEED` sets another seed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use brooklet::mqtt::{
    Ack, Connect, Filters, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, Reason,
    ReasonCode, RetainHandling, Subscribe, Subscription, Subscriptions, Unsubscribe, Will, put_subscription,
};
use fastrand::Rng;

use super::client::Server;

/// Connections, and packets on each.
const CONNECTIONS: u32 = 250;
const PACKETS: u32 = 25;
/// What the process may hold more than after the first tenth, bytes; other tests run in it meanwhile.
const GROWTH_MAX: u64 = 48 << 20;

#[test]
fn packets_by_chance_harm_nobody() {
    let seed = std::env::var("BROOKLET_MQTT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(1);
    let rng = &mut Rng::with_seed(seed);
    let server = Server::start_with(|config| {
        config.listen.mqtt.max_packet_bytes = 20_000;
        config.listen.mqtt.max_sessions = 12;
        config.listen.mqtt.max_retained = 20;
    });
    let mut honest = server.client("honest");
    honest.subscribe("honest/#", Qos::ExactlyOnce);
    let mut publisher = server.client("publisher");
    let mut early = 0;
    for number in 0..CONNECTIONS {
        one_connection(&server, rng);
        if number % 10 == 0 {
            publisher.publish_acked("honest/t", &number.to_string());
            assert_eq!(honest.payloads(1), [number.to_string()]);
        }
        if number == CONNECTIONS / 10 {
            early = resident();
        }
    }
    let grown = resident().saturating_sub(early);
    assert!(grown < GROWTH_MAX, "{grown} bytes more than after the first connections");
    publisher.publish_acked("honest/t", "to the end");
    assert_eq!(honest.payloads(1), ["to the end"]);
}

fn one_connection(server: &Server, rng: &mut Rng) {
    let protocol = if rng.bool() { Protocol::V5 } else { Protocol::V3 };
    let mut bytes = if rng.u8(0..20) == 0 { Vec::new() } else { connect(rng, protocol) };
    for _ in 0..rng.u32(0..PACKETS) {
        packet(rng, protocol, &mut bytes);
    }
    // Most are left as they are, so that sequences get far.
    for _ in 0..rng.u8(0..8).saturating_sub(5) {
        let at = rng.usize(0..bytes.len().max(1));
        match rng.u8(0..4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), rng.u8(..)),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.u8(0..8);
                }
            }
        }
    }
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(rng.u64(1..20)))).unwrap();
    let mut answers = [0; 4_096];
    for piece in bytes.chunks(rng.usize(1..2_000)) {
        // It may have been closed: that is an answer too.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    while matches!(stream.read(&mut answers), Ok(1..)) {}
}

fn connect(rng: &mut Rng, protocol: Protocol) -> Vec<u8> {
    let ids = ["a", "b", "c", "d", ""];
    let mut properties = PropertiesBuilder::default();
    properties.extend([
        Property::SessionExpiry(*rng.choice(&[0, 1, 600, u32::MAX]).unwrap()),
        Property::ReceiveMaximum(rng.u16(1..30)),
        Property::TopicAliasMaximum(rng.u16(0..5)),
        Property::MaximumPacketSize(rng.u32(1..2_000)),
    ]);
    let properties = if protocol == Protocol::V5 { properties.as_properties() } else { Properties::default() };
    let will = Will {
        topic: topic(rng),
        payload: b"will",
        qos: qos(rng),
        retain: rng.bool(),
        properties: Properties::default(),
    };
    let connect = Connect {
        protocol,
        level: if protocol == Protocol::V5 { 5 } else { 4 },
        clean_start: rng.bool(),
        client_id: rng.choice(ids).unwrap(),
        keep_alive: rng.u16(0..3),
        properties,
        will: Some(will).filter(|_| rng.bool()),
        ..Connect::default()
    };
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(&mut bytes, protocol).unwrap();
    bytes
}

fn topic(rng: &mut Rng) -> &'static str {
    rng.choice(["t", "t/a", "t/b", "u/ü", "/", "$SYS/x"]).unwrap()
}

fn qos(rng: &mut Rng) -> Qos {
    rng.choice([Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]).unwrap()
}

/// Appends a packet, most times one that a client sends.
fn packet(rng: &mut Rng, protocol: Protocol, into: &mut Vec<u8>) {
    let packet_id = PacketId::new(rng.u16(1..8)).unwrap();
    let ack = Ack::of(packet_id);
    let filter =
        rng.choice(["t/#", "+/a", "#", "$share/g/t/#", "$share/h/#", "$replay/earliest/#", "bad#", "t"]).unwrap();
    let mut filters = Vec::new();
    let properties = Properties::default();
    let payload = vec![b'x'; *rng.choice(&[0, 1, 100, 3_000]).unwrap()];
    let packet = match rng.u8(0..16) {
        0..5 => {
            let (qos, topic) = (qos(rng), topic(rng));
            let packet_id = Some(packet_id).filter(|_| qos != Qos::AtMostOnce);
            let (dup, retain) = (rng.bool() && packet_id.is_some(), rng.bool());
            Packet::Publish(Publish { dup, qos, retain, topic, packet_id, properties, payload: &payload })
        }
        5 | 6 => Packet::PubRel(ack),
        7 => Packet::PubAck(ack),
        8 => Packet::PubRec(ack),
        9 => Packet::PubComp(ack),
        10 | 11 => {
            let retain = if protocol == Protocol::V5 { RetainHandling::SendIfNew } else { RetainHandling::Send };
            let one = Subscription { filter, qos: qos(rng), no_local: false, retain_as_published: false, retain };
            put_subscription(&mut filters, &one).unwrap();
            Packet::Subscribe(Subscribe { packet_id, properties, filters: Subscriptions::of(&filters) })
        }
        12 => {
            filters.extend_from_slice(&(filter.len() as u16).to_be_bytes());
            filters.extend_from_slice(filter.as_bytes());
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: Filters::of(&filters) })
        }
        13 | 14 => Packet::PingReq,
        _ if rng.u8(0..3) > 0 => Packet::PingReq,
        _ => Packet::Disconnect(Reason::of(if rng.bool() {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::DISCONNECT_WITH_WILL
        })),
    };
    // What 3.1.1 has no form for is left out.
    let _ = packet.encode(into, protocol);
}

/// What this process holds in memory, bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}
