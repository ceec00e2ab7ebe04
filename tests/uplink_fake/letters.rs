//! Records that upstream refuses for what they are, and faults that an operator can mend.

use std::collections::BTreeMap;

use brooklet::kafka::api::ApiKey;
use brooklet::limits::DEAD_LETTER_TOPIC;
use brooklet::record::{BatchBuilder, BatchView, Compression, NO_HEADERS, VerifyLimits, decompress, records};

use super::*;

/// A record of the dead-letter topic.
#[derive(Debug, PartialEq)]
struct Found {
    timestamp: i64,
    key: Option<String>,
    value: Option<String>,
    headers: BTreeMap<String, String>,
}

impl Found {
    fn header(&self, name: &str) -> &str {
        self.headers.get(&format!("brooklet.dead-letter.{name}")).map_or("", String::as_str)
    }
}

fn letters(edge: &Edge) -> Vec<Found> {
    let Some(topic) = edge.broker.topic(DEAD_LETTER_TOPIC) else { return Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (mut found, mut offset) = (Vec::new(), 0);
    loop {
        let read = edge.broker.store().read(topic.partitions[0], offset, 1 << 20).unwrap();
        if read.next_offset == offset {
            return found;
        }
        offset = read.next_offset;
        let mut rest = read.bytes.as_slice();
        while let Ok((view, after)) = BatchView::parse(rest) {
            rest = after;
            let payload = decompress(&view, &VerifyLimits::default()).unwrap();
            found.extend(records(&view, &payload).map(Result::unwrap).map(|record| Found {
                timestamp: record.timestamp,
                key: record.key.map(text),
                value: record.value.map(text),
                headers: record.headers.map(|(name, value)| (text(name), text(value.unwrap()))).collect(),
            }));
        }
    }
}

/// Appends a batch of these (key, value, timestamp).
fn append(edge: &Edge, topic: &Topic, batch: &[(Option<&str>, &str, i64)]) {
    let mut builder = BatchBuilder::new();
    for (key, value, timestamp) in batch {
        builder.push(*timestamp, key.map(str::as_bytes), Some(value.as_bytes()), NO_HEADERS).unwrap();
    }
    let batch = builder.finish(Compression::Lz4);
    block_on(async { edge.broker.produce(topic, 0, batch, Acks::Flash).await.unwrap().wait().await }).unwrap();
}

/// What an uplink's books say of a topic: accepted, delivered and pending, lost to dead letters.
fn dead_lettered(edge: &Edge, topic: &Topic) -> u64 {
    let losses = edge.broker.store().losses();
    let of_topic = losses.iter().filter(|loss| topic.partitions.contains(&loss.partition));
    of_topic.filter(|loss| loss.reader == "centre").map(|loss| loss.records).sum()
}

const THEN: i64 = 1_700_000_000_000;

/// Three good records around one that upstream does not take, with what upstream is like; what the letter's cause is.
type Case = (&'static str, fn(&Fake), Option<&'static str>, String, i64);

fn cases() -> Vec<Case> {
    let long = fastrand_text(1, 3_000);
    vec![
        ("too-large", |fake| fake.state().max_message_bytes = 2_000, Some("k"), long.clone(), THEN),
        (
            "too-large",
            |fake| {
                fake.state().max_message_bytes = 2_000;
                fake.state().tells_limits = false;
            },
            Some("k"),
            long,
            THEN,
        ),
        (
            "no-key",
            |fake| {
                let compact = BTreeMap::from([("cleanup.policy".to_owned(), "compact,delete".to_owned())]);
                fake.state().configs.insert("t".to_owned(), compact);
            },
            None,
            "keyless".to_owned(),
            THEN,
        ),
        (
            "invalid",
            |fake| {
                let compact = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
                fake.state().configs.insert("t".to_owned(), compact);
                fake.state().tells_limits = false;
            },
            None,
            "keyless, and nobody tells".to_owned(),
            THEN,
        ),
        ("invalid", |fake| fake.state().invalid.push("bad".to_owned()), Some("k"), "bad".to_owned(), THEN),
        (
            "invalid",
            |fake| {
                fake.state().invalid.push("bad".to_owned());
                fake.state().names_records = false;
            },
            Some("k"),
            "bad".to_owned(),
            THEN,
        ),
        // So early that no shift helps.
        ("timestamp", |fake| fake.state().newest_timestamp = 5, Some("k"), "late".to_owned(), THEN),
        (
            "timestamp",
            |fake| {
                fake.state().newest_timestamp = 5;
                fake.state().names_records = false;
            },
            Some("k"),
            "late".to_owned(),
            THEN,
        ),
    ]
}

#[test]
fn a_record_that_upstream_does_not_take_becomes_one_letter_and_all_others_arrive() {
    for (at, (cause, prepare, key, value, timestamp)) in cases().into_iter().enumerate() {
        for partitioning in [Partitioning::ByGateway, Partitioning::ByKey] {
            // What is found out by answers is the same for both.
            if partitioning == Partitioning::ByKey && !matches!(at, 0 | 2) {
                continue;
            }
            let fake = Fake::start(&[("t", 1)]);
            prepare(&fake);
            let good_time = if cause == "timestamp" { 1 } else { THEN };
            let edge = Edge::start();
            let topic = edge.topic("t", 1);
            let good = ["a", "b", "c", "d", "e"];
            append(&edge, &topic, &[(Some("k"), "a", good_time), (Some("k"), "b", good_time)]);
            append(
                &edge,
                &topic,
                &[(Some("k"), "c", good_time), (key, &value, timestamp), (Some("k"), "d", good_time)],
            );
            append(&edge, &topic, &[(Some("k"), "e", good_time)]);
            let config = |config: &mut UplinkConfig| config.partitioning = partitioning;
            let uplink = edge.uplink(&fake, config);
            let status = wait_until(&uplink, |status| status.lag_records == 0 && status.counts.dead_lettered == 1);

            assert_eq!(fake.values("t", 0), good, "{at} {cause}");
            let found = letters(&edge);
            assert_eq!(found.len(), 1, "{at} {cause}: {found:?}");
            let letter = &found[0];
            let original = (letter.timestamp, letter.key.as_deref(), letter.value.as_deref());
            assert_eq!(original, (timestamp, key, Some(value.as_str())));
            let named = ["cause", "topic", "partition", "offset", "uplink", "upstream"].map(|name| letter.header(name));
            assert_eq!(named, [cause, "t", "0", "3", "centre", "t"]);
            assert!(!letter.header("error").is_empty());
            assert_eq!((dead_lettered(&edge, &topic), status.counts.dead_lettered), (1, 1));
            block_on(uplink.stop());

            // The next start knows that it is done with.
            let edge = edge.restart();
            let uplink = edge.uplink(&fake, config);
            append(&edge, &topic, &[(Some("k"), "f", good_time)]);
            wait_caught_up(&uplink);
            assert_eq!((letters(&edge).len(), dead_lettered(&edge, &topic)), (1, 1));
            assert_eq!(fake.values("t", 0), [&good[..], &["f"]].concat());
            block_on(uplink.stop());
        }
    }
}

#[test]
fn letters_that_can_not_be_forwarded_either_are_passed_over_and_told() {
    let fake = Fake::start(&[("t", 1), (DEAD_LETTER_TOPIC, 1)]);
    fake.state().invalid.push("bad".to_owned());
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let follow = |config: &mut UplinkConfig| {
        config.topics = ["*", "brooklet.dead-letter"].map(|text| TopicPattern::parse(text).unwrap()).to_vec();
    };
    let uplink = edge.uplink(&fake, follow);
    append(&edge, &topic, &[(Some("k"), "good", THEN), (Some("k"), "bad", THEN)]);
    wait_until(&uplink, |status| status.counts.dead_lettered == 2 && status.lag_records == 0);
    let dead = edge.broker.topic(DEAD_LETTER_TOPIC).unwrap();
    assert_eq!((letters(&edge).len(), dead_lettered(&edge, &topic), dead_lettered(&edge, &dead)), (1, 1, 1));
    assert_eq!((fake.values("t", 0), fake.values(DEAD_LETTER_TOPIC, 0)), (vec!["good".to_owned()], vec![]));
    fake.state().invalid.clear();
    block_on(uplink.stop());
}

#[test]
fn many_letters_are_saved_a_part_at_a_time_and_each_once() {
    let fake = Fake::start(&[("t", 1)]);
    let compact = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    fake.state().configs.insert("t".to_owned(), compact);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let text = "x".repeat(2_000);
    for at in 0..150 {
        let values: Vec<String> = (0..20).map(|i| format!("{:05}{text}", at * 20 + i)).collect();
        let batch: Vec<_> = (0..20).map(|i| ((i % 2 == 0).then_some("k"), values[i].as_str(), THEN)).collect();
        append(&edge, &topic, &batch);
    }
    let uplink = edge.uplink(&fake, |_| {});
    wait_until(&uplink, |status| status.lag_records == 0 && status.counts.dead_lettered == 1_500);
    let number = |value: &str| value[..5].parse::<usize>().unwrap();
    let kept: Vec<usize> = letters(&edge).iter().map(|letter| number(letter.value.as_ref().unwrap())).collect();
    assert_eq!(kept, (0..3_000).filter(|n| n % 2 == 1).collect::<Vec<_>>());
    let arrived: Vec<usize> = fake.values("t", 0).iter().map(|value| number(value)).collect();
    assert_eq!(arrived, (0..3_000).filter(|n| n % 2 == 0).collect::<Vec<_>>());
    assert_eq!(dead_lettered(&edge, &topic), 1_500);
    block_on(uplink.stop());
}

#[test]
fn what_an_operator_can_mend_waits_and_loses_nothing() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let uplink = edge.uplink(&fake, |_| {});
    let mut sent = Vec::new();
    // Authorisation, policies, too few replicas, a code that nobody knows.
    for (round, code) in [29, 44, 19, 999].into_iter().enumerate() {
        fake.state().faults.always.insert(ApiKey::Produce, code);
        let before = uplink.status().counts.failures;
        sent.extend(edge.fill(&topic, round * 3..round * 3 + 3).remove(0));
        wait_until(&uplink, |status| status.counts.failures > before + 1);
        fake.state().faults.always.clear();
        let status = wait_caught_up(&uplink);
        assert_eq!((fake.values("t", 0), status.counts.dead_lettered), (sent.clone(), 0), "{code}");
    }
    assert_eq!((letters(&edge), dead_lettered(&edge, &topic)), (Vec::new(), 0));
    block_on(uplink.stop());
}

