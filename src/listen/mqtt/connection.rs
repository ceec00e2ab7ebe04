//! One connection: the greeting, then reading, answering, delivering and writing side by side until one of them ends it.
//!
//! Invariants: answers go out in the order of what they answer; what was taken before the end is stored; the session is stored
//! before the place of its client id is given back.
//!
//! The sides are boxed: combining futures by value doubles their size at every step, and an idle connection shall cost some kilobytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::channel::{self, Sender};
use crate::executor::Executor;
use event_listener::Event;
use futures_lite::{AsyncReadExt, FutureExt, future};

use super::answering::answer;
use super::delivery;
use super::given::GivenQueue;
use super::greeting::{self, Greeted, Terms};
use super::hub::{Leaving, Place, session_row};
use super::inbound::Inbound;
use super::outbound::Origin;
use super::publishing::Will;
use super::reading::{End, PacketReader};
use super::session::Session;
use super::shares::Shared;
use super::taking::read;
use super::{Context, sharing};
use crate::broker::{CommitError, GuardedChange};
use crate::listen::arrival::Arrival;
use crate::listen::stream::{Stream, count_slow, within, write};
use crate::metrics::METRICS;
use crate::mqtt::{ConnAck, Packet, PropertiesBuilder, Property, Protocol, Reason, ReasonCode};
use crate::oneshot;
use crate::shutdown::Shutdown;

/// Bytes of packets that are handed to the writer at a time, about.
pub(super) const FRAME_BYTES: usize = 16 * 1024;
/// Frames that may wait to be written: who takes nothing holds so much memory.
const FRAMES_MAX: usize = 6;
/// How long the end of a connection may take: storing and writing what is on its way.
const DRAIN_TIME: Duration = Duration::from_secs(4);
/// For how long, and how much, is still read of a client that was told the end of its connection.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What the sides of a connection share.
pub(super) struct Sides {
    pub(super) context: Arc<Context>,
    pub(super) executor: Arc<Executor>,
    pub(super) terms: Terms,
    session: Mutex<Session>,
    inbound: Mutex<Inbound>,
    /// What it takes part in. Locked after the session.
    shares: Mutex<Vec<Arc<Shared>>>,
    /// What shares have given to it. Locked after the session.
    given: Mutex<GivenQueue>,
    /// The session has changed: there may be more to deliver.
    pub(super) changed: Event,
    /// One at a time stores the session, so that none is overwritten by an older one.
    storing: smol::lock::Mutex<()>,
    outbox: Sender<Vec<u8>>,
}

/// The connection is over: there is nobody to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;

/// Serves a connection until it ends.
pub(super) async fn run(
    context: Arc<Context>,
    executor: Arc<Executor>,
    shutdown: Shutdown,
    stream: impl Stream,
    peer: Arc<Arrival>,
) {
    let (outbox, frames) = channel::bounded(FRAMES_MAX);
    // Set when nothing can be written any more.
    let broken = Shutdown::default();
    let packet_time = context.options().packet_time;
    let rest = stream.clone();
    let writing = write(stream.clone(), &frames, packet_time, &broken);
    let serving = async {
        let end = serve(&context, &executor, &peer, stream, outbox, &shutdown, &broken).await;
        frames.close();
        end
    };
    let (end, ()) = future::zip(Box::pin(serving), writing).await;
    if matches!(end, End::Refused(..)) {
        shutdown.unless(Box::pin(linger(rest))).await;
    }
    match end {
        End::Refused(reason, text) => {
            METRICS.protocol_errors.add(1);
            log::warn!("mqtt: {peer}: connection closed: {reason}: {text}");
        }
        End::Lost(error) => {
            count_slow(&error);
            log::debug!("mqtt: {peer}: {error}");
        }
        End::TakenOver => log::info!("mqtt: {peer}: connection closed: another one uses its client id"),
        End::Disconnected { .. } | End::Shutdown => {}
    }
}

/// Reads what the client had sent before it was told that this is the end: a socket that is closed before that was read is
/// reset, and what it was told is lost.
async fn linger(mut stream: impl Stream) {
    let reading = async {
        let (mut left, mut bytes) = (LINGER_BYTES, [0; 1_024]);
        while left > 0 {
            left = match stream.read(&mut bytes).await {
                Ok(read) if read > 0 => left.saturating_sub(read),
                _ => 0,
            };
        }
        Ok::<_, std::io::Error>(())
    };
    // It is over either way.
    let _ = within(LINGER_TIME, reading).await;
}

