//! What a gateway holds, asked by hand over the wire and decoded by `kafka-protocol`: it shares nothing with the gateway
//! or with the clients.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;

use crate::common::{
    gateway::Gateway,
    wire::{self, Body, Wire},
};

/// ListOffsets asks by these for the beginning and the end.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const TOPIC: i8 = 2;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub value: String,
}

impl Record {
    /// From a driver's line.
    pub fn parse(line: &str) -> Record {
        let fields: Vec<&str> = line.split(' ').collect();
        assert_eq!(fields.len(), 4, "a driver printed {line:?}");
        Record {
            partition: fields[0].parse().unwrap(),
            offset: fields[1].parse().unwrap(),
            key: fields[2].to_owned(),
            value: fields[3].to_owned(),
        }
    }
}

/// Everything in a topic, by partition and offset.
pub fn records(gateway: &Gateway, topic: &str) -> Vec<Record> {
    let partitions = wire::batches(&bootstrap(gateway), topic);
    let each = (0..)
        .zip(&partitions)
        .flat_map(|(partition, batches)| batches.iter().flat_map(move |batch| decoded(partition, &batch.raw)));
    each.collect()
}

fn decoded(partition: i32, batch: &[u8]) -> Vec<Record> {
    let text = |bytes: Option<Bytes>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
    let set = RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch)).unwrap();
    let record = |record: kafka_protocol::records::Record| Record {
        partition,
        offset: record.offset,
        key: text(record.key),
        value: text(record.value),
    };
    set.records.into_iter().map(record).collect()
}

/// All batches of a topic, as they are stored.
pub fn batches(gateway: &Gateway, topic: &str) -> Vec<wire::Batch> {
    wire::batches(&bootstrap(gateway), topic).concat()
}

/// The number of partitions; `None` where there is no such topic.
pub fn partitions(gateway: &Gateway, topic: &str) -> Option<usize> {
    wire::leaders(&bootstrap(gateway), topic).map(|leaders| leaders.len())
}

pub fn create(gateway: &Gateway, topic: &str, partitions: i32) {
    wire::create_topic(&bootstrap(gateway), topic, partitions);
}

/// Where each partition ends.
pub fn ends(gateway: &Gateway, topic: &str) -> BTreeMap<i32, i64> {
    list_offsets(gateway, topic, LATEST)
}

/// Where each partition begins.
pub fn starts(gateway: &Gateway, topic: &str) -> BTreeMap<i32, i64> {
    list_offsets(gateway, topic, EARLIEST)
}

/// ListOffsets v1.
fn list_offsets(gateway: &Gateway, topic: &str, when: i64) -> BTreeMap<i32, i64> {
    let count = partitions(gateway, topic).unwrap() as i32;
    let mut body = Body::default().i32(-1).i32(1).string(topic).i32(count);
    for partition in 0..count {
        body = body.i32(partition).i64(when);
    }
    let mut topics = connect(gateway).call(2, 1, body).unwrap().array(|a| {
        a.string();
        a.array(|a| {
            let (partition, error) = (a.i32(), a.i16());
            assert_eq!(error, 0, "ListOffsets of {topic}-{partition}");
            a.i64();
            (partition, a.i64())
        })
    });
    topics.pop().unwrap().into_iter().collect()
}

/// What a group has committed of a topic, where it has.
pub fn committed(gateway: &Gateway, topic: &str, group: &str) -> BTreeMap<i32, i64> {
    let offsets = wire::fetch_offsets(&mut connect(gateway), group, None);
    let of_topic = offsets.into_iter().filter(|(of, _, offset, ..)| of == topic && *offset >= 0);
    of_topic.map(|(_, partition, offset, ..)| (partition, offset)).collect()
}

/// The groups that there are: ListGroups v0.
pub fn groups(gateway: &Gateway) -> Vec<String> {
    let mut answer = connect(gateway).call(16, 0, Body::default()).unwrap();
    assert_eq!(answer.i16(), 0, "ListGroups");
    answer.array(|a| {
        let group = a.string();
        a.string();
        group
    })
}

/// What a group is doing, by its state's name: DescribeGroups v0.
pub fn state(gateway: &Gateway, group: &str) -> String {
    let mut answer = connect(gateway).call(15, 0, Body::default().i32(1).string(group)).unwrap();
    // One group was asked for; its members come behind what is read here.
    assert_eq!(answer.i32(), 1, "DescribeGroups");
    assert_eq!(answer.i16(), 0, "DescribeGroups of {group}");
    answer.string();
    answer.string()
}

/// A topic's setting: DescribeConfigs v1.
pub fn setting(gateway: &Gateway, topic: &str, name: &str) -> String {
    let body = Body::default().i32(1).i8(TOPIC).string(topic).i32(1).string(name).i8(0);
    let mut answer = connect(gateway).call(32, 1, body).unwrap();
    answer.i32();
    let mut resources = answer.array(|a| {
        assert_eq!(a.i16(), 0, "DescribeConfigs: {}", a.string());
        a.string();
        a.i8();
        a.string();
        a.array(|a| {
            let (name, value) = (a.string(), a.string());
            a.i8();
            a.i8();
            a.i8();
            a.array(|a| (a.string(), a.string(), a.i8()));
            (name, value)
        })
    });
    resources.pop().unwrap().into_iter().find(|(found, _)| found == name).unwrap().1
}

fn connect(gateway: &Gateway) -> Wire {
    Wire::connect(&bootstrap(gateway)).unwrap()
}

fn bootstrap(gateway: &Gateway) -> String {
    gateway.kafka.to_string()
}
