//! What a client sends. Each field stands on the wire in the order given here, in postcard's encoding: integers wider
//! than a byte as varints (signed ones zigzag), `&str` and `&[u8]` as a varint length and the bytes, an `Option` as 0
//! or 1 and the value, an enum as its varint index and the fields, a bool as 0 or 1.
//!
//! `id` is the client's own choice and comes back with the answer; it should be unique among the requests and
//! subscriptions that are open, and not 0.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{AckLevel, CLIENT_ID_BYTES_MAX, DecodeError, MAGIC, Records, TOKEN_BYTES_MAX};

/// The first message of a connection. Its layout is the same in every version of the protocol.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// [`MAGIC`]: so that another protocol at this port is told apart at once.
    pub magic: [u8; 4],
    /// Lowest protocol version the client speaks.
    pub version_min: u8,
    /// Highest protocol version the client speaks.
    pub version_max: u8,
    /// Who this is: 1 to [`CLIENT_ID_BYTES_MAX`] bytes. Sequences count within a session epoch of it.
    pub client_id: &'a str,
    /// The session epoch of the last Welcome that the client remembers, 0 for none. If it is still the id's epoch the
    /// session is resumed. At most [`CLAIMED_MAX`](super::CLAIMED_MAX), as the next.
    pub epoch: u64,
    /// The lowest sequence that the client may still send, 0 if it doesn't know. Lets a resumed session step over
    /// sequences that the client has seen acknowledged from memory and the gateway has lost.
    pub next_sequence: u64,
    /// Largest frame body that the client takes, bytes.
    pub frame_bytes_max: u32,
    /// Most unacknowledged records that the client will have on the way; 0: it won't publish, and fences nobody.
    pub in_flight_max: u16,
    /// Who it is, where the gateway asks: a message of PLAIN (RFC 4616: NUL, user, NUL, password), at most [`TOKEN_BYTES_MAX`] bytes.
    pub token: Option<&'a [u8]>,
}

impl fmt::Debug for Hello<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &(self.version_min..=self.version_max))
            .field("client_id", &self.client_id)
            .field("epoch", &self.epoch)
            .field("next_sequence", &self.next_sequence)
            .field("frame_bytes_max", &self.frame_bytes_max)
            .field("in_flight_max", &self.in_flight_max)
            .field("has_token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

impl Hello<'_> {
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        let good = self.magic == MAGIC
            && self.version_min <= self.version_max
            && (1..=CLIENT_ID_BYTES_MAX).contains(&self.client_id.len())
            && self.token.is_none_or(|token| token.len() <= TOKEN_BYTES_MAX);
        if good { Ok(()) } else { Err(DecodeError::Malformed) }
    }
}

/// Asks for a [`super::Pong`]; keeps the connection open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back.
    pub id: u32,
}

/// Gives a topic a number for this connection. Publishes may follow without waiting for the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias<'a> {
    /// The number, the client's choice, below [`super::ALIASES_MAX`]; given again, it means the new topic.
    pub alias: u16,
    /// The topic's name.
    pub topic: &'a str,
}

/// Publishes one or many records to one topic. Layout: alias varint, flags (one byte: bits 0–1 the [`AckLevel`],
/// bit 2 `want_offset`, others 0), the low 16 bits of the first sequence (two bytes, little-endian), and the records
/// up to the end of the frame. Their base timestamp is the gateway time of the Welcome. Records after the first have
/// the sequences that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic.
    pub alias: u16,
    /// When to acknowledge.
    pub level: AckLevel,
    /// Whether to be answered by [`super::AckAt`].
    pub want_offset: bool,
    /// Low 16 bits of the first record's sequence; see [`super::sequence`].
    pub sequence: u16,
    /// At least one record.
    pub records: Records<'a>,
}

/// A topic by its name or by an alias of this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicRef<'a> {
    /// By alias.
    Alias(u16),
    /// By name.
    Name(&'a str),
}

/// Where to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// The first record at or after this offset.
    Offset(i64),
    /// The first record with this timestamp or a later one, ms since 1970 (UTC); the end if there is none.
    Time(i64),
    /// The oldest record kept.
    Beginning,
    /// After the newest record.
    End,
}

/// Reads records once. Answered by [`super::GatewayMessage::Records`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch<'a> {
    /// Comes back.
    pub id: u32,
    /// The topic.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// The partition.
    pub partition: u32,
    /// Where to start.
    pub from: Position,
    /// At most this many bytes of records, but one record at least if the client's frame limit allows.
    pub bytes_max: u32,
    /// Wait until this many bytes are there…
    pub bytes_min: u32,
    /// …or this time has passed, ms; 0 answers at once.
    pub wait_ms: u32,
}

