//! `brooklet consume --group` and `brooklet group …` against a live gateway.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::common::{
    gateway::{self, Gateway, START},
    wait_for,
};

/// The numbers that a reader has printed so far.
type Output = Arc<Mutex<Vec<u32>>>;

/// It must fail with this exit code and say this.
fn refused(output: &std::process::Output, code: i32, said: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(said), "{said:?} in {stderr}");
}

/// Everything of `readers` that was printed so far, by reader.
fn printed(outputs: &[Output]) -> Vec<Vec<u32>> {
    outputs.iter().map(|output| output.lock().unwrap().clone()).collect()
}

fn reading(gateway: &Gateway) -> (Child, Output) {
    let mut child = gateway::brooklet()
        .args(["consume", "t", "--group", "g", "--follow", "--broker", &gateway.native.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = Output::default();
    let (out, into) = (child.stdout.take().unwrap(), Arc::clone(&lines));
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line.parse().unwrap());
        }
    });
    (child, lines)
}

#[test]
fn members_of_a_group_share_its_topic() {
    let mut gateway = Gateway::start("");
    gateway.cli_ok(&["topic", "create", "t", "--partitions", "4"], "");
    let produce = |gateway: &Gateway, numbers: std::ops::Range<u32>| {
        let input: String = numbers.map(|n| format!("k{n}={n}\n")).collect();
        gateway.cli_ok(&["produce", "t", "-K", "="], &input);
    };
    let describe = |gateway: &Gateway| -> Value {
        serde_json::from_str(&gateway.cli_ok(&["group", "describe", "g", "--json"], "")).unwrap()
    };
    let (one, of_one) = reading(&gateway);
    produce(&gateway, 0..50);
    wait_for("the first records", START, || (of_one.lock().unwrap().len() == 50).then_some(()));
    let (mut two, of_two) = reading(&gateway);
    wait_for("two members with two partitions each", START, || {
        let group = describe(&gateway);
        let shares: Vec<u64> =
            group["members"].as_array().unwrap().iter().map(|m| m["partitions"].as_u64().unwrap()).collect();
        (group["state"] == "Stable" && shares == [2, 2]).then_some(())
    });
    refused(&gateway.cli(&["group", "delete", "g"], ""), 1, "has members");
    refused(&gateway.cli(&["group", "reset-offsets", "g", "--to", "end"], ""), 1, "2 members");
    produce(&gateway, 50..150);
    let outputs = [Arc::clone(&of_one), Arc::clone(&of_two)];
    let all = |count: usize| {
        wait_for(&format!("{count} records"), START, || (printed(&outputs).concat().len() >= count).then_some(()));
        let mut all = printed(&outputs).concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..count as u32), "each once: {all:?}");
    };
    all(150);
    assert!(printed(&outputs).iter().all(|of| of.len() > 10), "both have a share");

    // They go on after a kill of the gateway; and one takes over from the other that is told to end.
    gateway.kill();
    gateway.launch();
    produce(&gateway, 150..250);
    all(250);
    let generation = describe(&gateway)["generation"].clone();
    assert_eq!(generation, 2, "nobody had to join again");
    let ended = rustix::process::Pid::from_child(&one);
    rustix::process::kill_process(ended, rustix::process::Signal::TERM).unwrap();
    assert!(one.wait_with_output().unwrap().status.success());
    produce(&gateway, 250..300);
    all(300);
    two.kill().unwrap();
    two.wait().unwrap();
}

#[test]
fn groups_are_administered() {
    let gateway = Gateway::start("");
    gateway.cli_ok(&["topic", "create", "t", "--partitions", "2"], "");
    let input: String = (0..40).map(|n| format!("k{n}={n}\n")).collect();
    gateway.cli_ok(&["produce", "t", "-K", "="], &input);
    assert_eq!(gateway.cli_ok(&["consume", "t", "--group", "g"], "").lines().count(), 40);
    let partitions = || -> Vec<(i64, i64, u64)> {
        let group: Value = serde_json::from_str(&gateway.cli_ok(&["group", "describe", "g", "--json"], "")).unwrap();
        let one =
            |of: &Value| (of["committed"].as_i64().unwrap(), of["end"].as_i64().unwrap(), of["lag"].as_u64().unwrap());
        group["partitions"].as_array().unwrap().iter().map(one).collect()
    };
    assert!(partitions().iter().all(|(committed, end, lag)| committed == end && *lag == 0));
    let list = gateway.cli_ok(&["group", "list"], "");
    assert!(list.contains("Empty") && list.lines().count() == 2, "{list}");
    assert!(gateway.cli_ok(&["group", "describe", "g"], "").contains("COMMITTED"));

    let before = partitions();
    gateway.cli_ok(&["group", "reset-offsets", "g", "--to", "beginning", "--dry-run"], "");
    assert_eq!(partitions(), before, "a dry run changes nothing");
    gateway.cli_ok(&["group", "reset-offsets", "g", "--to", "beginning"], "");
    assert!(partitions().iter().all(|(committed, end, lag)| *committed == 0 && *lag == *end as u64));
    gateway.cli_ok(&["group", "reset-offsets", "g", "--to", "1000"], "");
    assert_eq!(partitions(), before, "not beyond the end");
    let moves: Value = serde_json::from_str(
        &gateway.cli_ok(&["group", "reset-offsets", "g", "--shift", "-3", "--topic", "t", "-p", "1", "--json"], ""),
    )
    .unwrap();
    assert_eq!(moves[0]["to"].as_i64().unwrap(), before[1].0 - 3);
    assert_eq!(gateway.cli_ok(&["consume", "t", "--group", "g"], "").lines().count(), 3);
    gateway.cli_ok(&["group", "reset-offsets", "g", "--to", "1h"], "");
    assert!(partitions().iter().all(|(committed, _, _)| *committed == 0));
    gateway.cli_ok(&["group", "reset-offsets", "new", "--to", "end", "--topic", "t"], "");
    refused(&gateway.cli(&["group", "reset-offsets", "none", "--to", "end"], ""), 1, "no group none");
    refused(&gateway.cli(&["group", "reset-offsets", "g"], ""), 2, "--to and --shift");

    gateway.cli_ok(&["group", "delete", "g"], "");
    refused(&gateway.cli(&["group", "delete", "g"], ""), 1, "no group g");
    gateway.cli_ok(&["group", "delete", "g", "--if-exists"], "");
    let listed: Value = serde_json::from_str(&gateway.cli_ok(&["group", "list", "--json"], "")).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}
