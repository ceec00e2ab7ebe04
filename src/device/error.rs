//! Why a reading isn't accepted, and why a connection has to be made anew.

use core::fmt;

use super::ErrorText;
use crate::frame::{DecodeError, ErrorCode, FrameError};

/// A reading wasn't accepted; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishError<E> {
    /// The storage is full of records that no gateway has acknowledged. Later there may be room.
    Full,
    /// The record doesn't fit the session's buffers, and never will.
    TooLarge,
    /// The topic isn't in the [`super::Identity`].
    UnknownTopic,
    /// The storage failed.
    Storage(E),
}

impl<E: fmt::Debug> fmt::Display for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the storage is full of unacknowledged records"),
            Self::TooLarge => f.write_str("the record is larger than the session's buffers"),
            Self::UnknownTopic => f.write_str("the topic isn't among the session's topics"),
            Self::Storage(error) => write!(f, "the storage failed: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for PublishError<E> {}

/// The connection is of no use any more: close it, connect again after a pause, and call
/// [`super::Session::connected`]. What was accepted is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionError<E> {
    /// The gateway hasn't answered in time.
    NoAnswer,
    /// The gateway has ended the connection. With [`ErrorCode::Fenced`] another device uses the same client id; with
    /// [`ErrorCode::UnsupportedVersion`] and [`ErrorCode::NotAuthorized`] trying again soon is of no use.
    Ended(ErrorCode, ErrorText),
    /// The gateway sent what is no frame.
    Frame(FrameError),
    /// The gateway sent what is no message.
    Decode(DecodeError),
    /// The gateway sent a message that contradicts what was sent before.
    Contradiction,
    /// The send buffer is too small even for a Hello or a topic's name.
    BufferTooSmall,
    /// The storage failed.
    Storage(E),
}

impl<E: fmt::Debug> fmt::Display for SessionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("the gateway doesn't answer"),
            Self::Ended(code, text) if text.is_empty() => write!(f, "the gateway ended the connection: {code}"),
            Self::Ended(code, text) => write!(f, "the gateway ended the connection: {code}: {text}"),
            Self::Frame(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Contradiction => f.write_str("the gateway contradicts itself"),
            Self::BufferTooSmall => f.write_str("the send buffer is too small for a Hello or a topic's name"),
            Self::Storage(error) => write!(f, "the storage failed: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for SessionError<E> {}
