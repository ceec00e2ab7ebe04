//! One request in memory, and the answer to come.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use crate::broker::Access;
use crate::kafka::frame::SIZE_BYTES;
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

/// The bytes of an answer, and the memory they take until they are sent. Records may stand aside: they go out in between,
/// from where they lie.
pub(super) struct Reply {
    bytes: Vec<u8>,
    /// Where in `bytes` each belongs, ascending.
    asides: Vec<(usize, Vec<u8>)>,
    _permit: Option<Permit>,
}

impl Reply {
    /// A frame in which `asides` are left out, but for their lengths; its size becomes the whole one.
    ///
    /// # Errors
    /// If that is larger than a frame can be.
    pub(super) fn with_asides(mut bytes: Vec<u8>, asides: Vec<(usize, Vec<u8>)>) -> Result<Self, Failed> {
        let aside: usize = asides.iter().map(|(_, aside)| aside.len()).sum();
        if let Some((prefix, content)) = bytes.split_first_chunk_mut::<SIZE_BYTES>() {
            let length = content.len() + aside;
            *prefix = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?.to_be_bytes();
        }
        Ok(Self { bytes, asides, _permit: None })
    }

    /// With the permit for its memory.
    pub(super) fn holding(self, permit: Option<Permit>) -> Self {
        Self { _permit: permit, ..self }
    }

    /// Bytes in all.
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.asides.iter().map(|(_, aside)| aside.len()).sum::<usize>()
    }

    /// Adds another answer, if none of the two has anything aside; else gives it back.
    pub(super) fn join(&mut self, other: Self) -> Option<Self> {
        if !self.asides.is_empty() || !other.asides.is_empty() {
            return Some(other);
        }
        self.bytes.extend_from_slice(&other.bytes);
        None
    }

    /// What is to be sent, piece by piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let pairs = self.asides.iter().flat_map(move |(at, aside)| {
            let before = self.bytes.get(from..*at).unwrap_or_default();
            from = *at;
            [before, aside.as_slice()]
        });
        let last = self.asides.last().map_or(0, |(at, _)| *at);
        pairs.chain([self.bytes.get(last..).unwrap_or_default()])
    }
}

impl From<Vec<u8>> for Reply {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, asides: Vec::new(), _permit: None }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_aside_goes_out_in_its_place() {
        let asides = vec![(6, vec![1; 3]), (6, vec![2]), (8, vec![3; 2])];
        let reply = Reply::with_asides(vec![0, 0, 0, 4, 9, 9, 8, 8], asides).ok().unwrap();
        let sent: Vec<u8> = reply.pieces().flatten().copied().collect();
        assert_eq!(sent, [0, 0, 0, 10, 9, 9, 1, 1, 1, 2, 8, 8, 3, 3]);
        assert_eq!(reply.len(), sent.len());
        let mut small = Reply::from(vec![1]);
        assert!(small.join(Reply::from(vec![2])).is_none());
        assert_eq!(small.pieces().collect::<Vec<_>>(), [&[1, 2][..]]);
        assert!(small.join(reply).is_some(), "it goes for itself");
    }
}
