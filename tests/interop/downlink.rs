//! Brooklet's downlink out of a real Apache Kafka: transactions, kills, and logs that are not as they were.

use std::{collections::BTreeSet, thread, time::Duration};

use bytes::{Bytes, BytesMut};
use kafka_protocol::{
    indexmap::IndexMap,
    protocol::StrBytes,
    records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType},
};

use crate::{
    common::{
        gateway::Gateway,
        peers::{Seen, consume, have_kcat, kafka},
        wait_for,
        wire::{Answer, Batch, Body, Wire, batches, create_topic, grow_topic, leaders, try_create_topic},
    },
    uplink::unique,
};

const ARRIVAL: Duration = Duration::from_secs(120);
const CODECS: [(Compression, u8); 5] = [
    (Compression::None, 0),
    (Compression::Gzip, 1),
    (Compression::Snappy, 2),
    (Compression::Lz4, 3),
    (Compression::Zstd, 4),
];

fn config(kafka: &str, topic: &str, more: &str) -> String {
    let bootstrap: Vec<String> = kafka.split(',').map(|address| format!("{address:?}")).collect();
    format!(
        "[downlink.centre]\nbootstrap = [{}]\ntopics = [\"{topic}\"]\nfrom = \"earliest\"\nfetch.wait = \"500ms\"\n\
         backoff.min = \"50ms\"\nbackoff.max = \"500ms\"\n{more}\n",
        bootstrap.join(", ")
    )
}

/// A transactional producer of one topic, request by request.
struct Transactor {
    name: String,
    topic: String,
    coordinator: Wire,
    leaders: Vec<String>,
    producer: (i64, i16),
    sequences: Vec<i32>,
}

impl Transactor {
    fn new(kafka: &str, topic: &str, partitions: usize) -> Transactor {
        let name = unique("transactor");
        let leaders = wait_for("leaders", ARRIVAL, || leaders(kafka, topic));
        wait_for("the transaction's coordinator", ARRIVAL, || {
            // FindCoordinator v1, kind 1.
            let body = Body::default().string(&name).i8(1);
            let mut answer = Wire::connect_any(kafka).ok()?.call(10, 1, body).ok()?;
            answer.i32();
            let (error, _) = (answer.i16(), answer.string());
            let (_, host, port) = (answer.i32(), answer.string(), answer.i32());
            let mut coordinator = (error == 0).then(|| Wire::connect(&format!("{host}:{port}")).ok())??;
            // InitProducerId v0.
            let body = Body::default().string(&name).i32(60_000);
            let mut answer = coordinator.call(22, 0, body).ok()?;
            answer.i32();
            let error = answer.i16();
            let producer = (answer.i64(), answer.i16());
            let (name, topic, leaders) = (name.clone(), topic.to_owned(), leaders.clone());
            (error == 0).then(|| Transactor {
                name,
                topic,
                coordinator,
                leaders,
                producer,
                sequences: vec![0; partitions],
            })
        })
    }

    /// One batch of these values into a partition, within the open transaction.
    fn produce(&mut self, partition: usize, values: &[String], codec: Compression) {
        // AddPartitionsToTxn v0.
        let add = |this: &Self| {
            let body = Body::default().string(&this.name).i64(this.producer.0).i16(this.producer.1);
            body.i32(1).string(&this.topic).i32(1).i32(partition as i32)
        };
        wait_for("the partition to be added", ARRIVAL, || {
            let mut answer = self.coordinator.call(24, 0, add(self)).unwrap();
            answer.i32();
            let errors = answer.array(|a| (a.string(), a.array(|a| (a.i32(), a.i16()))));
            match errors[0].1[0].1 {
                0 => Some(()),
                // The transaction before is still being ended.
                51 => None,
                error => panic!("AddPartitionsToTxn: {error}"),
            }
        });
        let batch = self.batch(values, self.sequences[partition], codec);
        self.sequences[partition] += values.len() as i32;
        // Produce v3; 7 from which zstd is taken.
        let body = || {
            let body = Body::default().string(&self.name).i16(-1).i32(10_000).i32(1).string(&self.topic).i32(1);
            body.i32(partition as i32).bytes(&batch)
        };
        let mut wire = Wire::connect(&self.leaders[partition]).unwrap();
        wait_for("the records to be taken", ARRIVAL, || {
            let mut answer = wire.call(0, 7, body()).unwrap();
            let told = answer.array(|a| (a.string(), a.array(produced)));
            match told[0].1[0] {
                0 => Some(()),
                // A topic made a moment ago: its leader doesn't know yet that it is.
                6 => None,
                error => panic!("Produce: {error}"),
            }
        });
    }

