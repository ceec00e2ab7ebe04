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
