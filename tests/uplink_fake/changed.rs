//! A link that is told otherwise while it works: it ends in order, and another goes on in its place.

use std::time::Duration;

use brooklet::config::{Delivery, HostPort, TopicPattern};
use brooklet::kafka::api::ApiKey;
use brooklet::uplink::{Uplink, UplinkState};
use smol::block_on;

use crate::fake::{Fake, Fault};
use crate::{Edge, first_arrivals, options, wait_caught_up, wait_until};

/// One that has ended, and what takes its place.
fn replace(edge: &Edge, fake: &Fake, before: &Uplink, delivery: Delivery, other: bool) -> Uplink {
    block_on(before.stop());
    let address = if other { fake.other_bootstrap() } else { fake.bootstrap() };
    let told = options(fake, |config| {
        config.bootstrap = vec![HostPort { host: address.ip().to_string(), port: address.port() }];
        config.delivery = delivery;
        config.commit_every = Duration::ZERO;
    });
    Uplink::spawn_after(&edge.executor, edge.broker.clone(), told, Some(before))
}

#[test]
fn an_address_that_changes_in_the_middle_of_a_transaction_costs_and_repeats_nothing() {
    // What stands in the way at that moment: an answer that takes long, one that is lost, the end of the transaction that hangs.
    let troubles = [
        (ApiKey::Produce, Fault::Slow(Duration::from_millis(300))),
        (ApiKey::Produce, Fault::ReplyLost),
        (ApiKey::EndTxn, Fault::Slow(Duration::from_millis(300))),
        (ApiKey::EndTxn, Fault::Slow(Duration::from_secs(4))),
        (ApiKey::EndTxn, Fault::ReplyLost),
        (ApiKey::TxnOffsetCommit, Fault::Slow(Duration::from_millis(300))),
    ];
    for (version, troubles) in [(1, &troubles[..3]), (2, &troubles[3..])] {
        let fake = Fake::start(&[("t", 2)]);
        fake.state().coordinator.version = version;
        let edge = Edge::start();
        let topic = edge.topic("t", 2);
        let mut sent = edge.fill(&topic, 0..3);
        let mut uplink = edge.uplink(&fake, |config| {
            config.delivery = Delivery::ExactlyOnce;
            config.commit_every = Duration::ZERO;
        });
        let first = wait_caught_up(&uplink).counts.records;
        for (round, (api, fault)) in troubles.iter().copied().enumerate() {
            let asked = fake.requests(api);
            fake.fail_api(api, &[fault]);
            let at = 3 + round * 2;
            for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + 2)) {
                sent.extend(more);
            }
            wait_until(&uplink, |_| fake.requests(api) > asked);
            uplink = replace(&edge, &fake, &uplink, Delivery::ExactlyOnce, round % 2 == 0);
            wait_caught_up(&uplink);
            for of in &sent {
                assert_eq!(first_arrivals(&fake, "t", 2, of), (of.clone(), 0), "version {version}, {api:?} {fault:?}");
            }
        }
        assert!(uplink.status().counts.records >= first, "it counts on");
        block_on(uplink.stop());
    }
}

#[test]
fn a_pause_outlives_a_change_and_another_pattern_lets_go() {
    let fake = Fake::start(&[("t", 1), ("u", 1)]);
    let edge = Edge::start();
    let (t, u) = (edge.topic("t", 1), edge.topic("u", 1));
    let uplink = edge.uplink(&fake, |config| config.topics = vec![TopicPattern::parse("t").unwrap()]);
    let _ = edge.fill(&t, 0..1);
    wait_caught_up(&uplink);
    uplink.pause();
    let uplink = replace(&edge, &fake, &uplink, Delivery::AtLeastOnce, true);
    let sent = [edge.fill(&t, 1..2), edge.fill(&u, 0..1)];
    wait_until(&uplink, |status| status.state == UplinkState::Paused && status.lag_records == 6);
    uplink.resume();
    wait_caught_up(&uplink);
    for (name, sent) in ["t", "u"].into_iter().zip(&sent) {
        assert_eq!(first_arrivals(&fake, name, 1, &sent[0]), (sent[0].clone(), 0), "{name}");
    }
    let told = options(&fake, |config| config.topics = vec![TopicPattern::parse("u").unwrap()]);
    block_on(uplink.stop());
    let uplink = Uplink::spawn_after(&edge.executor, edge.broker.clone(), told, Some(&uplink));
    assert!(edge.broker.followers_of(&t).is_empty());
    assert_eq!(edge.broker.upstream_offset(t.partitions[0]), None, "nobody waits for it");
    assert_eq!(edge.broker.upstream_offset(u.partitions[0]), Some(3));
    block_on(uplink.stop());
    edge.broker.remove_follower("centre");
    assert_eq!(edge.broker.upstream_offset(u.partitions[0]), None);
    // What was forwarded is known all the same.
    edge.broker.add_follower("centre", std::sync::Arc::new(|_| true));
    assert_eq!(edge.broker.upstream_offset(t.partitions[0]), Some(6));
}

/// The end of a transaction is in doubt when its topic is let go, and is known when the topic is followed no more.
#[test]
fn what_was_in_doubt_when_its_topic_was_let_go_is_not_sent_again() {
    let fake = Fake::start(&[("t", 1), ("u", 1)]);
    let edge = Edge::start();
    let (t, u) = (edge.topic("t", 1), edge.topic("u", 1));
    let told = |topic: &str| {
        options(&fake, |config| {
            config.delivery = Delivery::ExactlyOnce;
            config.commit_every = Duration::ZERO;
            config.topics = vec![TopicPattern::parse(topic).unwrap()];
        })
    };
    let uplink = Uplink::spawn(&edge.executor, edge.broker.clone(), told("t"));
    let mut sent = edge.fill(&t, 0..1);
    wait_caught_up(&uplink);
    let asked = fake.requests(ApiKey::EndTxn);
    // Done, and nobody tells until the uplink is another.
    fake.fail_api(ApiKey::EndTxn, &[Fault::DoneInSilence]);
    sent[0].extend(edge.fill(&t, 1..2).remove(0));
    wait_until(&uplink, |_| fake.requests(ApiKey::EndTxn) > asked);
    block_on(uplink.stop());
    let uplink = Uplink::spawn_after(&edge.executor, edge.broker.clone(), told("u"), Some(&uplink));
    let others = edge.fill(&u, 0..1);
    wait_caught_up(&uplink);
    block_on(uplink.stop());
    let uplink = Uplink::spawn_after(&edge.executor, edge.broker.clone(), told("t"), Some(&uplink));
    sent[0].extend(edge.fill(&t, 2..3).remove(0));
    wait_caught_up(&uplink);
    assert_eq!(first_arrivals(&fake, "t", 1, &sent[0]), (sent[0].clone(), 0));
    assert_eq!(first_arrivals(&fake, "u", 1, &others[0]), (others[0].clone(), 0));
    block_on(uplink.stop());
}
