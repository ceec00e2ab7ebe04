//! MQTT 3.1.1 and 5.0: packets of both sides, properties, names and filters.

use brooklet::mqtt::wire::{Reader, put_bytes};
use brooklet::mqtt::{
    Ack, ConnAck, Connect, FilterAck, Filters, First, Packet, PacketId, Place, Properties, PropertiesBuilder, Property,
    Protocol, Publish, Qos, Reason, ReasonCode, RetainHandling, Split, Subscribe, Subscription, Subscriptions,
    Unsubscribe, Will, put_subscription, split, topic,
};
use fastrand::Rng;

use crate::allocations::peak_of;
use crate::harness::Target;
use crate::mutate::{bytes, mutate, number, text};

pub(crate) fn targets() -> [Target; 2] {
    let packets = Target {
        name: "mqtt-packet",
        quick: 4_000,
        memory: |bytes| 8_192 + 16 * bytes,
        corpus: crate::corpus("mqtt-packet"),
        make: Box::new(|rng| {
            let (input, other) = (packets(rng), packet(rng).1);
            mutate(rng, input, &other, 5)
        }),
        run: Box::new(run_packets),
    };
    let topics = Target {
        name: "mqtt-topic",
        quick: 2_000,
        memory: |bytes| 8_192 + 16 * bytes,
        corpus: crate::corpus("mqtt-topic"),
        make: Box::new(|rng| {
            let mut pieces = [text(rng, 400), text(rng, 400)].map(|text| text.replace('t', "a/b").into_bytes());
            pieces[0].push(0);
            pieces.concat()
        }),
        run: Box::new(run_topic),
    };
    [packets, topics]
}

fn properties(rng: &mut Rng, place: Place) -> PropertiesBuilder {
    let mut built = PropertiesBuilder::default();
    let (one, other, blob) = (text(rng, 60), text(rng, 60), bytes(rng, 40));
    let n = number(rng) as u32;
    let all = [
        Property::PayloadFormat(rng.bool()),
        Property::MessageExpiry(n),
        Property::ContentType(&one),
        Property::ResponseTopic(&one),
        Property::CorrelationData(&blob),
        Property::SubscriptionId(n % 0x0fff_ffff),
        Property::SessionExpiry(n),
        Property::AssignedClientId(&one),
        Property::ServerKeepAlive(n as u16),
        Property::AuthMethod(&one),
        Property::AuthData(&blob),
        Property::RequestProblemInfo(rng.bool()),
        Property::WillDelay(n),
        Property::ReasonString(&one),
        Property::ReceiveMaximum(n as u16),
        Property::TopicAliasMaximum(n as u16),
        Property::TopicAlias(n as u16 % 20),
        Property::MaximumQos(n as u8 % 2),
        Property::User((&one, &other)),
        Property::User((&other, &one)),
        Property::MaximumPacketSize(n),
        Property::SharedAvailable(rng.bool()),
    ];
    for _ in 0..rng.usize(..6) {
        let property = *rng.choice(&all).unwrap();
        let mut tried = PropertiesBuilder::default();
        tried.push(property);
        // What is out of place comes now and then, and so does what is there twice.
        let mut alone = vec![tried.as_properties().iter().count() as u8];
        alone.clear();
        let fits = fits(&tried, place);
        if fits || rng.u8(..12) == 0 {
            built.push(property);
        }
    }
    built
}

/// Whether properties may stand in a packet, as the decoder sees it.
fn fits(built: &PropertiesBuilder, place: Place) -> bool {
    let mut bytes = Vec::new();
    let packet = Packet::Disconnect(Reason { reason: ReasonCode::QUOTA_EXCEEDED, properties: built.as_properties() });
    packet.encode(&mut bytes, Protocol::V5).unwrap();
    let Ok(Split::Packet { body, .. }) = split(&bytes, usize::MAX) else { panic!("not a packet") };
    // Behind the reason.
    Properties::read(&mut Reader::new(&body[1..]), place).is_ok()
}