    fn batch(&self, values: &[String], sequence: i32, codec: Compression) -> Vec<u8> {
        let record = |(at, value): (usize, &String)| Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.producer.0,
            producer_epoch: self.producer.1,
            timestamp_type: TimestampType::Creation,
            offset: at as i64,
            sequence: sequence + at as i32,
            timestamp: 1_700_000_000_000 + at as i64,
            key: Some(Bytes::from(format!("k{at}"))),
            value: Some(Bytes::from(value.clone())),
            headers: IndexMap::from([(StrBytes::from_static_str("h"), Some(Bytes::from_static(b"v")))]),
        };
        let records: Vec<Record> = values.iter().enumerate().map(record).collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: codec };
        RecordBatchEncoder::encode(&mut batch, &records, &options).unwrap();
        batch.to_vec()
    }

    fn end(&mut self, commit: bool) {
        wait_for("the end of the transaction", ARRIVAL, || {
            // EndTxn v0.
            let body = Body::default().string(&self.name).i64(self.producer.0).i16(self.producer.1);
            let mut answer = self.coordinator.call(26, 0, body.i8(i8::from(commit))).unwrap();
            answer.i32();
            match answer.i16() {
                0 => Some(()),
                51 => None,
                error => panic!("EndTxn: {error}"),
            }
        });
        // That was answered before the markers were in the partitions: until they are, the transaction is an open one to
        // whoever reads what is committed, and `latest` lies before it.
        for partition in 0..self.leaders.len() {
            wait_for("the markers", ARRIVAL, || {
                let stable = self.end_of(partition, 1)?;
                (Some(stable) == self.end_of(partition, 0)).then_some(())
            });
        }
    }

    /// ListOffsets v2 of what is newest: the last stable offset (isolation 1), or the high watermark (0).
    fn end_of(&self, partition: usize, isolation: i8) -> Option<i64> {
        let body = Body::default().i32(-1).i8(isolation).i32(1).string(&self.topic);
        let body = body.i32(1).i32(partition as i32).i64(-1);
        let mut answer = Wire::connect(self.leaders.get(partition)?).ok()?.call(2, 2, body).ok()?;
        answer.i32();
        let told = answer.array(|a| (a.string(), a.array(|a| (a.i32(), a.i16(), a.i64(), a.i64()))));
        let (_, error, _, offset) = *told.first()?.1.first()?;
        (error == 0).then_some(offset)
    }
}

/// One partition of a Produce answer, version 7: its error.
fn produced(answer: &mut Answer) -> i16 {
    answer.i32();
    let error = answer.i16();
    // Offset, time, log start.
    answer.take(24);
    error
}

/// Values that a codec makes smaller, numbered from `first` on.
fn values(first: usize, count: usize, name: &str) -> Vec<String> {
    (first..first + count).map(|n| format!("{name} {n} {}", "the same words again ".repeat(8))).collect()
}

/// What is in a topic, by partition, without offsets.
fn contents(address: &str, topic: &str) -> Vec<(i32, String, String, String)> {
    let content = |seen: Seen| (seen.partition, seen.key, seen.headers, seen.value);
    let mut all: Vec<_> = consume(address, topic, &[]).into_iter().collect();
    all.sort_by_key(|seen| (seen.partition, seen.offset));
    all.into_iter().map(content).collect()
}

fn wait_contents(gateway: &Gateway, topic: &str, expected: &[(i32, String, String, String)]) {
    let local = gateway.kafka.to_string();
    wait_for(&format!("{} records of {topic} here", expected.len()), ARRIVAL, || {
        leaders(&local, topic)?;
        (records(&local, topic) >= expected.len()).then_some(())
    });
    assert_eq!(contents(&local, topic), expected);
}

