//! The device's session against a simulated gateway: links that break anywhere, a gateway that loses what it has not
//! committed, restarts on both sides.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use brooklet::{
    device::{Buffers, Config, Event, PublishError, RamRing, Reading, Session, SessionError, Stamp, Storage},
    frame::{
        self, Ack, AckLevel, AliasOk, Base, ClientMessage, Decoder, ErrorCode, Failed, GatewayMessage, Next, Welcome,
        sequence,
    },
};

type Device = Session<Config<'static>, RamRing<2_048>, [u8; 160]>;

const CONFIG: Config<'static> =
    Config { client_id: "d1", topics: &["even", "odd"], in_flight_max: 20, answer_ms_max: 1_000 };

fn device() -> Device {
    Session::new(CONFIG, RamRing::new(), Buffers::new([0; 160], [0; 160]))
}

/// What a gateway keeps for one client id, and its connection.
struct Gateway {
    epoch: u64,
    durable: Vec<Stored>,
    last_durable: u64,
    pending: Vec<Stored>,
    last: u64,
    connection: Option<Connection>,
    /// Values that are refused for good.
    refuse: fn(u64) -> bool,
    refused: BTreeSet<u64>,
    time_ms: i64,
    frame_bytes_max: u32,
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    alias: u16,
    value: u64,
    timestamp: Option<i64>,
}

struct Connection {
    decoder: Decoder<Vec<u8>>,
    out: Vec<u8>,
    welcomed_at: Option<i64>,
    /// After a retriable error: nothing until this sequence.
    awaited: Option<u64>,
    acked: u64,
}

impl Gateway {
    fn new() -> Self {
        Self {
            epoch: 0,
            durable: Vec::new(),
            last_durable: 0,
            pending: Vec::new(),
            last: 0,
            connection: None,
            refuse: |_| false,
            refused: BTreeSet::new(),
            time_ms: 1_795_000_000_000,
            frame_bytes_max: 128,
        }
    }

    fn accept(&mut self) {
        let decoder = Decoder::growing(64, frame::HANDSHAKE_BYTES_MAX);
        self.connection = Some(Connection { decoder, out: Vec::new(), welcomed_at: None, awaited: None, acked: 0 });
    }

    fn crash(&mut self) {
        self.connection = None;
        self.pending.clear();
        self.last = self.last_durable;
    }

    fn commit(&mut self) {
        self.durable.append(&mut self.pending);
        self.last_durable = self.last;
        if let Some(connection) = &mut self.connection
            && connection.welcomed_at.is_some()
            && connection.acked < self.last_durable
        {
            connection.acked = self.last_durable;
            let ack = Ack { level: AckLevel::Flash, up_to: sequence::truncate(self.last_durable) };
            GatewayMessage::Ack(ack).append_to(&mut connection.out).unwrap();
        }
    }

