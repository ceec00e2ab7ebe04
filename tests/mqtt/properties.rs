//! What 5.0 has beside messages: ids that the server assigns, delays, lifetimes, reasons; and what becomes of counts when a message fails.

use brooklet::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, ReasonCode, Will,
};
use std::time::Duration;

use super::client::{Client, Server};

const ID: PacketId = PacketId::new(5).unwrap();

fn v5<'a>(client_id: &'a str, properties: &'a PropertiesBuilder) -> Connect<'a> {
    let properties = properties.as_properties();
    Connect { protocol: Protocol::V5, level: 5, client_id, properties, ..Connect::default() }
}

#[test]
fn a_client_without_an_id_gets_one() {
    let server = Server::start();
    let mut client = Client::open(server.addr(), Protocol::V5);
    client.send(&Packet::Connect(v5("", &PropertiesBuilder::default())));
    let assigned = client.next(|packet| match packet {
        Packet::ConnAck(connack) => connack
            .properties
            .find(|property| if let Property::AssignedClientId(id) = property { Some(id.to_owned()) } else { None }),
        other => panic!("{other:?}"),
    });
    assert!(assigned.is_some_and(|id| id.starts_with("auto-")));
}

#[test]
fn a_will_waits_for_its_delay_and_not_beyond_the_session() {
    let server = Server::start();
    let mut subscriber = server.client("s");
    subscriber.subscribe("will/#", Qos::AtLeastOnce);
    let mut late = PropertiesBuilder::default();
    late.push(Property::WillDelay(600));
    let with_will = |topic: &'static str, session: &PropertiesBuilder| {
        let (qos, retain, properties) = (Qos::AtLeastOnce, false, late.as_properties());
        let will = Some(Will { topic, payload: b"gone", qos, retain, properties });
        server.connect(Connect { will, ..v5(topic, session) }).0
    };
    let mut kept = PropertiesBuilder::default();
    kept.push(Property::SessionExpiry(600));
    with_will("will/kept", &kept).cut();
    // The session ends with the connection, and the will's delay with the session.
    with_will("will/ended", &PropertiesBuilder::default()).cut();
    assert_eq!(subscriber.take().0, "will/ended");
    assert!(subscriber.is_quiet(), "the other one waits");
}

#[test]
fn a_message_whose_time_has_passed_is_not_delivered() {
    let server = Server::start_with(|config| config.clock.trust = brooklet::config::ClockTrust::Always);
    let (mut subscriber, _) = server.v5("s", &[Property::SessionExpiry(600)]);
    subscriber.subscribe("t", Qos::AtLeastOnce);
    subscriber.cut();
    let (mut publisher, _) = server.v5("p", &[]);
    for (payload, seconds) in [("short", 1), ("long", 600)] {
        let mut properties = PropertiesBuilder::default();
        properties.push(Property::MessageExpiry(seconds));
        let (qos, properties) = (Qos::AtLeastOnce, properties.as_properties());
        let publish = Publish { topic: "t", payload: payload.as_bytes(), qos, properties, ..Publish::default() };
        publisher.publish_with(publish, ID.get());
        publisher.expect(Packet::PubAck(Ack::of(ID)));
    }
    std::thread::sleep(Duration::from_millis(1_200));
    let (mut subscriber, _) = server.v5("s", &[Property::SessionExpiry(600)]);
    assert_eq!(subscriber.payloads(1), ["long"]);
    assert!(subscriber.is_quiet());
}

#[test]
fn a_retained_message_that_fails_does_not_count() {
    let server = Server::start_with(|config| config.listen.mqtt.max_retained = 1);
    let (mut publisher, _) = server.v5("p", &[]);
    publisher.publish_acked("r/x", "the topic is there");
    let broker = server.gateway().broker().clone();
    smol::block_on(async {
        let change = ("max.message.bytes".to_owned(), Some("1000".to_owned()));
        broker.alter_topic("r", &[change]).await.unwrap();
    });
    let large = "x".repeat(4_000);
    for (topic, payload, reason) in [
        ("r/a", &*large, ReasonCode::PACKET_TOO_LARGE),
        ("r/b", "fits", ReasonCode::SUCCESS),
        ("r/c", "one too many", ReasonCode::QUOTA_EXCEEDED),
    ] {
        let (payload, qos) = (payload.as_bytes(), Qos::AtLeastOnce);
        publisher.publish_with(Publish { topic, payload, qos, retain: true, ..Publish::default() }, ID.get());
        publisher.expect(Packet::PubAck(Ack { packet_id: ID, reason, properties: Properties::default() }));
    }
}

#[test]
fn a_message_under_the_id_of_a_forgotten_one_is_no_resend() {
    let server = Server::start();
    let (mut client, _) = server.kept("forgetful");
    client.publish("t", "a", Qos::ExactlyOnce, ID.get());
    client.expect(Packet::PubRec(Ack::of(ID)));
    client.cut();
    let (mut client, present) = server.kept("forgetful");
    assert!(present);
    for payload in ["b", "b"] {
        client.publish("t", payload, Qos::ExactlyOnce, ID.get());
        client.expect(Packet::PubRec(Ack::of(ID)));
    }
    client.send(&Packet::PubRel(Ack::of(ID)));
    client.expect(Packet::PubComp(Ack::of(ID)));
    let stored: Vec<String> = super::stored(&server, "t").into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(stored, ["a", "b"]);
}

#[test]
fn who_floods_is_told_why_his_connection_ends() {
    let server = Server::start_with(|config| config.listen.mqtt.max_inflight = 4);
    let (mut client, _) = server.v5("p", &[]);
    // All in one piece: much of it is unread when the connection ends.
    let mut bytes = Vec::new();
    for id in 1..=2_000 {
        let packet_id = PacketId::new(id);
        let publish =
            Publish { topic: "t", payload: &[0; 100], qos: Qos::ExactlyOnce, packet_id, ..Publish::default() };
        Packet::Publish(publish).encode(&mut bytes, Protocol::V5).unwrap();
    }
    client.send_raw(&bytes);
    let told = loop {
        let packet = client.try_next(|packet| match packet {
            Packet::Disconnect(reason) => Some(reason.reason),
            _ => None,
        });
        match packet {
            Some(None) => {}
            Some(Some(reason)) => break reason,
            None => panic!("closed without a word"),
        }
    };
    assert_eq!(told, ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
}
