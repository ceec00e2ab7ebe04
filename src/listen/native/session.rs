//! One connection: the greeting, then reading, acknowledging and writing side by side until one of them ends it.
//!
//! Invariants: what was accepted before the end is still acknowledged if the peer listens; a peer that is too slow in
//! either direction loses its own connection and nothing else.
//!
//! The sides are boxed: combining futures by value doubles their size at every step, and a connection that is idle
//! shall cost some kilobytes.

use std::sync::Arc;
use std::time::Duration;

use crate::channel;
use crate::executor::Executor;
use futures_lite::{FutureExt, future};

use super::Context;
use super::acking::{self, Upstream};
use super::errors::of_produce;
use super::outbox::Outbox;
use super::publishing::{Flow, Publisher};
use super::reading::{End, FrameReader, read_messages};
use super::requests::Requests;
use crate::broker::{Access, DeviceSession};
use crate::frame::client_message::Hello;
use crate::frame::gateway_message::Welcome;
use crate::frame::{
    CLAIMED_MAX, ClientMessage, ErrorCode, GatewayMessage, HANDSHAKE_BYTES_MAX, IN_FLIGHT_MAX, VERSION_MAX,
    VERSION_MIN, common_version,
};
use crate::listen::arrival::Arrival;
use crate::listen::auth::Refused;
use crate::listen::stream::{Socket, Stream, count_slow, write};
use crate::metrics::METRICS;
use crate::sasl::server::read_plain;
use crate::shutdown::Shutdown;

/// How long the end of a connection may take: acknowledging and writing what is on its way.
const DRAIN_TIME: Duration = Duration::from_secs(4);

/// Serves a connection until it ends.
pub(super) async fn run(
    context: Arc<Context>,
    executor: Arc<Executor>,
    shutdown: Shutdown,
    stream: Socket,
    peer: Arc<Arrival>,
) {
    let (outbox, frames) = Outbox::new();
    let host = peer.from.to_string();
    // Set when nothing can be written any more.
    let broken = Shutdown::default();
    let writing = write(stream.clone(), &frames, context.options.frame_time, &broken);
    let serving = async {
        let served = Box::pin(serve(&context, &executor, &peer, (stream, &host), &outbox, &shutdown, &broken));
        let end = shutdown_aware(&shutdown, &broken, served).await;
        tell(&outbox, &end).await;
        drop(outbox);
        end
    };
    let (end, ()) = future::zip(serving, writing).await;
    match end {
        End::Peer(code, text) => {
            METRICS.protocol_errors.add(1);
            log::warn!("native: {peer}: connection closed: {code}: {text}");
        }
        End::Refused(code, text) => log::info!("native: {peer}: connection closed: {code}: {text}"),
        End::Io(error) => {
            count_slow(&error);
            log::debug!("native: {peer}: {error}");
        }
        End::Closed | End::Shutdown => {}
    }
}

/// Before the greeting there is nothing to drain: shutdown ends it at once.
async fn shutdown_aware(shutdown: &Shutdown, broken: &Shutdown, serve: impl Future<Output = End>) -> End {
    let stopped = async {
        shutdown.wait().await;
        // Sessions end by themselves; this is for those that do not.
        smol::Timer::after(DRAIN_TIME).await;
        End::Shutdown
    };
    let gone = async {
        broken.wait().await;
        End::Closed
    };
    serve.or(stopped).or(gone).await
}

/// Tells the peer why the connection ends, where that is for it to know.
async fn tell(outbox: &Outbox, end: &End) {
    let told = match end {
        End::Peer(code, text) | End::Refused(code, text) => outbox.fail(0, *code, text).await,
        End::Shutdown => outbox.fail(0, ErrorCode::ShuttingDown, "the gateway is shutting down; connect again").await,
        End::Closed | End::Io(_) => Ok(()),
    };
    // If the peer has gone, it does not want to know.
    let _ = told;
}

async fn serve(
    context: &Arc<Context>,
    executor: &Arc<Executor>,
    arrival: &Arrival,
    (stream, peer): (impl Stream, &str),
    outbox: &Outbox,
    shutdown: &Shutdown,
    broken: &Shutdown,
) -> End {
    let mut reader = FrameReader::new(stream, HANDSHAKE_BYTES_MAX, context);
    let session = match shutdown.unless(Box::pin(greet(context, arrival, &mut reader, outbox))).await {
        None => return End::Shutdown,
        Some(Err(end)) => return end,
        Some(Ok(session)) => session,
    };
    let (pendings, outcomes) = channel::unbounded();
    let flow = Arc::new(Flow::default());
    let upstream = Upstream::default();
    if let Some(session) = &session.device {
        upstream.want(session.last_durable_sequence(), session.wanted_upstream().to_vec());
    }
    let mut requests = Requests::new(context, executor, outbox, &session, peer);
    let reading = Box::pin(async {
        let mut publisher = Publisher::new(context, &session, pendings.clone(), Arc::clone(&flow));
        let reading = Box::pin(read_messages(&mut reader, &mut publisher, &mut requests, outbox));
        let reading = Box::pin(async { shutdown.unless(broken.unless(reading)).await });
        let end = match fenced_first(session.device.as_ref(), reading).await {
            None => End::Shutdown,
            Some(None) => End::Closed,
            Some(Some(end)) => end,
        };
        pendings.close();
        end
    });
    let acking = Box::pin(acking::acknowledge(&session, &outcomes, outbox, &flow, &upstream));
    let both = async { future::zip(reading, acking).await.0 };
    let notices = async {
        upstream.notify(context, outbox).await;
        // Only when there is nobody to notify: the others find out by themselves.
        future::pending().await
    };
    both.or(notices).await
}