    fn receive(&mut self, bytes: &[u8], overloaded: bool) {
        let Some(mut connection) = self.connection.take() else { return };
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = connection.decoder.room();
            let length = room.len().min(rest.len());
            room[..length].copy_from_slice(&rest[..length]);
            connection.decoder.received(length);
            rest = &rest[length..];
            self.frames(&mut connection, overloaded);
        }
        self.connection = Some(connection);
    }

    fn frames(&mut self, connection: &mut Connection, overloaded: bool) {
        while let Next::Frame(body) = connection.decoder.next().unwrap() {
            let body = body.to_vec();
            match ClientMessage::decode(&body).unwrap() {
                ClientMessage::Hello(hello) => self.hello(&hello, connection),
                ClientMessage::Alias(alias) => {
                    let answer = GatewayMessage::AliasOk(AliasOk { alias: alias.alias, partitions: 1 });
                    answer.append_to(&mut connection.out).unwrap();
                }
                ClientMessage::Publish(publish) => self.publish(&publish, connection, overloaded),
                ClientMessage::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn hello(&mut self, hello: &frame::Hello<'_>, connection: &mut Connection) {
        // As the protocol wants: what an older connection got in is settled before the Welcome.
        self.durable.append(&mut self.pending);
        self.last_durable = self.last;
        let resumed = self.epoch != 0 && hello.epoch == self.epoch;
        if resumed {
            self.last = self.last.max(hello.next_sequence.saturating_sub(1));
        } else {
            self.epoch = self.epoch.max(hello.epoch) + 1;
            self.last = 0;
        }
        self.last_durable = self.last;
        connection.acked = self.last;
        connection.welcomed_at = Some(self.time_ms);
        let welcome = Welcome {
            version: 1,
            gateway_id: "g",
            epoch: self.epoch,
            resumed,
            last_sequence: self.last,
            time_ms: self.time_ms,
            time_trusted: true,
            frame_bytes_max: self.frame_bytes_max,
            in_flight_max: hello.in_flight_max,
            idle_seconds_max: 30,
        };
        GatewayMessage::Welcome(welcome).append_to(&mut connection.out).unwrap();
    }

    fn publish(&mut self, publish: &frame::Publish<'_>, connection: &mut Connection, overloaded: bool) {
        let first = sequence::expand(publish.sequence, self.last + 1);
        if connection.awaited.is_some_and(|awaited| awaited != first) {
            return;
        }
        connection.awaited = None;
        assert!(first <= self.last + 1, "no gap: {first} after {}", self.last);
        let mut error = |sequence, count, code| {
            let error = frame::PublishError { sequence, count, code, retry_ms: 5, text: "no" };
            GatewayMessage::PublishError(error).append_to(&mut connection.out).unwrap();
        };
        if overloaded {
            connection.awaited = Some(first);
            return error(first, 0, ErrorCode::Overloaded);
        }
        let count = publish.records.len() as u64;
        let base = Base { timestamp: connection.welcomed_at.unwrap(), offset: 0 };
        let records: Vec<Stored> = publish
            .records
            .iter(base)
            .map(|record| Stored {
                alias: publish.alias,
                value: std::str::from_utf8(record.value.unwrap()).unwrap().trim().parse().unwrap(),
                timestamp: record.timestamp,
            })
            .collect();
        let fresh: Vec<Stored> = records.into_iter().skip((self.last + 1 - first) as usize).collect();
        if fresh.iter().any(|record| (self.refuse)(record.value)) {
            error(first, count as u32, ErrorCode::RecordTooLarge);
            self.refused.extend(fresh.iter().map(|record| record.value));
        } else {
            self.pending.extend(fresh);
        }
        self.last = self.last.max(first + count - 1);
    }
}

/// Both ends, and the bytes between them.
struct World {
    seed: u64,
    now_ms: u64,
    device: Device,
    /// Records that left the storage before the device's last restart.
    number_base: u64,
    gateway: Gateway,
    up: Vec<u8>,
    down: Vec<u8>,
    received: Decoder<[u8; 160]>,
    accepted: u64,
    refused: BTreeSet<u64>,
    connected: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            now_ms: 1_000,
            device: device(),
            number_base: 0,
            gateway: Gateway::new(),
            up: Vec::new(),
            down: Vec::new(),
            received: Decoder::new([0; 160], 200),
            accepted: 0,
            refused: BTreeSet::new(),
            connected: false,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % below
    }

    fn publish(&mut self) {
        let value = format!("{:>1$}", self.accepted, self.accepted as usize % 23);
        let stamp = Stamp::Uptime(self.now_ms);
        match self.device.publish(&Reading::new((self.accepted % 3 / 2) as u16, value.as_bytes()).at(stamp)) {
            Ok(number) => {
                self.accepted += 1;
                assert_eq!(self.number_base + number, self.accepted);
            }
            Err(PublishError::Full) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn connect(&mut self) {
        self.cut();
        self.gateway.accept();
        self.received.clear();
        self.device.connected(self.received.limit(), self.now_ms);
        self.connected = true;
    }

    fn cut(&mut self) {
        self.up.clear();
        self.down.clear();
        self.gateway.connection = None;
        self.device.disconnected();
        self.connected = false;
    }

    fn transmit(&mut self) {
        match self.device.transmit(self.now_ms) {
            Ok(Some(frame)) => self.up.extend_from_slice(frame),
            Ok(None) => {}
            Err(SessionError::NoAnswer) => self.cut(),
            Err(other) => panic!("{other}"),
        }
        if let Some(event) = self.device.take_event() {
            self.event(&event);
        }
    }

    fn deliver_up(&mut self, most: u64, overloaded: bool) {
        let length = self.up.len().min(self.random(most) as usize + 1);
        let bytes: Vec<u8> = self.up.drain(..length).collect();
        self.gateway.receive(&bytes, overloaded);
        if let Some(connection) = &mut self.gateway.connection {
            self.down.append(&mut connection.out);
        }
    }

    fn deliver_down(&mut self, most: u64) {
        let length = self.down.len().min(self.random(most) as usize + 1);
        let taken = self.received.feed(&self.down[..length]);
        self.down.drain(..taken);
        let mut events = Vec::new();
        while let Next::Frame(body) = self.received.next().unwrap() {
            events.extend(self.device.handle(body, self.now_ms).unwrap());
        }
        for event in events {
            self.event(&event);
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Refused { first, count, .. } => {
                let first = self.number_base + first - 1;
                self.refused.extend(first..first + u64::from(*count));
            }
            Event::Connected { .. } | Event::Settled { .. } | Event::Delayed { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn restart_device(&mut self) {
        self.cut();
        self.number_base += self.device.settled();
        let storage = std::mem::replace(&mut self.device, device()).into_storage();
        self.device = Session::new(CONFIG, storage, Buffers::new([0; 160], [0; 160]));
    }

    fn step(&mut self, calm: bool) {
        self.now_ms += self.random(10);
        self.gateway.time_ms += 5;
        match self.random(if calm { 80 } else { 100 }) {
            0..20 if !calm => self.publish(),
            20..40 => self.transmit(),
            40..60 => {
                let overloaded = !calm && self.random(20) == 0;
                self.deliver_up(60, overloaded);
            }
            60..74 => self.deliver_down(60),
            74..80 => self.gateway.commit(),
            80..82 => self.cut(),
            82 => {
                self.gateway.crash();
                self.cut();
            }
            83 => self.restart_device(),
            _ if !self.connected => self.connect(),
            _ => {}
        }
        if calm && !self.connected {
            self.connect();
        }
    }

    fn drain(&mut self) {
        for _ in 0..200_000 {
            if self.device.storage().count() == 0 {
                return;
            }
            self.step(true);
        }
        panic!("not drained: {} left", self.device.storage().count());
    }
}

#[test]
fn what_is_accepted_arrives_once_and_in_order_whatever_breaks() {
    let (mut stored, mut cut_batches) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.gateway.refuse = if seed % 2 == 0 { |_| false } else { |value| value % 61 == 7 };
        for _ in 0..4_000 {
            world.step(false);
        }
        world.drain();
        let values: Vec<u64> = world.gateway.durable.iter().map(|record| record.value).collect();
        assert!(values.is_sorted_by(|a, b| a < b), "seed {seed}: in order, none twice");
        let arrived: BTreeSet<u64> = values.iter().copied().collect();
        for value in 0..world.accepted {
            // A refusal is told once, and a link may break then: so the gateway knows of more of them.
            assert!(arrived.contains(&value) || world.gateway.refused.contains(&value), "seed {seed}: {value} is lost");
        }
        assert!(world.refused.iter().all(|value| arrived.contains(value) || world.gateway.refused.contains(value)));
        assert!(world.gateway.durable.iter().all(|record| u64::from(record.alias) == record.value % 3 / 2));
        stored += values.len();
        cut_batches += world.refused.len();
    }
    assert!(stored > 40_000 && cut_batches > 500, "the test does something: {stored}, {cut_batches}");
}

/// A gateway that forgot the client, or another client in between: nothing is lost, the rest is numbered anew.
#[test]
fn without_a_resumed_session_what_is_held_is_numbered_anew() {
    let mut world = World::new(1);
    world.publish();
    world.connect();
    world.drain();
    world.publish();
    world.gateway = Gateway::new();
    world.gateway.epoch = 40;
    world.connect();
    world.drain();
    assert_eq!(world.gateway.durable.len(), 1);
    assert_eq!(world.device.storage().numbering().unwrap().epoch, 41);
    assert_eq!(world.gateway.last_durable, 1);
}

/// Uptimes become wall time by the gateway's clock, and only for readings of this start of the device.
#[test]
fn uptimes_become_wall_time() {
    let mut world = World::new(1);
    world.publish();
    world.restart_device();
    world.now_ms = 5_000;
    world.publish();
    world.now_ms += 700;
    world.connect();
    world.drain();
    let (gateway_ms, times): (i64, Vec<_>) =
        (1_795_000_000_000, world.gateway.durable.iter().map(|record| record.timestamp).collect());
    assert_eq!(times[0], None, "of an earlier start: the gateway stamps");
    let second = times[1].unwrap();
    assert!((gateway_ms - 1_000..gateway_ms + 1_000).contains(&second), "{second}");
}

#[test]
fn a_full_ring_says_so_and_takes_more_once_settled() {
    let mut device = device();
    let value = [7; 100];
    let taken = (0..100).take_while(|_| device.publish(&Reading::new(0, &value)).is_ok()).count();
    assert_eq!(taken, 2_048 / 106, "6 bytes besides the value");
    assert_eq!(device.publish(&Reading::new(0, &value)), Err(PublishError::Full));
    assert_eq!(device.publish(&Reading::new(2, b"")), Err(PublishError::UnknownTopic));
    assert_eq!(device.publish(&Reading::new(0, &[0; 150])), Err(PublishError::TooLarge));
    let mut world = World::new(9);
    world.device = device;
    world.connect();
    // Values that aren't numbers would stop the simulated gateway.
    world.gateway.refuse = |_| true;
    assert_eq!(world.device.accepted(), taken as u64);
}

#[test]
fn a_record_too_large_for_the_gateway_is_dropped_and_told() {
    let mut world = World::new(3);
    world.gateway.frame_bytes_max = 64;
    world.publish();
    let large = format!("{:>90}", 1);
    world.device.publish(&Reading::new(0, large.as_bytes())).unwrap();
    world.accepted += 1;
    world.publish();
    world.connect();
    world.drain();
    assert_eq!(world.refused, BTreeSet::from([1]));
    assert_eq!(world.gateway.durable.iter().map(|record| record.value).collect::<Vec<_>>(), [0, 2]);
}

#[test]
fn a_silent_gateway_and_a_fenced_session_end_the_connection() {
    let mut device = device();
    device.connected(128, 0);
    assert!(device.transmit(0).unwrap().is_some(), "Hello");
    assert_eq!(device.transmit(1_000), Ok(None));
    assert_eq!(device.transmit(1_001), Err(SessionError::NoAnswer));
    device.connected(128, 5_000);
    device.transmit(5_000).unwrap();
    let mut buffer = [0; 64];
    let failed = GatewayMessage::Failed(Failed { id: 0, code: ErrorCode::Fenced, text: "elsewhere" });
    let body = failed.encode_unframed(&mut buffer).unwrap();
    let Err(error) = device.handle(body, 5_001) else { panic!("no error") };
    assert_eq!(
        error.to_string(),
        "the gateway ended the connection: another connection uses this client id: elsewhere"
    );
}