async fn serve(
    context: &Arc<Context>,
    executor: &Arc<Executor>,
    arrival: &Arrival,
    stream: impl Stream,
    outbox: Sender<Vec<u8>>,
    shutdown: &Shutdown,
    broken: &Shutdown,
) -> End {
    let mut reader = PacketReader::new(stream, context);
    let greeting = async { Box::pin(greet(context, arrival, &mut reader, &outbox)).await };
    let greeted = match shutdown.unless(greeting).await {
        None => return End::Shutdown,
        Some(Err(end)) => return end,
        Some(Ok(greeted)) => greeted,
    };
    let Greeted { place, terms, session, inbound, will, .. } = greeted;
    let sides = Arc::new(Sides {
        context: Arc::clone(context),
        executor: Arc::clone(executor),
        terms,
        session: Mutex::new(session),
        inbound: Mutex::new(inbound),
        shares: Mutex::default(),
        given: Mutex::default(),
        changed: Event::new(),
        storing: smol::lock::Mutex::new(()),
        outbox,
    });
    sharing::enter(&sides);
    let end = serve_session(&sides, &place, &mut reader, shutdown, broken).await;
    sides.say_goodbye(&end).await;
    Box::pin(leave(&sides, place, &end, will)).await;
    end
}

/// The first packet must be CONNECT, and come soon.
async fn greet(
    context: &Arc<Context>,
    arrival: &Arrival,
    reader: &mut PacketReader<impl Stream>,
    outbox: &Sender<Vec<u8>>,
) -> Result<Greeted, End> {
    let whole = reader.first(context.options().packet_time).await?;
    let connect = match Packet::decode(whole.first, reader.body(&whole), Protocol::V3) {
        Ok(Packet::Connect(connect)) => connect,
        Ok(_) => return Err(End::Refused(ReasonCode::PROTOCOL_ERROR, "the first packet is not a CONNECT".to_owned())),
        Err(error) => {
            // A version that isn't spoken is answered in the words of the one that every client knows.
            refuse(outbox, Protocol::V3, error.reason(), "").await;
            return Err(error.into());
        }
    };
    match greeting::greet(context, arrival, &connect).await {
        Ok(greeted) => {
            let frame = encoded(&Packet::ConnAck(greeting::welcome(&greeted)), connect.protocol);
            // If the client has gone, reading finds out.
            let _ = outbox.send(frame).await;
            Ok(greeted)
        }
        Err(refusal) => {
            refuse(outbox, connect.protocol, refusal.reason, &refusal.text).await;
            Err(End::Refused(refusal.reason, refusal.text))
        }
    }
}

async fn refuse(outbox: &Sender<Vec<u8>>, protocol: Protocol, reason: ReasonCode, text: &str) {
    let mut properties = PropertiesBuilder::default();
    properties.extend((!text.is_empty()).then_some(Property::ReasonString(text)));
    let connack = ConnAck { session_present: false, reason, properties: properties.as_properties() };
    // If the client has gone, it does not want to know.
    let _ = outbox.send(encoded(&Packet::ConnAck(connack), protocol)).await;
}

fn encoded(packet: &Packet<'_>, protocol: Protocol) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(packet, &mut frame, protocol);
    frame
}

fn encode(packet: &Packet<'_>, frame: &mut Vec<u8>, protocol: Protocol) {
    let before = frame.len();
    // Nothing that is sent has a field beyond 64 KiB: what came by MQTT fits it, and the rest is ours.
    if let Err(error) = packet.encode(frame, protocol) {
        log::error!("mqtt: a packet could not be written: {error}");
        frame.truncate(before);
    }
}

async fn serve_session(
    sides: &Arc<Sides>,
    place: &Place,
    reader: &mut PacketReader<impl Stream>,
    shutdown: &Shutdown,
    broken: &Shutdown,
) -> End {
    let (answers, due) = channel::unbounded();
    // What the answering side ends the connection for.
    let (refused, refusal) = oneshot::channel();
    let reading = async {
        let end = Box::pin(read(sides, reader, &answers)).await;
        // What was taken is still answered.
        answers.close();
        end
    };
    let ended = async {
        let stopped = async {
            shutdown.wait().await;
            End::Shutdown
        };
        let replaced = async {
            place.connection.taken_over.wait().await;
            End::TakenOver
        };
        let gone = async {
            broken.wait().await;
            End::Lost(std::io::ErrorKind::BrokenPipe.into())
        };
        let refused = async {
            match refusal.await {
                Some(end) => end,
                None => future::pending().await,
            }
        };
        stopped.or(replaced).or(gone).or(refused).await
    };
    let reading = async {
        let end = reading.or(ended).await;
        answers.close();
        end
    };
    let answering = async {
        if let Err(end) = answer(sides, &due).await {
            refused.send(end);
        }
        due.close();
    };
    let delivering = async {
        Box::pin(delivery::deliver(sides)).await;
        // Nobody reads what is delivered; reading finds out.
        future::pending().await
    };
    let both = future::zip(Box::pin(reading), Box::pin(answering));
    let both = async { both.await.0 };
    let late = async {
        shutdown.wait().await;
        smol::Timer::after(DRAIN_TIME).await;
        End::Shutdown
    };
    both.or(delivering).or(late).await
}

impl Sides {
    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a packet, unless it is larger than the client takes.
    pub(super) async fn send(&self, packet: &Packet<'_>) -> Result<(), Gone> {
        let mut frame = Vec::new();
        self.put(packet, &mut frame);
        self.send_frame(&mut frame).await
    }

