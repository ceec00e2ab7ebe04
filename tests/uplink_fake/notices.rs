//! What the centre is told of a gateway: beside its records, never alone, and never at their cost.

use std::thread;
use std::time::{Duration, Instant};

use brooklet::config::{ClockTrust, Delivery, HostPort, UplinkConfig, UplinkProtocol};
use brooklet::kafka::api::ApiKey;
use brooklet::metrics::METRICS;
use brooklet::uplink::{Fleet, Notice, Uplink, UplinkOptions, read_fleet};
use smol::block_on;

use crate::fake::{Fake, Fault};
use crate::tier::Above;
use crate::{Edge, SOON, first_arrivals, options, wait_caught_up, wait_until};

const TOPIC: &str = "brooklet.status";

fn uplink(edge: &Edge, fake: &Fake, delivery: Delivery) -> Uplink {
    edge.uplink(fake, |config| config.delivery = delivery)
}

fn notices(fake: &Fake) -> Vec<Notice> {
    let all = (0..fake.state().topics[TOPIC].len()).collect::<Vec<_>>();
    let values = all.into_iter().flat_map(|partition| fake.values(TOPIC, partition));
    values.map(|value| Notice::parse(value.as_bytes()).unwrap()).collect()
}

fn fleet(options: &UplinkOptions) -> Result<Fleet, String> {
    block_on(read_fleet(options, TOPIC))
}

#[test]
fn a_notice_goes_with_records_and_in_no_transaction() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let fake = Fake::start(&[("t", 2), (TOPIC, 3)]);
        let edge = Edge::start();
        let topic = edge.topic("t", 1);
        let uplink = uplink(&edge, &fake, delivery);
        wait_caught_up(&uplink);
        assert!(notices(&fake).is_empty(), "nothing went that it could go with");
        let mut sent = edge.fill(&topic, 0..3);
        let status = wait_until(&uplink, |status| status.notices.sent == 1 && status.lag_records == 0);
        assert_eq!((status.notices.dropped, status.notices.refused.as_deref()), (0, None));
        // Another one is not due for minutes.
        for at in 3..6 {
            sent[0].extend(edge.fill(&topic, at..at + 1).remove(0));
            wait_caught_up(&uplink);
        }
        let told = notices(&fake);
        assert_eq!(told.len(), 1, "{told:?}");
        let notice = &told[0];
        assert_eq!((notice.uplink.as_str(), notice.lost, notice.stalled), ("centre", 0, 0));
        assert!(notice.time_trusted && notice.disk > 0 && notice.disk <= notice.disk_max, "{notice:?}");
        let state = fake.state();
        let held = state.topics[TOPIC].iter().flat_map(|partition| partition.committed()).collect::<Vec<_>>();
        assert!(held.iter().all(|entry| !entry.transactional && entry.producer < 0));
        drop(held);
        drop(state);
        assert_eq!(first_arrivals(&fake, "t", 2, &sent[0]), (sent[0].clone(), 0));
        block_on(uplink.stop());
    }
}

#[test]
fn after_a_death_at_any_request_records_are_exact_and_the_newest_notice_counts() {
    let fake = Fake::start(&[("t", 1), (TOPIC, 1)]);
    let mut edge = Edge::start();
    let mut sent = Vec::new();
    edge.topic("t", 1);
    for (at, fault) in [Fault::Silence, Fault::DoneInSilence, Fault::ReplyLost, Fault::Cut].into_iter().enumerate() {
        // The first request with records, or the notice behind it.
        for before in 0..2 {
            fake.fail(&vec![Fault::None; before].into_iter().chain([fault]).collect::<Vec<_>>());
            let topic = edge.broker.topic("t").unwrap();
            let number = 2 * at + before;
            sent.extend(edge.fill(&topic, number..number + 1).remove(0));
            let dying = uplink(&edge, &fake, Delivery::ExactlyOnce);
            wait_until(&dying, |_| fake.state().faults.is_empty());
            drop(dying);
            edge = edge.restart();
            let living = uplink(&edge, &fake, Delivery::ExactlyOnce);
            wait_caught_up(&living);
            block_on(living.stop());
            assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent.clone(), 0), "{fault:?} {before}");
        }
    }
    let told = notices(&fake);
    assert!(!told.is_empty() && told.len() <= 16, "one a run at most: {}", told.len());
    let fleet = fleet(&options(&fake, |_| {})).unwrap();
    assert_eq!(fleet.gateways.len(), 1);
    assert_eq!((fleet.gateways[0].gateway.as_str(), &fleet.gateways[0].notice), ("gw-1", told.last().unwrap()));
}

#[test]
fn a_topic_that_is_missing_or_denied_holds_up_nothing() {
    for denied in [false, true] {
        let fake = Fake::start(&[("t", 1)]);
        if denied {
            fake.state().topics.insert(TOPIC.to_owned(), vec![Default::default()]);
            fake.state().denied.push(TOPIC.to_owned());
        }
        let edge = Edge::start();
        let topic = edge.topic("t", 1);
        let sent = edge.fill(&topic, 0..5).remove(0);
        let uplink = uplink(&edge, &fake, Delivery::ExactlyOnce);
        wait_caught_up(&uplink);
        let status = wait_until(&uplink, |status| status.notices.refused.is_some());
        let why = status.notices.refused.as_deref().unwrap();
        assert!(why.contains(TOPIC) && why.contains("missing") != denied, "{why}");
        assert_eq!((status.notices.sent, status.notices.dropped), (0, u64::from(denied)));
        assert_eq!((status.counts.failures, status.stalls.len()), (0, 0), "{}", status.to_json());
        assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent.clone(), 0));
        let read = fleet(&options(&fake, |_| {})).unwrap_err();
        assert!(read.contains(TOPIC), "{read}");
        block_on(uplink.stop());
    }
}

