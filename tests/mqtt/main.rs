//! The MQTT listener of a gateway in this process, packet by packet: QoS over lost connections and restarts, sessions, wills,
//! retained messages, replays, records of other protocols, and what is refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

mod client;
mod damage;
mod features;
mod hostile;
mod properties;
mod rights;
mod sequences;
mod shared;
mod websocket;

use std::time::Duration;

use brooklet::broker::Acks;
use brooklet::config::MqttRule;
use brooklet::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, Reason,
    ReasonCode, RetainHandling, Subscription, Will,
};
use client::{Client, Server};

const ID: PacketId = PacketId::new(5).unwrap();

/// All records of a Kafka topic with one partition: key, value.
fn stored(server: &Server, topic: &str) -> Vec<(String, String)> {
    use brooklet::record::{BatchView, VerifyLimits, decompress, records};
    let broker = server.gateway().broker();
    let topic = broker.topic(topic).unwrap();
    let bytes = smol::block_on(broker.fetch(topic.partitions[0], 0, 1 << 20)).unwrap().bytes;
    let limits = VerifyLimits {
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 1 << 20,
        ratio_max: 1_000,
        control_allowed: true,
    };
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let (view, behind) = BatchView::parse(rest).unwrap();
        rest = behind;
        let payload = decompress(&view, &limits).unwrap();
        found.extend(records(&view, &payload).map(|r| r.unwrap()).map(|r| (text(r.key), text(r.value))));
    }
    found
}

#[test]
fn messages_of_every_qos_reach_subscribers_of_every_qos() {
    let server = Server::start();
    let mut publisher = server.client("p");
    for (at, granted) in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().enumerate() {
        let mut subscriber = server.client("s");
        let topic = format!("t{at}/x");
        assert_eq!(subscriber.subscribe(&format!("t{at}/+"), granted), [granted as u8]);
        publisher.publish(&topic, "0", Qos::AtMostOnce, 0);
        publisher.publish_acked(&topic, "1");
        publisher.publish(&topic, "2", Qos::ExactlyOnce, 5);
        publisher.expect(Packet::PubRec(Ack::of(ID)));
        publisher.send(&Packet::PubRel(Ack::of(ID)));
        publisher.expect(Packet::PubComp(Ack::of(ID)));
        for published in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let got = subscriber.message();
            assert_eq!((got.payload, got.qos), ((published as u8).to_string(), published.min(granted)));
            assert!(!got.dup && !got.retain && got.topic == topic);
        }
    }
    assert_eq!(stored(&server, "t1").len(), 3);
    assert_eq!(stored(&server, "t1")[0].0, "p", "the client's id is the key");
}

#[test]
fn qos_2_is_stored_once_over_connections_and_restarts() {
    let mut server = Server::start();
    let (mut publisher, present) = server.kept("device");
    assert!(!present);
    publisher.publish("plant/a", "once", Qos::ExactlyOnce, 5);
    publisher.expect(Packet::PubRec(Ack::of(ID)));
    publisher.cut();
    for restart in [false, true] {
        if restart {
            server.restart();
        }
        let (mut publisher, present) = server.kept("device");
        assert!(present || !restart);
        // PUBREC was lost, as far as the device knows.
        publisher.publish_with(
            Publish { dup: true, topic: "plant/a", payload: b"once", qos: Qos::ExactlyOnce, ..Publish::default() },
            5,
        );
        publisher.expect(Packet::PubRec(Ack::of(ID)));
        publisher.cut();
    }
    let (mut publisher, _) = server.kept("device");
    publisher.send(&Packet::PubRel(Ack::of(ID)));
    publisher.expect(Packet::PubComp(Ack::of(ID)));
    publisher.cut();
    let (mut publisher, _) = server.kept("device");
    // PUBCOMP was lost, as far as the device knows. Some take any reason but success for a failure, and give up.
    publisher.send(&Packet::PubRel(Ack::of(ID)));
    publisher.expect(Packet::PubComp(Ack::of(ID)));
    // The id is free again: another message.
    publisher.publish("plant/a", "another", Qos::ExactlyOnce, 5);
    publisher.expect(Packet::PubRec(Ack::of(ID)));
    let values: Vec<String> = stored(&server, "plant").into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, ["once", "another"]);
}

