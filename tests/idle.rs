//! A connection on which nothing is under way holds no buffer: what a large request took is given back with its answer; and what it
//! does hold, in the clear and by TLS, is under a bound. Counted by the allocator, over every protocol.
#![cfg(feature = "gateway")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;
#[path = "tls/site.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod site;

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use brooklet::config::{AuthMethod, Config, IfNoRule};
use brooklet::frame::client_message::{Hello, ListTopics};
use brooklet::frame::{ClientMessage, MAGIC};
use brooklet::gateway::Gateway;
use brooklet::kafka::api_versions::ApiVersionsRequest;
use brooklet::kafka::header::write_request;
use brooklet::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use brooklet::mqtt::{Connect, Packet, PacketId, Protocol, Publish, Qos};
use common::wait_for;
use site::{Site, connect};

/// Connections of each protocol.
const CONNECTIONS: usize = 60;
/// What a request carries, bytes.
const LOAD_BYTES: usize = 40_000;
/// What comes of it first: the connection then waits for the rest, with a buffer.
const PART_BYTES: usize = 36_000;
/// What an idle connection holds at most, bytes; and how much more by TLS.
const KAFKA_BYTES: isize = 4_400;
const NATIVE_BYTES: isize = 5_800;
const MQTT_BYTES: isize = 11_800;
const TLS_BYTES: isize = 6_400;
/// What counts as a buffer, bytes.
const BUFFER_BYTES: usize = 24 * 1024;
/// What else may come and go in so large pieces: the store's page cache, at its smallest.
const OTHERS: usize = CONNECTIONS / 4;
const SOON: Duration = Duration::from_secs(120);

/// Allocations of this process of at least [`BUFFER_BYTES`].
static BUFFERS: AtomicUsize = AtomicUsize::new(0);
/// Allocations that are held by others than clients, by size: one place for so many bytes; the last one for all that are larger.
static HELD: [AtomicIsize; 1024] = [const { AtomicIsize::new(0) }; 1024];
const STEP_BYTES: usize = 16;
/// Bytes of all of them.
static HELD_BYTES: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    /// This thread plays clients: what it holds doesn't count.
    static IS_CLIENT: Cell<bool> = const { Cell::new(false) };
}

/// The figures are of the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what clients do; what they hold doesn't count.
fn as_client<T>(work: impl FnOnce() -> T) -> T {
    IS_CLIENT.set(true);
    let done = work();
    IS_CLIENT.set(false);
    done
}

fn count(layout: Layout, sign: isize) {
    if !IS_CLIENT.get() {
        let place = (layout.size().div_ceil(STEP_BYTES)).min(HELD.len() - 1);
        HELD[place].fetch_add(sign, Ordering::Relaxed);
        HELD_BYTES.fetch_add(sign * layout.size() as isize, Ordering::Relaxed);
    }
}

/// What is held by size.
fn held() -> Vec<isize> {
    HELD.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

/// What has come since for each of so many connections: where there is at least one for every other.
fn sizes_since(before: &[isize], connections: usize) -> String {
    let mut text = String::new();
    for (place, (now, before)) in held().iter().zip(before).enumerate() {
        let each = (now - before) as f64 / connections as f64;
        if each >= 0.5 {
            write!(text, "{each:.1} of {} B, ", place * STEP_BYTES).unwrap();
        }
    }
    text
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "a global allocator can't be safe; it hands all on to the system's and only counts")]
// SAFETY: every call goes to the system's allocator as it came; reallocation is by these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BUFFERS.fetch_add(usize::from(layout.size() >= BUFFER_BYTES), Ordering::Relaxed);
        count(layout, 1);
        // SAFETY: as promised by our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BUFFERS.fetch_sub(usize::from(layout.size() >= BUFFER_BYTES), Ordering::Relaxed);
        count(layout, -1);
        // SAFETY: as promised by our caller.
        unsafe { System.dealloc(at, layout) }
    }
}

/// A client that says the same large thing again and again.
struct Peer {
    stream: TcpStream,
}

