//! One connection to a gateway, in the native protocol: requests go out in their order, answers come in any.
//!
//! Invariants: what is received is bounded by what was asked; after an error, a time-out or an answer to nothing the line is
//! closed, and everything under way on it fails, none of it silently. At most [`ON_THE_WIRE_MAX`] requests are sent and not answered;
//! the others wait here for their turn. How many may wait is not bounded here: their sender keeps a window.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::Task;

use crate::config::HostPort;
use crate::frame::{
    ClientMessage, Decoder, FRAME_BYTES_MAX, GatewayMessage, HANDSHAKE_BYTES_MAX, Hello, MAGIC, Next, VERSION_MAX,
    VERSION_MIN,
};
use crate::metrics::METRICS;
use crate::oneshot;
use crate::secret::Secret;
use crate::uplink::link::connection::{LinkError, Transport, foreign, write_all};
use crate::uplink::link::dial::Dialer;
use crate::uplink::link::meter::Meter;
use crate::uplink::link::pulse::{self, Pulse};
use crate::uplink::options::RESPONSE_BYTES_MAX;

/// The receive buffer starts with this and is cut back to it.
const RECEIVE_BYTES: usize = 4 * 1024;
/// A gateway refuses a request while sixteen of a connection are open. One that is answered is open a moment longer, so these are half of it.
const ON_THE_WIRE_MAX: usize = 8;
/// What to do where no gateway answers.
const PORT_HINT: &str = "protocol = \"brooklet\" takes the native port of the gateway upstream (listen.native.addr, 9790 by \
                         default), not its Kafka port";

/// What the gateway has told of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) gateway: String,
    pub(super) version: u8,
    /// Largest frame body it takes, bytes.
    pub(super) frame_bytes_max: usize,
}

/// A line. Closed when dropped.
#[derive(Debug)]
pub(super) struct Line {
    shared: Arc<Shared>,
    greeting: Greeting,
    _driver: Task<()>,
}

#[derive(Debug)]
struct Shared {
    /// `host:port`, for errors.
    peer: String,
    state: Mutex<State>,
    /// How long nothing may move while an answer is awaited.
    timeout: Duration,
    meter: Arc<Meter>,
    pulse: Pulse,
    outgoing: Sender<Vec<u8>>,
    /// Closed to close the line.
    closer: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The requests that are sent and not answered, by their ids.
    pending: BTreeMap<u32, Pending>,
    /// Those that are not sent, with their ids and frames: only while as many are pending as may be. What answers one of them answers nothing.
    waiting: VecDeque<(u32, Vec<u8>, Pending)>,
    unanswered_bytes: u64,
    /// When something was last sent or received.
    used: Option<Instant>,
    /// Why it is closed, once it is.
    closed: Option<LinkError>,
}

#[derive(Debug)]
struct Pending {
    bytes: u64,
    /// When it was sent.
    begun: Instant,
    /// Nothing else was under way.
    alone: bool,
    /// What has come of the answer.
    bodies: Vec<Vec<u8>>,
    received: usize,
    reply: oneshot::Sender<Vec<Vec<u8>>>,
}

/// An answer to come.
#[derive(Debug)]
pub(super) struct Reply {
    shared: Arc<Shared>,
    received: oneshot::Receiver<Vec<Vec<u8>>>,
    begun: Instant,
}

