//! A proxy in front of every broker of a Kafka cluster. It reads the frames, rewrites the addresses in answers so that nothing
//! goes past it, and does to requests what `faults.rs` decides.
//!
//! Invariant: what is passed on is passed on whole and in order; a connection that was tampered with ends (or is silent for
//! good), so no peer sees a stream that TCP would not give it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use brooklet::kafka::api::ApiKey;
use brooklet::kafka::end_txn::{EndTxnRequest, EndTxnResponse};
use brooklet::kafka::find_coordinator::FindCoordinatorResponse;
use brooklet::kafka::header::{RequestHeader, decode_response_header, read_response, write_response};
use brooklet::kafka::message::{Message, Response};
use brooklet::kafka::metadata::MetadataResponse;
use brooklet::kafka::produce::ProduceResponse;
use brooklet::kafka::wire::Reader;

use crate::faults::{Control, Fate, Step, Weather};

const FRAME_BYTES_MAX: usize = 64 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// Nothing that Kafka says begins like this: as a length it is 1.2 GB.
const PORTAL: &[u8] = b"HTTP/1.1 302 Found\r\nLocation: http://portal.invalid/login\r\nContent-Length: 0\r\n\r\n";

/// What a proxy asks of the outside.
pub struct Hooks {
    /// Ends the gateway by SIGKILL.
    pub kill: Box<dyn Fn() + Send + Sync>,
    /// Moves what this step's requests go to to another broker.
    pub relocate: Box<dyn Fn(Step) + Send + Sync>,
}

struct Shared {
    control: Mutex<Control>,
    hooks: Hooks,
    /// Port of a broker to port of its proxy.
    fronts: BTreeMap<i32, i32>,
    open: Mutex<BTreeMap<u64, Open>>,
    next: AtomicU64,
    /// Both directions, what passed.
    bytes: AtomicU64,
}

/// A connection: both its ends, and the requests that are not answered.
struct Open {
    ends: [TcpStream; 2],
    broker: SocketAddr,
    pending: Arc<Mutex<VecDeque<Pending>>>,
}

/// See the module.
#[derive(Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
    pub bootstrap: String,
}

/// A request whose answer is to come.
struct Pending {
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    fate: Fate,
    /// EndTxn that commits.
    commits: bool,
    since: Instant,
}

impl Proxy {
    /// In front of these brokers (`host:port`, comma-separated).
    pub fn start(brokers: &str, hooks: Hooks) -> Proxy {
        let brokers: Vec<SocketAddr> = brokers.split(',').map(|address| address.parse().unwrap()).collect();
        let listeners: Vec<TcpListener> =
            brokers.iter().map(|_| TcpListener::bind(crate::common::free_addr()).unwrap()).collect();
        let fronts: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let port = |address: &SocketAddr| i32::from(address.port());
        let shared = Arc::new(Shared {
            control: Mutex::default(),
            hooks,
            fronts: brokers.iter().map(port).zip(fronts.iter().map(port)).collect(),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        for (listener, broker) in listeners.into_iter().zip(brokers) {
            let shared = Arc::clone(&shared);
            // Ends with the test program.
            thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || connection(&shared, client, broker));
                }
            });
        }
        let bootstrap = fronts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Proxy { shared, bootstrap }
    }

    pub fn control(&self) -> MutexGuard<'_, Control> {
        self.shared.control()
    }

    /// Bytes of frames that passed, both ways.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The weather from now on; clears up what there was.
    pub fn set_weather(&self, weather: Option<Weather>, delay: Duration) {
        let mut control = self.control();
        (control.weather, control.delay) = (weather, delay);
        match weather {
            Some(Weather::HalfOpen) => control.half_open_below = self.shared.next.load(Ordering::SeqCst),
            Some(Weather::Cut) => {
                drop(control);
                self.cut();
            }
            _ => {}
        }
    }

    /// Ends every connection there is.
    pub fn cut(&self) {
        for (_, open) in std::mem::take(&mut *self.shared.open()) {
            open.ends.iter().for_each(close);
        }
    }

    /// What waits for an answer, for people.
    pub fn waiting(&self) -> String {
        let mut text = String::new();
        for (number, open) in &*self.shared.open() {
            let dead = if is_dead(&self.shared, *number) { ", half-open" } else { "" };
            text.push_str(&format!("connection {number} to {}{dead}:", open.broker));
            for pending in open.pending.lock().unwrap().iter() {
                text.push_str(&format!(" {} {:.1} s", pending.api.name(), pending.since.elapsed().as_secs_f64()));
            }
            text.push('\n');
        }
        text
    }
}

impl Shared {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}

fn connection(shared: &Arc<Shared>, client: TcpStream, broker: SocketAddr) {
    if shared.control().weather == Some(Weather::Cut) {
        return;
    }
    let Ok(server) = TcpStream::connect_timeout(&broker, CONNECT) else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let number = shared.next.fetch_add(1, Ordering::SeqCst);
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else { return };
    let (Ok(client_end), Ok(server_end)) = (client.try_clone(), server.try_clone()) else { return };
    let pending = Arc::new(Mutex::new(VecDeque::new()));
    let open = Open { ends: [client_end, server_end], broker, pending: Arc::clone(&pending) };
    shared.open().insert(number, open);
    let (shared_too, pending_too) = (Arc::clone(shared), Arc::clone(&pending));
    let answers = thread::spawn(move || {
        let _ = pass_answers(&shared_too, number, &server_too, &client_too, &pending_too);
        [server_too, client_too].iter().for_each(close);
    });
    let _ = pass_requests(shared, number, &client, &server, &pending);
    [client, server].iter().for_each(close);
    let _ = answers.join();
    shared.open().remove(&number);
}