    /// Puts a packet behind others that are to be sent. One that is larger than the client takes is left out: `false`.
    pub(super) fn put(&self, packet: &Packet<'_>, frame: &mut Vec<u8>) -> bool {
        let before = frame.len();
        encode(packet, frame, self.terms.protocol);
        let fits = frame.len() - before <= self.terms.packet_bytes_max;
        if !fits {
            frame.truncate(before);
        }
        fits
    }

    /// Sends what was put together, if there is anything.
    pub(super) async fn send_frame(&self, frame: &mut Vec<u8>) -> Result<(), Gone> {
        if frame.is_empty() {
            return Ok(());
        }
        self.outbox.send(std::mem::take(frame)).await.map_err(|_| Gone)
    }

    pub(super) fn shares(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn given(&self) -> MutexGuard<'_, GivenQueue> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the session, if it is one to be kept, and the shares that it takes part in, or (`left`) did until now; it may wait up
    /// to `within` for another commit to ride with.
    pub(super) async fn store(&self, within: Duration, left: &[Arc<Shared>]) -> Result<(), CommitError> {
        let _one_at_a_time = self.storing.lock().await;
        self.store_now(within, left).await
    }

    /// Stores what is not stored. Once this has returned, nothing of an earlier attempt is under way any more.
    async fn store_rest(&self) -> Result<(), CommitError> {
        let _one_at_a_time = self.storing.lock().await;
        if self.session().is_dirty { self.store_now(Duration::ZERO, &[]).await } else { Ok(()) }
    }

    async fn store_now(&self, within: Duration, left: &[Arc<Shared>]) -> Result<(), CommitError> {
        let mut attempt = Attempt { sides: self, succeeded: false };
        let rows = {
            let mut session = self.session();
            let mut rows: Vec<GuardedChange> =
                self.shares().iter().chain(left).filter_map(|share| share.row()).collect();
            if session.is_kept() {
                session.is_dirty = false;
                rows.push((session_row(&self.terms.client), Some(session.to_stored().encode())).into());
            }
            rows
        };
        if !rows.is_empty() {
            self.context.broker.change_rows_guarded(rows, within).await?;
        }
        attempt.succeeded = true;
        Ok(())
    }

    /// A message is done; if a share gave it, that is done with it too. To be called under the lock of the session.
    pub(super) fn settled(&self, origin: &Origin) {
        if let Origin::Shared { share, partition, offset } = origin
            && let Some(share) = self.context.shares.get(share)
        {
            share.with(|share| share.settle((*partition, *offset)));
        }
    }

    /// Whether shares may give it something.
    pub(super) fn has_room_for_given(&self) -> bool {
        let has_room = self.session().outbound.has_room();
        has_room && self.given().has_room()
    }

    /// Tells the client why the connection ends, where its version has words for that.
    async fn say_goodbye(&self, end: &End) {
        let (reason, text) = match end {
            End::Refused(reason, text) => (*reason, text.as_str()),
            End::TakenOver => (ReasonCode::SESSION_TAKEN_OVER, "another connection uses this client id"),
            End::Shutdown => (ReasonCode::SERVER_SHUTTING_DOWN, "the gateway is shutting down; connect again"),
            End::Lost(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                (ReasonCode::KEEP_ALIVE_TIMEOUT, "nothing came for too long")
            }
            End::Lost(_) | End::Disconnected { .. } => return,
        };
        if self.terms.protocol == Protocol::V5 {
            let mut properties = PropertiesBuilder::default();
            properties.extend(self.terms.problem_info.then_some(Property::ReasonString(text)));
            // It may be that nothing can be written: then nobody is told. There is room, or it is pointless to wait for it.
            let goodbye = Reason { reason, properties: properties.as_properties() };
            let frame = encoded(&Packet::Disconnect(goodbye), self.terms.protocol);
            let _ = self.outbox.try_send(frame);
        }
    }
}

/// An attempt to store a session: if it fails, or nobody waits for its end, the session counts as not stored.
struct Attempt<'a> {
    sides: &'a Sides,
    succeeded: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.succeeded {
            self.sides.session().is_dirty = true;
            self.sides.shares().iter().for_each(|share| share.with(|share| share.is_dirty = true));
        }
    }
}

/// Leaves the session as it is to be found, and the will where it is due.
async fn leave(sides: &Sides, place: Place, end: &End, will: Option<(u32, Will)>) {
    let expiry_s = sides.session().expiry_s;
    let back = sharing::leave(sides);
    if expiry_s == 0 {
        super::hub::forget(&sides.context, &sides.terms.client).await;
    } else if let Err(error) = sides.store_rest().await {
        log::warn!("mqtt: the session of {:?} could not be stored: {error}", sides.terms.client);
    }
    back.hand_on(sides);
    // A gateway that stops is not a device that is lost.
    let lost = !matches!(end, End::Disconnected { with_will: false } | End::Shutdown);
    let mut will = will.filter(|_| lost);
    // Before whoever takes over is let in: a will without delay is due with the end of the connection (MQTT 5.0, section 3.1.2.5).
    if let Some((_, will)) = will.take_if(|(delay_s, _)| expiry_s.min(*delay_s) == 0) {
        super::publishing::publish_will(&sides.context, will).await;
    }
    place.leave(Leaving { expiry_s, will });
}
