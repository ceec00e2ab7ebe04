//! The small vocabularies of the protocol: acknowledgement levels and error codes.

use core::fmt;

use serde::{Deserialize, Serialize};

/// How far a record must have come before its publish is acknowledged. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum AckLevel {
    /// In the gateway's memory: lost by a power cut within the commit window.
    Memory = 0,
    /// Committed and fsynced on the gateway's flash.
    #[default]
    Flash = 1,
    /// In the central cluster of every uplink that follows the topic. Acknowledged as `Flash` first; a cumulative
    /// [`super::Upstream`] follows.
    Upstream = 2,
}

impl AckLevel {
    /// The level of a wire value.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Memory),
            1 => Some(Self::Flash),
            2 => Some(Self::Upstream),
            _ => None,
        }
    }

    /// The name people write.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Flash => "flash",
            Self::Upstream => "upstream",
        }
    }
}

impl fmt::Display for AckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::str::FromStr for AckLevel {
    type Err = UnknownAckLevel;

    fn from_str(text: &str) -> Result<Self, UnknownAckLevel> {
        [Self::Memory, Self::Flash, Self::Upstream]
            .into_iter()
            .find(|level| level.name() == text)
            .ok_or(UnknownAckLevel)
    }
}

/// Not the name of an acknowledgement level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownAckLevel;

impl fmt::Display for UnknownAckLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an acknowledgement level is one of: memory, flash, upstream")
    }
}

impl core::error::Error for UnknownAckLevel {}

/// Makes the enum, its wire values, names and meanings from one table.
macro_rules! error_codes {
    ($($value:literal $name:ident $text:literal $(#[doc = $doc:literal])+)*) => {
        /// What went wrong. On the wire one byte; a value that this version doesn't know stays as it came.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "u8", into = "u8")]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $name,)*
            /// A code of a later version.
            Other(u8),
        }

        impl From<u8> for ErrorCode {
            fn from(value: u8) -> Self {
                match value {
                    $($value => Self::$name,)*
                    other => Self::Other(other),
                }
            }
        }

        impl From<ErrorCode> for u8 {
            fn from(code: ErrorCode) -> u8 {
                match code {
                    $(ErrorCode::$name => $value,)*
                    ErrorCode::Other(other) => other,
                }
            }
        }

        impl ErrorCode {
            /// The code in words, for a log line or a person.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(_) => "an error of a later protocol version",
                }
            }
        }
    };
}

error_codes! {
    1 UnsupportedVersion "no common protocol version" /// No version in the client's range is spoken. Closes the connection.
    2 BadFrame "a frame that doesn't parse" /// Bytes that are no message. Closes the connection.
    3 FrameTooLarge "a frame or an answer larger than the limit" /// Beyond the negotiated limit. Closes the connection when a frame was received, not when an answer wouldn't fit.
    4 NotAuthorized "not authorized" /// The client may not do this. Answering Hello it closes the connection.
    5 UnknownTopic "no such topic" /// The topic doesn't exist and may not be created on the way.
    6 TopicExists "the topic exists already" /// Creation of what is there.
    7 InvalidTopic "not a valid topic name" /// 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`.
    8 UnknownPartition "no such partition" /// The topic has fewer partitions.
    9 OffsetOutOfRange "the offset is outside the log" /// Below the log start (evicted) or beyond the high watermark.
    10 RecordTooLarge "the record is larger than the topic's max.message.bytes" /// Will never be accepted as it is.
    11 Overloaded "the gateway is overloaded" /// Try again later.
    12 StoreFull "the store is full" /// `on_full = "refuse"` and nothing may be evicted. Try again later.
    13 StoreFailed "the store has failed" /// An I/O error; the gateway needs attention. Try again later.
    14 Fenced "another connection uses this client id" /// A newer connection of the same id took over. Closes the connection.
    15 SequenceGap "a sequence was skipped" /// Send again from the sequence in the error.
    16 Throttled "over the quota" /// Try again after the stated time.
    17 ShuttingDown "the gateway is shutting down" /// Closes the connection; connect again later. For a publish: it is being drained, and takes no new records.
    18 Unsupported "not supported" /// A message type or option that this gateway doesn't know.
    19 InvalidArgument "an invalid argument" /// The text says which.
    20 Internal "an internal error" /// A fault of the gateway's.
    21 Rebalancing "the group has changed" /// The client's generation, or its membership, is over: join again.
    22 UnknownGroup "no such group" /// No consumer group of that name.
    23 GroupInUse "the group has members" /// Only its members may commit, and it can't be deleted.
}

impl ErrorCode {
    /// Whether a publish refused with this code will be accepted later, unchanged: the client sends again from the
    /// refused sequence after a pause. Otherwise the records are refused for good and count as settled.
    pub const fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::Overloaded
                | Self::StoreFull
                | Self::StoreFailed
                | Self::SequenceGap
                | Self::Throttled
                | Self::ShuttingDown
                | Self::Internal
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(value) => write!(f, "{} ({value})", self.text()),
            known => f.write_str(known.text()),
        }
    }
}
