//! One connection: requests are read and begun in their order, answered in their order, many in progress.
//!
//! Invariants: a frame's memory is taken from the budget before it is allocated, as it comes; a peer that sends half a frame has
//! `frame_time` for the rest; at most `in_flight_max` requests wait for their answers, then reading stops; nothing is begun that the
//! [`Gate`] has not let through.

use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt, future};

use super::Context;
use super::gate::{Gate, Passed};
use super::request::{Failed, Later, Reply, Request, ready};
use super::routes::ROUTES;
use crate::channel::{self, Receiver, Sender};
use crate::kafka::api::{ApiKey, Unrouted};
use crate::kafka::frame::{self, FrameError, SIZE_BYTES};
use crate::listen::arrival::Arrival;
use crate::listen::budget::Arriving;
use crate::listen::stream::{Socket, Turns, count_slow};
use crate::listen::watch::Watch;
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;

/// What is allocated for a frame at first, without a permit: who asks for little is not held up by who sends much.
const FREE_BYTES: usize = 8 * 1024;
/// The rest is allocated as it comes: so many times what is there.
const GROWTH: usize = 4;

/// Most pieces of an answer in one call; the kernel takes 1,024.
const PIECES_AT_ONCE: usize = 64;

/// Requests that have come together are begun so many at a time: others wait for a fraction of a millisecond.
const REQUESTS_AT_A_TIME: u32 = 4;

/// Answers are gathered until they have this many bytes.
const GATHER_BYTES: usize = 4 * 1024;

/// Serves a connection until it ends.
pub(super) async fn run(context: Arc<Context>, shutdown: Shutdown, stream: Socket, arrival: Arc<Arrival>) {
    let (sender, receiver) = channel::bounded(context.options.in_flight_max);
    // Set when no more is read. What is under way then is still answered, but not for as long as some of it may take: a
    // client that has gone while its group rebalances would keep its connection for minutes.
    let over = Shutdown::default();
    let frame_time = context.options.frame_time;
    let reading = async {
        let end = read_requests(&context, &shutdown, stream.clone(), &arrival, &sender).await;
        sender.close();
        over.begin();
        end
    };
    let writing = async {
        let late = async {
            over.wait().await;
            smol::Timer::after(frame_time).await;
            Ok(())
        };
        let end = pin!(write_answers(stream.clone(), &receiver, frame_time)).or(late).await;
        receiver.close();
        // Wakes the reading side, which has nobody to read for.
        stream.cut();
        end
    };
    let (read, written) = future::zip(reading, writing).await;
    match read.and(written) {
        Err(End::Peer(why)) => {
            METRICS.protocol_errors.add(1);
            log::warn!("kafka: {arrival}: connection closed: {why}");
        }
        Err(End::Refused(why)) => log::debug!("kafka: {arrival}: {why}"),
        Err(End::Io(error)) => {
            count_slow(&error);
            log::debug!("kafka: {arrival}: {error}");
        }
        Ok(()) => {}
    }
}

/// Why a connection ended before its time.
enum End {
    /// The peer sent something that has no answer.
    Peer(String),
    /// The peer did not get in, which is told already.
    Refused(String),
    /// The network failed, or the peer was too slow.
    Io(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Peer(error.to_string())
    }
}

impl From<Failed> for End {
    fn from(error: Failed) -> Self {
        Self::Peer(error.to_string())
    }
}