/// The fate of a connection on which nothing comes through any more, though it is open.
fn is_dead(shared: &Shared, number: u64) -> bool {
    number < shared.control().half_open_below
}

fn pass_requests(
    shared: &Shared,
    number: u64,
    mut client: &TcpStream,
    mut server: &TcpStream,
    pending: &Mutex<VecDeque<Pending>>,
) -> io::Result<()> {
    loop {
        let frame = read_frame(&mut client)?;
        if is_dead(shared, number) {
            continue;
        }
        let expected = expect(shared, &frame);
        match expected.as_ref().map_or(Fate::Pass, |expected| expected.fate) {
            Fate::LoseRequest => return Ok(()),
            Fate::KillBefore => {
                (shared.hooks.kill)();
                return Ok(());
            }
            Fate::MoveBefore(step) => (shared.hooks.relocate)(step),
            Fate::Pass | Fate::LoseReply | Fate::KillAfter => {}
        }
        wait(shared);
        pending.lock().unwrap().extend(expected);
        shared.bytes.fetch_add(frame.len() as u64 + 4, Ordering::Relaxed);
        write_frame(&mut server, &frame)?;
    }
}

/// What is to be known of a request when its answer comes, with its fate. `None` for an API that the codec doesn't know.
fn expect(shared: &Shared, frame: &[u8]) -> Option<Pending> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::decode(&mut reader).ok()?;
    let (api, version) = (ApiKey::from_code(header.api_key)?, header.api_version);
    let commits = api == ApiKey::EndTxn && EndTxnRequest::decode(version, &mut reader).is_ok_and(|end| end.committed);
    let fate = shared.control().fate(api);
    let since = Instant::now();
    Some(Pending { correlation_id: header.correlation_id, api, version, fate, commits, since })
}

fn pass_answers(
    shared: &Shared,
    number: u64,
    mut server: &TcpStream,
    mut client: &TcpStream,
    pending: &Mutex<VecDeque<Pending>>,
) -> io::Result<()> {
    loop {
        let mut frame = read_frame(&mut server)?;
        if is_dead(shared, number) {
            continue;
        }
        let expected = pending.lock().unwrap().pop_front();
        let expected = expected.ok_or_else(|| io::Error::other("an answer to nothing"))?;
        assert_eq!(frame.first_chunk(), Some(&expected.correlation_id.to_be_bytes()), "answers out of order");
        match expected.fate {
            Fate::LoseReply => return Ok(()),
            Fate::KillAfter => {
                (shared.hooks.kill)();
                return Ok(());
            }
            _ => {}
        }
        wait(shared);
        if shared.control().weather == Some(Weather::Garbage) {
            return client.write_all(PORTAL);
        }
        note_progress(shared, &expected, &frame);
        if let Some(rewritten) = rewrite(&shared.fronts, &expected, &frame) {
            frame = rewritten;
        }
        shared.bytes.fetch_add(frame.len() as u64 + 4, Ordering::Relaxed);
        write_frame(&mut client, &frame)?;
    }
}

fn wait(shared: &Shared) {
    let delay = shared.control().delay;
    if !delay.is_zero() {
        thread::sleep(delay);
    }
}

fn note_progress(shared: &Shared, expected: &Pending, frame: &[u8]) {
    let version = expected.version;
    let done = match expected.api {
        ApiKey::EndTxn if expected.commits => {
            read_response::<EndTxnResponse>(version, frame).is_ok_and(|(_, told)| told.error_code == 0)
        }
        ApiKey::Produce if !shared.control().transactional => read_response::<ProduceResponse<'_>>(version, frame)
            .is_ok_and(|(_, told)| {
                told.responses.iter().flat_map(|t| &t.partition_responses).all(|p| p.error_code == 0)
            }),
        _ => false,
    };
    if done {
        shared.control().progressed();
    }
}

/// The answer with the proxies' ports in place of the brokers'; `None` if it names none.
fn rewrite(fronts: &BTreeMap<i32, i32>, expected: &Pending, frame: &[u8]) -> Option<Vec<u8>> {
    let front = |port: &mut i32| *port = fronts.get(port).copied().unwrap_or(*port);
    let version = expected.version;
    let mut reader = Reader::new(frame);
    decode_response_header(expected.api, version, &mut reader).unwrap();
    match expected.api {
        ApiKey::Metadata => {
            let mut told = MetadataResponse::decode(version, &mut reader).unwrap();
            told.brokers.iter_mut().for_each(|broker| front(&mut broker.port));
            Some(encode(expected, &told))
        }
        ApiKey::FindCoordinator => {
            let mut told = FindCoordinatorResponse::decode(version, &mut reader).unwrap();
            front(&mut told.port);
            told.coordinators.iter_mut().for_each(|coordinator| front(&mut coordinator.port));
            Some(encode(expected, &told))
        }
        ApiKey::Produce => {
            let mut told = ProduceResponse::decode(version, &mut reader).unwrap();
            told.node_endpoints.iter_mut().for_each(|node| front(&mut node.port));
            (!told.node_endpoints.is_empty()).then(|| encode(expected, &told))
        }
        _ => None,
    }
}

fn encode<'a>(expected: &Pending, body: &impl Response<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    write_response(&mut out, expected.version, expected.correlation_id, body).unwrap();
    // Without its size.
    out.split_off(4)
}

fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut size = [0; 4];
    from.read_exact(&mut size)?;
    let size = u32::from_be_bytes(size) as usize;
    if size > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame of {size} bytes")));
    }
    let mut frame = vec![0; size];
    from.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(to: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    let size = u32::try_from(frame.len()).unwrap();
    // In one write: a small segment behind a larger one would wait for its acknowledgement.
    to.write_all(&[&size.to_be_bytes(), frame].concat())
}
