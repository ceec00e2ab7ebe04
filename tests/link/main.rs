//! What an uplink makes of a thin link, measured: run by `scripts/link.sh`, which prints the table.
//!
//! The centre is another gateway's Kafka port, at least once, or the Apache Kafka that the script has started, exactly once; before it
//! stands a relay that counts bytes and has a rate and a delay. Where days are
//! meant, time is compressed by shortening every interval of the uplink by the same factor; bytes are those of TCP's payload, as
//! counted by the relay, and with headers of IP and TCP as the uplink estimates them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it fails"
)]

#[path = "../common/mod.rs"]
mod common;

use std::{
    env, thread,
    time::{Duration, Instant},
};

use common::{
    free_addr,
    gateway::Gateway,
    link::{Shape, ThinLink},
    wait_for,
    wire::{create_topic, try_create_topic},
};

const WIDE: Shape = Shape { bytes_a_second: 1 << 30, delay: Duration::ZERO };

/// A gateway whose uplink goes over a link of this shape to the centre.
struct Scene {
    edge: Gateway,
    link: ThinLink,
    _centre: Option<Gateway>,
}

/// The Apache Kafka: where it is for this test, where it listens for who comes through the relay, and the relay's address, which it tells them.
fn kafka() -> Option<[String; 3]> {
    let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    Some([given("BROOKLET_TEST_KAFKA")?, given("BROOKLET_TEST_KAFKA_OUT")?, given("BROOKLET_TEST_KAFKA_FRONT")?])
}

impl Scene {
    fn start(shape: Shape, uplink: &str) -> Scene {
        Scene::with_topic(shape, uplink, |_| {})
    }

    fn with_topic(shape: Shape, uplink: &str, fill: impl FnOnce(&Gateway)) -> Scene {
        let (target, front, delivery, centre) = match kafka() {
            Some([direct, out, front]) => {
                // Of a scene before it may be there already.
                let _ = try_create_topic(&direct, "t", 1, &[]);
                (out.parse().unwrap(), front.parse().unwrap(), "exactly-once", None)
            }
            None => {
                let (kafka, front) = (free_addr(), free_addr());
                let centre = Gateway::start_on(kafka, &format!("listen.kafka.advertised = \"{front}\"\n"));
                create_topic(&kafka.to_string(), "t", 1);
                (kafka, front, "at-least-once", Some(centre))
            }
        };
        let link = ThinLink::start(front, target, shape);
        let mut edge = Gateway::start("clock.trust = \"always\"\nstore.compression = \"none\"\n");
        fill(&edge);
        edge.stop();
        edge.configure(&format!(
            "clock.trust = \"always\"\nstore.compression = \"none\"\n[uplink.c]\nbootstrap = [\"{front}\"]\ntopics = [\"t\"]\ndelivery = \"{delivery}\"\n{uplink}\n"
        ));
        edge.launch();
        Scene { edge, link, _centre: centre }
    }

    fn status(&self) -> serde_json::Value {
        let json = self.edge.cli_ok(&["uplink", "status", "--json"], "");
        serde_json::from_str::<serde_json::Value>(&json).unwrap()[0].clone()
    }

    fn figure(&self, pointer: &str) -> u64 {
        self.status().pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or(0)
    }

    /// Bytes of TCP's payload both ways, and with headers.
    fn bytes(&self) -> (u64, u64) {
        let (up, down) = self.link.passed();
        (up + down, self.figure("/link/bytes_on_wire"))
    }

    fn caught_up(&self, records: u64) {
        wait_for("everything to be forwarded", Duration::from_secs(600), || {
            (self.figure("/counts/records") >= records).then_some(())
        });
    }
}

/// Readings as a sensor writes them.
fn reading(n: u64) -> String {
    let noise = |salt: u64| (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(salt) >> 33) % 1_000;
    format!(
        "{{\"device\":\"plant-7/line-{}\",\"ts\":{},\"temperature\":{}.{:03},\"pressure\":101{}.{:03},\"seq\":{n}}}",
        n % 8,
        1_795_291_200_000_u64 + n * 977,
        21 + n / 3_000 % 3,
        noise(1),
        noise(2) % 4,
        noise(3)
    )
}

fn print_day(what: &str, compressed: f64, seconds: f64, (payload, wire): (u64, u64)) {
    let days = seconds * compressed / 86_400.0;
    let a_day = |bytes: u64| bytes as f64 / days / 1e3;
    println!("{what:<40} {:8.0} kB/day payload, {:8.0} kB/day with headers", a_day(payload), a_day(wire));
}