impl Peer {
    /// A connection that has been greeted, if its protocol does.
    fn new(addr: SocketAddr, greeting: &[u8]) -> Self {
        let mut peer = Self { stream: TcpStream::connect(addr).unwrap() };
        peer.stream.set_read_timeout(Some(SOON)).unwrap();
        if !greeting.is_empty() {
            peer.stream.write_all(greeting).unwrap();
            peer.answered();
        }
        peer
    }

    /// Waits for an answer, whatever it says. Answers here are small, and come in one piece.
    fn answered(&mut self) {
        let mut bytes = [0; 4096];
        assert!(self.stream.read(&mut bytes).unwrap() > 0, "the connection was closed");
    }
}

#[test]
fn what_a_request_took_is_given_back_with_its_answer() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&config(dir.path())).unwrap();
    let kafka = gateway.kafka_addr().unwrap();
    holds_no_buffer("Kafka", kafka, |_| Vec::new(), &kafka_request());
    holds_no_buffer("native", gateway.native_addr().unwrap(), native_hello, &native_request());
    holds_no_buffer("MQTT", gateway.mqtt_addr().unwrap(), mqtt_connect, &mqtt_request());
    gateway.stop();
}

fn config(dir: &Path) -> Config {
    let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
    for addr in [&mut config.listen.native.addr, &mut config.listen.kafka.addr, &mut config.listen.mqtt.addr] {
        *addr = ([127, 0, 0, 1], 0).into();
    }
    config.listen.http.enabled = false;
    // What is stored is none of the connections'.
    config.store.tail_bytes = 0;
    config.store.cache_bytes = 512 << 10;
    config
}

#[test]
fn an_idle_connection_holds_little() {
    let _alone = alone();
    let (dir, site) = (tempfile::tempdir().unwrap(), Site::new());
    let mut config = config(dir.path());
    let listen = &mut config.listen;
    for tls in [&mut listen.native.tls, &mut listen.kafka.tls, &mut listen.mqtt.tls] {
        tls.addr = Some(([127, 0, 0, 1], 0).into());
        (tls.cert, tls.key) = (Some(site.path("gw.pem")), Some(site.path("gw.key")));
        tls.client_ca = Some(site.path("ca.pem"));
    }
    for auth in [&mut listen.native.auth, &mut listen.kafka.auth, &mut listen.mqtt.auth] {
        auth.methods = vec![AuthMethod::Certificate, AuthMethod::None];
    }
    for rule in [&mut listen.native.if_no_rule, &mut listen.kafka.if_no_rule, &mut listen.mqtt.if_no_rule] {
        *rule = IfNoRule::Allow;
    }
    let gateway = Gateway::start(&config).unwrap();
    let device = as_client(|| site.client(Some("dev")));
    let tls: HashMap<_, _> = gateway.addresses().into_iter().filter_map(|(name, at)| Some((name, at.tls?))).collect();
    let kinds = [
        ("Kafka", gateway.kafka_addr(), kafka_question as fn(usize) -> Vec<u8>, KAFKA_BYTES),
        ("native", gateway.native_addr(), native_hello, NATIVE_BYTES),
        ("MQTT", gateway.mqtt_addr(), mqtt_connect, MQTT_BYTES),
    ];
    for (name, addr, greeting, bytes_max) in kinds {
        let (clear, tls) = (addr.unwrap(), tls[name]);
        holds_little(name, bytes_max, |number| Box::new(Peer::new(clear, &greeting(number))));
        holds_little(&format!("{name} by TLS"), bytes_max + TLS_BYTES, |number| {
            let mut stream = connect(tls, &device).unwrap();
            // Another client's than in the clear.
            stream.write_all(&greeting(1_000 + number)).unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "the connection was closed");
            Box::new(stream)
        });
    }
    gateway.stop();
}

