//! Shared subscriptions: balanced, each message to one member, unacknowledged ones to another, the position durable.

use std::collections::BTreeSet;

use brooklet::mqtt::{
    Ack, Filters, Packet, PacketId, Properties, Property, Qos, Reason, ReasonCode, RetainHandling, Subscription,
    Unsubscribe,
};

use super::client::{Client, Got, Server};

const FILTER: &str = "$share/workers/job/+";

fn member(server: &Server, id: &str, qos: Qos) -> Client {
    let (mut client, _) = server.v5(id, &[Property::SessionExpiry(600)]);
    assert_eq!(client.subscribe(FILTER, qos), [qos as u8]);
    client
}

fn publish(server: &Server, numbers: std::ops::Range<u32>) {
    let mut publisher = server.client("publisher");
    for n in numbers {
        publisher.publish_acked("job/x", &n.to_string());
    }
}

/// What is there for a client; acknowledged, or (`false`) only looked at.
fn drain(client: &mut Client, acked: bool) -> Vec<Got> {
    let mut all = Vec::new();
    loop {
        let some = client.messages_until_quiet();
        if some.is_empty() {
            return all;
        }
        for id in some.iter().filter_map(|got| got.id).filter(|_| acked) {
            client.send(&Packet::PubAck(Ack::of(id)));
        }
        all.extend(some);
    }
}

fn numbers<'a>(all: impl IntoIterator<Item = &'a Got>) -> Vec<u32> {
    all.into_iter().map(|got| got.payload.parse().unwrap()).collect()
}

#[test]
fn each_message_goes_to_one_member_and_each_has_its_turn() {
    let server = Server::start();
    let mut members = [member(&server, "a", Qos::AtLeastOnce), member(&server, "b", Qos::AtMostOnce)];
    // By 3.1.1 as well, and a plain subscription gets all of it.
    let mut old = server.client("c");
    assert_eq!(old.subscribe(FILTER, Qos::AtLeastOnce), [1]);
    let mut all = server.client("all");
    all.subscribe("job/#", Qos::AtLeastOnce);
    publish(&server, 0..30);
    assert_eq!(all.payloads(30).len(), 30);
    let mut got = vec![numbers(&drain(&mut old, true))];
    got.extend(members.iter_mut().map(|client| numbers(&drain(client, true))));
    assert!(got.iter().all(|numbers| numbers.len() == 10 && numbers.is_sorted()), "{got:?}");
    let distinct: BTreeSet<u32> = got.into_iter().flatten().collect();
    assert_eq!(distinct.len(), 30);
}

#[test]
fn what_a_member_leaves_unacknowledged_another_gets() {
    let server = Server::start();
    let (mut a, mut b) = (member(&server, "a", Qos::AtLeastOnce), member(&server, "b", Qos::AtLeastOnce));
    publish(&server, 0..20);
    let with_a = drain(&mut a, false);
    assert_eq!(with_a.len(), 10);
    a.send(&Packet::PubAck(Ack::of(with_a[0].id.unwrap())));
    let mut with_b = drain(&mut b, true);
    a.send(&Packet::PingReq);
    a.expect(Packet::PingResp);
    a.cut();
    while with_b.len() < 19 {
        with_b.extend(drain(&mut b, true));
    }
    let distinct: BTreeSet<u32> = numbers(&with_b).into_iter().collect();
    assert_eq!(distinct.len(), 19, "each once, and not the one that was acknowledged");
    assert!(!distinct.contains(&numbers(&with_a)[0]));
    // It comes back, and has its turn again.
    let (mut a, present) = server.v5("a", &[Property::SessionExpiry(600)]);
    assert!(present);
    publish(&server, 20..24);
    assert_eq!(numbers(&drain(&mut a, true)).len() + numbers(&drain(&mut b, true)).len(), 4);
}