/// Watches a scene for a while; the bytes of that time.
fn watch(scene: &Scene, time: Duration, mut each_second: impl FnMut(u64)) -> (u64, u64) {
    let (before, begin) = (scene.bytes(), Instant::now());
    for second in 0.. {
        each_second(second);
        let next = begin + Duration::from_secs(second + 1);
        thread::sleep(next.saturating_duration_since(Instant::now()));
        if begin.elapsed() >= time {
            break;
        }
    }
    let after = scene.bytes();
    (after.0 - before.0, after.1 - before.1)
}

#[test]
#[ignore = "a measurement; scripts/link.sh runs it"]
fn bytes_a_day() {
    const FACTOR: f64 = 60.0;
    let time = Duration::from_secs(60);
    // Default: keepalive 4m, metadata_refresh 15m, linger 100ms.
    for (what, uplink) in [
        ("idle", "keepalive = \"4s\"\nmetadata_refresh = \"15s\""),
        ("idle, without keepalive", "keepalive = \"never\""),
    ] {
        let scene = Scene::start(WIDE, uplink);
        wait_for("a connection", Duration::from_secs(30), || (scene.bytes().0 > 0).then_some(()));
        thread::sleep(Duration::from_secs(2));
        let bytes = watch(&scene, time, |_| {});
        print_day(what, FACTOR, time.as_secs_f64(), bytes);
    }
    let scene = Scene::start(
        WIDE,
        "keepalive = \"4s\"\nmetadata_refresh = \"15s\"\nlinger = \"10ms\"\ncommit_every = \"20ms\"",
    );
    let bytes = watch(&scene, time, |second| {
        scene.edge.cli_ok(&["produce", "t"], &format!("{}\n", reading(second)));
    });
    print_day("a record a minute", FACTOR, time.as_secs_f64(), bytes);

    drop(scene);

    // 1 kB/s in batches of 60 s, of which one is sent every 4 s here: 15 times as fast.
    let scene = Scene::start(WIDE, "keepalive = \"16s\"\nmetadata_refresh = \"60s\"\nlinger = \"4s\"");
    let mut n = 0;
    let bytes = watch(&scene, time, |_| {
        let lines: String = (0..130).map(|ahead| format!("{}\n", reading(n + ahead))).collect();
        n += 130;
        scene.edge.cli_ok(&["produce", "t"], &lines);
    });
    print_day("1 kB/s, every 60 s", 15.0, time.as_secs_f64(), bytes);
    let batches = scene.figure("/counts/bytes");
    println!("{:<40} {:8.2} × the compressed batches", "", bytes.0 as f64 / batches as f64);
}

#[test]
#[ignore = "a measurement; scripts/link.sh runs it"]
fn use_of_a_link() {
    for (what, delay_ms, records) in [("10 Mbit/s, 100 ms RTT", 50, 150_000), ("10 Mbit/s, 1 s RTT", 500, 150_000)] {
        let shape = Shape { bytes_a_second: 1_250_000, delay: Duration::from_millis(delay_ms) };
        let scene = Scene::with_topic(shape, "compression = \"none\"", |edge| {
            let lines: String = (0..records).map(|n| format!("{}\n", reading(n))).collect();
            edge.cli_ok(&["produce", "t"], &lines);
        });
        // From the first 2 MB on, so that connecting doesn't count.
        wait_for("the drain to begin", Duration::from_secs(60), || (scene.link.passed().0 > 2_000_000).then_some(()));
        let (begin, first) = (Instant::now(), scene.link.passed().0);
        let (mut last, mut moved, mut longest) = (first, begin, Duration::ZERO);
        let target = first + 12_000_000;
        while last < target {
            thread::sleep(Duration::from_millis(10));
            let now = scene.link.passed().0;
            if now > last {
                longest = longest.max(moved.elapsed());
                (last, moved) = (now, Instant::now());
            }
            assert!(moved.elapsed() < Duration::from_secs(30), "{what}: it stalls");
        }
        let used = (last - first) as f64 / begin.elapsed().as_secs_f64() / shape.bytes_a_second as f64;
        scene.caught_up(records);
        let pause = longest.as_millis();
        println!("{what:<40} {:5.1} % of the link used, longest pause {pause} ms", used * 100.0);
    }
}
