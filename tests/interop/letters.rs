//! Records that a real Apache Kafka refuses for what they are.

use std::time::Duration;

use serde_json::Value;

use crate::{
    common::{
        gateway::Gateway,
        peers::{consume, have_kcat, kafka, kcat, kcat_ok},
        wait_for,
        wire::{create_topic_with, try_create_topic},
    },
    uplink::{unique, uplink_config, wait_arrived},
};

const WITHIN: Duration = Duration::from_secs(120);

fn config(kafka: &str) -> String {
    "[clock]\ntrust = \"always\"\n".to_owned() + &uplink_config(kafka, "delivery = \"at-least-once\"")
}

/// The one letter that there must be: its cause, and where its record lay.
fn letter(gateway: &Gateway) -> (String, String, i64) {
    wait_for("a letter", WITHIN, || {
        let list: Value = serde_json::from_str(&gateway.cli_ok(&["dead-letter", "list", "--json"], "")).unwrap();
        let letters = list["letters"].as_array().unwrap();
        assert!(letters.len() < 2, "{letters:?}");
        let letter = letters.first()?;
        let text = |name: &str| letter[name].as_str().unwrap().to_owned();
        Some((text("cause"), text("topic"), letter["offset"].as_i64().unwrap()))
    })
}

fn values(kafka: &str, topic: &str) -> Vec<String> {
    consume(kafka, topic, &[]).into_iter().map(|record| record.value).collect()
}

/// A value beyond 2,000 bytes that doesn't compress.
fn too_long() -> String {
    let mut seed = fastrand::Rng::with_seed(7);
    (0..5_000).map(|_| seed.alphanumeric()).collect()
}

#[test]
fn a_record_too_large_is_kept_and_the_others_arrive() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("too-large");
    create_topic_with(&kafka, &topic, 1, &[("max.message.bytes", "2000")]);
    // As where the limit became known too late: then a record is in that the door would have refused.
    let gateway = Gateway::start(&(config(&kafka) + "\nrefuse_too_large = false\n"));
    let input = format!("k:first\nk:{}\nk:last\n", too_long());
    kcat_ok(&["-P", "-b", &gateway.kafka.to_string(), "-t", &topic, "-K:", "-X", "linger.ms=500"], input.as_bytes());
    wait_arrived(&kafka, &topic, 2);
    assert_eq!(letter(&gateway), ("too-large".to_owned(), topic.clone(), 1));
    assert_eq!(values(&kafka, &topic), ["first", "last"]);
}

#[test]
fn a_record_too_large_upstream_is_refused_at_the_door() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("door");
    create_topic_with(&kafka, &topic, 1, &[("max.message.bytes", "2000")]);
    let gateway = Gateway::start(&config(&kafka));
    let broker = gateway.kafka.to_string();
    let arguments = ["-P", "-b", &broker, "-t", &topic, "-K:"];
    kcat_ok(&arguments, b"k:first\n");
    wait_arrived(&kafka, &topic, 1);
    let refused = kcat(&arguments, format!("k:{}\n", too_long()).as_bytes());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("Message size too large"), "{said}");
    kcat_ok(&arguments, b"k:last\n");
    wait_arrived(&kafka, &topic, 2);
    assert_eq!(values(&kafka, &topic), ["first", "last"]);
}

#[test]
fn a_record_without_key_for_a_compacted_topic_is_kept_and_the_others_arrive() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("compacted");
    create_topic_with(&kafka, &topic, 1, &[("cleanup.policy", "compact")]);
    let gateway = Gateway::start(&config(&kafka));
    let broker = gateway.kafka.to_string();
    for input in ["k:first\n", "keyless\n", "l:last\n"] {
        let key: &[&str] = if input.contains(':') { &["-K:"] } else { &[] };
        kcat_ok(&[&["-P", "-b", &broker, "-t", &topic], key].concat(), input.as_bytes());
    }
    wait_arrived(&kafka, &topic, 2);
    assert_eq!(letter(&gateway), ("no-key".to_owned(), topic.clone(), 1));
    assert_eq!(values(&kafka, &topic), ["first", "last"]);
}

#[test]
fn only_the_timestamp_that_kafka_refuses_is_mended() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("timestamp");
    // Before Kafka 3.6 one limit is for both directions: here of ten years.
    let limits =
        [("message.timestamp.after.max.ms", "3600000"), ("message.timestamp.difference.max.ms", "315360000000")];
    assert!(limits.iter().any(|limit| try_create_topic(&kafka, &topic, 1, &[*limit]).is_ok()), "no limit is known");
    let gateway = Gateway::start(&config(&kafka));
    let input = "1700000000000 first\n4000000000000 of 2096\n1700000000001 last\n";
    gateway.cli_ok(&["produce", &topic, "--timestamps"], input);
    wait_arrived(&kafka, &topic, 3);
    let seen = consume(&kafka, &topic, &[]);
    let times: Vec<i64> = seen.iter().map(|record| record.timestamp).collect();
    assert_eq!((times[0], times[2]), (1_700_000_000_000, 1_700_000_000_001));
    assert!((1_700_000_000_001..4_000_000_000_000).contains(&times[1]), "{times:?}");
    assert_eq!(seen.iter().map(|record| record.value.as_str()).collect::<Vec<_>>(), ["first", "of 2096", "last"]);
}
