//! Publishes from a program with std: a [`Session`] behind a lock, and a task that keeps a connection for it.
//!
//! Records wait in a bounded ring until they are settled; [`Publisher::publish`] waits for room in it. When the
//! connection breaks it is made anew, after a pause that doubles up to ten seconds, and the ring is sent again.
//!
//! Invariants: the lock is held for the session's own steps only, never across an await; an error that can't pass
//! (another client with the same id, no common version) ends the publisher, and every call says so.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::{Event as Signal, listener};
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};
use smol::{Task, Timer};

use super::address::Stream;
use super::{Address, ClientError};
use crate::device::{Buffers, Event, Identity, PublishError, Reading, Ring, Session, SessionError};
use crate::executor::spawn_aside;
use crate::frame::{AckLevel, Decoder, ErrorCode, FRAME_BYTES_MAX, IN_FLIGHT_MAX, Next};
use crate::secret::Secret;

/// The first pause before connecting again; it doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How often to look at pauses and time-outs, while there may be any, and at whether a ping is due.
const TICK: Duration = Duration::from_millis(50);
const IDLE_TICK: Duration = Duration::from_secs(1);
/// Frames are written in pieces of about this size.
const WRITE_BYTES: usize = 64 * 1024;
/// Answers to a publisher are small; an error's text is the largest.
const RECEIVE_BYTES: usize = 16 * 1024;

/// How to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherOptions {
    /// The client's id, 1 to 128 bytes. A newer publisher with the same id ends this one.
    pub client_id: String,
    /// When a record counts as settled.
    pub level: AckLevel,
    /// Bytes of records that may wait to be settled.
    pub waiting_bytes_max: usize,
    /// Largest record, with its key and headers, bytes.
    pub record_bytes_max: usize,
    /// Most records on the way at once.
    pub in_flight_max: u16,
}

impl PublisherOptions {
    /// 4 MiB waiting, records of up to 1 MiB, 4,096 on the way, settled on flash.
    pub fn new(client_id: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            level: AckLevel::Flash,
            waiting_bytes_max: 4 * 1024 * 1024,
            record_bytes_max: 1024 * 1024,
            in_flight_max: 4_096,
        }
    }
}

/// How far a publisher is. Records are counted from 1 in the order of [`Publisher::publish`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records accepted into the ring.
    pub accepted: u64,
    /// Of those, settled: as far as they were to come (`upstream`: on flash), or refused.
    pub settled: u64,
    /// The last `upstream` record known to be in the central cluster; all such ones before it are, too.
    pub upstream: u64,
    /// Records refused for good.
    pub refused: u64,
    /// Whether the gateway is reached now.
    pub connected: bool,
    /// Connections made, the first included.
    pub connections: u64,
}

/// Publishes records. Dropping it ends the connection; what isn't settled then may or may not arrive.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    _task: Task<()>,
}

type Core = Session<Named, Ring<Vec<u8>>, Vec<u8>>;

#[derive(Debug)]
struct Shared {
    address: Address,
    level: AckLevel,
    started: Instant,
    state: Mutex<State>,
    /// There is something to send.
    wake: Signal,
    /// Progress was made, or the end has come.
    changed: Signal,
}

#[derive(Debug)]
struct State {
    session: Core,
    progress: Progress,
    /// The newest refusal or trouble, for people.
    trouble: Option<String>,
    /// Records refused for good by code, each with the newest text: no more than there are codes.
    refusals: BTreeMap<u8, (u64, String)>,
    /// Why the publisher has ended.
    ended: Option<(ErrorCode, String)>,
}

#[derive(Debug)]
struct Named {
    client_id: String,
    token: Option<Secret>,
    topics: Vec<String>,
    in_flight_max: u16,
}

impl Identity for Named {
    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn topic(&self, topic: u16) -> Option<&str> {
        self.topics.get(usize::from(topic)).map(String::as_str)
    }

    fn token(&self) -> Option<&[u8]> {
        self.token.as_ref().map(Secret::expose)
    }

    fn in_flight_max(&self) -> u16 {
        self.in_flight_max.clamp(1, IN_FLIGHT_MAX)
    }
}

impl Publisher {
    /// Connects for the first time, so that a wrong address is told at once, and publishes from then on.
    pub async fn open(address: &Address, options: PublisherOptions) -> Result<Self, ClientError> {
        // Zeroed memory of its own each: pages that nothing was written to take no room.
        let frame = || vec![0; options.record_bytes_max + 64];
        let session = Session::new(
            Named {
                client_id: options.client_id,
                token: address.token(),
                topics: Vec::new(),
                in_flight_max: options.in_flight_max,
            },
            Ring::over(vec![0; options.waiting_bytes_max]),
            Buffers::new(frame(), frame()),
        );
        let shared = Arc::new(Shared {
            address: address.clone(),
            level: options.level,
            started: Instant::now(),
            state: Mutex::new(State {
                session,
                progress: Progress::default(),
                trouble: None,
                refusals: BTreeMap::new(),
                ended: None,
            }),
            wake: Signal::new(),
            changed: Signal::new(),
        });
        let stream = address.connect().await?;
        let task = spawn_aside(Arc::clone(&shared).run(Some(stream)));
        let task = task.map_err(|error| ClientError::Lost(address.clone(), error.to_string()))?;
        let publisher = Self { shared, _task: task };
        publisher.wait(|state| state.progress.connections > 0 || state.trouble.is_some()).await?;
        let state = publisher.shared.lock();
        match &state.trouble {
            Some(why) if state.progress.connections == 0 => Err(ClientError::Lost(address.clone(), why.clone())),
            _ => {
                drop(state);
                Ok(publisher)
            }
        }
    }

