//! Exactly once, whatever goes wrong with each request of a transaction, with both protocols, over restarts.

use std::thread;
use std::time::Duration;

use brooklet::config::{Delivery, UplinkConfig};
use brooklet::kafka::api::ApiKey;
use brooklet::uplink::{Uplink, UplinkState};
use smol::block_on;

use crate::fake::{Fake, Fault, State};
use crate::{Edge, SOON, first_arrivals, wait_caught_up, wait_until};

const CURSORS: &str = "brooklet.cursors";
/// Every request that a transaction of the first protocol makes, and the second.
const APIS: [ApiKey; 8] = [
    ApiKey::FindCoordinator,
    ApiKey::InitProducerId,
    ApiKey::OffsetFetch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::Produce,
    ApiKey::EndTxn,
];

fn exactly(config: &mut UplinkConfig) {
    config.delivery = Delivery::ExactlyOnce;
    config.commit_every = Duration::ZERO;
    config.request_timeout = Duration::from_millis(1_500);
}

fn start(topics: &[(&str, usize)], version: i16) -> Fake {
    let fake = Fake::start(topics);
    fake.state().coordinator.version = version;
    fake
}

fn uplink(edge: &Edge, fake: &Fake) -> Uplink {
    edge.uplink(fake, exactly)
}

/// All of each partition is there once, in order.
fn assert_exact(fake: &Fake, topic: &str, upstream: usize, sent: &[Vec<String>], what: &str) {
    for of in sent {
        assert_eq!(first_arrivals(fake, topic, upstream, of), (of.clone(), 0), "{what}");
    }
}

#[test]
fn positions_and_records_come_in_one_transaction() {
    for version in [1, 2] {
        let fake = start(&[("t", 6)], version);
        let edge = Edge::start();
        let topic = edge.topic("t", 4);
        let mut sent = edge.fill(&topic, 0..20);
        let uplink = edge.uplink(&fake, |config| {
            exactly(config);
            // A machine that is busy is no failure.
            config.request_timeout = SOON;
        });
        wait_caught_up(&uplink);
        for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, 20..25)) {
            sent.extend(more);
        }
        let status = wait_caught_up(&uplink);
        assert_exact(&fake, "t", 6, &sent, &format!("version {version}"));
        assert_eq!(status.counts.records as usize, sent.iter().map(Vec::len).sum::<usize>());
        assert_eq!((status.counts.resends, status.counts.failures), (0, 0), "{}", status.to_json());
        let cursors: Vec<String> = (0..6).flat_map(|partition| fake.values(CURSORS, partition)).collect();
        assert!(cursors.iter().filter(|cursor| cursor.contains("\"next\":75")).count() == 4, "{cursors:?}");
        let state = fake.state();
        assert_eq!(state.configs[CURSORS]["cleanup.policy"], "compact");
        let group = &state.groups["brooklet.gw-1.centre"];
        let ended = state.coordinator.ended[&true];
        assert_eq!(group.committed.values().map(|(number, _)| *number).collect::<Vec<_>>(), [i64::from(ended)]);
        drop(state);
        block_on(uplink.stop());
    }
}

/// However far apart commits are to be: what has piled up goes on, but for the last that is less than a lot.
#[test]
fn a_backlog_does_not_wait_for_the_next_commit() {
    const RECORD: usize = 100_000;
    let fake = start(&[("t", 1)], 2);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..120 {
        // Nothing that a codec makes smaller by much; 24 MB in all, as each is its own key.
        let value: String = std::iter::repeat_with(|| random.char('!'..'~')).take(RECORD).collect();
        edge.produce(&topic, 0, &[value], 1_700_000_000_000);
    }
    let uplink = edge.uplink(&fake, |config| {
        exactly(config);
        config.commit_every = Duration::from_secs(300);
    });
    wait_until(&uplink, |status| status.lag_records <= 5);
    block_on(uplink.stop());
}

