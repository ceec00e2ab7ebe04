//! Clients that break the rules: their own connection ends, with the reason where 5.0 has words for it, and nobody else's.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use brooklet::metrics::METRICS;
use brooklet::mqtt::{Connect, Packet, PacketId, Properties, Protocol, Publish, Qos, ReasonCode};

use super::client::{Client, Server};

/// What a client of 5.0 is told that sends `bytes`.
fn told(server: &Server, bytes: &[u8]) -> Option<ReasonCode> {
    let (mut client, _) = server.v5("bad", &[]);
    client.send_raw(bytes);
    let reason = client.try_next(|packet| match packet {
        Packet::Disconnect(reason) => reason.reason,
        other => panic!("{other:?}"),
    });
    assert!(client.is_closed());
    reason
}

#[test]
fn broken_rules_end_the_connection_with_their_reason() {
    let server = Server::start_with(|config| config.listen.mqtt.max_packet_bytes = 2_000);
    let mut honest = server.client("honest");
    honest.subscribe("t", Qos::AtLeastOnce);
    let cases: [(&[u8], ReasonCode); 7] = [
        (b"\x30\xff\xff\xff\x7f", ReasonCode::PACKET_TOO_LARGE),
        (b"\x30\xff\xff\xff\xff\x01", ReasonCode::MALFORMED_PACKET),
        (b"\x36\x06\x00\x01t\x00\x01\x00", ReasonCode::MALFORMED_PACKET),
        (b"\x30\x04\x00\x01#\x00", ReasonCode::MALFORMED_PACKET),
        (b"\x82\x03\x00\x01\x00", ReasonCode::PROTOCOL_ERROR),
        (b"\x20\x03\x00\x00\x00", ReasonCode::PROTOCOL_ERROR),
        // An alias beyond what was granted.
        (b"\x30\x07\x00\x01t\x03\x23\xff\xff", ReasonCode::TOPIC_ALIAS_INVALID),
    ];
    for (bytes, reason) in cases {
        assert_eq!(told(&server, bytes), Some(reason), "{bytes:02x?}");
    }
    server.client("another").publish_acked("t", "still here");
    assert_eq!(honest.payloads(1), ["still here"]);
}

#[test]
fn whoever_does_not_begin_with_connect_is_not_heard() {
    let server = Server::start();
    for bytes in [&b"\xc0\x00"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x12\x00\x12\x00\x03"] {
        let mut client = Client::open(server.addr(), Protocol::V3);
        client.send_raw(bytes);
        assert!(client.is_closed());
    }
    let mut client = Client::open(server.addr(), Protocol::V3);
    client.send_raw(b"\x10\x0d\x00\x04MQTT\x09\x00\x00\x0a\x00\x01c");
    let reason = client.next(|packet| match packet {
        Packet::ConnAck(connack) => connack.reason,
        other => panic!("{other:?}"),
    });
    assert_eq!(reason, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
}

#[test]
fn sessions_are_bounded() {
    let before = METRICS.kept_refused.get();
    let server = Server::start_with(|config| config.listen.mqtt.max_sessions = 1);
    let _only = server.client("one");
    let mut client = Client::open(server.addr(), Protocol::V5);
    client.send(&Packet::Connect(Connect { protocol: Protocol::V5, level: 5, client_id: "two", ..Connect::default() }));
    let reason = client.next(|packet| match packet {
        Packet::ConnAck(connack) => connack.reason,
        other => panic!("{other:?}"),
    });
    assert_eq!(reason, ReasonCode::QUOTA_EXCEEDED);
    assert!(METRICS.kept_refused.get() > before);
}

#[test]
fn what_can_not_be_stored_is_refused_in_each_versions_words() {
    let server = Server::start();
    let topic = "x".repeat(1_001);
    let refused = Publish {
        topic: &topic,
        payload: b"x",
        qos: Qos::AtLeastOnce,
        properties: Properties::default(),
        ..Publish::default()
    };
    let (mut client, _) = server.v5("five", &[]);
    client.publish_with(refused, 5);
    client.next(|packet| match packet {
        Packet::PubAck(ack) => assert_eq!(ack.reason, ReasonCode::TOPIC_NAME_INVALID),
        other => panic!("{other:?}"),
    });
    assert!(client.is_quiet());
    // 3.1.1 has no words: the connection ends, the message is the client's still.
    let mut client = server.client("three");
    client.publish_with(refused, 5);
    assert!(client.is_closed());
}

/// Many times what the kernel keeps for both ends of a connection.
const FLOOD: u16 = 60_000;
const FLOOD_PAYLOAD: [u8; 600] = [b'x'; 600];

#[test]
fn who_sends_without_a_pause_is_answered_meanwhile() {
    comes_while_flooding(None, |packet| matches!(packet, Packet::PubAck(_)));
}

#[test]
fn what_is_delivered_does_not_wait_for_the_end_of_ones_own_flood() {
    comes_while_flooding(Some("f"), |packet| matches!(packet, Packet::Publish(_)));
}

/// A client that sends without a pause, and what comes to it before it has sent everything.
fn comes_while_flooding(filter: Option<&str>, is_wanted: fn(&Packet<'_>) -> bool) {
    let server = Server::start();
    let mut client = server.client("flood");
    if let Some(filter) = filter {
        client.subscribe(filter, Qos::AtMostOnce);
    }
    let mut writer = client.writer();
    let answered = AtomicBool::new(false);
    thread::scope(|scope| {
        let sent = scope.spawn(|| {
            (1..=FLOOD)
                .take_while(|_| !answered.load(Ordering::Relaxed))
                .map(|id| {
                    let packet_id = PacketId::new(id);
                    let publish = Publish {
                        topic: "f",
                        payload: &FLOOD_PAYLOAD,
                        qos: Qos::AtLeastOnce,
                        packet_id,
                        ..Publish::default()
                    };
                    let mut bytes = Vec::new();
                    Packet::Publish(publish).encode(&mut bytes, Protocol::V3).unwrap();
                    writer.write_all(&bytes).unwrap();
                })
                .count()
        });
        while !client.next(|packet| is_wanted(&packet)) {}
        answered.store(true, Ordering::Relaxed);
        let sent = sent.join().unwrap();
        assert!(sent < usize::from(FLOOD), "nothing before the last of {sent} messages was sent");
    });
}
