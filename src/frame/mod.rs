//! The native protocol, version 1: bytes ↔ messages. No I/O, no clock, no alloc; `no_std` without the feature `gateway`.
//!
//! ARCHITECTURE.md describes the protocol byte by byte; the tables here and in the modules are its source.
//!
//! | layer | where |
//! |---|---|
//! | a frame on TCP or a Unix socket: varint length (1 to 4 bytes, of what follows), body | [`stream`] |
//! | a frame on a serial link: COBS of body and CRC-32C, zero byte | [`serial`] |
//! | a body: type byte, content | [`message`] |
//! | contents: postcard; what holds records ends with a record list | [`client_message`], [`gateway_message`], [`group_message`], `tier_message` |
//! | a record list | [`record`] |
//!
//! How a connection goes:
//!
//! 1. The client says [`Hello`], the gateway answers [`Welcome`] (or [`Failed`] with id 0, and closes). Until then a
//!    body has at most [`HANDSHAKE_BYTES_MAX`], afterwards what the two have named.
//! 2. The client may send at once, without waiting for answers: [`Alias`]es, [`Publish`]es, requests.
//! 3. **Sequences** number the records of a client id within a session epoch, dense from 1. A publish that repeats sequences is acknowledged
//!    and not stored again; one that leaves some out is answered by [`ErrorCode::SequenceGap`]. A connection expects
//!    `max(last_sequence + 1, next_sequence)` first (the second only if the session was resumed).
//! 4. [`Ack`]s are cumulative and come in order of the sequences. A retriable [`PublishError`] drops what follows on
//!    the wire until the refused sequence comes again: order is kept, the client just goes back.
//! 5. A newer connection that publishes under the same client id fences the older, which gets
//!    [`ErrorCode::Fenced`]. Welcome is sent once everything that the older one got in is durable or refused.
//!
//! Forward compatibility: an unknown message type is answered by [`ErrorCode::Unsupported`]; new fields and types
//! come with a new version only; Hello never changes; an unknown [`ErrorCode`] is kept as a number.
//!
//! Invariants: decoding never panics, never allocates, never believes a length or count; everything decoded is
//! borrowed from the frame.

pub mod client_message;
mod code;
mod drain_message;
pub mod gateway_message;
pub mod group_message;
mod letter_message;
pub mod message;
pub mod record;
mod rule_message;
pub mod sequence;
pub mod serial;
pub mod stream;
mod tier_message;
mod user_message;
pub mod wire;

use core::fmt;

pub use client_message::{
    Alias, AlterTopic, CommitOffset, Configs, CreateTopic, Credit, DeleteTopic, DescribeTopic, Fetch, Hello,
    ListOffsets, ListTopics, Ping, Position, Publish, ReadOffset, RecentLog, Reload, Status, StoreFormat, Subscribe,
    TopicRef, Unsubscribe, Uplink, UplinkAction,
};
pub use code::{AckLevel, ErrorCode, UnknownAckLevel};
pub use drain_message::{Drain, DrainAction};
pub use gateway_message::{
    Ack, AckAt, AliasFailed, AliasOk, Done, Failed, Offsets, Pong, PublishError, ReaderOffset, RecordSet, Text, Topic,
    Upstream, Welcome,
};
pub use group_message::{
    GROUP_OFFSETS_MAX, GroupAction, GroupBeat, GroupCommit, GroupJoin, GroupJoined, GroupLeave, GroupMember, Groups,
};
pub use letter_message::{DeadLetters, LetterAction};
pub use message::{ClientMessage, GatewayMessage};
pub use record::{Base, Headers, Record, RecordIter, Records, RecordsWriter};
pub use rule_message::{RuleAction, Rules};
pub use stream::{Decoder, LENGTH_BYTES_MAX, Next, PublishHead, PublishWriter, Split, split};
#[cfg(feature = "gateway")]
pub use tier_message::tier_stretch_frame;
pub use tier_message::{
    Items, TIER_BATCHES_MAX, TIER_EPOCHS_MAX, TIER_MOVES_MAX, TierBatch, TierCursor, TierCursors, TierEpochs,
    TierKnown, TierMove, TierPlace, TierStretch,
};
pub use user_message::{UserAction, Users};
pub use wire::NoRoom;