#[test]
fn a_session_gathers_while_its_client_is_away_and_over_a_restart() {
    let mut server = Server::start();
    let (mut subscriber, _) = server.kept("s");
    subscriber.subscribe("plant/#", Qos::AtLeastOnce);
    subscriber.subscribe("news", Qos::AtMostOnce);
    subscriber.cut();
    let mut publisher = server.client("p");
    publisher.publish_acked("plant/a", "1");
    publisher.publish_acked("news", "missed");
    server.restart();
    let mut publisher = server.client("p");
    publisher.publish_acked("plant/b", "2");
    let (mut subscriber, present) = server.kept("s");
    assert!(present);
    assert_eq!(subscriber.payloads(2), ["1", "2"]);
    publisher.publish_acked("news", "heard");
    assert_eq!(subscriber.payloads(1), ["heard"]);
    // Whoever begins anew has nothing.
    subscriber.cut();
    let (_, present) = server.connect(Connect { level: 4, client_id: "s", clean_start: true, ..Connect::default() });
    assert!(!present);
    let (mut subscriber, present) = server.kept("s");
    assert!(!present);
    publisher.publish_acked("plant/a", "3");
    assert!(subscriber.is_quiet());
}

#[test]
fn what_is_open_comes_again_under_the_same_id() {
    let mut server = Server::start();
    let (mut subscriber, _) = server.kept("s");
    subscriber.subscribe("t", Qos::ExactlyOnce);
    let mut publisher = server.client("p");
    for (at, payload) in ["a", "b"].into_iter().enumerate() {
        publisher.publish("t", payload, Qos::ExactlyOnce, 20 + at as u16);
        publisher.next(|packet| assert!(matches!(packet, Packet::PubRec(_))));
    }
    let (a, b) = (subscriber.message(), subscriber.message());
    assert_eq!((&*a.payload, &*b.payload), ("a", "b"));
    // PUBREC of one is heard, the other never was.
    subscriber.send(&Packet::PubRec(Ack::of(b.id.unwrap())));
    subscriber.expect(Packet::PubRel(Ack::of(b.id.unwrap())));
    subscriber.cut();
    server.restart();
    let (mut subscriber, present) = server.kept("s");
    assert!(present);
    let again = subscriber.message();
    assert_eq!((again.payload.as_str(), again.id, again.dup), ("a", a.id, true));
    subscriber.expect(Packet::PubRel(Ack::of(b.id.unwrap())));
    subscriber.send(&Packet::PubComp(Ack::of(b.id.unwrap())));
    subscriber.send(&Packet::PubRec(Ack::of(a.id.unwrap())));
    subscriber.expect(Packet::PubRel(Ack::of(a.id.unwrap())));
    subscriber.send(&Packet::PubComp(Ack::of(a.id.unwrap())));
    assert!(subscriber.is_quiet());
    subscriber.cut();
    let (mut subscriber, _) = server.kept("s");
    assert!(subscriber.is_quiet(), "all is done");
}

#[test]
fn a_slow_client_gets_no_more_than_it_takes_and_misses_nothing() {
    let server = Server::start();
    let (mut subscriber, _) = server.v5("s", &[Property::ReceiveMaximum(2)]);
    subscriber.subscribe("t", Qos::AtLeastOnce);
    let mut publisher = server.client("p");
    for n in 0..20 {
        publisher.publish_acked("t", &n.to_string());
    }
    let first = [subscriber.message(), subscriber.message()];
    assert!(subscriber.is_quiet(), "two are open");
    for got in &first {
        subscriber.send(&Packet::PubAck(Ack::of(got.id.unwrap())));
    }
    let rest: Vec<u32> = subscriber.payloads(18).iter().map(|payload| payload.parse().unwrap()).collect();
    assert_eq!(rest, (2..20).collect::<Vec<_>>());
}

#[test]
fn the_last_message_of_a_topic_is_retained() {
    let mut server = Server::start();
    let mut publisher = server.client("p");
    for (topic, payload) in [("r/a", "old"), ("r/a", "new"), ("r/b", "gone"), ("r/b", "")] {
        let publish =
            Publish { topic, payload: payload.as_bytes(), qos: Qos::AtLeastOnce, retain: true, ..Publish::default() };
        publisher.publish_with(publish, 5);
        publisher.expect(Packet::PubAck(Ack::of(ID)));
    }
    server.restart();
    let mut subscriber = server.client("s");
    subscriber.subscribe("r/+", Qos::AtLeastOnce);
    let got = subscriber.message();
    assert_eq!((&*got.topic, &*got.payload, got.retain), ("r/a", "new", true));
    assert!(subscriber.is_quiet());
    assert_eq!(stored(&server, "r").len(), 4, "in the log it is a message as any other");
}

#[test]
fn retained_messages_are_bounded_and_the_client_is_told() {
    let server = Server::start_with(|config| config.listen.mqtt.max_retained = 1);
    let (mut publisher, _) = server.v5("p", &[]);
    for (topic, reason) in
        [("r/a", ReasonCode::SUCCESS), ("r/b", ReasonCode::QUOTA_EXCEEDED), ("r/a", ReasonCode::SUCCESS)]
    {
        publisher.publish_with(
            Publish { topic, payload: b"x", qos: Qos::AtLeastOnce, retain: true, ..Publish::default() },
            5,
        );
        publisher.expect(Packet::PubAck(Ack { packet_id: ID, reason, properties: Properties::default() }));
    }
}