#[test]
fn whatever_goes_wrong_once_each_record_is_there_once() {
    let faults = [
        vec![Fault::Cut],
        vec![Fault::ReplyLost],
        vec![Fault::Code(51), Fault::Code(51)],
        vec![Fault::Code(16), Fault::Code(15)],
        vec![Fault::Code(47)],
        vec![Fault::Code(90)],
        vec![Fault::Code(48)],
        vec![Fault::Code(120)],
        vec![Fault::Code(49)],
        vec![Fault::CoordinatorMoves],
        vec![Fault::None, Fault::ReplyLost, Fault::Cut],
    ];
    for version in [1, 2] {
        let fake = start(&[("t", 2)], version);
        let edge = Edge::start();
        let topic = edge.topic("t", 2);
        let mut sent = vec![Vec::new(); 2];
        let uplink = uplink(&edge, &fake);
        let mut at = 0;
        for api in APIS {
            for faults in &faults {
                fake.fail_api(api, faults);
                for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + 2)) {
                    sent.extend(more);
                }
                at += 2;
                wait_caught_up(&uplink);
                // What was meant for a request that was not made would go wrong with a later one.
                let left = !fake.state().faults.is_empty();
                let what = format!("version {version}, {}: {faults:?}, left {left}", api.name());
                assert_exact(&fake, "t", 2, &sent, &what);
                fake.state().faults = Default::default();
            }
        }
        block_on(uplink.stop());
        assert_exact(&fake, "t", 2, &sent, &format!("version {version}"));
    }
}

#[test]
fn a_gateway_that_dies_at_any_request_goes_on_where_upstream_is() {
    for version in [1, 2] {
        let fake = start(&[("t", 2)], version);
        let mut edge = Edge::start();
        let mut sent = vec![Vec::new(); 2];
        let mut at = 0;
        for api in APIS {
            for fault in [Fault::Silence, Fault::DoneInSilence] {
                let topic = edge.broker.topic("t").unwrap_or_else(|| edge.topic("t", 2));
                for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + 3)) {
                    sent.extend(more);
                }
                at += 3;
                let before = fake.requests(api);
                fake.fail_api(api, &[fault]);
                // It is dropped while it waits for that answer; or has none to wait for.
                let dying = edge.uplink(&fake, exactly);
                wait_until(&dying, |status| fake.requests(api) > before || status.state == UplinkState::CaughtUp);
                drop(dying);
                fake.state().faults = Default::default();
                edge = edge.restart();
            }
        }
        let uplink = edge.uplink(&fake, exactly);
        wait_caught_up(&uplink);
        assert_exact(&fake, "t", 2, &sent, &format!("version {version}"));
        block_on(uplink.stop());
        let ended = &fake.state().coordinator.ended;
        assert!(ended[&true] > 0 && ended[&false] > 0, "both ends were met: {ended:?}");
    }
}

#[test]
fn a_second_gateway_of_the_same_id_is_noticed_and_loses_nothing() {
    let fake = start(&[("t", 1)], 2);
    let (one, other) = (Edge::start(), Edge::start());
    let mut sent = Vec::new();
    let topic = one.topic("t", 1);
    sent.extend(one.fill(&topic, 0..3).remove(0));
    let first = uplink(&one, &fake);
    wait_caught_up(&first);
    let topic_there = other.topic("t", 1);
    let theirs = vec!["theirs".to_owned()];
    other.produce(&topic_there, 0, &theirs, 1_700_000_000_000);
    let second = uplink(&other, &fake);
    wait_caught_up(&second);
    // The first one finds out with its next transaction.
    sent.extend(one.fill(&topic, 3..6).remove(0));
    let status = wait_until(&first, |status| status.state == UplinkState::Fenced);
    assert!(status.last_error.unwrap().text.contains("gateway.id"));
    block_on(second.stop());
    first.resume();
    wait_caught_up(&first);
    sent.extend(theirs);
    let (mut arrived, repeated) = first_arrivals(&fake, "t", 1, &sent);
    arrived.sort();
    sent.sort();
    assert_eq!((arrived, repeated), (sent, 0));
    block_on(first.stop());
}