/// What a Hello starts with.
pub const MAGIC: [u8; 4] = *b"brkl";
/// Lowest protocol version spoken.
pub const VERSION_MIN: u8 = 1;
/// Highest protocol version spoken.
pub const VERSION_MAX: u8 = 1;
/// Largest body before the Welcome, bytes.
pub const HANDSHAKE_BYTES_MAX: usize = 2_048;
/// Largest body that may be agreed on, bytes.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest client id, bytes.
pub const CLIENT_ID_BYTES_MAX: usize = 128;
/// Longest authentication token, bytes.
pub const TOKEN_BYTES_MAX: usize = 1_024;
/// Aliases of a connection are below this.
pub const ALIASES_MAX: u16 = 1_024;
/// Most unacknowledged records on a connection; see [`sequence`].
pub const IN_FLIGHT_MAX: u16 = 16_384;
/// Sequences and epochs that a [`Hello`] claims are at most this: nobody counts so far, and what is counted from there overflows never.
pub const CLAIMED_MAX: u64 = 1 << 62;
/// Most settings in one message.
pub const CONFIGS_MAX: usize = 24;

const _: () = assert!(FRAME_BYTES_MAX < 1 << (7 * LENGTH_BYTES_MAX), "a length fits its prefix");
const _: () = assert!(CLIENT_ID_BYTES_MAX + TOKEN_BYTES_MAX + 64 <= HANDSHAKE_BYTES_MAX, "a Hello fits");
const _: () = assert!(IN_FLIGHT_MAX < 1 << 15, "a sequence's low 16 bits tell it");
#[cfg(feature = "gateway")]
const _: () = assert!(CLIENT_ID_BYTES_MAX == crate::limits::CLIENT_ID_BYTES_MAX);
#[cfg(feature = "gateway")]
const _: () = assert!(TIER_EPOCHS_MAX == crate::limits::TIER_EPOCHS_MAX);

/// The version both sides speak: the highest of both ranges.
pub fn common_version(version_min: u8, version_max: u8) -> Option<u8> {
    let version = version_max.min(VERSION_MAX);
    (version >= version_min.max(VERSION_MIN)).then_some(version)
}

/// The stream can't be followed any more: answer with [`FrameError::code`] and close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A length of 0, or one that doesn't end after [`LENGTH_BYTES_MAX`] bytes.
    BadLength,
    /// A length beyond the limit.
    TooLarge {
        /// What the frame claims, bytes.
        length: usize,
        /// What is allowed, bytes.
        limit: usize,
    },
}

impl FrameError {
    /// What to tell the peer.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::BadLength => ErrorCode::BadFrame,
            Self::TooLarge { .. } => ErrorCode::FrameTooLarge,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadLength => f.write_str("this is not the native protocol: no valid frame length"),
            Self::TooLarge { length, limit } => {
                write!(f, "a frame of {length} bytes; at most {limit} are allowed here")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// A frame came whole, but is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// A type byte that this version doesn't know: answer with [`ErrorCode::Unsupported`] and go on.
    UnknownType(u8),
    /// Content that isn't what its type says: answer with [`ErrorCode::BadFrame`] and close.
    Malformed,
}

impl DecodeError {
    /// What to tell the peer.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::UnknownType(_) => ErrorCode::Unsupported,
            Self::Malformed => ErrorCode::BadFrame,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(kind) => {
                write!(f, "message type {kind:#04x} isn't known in protocol version {VERSION_MAX}")
            }
            Self::Malformed => f.write_str("a message whose content doesn't parse"),
        }
    }
}

impl core::error::Error for DecodeError {}
