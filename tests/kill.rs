//! The real binary under real producers, killed again and again by SIGKILL: what was acknowledged is there once and in
//! order, and committed offsets are kept.
//!
//! Producers resend until they are acknowledged: Kafka's idempotent ones by hand, which then send several batches again, and
//! the native client of this crate. `BROOKLET_KILL_ROUNDS` sets how often it is killed (scripts/kill.sh).
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use brooklet::client::{Address, Connection, Publisher, PublisherOptions};
use brooklet::device::Reading;
use bytes::{Bytes, BytesMut};
use common::gateway::Gateway;
use common::wire::{Body, Wire, batches, create_topic};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

const TOPIC: &str = "killed";
const PARTITIONS: i32 = 3;
const DEVICES: usize = 2;
const READER: &str = "reader";
/// Rounds where nobody says.
const ROUNDS: u32 = 3;
/// Longest life of the process, ms.
const LIFE_MS: u64 = 600;
/// Between two batches of a producer, so that a test of many rounds stays within the bound of the store.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a client tries before it is a failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn what_was_acknowledged_is_there_once_however_often_it_is_killed() {
    let rounds = std::env::var("BROOKLET_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut gateway = Gateway::start("store.max_bytes = \"1GiB\"\n");
    let (kafka, native) = (gateway.kafka.to_string(), gateway.native.to_string());
    create_topic(&kafka, TOPIC, PARTITIONS);
    let over = AtomicBool::new(false);
    let acked = thread::scope(|scope| {
        let over = &over;
        let mut lanes = Vec::new();
        for partition in 0..PARTITIONS {
            let address = kafka.clone();
            lanes.push(scope.spawn(move || Lane::new(address, partition).run(over)));
        }
        let mut devices = Vec::new();
        for device in 0..DEVICES {
            let address = native.clone();
            devices.push(scope.spawn(move || smol::block_on(publish(&address, device, over))));
        }
        let reader = scope.spawn(|| commit_offsets(&native, over));
        for _ in 0..rounds {
            thread::sleep(Duration::from_millis(fastrand::u64(50..LIFE_MS)));
            gateway.kill();
            gateway.launch();
        }
        over.store(true, Ordering::Relaxed);
        let mut acked: BTreeMap<String, u64> = BTreeMap::new();
        for (number, lane) in lanes.into_iter().enumerate() {
            acked.insert(format!("lane {number}"), lane.join().unwrap());
        }
        for (number, device) in devices.into_iter().enumerate() {
            acked.insert(format!("device {number}"), device.join().unwrap());
        }
        (acked, reader.join().unwrap())
    });
    let (records, (committed, asked)) = acked;
    let kept = offset(&native).unwrap();
    assert!((committed..=asked).contains(&kept), "offset {kept}: {committed} was acknowledged, {asked} asked for");
    check(&kafka, &records);
    eprintln!("{rounds} kills; records acknowledged, and there once and in order: {records:?}; offset {kept}");
}

/// Each writer's numbers are there, from 0 on, once and in order in each partition.
fn check(kafka: &str, acked: &BTreeMap<String, u64>) {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for partition in batches(kafka, TOPIC) {
        let mut here: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut next = 0;
        for batch in partition {
            assert_eq!(batch.base_offset(), next, "a gap");
            next = batch.next_offset();
            let records = RecordBatchDecoder::decode(&mut Bytes::from(batch.raw)).unwrap();
            for record in records.records {
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                let (writer, number) = value.rsplit_once(' ').unwrap();
                here.entry(writer.to_owned()).or_default().push(number.parse().unwrap());
            }
        }
        for (writer, numbers) in here {
            assert!(numbers.is_sorted_by(|one, other| one < other), "{writer} is out of order, or twice");
            found.entry(writer).or_default().extend(numbers);
        }
    }
    for (writer, acked) in acked {
        assert!(*acked > 0, "{writer} wrote nothing");
        let mut numbers = found.remove(writer).unwrap_or_default();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..*acked), "{writer}: {acked} acknowledged, {} there", numbers.len());
    }
    assert!(found.is_empty(), "{:?} wrote nothing", found.keys());
}

/// An idempotent Kafka producer of one partition, with several batches under way.
struct Lane {
    address: String,
    partition: i32,
    wire: Option<Wire>,
    producer: i64,
    /// First number and count of each batch that isn't acknowledged.
    waiting: VecDeque<(u64, u64)>,
    next: u64,
    acked: u64,
}

impl Lane {
    fn new(address: String, partition: i32) -> Self {
        Self { address, partition, wire: None, producer: -1, waiting: VecDeque::new(), next: 0, acked: 0 }
    }

