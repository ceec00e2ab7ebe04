//! A connection on which nothing is under way holds no buffer: what a large request took is given back with its answer. Counted
//! by the allocator, over every protocol.
#![cfg(feature = "gateway")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use brooklet::config::Config;
use brooklet::frame::client_message::{Hello, ListTopics};
use brooklet::frame::{ClientMessage, MAGIC};
use brooklet::gateway::Gateway;
use brooklet::kafka::header::write_request;
use brooklet::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use brooklet::mqtt::{Connect, Packet, PacketId, Protocol, Publish, Qos};
use common::wait_for;

/// Connections of each protocol.
const CONNECTIONS: usize = 60;
/// What a request carries, bytes.
const LOAD_BYTES: usize = 40_000;
/// What comes of it first: the connection then waits for the rest, with a buffer.
const PART_BYTES: usize = 36_000;
/// What counts as a buffer, bytes.
const BUFFER_BYTES: usize = 24 * 1024;
/// What else may come and go in so large pieces: the store's page cache, at its smallest.
const OTHERS: usize = CONNECTIONS / 4;
const SOON: Duration = Duration::from_secs(30);

/// Allocations of this process of at least [`BUFFER_BYTES`].
static BUFFERS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "a global allocator can't be safe; it hands all on to the system's and only counts")]
// SAFETY: every call goes to the system's allocator as it came; reallocation is by these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BUFFERS.fetch_add(usize::from(layout.size() >= BUFFER_BYTES), Ordering::Relaxed);
        // SAFETY: as promised by our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        BUFFERS.fetch_sub(usize::from(layout.size() >= BUFFER_BYTES), Ordering::Relaxed);
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
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
    for addr in [&mut config.listen.native.addr, &mut config.listen.kafka.addr, &mut config.listen.mqtt.addr] {
        *addr = ([127, 0, 0, 1], 0).into();
    }
    // What is stored is none of the connections'.
    config.store.tail_bytes = 0;
    config.store.cache_bytes = 512 << 10;
    let gateway = Gateway::start(&config).unwrap();
    let kafka = gateway.kafka_addr().unwrap();
    holds_no_buffer("Kafka", kafka, |_| Vec::new(), &kafka_request());
    holds_no_buffer("native", gateway.native_addr().unwrap(), native_hello, &native_request());
    holds_no_buffer("MQTT", gateway.mqtt_addr().unwrap(), mqtt_connect, &mqtt_request());
    gateway.stop();
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
