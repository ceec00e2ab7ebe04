//! An uplink's positions as they lie upstream. Pure.
//!
//! **Cursors** are records of the compacted topic [`CURSORS`], of all gateways and uplinks; those of a gateway lie in the partition
//! that murmur2 of its id names. Key and value are JSON:
//!
//! | key | |
//! |---|---|
//! | `v` | 1 |
//! | `gateway`, `uplink` | whose |
//! | `topic_id`, `partition` | the topic's UUID at the gateway, and the partition's index in it |
//!
//! | value | |
//! |---|---|
//! | `v` | 1 |
//! | `topic` | its name at the gateway |
//! | `next` | the first offset that is not forwarded |
//! | `incarnation` | the history it belongs to, 32 hexadecimal digits |
//! | `transaction` | its number |
//! | `epochs` | boot epochs of the gateway's store that wrote up to there, the latest first: id (16 hexadecimal digits), first offset |
//!
//! **The witness** is the offset of the group `brooklet.GATEWAY.UPLINK` in that partition: the number of the last transaction. Its
//! metadata is `1:INCARNATION:EPOCH`: the history, and the boot epoch in which the transaction was made, both in hexadecimal.

use serde::{Deserialize, Serialize};

use super::local::NUMBER_MAX;
use crate::broker::partition_for_key;
use crate::json;

/// The topic upstream that holds all gateways' cursors.
pub(super) const CURSORS: &str = "brooklet.cursors";
/// Its partitions, if this side creates it.
pub(super) const CURSORS_PARTITIONS: u32 = 6;
/// Boot epochs that a cursor names.
pub(super) const EPOCHS_TOLD: usize = crate::limits::TIER_EPOCHS_MAX;
const VERSION: u8 = 1;

/// The transactional id, and the group.
pub(super) fn id(gateway: &str, uplink: &str) -> String {
    format!("brooklet.{gateway}.{uplink}")
}

/// The partition of a gateway's cursors among `partitions` (at least 1).
pub(super) fn partition(gateway: &str, partitions: u32) -> i32 {
    partition_for_key(gateway.as_bytes(), partitions) as i32
}

/// The key of a cursor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    v: u8,
    pub(super) gateway: String,
    pub(super) uplink: String,
    pub(super) topic_id: String,
    pub(super) partition: u32,
}

/// A boot epoch of a store, and the first offset of a partition that it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Epoch {
    pub(in crate::uplink) id: u64,
    pub(in crate::uplink) first: i64,
}

/// The value of a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) topic: String,
    pub(super) next: i64,
    pub(super) lineage: [u8; 16],
    pub(super) transaction: u64,
    /// The latest first.
    pub(super) epochs: Vec<Epoch>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    v: u8,
    topic: String,
    next: i64,
    incarnation: String,
    transaction: u64,
    epochs: Vec<(String, i64)>,
}

impl Key {
    pub(super) fn new(gateway: &str, uplink: &str, topic_id: String, partition: u32) -> Self {
        Self { v: VERSION, gateway: gateway.to_owned(), uplink: uplink.to_owned(), topic_id, partition }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        json::to_string(self).into_bytes()
    }

    /// `None`, if it is not a cursor's.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        json::from_slice(bytes).ok().filter(|key: &Self| key.v == VERSION)
    }
}

impl Value {
    pub(super) fn encode(&self) -> Vec<u8> {
        let written = Written {
            v: VERSION,
            topic: self.topic.clone(),
            next: self.next,
            incarnation: hex(&self.lineage),
            transaction: self.transaction,
            epochs: self.epochs.iter().map(|epoch| (hex(&epoch.id.to_be_bytes()), epoch.first)).collect(),
        };
        json::to_string(&written).into_bytes()
    }

    /// `None`, if it is not a cursor's.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let is_one = |w: &Written| w.v == VERSION && w.next >= 0 && w.transaction <= NUMBER_MAX;
        let written: Written = json::from_slice(bytes).ok().filter(is_one)?;
        let epoch = |(id, first): &(String, i64)| Some(Epoch { id: u64::from_be_bytes(unhex(id)?), first: *first });
        Some(Self {
            topic: written.topic,
            next: written.next,
            lineage: unhex(&written.incarnation)?,
            transaction: written.transaction,
            epochs: written.epochs.iter().map(epoch).collect::<Option<_>>()?,
        })
    }
}

/// A committed offset of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Witness {
    /// The partition of cursors that it is an offset of.
    pub(super) partition: i32,
    /// The transaction's number.
    pub(super) number: u64,
    /// History and boot epoch; `None` if the metadata is not of this side's making.
    pub(super) of: Option<([u8; 16], u64)>,
}

/// What is committed beside the offset.
pub(super) fn metadata(lineage: &[u8; 16], epoch: u64) -> String {
    format!("{VERSION}:{}:{}", hex(lineage), hex(&epoch.to_be_bytes()))
}

/// Reads what [`metadata`] made.
pub(super) fn read_metadata(text: &str) -> Option<([u8; 16], u64)> {
    let mut parts = text.split(':');
    let (version, lineage, epoch) = (parts.next()?, parts.next()?, parts.next()?);
    (version.parse() == Ok(VERSION)).then_some(())?;
    Some((unhex(lineage)?, u64::from_be_bytes(unhex(epoch)?)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_upstream_stay_what_they_are() {
        // Other versions of the gateway read these: they may never change.
        let key = Key::new("gw-1", "centre", "5f0c".into(), 3);
        let text = r#"{"v":1,"gateway":"gw-1","uplink":"centre","topic_id":"5f0c","partition":3}"#;
        assert_eq!(String::from_utf8(key.encode()).unwrap(), text);
        assert_eq!(Key::decode(text.as_bytes()), Some(key));
        let epochs = vec![Epoch { id: 0xab, first: 40 }, Epoch { id: 1, first: 0 }];
        let value = Value { topic: "t".into(), next: 42, lineage: [0x1f; 16], transaction: 7, epochs };
        let text = concat!(
            r#"{"v":1,"topic":"t","next":42,"incarnation":"1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f","transaction":7,"#,
            r#""epochs":[["00000000000000ab",40],["0000000000000001",0]]}"#
        );
        assert_eq!(String::from_utf8(value.encode()).unwrap(), text);
        assert_eq!(Value::decode(text.as_bytes()), Some(value));
        let told = metadata(&[0x1f; 16], 0xab);
        assert_eq!(told, "1:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f:00000000000000ab");
        assert_eq!(read_metadata(&told), Some(([0x1f; 16], 0xab)));
        assert_eq!([partition("gw-1", 6), partition("gw-2", 6)], [3, 5]);
    }

    #[test]
    fn what_others_wrote_is_nobodys_cursor() {
        for text in ["", "{}", "null", r#"{"v":2,"gateway":"g","uplink":"u","topic_id":"t","partition":0}"#] {
            assert_eq!((Key::decode(text.as_bytes()), Value::decode(text.as_bytes())), (None, None));
        }
        let value = Value { topic: "t".into(), next: 6, lineage: [1; 16], transaction: NUMBER_MAX, epochs: vec![] };
        assert_eq!(Value::decode(&value.encode()), Some(value.clone()));
        let (before, beyond) = (Value { next: -1, ..value.clone() }, Value { transaction: u64::MAX, ..value });
        assert_eq!([before, beyond].map(|value| Value::decode(&value.encode())), [None, None]);
        for text in ["", "1:00", "1::", "2:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f:00000000000000ab", "1:é:00000000000000ab"]
        {
            assert_eq!(read_metadata(text), None, "{text}");
        }
    }
}
