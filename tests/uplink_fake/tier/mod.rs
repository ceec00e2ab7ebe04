//! Another gateway as upstream: exactly once, whatever is lost, repeated, restarted, restored or copied.

mod above;
mod histories;

use std::thread;
use std::time::Duration;

use brooklet::broker::{Acks, NewRecord};
use brooklet::config::{HostPort, Partitioning, ProvenanceMode, UplinkConfig, UplinkProtocol};
use brooklet::uplink::{Severity, Uplink, UplinkState, UplinkStatus, check};
use smol::block_on;

use super::{Edge, wait_caught_up, wait_until};
pub use above::Above;
use above::Mishap;

fn config(address: std::net::SocketAddr, change: impl FnOnce(&mut UplinkConfig)) -> UplinkConfig {
    let mut config = UplinkConfig::to(vec![HostPort { host: address.ip().to_string(), port: address.port() }]);
    config.protocol = UplinkProtocol::Brooklet;
    config.linger = Duration::from_millis(5);
    config.backoff_min = Duration::from_millis(10);
    config.backoff_max = Duration::from_millis(50);
    config.connect_timeout = Duration::from_secs(2);
    config.request_timeout = Duration::from_secs(5);
    config.link.slow_start = Duration::ZERO;
    change(&mut config);
    config
}

fn uplink(edge: &Edge, above: &Above, change: impl FnOnce(&mut UplinkConfig)) -> Uplink {
    edge.uplink_as("gw-1", config(above.relay, change))
}

/// Of all partitions upstream, those values that begin so, in their order.
fn arrived(above: &Above, topic: &str, partitions: u32, prefix: &str) -> Vec<String> {
    let all = (0..partitions as usize).flat_map(|partition| above.values(topic, partition));
    all.filter(|value| value.starts_with(prefix)).collect()
}

fn assert_all_once(above: &Above, upstream: u32, sent: &[Vec<String>], what: &str) {
    let mut total = 0;
    for (partition, sent) in sent.iter().enumerate() {
        assert_eq!(arrived(above, "t", upstream, &format!("t-{partition}-")), *sent, "{what}");
        total += sent.len();
    }
    assert_eq!(arrived(above, "t", upstream, "").len(), total, "{what}");
}

#[test]
fn a_backlog_and_live_records_arrive_once_and_in_order() {
    for (local, upstream) in [(1, 1), (4, 1), (2, 6)] {
        let above = Above::start(&[]);
        let edge = Edge::start();
        let topic = edge.topic("t", local);
        let mut sent = edge.fill(&topic, 0..40);
        let uplink = uplink(&edge, &above, |config| {
            config.create_topics = true;
            config.create_partitions = Some(upstream);
        });
        wait_caught_up(&uplink);
        for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, 40..45)) {
            sent.extend(more);
        }
        let status = wait_caught_up(&uplink);
        assert_all_once(&above, upstream, &sent, &format!("{local} to {upstream}"));
        assert_eq!(status.counts.records as usize, sent.iter().map(Vec::len).sum::<usize>());
        assert_eq!(status.counts.failures, 0, "{}", status.to_json());
        assert_eq!(status.versions.as_deref(), Some("native protocol 1 with gateway above"));
        block_on(uplink.stop());
    }
}

#[test]
fn whatever_befalls_a_stretch_it_arrives_once() {
    use Mishap::{AnswerLost, Late, Lost, None, Portal, Silence, Twice};
    for partitioning in [Partitioning::ByGateway, Partitioning::ByKey, Partitioning::Same] {
        let above = Above::start(&[("t", 6)]);
        above.befall(&[
            Lost,
            AnswerLost,
            None,
            Late(60),
            Twice,
            None,
            AnswerLost,
            Portal,
            Late(5),
            Silence,
            None,
            Lost,
        ]);
        let edge = Edge::start();
        let topic = edge.topic("t", 3);
        let mut sent = edge.fill(&topic, 0..30);
        let uplink = uplink(&edge, &above, |config| {
            config.partitioning = partitioning;
            config.request_timeout = Duration::from_millis(400);
            // Many small stretches.
            config.link.rate_limit = Some(80_000);
        });
        let mut at = 30;
        while !above.is_calm() {
            for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + 2)) {
                sent.extend(more);
            }
            at += 2;
            thread::sleep(Duration::from_millis(20));
        }
        let status = wait_caught_up(&uplink);
        for (partition, sent) in sent.iter().enumerate() {
            let (mut arrived, mut sent) = (arrived(&above, "t", 6, &format!("t-{partition}-")), sent.clone());
            if partitioning == Partitioning::ByKey {
                // Keys are spread, and each occurs once.
                arrived.sort();
                sent.sort();
            }
            assert_eq!(arrived, sent, "{partitioning:?}: {}", status.to_json());
        }
        assert!(status.counts.failures > 0);
        block_on(uplink.stop());
    }
}