    /// The number of a topic, for [`Reading::topic`]; given on first use. A publisher has at most 1,024 topics.
    pub fn topic(&self, name: &str) -> Result<u16, ClientError> {
        let mut state = self.shared.lock();
        let topics = &mut state.session.identity_mut().topics;
        let place = topics.iter().position(|topic| topic == name).unwrap_or_else(|| {
            topics.push(name.to_owned());
            topics.len() - 1
        });
        match u16::try_from(place) {
            Ok(number) if number < crate::frame::ALIASES_MAX => Ok(number),
            _ => {
                topics.pop();
                Err(ClientError::Invalid("a publisher has at most 1,024 topics".to_owned()))
            }
        }
    }

    /// Accepts a record, waiting for room, and returns its number. Its level is the publisher's.
    pub async fn publish(&self, reading: &Reading<'_>) -> Result<u64, ClientError> {
        let reading = Reading { level: self.shared.level, ..*reading };
        loop {
            if let Some(number) = self.try_publish(&reading)? {
                return Ok(number);
            }
            listener!(self.shared.changed => changed);
            // There may have come room before the listener did.
            if let Some(number) = self.try_publish(&reading)? {
                return Ok(number);
            }
            changed.await;
        }
    }

    /// Accepts a record if there is room.
    fn try_publish(&self, reading: &Reading<'_>) -> Result<Option<u64>, ClientError> {
        let mut state = self.shared.lock();
        self.shared.check(&state)?;
        match state.session.publish(reading) {
            Ok(number) => {
                drop(state);
                self.shared.wake.notify(1);
                Ok(Some(number))
            }
            Err(PublishError::Full) => Ok(None),
            Err(error) => Err(ClientError::Invalid(error.to_string())),
        }
    }

    /// Waits until record `number` is settled.
    pub async fn settled(&self, number: u64) -> Result<(), ClientError> {
        self.wait(|state| state.session.settled() >= number).await
    }

    /// Waits until all records accepted so far are settled.
    pub async fn flush(&self) -> Result<(), ClientError> {
        let accepted = self.progress().accepted;
        self.settled(accepted).await
    }

    /// Waits until record `number`, and every `upstream` record before it, is in the central cluster.
    pub async fn upstream(&self, number: u64) -> Result<(), ClientError> {
        self.wait(|state| state.progress.upstream >= number).await
    }

    /// Resolves when there may be progress to look at.
    pub async fn changed(&self) {
        listener!(self.shared.changed => changed);
        changed.await;
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let state = self.shared.lock();
        let (accepted, settled) = (state.session.accepted(), state.session.settled());
        Progress { accepted, settled, connected: state.session.is_up(), ..state.progress }
    }

    /// The newest refusal or trouble in words, once.
    pub fn take_trouble(&self) -> Option<String> {
        self.shared.lock().trouble.take()
    }

    /// Why it has ended, if it has: no record goes on.
    pub fn ended(&self) -> Option<ClientError> {
        self.shared.check(&self.shared.lock()).err()
    }

    /// What was refused for good: why, how many records, and the newest text that came with it.
    pub fn refusals(&self) -> Vec<(ErrorCode, u64, String)> {
        let state = self.shared.lock();
        state.refusals.iter().map(|(code, (count, text))| (ErrorCode::from(*code), *count, text.clone())).collect()
    }

    async fn wait(&self, reached: impl Fn(&State) -> bool) -> Result<(), ClientError> {
        loop {
            listener!(self.shared.changed => changed);
            {
                let state = self.shared.lock();
                if reached(&state) {
                    return Ok(());
                }
                self.shared.check(&state)?;
            }
            changed.await;
        }
    }
}

/// Why a connection ended.
enum End {
    Stream(io::Error),
    Session(SessionError<std::convert::Infallible>),
}

enum Step {
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Woken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn check(&self, state: &State) -> Result<(), ClientError> {
        match &state.ended {
            Some((code, text)) => Err(ClientError::Refused(*code, text.clone())),
            None => Ok(()),
        }
    }

