//! What the gateway sends; encoded as [`super::client_message`] tells.

use serde::{Deserialize, Serialize};

use super::{AckLevel, Configs, ErrorCode, Records};

/// Answers Hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome<'a> {
    /// The protocol version of this connection.
    pub version: u8,
    /// Which gateway this is.
    pub gateway_id: &'a str,
    /// The session epoch of the client id, from 1; to be remembered for the next Hello. 0 if the client won't publish.
    pub epoch: u64,
    /// Whether the epoch of Hello goes on: what the client numbered is what the gateway has. Otherwise the client
    /// numbers the records that it holds anew, from `last_sequence` + 1.
    pub resumed: bool,
    /// The last sequence of this epoch that is durable (or settled otherwise), 0 for none.
    pub last_sequence: u64,
    /// The gateway's clock, ms since 1970 (UTC). Also the base of timestamps in this connection's publishes.
    pub time_ms: i64,
    /// Whether the gateway believes its clock (it was set by NTP, say).
    pub time_trusted: bool,
    /// Largest frame body that the gateway takes, bytes.
    pub frame_bytes_max: u32,
    /// Most unacknowledged records the client may have on the way: at most what Hello said and [`super::IN_FLIGHT_MAX`].
    pub in_flight_max: u16,
    /// The gateway closes a connection on which it has received nothing for this long, seconds; 0: never.
    pub idle_seconds_max: u16,
}

/// Answers Ping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Of the Ping.
    pub id: u32,
    /// The gateway's clock, ms since 1970 (UTC).
    pub time_ms: i64,
    /// Whether the gateway believes it.
    pub time_trusted: bool,
}

/// A request failed, or with id 0 the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed<'a> {
    /// Of the request or subscription; 0: the connection, which the gateway then closes, save for
    /// [`ErrorCode::Unsupported`].
    pub id: u32,
    /// What went wrong.
    pub code: ErrorCode,
    /// The same for people, with what to do.
    pub text: &'a str,
}

/// An alias is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasOk {
    /// The alias.
    pub alias: u16,
    /// Partitions of the topic.
    pub partitions: u32,
}

/// An alias stands for nothing; publishes to it will be refused with the same code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasFailed<'a> {
    /// The alias.
    pub alias: u16,
    /// What went wrong.
    pub code: ErrorCode,
    /// The same for people.
    pub text: &'a str,
}

/// Every sequence up to this one is settled: its record has come as far as it was asked to (`upstream`: on flash), or
/// was refused for good by an earlier [`PublishError`]. Layout: one byte, the level that all of them have reached at
/// least; the low 16 bits of the sequence, two bytes, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// What all of them have reached at least: `Memory` or `Flash`.
    pub level: AckLevel,
    /// Low 16 bits of the last sequence settled; see [`super::sequence`].
    pub up_to: u16,
}

/// An [`Ack`] of a publish that asked for its offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckAt {
    /// As in [`Ack`].
    pub level: AckLevel,
    /// The last sequence settled, which is the last of the publish.
    pub up_to: u64,
    /// The partition of that record.
    pub partition: u32,
    /// Its offset; -1 if the record was a duplicate (or acknowledged from memory) and the offset isn't known.
    pub offset: i64,
}

/// Every `upstream` record up to this sequence is in the central cluster of every uplink that follows its topic, or was
/// evicted before it could be forwarded, and is in the loss ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The last sequence.
    pub up_to: u64,
}

/// Records weren't taken. If the code is retriable, this and everything after it on this connection was dropped: the
/// client sends again from `sequence` after `retry_ms`. Otherwise the `count` records are refused for good, and a
/// following [`Ack`] settles them. That is told once: if the link breaks then, the next Welcome just settles them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishError<'a> {
    /// The first sequence refused; for [`ErrorCode::SequenceGap`] the one expected.
    pub sequence: u64,
    /// Records refused; 0 if the code is retriable.
    pub count: u32,
    /// What went wrong.
    pub code: ErrorCode,
    /// When to try again, ms.
    pub retry_ms: u32,
    /// The same for people.
    pub text: &'a str,
}

/// Records read, answering Fetch or pushed. Layout: the fields in this order as varints (zigzag where signed), and the
/// records up to the end of the frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordSet<'a> {
    /// Of the request or subscription.
    pub id: u32,
    /// The oldest offset kept.
    pub log_start: i64,
    /// One beyond the newest offset that may be read.
    pub high_watermark: i64,
    /// Where to read on.
    pub next_offset: i64,
    /// What the records' offsets count from. Offsets may have gaps.
    pub base_offset: i64,
    /// The records; none if there was nothing in time.
    pub records: Records<'a>,
}

impl<'a> RecordSet<'a> {
    /// The records with their offsets and timestamps.
    pub fn iter(&self) -> super::RecordIter<'a> {
        self.records.iter(super::Base { timestamp: 0, offset: self.base_offset })
    }
}

/// Answers ListOffsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offsets {
    /// Of the request.
    pub id: u32,
    /// The oldest offset kept.
    pub log_start: i64,
    /// One beyond the newest offset that may be read.
    pub high_watermark: i64,
    /// What the position in the request comes to.
    pub offset: i64,
}

/// A request is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Of the request.
    pub id: u32,
}

/// Answers ReadOffset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReaderOffset<'a> {
    /// Of the request.
    pub id: u32,
    /// The next offset to read, if one was ever saved.
    pub offset: Option<i64>,
    /// What was kept with it.
    pub metadata: &'a str,
}

/// One topic of an answer that ends with [`Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic<'a> {
    /// Of the request.
    pub id: u32,
    /// The name.
    pub name: &'a str,
    /// The topic's UUID.
    pub uuid: [u8; 16],
    /// Partitions.
    pub partitions: u32,
    /// Effective settings, if asked for.
    #[serde(borrow)]
    pub configs: Configs<'a>,
}

/// A piece of an answer in text; the pieces are put together up to the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text<'a> {
    /// Of the request.
    pub id: u32,
    /// Whether this is the last piece.
    pub last: bool,
    /// The piece.
    pub text: &'a str,
}
