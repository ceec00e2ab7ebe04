//! One connection: a request, its answer, the next.
//!
//! Invariants: between requests it holds no buffer; a head comes whole and an answer is taken within their time, or the connection ends;
//! requests of one connection are answered in their order, so none has to be remembered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use super::events::Watcher;
use super::routes::{self, Answer, Whole};
use super::{Context, page};
use crate::http::{Head, answer};
use crate::listen::arrival::Arrival;
use crate::listen::stream::{Stream, count_slow, within};
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;

/// For a head to come whole, once it has begun.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(60);
/// For an answer to be taken. Field links are slow.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// For one change to be taken by a watcher.
const EVENT_TIME: Duration = Duration::from_secs(15);
/// Bytes that are read at a time.
const READ_BYTES: usize = 1_024;

pub(super) async fn run(context: Arc<Context>, shutdown: Shutdown, mut stream: impl Stream, arrival: Arc<Arrival>) {
    let served = shutdown.unless(serve(&context, &mut stream, &arrival)).await;
    if let Some(Err(error)) = served {
        count_slow(&error);
        log::debug!("http: {arrival}: {error}");
    }
    // What could not be sent cannot be reported either.
    let _ = stream.close().await;
}

async fn serve(context: &Context, stream: &mut impl Stream, arrival: &Arrival) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        if buffer.is_empty() && !wait(stream, &mut buffer).await? {
            return Ok(());
        }
        METRICS.requests_http.add(1);
        let head_is_here = within(HEAD_TIME, read_head(stream, &mut buffer)).await?;
        // Large answers are made in turn, and held until they are taken; who asks whether the gateway gets on waits for nobody.
        let is_large = matches!(Head::parse(&buffer), Ok(Some(head)) if routes::is_large(&head));
        let turn = if is_large { Some(context.turns.take(1).await) } else { None };
        let (bytes, len, keeps) = match Head::parse(&buffer) {
            Ok(Some(head)) if head_is_here => {
                let is_head = head.method == "HEAD";
                let keeps = head.is_1_1 && !head.has_token("connection", "close");
                match routes::answer(context, arrival, &head) {
                    Answer::Whole(whole) => (whole.encode(is_head, keeps), head.len, keeps && !whole.is_last),
                    Answer::Events => return watch(context, stream).await,
                }
            }
            Ok(_) => return Ok(()),
            Err(error) => {
                METRICS.protocol_errors.add(1);
                (Whole::refusal(error.status(), &error.to_string()).encode(false, false), buffer.len(), false)
            }
        };
        // Who looks is not kept waiting by what it looks at; others are by this.
        let held = context.answers.charge(bytes.len());
        within(ANSWER_TIME, stream.write_all(&bytes)).await?;
        drop((bytes, turn, held));
        if !keeps {
            return Ok(());
        }
        buffer.drain(..len);
        if buffer.is_empty() {
            buffer = Vec::new();
        }
    }
}

/// Waits for the first byte, which lies on the stack meanwhile; false at the end of the connection.
async fn wait(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut first = [0; 1];
    let read = match within(IDLE, stream.read(&mut first)).await {
        // Silence between requests is how connections that are kept open end.
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(false),
        read => read?,
    };
    buffer.extend_from_slice(first.get(..read).unwrap_or_default());
    Ok(read > 0)
}

/// Reads until the head is whole, or certainly none; false at the end of the connection.
async fn read_head(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        if !matches!(Head::parse(buffer), Ok(None)) {
            return Ok(true);
        }
        let had = buffer.len();
        buffer.resize(had + READ_BYTES, 0);
        let read = stream.read(buffer.get_mut(had..).unwrap_or_default()).await;
        buffer.truncate(had + read.as_ref().copied().unwrap_or(0));
        if read? == 0 {
            return Ok(false);
        }
    }
}

/// Sends the status as it changes, until either side ends.
async fn watch(context: &Context, stream: &mut impl Stream) -> io::Result<()> {
    let Some(watcher) = context.events.join() else {
        let refusal = Whole::refusal(503, "as many watch as may; /status.json tells the same once");
        return within(ANSWER_TIME, stream.write_all(&refusal.encode(false, false))).await;
    };
    let mut fields = routes::security(&page::POLICY);
    fields.extend([("Content-Type", "text/event-stream"), ("Connection", "close")]);
    within(ANSWER_TIME, stream.write_all(answer::head(200, &fields).as_bytes())).await?;
    let mut reading = stream.clone();
    let gone = async {
        // Nothing more is asked on this connection: a byte is as good as its end.
        reading.read(&mut [0; 1]).await.map(drop)
    };
    tell(watcher, stream).or(gone).await
}

async fn tell(watcher: Watcher, stream: &mut impl Stream) -> io::Result<()> {
    while let Some(event) = watcher.next().await {
        within(EVENT_TIME, stream.write_all(&event)).await?;
    }
    Ok(())
}
