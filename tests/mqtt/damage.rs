//! Rows of sessions, shares, packet ids and retained messages that a disk or a fault has changed: the gateway starts and serves, whatever
//! they have become, also those whom they belong to.

use std::time::Duration;

use brooklet::mqtt::{
    Ack, Connect, Packet, PacketId, Properties, PropertiesBuilder, Property, Protocol, Publish, Qos, ReasonCode,
    RetainHandling, Subscription,
};
use fastrand::Rng;

use super::client::{Client, Server};

const ROUNDS: u32 = 30;
const ID: PacketId = PacketId::new(5).unwrap();

fn spoilt(mut value: Vec<u8>, rng: &mut Rng) -> Vec<u8> {
    match rng.u8(0..5) {
        0 => value.truncate(rng.usize(0..=value.len())),
        1 => value.extend((0..rng.u8(1..9)).map(|_| rng.u8(..))),
        2 => value = (0..rng.u8(0..60)).map(|_| rng.u8(..)).collect(),
        _ => {
            for _ in 0..rng.u8(1..4) {
                let at = rng.usize(0..value.len().max(1));
                if let Some(byte) = value.get_mut(at) {
                    *byte = rng.u8(..);
                }
            }
        }
    }
    value
}

/// Subscribes, whatever comes meanwhile.
fn subscribe(client: &mut Client, filter: &str, qos: Qos) {
    let one = Subscription { filter, qos, no_local: false, retain_as_published: false, retain: RetainHandling::Send };
    client.send_subscribe(&[one], Properties::default());
    while !client.next(|packet| matches!(packet, Packet::SubAck(_))) {}
}

#[test]
fn damaged_rows_stop_neither_the_gateway_nor_their_clients() {
    let rng = &mut Rng::with_seed(7);
    let mut server = Server::start();
    for round in 0..ROUNDS {
        // Something of every kind, with messages under way.
        let (mut owner, _) = server.v5("owner", &[Property::SessionExpiry(600)]);
        subscribe(&mut owner, "t/#", Qos::ExactlyOnce);
        subscribe(&mut owner, "$share/s/t/#", Qos::AtLeastOnce);
        subscribe(&mut owner, "$replay/earliest/t/#", Qos::AtLeastOnce);
        let publish =
            Publish { topic: "t/x", payload: b"x", qos: Qos::ExactlyOnce, retain: true, ..Publish::default() };
        owner.publish_with(publish, 5);
        owner.cut();
        server.client("other").publish_acked("t/y", "y");
        let broker = server.gateway().broker().clone();
        let rows: Vec<_> = [&b"s"[..], b"q", b"r", b"g"].iter().flat_map(|kind| broker.rows(kind)).collect();
        assert!(rows.iter().any(|(key, _)| key.first() == Some(&b's')), "{rows:?}");
        let changed = rows.into_iter().map(|(key, value)| (key, Some(spoilt(value, rng)))).collect();
        smol::block_on(broker.change_rows(changed, Duration::ZERO)).unwrap();
        drop(broker);
        server.restart();
        let mut honest = server.client("honest");
        honest.subscribe("honest", Qos::AtLeastOnce);
        server.client("other").publish_acked("honest", &round.to_string());
        assert_eq!(honest.payloads(1), [round.to_string()]);
        // Its owner comes, whatever is left of it; what comes then is by its damaged session.
        let mut properties = PropertiesBuilder::default();
        properties.push(Property::SessionExpiry(600));
        let properties = properties.as_properties();
        let comes = Connect { protocol: Protocol::V5, level: 5, client_id: "owner", properties, ..Connect::default() };
        let mut owner = match server.try_connect(comes) {
            Ok((owner, _)) => owner,
            Err(reason) => {
                // It names another owner now, who alone gets it, until somebody deletes it.
                assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
                let broker = server.gateway().broker().clone();
                let sessions = broker.rows(b"s").into_iter().map(|(key, _)| (key, None)).collect();
                smol::block_on(broker.change_rows(sessions, Duration::ZERO)).unwrap();
                drop(broker);
                server.restart();
                continue;
            }
        };
        owner.send(&Packet::PingReq);
        while !owner.next(|packet| packet == Packet::PingResp) {}
        owner.cut();
        // And begins anew.
        let anew = Connect { level: 4, client_id: "owner", clean_start: true, ..Connect::default() };
        let (mut owner, present) = server.connect(anew);
        assert!(!present);
        subscribe(&mut owner, "fresh", Qos::AtLeastOnce);
        owner.publish("fresh", "1", Qos::AtLeastOnce, 5);
        let mut left = vec![Packet::PubAck(Ack::of(ID))];
        while !left.is_empty() {
            owner.next(|packet| match packet {
                Packet::Publish(publish) => assert_eq!(publish.payload, b"1"),
                other => left.retain(|expected| *expected != other),
            });
        }
    }
}

/// What is too large for a segment's snapshot lies in a file of its own, of which there is one: where that is damaged, nobody need come to the
/// gateway. It starts, with all records, and goes on keeping sessions and retained messages.
#[test]
fn a_damaged_state_file_costs_no_record_and_nobody_need_come() {
    let mut server = Server::start_with(|config| config.store.segment_bytes = Some(1 << 20));
    let mut publisher = server.client("p");
    let large = "x".repeat(40_000);
    for at in 0..300 {
        let topic = format!("kept/{at}");
        let payload = &large[..300];
        let retained = Publish { retain: true, topic: &topic, payload: payload.as_bytes(), ..Publish::default() };
        publisher.publish_with(Publish { qos: Qos::AtLeastOnce, ..retained }, 7);
        publisher.expect(Packet::PubAck(Ack::of(PacketId::new(7).unwrap())));
    }
    let state = server.config.data_dir.join("store/state.redb");
    let mut records = 0;
    while !state.exists() {
        assert!(records < 1_000, "no segment is ever full");
        // Nothing that a codec makes small.
        let value: String = std::iter::repeat_with(fastrand::alphanumeric).take(large.len()).collect();
        publisher.publish_acked("plant/a", &value);
        records += 1;
    }
    publisher.publish_acked("plant/a", "last");
    drop(publisher);
    let renewed = brooklet::metrics::METRICS.state_renewed.get();
    server.restart_after(|_| {
        let mut bytes = std::fs::read(&state).unwrap();
        bytes.iter_mut().skip(4_096).step_by(512).for_each(|byte| *byte ^= 0xff);
        std::fs::write(&state, bytes).unwrap();
    });
    assert_eq!(brooklet::metrics::METRICS.state_renewed.get(), renewed + 1);
    assert!(state.exists() && state.with_file_name("state.bad").exists());
    let broker = server.gateway().broker();
    let end = |topic: &str| broker.head(broker.topic(topic).unwrap().partitions[0]).unwrap().readable_end();
    assert_eq!([end("kept"), end("plant")], [300, records + 1]);
    // Those that the newest segment has seen may be there; none that is there is another.
    let mut reader = server.client("r");
    reader.subscribe("kept/#", Qos::AtMostOnce);
    let retained = reader.messages_until_quiet();
    assert!(retained.len() < 300 && retained.iter().all(|got| got.payload == large[..300]));
    let (mut subscriber, _) = server.kept("s");
    subscriber.subscribe("plant/#", Qos::AtLeastOnce);
    subscriber.cut();
    server.client("p").publish_acked("plant/b", "new");
    server.restart();
    let (mut subscriber, present) = server.kept("s");
    assert!(present);
    assert_eq!(subscriber.payloads(1), ["new"]);
}