#[test]
fn records_of_native_clients_say_where_they_come_from() {
    let fake = Fake::start(&[("t", 1)]);
    let edge = Edge::start();
    let topic = edge.topic("t", 1);
    let session = block_on(edge.broker.open_session("dev-1", None, 0)).unwrap();
    let record = |key: Option<&str>, value: &str| NewRecord {
        key: key.map(|key| key.as_bytes().to_vec()),
        value: Some(value.as_bytes().to_vec()),
        ..NewRecord::default()
    };
    let records = vec![record(None, "by its id"), record(Some("own"), "by its own key")];
    block_on(async { edge.broker.publish(&session, &topic, 1, records, Acks::Flash).await.unwrap().wait().await })
        .unwrap();
    let uplink = edge.uplink(&fake, |_| {});
    wait_caught_up(&uplink);
    let incarnation: String = edge.broker.store().incarnation().iter().map(|byte| format!("{byte:02x}")).collect();
    let partition = topic.partitions[0].0;
    for (at, headers) in fake.headers("t", 0).iter().enumerate() {
        let origin = format!("{incarnation}/{partition}/{at}");
        for (name, value) in [("gateway", "gw-1"), ("device", "dev-1"), ("origin", &origin)] {
            assert_eq!(headers.get(&format!("brooklet.{name}")).map(String::as_str), Some(value), "{headers:?}");
        }
    }
    block_on(uplink.stop());
}
