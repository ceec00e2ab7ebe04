//! Golden bytes of the standard's examples, every packet both ways in both versions, and bytes that are no packets.

use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const ID: PacketId = PacketId::new(10).unwrap();

fn encoded(packet: &Packet<'_>, protocol: Protocol) -> Vec<u8> {
    let mut out = vec![0xee];
    packet.encode(&mut out, protocol).unwrap();
    assert_eq!(out.remove(0), 0xee, "what was there before stays");
    out
}

fn decoded(bytes: &[u8], protocol: Protocol) -> Packet<'_> {
    let Ok(Split::Packet { first, body, taken }) = split(bytes, 1 << 20) else { panic!("{bytes:?} is no packet") };
    assert_eq!(taken, bytes.len());
    Packet::decode(first, body, protocol).unwrap()
}

fn refused(bytes: &[u8], protocol: Protocol) -> DecodeError {
    let Ok(Split::Packet { first, body, .. }) = split(bytes, 1 << 20) else { panic!("{bytes:?} is no packet") };
    Packet::decode(first, body, protocol).unwrap_err()
}

#[test]
fn packets_of_311_are_the_bytes_they_are() {
    let will =
        Will { topic: "w", payload: b"x", qos: Qos::AtLeastOnce, retain: true, properties: Properties::default() };
    let connect = Connect {
        level: 4,
        client_id: "c",
        clean_start: true,
        keep_alive: 60,
        will: Some(will),
        user: Some("u"),
        password: Some(b"p"),
        ..Connect::default()
    };
    let publish = Publish {
        qos: Qos::ExactlyOnce,
        dup: true,
        topic: "a/b",
        packet_id: Some(ID),
        payload: b"hi",
        ..Publish::default()
    };
    let ack = |reasons| FilterAck { packet_id: ID, properties: Properties::default(), reasons };
    let filters = [0, 3, b'a', b'/', b'b', 1, 0, 1, b'#', 2];
    let subscribe =
        Subscribe { packet_id: ID, properties: Properties::default(), filters: Subscriptions::of(&filters) };
    let names = [0, 1, b'a'];
    let unsubscribe = Unsubscribe { packet_id: ID, properties: Properties::default(), filters: Filters::of(&names) };
    let connack = |reason| ConnAck { session_present: true, reason, properties: Properties::default() };
    let golden: [(Packet<'_>, &[u8]); 10] = [
        (
            Packet::Connect(connect),
            b"\x10\x19\x00\x04MQTT\x04\xee\x00\x3c\x00\x01c\x00\x01w\x00\x01x\x00\x01u\x00\x01p",
        ),
        (Packet::ConnAck(connack(ReasonCode::SUCCESS)), b"\x20\x02\x01\x00"),
        (Packet::Publish(publish), b"\x3c\x09\x00\x03a/b\x00\x0ahi"),
        (Packet::PubAck(Ack::of(ID)), b"\x40\x02\x00\x0a"),
        (Packet::PubRel(Ack::of(ID)), b"\x62\x02\x00\x0a"),
        (Packet::Subscribe(subscribe), b"\x82\x0c\x00\x0a\x00\x03a/b\x01\x00\x01#\x02"),
        (Packet::SubAck(ack(&[1, 0x80])), b"\x90\x04\x00\x0a\x01\x80"),
        (Packet::Unsubscribe(unsubscribe), b"\xa2\x05\x00\x0a\x00\x01a"),
        (Packet::UnsubAck(ack(&[])), b"\xb0\x02\x00\x0a"),
        (Packet::Disconnect(Reason::of(ReasonCode::SUCCESS)), b"\xe0\x00"),
    ];
    for (packet, bytes) in golden {
        assert_eq!(encoded(&packet, Protocol::V3), bytes, "{packet:?}");
        assert_eq!(decoded(bytes, Protocol::V3), packet);
    }
    assert_eq!(encoded(&Packet::ConnAck(connack(ReasonCode::BANNED)), Protocol::V3), b"\x20\x02\x00\x05");
    assert_eq!(encoded(&Packet::SubAck(ack(&[0x87])), Protocol::V3), b"\x90\x03\x00\x0a\x80");
}

#[test]
fn properties_stand_where_5_has_them() {
    let mut builder = PropertiesBuilder::default();
    builder.extend([Property::TopicAlias(3), Property::User(("k", "v"))]);
    let publish = Publish {
        qos: Qos::AtLeastOnce,
        packet_id: Some(ID),
        properties: builder.as_properties(),
        payload: b"!",
        ..Publish::default()
    };
    let bytes = b"\x32\x10\x00\x00\x00\x0a\x0a\x23\x00\x03\x26\x00\x01k\x00\x01v!";
    assert_eq!(encoded(&Packet::Publish(publish), Protocol::V5), bytes);
    assert_eq!(decoded(bytes, Protocol::V5), Packet::Publish(publish));
    assert_eq!(publish.alias(), Some(3));

    let fenced = Reason::of(ReasonCode::SESSION_TAKEN_OVER);
    assert_eq!(encoded(&Packet::Disconnect(fenced), Protocol::V5), b"\xe0\x01\x8e");
    assert_eq!(decoded(b"\xe0\x02\x8e\x00", Protocol::V5), Packet::Disconnect(fenced));
    assert_eq!(decoded(b"\x40\x02\x00\x0a", Protocol::V5), Packet::PubAck(Ack::of(ID)));
}

#[test]
fn connections_say_what_they_speak_and_how_long_sessions_last() {
    let connect = |bytes| match decoded(bytes, Protocol::V3) {
        Packet::Connect(connect) => connect,
        other => panic!("{other:?}"),
    };
    let old = connect(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x01c");
    assert_eq!((old.protocol, old.level, old.session_expiry()), (Protocol::V3, 3, 0));
    let bridge = connect(b"\x10\x0d\x00\x04MQTT\x84\x00\x00\x0a\x00\x01c");
    assert_eq!((bridge.level, bridge.session_expiry()), (4, u32::MAX));
    let new = connect(b"\x10\x13\x00\x04MQTT\x05\x00\x00\x0a\x05\x11\x00\x00\x00\x09\x00\x01c");
    assert_eq!((new.protocol, new.session_expiry()), (Protocol::V5, 9));
}

#[test]
fn what_the_standard_forbids_is_refused_by_its_name() {
    let cases: [(&[u8], Protocol, u8); 14] = [
        (b"\x10\x0d\x00\x04MQTT\x06\x00\x00\x0a\x00\x01c", Protocol::V3, 0x84),
        (b"\x10\x0d\x00\x04MQTX\x04\x00\x00\x0a\x00\x01c", Protocol::V3, 0x81),
        (b"\x10\x0d\x00\x04MQTT\x04\x01\x00\x0a\x00\x01c", Protocol::V3, 0x81),
        (b"\x10\x0d\x00\x04MQTT\x04\x20\x00\x0a\x00\x01c", Protocol::V3, 0x81),
        (b"\x36\x05\x00\x01a\x00\x01", Protocol::V3, 0x81),
        (b"\x32\x05\x00\x01a\x00\x00", Protocol::V3, 0x82),
        (b"\x30\x03\x00\x01#", Protocol::V3, 0x81),
        (b"\x30\x02\x00\x00", Protocol::V3, 0x82),
        (b"\x38\x03\x00\x01a", Protocol::V3, 0x81),
        (b"\x80\x06\x00\x0a\x00\x01a\x00", Protocol::V3, 0x81),
        (b"\x82\x02\x00\x0a", Protocol::V3, 0x82),
        (b"\x82\x06\x00\x0a\x00\x01a\x04", Protocol::V3, 0x81),
        (b"\xf0\x00", Protocol::V3, 0x81),
        (b"\xe0\x01\x00", Protocol::V3, 0x81),
    ];
    for (bytes, protocol, reason) in cases {
        assert_eq!(refused(bytes, protocol).reason(), ReasonCode(reason), "{bytes:02x?}");
    }
    assert_eq!(split(b"\x30\xff\xff\xff\xff\x01", 100), Err(FrameError::Length));
    assert_eq!(split(b"\x30\xff\x7f", 100), Err(FrameError::TooLarge { bytes: 16_386, bytes_max: 100 }));
    assert_eq!(split(b"\x30\x05ab", 100), Ok(Split::Need(3)));
    assert_eq!(split(b"\x30\x80", 100), Ok(Split::Need(1)));
    assert_eq!(split(b"", 100), Ok(Split::Need(2)));
}

fn text() -> impl Strategy<Value = String> {
    "[a-zå/+#$ ]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-zå/$]{1,12}"
}

fn qos() -> impl Strategy<Value = Qos> {
    (0u8..3).prop_map(|bits| Qos::of_bits(bits).unwrap())
}

/// Properties that every packet but SUBSCRIBE's may have, and those of a PUBLISH.
fn user_properties() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 0..3)
}