#[test]
fn wills_are_published_when_a_client_is_lost_and_only_then() {
    let server = Server::start();
    let mut subscriber = server.client("s");
    subscriber.subscribe("will/#", Qos::AtLeastOnce);
    let with_will = |topic| Connect {
        level: 4,
        client_id: topic,
        clean_start: true,
        will: Some(Will {
            topic,
            payload: b"gone",
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Properties::default(),
        }),
        ..Connect::default()
    };
    let (mut orderly, _) = server.connect(with_will("will/orderly"));
    orderly.send(&Packet::Disconnect(Reason::of(ReasonCode::SUCCESS)));
    assert!(orderly.is_closed());
    let (lost, _) = server.connect(with_will("will/lost"));
    lost.cut();
    assert_eq!(subscriber.take(), ("will/lost".to_owned(), "gone".to_owned()));
    // Taken over is lost as well.
    let (mut first, _) = server.connect(with_will("will/twice"));
    let (_second, _) = server.connect(with_will("will/twice"));
    assert!(first.is_closed());
    assert_eq!(subscriber.take(), ("will/twice".to_owned(), "gone".to_owned()));
}

#[test]
fn a_will_that_is_delayed_is_dropped_when_its_session_goes_on_and_only_then() {
    let server = Server::start();
    let mut subscriber = server.client("s");
    subscriber.subscribe("will/#", Qos::AtLeastOnce);
    let (mut delay, mut kept) = (PropertiesBuilder::default(), PropertiesBuilder::default());
    delay.push(Property::WillDelay(3_600));
    kept.push(Property::SessionExpiry(7_200));
    let connect = |clean_start, properties| Connect {
        protocol: Protocol::V5,
        level: 5,
        client_id: "device",
        clean_start,
        will: Some(Will {
            topic: "will/delayed",
            payload: b"gone",
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: delay.as_properties(),
        }),
        properties,
        ..Connect::default()
    };
    server.connect(connect(true, kept.as_properties())).0.cut();
    let (again, present) = server.connect(connect(false, kept.as_properties()));
    assert!(present);
    again.cut();
    assert!(subscriber.is_quiet(), "it is back in time");
    // The session that the will belongs to ends.
    let (ends, _) = server.connect(connect(true, Properties::default()));
    assert_eq!(subscriber.take(), ("will/delayed".to_owned(), "gone".to_owned()));
    // This one ends with its connection, before the delay.
    ends.cut();
    assert_eq!(subscriber.take(), ("will/delayed".to_owned(), "gone".to_owned()));
}

#[test]
fn a_client_that_promises_too_long_a_silence_is_told_another() {
    let server = Server::start_with(|config| config.listen.mqtt.max_keepalive = Some(Duration::from_secs(60)));
    let told = |protocol, level, keep_alive| {
        let mut client = Client::open(server.addr(), protocol);
        client.send(&Packet::Connect(Connect {
            protocol,
            level,
            client_id: "c",
            clean_start: true,
            keep_alive,
            ..Connect::default()
        }));
        client.next(|packet| match packet {
            Packet::ConnAck(connack) => {
                connack.properties.find(|p| if let Property::ServerKeepAlive(s) = p { Some(s) } else { None })
            }
            other => panic!("{other:?}"),
        })
    };
    assert_eq!([0, 61, 60, 5].map(|keep_alive| told(Protocol::V5, 5, keep_alive)), [Some(60), Some(60), None, None]);
    assert_eq!(told(Protocol::V3, 4, 120), None);
}

#[test]
fn the_past_is_replayed_to_whoever_asks_for_it() {
    let server = Server::start();
    let mut publisher = server.client("p");
    for n in 0..5 {
        publisher.publish_acked("log/x", &n.to_string());
    }
    let (mut subscriber, _) = server.v5("s", &[]);
    assert_eq!(subscriber.subscribe("$replay/earliest/log/#", Qos::AtLeastOnce), [1]);
    assert_eq!(subscriber.payloads(5), ["0", "1", "2", "3", "4"]);
    publisher.publish_acked("log/x", "5");
    assert_eq!(subscriber.payloads(1), ["5"], "and goes on");
    assert_eq!(subscriber.subscribe("$replay/soon/log/#", Qos::AtLeastOnce), [ReasonCode::TOPIC_FILTER_INVALID.0]);
}