const MISHAPS: [Mishap; 9] = [
    Mishap::None,
    Mishap::None,
    Mishap::Lost,
    Mishap::AnswerLost,
    Mishap::Late(3),
    Mishap::Late(80),
    Mishap::Twice,
    Mishap::Portal,
    Mishap::Silence,
];
const SEEDS: u64 = 3;
const ROUNDS: usize = 12;

/// Mishaps by chance, and restarts of either side, against what was appended below. A seed replays the choices, though not their timing.
fn play(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (local, upstream) = (random.usize(1..4), random.u32(1..4));
    let mut above = Above::start(&[("t", upstream)]);
    let mut edge = Edge::start();
    edge.topic("t", local as u32);
    let mut sent = vec![Vec::new(); local];
    let impatient = |config: &mut UplinkConfig| config.request_timeout = Duration::from_millis(300);
    let mut running = uplink(&edge, &above, impatient);
    let mut at = 0;
    for _ in 0..ROUNDS {
        let mishaps: Vec<Mishap> = (0..random.usize(0..4)).map(|_| MISHAPS[random.usize(..MISHAPS.len())]).collect();
        above.befall(&mishaps);
        let count = random.usize(1..6);
        let topic = edge.broker.topic("t").unwrap();
        for (sent, more) in sent.iter_mut().zip(edge.fill(&topic, at..at + count)) {
            sent.extend(more);
        }
        at += count;
        thread::sleep(Duration::from_millis(random.u64(0..60)));
        match random.u32(..6) {
            0 | 1 => {
                // Without its last positions.
                drop(running);
                edge = edge.restart();
                running = uplink(&edge, &above, impatient);
            }
            2 => above.restart(),
            _ => {}
        }
    }
    above.calm();
    let status = wait_caught_up(&running);
    block_on(running.stop());
    assert_all_once(&above, upstream, &sent, &format!("seed {seed}: {}", status.to_json()));
}

#[test]
fn mishaps_and_restarts_by_chance_cost_no_record_and_repeat_none() {
    let seeds = std::env::var("BROOKLET_CHANCE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    for seed in 0..seeds {
        play(seed);
    }
}

#[test]
fn one_topics_trouble_holds_up_no_other() {
    let above = Above::start(&[("good", 1)]);
    let edge = Edge::start();
    let (good, missing) = (edge.topic("good", 1), edge.topic("missing", 1));
    let sent = (edge.fill(&good, 0..5).remove(0), edge.fill(&missing, 0..5).remove(0));
    let uplink = uplink(&edge, &above, |_| {});
    let stalled = |status: &UplinkStatus| status.state == UplinkState::Stalled && status.counts.records == 15;
    let status = wait_until(&uplink, stalled);
    assert_eq!(above.values("good", 0), sent.0);
    assert!(status.stalls[0].why.contains("create_topics"), "{}", status.stalls[0].why);
    assert_eq!(status.stalls.len(), 1);
    above.topic("missing", 1, &[]);
    wait_caught_up(&uplink);
    assert_eq!(above.values("missing", 0), sent.1);
    block_on(uplink.stop());
}

/// Metadata that did not help is asked for more and more seldom: whenever that is, the topic is asked for.
#[test]
fn a_topic_that_was_missing_for_long_is_found_once_it_is_there() {
    let above = Above::start(&[("good", 1)]);
    let edge = Edge::start();
    let (good, missing) = (edge.topic("good", 1), edge.topic("missing", 1));
    let sent = (edge.fill(&good, 0..5).remove(0), edge.fill(&missing, 0..5).remove(0));
    let uplink = uplink(&edge, &above, |_| {});
    wait_until(&uplink, |status| status.counts.failures >= 7);
    above.topic("missing", 1, &[]);
    wait_caught_up(&uplink);
    assert_eq!((above.values("good", 0), above.values("missing", 0)), sent);
    block_on(uplink.stop());
}

/// What is asked of a gateway at once is within what it takes of a connection.
#[test]
fn many_topics_go_up_at_once_without_a_refusal() {
    let above = Above::start(&[]);
    let edge = Edge::start();
    let topics: Vec<_> = (0..60).map(|n| edge.topic(&format!("t{n}"), 1)).collect();
    let mut sent: Vec<Vec<String>> = topics.iter().map(|topic| edge.fill(topic, 0..5).remove(0)).collect();
    let uplink = uplink(&edge, &above, |config| config.create_topics = true);
    // Some go up while others are still made there.
    for (topic, sent) in topics.iter().zip(&mut sent) {
        sent.extend(edge.fill(topic, 5..10).remove(0));
    }
    let status = wait_caught_up(&uplink);
    assert_eq!(status.counts.failures, 0, "{}", status.to_json());
    for (n, sent) in sent.iter().enumerate() {
        assert_eq!(above.values(&format!("t{n}"), 0), *sent);
    }
    block_on(uplink.stop());
}

