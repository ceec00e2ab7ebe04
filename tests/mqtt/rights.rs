//! What rules deny, in words of MQTT: reason codes, refused subscriptions, and messages that don't come.

use brooklet::broker::Broker;
use brooklet::broker::rights::{Operation, Origin, Pattern, ResourceKind, Rule, RuleFilter, What, Who};
use brooklet::config::{Config, MqttRule};
use brooklet::mqtt::{Connect, Packet, Properties, Protocol, Publish, Qos, ReasonCode, Will};

use crate::client::{Client, Server};

fn add(broker: &Broker, allows: bool, what: Operation, topic: &str) {
    let rule = Rule {
        kind: ResourceKind::Topic,
        pattern: Pattern::new(topic, false),
        who: Who::parse("User:ANONYMOUS").unwrap(),
        from: Origin::parse("127.0.0.1").unwrap(),
        what: What::One(what),
        allows,
    };
    smol::block_on(broker.add_rules(vec![rule])).unwrap()[0].as_ref().unwrap();
}

/// What PUBACK says.
fn published(client: &mut Client, topic: &str) -> u8 {
    client.publish(topic, "x", Qos::AtLeastOnce, 5);
    client.next(|packet| match packet {
        Packet::PubAck(ack) => ack.reason.0,
        other => panic!("{other:?}"),
    })
}

fn start() -> Server {
    Server::start_with(|config: &mut Config| config.topics.auto_create = true)
}

#[test]
fn a_publish_that_is_denied_is_told_so() {
    let server = start();
    let broker = server.gateway().broker();
    add(broker, false, Operation::Write, "secret");
    let (mut client, _) = server.v5("a", &[]);
    assert_eq!(published(&mut client, "open/1"), 0);
    assert_eq!(published(&mut client, "secret/1"), ReasonCode::NOT_AUTHORIZED.0);
    assert!(broker.topic("secret").is_none());
    // A client of 3.1.1 has no word for it.
    let mut old = server.client("b");
    old.publish("secret/1", "x", Qos::AtLeastOnce, 5);
    assert!(old.is_closed());
    // Nor has it one with QoS 0, where nothing is answered.
    client.publish("secret/1", "x", Qos::AtMostOnce, 0);
    assert!(client.is_quiet());
    smol::block_on(broker.remove_rules(vec![RuleFilter::ALL])).unwrap();
    assert_eq!(published(&mut client, "secret/1"), 0);
}

#[test]
fn a_subscription_that_can_bring_nothing_is_refused_and_a_wider_one_leaves_out_what_is_denied() {
    let server = start();
    let broker = server.gateway().broker();
    let mut publisher = server.client("p");
    publisher.publish_acked("open/1", "old");
    publisher.publish_acked("secret/1", "old");
    publisher.publish_with(
        Publish { topic: "secret/2", payload: b"kept", qos: Qos::AtLeastOnce, retain: true, ..Publish::default() },
        6,
    );
    publisher.next(|packet| assert!(matches!(packet, Packet::PubAck(_))));
    add(broker, true, Operation::Write, "secret");
    let (mut client, _) = server.v5("a", &[]);
    assert_eq!(client.subscribe("secret/#", Qos::AtMostOnce), [ReasonCode::NOT_AUTHORIZED.0]);
    assert_eq!(client.subscribe("secret/1", Qos::AtMostOnce), [ReasonCode::NOT_AUTHORIZED.0]);
    assert_eq!(client.subscribe("$replay/earliest/secret/#", Qos::AtMostOnce), [ReasonCode::NOT_AUTHORIZED.0]);
    assert_eq!(server.client("b").subscribe("secret/1", Qos::AtMostOnce), [0x80]);
    assert_eq!(client.subscribe("#", Qos::AtMostOnce), [0]);
    publisher.publish_acked("secret/1", "denied");
    publisher.publish_acked("open/1", "new");
    assert_eq!(client.take(), ("open/1".to_owned(), "new".to_owned()), "neither what is denied nor what is retained");
    // What is allowed later comes from then on.
    add(broker, true, Operation::Read, "secret");
    publisher.publish_acked("secret/1", "allowed");
    assert_eq!(client.take(), ("secret/1".to_owned(), "allowed".to_owned()));
}

#[test]
fn rules_are_as_fine_as_the_mapping() {
    let server = Server::start_with(|config: &mut Config| {
        config.topics.auto_create = true;
        let (filter, topic) = ("plant/+/#".to_owned(), "plant.{1}".to_owned());
        config.listen.mqtt.map = vec![MqttRule { filter, topic, key: None, headers: Vec::new() }];
    });
    let broker = server.gateway().broker();
    add(broker, false, Operation::Write, "plant.west");
    add(broker, false, Operation::Read, "plant.south");
    add(broker, true, Operation::Write, "plant.south");
    let (mut client, _) = server.v5("a", &[]);
    assert_eq!(published(&mut client, "plant/north/pump/7"), 0);
    assert_eq!(published(&mut client, "plant/west/pump/7"), ReasonCode::NOT_AUTHORIZED.0);
    assert_eq!(published(&mut client, "plant/south/pump/7"), 0);
    assert_eq!(client.subscribe("plant/#", Qos::AtMostOnce), [0]);
    let mut publisher = server.client("p");
    publisher.publish_acked("plant/south/pump/7", "not for it");
    publisher.publish_acked("plant/north/pump/7", "on");
    assert_eq!(client.take(), ("plant/north/pump/7".to_owned(), "on".to_owned()));
}

#[test]
fn a_will_that_may_not_be_published_refuses_its_client() {
    let server = start();
    add(server.gateway().broker(), false, Operation::Write, "secret");
    for (protocol, code) in [(Protocol::V5, ReasonCode::NOT_AUTHORIZED), (Protocol::V3, ReasonCode::NOT_AUTHORIZED)] {
        let mut client = Client::open(server.addr(), protocol);
        let will = Some(Will {
            topic: "secret/x",
            payload: b"gone",
            qos: Qos::AtMostOnce,
            retain: false,
            properties: Properties::default(),
        });
        client.send(&Packet::Connect(Connect {
            protocol,
            client_id: "w",
            clean_start: true,
            will,
            ..Connect::default()
        }));
        client.next(|packet| match packet {
            Packet::ConnAck(connack) => assert_eq!(connack.reason, code),
            other => panic!("{other:?}"),
        });
    }
}
