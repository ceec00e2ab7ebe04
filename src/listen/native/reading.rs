//! Frames on their way in: read one after the other, begun one after the other.
//!
//! Invariants: a connection on which nothing comes holds no buffer; what is allocated follows what has come; large
//! frames take their memory from the budget that all connections share.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures_lite::AsyncReadExt;

use super::Context;
use super::outbox::{Gone, Outbox};
use super::publishing::Publisher;
use super::requests::Requests;
use crate::frame::{ClientMessage, DecodeError, Decoder, ErrorCode, FrameError, Next};
use crate::listen::budget::{Arriving, Permit};
use crate::listen::stream::{Stream, Turns, within};
use crate::metrics::METRICS;

/// Bytes of a reading buffer at first.
const BUFFER_BYTES: usize = 4_096;
/// Frames up to this size need no permit: that much every connection may have.
const FREE_BYTES: usize = 8 * 1024;

/// Frames that have come together are begun so many at a time; then others have their turn.
const FRAMES_AT_A_TIME: u32 = 16;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The peer has closed it, or is gone.
    Closed,
    /// The gateway is shutting down.
    Shutdown,
    /// The network failed, or the peer was too slow.
    Io(io::Error),
    /// The peer sent what cannot be understood or is not allowed.
    Peer(ErrorCode, String),
    /// The peer is refused, by no fault of its bytes.
    Refused(ErrorCode, String),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Closed
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Peer(error.code(), error.to_string())
    }
}

/// Reads frames off a stream.
pub(super) struct FrameReader<S> {
    stream: S,
    context: Arc<Context>,
    limit: usize,
    /// There while something has come that is not worked off.
    decoder: Option<Decoder<Vec<u8>>>,
    /// The memory of the frame handed out last, if it was large.
    permit: Option<Permit>,
}

impl<S: Stream> FrameReader<S> {
    pub(super) fn new(stream: S, limit: usize, context: &Arc<Context>) -> Self {
        Self { stream, context: Arc::clone(context), limit, decoder: None, permit: None }
    }

    /// Changes the largest body taken, bytes.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        if let Some(decoder) = &mut self.decoder {
            decoder.set_limit(limit);
        }
    }

    /// The body of the first frame, which must come soon.
    pub(super) async fn first_frame(&mut self) -> Result<Vec<u8>, End> {
        within(self.context.options.frame_time, self.next_frame()).await
    }

    /// Waits until a frame has begun to come.
    async fn begin(&mut self) -> Result<(), End> {
        self.permit = None;
        if self.decoder.is_none() {
            self.decoder = Some(self.begin_frame().await?);
        }
        Ok(())
    }

    /// The body of the next frame.
    pub(super) async fn next_frame(&mut self) -> Result<Vec<u8>, End> {
        self.permit = None;
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self.begin_frame().await?,
        };
        let mut arriving = self.context.frames.arriving();
        let until = Instant::now() + self.context.options.frame_time;
        loop {
            let missing = match decoder.next()? {
                Next::Need(missing) => missing,
                Next::Frame(body) => {
                    let body = body.to_vec();
                    if decoder.pending() > 0 {
                        self.decoder = Some(decoder);
                    }
                    self.permit = arriving.whole();
                    return Ok(body);
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            match within(left, read_more(&mut self.stream, &mut decoder, missing, &mut arriving)).await? {
                0 => return Err(End::Io(io::ErrorKind::UnexpectedEof.into())),
                read => decoder.received(read),
            }
        }
    }

    /// Waits for the first byte on the stack: the buffer comes when there is something to put into it.
    async fn begin_frame(&mut self) -> Result<Decoder<Vec<u8>>, End> {
        let mut first = [0; 1];
        let read = self.stream.read(&mut first);
        let read = match self.context.options.idle {
            None => read.await?,
            Some(time) => within(time, read).await?,
        };
        if read == 0 {
            return Err(End::Closed);
        }
        let mut decoder = Decoder::growing(BUFFER_BYTES, self.limit);
        decoder.feed(&first);
        Ok(decoder)
    }
}

/// Reads some more of a frame that lacks `missing` bytes; how many have come. The buffer doubles as it comes.
async fn read_more(
    stream: &mut impl Stream,
    decoder: &mut Decoder<Vec<u8>>,
    missing: usize,
    arriving: &mut Arriving,
) -> io::Result<usize> {
    let come = decoder.pending();
    let room = (2 * come).min(come + missing);
    if room > FREE_BYTES {
        arriving.grow(room).await;
    }
    arriving.unless_too_slow(stream.read(decoder.room())).await
}

/// Reads and begins messages until the connection ends.
///
/// What takes the room is boxed for as long as something comes: a connection that waits has none of it.
pub(super) async fn read_messages(
    reader: &mut FrameReader<impl Stream>,
    publisher: &mut Publisher<'_>,
    requests: &mut Requests,
    outbox: &Outbox,
) -> End {
    let mut turns = Turns::new(FRAMES_AT_A_TIME);
    loop {
        if let Err(end) = reader.begin().await {
            return end;
        }
        if let Err(end) = Box::pin(read_begun(reader, publisher, requests, outbox)).await {
            return end;
        }
        turns.next().await;
    }
}

/// Reads and begins the messages of which something has come.
async fn read_begun(
    reader: &mut FrameReader<impl Stream>,
    publisher: &mut Publisher<'_>,
    requests: &mut Requests,
    outbox: &Outbox,
) -> Result<(), End> {
    while reader.decoder.is_some() {
        let body = reader.next_frame().await?;
        METRICS.requests_native.add(1);
        match ClientMessage::decode(&body) {
            Ok(ClientMessage::Publish(publish)) => publisher.publish(&publish).await?,
            Ok(message) => Box::pin(begin(message, publisher, requests, outbox)).await?,
            Err(error @ DecodeError::UnknownType(_)) => outbox.fail(0, error.code(), &error.to_string()).await?,
            Err(error @ DecodeError::Malformed) => return Err(End::Peer(error.code(), error.to_string())),
        }
    }
    Ok(())
}

async fn begin(
    message: ClientMessage<'_>,
    publisher: &mut Publisher<'_>,
    requests: &mut Requests,
    outbox: &Outbox,
) -> Result<(), End> {
    match message {
        ClientMessage::Hello(_) => Err(End::Peer(ErrorCode::BadFrame, "a second Hello on one connection".to_owned())),
        ClientMessage::Alias(alias) => Ok(publisher.alias(&alias, outbox).await?),
        other => Ok(requests.begin(&other, publisher.aliases()).await?),
    }
}
