//! Records: produced with every codec and by idempotent producers, read back, consumed from the beginning.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    common::{gateway::Gateway, peers::kcat_ok},
    driver::{Client, Played},
    truth::{self, Record},
};

const PARTITIONS: i32 = 3;
const COUNT: usize = 3_000;
/// What gets no smaller by a codec some clients send as it is. Numbers of many digits have enough in common, whatever else is in a batch.
const LONG: Range<usize> = 2_000_000_000..2_000_000_000 + COUNT;

pub fn uncompressed(client: &Client, gateway: &Gateway) -> Played<String> {
    with_codec(client, gateway, "none", 0)
}

pub fn gzip(client: &Client, gateway: &Gateway) -> Played<String> {
    with_codec(client, gateway, "gzip", 1)
}

pub fn snappy(client: &Client, gateway: &Gateway) -> Played<String> {
    with_codec(client, gateway, "snappy", 2)
}

pub fn lz4(client: &Client, gateway: &Gateway) -> Played<String> {
    with_codec(client, gateway, "lz4", 3)
}

pub fn zstd(client: &Client, gateway: &Gateway) -> Played<String> {
    with_codec(client, gateway, "zstd", 4)
}

/// Every record is there once, in batches of that codec, and the client reads its own.
fn with_codec(client: &Client, gateway: &Gateway, codec: &str, number: u8) -> Played<String> {
    let topic = format!("codec-{codec}");
    truth::create(gateway, &topic, PARTITIONS);
    client.call(gateway, "produce", &[&topic, &LONG.start.to_string(), &LONG.end.to_string(), codec])?;
    let stored = truth::records(gateway, &topic);
    assert_once(&stored, LONG);
    let batches = truth::batches(gateway, &topic);
    assert!(batches.iter().any(|batch| batch.codec() == number), "no batch of {topic} is compressed so");
    assert!(batches.len() < COUNT / 2, "{} batches for {COUNT} records", batches.len());
    read_back(client, gateway, &topic, &stored)
}

pub fn idempotent(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "idempotent", PARTITIONS);
    client.call(gateway, "produce", &["idempotent", "0", &COUNT.to_string(), "none", "idempotent"])?;
    let stored = truth::records(gateway, "idempotent");
    assert_once(&stored, 0..COUNT);
    assert_ordered(&stored);
    let batches = truth::batches(gateway, "idempotent");
    assert!(batches.iter().all(|batch| batch.producer_id() >= 0), "the producer wasn't idempotent");
    Ok(String::new())
}

/// What another producer wrote.
pub fn consume(client: &Client, gateway: &Gateway) -> Played<String> {
    truth::create(gateway, "consumed", PARTITIONS);
    let lines: String = (0..COUNT).map(|number| format!("k{number}:v{number}\n")).collect();
    kcat_ok(&["-P", "-b", &gateway.kafka.to_string(), "-t", "consumed", "-K:"], lines.as_bytes());
    read_back(client, gateway, "consumed", &truth::records(gateway, "consumed"))
}

fn read_back(client: &Client, gateway: &Gateway, topic: &str, stored: &[Record]) -> Played<String> {
    let printed = client.call(gateway, "consume", &[topic, &stored.len().to_string()])?;
    let mut seen: Vec<Record> = printed.lines().map(Record::parse).collect();
    // In order within each partition, so a stable sort by partition is all it takes.
    seen.sort_by_key(|record| record.partition);
    assert!(seen == stored, "consume of {topic} gave {} records that aren't the {} stored", seen.len(), stored.len());
    Ok(String::new())
}

/// The records of these numbers, whole, each once.
pub fn assert_once(stored: &[Record], numbers: Range<usize>) {
    let count = numbers.len();
    assert_all(stored, numbers);
    assert_eq!(stored.len(), count, "records are stored more than once");
}

/// The records of these numbers, each at least once, and nothing else.
pub fn assert_all(stored: &[Record], numbers: Range<usize>) {
    let count = numbers.len();
    let found: BTreeSet<(&str, &str)> = stored.iter().map(|record| (&*record.key, &*record.value)).collect();
    let wanted: Vec<(String, String)> = numbers.map(|number| (format!("k{number}"), format!("v{number}"))).collect();
    let missing = wanted.iter().filter(|(key, value)| !found.contains(&(&**key, &**value))).count();
    assert_eq!(missing, 0, "of {count} records are missing");
    assert_eq!(found.len(), count, "other records than those sent are stored");
}

/// In each partition the numbers grow: the digits at the end of a value.
pub fn assert_ordered(stored: &[Record]) {
    let number = |record: &Record| {
        record.value.rsplit(|sign: char| !sign.is_ascii_digit()).next().unwrap().parse::<usize>().unwrap()
    };
    let swapped =
        stored.windows(2).find(|two| two[0].partition == two[1].partition && number(&two[0]) >= number(&two[1]));
    assert!(swapped.is_none(), "out of order: {swapped:?}");
}