fn records(address: &str, topic: &str) -> usize {
    batches(address, topic).iter().flatten().map(|batch| batch.record_count() as usize).sum()
}

fn is_data(batch: &Batch) -> bool {
    batch.raw[22] & 0x20 == 0
}

#[test]
fn only_committed_records_come_down_with_the_payload_that_their_producer_compressed() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("committed");
    create_topic(&kafka, &topic, 2);
    let gateway = Gateway::start(&config(&kafka, &topic, ""));
    let mut transactor = Transactor::new(&kafka, &topic, 2);
    for (round, (codec, _)) in CODECS.into_iter().enumerate() {
        for partition in 0..2 {
            transactor.produce(partition, &values(round * 100, 50, "committed"), codec);
        }
        transactor.end(true);
        transactor.produce(round % 2, &values(round * 100, 30, "aborted"), codec);
        transactor.end(false);
    }
    // Open to the end: nothing of it, and nothing behind it.
    transactor.produce(1, &values(0, 3, "open"), Compression::None);

    // kcat reads what is committed.
    let upstream = contents(&kafka, &topic);
    assert_eq!(upstream.len(), 2 * 5 * 50);
    wait_contents(&gateway, &topic, &upstream);

    let local = gateway.kafka.to_string();
    for (there, here) in batches(&kafka, &topic).iter().zip(batches(&local, &topic)) {
        let payloads: BTreeSet<(u8, &[u8])> = there.iter().map(|batch| (batch.codec(), batch.payload())).collect();
        let codecs: Vec<u8> = here.iter().map(Batch::codec).collect();
        assert_eq!(codecs, CODECS.map(|(_, number)| number), "each batch in the codec it came in");
        for batch in &here {
            assert!(is_data(batch) && payloads.contains(&(batch.codec(), batch.payload())), "the payload was changed");
            assert_eq!(batch.producer_id(), -1, "it has no producer here");
        }
    }
    let status = gateway.cli_ok(&["downlink", "status", "--json"], "");
    assert!(status.contains("\"aborted\":150"), "{status}");
    transactor.end(false);
}

#[test]
fn each_record_comes_down_once_however_often_the_gateway_is_killed() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("killed");
    create_topic(&kafka, &topic, 2);
    let mut gateway = Gateway::start(&config(&kafka, &topic, "fetch.max_bytes = \"4KiB\""));
    let (bootstrap, name) = (kafka.to_string(), topic.clone());
    let producer = thread::spawn(move || {
        let mut transactor = Transactor::new(&bootstrap, &name, 2);
        for round in 0..150 {
            let commit = round % 5 != 4;
            let what = if commit { "committed" } else { "aborted" };
            for partition in 0..2 {
                transactor.produce(partition, &values(round * 10, 10, what), CODECS[round % 5].0);
            }
            transactor.end(commit);
        }
    });
    let mut kills = 0;
    while !producer.is_finished() || kills < 8 {
        thread::sleep(Duration::from_millis(fastrand::u64(50..500)));
        gateway.kill();
        gateway.launch();
        kills += 1;
    }
    producer.join().unwrap();
    let upstream = contents(&kafka, &topic);
    assert_eq!(upstream.len(), 120 * 2 * 10);
    wait_contents(&gateway, &topic, &upstream);
    // And stays so.
    gateway.stop();
    gateway.launch();
    thread::sleep(Duration::from_secs(1));
    assert_eq!(contents(&gateway.kafka.to_string(), &topic), upstream);
    println!("{kills} kills, {} records", upstream.len());
}

/// DeleteRecords v0: the partition begins at `offset`.
fn delete_records(kafka: &str, topic: &str, offset: i64) {
    let leader = wait_for("a leader", ARRIVAL, || leaders(kafka, topic)).remove(0);
    let body = Body::default().i32(1).string(topic).i32(1).i32(0).i64(offset).i32(10_000);
    let mut answer = Wire::connect(&leader).unwrap().call(21, 0, body).unwrap();
    answer.i32();
    let told = answer.array(|a| (a.string(), a.array(|a| (a.i32(), a.i64(), a.i16()))));
    assert_eq!(told[0].1[0].2, 0, "DeleteRecords");
}

