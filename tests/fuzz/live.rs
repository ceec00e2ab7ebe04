//! A whole gateway, on sockets: good beginnings, then requests of any shape, damaged or not. Nothing in it panics; every connection is
//! answered or ended; a good client beside them is served.

use std::cell::OnceCell;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use brooklet::config::{Config, DiskBudget};
use brooklet::gateway::Gateway;
use brooklet::kafka::header::RequestHeader;
use brooklet::mqtt::{Connect, Packet, Protocol};
use fastrand::Rng;
use tempfile::TempDir;

use crate::harness::{Make, Target};
use crate::mutate::{bytes, mutate};
use crate::subjects::{Subject, subjects};
use crate::{frames, kafka, mqtt};

/// A connection that is neither answered nor ended within this hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Names that exist, or that requests often bear, in place of those that the generator made up.
const NAMES: [&str; 4] = ["t", "text-1", "g", "__consumer_offsets"];

struct Site {
    gateway: Gateway,
    _directory: TempDir,
}

impl Site {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: directory.path().to_owned(), ..Config::default() };
        config.listen.native.addr = ([127, 0, 0, 1], 0).into();
        config.listen.kafka.addr = ([127, 0, 0, 1], 0).into();
        config.listen.mqtt.addr = ([127, 0, 0, 1], 0).into();
        config.listen.mqtt.enabled = true;
        config.store.max_bytes = DiskBudget::Bytes(32 << 20);
        Self { gateway: Gateway::start(&config).unwrap(), _directory: directory }
    }
}

pub(crate) fn targets() -> [Target; 3] {
    let site: Rc<OnceCell<Site>> = Rc::default();
    let target = |name, make: Make, at: fn(&Gateway) -> Option<SocketAddr>| {
        let site = Rc::clone(&site);
        let run = move |input: &[u8]| talk(at(&site.get_or_init(Site::start).gateway).unwrap(), input);
        Target { name, quick: 150, memory: |_| usize::MAX, corpus: crate::corpus(name), make, run: Box::new(run) }
    };
    let all: Vec<Subject> = subjects().into_iter().filter(|subject| subject.is_request).collect();
    [
        target("live-kafka", Box::new(move |rng| kafka_requests(rng, &all)), Gateway::kafka_addr),
        target("live-native", Box::new(native_frames), Gateway::native_addr),
        target("live-mqtt", Box::new(mqtt_packets), Gateway::mqtt_addr),
    ]
}

/// Sends everything, says that there is no more, and reads until the gateway closes.
fn talk(at: SocketAddr, input: &[u8]) {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The gateway may have closed already: that is its good right.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.take(16 << 20).read_to_end(&mut answer) {
        let hangs = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!hangs, "the connection was neither answered nor ended");
    }
}

fn kafka_requests(rng: &mut Rng, all: &[Subject]) -> Vec<u8> {
    let mut out = Vec::new();
    for correlation_id in 0..rng.i32(1..6) {
        let subject = rng.choice(all).unwrap();
        let versions: Vec<i16> = subject.key.versions().collect();
        let version = *rng.choice(&versions).unwrap();
        let body = kafka::message(rng, subject, subject.key.layout(version).unwrap());
        let body = renamed(rng, body);
        let body = mutate(rng, body, &[], 2);
        let mut frame = Vec::new();
        let api_key = subject.key as i16;
        let header = RequestHeader { api_key, api_version: version, correlation_id, client_id: Some("fuzz") };
        header.encode(&mut frame).unwrap();
        frame.extend(body);
        out.extend((frame.len() as u32).to_be_bytes());
        out.extend(frame);
    }
    mutate(rng, out, &[], 12)
}

/// At times a name of the generator's ("text-7") becomes one that exists.
fn renamed(rng: &mut Rng, body: Vec<u8>) -> Vec<u8> {
    let name = rng.choice(NAMES).unwrap().as_bytes();
    let Some(at) = body.windows(5).position(|window| window == b"text-").filter(|_| rng.bool()) else { return body };
    let digits = body[at + 5..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length = 5 + digits;
    let mut renamed = body;
    // The length before it: a byte of a varint, or the low one of two.
    if at == 0 {
        return renamed;
    }
    let told = renamed[at - 1];
    if usize::from(told) == length || usize::from(told) == length + 1 {
        renamed[at - 1] = told - length as u8 + name.len() as u8;
        renamed.splice(at..at + length, name.iter().copied());
    }
    renamed
}

fn native_frames(rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    let hello = frames::hello(rng);
    frame(&mut out, &hello);
    if rng.bool() {
        frame(&mut out, b"\x03\x00\x01t");
        frame(&mut out, b"\x03\x01\x02t2");
    }
    for _ in 0..rng.usize(1..8) {
        let body = if rng.u8(..3) == 0 { frames::any_body(rng) } else { frames::client_body(rng) };
        let body = mutate(rng, body, &[], 2);
        frame(&mut out, &body);
    }
    mutate(rng, out, &[], 12)
}

fn frame(out: &mut Vec<u8>, body: &[u8]) {
    match body.len() {
        0 => {}
        length @ ..0x80 => out.push(length as u8),
        length => out.extend([length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8]),
    }
    out.extend_from_slice(body);
}

fn mqtt_packets(rng: &mut Rng) -> Vec<u8> {
    let (protocol, level) = if rng.bool() { (Protocol::V5, 5) } else { (Protocol::V3, 4) };
    let client_id = ["", "one", "two"][rng.usize(..3)];
    let clean_start = client_id.is_empty() || rng.bool();
    let mut out = Vec::new();
    let connect = Connect { protocol, level, client_id, clean_start, keep_alive: 60, ..Connect::default() };
    Packet::Connect(connect).encode(&mut out, protocol).unwrap();
    for _ in 0..rng.usize(1..10) {
        let packet = loop {
            let (of, packet) = mqtt::packet(rng);
            if of == protocol {
                break packet;
            }
        };
        let packet = if rng.u8(..3) == 0 { mutate(rng, packet, &[], 2) } else { packet };
        out.extend(packet);
    }
    if rng.u8(..8) == 0 {
        out.extend(bytes(rng, 60));
    }
    mutate(rng, out, &[], 12)
}