#[test]
fn a_cluster_without_transactions_is_refused_with_the_way_out() {
    let fake = start(&[("t", 1)], 0);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    edge.fill(&topic, 0..1);
    let uplink = uplink(&edge, &fake);
    let status = wait_until(&uplink, |status| status.last_error.is_some());
    let text = status.last_error.unwrap().text;
    assert!(text.contains("at-least-once") && text.contains("AddPartitionsToTxn"), "{text}");
    assert!(fake.values("t", 0).is_empty());
    block_on(uplink.stop());
}

/// A batch that takes longer than transactions may be open: that is learned, and no rival is seen where there is none. Brokers that
/// allow less than what is asked for get less.
#[test]
fn a_transaction_that_takes_longer_than_it_may_be_open_is_given_more_time() {
    for version in [1, 2] {
        let fake = start(&[("t", 1)], version);
        fake.state().coordinator.timeout_max_ms = Some(6_000);
        let edge = Edge::start();
        let topic = edge.topic("t", 1);
        let config = |config: &mut UplinkConfig| {
            exactly(config);
            config.request_timeout = Duration::from_secs(10);
            config.transaction_timeout = Duration::from_millis(400);
        };
        let uplink = edge.uplink(&fake, config);
        wait_caught_up(&uplink);
        let mut sent = vec![Vec::new()];
        for at in 0..2 {
            // Two in a row: the first of a stretch, and the cursors.
            fake.fail_api(ApiKey::Produce, &[Fault::Slow(Duration::from_millis(1_100)); 4]);
            sent[0].extend(edge.fill(&topic, at..at + 1).remove(0));
            wait_caught_up(&uplink);
        }
        assert_exact(&fake, "t", 1, &sent, &format!("version {version}"));
        let state = fake.state();
        let expired = state.coordinator.expired;
        assert!((1..=2).contains(&expired), "version {version}: {expired}");
        let timeout = state.coordinator.transactions["brooklet.gw-1.centre"].timeout_ms;
        assert!((2_000..=6_000).contains(&timeout), "{timeout}");
        drop(state);
        block_on(uplink.stop());
    }
}

/// A batch of a client that is larger than what the link carries in the time of a transaction goes in parts.
#[test]
fn no_batch_holds_a_transaction_open_for_longer_than_the_link_needs() {
    let fake = start(&[("t", 1)], 2);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let values: Vec<String> =
        (0..80).map(|n| format!("{n}-{}", (0..10_000).map(|_| fastrand::alphanumeric()).collect::<String>())).collect();
    edge.produce(&topic, 0, &values, 1_700_000_000_000);
    let uplink = edge.uplink(&fake, |config| {
        exactly(config);
        config.compression = brooklet::config::Compression::None;
        config.link.rate_limit = Some(200_000);
    });
    wait_caught_up(&uplink);
    assert_exact(&fake, "t", 1, &[values], "in parts");
    let state = fake.state();
    let sizes: Vec<usize> = state.topics["t"][0].committed().map(|entry| entry.bytes.len()).collect();
    // Not all at once, though it was one batch here.
    let all: usize = sizes.iter().sum();
    assert!(sizes.len() > 2 && sizes.iter().all(|bytes| *bytes < all / 2), "{sizes:?}");
}

/// An uplink is told of a coordinator that metadata does not know; then `change` happens, and it must find its way.
fn with_an_unknown_coordinator(change: impl Fn(&mut State)) {
    let fake = start(&[("t", 1)], 2);
    fake.state().hidden = Some(1);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let sent = edge.fill(&topic, 0..3);
    let uplink = uplink(&edge, &fake);
    while fake.requests(ApiKey::FindCoordinator) == 0 || fake.requests(ApiKey::Metadata) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(100));
    change(&mut fake.state());
    wait_caught_up(&uplink);
    assert_exact(&fake, "t", 1, &sent, "found");
    block_on(uplink.stop());
}

/// A broker that has just come back coordinates before the metadata that the uplink has knows of it.
#[test]
fn a_coordinator_that_metadata_does_not_know_is_asked_for_anew() {
    with_an_unknown_coordinator(|state| state.hidden = None);
}

/// The coordinator went down after it was told of, and metadata no longer has it: who coordinates now is asked.
#[test]
fn a_coordinator_that_is_gone_from_metadata_is_looked_for_anew() {
    with_an_unknown_coordinator(|state| state.group_coordinator = 0);
}