    /// Produces until it is over and everything is acknowledged. Returns how many records that were.
    fn run(mut self, over: &AtomicBool) -> u64 {
        let mut progress = Instant::now();
        while !over.load(Ordering::Relaxed) || !self.waiting.is_empty() {
            assert!(progress.elapsed() < PATIENCE, "lane {}: no progress", self.partition);
            while self.waiting.len() < 3 && !over.load(Ordering::Relaxed) {
                let count = fastrand::u64(1..40);
                self.waiting.push_back((self.next, count));
                self.next += count;
            }
            match self.send_all() {
                Ok(()) => {
                    progress = Instant::now();
                    thread::sleep(PAUSE);
                }
                // The gateway is down: all that waits is sent again, the same bytes in the same order.
                Err(_) => {
                    self.wire = None;
                    thread::sleep(Duration::from_millis(20));
                }
            }
        }
        self.acked
    }

    fn send_all(&mut self) -> io::Result<()> {
        if self.wire.is_none() {
            self.wire = Some(Wire::connect(&self.address)?);
        }
        let wire = self.wire.as_mut().unwrap();
        if self.producer < 0 {
            // InitProducerId v0: no transactional id.
            let mut answer = wire.call(22, 0, Body::default().i16(-1).i32(60_000))?;
            answer.i32();
            let error = answer.i16();
            if error != 0 {
                return Err(io::Error::other(format!("InitProducerId: {error}")));
            }
            self.producer = answer.i64();
        }
        let waiting: Vec<_> = self.waiting.iter().copied().collect();
        for (first, count) in waiting {
            let batch = self.batch(first, count);
            // Produce v3: no transactional id, acks=all.
            let body = Body::default().i16(-1).i16(-1).i32(15_000).i32(1).string(TOPIC);
            let body = body.i32(1).i32(self.partition).bytes(&batch);
            let wire = self.wire.as_mut().unwrap();
            let mut answer = wire.call(0, 3, body)?;
            let mut topics = answer.array(|a| {
                a.string();
                a.array(|a| {
                    a.i32();
                    let error = a.i16();
                    a.i64();
                    a.i64();
                    error
                })
            });
            let error = topics.pop().unwrap().pop().unwrap();
            if error != 0 {
                return Err(io::Error::other(format!("Produce: {error}")));
            }
            self.acked = first + count;
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn batch(&self, first: u64, count: u64) -> Vec<u8> {
        let record = |number: u64| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.producer,
            producer_epoch: 0,
            timestamp_type: TimestampType::Creation,
            offset: (number - first) as i64,
            sequence: number as i32,
            timestamp: 1_700_000_000_000 + number as i64,
            key: None,
            value: Some(Bytes::from(format!("lane {} {number}", self.partition))),
            headers: Default::default(),
        };
        let records: Vec<Record> = (first..first + count).map(record).collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut batch, &records, &options).unwrap();
        batch.to_vec()
    }
}

/// A device that publishes until it is over and everything is settled. Returns how many records that were.
async fn publish(address: &str, device: usize, over: &AtomicBool) -> u64 {
    let address: Address = address.parse().unwrap();
    let options = PublisherOptions { waiting_bytes_max: 64 << 10, ..PublisherOptions::new(format!("device-{device}")) };
    let begin = Instant::now();
    let publisher = loop {
        match Publisher::open(&address, options.clone()).await {
            Ok(publisher) => break publisher,
            Err(error) => assert!(begin.elapsed() < PATIENCE, "device {device}: {error}"),
        }
        smol::Timer::after(Duration::from_millis(20)).await;
    };
    let topic = publisher.topic(TOPIC).unwrap();
    let mut number = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let value = format!("device {device} {number}");
        publisher.publish(&Reading::new(topic, value.as_bytes())).await.unwrap();
        number += 1;
        if number.is_multiple_of(20) {
            smol::Timer::after(PAUSE).await;
        }
    }
    let flushed = async {
        publisher.flush().await.unwrap();
        true
    };
    let late = async {
        smol::Timer::after(PATIENCE).await;
        false
    };
    assert!(futures_lite::future::or(flushed, late).await, "device {device}: {:?}", publisher.progress());
    assert_eq!(publisher.progress().refused, 0);
    number
}

/// Commits one offset after the other until it is over. Returns the last acknowledged one, and the last asked for.
fn commit_offsets(address: &str, over: &AtomicBool) -> (i64, i64) {
    let address: Address = address.parse().unwrap();
    let (mut acked, mut asked) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        smol::block_on(async {
            let Ok(mut connection) = Connection::open(&address, "committer").await else { return };
            while !over.load(Ordering::Relaxed) {
                asked += 1;
                if connection.commit_offset(READER, TOPIC, 0, asked).await.is_err() {
                    return;
                }
                acked = asked;
                smol::Timer::after(PAUSE).await;
            }
        });
        thread::sleep(Duration::from_millis(20));
    }
    (acked, asked)
}

fn offset(address: &str) -> Option<i64> {
    let address: Address = address.parse().unwrap();
    smol::block_on(async {
        let mut connection = Connection::open(&address, "looker").await.unwrap();
        connection.read_offset(READER, TOPIC, 0).await.unwrap()
    })
}