    async fn run(self: Arc<Self>, mut first: Option<Stream>) {
        let mut pause = RETRY_MIN;
        loop {
            let connected = match first.take() {
                Some(stream) => Ok(stream),
                None => self.address.connect().await,
            };
            let trouble = match connected {
                Err(error) => error.to_string(),
                Ok(stream) => {
                    let before = self.lock().progress.connections;
                    let end = self.drive(stream).await;
                    if self.lock().progress.connections > before {
                        pause = RETRY_MIN;
                    }
                    match self.ended(end) {
                        Some(trouble) => trouble,
                        None => return,
                    }
                }
            };
            self.lock().trouble = Some(trouble);
            self.changed.notify(usize::MAX);
            Timer::after(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Takes note of why a connection ended; `None` if there shall be no other.
    fn ended(&self, end: End) -> Option<String> {
        let mut state = self.lock();
        state.session.disconnected();
        let text = match end {
            End::Stream(error) => format!("lost the connection to {}: {error}", self.address),
            End::Session(error) => {
                if let SessionError::Ended(code, text) = &error
                    && matches!(code, ErrorCode::Fenced | ErrorCode::UnsupportedVersion | ErrorCode::NotAuthorized)
                {
                    state.ended = Some((*code, text.to_string()));
                    self.changed.notify(usize::MAX);
                    return None;
                }
                format!("{}: {error}", self.address)
            }
        };
        Some(text)
    }

    /// Moves bytes between the session and a stream until that ends.
    async fn drive(&self, mut stream: Stream) -> End {
        let mut writer = stream.clone();
        let mut decoder = Decoder::growing(1_024, RECEIVE_BYTES);
        self.lock().session.connected(RECEIVE_BYTES.min(FRAME_BYTES_MAX), self.now_ms());
        let (mut out, mut written) = (Vec::new(), 0);
        loop {
            listener!(self.wake => wake);
            if written == out.len() {
                out.clear();
                written = 0;
                if let Err(error) = self.collect(&mut out) {
                    return End::Session(error);
                }
            }
            let tick = if self.lock().session.is_idle() { IDLE_TICK } else { TICK };
            let rest = out.get(written..).unwrap_or_default();
            let read = async { Step::Read(stream.read(decoder.room()).await) };
            let write = async {
                if rest.is_empty() {
                    let tick = async {
                        Timer::after(tick).await;
                    };
                    wake.or(tick).await;
                    Step::Woken
                } else {
                    Step::Written(writer.write(rest).await)
                }
            };
            // Whichever isn't ready has done nothing yet: a single read or write moves bytes when it completes only.
            let step = read.or(write).await;
            match step {
                Step::Woken => {}
                Step::Written(Ok(0)) | Step::Read(Ok(0)) => return End::Stream(io::ErrorKind::UnexpectedEof.into()),
                Step::Written(Ok(length)) => written += length,
                Step::Read(Ok(length)) => {
                    decoder.received(length);
                    if let Err(error) = self.take(&mut decoder) {
                        return End::Session(error);
                    }
                }
                Step::Written(Err(error)) | Step::Read(Err(error)) => return End::Stream(error),
            }
        }
    }

    /// Collects what there is to send, up to about [`WRITE_BYTES`].
    fn collect(&self, out: &mut Vec<u8>) -> Result<(), SessionError<std::convert::Infallible>> {
        let mut state = self.lock();
        while out.len() < WRITE_BYTES {
            match state.session.transmit(self.now_ms())? {
                Some(frame) => out.extend_from_slice(frame),
                None => break,
            }
        }
        if let Some(event) = state.session.take_event() {
            state.note(event);
            self.changed.notify(usize::MAX);
        }
        Ok(())
    }

    /// Hands whole frames to the session.
    fn take(&self, decoder: &mut Decoder<Vec<u8>>) -> Result<(), SessionError<std::convert::Infallible>> {
        let now_ms = self.now_ms();
        let mut state = self.lock();
        while let Next::Frame(body) = decoder.next().map_err(SessionError::Frame)? {
            if let Some(event) = state.session.handle(body, now_ms)? {
                state.note(event);
            }
        }
        self.changed.notify(usize::MAX);
        Ok(())
    }
}

impl State {
    fn note(&mut self, event: Event) {
        match event {
            Event::Connected { .. } => self.progress.connections += 1,
            Event::Settled { .. } => {}
            Event::Upstream { total } => self.progress.upstream = self.progress.upstream.max(total),
            Event::Refused { first, count, code, text } => {
                self.progress.refused += u64::from(count);
                let refusals = self.refusals.entry(u8::from(code)).or_default();
                *refusals = (refusals.0 + u64::from(count), text.to_string());
                self.trouble = Some(format!("record {first} and {} after it were refused: {code}: {text}", count - 1));
            }
            Event::Delayed { code, retry_ms, text } => {
                self.trouble = Some(format!("the gateway takes no records for {retry_ms} ms: {code}: {text}"));
            }
            Event::TopicRefused { topic, code, text } => {
                let name = self.session.identity().topic(topic).unwrap_or_default();
                self.trouble = Some(format!("topic {name} was refused: {code}: {text}"));
            }
        }
    }
}
