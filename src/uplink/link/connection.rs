//! One connection to a broker: requests go out in the order of [`Connection::send`], responses come back in that order.
//!
//! Invariants: a response's size is bounded before memory is taken for it, and memory grows with what has arrived only; after
//! an error, a time-out or a response out of order the connection is closed, and everything under way on it fails, none of it
//! silently. Requests are not bounded here: their sender keeps a window.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::executor::Executor;
use async_channel::{Receiver, Sender};
use futures_lite::io::BufReader;
use futures_lite::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use smol::Task;

use super::super::options::RESPONSE_BYTES_MAX;
use super::meter::Meter;
use super::pulse::{self, Pulse};
use crate::kafka::frame;
use crate::kafka::header::write_request;
use crate::kafka::message::Request;
use crate::oneshot;

/// What a connection runs over: TCP, in the clear or with TLS (`dial.rs`).
pub(in crate::uplink) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// The connection (or the attempt to make one) failed; another attempt may work. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct LinkError(Arc<str>);

impl LinkError {
    pub(in crate::uplink) fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string().into())
    }

    /// How a connection to `peer` has ended.
    pub(in crate::uplink) fn ended(peer: &str, how: io::Result<()>) -> Self {
        match how {
            Ok(()) => Self::new("the connection was given up"),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::new(format_args!("{peer} closed the connection"))
            }
            Err(error) => Self::new(format_args!("connection to {peer}: {error}")),
        }
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LinkError {}

/// A connection. Closed when dropped.
#[derive(Debug)]
pub(in crate::uplink) struct Connection {
    line: Line,
    _driver: Task<()>,
    /// Authenticates again in time.
    _keeper: Option<Task<()>>,
}

/// What requests are put on. Clones are the same; the connection lives as long as its [`Connection`].
#[derive(Clone, Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    outgoing: Sender<Vec<u8>>,
    client_id: Arc<str>,
}

struct Shared {
    /// `host:port`, for errors.
    peer: String,
    state: Mutex<State>,
    /// Bytes of the requests that are not answered.
    unanswered_bytes: AtomicU64,
    /// How long nothing may move while an answer is awaited.
    timeout: Duration,
    meter: Arc<Meter>,
    pulse: Pulse,
    /// Closed to close the connection.
    closer: Sender<()>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    next_correlation_id: i32,
    /// The requests that are not answered, in order.
    pending: VecDeque<Pending>,
    /// When something was last sent or received.
    used: Option<Instant>,
    /// Why it is closed, once it is.
    closed: Option<LinkError>,
    /// While somebody authenticates again: what waits for the end of it, in order.
    held: Option<Vec<(Pending, Vec<u8>)>>,
}

struct Pending {
    correlation_id: i32,
    bytes: u64,
    begun: Instant,
    /// Nothing else was under way.
    alone: bool,
    reply: oneshot::Sender<Vec<u8>>,
}

impl Connection {
    /// A connection over a stream that is connected to `peer`. It is given up once nothing has moved for `timeout` while an answer is
    /// awaited, and the slowest link of late would be through as well.
    pub(super) fn over(
        executor: &Executor,
        stream: Box<dyn Transport>,
        peer: String,
        client_id: String,
        timeout: Duration,
        (meter, pulse): (Arc<Meter>, Pulse),
    ) -> Self {
        let (outgoing, to_write) = async_channel::unbounded();
        let (closer, closing) = async_channel::bounded(1);
        let (state, unanswered_bytes) = (Mutex::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { peer, state, unanswered_bytes, timeout, meter, pulse, closer });
        let driver = executor.spawn(drive(stream, Arc::clone(&shared), to_write, closing));
        let line = Line { shared, outgoing, client_id: client_id.into() };
        Self { line, _driver: driver, _keeper: None }
    }

    /// From now on `keeper` keeps it authenticated.
    pub(super) fn keep(&mut self, keeper: Task<()>) {
        self._keeper = Some(keeper);
    }

    pub(super) fn line(&self) -> &Line {
        &self.line
    }

    /// Puts a request on its way. The reply is awaited separately, so several can be under way.
    ///
    /// # Errors
    /// [`LinkError`], if the connection is closed or the request can't be encoded.
    pub(in crate::uplink) fn send<'a, M: Request<'a>>(&self, version: i16, body: &M) -> Result<Reply, LinkError> {
        self.line.send(version, body, true)
    }

