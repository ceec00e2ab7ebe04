//! The real binary under MQTT publishers, subscribers and a share, killed again and again by SIGKILL: with QoS 1 everything comes, with
//! QoS 2 once.
//!
//! The clients are those of the simulated power cuts (`mqtt_peers`), over TCP. `BROOKLET_KILL_ROUNDS` sets how often it is killed.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests may stop where the program may not"
)]

mod common;
mod mqtt_peers;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::gateway::Gateway;
use fastrand::Rng;
use mqtt_peers::{Crew, Line, Link, Role};

/// Rounds where nobody says.
const ROUNDS: u32 = 3;
/// Longest life of the process, ms.
const LIFE_MS: u64 = 600;
/// How long it may take until somebody gets something more.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of each publisher and QoS beyond which none are added: what is published in seconds takes minutes to be heard over connections that break.
const MESSAGES_MAX: u64 = 500;

struct Tcp {
    stream: TcpStream,
    is_broken: bool,
}

impl Link for Tcp {
    fn send(&mut self, bytes: &[u8]) {
        self.is_broken |= self.stream.write_all(bytes).is_err();
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        let mut bytes = [0; 4_096];
        match self.stream.read(&mut bytes) {
            Ok(0) => self.is_broken = true,
            Ok(read) => into.extend_from_slice(&bytes[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.is_broken = true,
        }
        !self.is_broken
    }
}

/// The clients and their connections.
struct Clients {
    address: String,
    crew: Crew,
    lines: Vec<Option<Line<Tcp>>>,
    rng: Rng,
}

impl Clients {
    /// Everyone does what there is to do; whether anything came.
    fn round(&mut self, publish: bool) -> bool {
        let mut any = false;
        let publish = publish && self.crew.all_subscribed();
        for (peer, line) in self.crew.peers.iter_mut().zip(&mut self.lines) {
            let Some(open) = line else {
                // While the gateway is down, nobody answers.
                let Ok(stream) = TcpStream::connect(&self.address) else { continue };
                stream.set_nonblocking(true).unwrap();
                let mut new = Line::new(Tcp { stream, is_broken: false });
                peer.greet(&mut new);
                *line = Some(new);
                continue;
            };
            let mut is_open = true;
            for _ in 0..self.rng.u8(1..20) {
                match peer.take(open).unwrap() {
                    Some(true) => any = true,
                    Some(false) => break,
                    None => {
                        is_open = false;
                        break;
                    }
                }
            }
            if publish && peer.role == Role::Publisher && peer.published() < MESSAGES_MAX {
                peer.publish(open, &mut self.rng);
            }
            if !is_open || self.rng.u16(0..2_000) == 0 {
                *line = None;
            }
        }
        any
    }

    fn run(&mut self, time: Duration, publish: bool) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if !self.round(publish) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[test]
fn mqtt_clients_get_everything_and_with_qos_2_once_however_often_it_is_killed() {
    let rounds = std::env::var("BROOKLET_KILL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    let mut gateway = Gateway::start("store.max_bytes = \"1GiB\"\n");
    let crew = Crew::new();
    let lines = crew.peers.iter().map(|_| None).collect();
    let mut clients = Clients { address: gateway.mqtt.to_string(), crew, lines, rng: Rng::new() };
    for _ in 0..rounds {
        let life = clients.rng.u64(50..LIFE_MS);
        clients.run(Duration::from_millis(life), true);
        gateway.kill();
        gateway.launch();
    }
    clients.run(Duration::from_millis(200), true);
    let (mut progress, mut heard) = (Instant::now(), 0);
    loop {
        if !clients.round(false) {
            // Only where nothing comes: it looks through all that came.
            if clients.crew.is_done() {
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        if heard != clients.crew.heard() {
            (progress, heard) = (Instant::now(), clients.crew.heard());
        }
        assert!(progress.elapsed() < PATIENCE, "{:?}", clients.crew.missing());
    }
    // What is on its way would come now.
    clients.run(Duration::from_millis(300), false);
    clients.crew.check().unwrap();
    let published: u64 = clients.crew.published().iter().map(|(_, _, count)| count).sum();
    assert!(published > 0);
    eprintln!("{rounds} kills; {published} messages published, {heard} heard, those of QoS 2 once each");
}
