//! What a gateway tells of how its last runs ended.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::time::Duration;

use common::gateway::Gateway;
use common::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How the runs before the last starts ended, newest first.
fn ends(gateway: &Gateway) -> Vec<String> {
    let status: Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
    let starts = status["starts"].as_array().unwrap();
    starts.iter().map(|start| start["before"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_start_knows_how_the_run_before_it_ended() {
    let mut gateway = Gateway::start("");
    assert_eq!(ends(&gateway), ["none"]);
    gateway.stop();
    gateway.launch();
    gateway.kill();
    gateway.launch();
    // As the service manager ends one that hangs. It is dead once it is a zombie.
    let pid = gateway.pid();
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::ABORT).unwrap();
    wait_for("the process to die of SIGABRT", Duration::from_secs(30), || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") Z ").then_some(())
    });
    gateway.kill();
    gateway.launch();
    assert_eq!(ends(&gateway), ["watchdog", "killed", "clean", "none"]);
    assert!(gateway.log().contains("the last run did not end in order: watchdog"), "{}", gateway.log());
}
