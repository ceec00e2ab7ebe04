//! The life of a gateway: it forwards to another one while both are killed, is drained, dies and is forwarded by someone else, and
//! is reset.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use brooklet::client::{Address, Publisher, PublisherOptions};
use brooklet::device::Reading;
use brooklet::record::{BatchBuilder, Compression, NO_HEADERS};
use common::gateway::{Gateway, brooklet, expect_ok, run};
use common::wait_for;
use common::wire::{Body, Wire};

const LONG: Duration = Duration::from_secs(60);

fn uplink_to(above: &Gateway) -> String {
    format!(
        "gateway.id = \"below\"\nclock.trust = \"always\"\n[uplink.centre]\nprotocol = \"brooklet\"\nbootstrap = [\"{}\"]\ncreate_topics = true\n\
         linger = \"10ms\"\nconnect_timeout = \"2s\"\nbackoff.min = \"50ms\"\nbackoff.max = \"200ms\"\nslow_start = \"0s\"\n",
        above.native
    )
}

fn produce(gateway: &Gateway, topic: &str, lines: std::ops::Range<u32>) {
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    gateway.cli_ok(&["produce", topic], &text);
}

/// The values of a topic, in their order.
fn consume(gateway: &Gateway, topic: &str) -> Vec<String> {
    gateway.cli_ok(&["consume", topic], "").lines().map(str::to_owned).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// Produce, version 3, to partition 0; the error code.
fn produce_by_kafka(gateway: &Gateway, topic: &str, value: &str) -> i16 {
    let mut builder = BatchBuilder::new();
    builder.push(1_700_000_000_000, None, Some(value.as_bytes()), NO_HEADERS).unwrap();
    let batch = builder.finish(Compression::None);
    let head = Body::default().i16(-1).i16(-1).i32(1_000).i32(1).string(topic).i32(1).i32(0);
    let mut wire = Wire::connect(&gateway.kafka.to_string()).unwrap();
    let mut answer = wire.call(0, 3, head.bytes(&batch)).unwrap();
    answer.array(|a| (a.string(), a.array(|a| (a.i32(), a.i16(), a.i64(), a.i64()).1)).1)[0][0]
}

fn offline(args: &[&std::ffi::OsStr]) -> Output {
    let mut command: Command = brooklet();
    run(command.args(args), b"")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn both_gateways_are_killed_again_and_again_and_each_record_arrives_once() {
    let mut above = Gateway::start("gateway.id = \"above\"\n");
    let mut below = Gateway::start(&uplink_to(&above));
    let devices = 2;
    let publishers: Vec<(String, Publisher)> = (0..devices)
        .map(|device| {
            let name = format!("device-{device}");
            let address = Address::Tcp(below.native.to_string());
            let publisher = smol::block_on(Publisher::open(&address, PublisherOptions::new(&name))).unwrap();
            (name, publisher)
        })
        .collect();
    let mut sent: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..6 {
        for (name, publisher) in &publishers {
            let topic = publisher.topic("t").unwrap();
            for _ in 0..40 {
                let number = sent.entry(name.clone()).or_default();
                let value = format!("{name} {number}");
                smol::block_on(publisher.publish(&Reading::new(topic, value.as_bytes()))).unwrap();
                *number += 1;
            }
        }
        thread::sleep(Duration::from_millis(fastrand::u64(20..300)));
        match round % 3 {
            0 => {
                below.kill();
                below.launch();
            }
            1 => {
                above.kill();
                above.launch();
            }
            _ => {
                above.kill();
                below.kill();
                above.launch();
                below.launch();
            }
        }
    }
    for (_, publisher) in &publishers {
        smol::block_on(publisher.flush()).unwrap();
    }
    let expected: u32 = sent.values().sum();
    wait_for("all records above", LONG, || {
        let there = above.cli(&["consume", "t"], "");
        let there = String::from_utf8_lossy(&there.stdout).lines().count();
        (there >= expected as usize).then_some(())
    });
    let there = consume(&above, "t");
    assert_eq!(there.len(), expected as usize);
    for (name, count) in sent {
        let of: Vec<&String> = there.iter().filter(|value| value.starts_with(&format!("{name} "))).collect();
        assert!(of.iter().enumerate().all(|(at, value)| **value == format!("{name} {at}")), "{name}: {of:?}");
        assert_eq!(of.len(), count as usize);
    }
}

#[test]
fn a_drain_refuses_what_is_new_and_forwards_what_is_here() {
    let mut above = Gateway::start("gateway.id = \"above\"\n");
    let below = Gateway::start(&uplink_to(&above));
    produce(&below, "t", 0..500);
    let drained = below.cli_ok(&["drain", "--timeout", "60s"], "");
    assert!(drained.starts_with("pending=0\n"), "{drained}");
    assert_eq!(consume(&above, "t"), numbers(0..500));

    // It is refused, with words that say so, by every protocol; and it is still read.
    let refused = below.cli(&["produce", "t", "--timeout", "5s"], "500\n");
    assert!(!refused.status.success() && stderr(&refused).contains("drained"), "{}", stderr(&refused));
    assert_eq!(produce_by_kafka(&below, "t", "500"), 6, "NOT_LEADER_OR_FOLLOWER: clients try again");
    assert_eq!(consume(&below, "t").len(), 500);
    below.cli_ok(&["drain", "--end"], "");
    produce(&below, "t", 500..501);

    // Without the centre the time is up, what remains is told, and records are taken again.
    above.kill();
    produce(&below, "t", 501..511);
    let late = below.cli(&["drain", "--timeout", "1s"], "");
    let said = stderr(&late);
    assert!(late.status.code() == Some(1) && said.contains("pending=1") && said.contains("uplink centre"), "{said}");
    produce(&below, "t", 511..512);
    above.launch();
    below.cli_ok(&["drain", "--timeout", "60s"], "");
    assert_eq!(consume(&above, "t"), numbers(0..512));
    let nothing = above.cli(&["drain"], "");
    assert!(nothing.status.code() == Some(1) && stderr(&nothing).contains("no uplink"), "{}", stderr(&nothing));
}

#[test]
fn a_dead_gateways_records_are_forwarded_from_its_directory_once() {
    let mut above = Gateway::start("gateway.id = \"above\"\n");
    let mut below = Gateway::start(&uplink_to(&above));
    produce(&below, "t", 0..100);
    wait_for("the first records above", LONG, || (consume_if(&above, "t").len() == 100).then_some(()));
    above.kill();
    produce(&below, "t", 100..200);
    produce(&below, "t", 200..201);
    // It dies, and its card comes to someone's desk.
    below.kill();
    let dir = below.data_dir();
    let while_away = offline(&["forward".as_ref(), dir.as_os_str(), "--timeout".as_ref(), "1s".as_ref()]);
    assert!(while_away.status.code() == Some(1), "{}", stderr(&while_away));
    assert!(stderr(&while_away).contains("pending=101"), "{}", stderr(&while_away));
    above.launch();
    let done = offline(&["forward".as_ref(), dir.as_os_str(), "--timeout".as_ref(), "60s".as_ref()]);
    assert_eq!(expect_ok("brooklet forward", &done), "pending=0\n");
    assert!(stderr(&done).contains("as gateway below"), "{}", stderr(&done));
    assert_eq!(consume(&above, "t"), numbers(0..201));
    let again = offline(&["forward".as_ref(), dir.as_os_str()]);
    assert_eq!(expect_ok("brooklet forward", &again), "pending=0\n");
    assert_eq!(consume(&above, "t").len(), 201);
    // Another file with the uplinks: the identity stays.
    let file = dir.join("other.toml");
    std::fs::write(&file, uplink_to(&above).replace("\"below\"", "\"desk\"")).unwrap();
    let other = offline(&["forward".as_ref(), dir.as_os_str(), "--config".as_ref(), file.as_os_str()]);
    assert_eq!(expect_ok("brooklet forward", &other), "pending=0\n");
    assert!(stderr(&other).contains("as gateway below"), "{}", stderr(&other));
    let nowhere = offline(&["forward".as_ref(), std::env::temp_dir().as_os_str()]);
    assert!(nowhere.status.code() == Some(1) && stderr(&nowhere).contains("no data directory"), "{}", stderr(&nowhere));
}

fn consume_if(gateway: &Gateway, topic: &str) -> Vec<String> {
    let output = gateway.cli(&["consume", topic], "");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn a_reset_lists_what_is_unsent_asks_and_makes_another_store() {
    let above = Gateway::start("gateway.id = \"above\"\n");
    let mut below = Gateway::start(&uplink_to(&above));
    produce(&below, "t", 0..20);
    wait_for("the records above", LONG, || (consume_if(&above, "t").len() == 20).then_some(()));
    below.stop();
    below.configure("gateway.id = \"below\"\nclock.trust = \"always\"\n");
    below.launch();
    produce(&below, "t", 20..30);
    produce(&below, "alone", 0..5);
    let before = incarnation(&below);
    let dir = below.data_dir();
    let running = offline(&["reset".as_ref(), dir.as_os_str(), "--yes".as_ref()]);
    assert!(running.status.code() == Some(1) && stderr(&running).contains("a gateway runs"), "{}", stderr(&running));
    below.stop();
    let asked = offline(&["reset".as_ref(), dir.as_os_str()]);
    let listed = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(asked.status.code() == Some(1) && stderr(&asked).contains("--yes"), "{}", stderr(&asked));
    assert!(listed.contains("10 records of t not forwarded by uplink centre"), "{listed}");
    assert!(listed.contains("5 records of alone forwarded by no uplink"), "{listed}");
    below.launch();
    assert_eq!(consume(&below, "t").len(), 30, "nothing was deleted");
    below.stop();
    let done = offline(&["reset".as_ref(), dir.as_os_str(), "--yes".as_ref()]);
    assert!(expect_ok("brooklet reset", &done).contains("new incarnation"));
    below.configure(&uplink_to(&above));
    below.launch();
    assert_ne!(incarnation(&below), before);
    // The centre knows it from another store, and takes what is new.
    produce(&below, "t", 30..35);
    below.cli_ok(&["drain", "--timeout", "60s"], "");
    assert_eq!(consume(&above, "t"), [numbers(0..20), numbers(30..35)].concat());
}

fn incarnation(gateway: &Gateway) -> String {
    let status = gateway.cli_ok(&["status", "--json"], "");
    let (_, rest) = status.split_once("\"incarnation\":\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}