/// What was agreed on.
pub(super) struct Greeted {
    /// Who the client is.
    pub(super) client_id: String,
    /// The broker, as the client may use it.
    pub(super) access: Access,
    /// The right to publish, if the client wants to.
    pub(super) device: Option<DeviceSession>,
    /// Largest frame body that the client takes, bytes.
    pub(super) peer_bytes_max: usize,
    /// Most unacknowledged records, both sides considered.
    pub(super) in_flight_max: u16,
    /// What timestamps count from, ms since 1970.
    pub(super) base_timestamp: i64,
}

async fn greet(
    context: &Context,
    arrival: &Arrival,
    reader: &mut FrameReader<impl Stream>,
    outbox: &Outbox,
) -> Result<Greeted, End> {
    let body = reader.first_frame().await?;
    let Ok(ClientMessage::Hello(hello)) = ClientMessage::decode(&body) else {
        let text = "the first message must be a Hello of the native protocol; Kafka clients use the other port";
        return Err(End::Peer(ErrorCode::BadFrame, text.to_owned()));
    };
    let Some(version) = common_version(hello.version_min, hello.version_max) else {
        let text = format!(
            "the client speaks protocol versions {} to {}, this gateway {VERSION_MIN} to {VERSION_MAX}",
            hello.version_min, hello.version_max
        );
        return Err(End::Refused(ErrorCode::UnsupportedVersion, text));
    };
    let access = let_in(context, arrival, &hello).await?;
    let device = open_session(&access, &hello).await?;
    let now = context.broker.now();
    let greeted = Greeted {
        client_id: hello.client_id.to_owned(),
        access,
        peer_bytes_max: hello.frame_bytes_max as usize,
        in_flight_max: hello.in_flight_max.min(IN_FLIGHT_MAX),
        base_timestamp: now.wall_ms,
        device,
    };
    let idle = context.options.idle.map_or(0, |idle| idle.as_secs());
    let device = greeted.device.as_ref();
    let welcome = Welcome {
        version,
        gateway_id: &context.options.gateway_id,
        epoch: device.map_or(0, DeviceSession::epoch),
        resumed: device.is_some_and(DeviceSession::resumed),
        last_sequence: device.map_or(0, DeviceSession::last_durable_sequence),
        time_ms: now.wall_ms,
        time_trusted: now.wall_trusted,
        frame_bytes_max: context.options.frame_bytes_max as u32,
        in_flight_max: greeted.in_flight_max,
        idle_seconds_max: u16::try_from(idle).unwrap_or(u16::MAX),
    };
    outbox.send(GatewayMessage::Welcome(welcome)).await.map_err(|_| End::Closed)?;
    reader.set_limit(context.options.frame_bytes_max);
    Ok(greeted)
}

/// The broker, as who is there may use it. What a token holds is a message of PLAIN.
async fn let_in(context: &Context, arrival: &Arrival, hello: &Hello<'_>) -> Result<Access, End> {
    let credentials = hello.token.map(read_plain).transpose();
    let let_in = async {
        let credentials = credentials.map_err(Refused::Sasl)?;
        context.guard.let_in(arrival, credentials).await
    };
    let_in.await.map_err(|refused| End::Refused(ErrorCode::NotAuthorized, refused.to_string()))
}

/// A client that publishes gets the session of its id; one that does not, fences nobody.
async fn open_session(access: &Access, hello: &Hello<'_>) -> Result<Option<DeviceSession>, End> {
    if hello.in_flight_max == 0 {
        return Ok(None);
    }
    if hello.next_sequence > CLAIMED_MAX || hello.epoch > CLAIMED_MAX {
        let text = format!("epoch and next_sequence are at most {CLAIMED_MAX}: forget the session, and say 0 of both");
        return Err(End::Peer(ErrorCode::InvalidArgument, text));
    }
    let resume = (hello.epoch != 0).then_some(hello.epoch);
    match access.open_session(hello.client_id, resume, hello.next_sequence).await {
        Ok(session) => Ok(Some(session)),
        Err(error) => Err(End::Refused(of_produce(&error), error.to_string())),
    }
}

/// `reading`, unless the session is fenced first.
async fn fenced_first(
    session: Option<&DeviceSession>,
    reading: impl Future<Output = Option<Option<End>>>,
) -> Option<Option<End>> {
    let Some(session) = session else { return reading.await };
    let fenced = async {
        loop {
            let fence = session.fenced();
            if session.is_fenced() {
                let text = format!("a newer connection uses the client id {:?}", session.client_id());
                return Some(Some(End::Refused(ErrorCode::Fenced, text)));
            }
            fence.await;
        }
    };
    reading.or(fenced).await
}