/// Each connection of a kind holds at most so many bytes once it is idle.
fn holds_little(name: &str, bytes_max: isize, open: impl Fn(usize) -> Box<dyn Any>) {
    // What the first ones set up stays for the others.
    let mut peers: Vec<_> = as_client(|| (0..4).map(&open).collect());
    let (before, sizes) = (HELD_BYTES.load(Ordering::Relaxed), held());
    as_client(|| peers.extend((4..4 + CONNECTIONS).map(&open)));
    let each = || (HELD_BYTES.load(Ordering::Relaxed) - before) / CONNECTIONS as isize;
    let begun = Instant::now();
    while each() > bytes_max {
        let holds =
            || format!("{} B each, at most {bytes_max} are allowed: {}", each(), sizes_since(&sizes, CONNECTIONS));
        assert!(begun.elapsed() < SOON, "{name}: {}", holds());
        thread::sleep(Duration::from_millis(50));
    }
    as_client(|| drop(peers));
}

fn holds_no_buffer(name: &str, addr: SocketAddr, greeting: impl Fn(usize) -> Vec<u8>, request: &[u8]) {
    let mut peers: Vec<Peer> = (0..CONNECTIONS).map(|number| Peer::new(addr, &greeting(number))).collect();
    let before = BUFFERS.load(Ordering::Relaxed);
    let more = || BUFFERS.load(Ordering::Relaxed).saturating_sub(before);
    for round in 0..3 {
        let (part, rest) = request.split_at(PART_BYTES);
        peers.iter_mut().for_each(|peer| peer.stream.write_all(part).unwrap());
        // So this would be noticed.
        let what = format!("{name}, round {round}: a buffer for each half request");
        wait_for(&what, SOON, || (more() >= CONNECTIONS - OTHERS).then_some(()));
        for peer in &mut peers {
            peer.stream.write_all(rest).unwrap();
            peer.answered();
        }
        let what = format!("{name}, round {round}: buffers given back");
        wait_for(&what, SOON, || (more() <= OTHERS).then_some(()));
    }
}

/// To a topic that is not there: nothing is stored.
fn kafka_request() -> Vec<u8> {
    let records = vec![7; LOAD_BYTES];
    let partition = PartitionProduceData { index: 0, records: Some(&records) };
    let body = ProduceRequest {
        acks: -1,
        timeout_ms: 1_000,
        topic_data: vec![TopicProduceData { name: "absent", partition_data: vec![partition] }],
        ..Default::default()
    };
    let mut request = Vec::new();
    write_request(&mut request, 9, 1, Some("idle"), &body).unwrap();
    request
}

fn kafka_question(_: usize) -> Vec<u8> {
    let mut request = Vec::new();
    write_request(&mut request, 0, 1, Some("idle"), &ApiVersionsRequest::default()).unwrap();
    request
}

fn native_hello(number: usize) -> Vec<u8> {
    let hello = ClientMessage::Hello(Hello {
        magic: MAGIC,
        version_min: 1,
        version_max: 1,
        client_id: &format!("idle-{number}"),
        epoch: 0,
        next_sequence: 0,
        frame_bytes_max: 65_536,
        in_flight_max: 100,
        token: None,
    });
    let mut frame = Vec::new();
    hello.append_to(&mut frame).unwrap();
    frame
}

/// A list of topics behind a name that none has.
fn native_request() -> Vec<u8> {
    let after = "z".repeat(LOAD_BYTES);
    let mut frame = Vec::new();
    ClientMessage::ListTopics(ListTopics { id: 4, after: &after }).append_to(&mut frame).unwrap();
    frame
}

fn mqtt_connect(number: usize) -> Vec<u8> {
    let client_id = format!("idle-{number}");
    let connect = Connect { level: 4, client_id: &client_id, clean_start: true, ..Connect::default() };
    let mut bytes = Vec::new();
    Packet::Connect(connect).encode(&mut bytes, Protocol::V3).unwrap();
    bytes
}

fn mqtt_request() -> Vec<u8> {
    let payload = vec![7; LOAD_BYTES];
    let packet_id = PacketId::new(7);
    let publish =
        Publish { topic: "idle/topic", payload: &payload, qos: Qos::AtLeastOnce, packet_id, ..Publish::default() };
    let mut bytes = Vec::new();
    Packet::Publish(publish).encode(&mut bytes, Protocol::V3).unwrap();
    bytes
}