impl Reply {
    /// The bodies of the answer's messages; the last one ends it.
    ///
    /// # Errors
    /// [`LinkError`], if the line failed first, or the time is up, which closes it.
    pub(super) async fn bodies(self) -> Result<Vec<Vec<u8>>, LinkError> {
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

impl Line {
    /// Connects and says hello as `client_id`. It publishes nothing as a device, so it fences nobody.
    ///
    /// # Errors
    /// [`LinkError`], which says how far it came.
    pub(super) async fn open(dialer: &Dialer, address: &HostPort, client_id: &str) -> Result<Self, LinkError> {
        let greeted = async {
            let token = dialer.token()?;
            let (mut stream, pulse) = dialer.open(address).await?;
            let mut decoder = Decoder::growing(RECEIVE_BYTES, HANDSHAKE_BYTES_MAX);
            let greeting = greet(&mut *stream, &mut decoder, address, (client_id, &token)).await?;
            Ok((stream, pulse, decoder, greeting))
        };
        let (stream, pulse, mut decoder, greeting) = greeted.or(dialer.expired(address)).await?;
        METRICS.uplink_connects.add(1);
        decoder.set_limit(FRAME_BYTES_MAX);
        let (outgoing, to_write) = async_channel::unbounded();
        let (closer, closing) = async_channel::bounded(1);
        let state = Mutex::new(State { used: Some(Instant::now()), ..State::default() });
        let (timeout, meter) = (dialer.request_timeout(), Arc::clone(dialer.meter()));
        let shared = Arc::new(Shared { peer: address.to_string(), state, timeout, meter, pulse, outgoing, closer });
        let driver = dialer.executor().spawn(drive(stream, decoder, Arc::clone(&shared), to_write, closing));
        Ok(Self { shared, greeting, _driver: driver })
    }

    pub(super) fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Puts a request on its way, whose id this is (none that is under way, nor 0).
    ///
    /// # Errors
    /// [`LinkError`], if the line is closed or the request can't be encoded.
    pub(super) fn ask(&self, id: u32, message: &ClientMessage<'_>) -> Result<Reply, LinkError> {
        let mut frame = Vec::new();
        message.append_to(&mut frame).map_err(|_| LinkError::new("the request is larger than a frame"))?;
        self.send(id, frame)
    }

    /// As [`Line::ask`], for a frame.
    ///
    /// # Errors
    /// [`LinkError`], if the line is closed.
    pub(super) fn send(&self, id: u32, frame: Vec<u8>) -> Result<Reply, LinkError> {
        self.shared.put(id, frame)
    }

    /// Why nothing can be sent any more, if so.
    pub(super) fn closed(&self) -> Option<LinkError> {
        self.shared.state().closed.clone()
    }

    /// Since when nothing is under way. `None` if something is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.shared.state();
        state.used.filter(|_| state.pending.is_empty())
    }
}

impl Shared {
    /// A panic elsewhere can't leave the state half changed: every change is whole before anything that could fail.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request on its way, or in line for it.
    fn put(self: &Arc<Self>, id: u32, frame: Vec<u8>) -> Result<Reply, LinkError> {
        let mut state = self.state();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        let bytes = frame.len() as u64;
        let (reply, received) = oneshot::channel();
        let begun = Instant::now();
        state.used = Some(begun);
        let alone = state.pending.is_empty();
        let pending = Pending { bytes, begun, alone, bodies: Vec::new(), received: 0, reply };
        state.waiting.push_back((id, frame, pending));
        self.pulse.probe(true, self.timeout);
        self.send_waiting(&mut state);
        if self.outgoing.is_closed() {
            return Err(LinkError::new("the connection is closed"));
        }
        drop(state);
        Ok(Reply { shared: Arc::clone(self), received, begun })
    }

    /// Closes the line, unless it is closed already; all that is under way fails with the first reason.
    fn close(&self, error: LinkError) {
        let mut state = self.state();
        state.closed.get_or_insert(error);
        state.pending.clear();
        state.waiting.clear();
        drop(state);
        self.closer.close();
    }

    /// Sends what waits, as far as there is room on the wire.
    fn send_waiting(&self, state: &mut State) {
        while state.pending.len() < ON_THE_WIRE_MAX
            && let Some((id, frame, pending)) = state.waiting.pop_front()
        {
            state.unanswered_bytes += pending.bytes;
            self.pulse.queued(pending.bytes);
            // Before it can be answered.
            state.pending.insert(id, Pending { begun: Instant::now(), ..pending });
            // It fails only once the line is closed, and then everything that is pending does.
            let _ = self.outgoing.try_send(frame);
        }
    }

