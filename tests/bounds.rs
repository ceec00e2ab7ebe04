//! Bounds that strangers meet, one by one, in a gateway of this process: what a peer sees of each, and that it is counted. The table of all
//! bounds, and where the others are tested, is in ARCHITECTURE.md (*Strangers*).
#![cfg(feature = "gateway")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use brooklet::config::Config;
use brooklet::gateway::Gateway;
use brooklet::limits::PARTITIONS_MAX;
use brooklet::metrics::METRICS;
use common::wait_for;
use common::wire::{Wire, try_create_topic};

const SOON: Duration = Duration::from_secs(60);

fn start(dir: &Path, change: impl FnOnce(&mut Config)) -> Gateway {
    let mut config = Config { data_dir: dir.to_owned(), ..Config::default() };
    for addr in [&mut config.listen.native.addr, &mut config.listen.kafka.addr, &mut config.listen.mqtt.addr] {
        *addr = ([127, 0, 0, 1], 0).into();
    }
    config.listen.http.enabled = false;
    change(&mut config);
    Gateway::start(&config).unwrap()
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Whether the gateway ends the connection, whatever it says before.
fn is_ended(mut stream: TcpStream) -> bool {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_listener_has_so_many_places_and_one_that_is_left_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), |config| config.listen.kafka.max_connections = 2);
    let addr = gateway.kafka_addr().unwrap();
    let ask = || Wire::connect(&addr.to_string()).and_then(|mut wire| wire.api_versions().map(|_| wire));
    let (one, two) = (ask().unwrap(), ask().unwrap());
    // All come from one address, which may have as many as the listener.
    let refused = || METRICS.connections_refused.get() + METRICS.connections_refused_per_address.get();
    let before = refused();
    assert!(is_ended(connect(addr)));
    wait_for("it to be counted", SOON, || (refused() > before).then_some(()));
    drop(one);
    wait_for("the place to be free", SOON, || ask().ok());
    drop(two);
    gateway.stop();
}

#[test]
fn who_is_silent_for_too_long_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), |config| {
        config.listen.kafka.idle_timeout = Some(Duration::from_secs(1));
        config.listen.native.idle_timeout = Some(Duration::from_secs(1));
        config.listen.native.frame_timeout = Duration::from_secs(1);
        config.listen.mqtt.packet_timeout = Duration::from_secs(1);
    });
    let addrs = [gateway.native_addr(), gateway.kafka_addr(), gateway.mqtt_addr()];
    for stream in addrs.map(|addr| connect(addr.unwrap())) {
        assert!(is_ended(stream));
    }
    // Also once it has asked something; and in MQTT, after the time that it has promised.
    let kafka = gateway.kafka_addr().unwrap().to_string();
    // Whoever is slow to ask is closed as well.
    let mut wire = wait_for("an answer", SOON, || {
        let mut wire = Wire::connect(&kafka).ok()?;
        wire.api_versions().ok().map(|_| wire)
    });
    wait_for("the end of a connection", SOON, || {
        wire.api_versions().err().or_else(|| {
            std::thread::sleep(Duration::from_secs(2));
            None
        })
    });
    let slow = METRICS.connections_too_slow.get();
    let mut stream = connect(gateway.mqtt_addr().unwrap());
    stream.write_all(b"\x10\x0e\0\x04MQTT\x04\x02\0\x01\0\x02id").unwrap();
    assert!(is_ended(stream));
    wait_for("it to be counted", SOON, || (METRICS.connections_too_slow.get() > slow).then_some(()));
    gateway.stop();
}

#[test]
fn a_first_frame_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), |config| config.listen.mqtt.max_packet_bytes = 1 << 20);
    // 2,049 bytes of a Hello; 131,073 of a CONNECT; 8 MiB and a byte of a request.
    let claims: [(_, &[u8]); 3] = [
        (gateway.native_addr(), &[0x81, 0x10]),
        (gateway.mqtt_addr(), &[0x10, 0x81, 0x80, 0x08]),
        (gateway.kafka_addr(), &[0x00, 0x80, 0x00, 0x01]),
    ];
    for (addr, claim) in claims {
        let errors = METRICS.protocol_errors.get();
        let mut stream = connect(addr.unwrap());
        stream.write_all(claim).unwrap();
        // Long before the time for a frame is over: nothing is waited for.
        assert!(is_ended(stream), "{claim:?}");
        wait_for("it to be counted", SOON, || (METRICS.protocol_errors.get() > errors).then_some(()));
    }
    gateway.stop();
}

#[test]
fn partitions_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start(dir.path(), |_| ());
    let kafka = gateway.kafka_addr().unwrap().to_string();
    let refused = METRICS.kept_refused.get();
    // There is one of the gateway's own.
    let most = i32::try_from(PARTITIONS_MAX).unwrap();
    let why = try_create_topic(&kafka, "all", most + 1, &[]).unwrap_err();
    assert!(why.contains(&PARTITIONS_MAX.to_string()) || why.contains("44"), "{why}");
    try_create_topic(&kafka, "most", most - 100, &[]).unwrap();
    try_create_topic(&kafka, "more", 101, &[]).unwrap_err();
    try_create_topic(&kafka, "fits", 50, &[]).unwrap();
    assert!(METRICS.kept_refused.get() > refused);
    gateway.stop();
}
