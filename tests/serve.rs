//! `brooklet serve` from outside: what it says, what it refuses, how it ends.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::{fs, path::Path, process::Output};

use common::{
    gateway::{Gateway, START, brooklet, run},
    wait_for,
};

fn serve(data: &Path, native: &str, kafka: &str) -> Output {
    let args = ["--data".as_ref(), data.as_os_str(), "--native".as_ref(), native.as_ref(), "--kafka".as_ref()];
    run(brooklet().arg("serve").args(args).arg(kafka), b"")
}

#[test]
fn it_says_what_a_person_needs_and_ends_in_order() {
    let mut gateway = Gateway::start("store.max_bytes = \"64MiB\"\n");
    // It answers a moment before it says that it is ready.
    wait_for("the gateway to say that it is ready", START, || gateway.log().contains(": ready").then_some(()));
    let log = gateway.log();
    for said in [
        &format!("Brooklet {}", env!("CARGO_PKG_VERSION")),
        "a new store",
        "the store takes at most 64.0 MiB, ",
        "% of the filesystem",
        &format!("devices connect to {}", gateway.native),
        &format!("Kafka clients connect to {}", gateway.kafka),
        "no uplink",
        "ready",
    ] {
        assert!(log.contains(said), "{said}: {log}");
    }
    assert!(gateway.data_dir().join("last-good.toml").exists());
    gateway.cli_ok(&["produce", "readings"], "21.5\n");
    gateway.stop();
    assert!(gateway.log().contains("SIGTERM") && gateway.log().contains("everything acknowledged is kept"));

    gateway.launch();
    wait_for("how full the store is", START, || gateway.log().contains("of at most 64.0 MiB").then_some(()));
    assert_eq!(gateway.cli_ok(&["consume", "readings"], ""), "21.5\n");
}

#[test]
fn a_second_process_is_told_what_is_in_its_way() {
    let gateway = Gateway::start("");
    let (native, kafka) = (gateway.native.to_string(), gateway.kafka.to_string());
    let same_data = serve(&gateway.data_dir(), "127.0.0.1:0", "127.0.0.1:0");
    let said = String::from_utf8_lossy(&same_data.stderr).into_owned();
    assert_eq!(same_data.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another process"), "{said}");

    let other = tempfile::tempdir().unwrap();
    let same_port = serve(other.path(), &native, &kafka);
    let said = String::from_utf8_lossy(&same_port.stderr).into_owned();
    assert_eq!(same_port.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("{native} is in use")) && said.contains("listen.native.addr"), "{said}");

    let file = other.path().join("file");
    fs::write(&file, "").unwrap();
    let no_dir = serve(&file, "127.0.0.1:0", "127.0.0.1:0");
    let said = String::from_utf8_lossy(&no_dir.stderr).into_owned();
    assert_eq!(no_dir.status.code(), Some(1), "{said}");
    assert!(said.contains("data directory"), "{said}");
}

#[test]
fn the_machines_own_readings_are_published() {
    let gateway = Gateway::start("source.host.enabled = true\nsource.host.interval = \"100ms\"\n");
    // The topic comes with the first readings.
    let text = wait_for("two intervals' readings", START, || {
        let output = gateway.cli(&["consume", "host", "--format", "%k %v\\n"], "");
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text).filter(|text| text.matches("uptime {").count() >= 2)
    });
    for metric in ["memory", "load", "uptime"] {
        let start = format!("{metric} {{\"gateway\":\"gw-");
        assert!(text.lines().any(|line| line.starts_with(&start)), "{metric}: {text}");
    }
}

#[test]
fn another_gateway_is_a_centre_to_read_from_and_each_record_comes_down_once() {
    let centre = Gateway::start("");
    let config = format!(
        "[downlink.centre]\nbootstrap = [\"{}\"]\ntopics = [\"commands\"]\ntopic = \"down.{{topic}}\"\nfrom = \"earliest\"\n\
         fetch.wait = \"200ms\"\nbackoff.min = \"20ms\"\nbackoff.max = \"200ms\"\n",
        centre.kafka
    );
    let mut edge = Gateway::start(&config);
    let mut sent = String::new();
    for round in 0..4 {
        let lines: String = (0..50).map(|n| format!("command {round} {n}\n")).collect();
        centre.cli_ok(&["produce", "commands"], &lines);
        sent.push_str(&lines);
        if round % 2 == 0 {
            edge.kill();
            edge.launch();
        }
    }
    let brought = || {
        let status = edge.cli_ok(&["downlink", "status", "--json"], "");
        status.contains("\"caught-up\"").then(|| edge.cli_ok(&["consume", "down.commands"], ""))
    };
    let all = wait_for("all commands", START, || brought().filter(|all| all.len() >= sent.len()));
    assert_eq!(all, sent);
    let shown = edge.cli_ok(&["downlink", "status"], "");
    assert!(shown.contains("caught up") && shown.contains("down.commands/0"), "{shown}");
    assert!(edge.cli_ok(&["downlink", "check"], "").contains("commands may be read"));
    let status = edge.cli_ok(&["status"], "");
    assert!(status.contains("DOWNLINK") && !status.contains("without an uplink"), "{status}");
}

/// What a service manager hears on its socket, one datagram after another, until one holds `last`.
fn heard_until(manager: &std::os::unix::net::UnixDatagram, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let bytes = manager.recv(&mut buffer).unwrap_or_else(|error| panic!("no {last}: {error}; heard {heard:?}"));
        heard.push(String::from_utf8(buffer[..bytes].to_vec()).unwrap());
        if heard.last().unwrap().contains(last) {
            return heard;
        }
    }
}

#[test]
fn a_service_manager_is_told_how_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(START)).unwrap();
    let data = dir.path().join("data");
    let mut command = brooklet();
    command.args(["serve", "--native", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--data"]);
    command.arg(&data).env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let mut gateway = command.stderr(std::process::Stdio::null()).spawn().unwrap();

    let starting = heard_until(&manager, "READY=1");
    assert!(starting[0].starts_with("EXTEND_TIMEOUT_USEC="), "{starting:?}");
    // Fed again and again, with nothing to do.
    heard_until(&manager, "WATCHDOG=1");
    heard_until(&manager, "WATCHDOG=1");
    let pid = i32::try_from(gateway.id()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::TERM).unwrap();
    heard_until(&manager, "STOPPING=1");
    assert!(gateway.wait().unwrap().success());
}