/// Has records pushed as they come, within a credit. Answered by [`super::GatewayMessage::Push`]es, or an error that
/// ends it. The client's id is used, and must not be used by a request meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe<'a> {
    /// The subscription; comes back with each push.
    pub id: u32,
    /// The topic.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// The partition.
    pub partition: u32,
    /// Where to start.
    pub from: Position,
    /// Bytes of record lists that may be pushed. A push is sent while credit is above 0, and may overdraw it by one
    /// record.
    pub credit_bytes: u32,
}

/// Adds to a subscription's credit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// The subscription.
    pub id: u32,
    /// Bytes that more may be pushed.
    pub bytes: u32,
}

/// Ends a subscription. Answered by [`super::Done`], after which no push of it comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The subscription.
    pub id: u32,
}

/// Saves a named reader's position durably. Answered by [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitOffset<'a> {
    /// Comes back.
    pub id: u32,
    /// The reader's (consumer group's) name.
    pub reader: &'a str,
    /// The topic.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// The partition.
    pub partition: u32,
    /// The next offset to read.
    pub offset: i64,
    /// Anything the reader wants to keep with it.
    pub metadata: &'a str,
}

/// Reads a named reader's position. Answered by [`super::ReaderOffset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOffset<'a> {
    /// Comes back.
    pub id: u32,
    /// The reader's (consumer group's) name.
    pub reader: &'a str,
    /// The topic.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// The partition.
    pub partition: u32,
}

/// Asks where a partition starts and ends, and which offset a position is. Answered by [`super::Offsets`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListOffsets<'a> {
    /// Comes back.
    pub id: u32,
    /// The topic.
    #[serde(borrow)]
    pub topic: TopicRef<'a>,
    /// The partition.
    pub partition: u32,
    /// The position to resolve.
    pub at: Position,
}

/// Settings as (key, value), keys as in Kafka (`retention.ms`).
pub type Configs<'a> = heapless::Vec<(&'a str, &'a str), { super::CONFIGS_MAX }>;

/// Creates a topic. Answered by [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateTopic<'a> {
    /// Comes back.
    pub id: u32,
    /// The name.
    pub name: &'a str,
    /// Partitions; 0 for the gateway's default.
    pub partitions: u32,
    /// Settings that differ from the defaults.
    #[serde(borrow)]
    pub configs: Configs<'a>,
}

/// Lists topics in order of their names. Answered by a [`super::Topic`] each (without settings) and [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListTopics<'a> {
    /// Comes back.
    pub id: u32,
    /// Only names after this one; "" for all.
    pub after: &'a str,
}

/// Describes a topic. Answered by [`super::Topic`] with its settings and [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribeTopic<'a> {
    /// Comes back.
    pub id: u32,
    /// The topic.
    pub name: &'a str,
}

/// Changes a topic. Answered by [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterTopic<'a> {
    /// Comes back.
    pub id: u32,
    /// The topic.
    pub name: &'a str,
    /// The new count of partitions, if it shall grow.
    pub partitions: Option<u32>,
    /// Settings to change; an empty value returns to the default.
    #[serde(borrow)]
    pub configs: Configs<'a>,
}

/// Deletes a topic with its records. Answered by [`super::Done`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteTopic<'a> {
    /// Comes back.
    pub id: u32,
    /// The topic.
    pub name: &'a str,
}

/// Asks for the gateway's status. Answered by [`super::Text`]s that make one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Comes back.
    pub id: u32,
}

/// Asks for the last lines of the gateway's log. Answered by [`super::Text`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentLog {
    /// Comes back.
    pub id: u32,
}

/// Reads the configuration again, and applies what can change without a restart. Answered by [`super::Text`]s that make one JSON object: what
/// differs, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// Comes back.
    pub id: u32,
    /// Else it is only told what would be applied.
    pub apply: bool,
}

/// Tells in which format the store is written. Answered by [`super::Text`]s that make one JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFormat {
    /// Comes back.
    pub id: u32,
    /// And lets it be written in the newest one from now on.
    pub finalize: bool,
}

/// What to do with uplinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UplinkAction {
    /// Tell how they are: JSON.
    Status,
    /// Try name, connection, versions, topics, limits and clock: a line each, with what to do.
    Check,
    /// Stop forwarding until resumed.
    Pause,
    /// Go on.
    Resume,
    /// A downlink only: go on behind what can't be brought. The name is then followed by topic upstream, partition (or `all`) and
    /// offset (or `latest`), with a space before each.
    Skip,
}

/// Looks at or steers uplinks. Answered by [`super::Text`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink<'a> {
    /// Comes back.
    pub id: u32,
    /// What to do.
    pub action: UplinkAction,
    /// Which one; "" for all.
    pub name: &'a str,
}