    /// Until when an answer is awaited to a request of that time.
    fn deadline(&self, now: Instant, begun: Instant) -> Instant {
        let (moved, left) = self.pulse.look(now);
        let gone = self.state().unanswered_bytes.saturating_sub(left);
        moved.max(begun) + self.timeout + Duration::from_secs(gone / self.meter.pace())
    }

    fn reason(&self) -> LinkError {
        self.state().closed.clone().unwrap_or_else(|| LinkError::new("the connection was given up"))
    }

    /// Hands a body to whoever waits for it.
    fn take(&self, body: &[u8]) -> io::Result<()> {
        let message = GatewayMessage::decode(body).map_err(invalid)?;
        let (id, last) = match &message {
            GatewayMessage::Failed(failed) if failed.id == 0 => {
                return Err(invalid(format_args!("{}: {}", failed.code, failed.text)));
            }
            GatewayMessage::Failed(failed) => (failed.id, true),
            GatewayMessage::Done(done) => (done.id, true),
            GatewayMessage::Pong(pong) => (pong.id, true),
            GatewayMessage::TierKnown(known) => (known.id, true),
            GatewayMessage::TierCursor(cursor) => (cursor.id, false),
            GatewayMessage::Topic(topic) => (topic.id, false),
            other => return Err(invalid(format_args!("an answer of type {:#04x} to nothing", other.kind()))),
        };
        let mut state = self.state();
        state.used = Some(Instant::now());
        let pending = state.pending.get_mut(&id).ok_or_else(|| invalid("an answer to nothing"))?;
        pending.received += body.len();
        if pending.received > RESPONSE_BYTES_MAX {
            return Err(invalid("an answer that is larger than allowed"));
        }
        pending.bodies.push(body.to_vec());
        if last && let Some(pending) = state.pending.remove(&id) {
            state.unanswered_bytes = state.unanswered_bytes.saturating_sub(pending.bytes);
            self.meter.answered(pending.bytes, pending.begun.elapsed(), pending.alone);
            self.send_waiting(&mut state);
            if state.pending.is_empty() {
                self.pulse.probe(false, self.timeout);
            }
            // Nobody may wait any more: the request was given up.
            pending.reply.send(pending.bodies);
        }
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.shared.close(LinkError::new("the connection was given up"));
    }
}

/// Hello and Welcome.
async fn greet(
    stream: &mut dyn Transport,
    decoder: &mut Decoder<Vec<u8>>,
    address: &HostPort,
    (client_id, token): (&str, &Option<Secret>),
) -> Result<Greeting, LinkError> {
    let hello = Hello {
        magic: MAGIC,
        version_min: VERSION_MIN,
        version_max: VERSION_MAX,
        client_id,
        epoch: 0,
        next_sequence: 0,
        frame_bytes_max: FRAME_BYTES_MAX as u32,
        in_flight_max: 0,
        token: token.as_ref().map(Secret::expose),
    };
    let mut frame = Vec::new();
    let encoded = ClientMessage::Hello(hello).append_to(&mut frame);
    encoded.map_err(|_| LinkError::new("the Hello is larger than a frame"))?;
    let lost = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            LinkError::new(format_args!("{address} closed the connection before its welcome: {PORT_HINT}"))
        }
        _ => LinkError::new(format_args!("{address}: {error}")),
    };
    stream.write_all(&frame).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let body = next_body(stream, decoder).await.map_err(lost)?;
    match GatewayMessage::decode(&body) {
        Ok(GatewayMessage::Welcome(welcome)) => Ok(Greeting {
            gateway: welcome.gateway_id.to_owned(),
            version: welcome.version,
            frame_bytes_max: usize::try_from(welcome.frame_bytes_max).unwrap_or(usize::MAX).min(FRAME_BYTES_MAX),
        }),
        Ok(GatewayMessage::Failed(failed)) => {
            Err(LinkError::new(format_args!("{address}: {}: {}", failed.code, failed.text)))
        }
        _ => match stranger(&body) {
            Some(what) => Err(LinkError::new(format_args!("{address} {what}"))),
            None => Err(LinkError::new(format_args!("{address} does not speak the native protocol: {PORT_HINT}"))),
        },
    }
}

