//! Of 5.0, what the other files have not: aliases both ways, packets that are too large for a client, request and response by way of Kafka,
//! a session's end moved at DISCONNECT, what is told and what isn't, quotas.

use brooklet::broker::{Acks, NewRecord};
use brooklet::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, Reason, ReasonCode,
};
use brooklet::record::{BatchView, VerifyLimits, decompress, records};

use super::client::{Client, Server};

const ID: PacketId = PacketId::new(5).unwrap();

fn properties(all: &[Property<'_>]) -> PropertiesBuilder {
    let mut builder = PropertiesBuilder::default();
    builder.extend(all.iter().copied());
    builder
}

fn alias_of(publish: &Publish<'_>) -> Option<u16> {
    publish.properties.find(|property| if let Property::TopicAlias(alias) = property { Some(alias) } else { None })
}

#[test]
fn aliases_stand_for_topics_both_ways() {
    let server = Server::start();
    let (mut subscriber, _) = server.v5("s", &[Property::TopicAliasMaximum(1)]);
    subscriber.subscribe("plant/#", Qos::AtMostOnce);
    let (mut publisher, _) = server.v5("p", &[]);
    let alias = properties(&[Property::TopicAlias(7)]);
    for (topic, payload) in [("plant/a", "1"), ("", "2"), ("plant/b", "3"), ("", "4")] {
        let (payload, properties) = (payload.as_bytes(), alias.as_properties());
        publisher.publish_with(Publish { topic, payload, qos: Qos::AtLeastOnce, properties, ..Publish::default() }, 5);
        publisher.expect(Packet::PubAck(Ack::of(ID)));
    }
    let mut got = Vec::new();
    for _ in 0..4 {
        subscriber.next(|packet| match packet {
            Packet::Publish(publish) => {
                let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                got.push((publish.topic.to_owned(), alias_of(&publish), payload));
            }
            other => panic!("{other:?}"),
        });
    }
    let got: Vec<(&str, Option<u16>, &str)> =
        got.iter().map(|(topic, alias, text)| (&**topic, *alias, &**text)).collect();
    // The one alias that the client takes is the first topic's; the other one comes by its name.
    let expected = [("plant/a", Some(1), "1"), ("", Some(1), "2"), ("plant/b", None, "3"), ("plant/b", None, "4")];
    assert_eq!(got, expected);
}

#[test]
fn what_is_larger_than_a_client_takes_is_left_out_and_stops_nothing() {
    let server = Server::start();
    let (mut subscriber, _) = server.v5("s", &[Property::MaximumPacketSize(200), Property::ReceiveMaximum(1)]);
    subscriber.subscribe("t", Qos::AtLeastOnce);
    let mut publisher = server.client("p");
    for payload in ["x".repeat(300), "small".to_owned(), "y".repeat(4_000), "last".to_owned()] {
        publisher.publish_acked("t", &payload);
    }
    assert_eq!(subscriber.payloads(2), ["small", "last"]);
}

/// Name and value of each header of the only record of a topic.
fn headers(server: &Server, topic: &str) -> Vec<(String, Vec<u8>)> {
    let broker = server.gateway().broker();
    let topic = broker.topic(topic).unwrap();
    let bytes = smol::block_on(broker.fetch(topic.partitions[0], 0, 1 << 20)).unwrap().bytes;
    let (view, _) = BatchView::parse(&bytes).unwrap();
    let limits = VerifyLimits {
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 1 << 20,
        ratio_max: 1_000,
        control_allowed: true,
    };
    let payload = decompress(&view, &limits).unwrap();
    let record = records(&view, &payload).next().unwrap().unwrap();
    let header = |(name, value): (&[u8], Option<&[u8]>)| {
        (String::from_utf8(name.to_vec()).unwrap(), value.unwrap_or_default().to_vec())
    };
    record.headers.clone().map(header).collect()
}

#[test]
fn a_request_and_its_response_go_by_way_of_kafka_s_headers() {
    let server = Server::start();
    let (mut device, _) = server.v5("device", &[]);
    device.subscribe("answers/device", Qos::AtLeastOnce);
    let asked = properties(&[
        Property::ResponseTopic("answers/device"),
        Property::CorrelationData(&[0xff, 0, 7]),
        Property::ContentType("text/plain"),
        Property::User(("unit", "kW")),
    ]);
    let request = Publish {
        topic: "requests/7",
        payload: b"how much",
        qos: Qos::AtLeastOnce,
        properties: asked.as_properties(),
        ..Publish::default()
    };
    device.publish_with(request, 5);
    device.expect(Packet::PubAck(Ack::of(ID)));
    // What a service at the centre finds, it sends back.
    let found = headers(&server, "requests");
    let value = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(value("mqtt.response-topic").as_deref(), Some(&b"answers/device"[..]));
    assert_eq!(value("mqtt.correlation-data").as_deref(), Some(&[0xff, 0, 7][..]));
    assert_eq!(
        (value("unit").as_deref(), value("mqtt.content-type").as_deref()),
        (Some(&b"kW"[..]), Some(&b"text/plain"[..]))
    );
    let broker = server.gateway().broker().clone();
    let answer = NewRecord {
        value: Some(b"3.5".to_vec()),
        headers: vec![
            (b"mqtt.topic".to_vec(), value("mqtt.response-topic")),
            (b"mqtt.correlation-data".to_vec(), value("mqtt.correlation-data")),
            (b"unit".to_vec(), value("unit")),
        ],
        ..NewRecord::default()
    };
    smol::block_on(async {
        let session = broker.open_session("service", None, 0).await.unwrap();
        let topic = broker.topic_or_create("answers").await.unwrap();
        broker.publish(&session, &topic, 1, vec![answer], Acks::Flash).await.unwrap().wait().await.unwrap();
    });
    device.next(|packet| {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        assert_eq!((publish.topic, publish.payload), ("answers/device", &b"3.5"[..]));
        let got: Vec<Property<'_>> = publish.properties.iter().collect();
        assert!(
            got.contains(&Property::CorrelationData(&[0xff, 0, 7])) && got.contains(&Property::User(("unit", "kW")))
        );
    });
}

#[test]
fn the_end_of_a_session_is_moved_at_disconnect() {
    let server = Server::start();
    let disconnect = |client: &mut Client, expiry_s| {
        let properties = properties(&[Property::SessionExpiry(expiry_s)]);
        client
            .send(&Packet::Disconnect(Reason { reason: ReasonCode::SUCCESS, properties: properties.as_properties() }));
    };
    let (mut client, _) = server.v5("c", &[Property::SessionExpiry(600)]);
    disconnect(&mut client, 0);
    assert!(client.is_closed());
    let (mut client, present) = server.v5("c", &[Property::SessionExpiry(600)]);
    assert!(!present, "it was to end with the connection");
    disconnect(&mut client, 900);
    assert!(client.is_closed());
    let (mut client, present) = server.v5("c", &[]);
    assert!(present);
    // By CONNECT it ends with this connection, and DISCONNECT must not have it otherwise.
    disconnect(&mut client, 600);
    client.next(|packet| match packet {
        Packet::Disconnect(reason) => assert_eq!(reason.reason, ReasonCode::PROTOCOL_ERROR),
        other => panic!("{other:?}"),
    });
}

#[test]
fn reasons_in_words_and_response_information_come_only_where_they_may() {
    let server = Server::start();
    let goodbye = |wanted| {
        let (mut client, _) = server.v5("c", &[Property::RequestProblemInfo(wanted)]);
        client.send_raw(b"\x20\x03\x00\x00\x00");
        client.next(|packet| match packet {
            Packet::Disconnect(reason) => {
                reason.properties.find(|p| matches!(p, Property::ReasonString(_)).then_some(()))
            }
            other => panic!("{other:?}"),
        })
    };
    assert_eq!([true, false].map(goodbye), [Some(()), None]);
    // Nothing is reserved for answers, so nothing is told; nor is another server ever named.
    let mut client = Client::open(server.addr(), Protocol::V5);
    let asked = properties(&[Property::RequestResponseInfo(true)]);
    let properties = asked.as_properties();
    client.send(&Packet::Connect(Connect {
        protocol: Protocol::V5,
        level: 5,
        client_id: "c",
        properties,
        ..Connect::default()
    }));
    client.next(|packet| match packet {
        Packet::ConnAck(connack) => {
            let is_told = |p| matches!(p, Property::ResponseInfo(_) | Property::ServerReference(_)).then_some(());
            assert!(!connack.reason.is_error() && connack.properties.find(is_told).is_none());
        }
        other => panic!("{other:?}"),
    });
}

#[test]
fn quotas_are_told_and_what_goes_makes_room() {
    let server = Server::start_with(|config| {
        config.listen.mqtt.max_subscriptions = 1;
        config.listen.mqtt.max_sessions = 2;
        config.listen.mqtt.max_retained_bytes = 200;
    });
    let (mut client, _) = server.v5("one", &[]);
    assert_eq!(client.subscribe("a", Qos::AtLeastOnce), [1]);
    assert_eq!(client.subscribe("b", Qos::AtLeastOnce), [ReasonCode::QUOTA_EXCEEDED.0]);
    assert_eq!(client.subscribe("a", Qos::ExactlyOnce), [2], "the one that is there can be changed");
    let retain = |client: &mut Client, topic, payload: &[u8], reason| {
        client.publish_with(Publish { topic, payload, qos: Qos::AtLeastOnce, retain: true, ..Publish::default() }, 5);
        client.expect(Packet::PubAck(Ack { packet_id: ID, reason, properties: Properties::default() }));
    };
    retain(&mut client, "r/a", &[b'x'; 100], ReasonCode::SUCCESS);
    retain(&mut client, "r/b", &[b'x'; 100], ReasonCode::QUOTA_EXCEEDED);
    retain(&mut client, "r/a", b"", ReasonCode::SUCCESS);
    retain(&mut client, "r/b", &[b'x'; 100], ReasonCode::SUCCESS);
    // A session takes its place while its client is away, and gives it back with its end.
    server.v5("two", &[Property::SessionExpiry(600)]).0.cut();
    let refused = || {
        let mut third = Client::open(server.addr(), Protocol::V5);
        third.send(&Packet::Connect(Connect {
            protocol: Protocol::V5,
            level: 5,
            client_id: "three",
            ..Connect::default()
        }));
        third.next(|packet| match packet {
            Packet::ConnAck(connack) => connack.reason == ReasonCode::QUOTA_EXCEEDED,
            other => panic!("{other:?}"),
        })
    };
    assert!(refused());
    let (mut back, _) = server.v5("two", &[]);
    back.send(&Packet::Disconnect(Reason::of(ReasonCode::SUCCESS)));
    assert!(back.is_closed());
    while refused() {
        std::thread::yield_now();
    }
}
