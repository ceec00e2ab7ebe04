//! The dead-letter topic, `brooklet.dead-letter`: the records that a cluster upstream refuses for what they are.
//!
//! | file | what it is |
//! |---|---|
//! | `writing` | an uplink's letters on their way in, with the position that passes the records |
//! | `settling` | what is listed, put back or dropped |
//!
//! A letter is the original record (key, value, timestamp, headers) with headers in front that say why it is here
//! ([`names`]). The topic is made by the first letter.
//!
//! Invariants: a letter, its entry in the loss ledger (reason `dead-lettered`, for that uplink) and the position that passes
//! the record are one commit, so a record is delivered or a letter, and never two. Records of this topic itself never become
//! letters: they have the entry in the ledger alone.

mod settling;
#[cfg(test)]
mod tests;
mod writing;

pub use settling::{LetterList, LetterReport, LettersSettled, Settle};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::DEAD_LETTER_SHARE;
use crate::store::PartitionId;

/// Names of the headers of a letter. Their values are text.
pub mod names {
    /// What precedes them all.
    pub const PREFIX: &[u8] = b"brooklet.dead-letter.";
    /// A [`super::Cause`], by its name.
    pub const CAUSE: &[u8] = b"brooklet.dead-letter.cause";
    /// What is wrong, for people.
    pub const ERROR: &[u8] = b"brooklet.dead-letter.error";
    /// The uplink that could not deliver it.
    pub const UPLINK: &[u8] = b"brooklet.dead-letter.uplink";
    /// The topic upstream.
    pub const UPSTREAM: &[u8] = b"brooklet.dead-letter.upstream";
    /// Where the record lay: topic, index of the partition in it, offset.
    pub const TOPIC: &[u8] = b"brooklet.dead-letter.topic";
    pub const PARTITION: &[u8] = b"brooklet.dead-letter.partition";
    pub const OFFSET: &[u8] = b"brooklet.dead-letter.offset";
    /// When it became a letter, ms since 1970 by the gateway's clock.
    pub const TIME: &[u8] = b"brooklet.dead-letter.time";
    /// The gateway's id.
    pub const GATEWAY: &[u8] = b"brooklet.dead-letter.gateway";
    /// Why the letter has no value although the record had one.
    pub const VALUE_MISSING: &[u8] = b"brooklet.dead-letter.value-missing";
}

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// Alone in a batch it is larger than the topic upstream takes.
    TooLarge,
    /// It has no key, and the topic upstream is compacted.
    NoKey,
    /// The cluster upstream says that it is invalid.
    Invalid,
    /// No timestamp that may be put in the place of its own is taken.
    Timestamp,
}

impl Cause {
    pub const ALL: [Self; 4] = [Self::TooLarge, Self::NoKey, Self::Invalid, Self::Timestamp];

    /// Its name in headers and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::NoKey => "no-key",
            Self::Invalid => "invalid",
            Self::Timestamp => "timestamp",
        }
    }
}

/// A record that is to become a letter. Without its content: that is read from the store when the letter is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    #[serde(serialize_with = "put_number", deserialize_with = "take_number")]
    pub partition: PartitionId,
    pub offset: i64,
    /// About what it takes, bytes: bounds what goes into one commit.
    pub bytes: u64,
    /// The topic upstream.
    pub upstream: String,
    pub cause: Cause,
    /// What is wrong and what to do, for people.
    pub error: String,
}

fn put_number<S: Serializer>(partition: &PartitionId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u32(partition.0)
}

fn take_number<'de, D: Deserializer<'de>>(from: D) -> Result<PartitionId, D::Error> {
    u32::deserialize(from).map(PartitionId)
}

/// What the dead-letter topic may take of a store of this size, unless it is configured by name.
pub(super) fn bytes_max(store_bytes: u64) -> u64 {
    (store_bytes / DEAD_LETTER_SHARE).max(1 << 20)
}