/// A packet, and in which version.
pub(crate) fn packet(rng: &mut Rng) -> (Protocol, Vec<u8>) {
    let protocol = if rng.bool() { Protocol::V5 } else { Protocol::V3 };
    let (one, other, blob) = (text(rng, 200), text(rng, 200), bytes(rng, 200));
    let id = PacketId::new(rng.u16(1..)).unwrap();
    let qos = *rng.choice(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]).unwrap();
    let kind = rng.u8(..16);
    let place = match kind {
        0 | 1 => Place::Connect,
        2 => Place::ConnAck,
        3..7 => Place::Publish,
        9 | 10 => Place::Subscribe,
        11 => Place::Unsubscribe,
        14 => Place::Disconnect,
        15 => Place::Auth,
        _ => Place::Ack,
    };
    let (own, wills) = (properties(rng, place), properties(rng, Place::Will));
    let (properties, reason) = (own.as_properties(), ReasonCode(rng.u8(..)));
    let ack = Ack { packet_id: id, reason, properties };
    let mut filters = Vec::new();
    for _ in 0..rng.usize(1..4) {
        let subscription = Subscription {
            filter: &other,
            qos,
            no_local: rng.bool(),
            retain_as_published: rng.bool(),
            retain: RetainHandling::SendIfNew,
        };
        put_subscription(&mut filters, &subscription).unwrap();
    }
    let name = if one.is_empty() { "t" } else { &one };
    let packet = match kind {
        0 | 1 => Packet::Connect(Connect {
            protocol,
            level: if protocol == Protocol::V5 { 5 } else { 4 },
            client_id: &one,
            clean_start: rng.bool(),
            keep_alive: rng.u16(..),
            will: rng.bool().then_some(Will {
                topic: name,
                payload: &blob,
                qos,
                retain: rng.bool(),
                properties: wills.as_properties(),
            }),
            user: rng.bool().then_some(&other[..]),
            password: rng.bool().then_some(&blob[..]),
            properties,
        }),
        2 => Packet::ConnAck(ConnAck { session_present: rng.bool(), reason, properties }),
        3..7 => Packet::Publish(Publish {
            dup: qos != Qos::AtMostOnce && rng.bool(),
            qos,
            retain: rng.bool(),
            topic: name,
            packet_id: (qos != Qos::AtMostOnce).then_some(id),
            properties,
            payload: &blob,
        }),
        7 => Packet::PubAck(ack),
        8 => *rng.choice(&[Packet::PubRec(ack), Packet::PubRel(ack), Packet::PubComp(ack)]).unwrap(),
        9 | 10 => Packet::Subscribe(Subscribe { packet_id: id, properties, filters: Subscriptions::of(&filters) }),
        11 => {
            let mut list = Vec::new();
            put_bytes(&mut list, other.as_bytes()).unwrap();
            let unsubscribe = Unsubscribe { packet_id: id, properties, filters: Filters::of(&list) };
            let mut out = Vec::new();
            let _ = Packet::Unsubscribe(unsubscribe).encode(&mut out, protocol);
            return (protocol, out);
        }
        12 => Packet::SubAck(FilterAck { packet_id: id, properties, reasons: &blob }),
        13 => *rng.choice(&[Packet::PingReq, Packet::PingResp]).unwrap(),
        14 => Packet::Disconnect(Reason { reason, properties }),
        _ => Packet::Auth(Reason { reason, properties }),
    };
    let mut out = Vec::new();
    let _ = packet.encode(&mut out, protocol);
    (protocol, out)
}

/// The version, then some packets.
fn packets(rng: &mut Rng) -> Vec<u8> {
    let (protocol, mut out) = packet(rng);
    out.insert(0, u8::from(protocol == Protocol::V5));
    for _ in 0..rng.usize(..3) {
        out.extend(packet(rng).1);
    }
    out
}

fn run_packets(input: &[u8]) {
    let [version, rest @ ..] = input else { return };
    let protocol = if version % 2 == 1 { Protocol::V5 } else { Protocol::V3 };
    let mut rest = rest;
    loop {
        let (found, held) = peak_of(|| split(rest, 2_000));
        assert_eq!(held, 0);
        let Ok(Split::Packet { first, body, taken }) = found else { break };
        run_packet(first, body, protocol);
        rest = &rest[taken..];
    }
}

fn run_packet(first: First, body: &[u8], protocol: Protocol) {
    let (packet, held) = peak_of(|| Packet::decode(first, body, protocol));
    assert_eq!(held, 0, "decoding allocates");
    let Ok(packet) = packet else { return };
    // A CONNECT says itself what it speaks.
    let protocol = if let Packet::Connect(connect) = &packet { connect.protocol } else { protocol };
    match &packet {
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.filters.iter().count() > 0);
            subscribe.properties.user().for_each(drop);
        }
        Packet::Unsubscribe(unsubscribe) => assert!(unsubscribe.filters.iter().count() > 0),
        Packet::Publish(publish) => publish.properties.iter().for_each(drop),
        _ => {}
    }
    let mut again = Vec::new();
    packet.encode(&mut again, protocol).expect("what was read has a form");
    let Ok(Split::Packet { first, body, taken }) = split(&again, usize::MAX) else {
        panic!("not a packet: {packet:?}")
    };
    assert_eq!(taken, again.len());
    let read = Packet::decode(first, body, protocol).expect("what was written is read");
    let mut third = Vec::new();
    read.encode(&mut third, protocol).unwrap();
    assert_eq!(third, again, "{packet:?}");
}

/// A filter, a zero byte, a name.
fn run_topic(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (filter, name) = text.split_once('\0').unwrap_or((&text, ""));
    let (is_filter, is_name) = (topic::is_filter(filter), topic::is_name(name));
    let matches = topic::matches(filter, name);
    if is_filter && is_name && filter == name {
        assert!(matches, "a name matches itself");
    }
    if is_name && !name.starts_with('$') {
        assert!(topic::matches("#", name));
    }
    if let Some(Ok(shared)) = topic::shared(filter) {
        assert!(topic::is_filter(shared.filter));
    }
}