/// Seen by metadata, not to be written to: known only by the answer.
#[test]
fn a_refusal_by_the_broker_is_told_once_and_not_repeated() {
    let fake = Fake::start(&[("t", 1), (TOPIC, 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = uplink(&edge, &fake, Delivery::AtLeastOnce);
    wait_caught_up(&uplink);
    // The records' own request comes first.
    fake.fail(&[Fault::None, Fault::Code(29)]);
    let mut sent = edge.fill(&topic, 0..1).remove(0);
    let status = wait_until(&uplink, |status| status.notices.dropped == 1);
    assert!(status.notices.refused.is_some_and(|why| why.contains("TOPIC_AUTHORIZATION_FAILED")));
    let before = fake.requests(ApiKey::Produce);
    sent.extend(edge.fill(&topic, 1..2).remove(0));
    wait_caught_up(&uplink);
    assert_eq!(fake.requests(ApiKey::Produce), before + 1, "not tried again with the next records");
    assert_eq!(first_arrivals(&fake, "t", 1, &sent), (sent.clone(), 0));
    block_on(uplink.stop());
}

#[test]
fn where_topics_are_created_so_is_this_one() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |config| config.create_topics = true);
    let (mut at, begin) = (0, Instant::now());
    while uplink.status().notices.sent == 0 {
        assert!(begin.elapsed() < SOON, "{}", uplink.status().to_json());
        edge.fill(&topic, at..at + 1);
        at += 1;
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(fake.state().configs[TOPIC]["cleanup.policy"], "compact");
    assert_eq!(fake.state().topics[TOPIC].len(), 1);
    block_on(uplink.stop());
}

/// Metadata knows that topic from the first contact on, as that of the notices. When it comes to be followed as well, as in a gateway that
/// others send theirs to, it is learned for records, too.
#[test]
fn records_of_the_notices_own_topic_go_up_as_those_of_any() {
    for delivery in [Delivery::ExactlyOnce, Delivery::AtLeastOnce] {
        let fake = Fake::start(&[("t", 1), (TOPIC, 1)]);
        let edge = Edge::start();
        let topic = edge.topic("t", 1);
        let uplink = uplink(&edge, &fake, delivery);
        edge.fill(&topic, 0..1);
        wait_until(&uplink, |status| status.notices.sent == 1 && status.lag_records == 0);
        let others = edge.fill(&edge.topic(TOPIC, 1), 0..2).remove(0);
        wait_until(&uplink, |status| status.lag_records == 0);
        assert_eq!(first_arrivals(&fake, TOPIC, 1, &others), (others.clone(), 0));
        block_on(uplink.stop());
    }
}

fn to_gateway(above: &Above) -> UplinkConfig {
    UplinkConfig {
        protocol: UplinkProtocol::Brooklet,
        linger: Duration::from_millis(5),
        ..UplinkConfig::to(vec![HostPort { host: above.relay.ip().to_string(), port: above.relay.port() }])
    }
}

#[test]
fn a_gateway_above_takes_notices_as_an_ordinary_topic() {
    let before = METRICS.records_in_tiers.get();
    let above = Above::start(&[("t", 1), (TOPIC, 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink_as("gw-1", to_gateway(&above));
    edge.fill(&topic, 0..3);
    wait_until(&uplink, |status| status.notices.sent == 1 && status.lag_records == 0);
    // Over Kafka's protocol, as a centre is read.
    let kafka = above.gateway().kafka_addr().unwrap();
    let centre = UplinkConfig::to(vec![HostPort { host: kafka.ip().to_string(), port: kafka.port() }]);
    let fleet = fleet(&Edge::options_as("reader", centre)).unwrap();
    assert_eq!((fleet.gateways.len(), fleet.records, fleet.unreadable), (1, 1, 0));
    assert_eq!(fleet.gateways[0].gateway, "gw-1");
    assert!(METRICS.records_in_tiers.get() >= before + 10, "nine records and the notice, and what other tests bring");
    block_on(uplink.stop());
}

/// In tiers: what a gateway below tells goes on as the records of any topic do.
#[test]
fn a_gateway_in_the_middle_passes_notices_on() {
    let fake = Fake::start(&[("t", 1), (TOPIC, 2)]);
    let to_fake = options(&fake, |_| {}).config;
    let above = Above::start_with(&[("t", 1), (TOPIC, 1)], |config| {
        config.clock.trust = ClockTrust::Always;
        config.uplinks.insert("centre".to_owned(), to_fake);
    });
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink_as("below", to_gateway(&above));
    edge.fill(&topic, 0..3);
    wait_until(&uplink, |status| status.notices.sent == 1 && status.lag_records == 0);
    let centre = options(&fake, |_| {});
    let (mut told, begin) = (Vec::new(), Instant::now());
    while begin.elapsed() < SOON {
        told = fleet(&centre).unwrap().gateways.into_iter().map(|one| one.gateway).collect();
        if told.len() == 2 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(told, ["above", "below"], "{}", above.status());
    block_on(uplink.stop());
}