#[test]
fn batches_are_cut_to_what_upstream_takes_and_what_no_cut_helps_is_kept_apart() {
    let above = Above::start_with(&[], |config| {
        config.listen.native.max_frame_bytes = 256 * 1024;
        config.topics.defaults.max_message_bytes = 300_000;
    });
    above.topic("t", 1, &[]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let value = |n: usize, bytes: usize| format!("t-0-{n}-{}", blob(bytes, n as u64));
    // One batch that is larger than a frame, and one record that is larger than any.
    let large: Vec<String> = (0..8).map(|n| value(n, 60_000)).collect();
    edge.produce(&topic, 0, &large, 1_700_000_000_000);
    edge.produce(&topic, 0, &[value(8, 280_000)], 1_700_000_000_000);
    edge.produce(&topic, 0, &[value(9, 10)], 1_700_000_000_000);
    let uplink = uplink(&edge, &above, |config| config.refuse_too_large = false);
    let status = wait_until(&uplink, |status| status.lag_records == 0 && status.counts.dead_lettered == 1);
    assert_eq!(above.values("t", 0), [large, vec![value(9, 10)]].concat(), "{}", status.to_json());
    let letters = block_on(edge.broker.letters(0, i64::MAX)).unwrap();
    assert_eq!(letters.letters.len(), 1);
    block_on(uplink.stop());
}

/// Text that no codec makes smaller by much.
fn blob(bytes: usize, seed: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..bytes).map(|_| random.alphanumeric()).collect()
}

#[test]
fn what_a_kafka_client_built_stays_and_what_was_gathered_says_where_it_is_from() {
    let above = Above::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let session = block_on(edge.broker.open_session("device-1", None, 0)).unwrap();
    let record = NewRecord { value: Some(b"native".to_vec()), ..NewRecord::default() };
    block_on(async { edge.broker.publish(&session, &topic, 1, vec![record], Acks::Flash).await.unwrap().wait().await })
        .unwrap();
    let running = uplink(&edge, &above, |_| {});
    wait_caught_up(&running);
    edge.produce(&topic, 0, &["kafka".to_owned()], 1_700_000_000_000);
    wait_caught_up(&running);
    let names = ["brooklet.gateway", "brooklet.device", "brooklet.origin"].map(str::to_owned).to_vec();
    assert_eq!(above.records("t", 0), [("native".to_owned(), names), ("kafka".to_owned(), vec![])]);
    block_on(running.stop());
    let running = uplink(&edge, &above, |config| config.provenance = ProvenanceMode::Always);
    edge.produce(&topic, 0, &["always".to_owned()], 1_700_000_000_000);
    wait_caught_up(&running);
    assert_eq!(above.records("t", 0)[2].1, ["brooklet.gateway", "brooklet.origin"]);
    block_on(running.stop());
}

#[test]
fn check_says_what_is_wrong_and_what_to_do() {
    let above = Above::start(&[("t", 1)]);
    let edge = Edge::start();
    let topics = [edge.topic("t", 1), edge.topic("missing", 2)];
    let told = |gateway: &str, config: UplinkConfig| {
        let options = Edge::options_as(gateway, config);
        let findings = block_on(check(&options, &topics, true));
        let worst = findings.iter().map(|finding| finding.severity).max().unwrap();
        (worst, findings.iter().map(|finding| format!("{finding}\n")).collect::<String>())
    };
    let (worst, text) = told("gw-1", config(above.relay, |config| config.create_topics = true));
    assert!(worst == Severity::Ok && text.contains("is gateway above") && text.contains("will be created"), "{text}");
    let early = Edge::options_as("gw-1", config(above.relay, |config| config.create_topics = true));
    let early = block_on(check(&early, &topics, false));
    assert!(early.iter().any(|finding| finding.to_string().starts_with("warn  clock ")), "{early:?}");
    let (worst, text) = told("gw-1", config(above.relay, |_| {}));
    assert!(worst == Severity::Fail && text.contains("create_topics"), "{text}");
    let (worst, text) = told("above", config(above.relay, |config| config.create_topics = true));
    assert!(worst == Severity::Fail && text.contains("gateway.id"), "{text}");
    // The wrong port, either way round.
    let kafka = above.gateway().kafka_addr().unwrap();
    let (worst, text) = told("gw-1", config(kafka, |_| {}));
    assert!(worst == Severity::Fail && text.contains("listen.native.addr"), "{text}");
    let (_, text) = told("gw-1", config(kafka, |config| config.protocol = UplinkProtocol::Kafka));
    assert!(text.contains("protocol = \"brooklet\""), "{text}");
}