/// What answers instead of a gateway, where the first byte of its answer was taken for the length of this body.
fn stranger(body: &[u8]) -> Option<&'static str> {
    let first = u8::try_from(body.len()).ok()?;
    let next: &[u8; 3] = body.first_chunk()?;
    foreign([first, next[0], next[1], next[2]])
}

/// The next frame's body.
async fn next_body(
    stream: &mut (impl AsyncReadExt + Unpin + ?Sized),
    decoder: &mut Decoder<Vec<u8>>,
) -> io::Result<Vec<u8>> {
    loop {
        match decoder.next() {
            Ok(Next::Frame(body)) => {
                let body = body.to_vec();
                decoder.shrink_to(RECEIVE_BYTES);
                return Ok(body);
            }
            Ok(Next::Need(_)) => {}
            Err(error) => return Err(invalid(error)),
        }
        match stream.read(decoder.room()).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => decoder.received(length),
        }
    }
}

/// Moves bytes until the line ends, for whatever reason.
async fn drive(
    stream: Box<dyn Transport>,
    mut decoder: Decoder<Vec<u8>>,
    shared: Arc<Shared>,
    to_write: Receiver<Vec<u8>>,
    closing: Receiver<()>,
) {
    let (mut reader, mut writer) = smol::io::split(stream);
    let write = write_all(&mut writer, to_write, &shared.pulse);
    let read = async {
        loop {
            let body = next_body(&mut reader, &mut decoder).await?;
            shared.pulse.received();
            shared.take(&body)?;
        }
    };
    let closed = async {
        let _ = closing.recv().await;
        Ok(())
    };
    shared.close(LinkError::ended(&shared.peer, closed.or(read).or(write).await));
}

fn invalid(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pong;

    fn pong(id: u32) -> Vec<u8> {
        let mut body = [0; 64];
        let pong = GatewayMessage::Pong(Pong { id, time_ms: 0, time_trusted: false });
        pong.encode_unframed(&mut body).unwrap().to_vec()
    }

    #[test]
    fn what_waits_is_sent_in_turn_and_cannot_be_answered_before() {
        let (outgoing, sent) = async_channel::unbounded();
        let (closer, _closing) = async_channel::bounded(1);
        let shared = Arc::new(Shared {
            peer: "gw".to_owned(),
            state: Mutex::default(),
            timeout: Duration::from_secs(3_600),
            meter: Arc::default(),
            pulse: Pulse::of(None),
            outgoing,
            closer,
        });
        let most = ON_THE_WIRE_MAX as u32;
        let replies: Vec<Reply> = (1..=most + 2).map(|id| shared.put(id, vec![0; 10]).unwrap()).collect();
        assert_eq!(sent.len(), ON_THE_WIRE_MAX);
        let early = shared.take(&pong(most + 2)).unwrap_err().to_string();
        assert!(early.contains("an answer to nothing"), "{early}");
        (1..=most + 2).for_each(|id| shared.take(&pong(id)).unwrap());
        assert_eq!(sent.len(), replies.len());
        let answers = replies.into_iter().map(|reply| smol::block_on(reply.bodies()).unwrap().len());
        assert!(answers.eq(std::iter::repeat_n(1, ON_THE_WIRE_MAX + 2)));
        assert!(shared.state().pending.is_empty() && shared.state().unanswered_bytes == 0);
    }
}
