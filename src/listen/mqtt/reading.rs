//! Packets on their way in, one after the other.
//!
//! Invariants: a connection on which nothing comes holds no buffer; what is allocated follows what has come; large packets take their
//! memory from the budget that all connections share.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;

use super::Context;
use crate::listen::budget::{Arriving, Permit};
use crate::listen::stream::Stream;
use crate::listen::watch::Watch;
use crate::mqtt::{DecodeError, First, FrameError, ReasonCode, Split, split};

/// Bytes of a reading buffer at first.
const BUFFER_BYTES: usize = 2_048;
/// Packets up to this size need no permit: that much every connection may have.
const FREE_BYTES: usize = 8 * 1024;
/// Most bytes that the buffer grows by at a time.
const GROWTH_BYTES: usize = 64 * 1024;

/// Largest CONNECT, bytes: a will's payload and everything else in it, each nearly as large as it may be. Until it has come nobody knows who
/// it is that sends.
const CONNECT_BYTES_MAX: usize = 128 * 1024;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client has said so; with its will or without.
    Disconnected { with_will: bool },
    /// The network failed, or the client was silent or too slow.
    Lost(io::Error),
    /// The gateway is shutting down.
    Shutdown,
    /// Another connection has come under the same client id.
    TakenOver,
    /// The client did what it may not; or what it wants can't be done, and its version has no other way to be told.
    Refused(ReasonCode, String),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Refused(error.reason(), error.to_string())
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Refused(error.reason(), error.to_string())
    }
}

/// A packet that has come whole: [`PacketReader::body`] has its bytes until the next one is read.
pub(super) struct Whole {
    pub(super) first: First,
    body: Range<usize>,
    /// Its memory, if it is large.
    _permit: Option<Permit>,
}

/// Reads packets off a stream.
pub(super) struct PacketReader<S> {
    stream: S,
    context: Arc<Context>,
    /// Largest packet that is taken.
    bytes_max: usize,
    /// What has come and is not worked off.
    buffer: Vec<u8>,
    /// Bytes of the buffer that are worked off.
    done: usize,
    /// The time of what is waited for.
    watch: Watch,
}

impl<S: Stream> PacketReader<S> {
    pub(super) fn new(stream: S, context: &Arc<Context>) -> Self {
        let bytes_max = context.options().packet_bytes_max.min(CONNECT_BYTES_MAX);
        Self { stream, context: Arc::clone(context), bytes_max, buffer: Vec::new(), done: 0, watch: Watch::new() }
    }

    /// The first packet, which must come within `time` and be a CONNECT: what else a client begins with is not waited for.
    pub(super) async fn first(&mut self, time: Duration) -> Result<Whole, End> {
        self.wait(Some(time)).await?;
        if !self.buffer.first().is_some_and(|first| First(*first).is_connect()) {
            let text = "the first packet is not a CONNECT of MQTT; Kafka and native clients use other ports";
            return Err(End::Refused(ReasonCode::PROTOCOL_ERROR, text.to_owned()));
        }
        let whole = self.next(Some(time)).await?;
        self.bytes_max = self.context.options().packet_bytes_max;
        Ok(whole)
    }

    /// The next packet, of which something must come within `silence`.
    pub(super) async fn next(&mut self, silence: Option<Duration>) -> Result<Whole, End> {
        let bytes_max = self.bytes_max;
        let mut arriving = self.context.packets.arriving();
        if self.done >= self.buffer.len() {
            // Of a large packet the room is not kept.
            self.buffer = Vec::new();
            self.done = 0;
            self.wait(silence).await?;
        }
        // For the whole of it: a byte now and then is no progress.
        let until = Instant::now() + self.context.options().packet_time;
        loop {
            let missing = match split(self.buffer.get(self.done..).unwrap_or_default(), bytes_max)? {
                Split::Need(missing) => missing,
                Split::Packet { first, body, taken } => {
                    self.done += taken;
                    let body = self.done - body.len()..self.done;
                    return Ok(Whole { first, body, _permit: arriving.whole() });
                }
            };
            self.buffer.drain(..self.done);
            self.done = 0;
            self.read(missing, until.saturating_duration_since(Instant::now()), &mut arriving).await?;
        }
    }

    /// The bytes of a packet behind its length; of the one that was read last.
    pub(super) fn body(&self, whole: &Whole) -> &[u8] {
        self.buffer.get(whole.body.clone()).unwrap_or_default()
    }

    /// Waits for the first byte on the stack: the buffer comes when there is something to put into it.
    async fn wait(&mut self, silence: Option<Duration>) -> Result<(), End> {
        let mut first = [0; 1];
        let read = self.watch.within(silence, self.stream.read(&mut first)).await?;
        if read == 0 {
            return Err(End::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        self.buffer.push(first[0]);
        Ok(())
    }

    /// Reads what is there of a packet that lacks `missing` bytes; the buffer grows with what has come.
    async fn read(&mut self, missing: usize, time: Duration, arriving: &mut Arriving) -> Result<(), End> {
        let had = self.buffer.len();
        let room = had.clamp(BUFFER_BYTES, GROWTH_BYTES);
        if had + missing > FREE_BYTES {
            arriving.grow(had + room).await;
        }
        self.buffer.resize(had + room, 0);
        let into = self.buffer.get_mut(had..).unwrap_or_default();
        let read = self.watch.within(Some(time), arriving.unless_too_slow(self.stream.read(into))).await;
        self.buffer.truncate(had + read.as_ref().copied().unwrap_or(0));
        if read? == 0 { Err(End::Lost(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }
}