#[test]
fn rules_say_where_messages_go_and_records_of_kafka_come_back() {
    let server = Server::start_with(|config| {
        config.listen.mqtt.map = vec![MqttRule {
            filter: "plant/+/telemetry".into(),
            topic: "telemetry".into(),
            key: Some("{1}".into()),
            headers: vec![("site".into(), "{1}".into())],
        }];
    });
    let (mut subscriber, _) = server.v5("s", &[]);
    subscriber.subscribe("plant/+/telemetry", Qos::AtLeastOnce);
    subscriber.subscribe("orders/#", Qos::AtLeastOnce);
    let mut publisher = server.client("p");
    publisher.publish_acked("plant/north/telemetry", "21.5");
    assert_eq!(stored(&server, "telemetry"), [("north".to_owned(), "21.5".to_owned())]);
    assert_eq!(subscriber.take(), ("plant/north/telemetry".to_owned(), "21.5".to_owned()));
    // What another protocol puts into a topic is a message as well.
    let broker = server.gateway().broker().clone();
    smol::block_on(async {
        let session = broker.open_session("native", None, 0).await.unwrap();
        let topic = broker.topic_or_create("orders.new").await.unwrap();
        let record = brooklet::broker::NewRecord { value: Some(b"7".to_vec()), ..Default::default() };
        broker.publish(&session, &topic, 1, vec![record], Acks::Flash).await.unwrap().wait().await.unwrap();
    });
    assert_eq!(subscriber.take(), ("orders/new".to_owned(), "7".to_owned()));
}

#[test]
fn properties_travel_with_the_message() {
    let server = Server::start();
    let (mut subscriber, _) = server.v5("s", &[]);
    let mut with_id = PropertiesBuilder::default();
    with_id.push(Property::SubscriptionId(42));
    let one = Subscription {
        filter: "t",
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain: RetainHandling::Send,
    };
    subscriber.subscribe_to(&[one], with_id.as_properties());
    let mut properties = PropertiesBuilder::default();
    let sent = [
        Property::MessageExpiry(1_000),
        Property::ContentType("text"),
        Property::ResponseTopic("answer"),
        Property::CorrelationData(&[1, 2]),
        Property::User(("k", "v")),
    ];
    properties.extend(sent);
    let publish = Publish {
        topic: "t",
        payload: b"x",
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: properties.as_properties(),
        ..Publish::default()
    };
    subscriber.publish_with(publish, 5);
    subscriber.expect(Packet::PubAck(Ack::of(ID)));
    let (mut publisher, _) = server.v5("p", &[]);
    publisher.publish_with(publish, 5);
    publisher.expect(Packet::PubAck(Ack::of(ID)));
    subscriber.next(|packet| {
        let Packet::Publish(got) = packet else { panic!("{packet:?}") };
        assert!(got.retain, "as published");
        let got: Vec<Property<'_>> = got.properties.iter().collect();
        assert!(got.contains(&Property::SubscriptionId(42)), "{got:?}");
        for property in sent.iter().skip(1) {
            assert!(got.contains(property), "{got:?}");
        }
        assert!(got.iter().any(|p| matches!(p, Property::MessageExpiry(900..=1_000))), "{got:?}");
    });
    assert!(subscriber.is_quiet(), "nobody hears himself who does not want to");
}

#[test]
fn a_newer_connection_takes_over() {
    let server = Server::start();
    let (mut older, _) = server.v5("same", &[Property::SessionExpiry(60)]);
    older.subscribe("t", Qos::AtLeastOnce);
    let (mut newer, present) = server.v5("same", &[Property::SessionExpiry(60)]);
    assert!(present);
    older.next(|packet| match packet {
        Packet::Disconnect(reason) => assert_eq!(reason.reason, ReasonCode::SESSION_TAKEN_OVER),
        other => panic!("{other:?}"),
    });
    assert!(older.is_closed());
    server.client("p").publish_acked("t", "x");
    assert_eq!(newer.payloads(1), ["x"]);
}

#[test]
fn topics_of_the_gateway_s_own_are_acknowledged_and_dropped() {
    let server = Server::start();
    // As a bridge of Mosquitto does it: a will, and its state retained.
    let will = Will {
        topic: "$SYS/broker/connection/b/state",
        payload: b"0",
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: Properties::default(),
    };
    let connect = Connect { level: 4, client_id: "bridge", clean_start: true, will: Some(will), ..Connect::default() };
    let (mut bridge, _) = server.connect(connect);
    bridge.publish_acked("$SYS/broker/connection/b/state", "1");
    bridge.publish("$SYS/x", "2", Qos::ExactlyOnce, 5);
    bridge.expect(Packet::PubRec(Ack::of(ID)));
    bridge.send(&Packet::PubRel(Ack::of(ID)));
    bridge.expect(Packet::PubComp(Ack::of(ID)));
    bridge.publish_acked("plant", "3");
    assert_eq!(stored(&server, "plant").len(), 1);
}