    /// Whether it has failed: nothing can be sent any more.
    pub(in crate::uplink) fn is_closed(&self) -> bool {
        self.line.shared.state().closed.is_some()
    }

    /// Since when it has been idle: nothing is under way. `None` if it isn't, or is closed.
    pub(in crate::uplink) fn idle_since(&self) -> Option<Instant> {
        let state = self.line.shared.state();
        let is_idle = state.closed.is_none() && state.pending.is_empty() && state.held.is_none();
        state.used.filter(|_| is_idle)
    }

    /// `host:port` of the broker.
    pub(in crate::uplink) fn peer(&self) -> &str {
        self.line.peer()
    }
}

impl Line {
    /// As [`Connection::send`], though others are held.
    pub(super) fn send_first<'a, M: Request<'a>>(&self, version: i16, body: &M) -> Result<Reply, LinkError> {
        self.send(version, body, false)
    }

    /// From now on requests wait, but for those of [`Line::send_first`].
    pub(super) fn hold(&self) {
        self.shared.state().held.get_or_insert_default();
    }

    /// What was held goes on its way.
    pub(super) fn release(&self) {
        let mut state = self.shared.state();
        for (pending, bytes) in state.held.take().unwrap_or_default() {
            // If the connection is closed, the waiting ones are told when the entries go.
            let _ = self.put(&mut state, pending, bytes);
        }
        if state.closed.is_some() {
            state.pending.clear();
        }
    }

    /// Puts a request on its way; `false` if the connection is closed. Under the lock, so that requests are written in the order of their
    /// entries.
    fn put(&self, state: &mut State, pending: Pending, bytes: Vec<u8>) -> bool {
        let size = pending.bytes;
        state.pending.push_back(pending);
        // Before it can be answered, which takes it off again.
        self.shared.unanswered_bytes.fetch_add(size, Ordering::Relaxed);
        self.shared.pulse.queued(size);
        self.shared.pulse.probe(true, self.shared.timeout);
        self.outgoing.try_send(bytes).is_ok()
    }

    /// Closes the connection.
    pub(super) fn close(&self, error: LinkError) {
        self.shared.close(error);
    }

    /// `host:port` of the broker.
    pub(super) fn peer(&self) -> &str {
        &self.shared.peer
    }

    fn send<'a, M: Request<'a>>(&self, version: i16, body: &M, may_wait: bool) -> Result<Reply, LinkError> {
        let mut state = self.shared.state();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        let correlation_id = state.next_correlation_id;
        let mut bytes = Vec::new();
        write_request(&mut bytes, version, correlation_id, Some(&self.client_id), body).map_err(LinkError::new)?;
        state.next_correlation_id = correlation_id.wrapping_add(1);
        let size = bytes.len() as u64;
        let (reply, received) = oneshot::channel();
        let begun = Instant::now();
        state.used = Some(begun);
        let alone = state.pending.is_empty();
        let pending = Pending { correlation_id, bytes: size, begun, alone, reply };
        if may_wait && let Some(held) = &mut state.held {
            held.push((pending, bytes));
        } else if !self.put(&mut state, pending, bytes) {
            return Err(LinkError::new("the connection is closed"));
        }
        drop(state);
        Ok(Reply { shared: Arc::clone(&self.shared), received, begun })
    }
}

/// A response to come.
#[derive(Debug)]
pub(in crate::uplink) struct Reply {
    shared: Arc<Shared>,
    received: oneshot::Receiver<Vec<u8>>,
    begun: Instant,
}

impl Reply {
    /// The response's frame, without its size.
    ///
    /// # Errors
    /// [`LinkError`], if the connection failed first, or the time is up: the connection is closed then, since all later
    /// responses stand behind this one.
    pub(in crate::uplink) async fn frame(self) -> Result<Vec<u8>, LinkError> {
        let expired = async {
            pulse::expired(self.shared.timeout, |now| self.shared.deadline(now, self.begun)).await;
            self.shared.meter.unanswered();
            let peer = &self.shared.peer;
            self.shared.close(LinkError::new(format_args!("{peer} did not answer in time")));
            None
        };
        self.received.or(expired).await.ok_or_else(|| self.shared.reason())
    }
}

impl Shared {
    /// A panic elsewhere can't leave the state half changed: every change is whole before anything that could fail.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection, unless it is closed already; all that is under way fails with the first reason.
    fn close(&self, error: LinkError) {
        let mut state = self.state();
        state.closed.get_or_insert(error);
        state.pending.clear();
        state.held = None;
        drop(state);
        self.closer.close();
    }

