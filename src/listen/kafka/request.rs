//! One request in memory, and the answer to come.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use crate::broker::Access;
use crate::kafka::header::{self, RequestHeader};
use crate::kafka::message::{Message, Response};
use crate::kafka::wire::{DecodeError, EncodeError, Reader};
use crate::listen::arrival::Arrival;
use crate::listen::budget::Permit;
use crate::record::SharedBytes;

/// A request whose header has been read.
pub(super) struct Request {
    pub(super) api_key: i16,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    /// What the client calls itself; "" if it doesn't.
    pub(super) client_id: String,
    /// How its connection came.
    pub(super) arrival: Arc<Arrival>,
    /// The broker, as whoever sent this may use it.
    pub(super) access: Access,
    /// With the permit for its memory, if it needed one.
    frame: SharedBytes,
    body_at: usize,
    has_permit: bool,
}

impl Request {
    /// Reads the header of a frame.
    pub(super) fn new(
        frame: Vec<u8>,
        arrival: Arc<Arrival>,
        access: Access,
        permit: Option<Permit>,
    ) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&frame);
        let header = RequestHeader::decode(&mut reader)?;
        let (api_key, version, correlation_id) = (header.api_key, header.api_version, header.correlation_id);
        let client_id = header.client_id.unwrap_or_default().to_owned();
        let body_at = frame.len() - reader.remaining();
        let has_permit = permit.is_some();
        let frame = match permit {
            Some(permit) => SharedBytes::guarded(frame, permit),
            None => frame.into(),
        };
        Ok(Self { api_key, version, correlation_id, client_id, arrival, access, frame, body_at, has_permit })
    }

    /// The body. What comes behind it is passed over, as Kafka's brokers do: librdkafka 2 leaves three bytes too many
    /// when it asks for the metadata of all topics.
    pub(super) fn body<'a, M: Message<'a>>(&'a self) -> Result<M, DecodeError> {
        M::decode(self.version, &mut Reader::new(self.frame.get(self.body_at..).unwrap_or_default()))
    }

    /// A part of the body, to keep. Its memory stays counted: what was allocated without a permit is copied.
    pub(super) fn keep(&self, part: Option<&[u8]>) -> SharedBytes {
        let part = part.unwrap_or_default();
        if self.has_permit { self.frame.part(part) } else { part.into() }
    }

    /// What is needed to answer, without the bytes of the request: for those who wait long.
    pub(super) fn without_body(self) -> Self {
        Self { frame: SharedBytes::default(), body_at: 0, has_permit: false, ..self }
    }

    /// The whole answer with this body.
    pub(super) fn answer<'a, M: Response<'a>>(&self, body: &M) -> Result<Vec<u8>, Failed> {
        self.answer_in(self.version, body)
    }

    /// As [`Request::answer`], in another version than was asked.
    pub(super) fn answer_in<'a, M: Response<'a>>(&self, version: i16, body: &M) -> Result<Vec<u8>, Failed> {
        let mut out = Vec::new();
        header::write_response(&mut out, version, self.correlation_id, body)?;
        Ok(out)
    }
}

/// Why a request ends its connection: there is no answer that the client could understand.
#[derive(Debug)]
pub(super) enum Failed {
    Decode(DecodeError),
    Encode(EncodeError),
    /// An API, or a version of it, that is not served.
    Unserved(String),
    /// It failed, and its client doesn't read answers.
    Unanswerable(String),
}

impl From<DecodeError> for Failed {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<EncodeError> for Failed {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Decode(error) => error.fmt(f),
            Self::Encode(error) => error.fmt(f),
            Self::Unserved(text) | Self::Unanswerable(text) => f.write_str(text),
        }
    }
}

/// The bytes of an answer, and the memory they take until they are sent.
pub(super) struct Reply {
    pub(super) bytes: Vec<u8>,
    pub(super) _permit: Option<Permit>,
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, _permit: None }
    }
}

/// An answer, or that there is none.
pub(super) type Answer = Result<Option<Reply>, Failed>;
/// An answer to come; it is awaited in the order of the requests.
pub(super) type Later = Pin<Box<dyn Future<Output = Answer> + Send>>;
/// Serves an API: what must happen in the order of the requests happens before it resolves; the rest in [`Later`].
pub(super) type Handler = fn(Arc<Context>, Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>>;

/// A [`Later`] that is there already.
pub(super) fn ready(answer: Vec<u8>) -> Later {
    Box::pin(async move { Ok(Some(answer.into())) })
}