/// DeleteTopics v1.
fn delete_topic(kafka: &str, topic: &str) {
    let body = Body::default().i32(1).string(topic).i32(10_000);
    let mut answer = Wire::connect_any(kafka).unwrap().call(20, 1, body).unwrap();
    answer.i32();
    let told = answer.array(|a| (a.string(), a.i16()));
    assert_eq!(told[0].1, 0, "DeleteTopics");
    wait_for("the topic to be gone", ARRIVAL, || leaders(kafka, topic).is_none().then_some(()));
}

fn produce(kafka: &str, topic: &str, first: usize, count: usize) {
    let mut transactor = Transactor::new(kafka, topic, 1);
    transactor.produce(0, &values(first, count, "r"), Compression::Lz4);
    transactor.end(true);
}

fn numbers(gateway: &Gateway, topic: &str) -> Vec<usize> {
    let all = contents(&gateway.kafka.to_string(), topic);
    all.iter().map(|(_, _, _, value)| value.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

fn wait_numbers(gateway: &Gateway, topic: &str, expected: Vec<usize>) {
    wait_for(&format!("{expected:?} here"), ARRIVAL, || {
        (records(&gateway.kafka.to_string(), topic) >= expected.len()).then_some(())
    });
    assert_eq!(numbers(gateway, topic), expected);
}

#[test]
fn what_is_gone_upstream_is_counted_and_a_topic_made_again_is_read_from_its_beginning() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("gone");
    create_topic(&kafka, &topic, 1);
    produce(&kafka, &topic, 0, 10);
    let mut gateway = Gateway::start(&config(&kafka, &topic, ""));
    wait_numbers(&gateway, &topic, (0..10).collect());

    // While the gateway was away, retention took what it had not read: 11 offsets, one of them a marker.
    gateway.stop();
    produce(&kafka, &topic, 10, 10);
    produce(&kafka, &topic, 20, 10);
    delete_records(&kafka, &topic, 22);
    gateway.launch();
    wait_numbers(&gateway, &topic, (0..10).chain(20..30).collect());
    let status = gateway.cli_ok(&["downlink", "status", "--json"], "");
    assert!(status.contains("\"gaps\":11"), "{status}");

    // Another topic of the same name: all of it is new.
    delete_topic(&kafka, &topic);
    // With a ZooKeeper the name is taken for some time yet.
    wait_for("the topic's name", ARRIVAL, || try_create_topic(&kafka, &topic, 1, &[]).ok());
    produce(&kafka, &topic, 30, 40);
    wait_numbers(&gateway, &topic, (0..10).chain(20..70).collect());
    let status = gateway.cli_ok(&["downlink", "status", "--json"], "");
    assert!(status.contains("\"recreated\":1"), "{status}");
}

#[test]
fn the_latest_begins_with_the_first_contact_and_partitions_are_added_as_upstream() {
    let (true, Some(kafka)) = (have_kcat(), kafka()) else { return };
    let topic = unique("latest");
    create_topic(&kafka, &topic, 1);
    produce(&kafka, &topic, 0, 5);
    let latest = config(&kafka, &topic, "topic = \"down.{topic}\"").replace("\"earliest\"", "\"latest\"");
    let mut gateway = Gateway::start(&latest);
    let here = format!("down.{topic}");
    wait_for("the first contact", ARRIVAL, || {
        let status = gateway.cli_ok(&["downlink", "status", "--json"], "");
        status.contains("\"caught-up\"").then_some(())
    });
    gateway.kill();
    // Written while it was away: behind the first contact, so it comes.
    produce(&kafka, &topic, 5, 5);
    grow_topic(&kafka, &topic, 3);
    let mut transactor = Transactor::new(&kafka, &topic, 3);
    transactor.produce(2, &values(10, 5, "r"), Compression::None);
    transactor.end(true);
    gateway.launch();
    wait_numbers(&gateway, &here, (5..15).collect());
    let local = leaders(&gateway.kafka.to_string(), &here).unwrap();
    assert_eq!(local.len(), 3);
    let settings = gateway.cli_ok(&["topic", "describe", &here], "");
    assert!(settings.contains("brooklet.forward"), "{settings}");
    let check = gateway.cli_ok(&["downlink", "check"], "");
    assert!(check.contains("may be read"), "{check}");
}
