//! What a deleted topic leaves in the loss ledger: sums, so that its account can be read later. See [`super::ledger`].

use std::collections::BTreeMap;

use super::intervals::{put_leb128, take_leb128};
use super::ledger::DELETED;
use super::status::LossReason;
use super::types::{CommitSeq, Removed};

/// The account of a topic that is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedTopic {
    pub id: [u8; 16],
    pub name: String,
    /// When it was deleted, Unix milliseconds, believed or not.
    pub wall_ms: i64,
    /// All that was ever appended; equals the sum of `removed` in records.
    pub accepted: Removed,
    /// What went and why, the deletion itself included.
    pub removed: Vec<(LossReason, Removed)>,
    /// By following reader: the records that it had not read when they went.
    pub lost_to: BTreeMap<String, u64>,
}

impl DeletedTopic {
    /// The key of its row, if commit `seq` deletes it.
    pub(super) fn key(&self, seq: CommitSeq) -> Vec<u8> {
        [&DELETED[..], &seq.to_be_bytes(), &self.id].concat()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.name.len());
        put_leb128(&mut out, self.wall_ms as u64);
        put_leb128(&mut out, self.accepted.records);
        put_leb128(&mut out, self.accepted.bytes);
        put_leb128(&mut out, self.removed.len() as u64);
        for (reason, what) in &self.removed {
            put_leb128(&mut out, *reason as u64);
            put_leb128(&mut out, what.records);
            put_leb128(&mut out, what.bytes);
        }
        put_leb128(&mut out, self.lost_to.len() as u64);
        for (reader, records) in &self.lost_to {
            put_leb128(&mut out, reader.len() as u64);
            out.extend_from_slice(reader.as_bytes());
            put_leb128(&mut out, *records);
        }
        out.extend_from_slice(self.name.as_bytes());
        out
    }

    /// Reads a row; `None` if it isn't one.
    pub(super) fn decode(key: &[u8], mut value: &[u8]) -> Option<Self> {
        let (_, id) = key.strip_prefix(&DELETED)?.split_at_checked(8)?;
        let value = &mut value;
        let number = |value: &mut &[u8]| take_leb128(value).ok();
        let wall_ms = number(value)? as i64;
        let accepted = Removed { records: number(value)?, bytes: number(value)? };
        let mut removed = Vec::new();
        for _ in 0..number(value)? {
            let reason = LossReason::from_number(number(value)?.try_into().ok()?)?;
            removed.push((reason, Removed { records: number(value)?, bytes: number(value)? }));
        }
        let mut lost_to = BTreeMap::new();
        for _ in 0..number(value)? {
            let length = number(value)?.try_into().ok()?;
            let (reader, rest) = value.split_at_checked(length)?;
            *value = rest;
            lost_to.insert(String::from_utf8(reader.to_vec()).ok()?, number(value)?);
        }
        let name = String::from_utf8(value.to_vec()).ok()?;
        Some(Self { id: id.try_into().ok()?, name, wall_ms, accepted, removed, lost_to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_come_back() {
        let what = |records, bytes| Removed { records, bytes };
        let topic = DeletedTopic {
            id: *b"0123456789abcdef",
            name: "plant.temp".into(),
            wall_ms: -5,
            accepted: what(300, 1 << 40),
            removed: vec![(LossReason::Evicted, what(100, 7)), (LossReason::Deleted, what(200, 8))],
            lost_to: BTreeMap::from([("centre".to_owned(), 12), ("ä".to_owned(), u64::MAX)]),
        };
        let (key, value) = (topic.key(9), topic.encode());
        assert_eq!(DeletedTopic::decode(&key, &value), Some(topic));
        assert_eq!(DeletedTopic::decode(&key[1..], &value), None);
        assert_eq!(DeletedTopic::decode(&key[..20], &value), None);
        for cut in 0..value.len() - "plant.temp".len() {
            assert_eq!(DeletedTopic::decode(&key, &value[..cut]), None, "{cut}");
        }
    }
}