async fn read_requests(
    context: &Arc<Context>,
    shutdown: &Shutdown,
    mut stream: Socket,
    arrival: &Arc<Arrival>,
    answers: &Sender<Later>,
) -> Result<(), End> {
    let mut gate = Gate::new(&context.guard, arrival);
    let (mut watch, mut turns) = (Watch::new(), Turns::new(REQUESTS_AT_A_TIME));
    loop {
        let mut prefix = [0; SIZE_BYTES];
        // Pinned where they are: a future that is handed on by value lies in its caller's twice, and this one is held by who is idle.
        let begun = {
            let start = pin!(read_start(&mut stream, &mut prefix));
            let begun = pin!(watch.within(gate.within(context.options.idle), start));
            shutdown.unless(begun).await
        };
        match begun {
            None => return Ok(()),
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut && gate.is_late() => {
                return Err(End::Refused("it did not authenticate in time".to_owned()));
            }
            Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(false)) => return Ok(()),
            Some(Ok(true)) => {}
        }
        let size = frame::size(prefix, gate.frame_bytes_max(context.options.request_bytes_max))?;
        let mut arriving = context.requests.arriving();
        let frame = {
            let reading = pin!(read_frame(&mut stream, size, &mut arriving));
            watch.within(gate.within(Some(context.options.frame_time)), reading).await?
        };
        let permit = arriving.whole();
        METRICS.requests_kafka.add(1);
        let later = match gate.pass(&frame).await? {
            Passed::On(access) => {
                let request = Request::new(frame, Arc::clone(arrival), access, permit).map_err(Failed::from)?;
                begin(context, request).await?
            }
            Passed::Answered(answer) => ready(answer),
            Passed::Ended(answer, why) => {
                // If nobody takes it, the connection has ended by itself.
                let _ = answers.send(ready(answer)).await;
                return Err(End::Refused(why));
            }
        };
        if answers.send(later).await.is_err() {
            return Ok(());
        }
        turns.next().await;
    }
}

/// Reads the size in front of a frame; `false` at the regular end of the connection.
async fn read_start(stream: &mut Socket, prefix: &mut [u8; SIZE_BYTES]) -> io::Result<bool> {
    let begun = stream.read(prefix).await?;
    if begun == 0 {
        return Ok(false);
    }
    stream.read_exact(prefix.get_mut(begun..).unwrap_or_default()).await?;
    Ok(true)
}

/// Reads a frame; what is allocated follows what has come, not what was claimed.
async fn read_frame(stream: &mut Socket, size: usize, arriving: &mut Arriving) -> io::Result<Vec<u8>> {
    let (mut frame, mut come) = (Vec::new(), 0);
    while come < size {
        if come == frame.len() {
            let room = size.min((GROWTH * come).max(FREE_BYTES));
            if room > FREE_BYTES {
                arriving.grow(room).await;
            }
            frame.reserve_exact(room - come);
            frame.resize(room, 0);
        }
        match arriving.unless_too_slow(stream.read(frame.get_mut(come..).unwrap_or_default())).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => come += more,
        }
    }
    Ok(frame)
}

/// Routes a request and lets it begin.
async fn begin(context: &Arc<Context>, request: Request) -> Result<Later, Failed> {
    match ROUTES.find(request.api_key, request.version) {
        Ok(route) => route.handler()(Arc::clone(context), request).await,
        Err(Unrouted::Version(ApiKey::ApiVersions, _)) => super::api_versions::unsupported(&request),
        Err(Unrouted::Version(api, version)) => {
            Err(Failed::Unserved(format!("version {version} of {} is not served", api.name())))
        }
        Err(Unrouted::Key(key)) => Err(Failed::Unserved(format!("API {key} is not served"))),
    }
}

/// Writes all pieces of an answer, many with one call.
async fn write_pieces(stream: &mut Socket, answer: &Reply) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = answer.pieces().filter(|piece| !piece.is_empty()).map(IoSlice::new).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let now = left.get(..PIECES_AT_ONCE).unwrap_or(left);
        let written = stream.write_vectored(now).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

/// Sends answers in their order; small ones that are there at the same time go together.
async fn write_answers(mut stream: Socket, answers: &Receiver<Later>, time: Duration) -> Result<(), End> {
    let mut watch = Watch::new();
    let mut next = None;
    loop {
        let later = match next.take() {
            Some(later) => later,
            None => match answers.recv().await {
                Ok(later) => later,
                Err(_closed) => return Ok(()),
            },
        };
        let Some(mut answer) = later.await? else { continue };
        while next.is_none()
            && answer.len() < GATHER_BYTES
            && let Ok(mut later) = answers.try_recv()
        {
            match future::poll_once(&mut later).await {
                Some(Ok(None)) => {}
                Some(Ok(Some(more))) if more.len() < GATHER_BYTES => {
                    next = answer.join(more).map(|more| -> Later { Box::pin(std::future::ready(Ok(Some(more)))) });
                }
                // What is large goes for itself, and an error is met after what came before it.
                Some(other) => next = Some(Box::pin(std::future::ready(other))),
                None => next = Some(later),
            }
        }
        watch.within(Some(time), write_pieces(&mut stream, &answer)).await?;
    }
}
