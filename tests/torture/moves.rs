//! Moves leadership in a real three-node Kafka, in some 100 ms: other preferred replicas, then an election. Requests by hand.

use std::io;
use std::time::{Duration, Instant};

use crate::common::wire::{Body, Wire, leaders};

const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
const ELECT_LEADERS: i16 = 43;
/// A move that takes longer is none: a node is down.
const WITHIN: Duration = Duration::from_secs(3);
const NODES: i32 = 3;

/// The partition of an internal topic of `count` partitions that keeps a transaction or a group: by Java's hash of its name.
pub fn home(name: &str, count: i32) -> i32 {
    let hash = name.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % count
}

/// Makes the next node (by number) the leader of each of these partitions. Whether it is.
pub fn relocate(bootstrap: &str, topic: &str, partitions: &[i32]) -> bool {
    let begin = Instant::now();
    let Some(before) = nodes(bootstrap, topic) else { return false };
    let target = |partition: &i32| before.get(*partition as usize).map_or(1, |node| node % NODES + 1);
    if reassign(bootstrap, topic, partitions, target).and_then(|()| elect(bootstrap, topic, partitions)).is_err() {
        return false;
    }
    while begin.elapsed() < WITHIN {
        let now = nodes(bootstrap, topic).unwrap_or_default();
        if partitions.iter().all(|partition| now.get(*partition as usize).copied() == Some(target(partition))) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// The leader of each partition, from 1.
fn nodes(bootstrap: &str, topic: &str) -> Option<Vec<i32>> {
    let number = |address: String| bootstrap.split(',').position(|other| other == address).map(|at| at as i32 + 1);
    leaders(bootstrap, topic)?.into_iter().map(number).collect()
}

/// AlterPartitionReassignments v0: the same replicas, another one first.
fn reassign(bootstrap: &str, topic: &str, partitions: &[i32], first: impl Fn(&i32) -> i32) -> io::Result<()> {
    // The header's tags; time-out; one topic. Lengths of this layout are one more than the length.
    let mut body = Body::default().i8(0).i32(2_000).i8(2).i8(length(topic.len())).raw(topic.as_bytes());
    body = body.i8(length(partitions.len()));
    for partition in partitions {
        let head = first(partition);
        let others = (1..=NODES).filter(|node| *node != head);
        body = body.i32(*partition).i8(length(NODES as usize)).i32(head);
        body = others.fold(body, Body::i32).i8(0);
    }
    let mut answer = Wire::connect_controller(bootstrap)?.call(ALTER_PARTITION_REASSIGNMENTS, 0, body.i8(0).i8(0))?;
    answer.i8();
    answer.i32();
    match answer.i16() {
        0 => Ok(()),
        code => Err(io::Error::other(format!("AlterPartitionReassignments: {code}"))),
    }
}

fn length(n: usize) -> i8 {
    // A varint of one byte.
    i8::try_from(n + 1).unwrap()
}

/// ElectLeaders v1: the preferred ones.
fn elect(bootstrap: &str, topic: &str, partitions: &[i32]) -> io::Result<()> {
    let body = Body::default().i8(0).i32(1).string(topic).i32(partitions.len() as i32);
    let body = partitions.iter().fold(body, |body, partition| body.i32(*partition)).i32(2_000);
    let mut answer = Wire::connect_controller(bootstrap)?.call(ELECT_LEADERS, 1, body)?;
    answer.i32();
    match answer.i16() {
        0 => Ok(()),
        code => Err(io::Error::other(format!("ElectLeaders: {code}"))),
    }
}