proptest! {
    #[test]
    fn connects_go_both_ways(
        (id, keep_alive, clean_start) in (text(), any::<u16>(), any::<bool>()),
        will in prop::option::of((name(), prop::collection::vec(any::<u8>(), 0..20), qos(), any::<bool>())),
        (user, password) in (prop::option::of(text()), prop::option::of(prop::collection::vec(any::<u8>(), 0..9))),
        pairs in user_properties(), v5 in any::<bool>(), expiry in any::<u32>(),
    ) {
        let mut builder = PropertiesBuilder::default();
        let protocol = if v5 { Protocol::V5 } else { Protocol::V3 };
        if v5 {
            builder.push(Property::SessionExpiry(expiry));
            builder.extend(pairs.iter().map(|(k, v)| Property::User((k, v))));
        }
        let properties = builder.as_properties();
        let will = will.as_ref().map(|(topic, payload, qos, retain)| Will {
            topic, payload, qos: *qos, retain: *retain, properties: Properties::default(),
        });
        let password = password.as_deref().filter(|_| v5 || user.is_some());
        let connect = Connect {
            protocol, level: if v5 { 5 } else { 4 }, client_id: &id, clean_start, keep_alive, will, user: user.as_deref(), password,
            properties,
        };
        let bytes = encoded(&Packet::Connect(connect), protocol);
        prop_assert_eq!(decoded(&bytes, Protocol::V3), Packet::Connect(connect));
    }

    #[test]
    fn publishes_go_both_ways(
        topic in name(), payload in prop::collection::vec(any::<u8>(), 0..300), qos in qos(), (dup, retain) in any::<(bool, bool)>(),
        id in 1u16.., pairs in user_properties(), alias in prop::option::of(1u16..), v5 in any::<bool>(),
    ) {
        let mut builder = PropertiesBuilder::default();
        let protocol = if v5 { Protocol::V5 } else { Protocol::V3 };
        if v5 {
            builder.extend(alias.map(Property::TopicAlias));
            builder.extend(pairs.iter().map(|(k, v)| Property::User((k, v))));
        }
        let packet_id = PacketId::new(id).filter(|_| qos != Qos::AtMostOnce);
        let dup = dup && qos != Qos::AtMostOnce;
        let properties = builder.as_properties();
        let publish = Publish { dup, qos, retain, topic: &topic, packet_id, properties, payload: &payload };
        let bytes = encoded(&Packet::Publish(publish), protocol);
        prop_assert_eq!(decoded(&bytes, protocol), Packet::Publish(publish));
    }

    #[test]
    fn subscriptions_go_both_ways(
        filters in prop::collection::vec((text(), qos(), any::<bool>(), any::<bool>(), 0u8..3), 1..6), v5 in any::<bool>(),
        reasons in prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 0x80]), 1..6),
    ) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V3 };
        let mut bytes = Vec::new();
        let subscriptions: Vec<Subscription<'_>> = filters.iter().map(|(filter, qos, no_local, published, retain)| Subscription {
            filter,
            qos: *qos,
            no_local: *no_local && v5,
            retain_as_published: *published && v5,
            retain: match retain { 1 if v5 => RetainHandling::SendIfNew, 2 if v5 => RetainHandling::No, _ => RetainHandling::Send },
        }).collect();
        for one in &subscriptions {
            put_subscription(&mut bytes, one).unwrap();
        }
        let subscribe =
            Packet::Subscribe(Subscribe { packet_id: ID, properties: Properties::default(), filters: Subscriptions::of(&bytes) });
        let encoded_bytes = encoded(&subscribe, protocol);
        let Packet::Subscribe(back) = decoded(&encoded_bytes, protocol) else { panic!("another kind") };
        prop_assert_eq!(back.filters.iter().collect::<Vec<_>>(), subscriptions);
        let ack = Packet::SubAck(FilterAck { packet_id: ID, properties: Properties::default(), reasons: &reasons });
        let encoded_ack = encoded(&ack, protocol);
        prop_assert_eq!(decoded(&encoded_ack, protocol), ack);
    }

    /// Nothing panics; what is taken for a packet can be written again, and is the same then (3.1.1 has fewer codes: there, the bytes
    /// are the same from then on).
    #[test]
    fn bytes_are_packets_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), first in any::<u8>(), v5 in any::<bool>()) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V3 };
        let _ = split(&bytes, 50);
        if let Ok(packet) = Packet::decode(First(first), &bytes, protocol) {
            let spoken = if let Packet::Connect(connect) = packet { connect.protocol } else { protocol };
            let again = encoded(&packet, spoken);
            let back = decoded(&again, spoken);
            prop_assert!(back == packet || spoken == Protocol::V3);
            prop_assert_eq!(encoded(&back, spoken), again);
        }
    }

    /// The same with bytes that are nearly packets.
    #[test]
    fn damaged_packets_are_refused_or_read(at in 0usize..200, value in any::<u8>(), cut in 0usize..200, which in 0usize..4) {
        let mut builder = PropertiesBuilder::default();
        builder.extend([Property::ContentType("t"), Property::CorrelationData(b"12"), Property::User(("a", "b"))]);
        let mut filters = Vec::new();
        put_subscription(&mut filters, &Subscription {
            filter: "$share/a/b/#", qos: Qos::AtLeastOnce, no_local: false, retain_as_published: true, retain: RetainHandling::No,
        }).unwrap();
        let none = Properties::default();
        let publish = Publish { topic: "a/b", properties: builder.as_properties(), payload: b"pay", ..Publish::default() };
        let will = Will { topic: "w", payload: b"gone", qos: Qos::ExactlyOnce, retain: false, properties: none };
        let connect = Connect {
            protocol: Protocol::V5, level: 5, client_id: "id", will: Some(will), user: Some("u"), password: Some(b"p"),
            ..Connect::default()
        };
        let packet = [
            Packet::Publish(publish),
            Packet::Connect(connect),
            Packet::Subscribe(Subscribe { packet_id: ID, properties: none, filters: Subscriptions::of(&filters) }),
            Packet::Disconnect(Reason::of(ReasonCode::SERVER_BUSY)),
        ][which];
        let mut bytes = encoded(&packet, Protocol::V5);
        let length = bytes.len();
        bytes[at % length] = value;
        bytes.truncate(length - cut % length);
        if let Ok(Split::Packet { first, body, .. }) = split(&bytes, 1_000) {
            let _ = Packet::decode(first, body, Protocol::V5);
        }
    }
}