    /// Until when an answer is awaited to a request of that time.
    fn deadline(&self, now: Instant, begun: Instant) -> Instant {
        let (moved, left) = self.pulse.look(now);
        let gone = self.unanswered_bytes.load(Ordering::Relaxed).saturating_sub(left);
        moved.max(begun) + self.timeout + Duration::from_secs(gone / self.meter.pace())
    }

    fn reason(&self) -> LinkError {
        self.state().closed.clone().unwrap_or_else(|| LinkError::new("the connection was given up"))
    }

    /// Hands a response to whoever waits for it.
    fn answer(&self, frame: Vec<u8>) -> io::Result<()> {
        let mut state = self.state();
        let pending = state.pending.pop_front().ok_or_else(|| invalid("a response to no request"))?;
        let now = Instant::now();
        state.used = Some(now);
        if state.pending.is_empty() {
            self.pulse.probe(false, self.timeout);
        }
        drop(state);
        self.meter.answered(pending.bytes, now.saturating_duration_since(pending.begun), pending.alone);
        self.unanswered_bytes.fetch_sub(pending.bytes, Ordering::Relaxed);
        if frame.first_chunk() != Some(&pending.correlation_id.to_be_bytes()) {
            return Err(invalid("a response out of order"));
        }
        // Nobody may wait any more: the request was given up.
        pending.reply.send(frame);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.line.close(LinkError::new("the connection was given up"));
    }
}

/// Moves bytes until the connection ends, for whatever reason.
async fn drive(stream: Box<dyn Transport>, shared: Arc<Shared>, to_write: Receiver<Vec<u8>>, closing: Receiver<()>) {
    let (reader, mut writer) = smol::io::split(stream);
    let mut reader = BufReader::new(reader);
    let write = write_all(&mut writer, to_write, &shared.pulse);
    let read = async {
        loop {
            let frame = read_frame(&mut reader, &shared.pulse).await?;
            shared.answer(frame)?;
        }
    };
    let closed = async {
        let _ = closing.recv().await;
        Ok(())
    };
    shared.close(LinkError::ended(&shared.peer, closed.or(read).or(write).await));
}

/// Writes what is to be written, until nobody brings more.
pub(in crate::uplink) async fn write_all(
    writer: &mut (impl AsyncWrite + Unpin),
    to_write: Receiver<Vec<u8>>,
    pulse: &Pulse,
) -> io::Result<()> {
    while let Ok(bytes) = to_write.recv().await {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = writer.write(rest).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            pulse.written(written);
            rest = rest.get(written..).unwrap_or_default();
        }
        writer.flush().await?;
    }
    Ok(())
}

async fn read_frame(reader: &mut (impl AsyncBufRead + Unpin), pulse: &Pulse) -> io::Result<Vec<u8>> {
    let mut prefix = [0; frame::SIZE_BYTES];
    reader.read_exact(&mut prefix).await?;
    if let Some(what) = foreign(prefix) {
        return Err(invalid(what));
    }
    let size = frame::size(prefix, RESPONSE_BYTES_MAX).map_err(invalid)?;
    let mut frame = Vec::new();
    // Grows as bytes arrive, not as they are claimed.
    while frame.len() < size {
        pulse.received();
        let some = reader.fill_buf().await?;
        let some = some.get(..size - frame.len()).unwrap_or(some);
        if some.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        frame.extend_from_slice(some);
        let taken = some.len();
        reader.consume(taken);
    }
    pulse.received();
    Ok(frame)
}

/// What answers instead of a Kafka broker, by the first bytes of an answer. As the size of a frame they would be absurd.
pub(in crate::uplink) fn foreign(start: [u8; frame::SIZE_BYTES]) -> Option<&'static str> {
    match &start {
        b"HTTP" | b"<!DO" | b"<!do" | b"<htm" | b"<HTM" => Some(
            "answers in HTTP: a captive portal or a web server stands in its place; log in there, or correct host and port",
        ),
        b"SSH-" => Some("answers as an SSH server: correct host and port"),
        [0x15, 3, _, _] => Some(
            "answers in TLS, which is not spoken to it: set tls.enabled = true, or use the broker's plain listener",
        ),
        _ => None,
    }
}

fn invalid(what: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests;
