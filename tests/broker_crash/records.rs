//! The records that clients send: each value says whose and which it is, and every byte of it follows from that.

use brooklet::broker::partition_for_key;
use brooklet::record::{BatchBuilder, NO_HEADERS, Producer};
use brooklet::store::PartitionId;
use fastrand::Rng;

use crate::model::{Batch, Topic};

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    Lane(u32),
    Device(u32),
}

/// The bytes of a batch: the same whenever they are asked for.
pub fn batch_bytes(lane: u32, producer: i64, batch: &Batch) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (number, size) in (batch.sequence as u64..).zip(batch.sizes.iter()) {
        let value = value(Writer::Lane(lane), number, *size as usize);
        builder.push(1_700_000_000_000 + number as i64, None, Some(&value), NO_HEADERS).unwrap();
    }
    builder.finish_with(batch.compression, Producer { id: producer, epoch: 0, base_sequence: batch.sequence })
}

/// The partition of a device's record with this key.
pub fn partition_of(topic: &Topic, key: u8) -> PartitionId {
    topic.partitions[partition_for_key(&[key], topic.count) as usize]
}

const HEAD_BYTES: usize = 17;

/// A record's value: whose and which it is, and then bytes that follow from that.
pub fn value(writer: Writer, number: u64, len: usize) -> Vec<u8> {
    let (kind, writer) = match writer {
        Writer::Lane(lane) => (0, lane),
        Writer::Device(device) => (1, device),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&writer.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(len as u32).to_le_bytes());
    let mut filling = vec![0; len.saturating_sub(HEAD_BYTES)];
    Rng::with_seed(number ^ u64::from(writer) << 40 ^ u64::from(kind) << 60).fill(&mut filling);
    bytes.extend_from_slice(&filling);
    bytes
}

/// Whose record a value is, and which; `None` if a single byte of it is wrong.
pub fn identify(bytes: &[u8]) -> Option<(Writer, u64)> {
    let writer = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
    let number = u64::from_le_bytes(bytes.get(5..13)?.try_into().ok()?);
    let len = u32::from_le_bytes(bytes.get(13..17)?.try_into().ok()?);
    let writer = if bytes[0] == 0 { Writer::Lane(writer) } else { Writer::Device(writer) };
    // A damaged length must not make up gigabytes.
    let plausible = (len as usize).max(HEAD_BYTES) == bytes.len();
    (plausible && value(writer, number, len as usize) == bytes).then_some((writer, number))
}