#[test]
fn the_position_stays_while_nobody_is_connected() {
    let mut server = Server::start();
    let mut a = member(&server, "a", Qos::AtLeastOnce);
    publish(&server, 0..3);
    assert_eq!(a.payloads(3), ["0", "1", "2"]);
    a.send(&Packet::Disconnect(Reason::of(ReasonCode::SUCCESS)));
    assert!(a.is_closed());
    publish(&server, 3..6);
    server.restart();
    publish(&server, 6..7);
    // Another one that joins meanwhile takes on what the share has not had yet.
    let mut b = member(&server, "b", Qos::AtLeastOnce);
    assert_eq!(b.payloads(4), ["3", "4", "5", "6"]);
    let (mut a, _) = server.v5("a", &[Property::SessionExpiry(600)]);
    assert!(a.is_quiet() && b.is_quiet());
}

#[test]
fn a_message_of_qos_2_stays_with_its_member() {
    let mut server = Server::start();
    let mut publisher = server.client("publisher");
    let (mut a, mut b) = (member(&server, "a", Qos::ExactlyOnce), member(&server, "b", Qos::ExactlyOnce));
    for (n, id) in [("0", 5), ("1", 6)] {
        let id = PacketId::new(id).unwrap();
        publisher.publish("job/x", n, Qos::ExactlyOnce, id.get());
        publisher.expect(Packet::PubRec(Ack::of(id)));
        publisher.send(&Packet::PubRel(Ack::of(id)));
        publisher.expect(Packet::PubComp(Ack::of(id)));
    }
    let first = a.message();
    assert_eq!(b.take().1, if first.payload == "0" { "1" } else { "0" });
    a.cut();
    assert!(b.is_quiet(), "it is with the other one");
    server.restart();
    let (mut b, _) = server.v5("b", &[Property::SessionExpiry(600)]);
    assert!(b.is_quiet(), "over a restart as well");
    let (mut a, _) = server.v5("a", &[Property::SessionExpiry(600)]);
    let again = a.message();
    assert_eq!((&again.payload, again.id, again.dup), (&first.payload, first.id, true));
}

#[test]
fn a_share_ends_with_its_last_member() {
    let mut server = Server::start();
    let mut a = member(&server, "a", Qos::AtLeastOnce);
    assert_eq!(server.gateway().broker().rows(b"g").len(), 1);
    let mut filters = vec![0, FILTER.len() as u8];
    filters.extend_from_slice(FILTER.as_bytes());
    let (packet_id, properties) = (PacketId::new(7).unwrap(), Properties::default());
    a.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: Filters::of(&filters) }));
    a.next(|packet| assert!(matches!(packet, Packet::UnsubAck(_)), "{packet:?}"));
    assert_eq!(server.gateway().broker().rows(b"g").len(), 0);
    publish(&server, 0..3);
    assert!(a.is_quiet());
    server.restart();
    let mut b = member(&server, "b", Qos::AtLeastOnce);
    publish(&server, 3..4);
    assert_eq!(b.payloads(1), ["3"], "a new share begins at the end");
}

#[test]
fn a_member_that_takes_nothing_holds_nobody_up() {
    let server = Server::start();
    let (mut stuck, _) = server.v5("stuck", &[Property::ReceiveMaximum(2)]);
    stuck.subscribe(FILTER, Qos::AtLeastOnce);
    let mut b = member(&server, "b", Qos::AtLeastOnce);
    publish(&server, 0..30);
    assert_eq!(b.payloads(28).len(), 28);
    assert_eq!(drain(&mut stuck, false).len(), 2);
}

#[test]
fn a_shared_subscription_can_not_be_without_ones_own() {
    let server = Server::start();
    let (mut client, _) = server.v5("a", &[]);
    let one = Subscription {
        filter: FILTER,
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain: RetainHandling::Send,
    };
    client.send_subscribe(&[one], Properties::default());
    client.next(|packet| match packet {
        Packet::Disconnect(reason) => assert_eq!(reason.reason, ReasonCode::PROTOCOL_ERROR),
        other => panic!("{other:?}"),
    });
}
