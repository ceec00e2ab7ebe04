//! The command line against a live gateway: what a person or a script does with it, mistakes included.
#![cfg(feature = "gateway")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpListener,
    process::{Child, Output, Stdio},
    thread,
    time::Duration,
};

use common::{
    free_addr,
    gateway::{self, Gateway, expect_ok, run},
    wait_for,
};
use serde_json::Value;

/// An end to waiting in vain.
const SOON: Duration = Duration::from_secs(120);

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn brooklet(args: &[&str]) -> Output {
    run(gateway::brooklet().args(args), b"")
}

/// It must fail with this exit code and say this.
fn refused(output: &Output, code: i32, said: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    assert!(stderr(output).contains(said), "{said:?} in {}", stderr(output));
}

fn lines(range: std::ops::RangeInclusive<u32>) -> String {
    range.fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{number}");
        text
    })
}

/// A command of the gateway's that goes on, its standard input and output ours.
fn start(gateway: &Gateway, args: &[&str]) -> Child {
    gateway::brooklet()
        .args(args)
        .args(["--broker", &gateway.native.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn records_come_out_as_they_went_in() {
    let gateway = Gateway::start("");
    let produced =
        gateway.cli(&["produce", "temp", "--key-separator", ":", "--timestamps"], "1000 a:21.5\n2000 b:x:y\n");
    expect_ok("produce", &produced);
    assert!(stderr(&produced).starts_with("2 records acknowledged (flash) by gateway gw-"), "{}", stderr(&produced));
    let printed = gateway.cli_ok(&["consume", "temp", "--format", r"%t %p %o %T %k %v %S\n"], "");
    assert_eq!(printed, "temp 0 0 1970-01-01T00:00:01.000Z a 21.5 4\ntemp 0 1 1970-01-01T00:00:02.000Z b x:y 3\n");

    // Any bytes but a line end; the last line needs none.
    let binary = b"\x00\xff\x80\n\nlast";
    expect_ok(
        "produce",
        &run(self::gateway::brooklet().args(["produce", "raw", "--broker", &gateway.native.to_string()]), binary),
    );
    assert_eq!(gateway.cli(&["consume", "raw"], "").stdout, b"\x00\xff\x80\n\nlast\n");

    gateway.cli_ok(&["produce", "many"], &lines(1..=20_000));
    assert_eq!(gateway.cli_ok(&["consume", "many"], ""), lines(1..=20_000));
    assert_eq!(gateway.cli_ok(&["consume", "many", "--from", "19998"], ""), lines(19_999..=20_000));
    assert_eq!(gateway.cli_ok(&["consume", "many", "--from", "1h", "--count", "2"], ""), "1\n2\n");
    let none = gateway.cli(&["consume", "many", "--from", "end"], "");
    assert!(none.stdout.is_empty() && stderr(&none).contains("no records there"));
}

#[test]
fn the_gateway_is_killed_while_records_come_in() {
    let mut gateway = Gateway::start("");
    let mut child = start(&gateway, &["produce", "steady", "--json"]);
    let mut stdin = child.stdin.take().unwrap();
    let (killed, may_end) = std::sync::mpsc::channel();
    let feeder = thread::spawn(move || {
        for burst in 0..60u32 {
            if burst == 59 {
                // Not before it was killed at least once.
                let () = may_end.recv().unwrap();
            }
            stdin.write_all(lines(burst * 500 + 1..=burst * 500 + 500).as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(50));
        }
    });
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(700));
        gateway.kill();
        thread::sleep(Duration::from_millis(200));
        gateway.launch();
        let _ = killed.send(());
    }
    feeder.join().unwrap();
    let output = child.wait_with_output().unwrap();
    let counts = expect_ok("produce", &output);
    assert_eq!(counts.lines().last(), Some(r#"{"acknowledged":30000}"#));
    assert!(stderr(&output).contains("connected again"), "{}", stderr(&output));
    assert_eq!(gateway.cli_ok(&["consume", "steady"], ""), lines(1..=30_000), "lost, doubled or out of order");
}

#[test]
fn it_gives_up_after_the_timeout_it_was_given() {
    let mut gateway = Gateway::start("");
    let mut child = start(&gateway, &["produce", "t", "--timeout", "5s"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"1\n").unwrap();
    wait_for("the first record", SOON, || (gateway.cli(&["consume", "t"], "").stdout == b"1\n").then_some(()));
    gateway.kill();
    stdin.write_all(b"2\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    refused(&output, 1, "nothing was acknowledged for 5 s");
    assert!(stderr(&output).contains("1 record acknowledged (flash)"), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 not acknowledged"), "{}", stderr(&output));
}

#[test]
fn following_goes_on_over_a_restart() {
    let mut gateway = Gateway::start("");
    gateway.cli_ok(&["produce", "t"], &lines(1..=3));
    let mut child = start(&gateway, &["consume", "t", "--follow", "--count", "6"]);
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 6];
    out.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"1\n2\n3\n", "printed as they come");
    gateway.stop();
    gateway.launch();
    gateway.cli_ok(&["produce", "t"], &lines(4..=6));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, lines(4..=6));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let gateway = Gateway::start("");
    gateway.cli_ok(&["topic", "create", "t", "--partitions", "3"], "");
    let input: String = (0..90).map(|n| format!("k{n}={n}\n")).collect();
    gateway.cli_ok(&["produce", "t", "-K", "="], &input);
    let read = |more: &[&str]| -> Vec<u32> {
        let text = gateway.cli_ok(&[&["consume", "t", "--group", "g"], more].concat(), "");
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    let mut all = read(&["--count", "40"]);
    assert_eq!(all.len(), 40);
    all.extend(read(&[]));
    all.sort_unstable();
    assert_eq!(all, (0..90).collect::<Vec<_>>(), "each once");
    assert!(read(&[]).is_empty() && read(&["--from", "beginning"]).is_empty());
    assert_eq!(gateway.cli_ok(&["consume", "t", "--group", "other", "--partition", "1"], "").lines().count(), {
        let status: Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
        status["topics"][0]["partitions"][1]["high_watermark"].as_u64().unwrap() as usize
    });
}

#[test]
fn topics_are_administered() {
    let gateway = Gateway::start("");
    gateway.cli_ok(&["topic", "create", "plant.temp", "-p", "2", "--set", "retention.ms=7d"], "");
    refused(&gateway.cli(&["topic", "create", "plant.temp"], ""), 1, "exists");
    gateway.cli_ok(&["topic", "create", "plant.temp", "--if-not-exists"], "");
    let described = gateway.cli_ok(&["topic", "describe", "plant.temp"], "");
    assert!(described.contains("retention.ms = 604800000") && described.contains("no uplink"), "{described}");
    gateway
        .cli_ok(&["topic", "alter", "plant.temp", "-u", "retention.ms", "-s", "retention.bytes=1MiB", "-p", "5"], "");
    let described: Value =
        serde_json::from_str(&gateway.cli_ok(&["topic", "describe", "plant.temp", "--json"], "")).unwrap();
    assert_eq!(described["configs"]["retention.ms"], "-1");
    assert_eq!(described["configs"]["retention.bytes"], "1048576");
    assert_eq!(described["topic"]["partitions"].as_array().unwrap().len(), 5);
    let list = gateway.cli_ok(&["topic", "list"], "");
    assert!(list.lines().nth(1).unwrap().starts_with("plant.temp"), "{list}");
    assert!(serde_json::from_str::<Value>(&gateway.cli_ok(&["topic", "list", "--json"], "")).unwrap().is_array());

    refused(&gateway.cli(&["topic", "describe", "plant.tmp"], ""), 1, "did you mean plant.temp?");
    refused(&gateway.cli(&["topic", "alter", "temp", "-p", "6"], ""), 1, "did you mean plant.temp?");
    refused(&gateway.cli(&["topic", "alter", "plant.temp", "-p", "1"], ""), 1, "can only grow");
    refused(&gateway.cli(&["topic", "alter", "plant.temp", "-s", "retention.ms=soon"], ""), 1, "duration");
    refused(&gateway.cli(&["topic", "create", "x", "-s", "nothing.like=it"], ""), 1, "nothing.like");
    refused(&gateway.cli(&["topic", "create", "a/b"], ""), 2, "letters, digits");
    gateway.cli_ok(&["topic", "delete", "plant.temp"], "");
    gateway.cli_ok(&["topic", "delete", "plant.temp", "--if-exists"], "");
    refused(&gateway.cli(&["topic", "delete", "plant.temp"], ""), 1, "nor any other yet");
}

#[test]
fn status_tells_scripts_and_people() {
    let gateway = Gateway::start("");
    gateway.cli_ok(&["produce", "t"], &lines(1..=7));
    let status: Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
    assert_eq!(status["topics"][0]["name"], "t");
    assert_eq!(status["topics"][0]["partitions"][0]["high_watermark"], 7);
    assert_eq!(status["metrics"]["records_in"], 7);
    assert_eq!(status["metrics"]["kept_clients"], 1);
    assert!(
        status["metrics"]["kept_topics"].as_i64() >= Some(1)
            && status["metrics"]["kept_partitions"].as_i64() >= Some(1)
    );
    assert!(status["store"]["disk_bytes"].as_u64().unwrap() <= status["store"]["max_bytes"].as_u64().unwrap());
    let text = gateway.cli_ok(&["status"], "");
    for expected in ["gateway", "disk", "7 in", "no uplink", &gateway.native.to_string()] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
    // Watching a gateway that ends: what it showed stays, and a reader that leaves ends it quietly.
    let mut child = start(&gateway, &["status", "--watch", "--json"]);
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 12];
    out.read_exact(&mut first).unwrap();
    assert_eq!(&first, br#"{"gateway":""#);
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    // Where there is no terminal, a line each time; rates from the second on.
    let mut child = start(&gateway, &["status", "--watch"]);
    let mut told = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    for expected in ["Z in -, out -, ", "/s, out 0.0/s, forwarded 0.0/s, 0 wait, store "] {
        let line = told.next().unwrap().unwrap();
        assert!(line.contains(expected), "{expected:?} in {line}");
    }
    drop(told);
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn local_administration_needs_no_port() {
    let mut gateway = Gateway::start("");
    let data = gateway.data_dir();
    let data = data.to_str().unwrap();
    expect_ok("produce", &run(self::gateway::brooklet().args(["produce", "t", "--data", data]), b"1\n"));
    assert_eq!(stdout(&brooklet(&["consume", "t", "--data", data])), "1\n");
    refused(&brooklet(&["status", "--data", "/nowhere/at/all"]), 1, "no gateway runs on this data directory");
    gateway.kill();
    refused(&brooklet(&["status", "--data", data]), 1, "brooklet serve");
}

#[test]
fn a_gateway_that_is_not_there_is_said_clearly() {
    let nobody = free_addr().to_string();
    for args in [&["status"][..], &["produce", "t"], &["consume", "t"], &["topic", "list"], &["uplink", "status"]] {
        let output = brooklet(&[args, &["--broker", &nobody]].concat());
        refused(&output, 1, &format!("cannot connect to {nobody}: Connection refused"));
        assert!(stderr(&output).contains("brooklet serve") && output.stdout.is_empty());
    }
    // Something else listens there.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let answers = thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 256]);
    });
    refused(&brooklet(&["status", "--broker", &address]), 1, "is it a native listener's port?");
    answers.join().unwrap();
}

#[test]
fn what_is_refused_is_counted_and_named() {
    let gateway = Gateway::start("topic.auto_create = false\n");
    gateway.cli_ok(&["topic", "create", "small", "--set", "max.message.bytes=200"], "");
    let input = format!("a\n{}\nb\n{}\n", "x".repeat(500), "y".repeat(500));
    let output = gateway.cli(&["produce", "small"], &input);
    refused(&output, 1, "2 records acknowledged (flash)");
    assert!(stderr(&output).contains("2 refused: the record is larger"), "{}", stderr(&output));
    assert_eq!(gateway.cli_ok(&["consume", "small"], ""), "a\nb\n");
    let output = gateway.cli(&["produce", "small", "-K", "="], "k=v\nno key\n");
    refused(&output, 1, "1 refused: the line has no key separator");
    refused(&gateway.cli(&["produce", "smal"], "x\n"), 1, "smal");
    refused(&gateway.cli(&["consume", "smal"], ""), 1, "did you mean small?");
    refused(&gateway.cli(&["consume", "small", "--partition", "4"], ""), 1, "partition");
    refused(&gateway.cli(&["consume", "small", "--group", ""], ""), 2, "--group");
    refused(&gateway.cli(&["consume", "small", "--format", "%x"], ""), 2, "%x is unknown");
    refused(&gateway.cli(&["produce", "small", "--acks", "all"], ""), 2, "memory, flash or upstream");
    refused(&gateway.cli(&["produce", "small", "--data", "d"], ""), 2, "two gateways");
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let gateway = Gateway::start("");
    gateway.cli_ok(&["produce", "t"], &lines(1..=100_000));
    let mut child = start(&gateway, &["consume", "t", "--group", "g"]);
    let mut first = [0; 4];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut first).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    assert_eq!(
        gateway.cli_ok(&["consume", "t", "--group", "g", "--count", "1"], ""),
        "1\n",
        "unread, so it comes again"
    );
}

#[test]
fn two_publishers_do_not_fence_each_other() {
    let gateway = Gateway::start("");
    let mut first = start(&gateway, &["produce", "t"]);
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"1\n").unwrap();
    wait_for("the first record", SOON, || (gateway.cli(&["consume", "t"], "").stdout == b"1\n").then_some(()));
    gateway.cli_ok(&["produce", "t"], "2\n");
    stdin.write_all(b"3\n").unwrap();
    drop(stdin);
    expect_ok("produce", &first.wait_with_output().unwrap());
    assert_eq!(gateway.cli_ok(&["consume", "t"], ""), lines(1..=3));

    let mut first = start(&gateway, &["produce", "t", "--client-id", "same"]);
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"4\n").unwrap();
    wait_for("the fourth record", SOON, || {
        (gateway.cli(&["consume", "t", "--from", "3"], "").stdout == b"4\n").then_some(())
    });
    gateway.cli_ok(&["produce", "t", "--client-id", "same"], "5\n");
    let output = first.wait_with_output().unwrap();
    drop(stdin);
    refused(&output, 1, "another publisher with the same client id has taken over");
}

#[test]
fn an_uplink_is_steered_and_what_it_has_not_brought_is_said() {
    let nobody = free_addr();
    let gateway = Gateway::start(&format!("[uplink.centre]\nbootstrap = [\"{nobody}\"]\ntopics = [\"t*\"]\n"));
    let output = gateway.cli(&["produce", "t1", "--acks", "upstream", "--timeout", "5s"], "1\n");
    refused(&output, 1, "nothing came upstream for 5 s");
    assert!(stderr(&output).contains("1 record acknowledged (flash)"), "{}", stderr(&output));
    let output = gateway.cli(&["produce", "other", "--acks", "upstream"], "1\n");
    refused(&output, 1, "no uplink follows topic other");

    let status: Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
    assert_eq!(status["uplinks"][0]["lag_records"], 1);
    assert_eq!(status["topics"][1]["followed_by"][0]["lag_records"], 1);
    let text = gateway.cli_ok(&["status"], "");
    assert!(text.contains("1 topic without an uplink") && text.contains("centre (1 behind)"), "{text}");
    gateway.cli_ok(&["uplink", "pause", "centre"], "");
    assert!(gateway.cli_ok(&["uplink", "status"], "").contains("paused"));
    gateway.cli_ok(&["uplink", "resume", "centre"], "");
    let uplinks: Value = serde_json::from_str(&gateway.cli_ok(&["uplink", "status", "centre", "--json"], "")).unwrap();
    assert_ne!(uplinks[0]["state"], "paused");
    let check = gateway.cli(&["uplink", "check", "--json"], "");
    assert_eq!(check.status.code(), Some(1));
    let lines: Value = serde_json::from_str(&stdout(&check)).unwrap();
    assert!(lines.as_array().unwrap().iter().any(|line| line["severity"] == "fail" && line["what"] == "connect"));
    refused(&gateway.cli(&["uplink", "pause", "center"], ""), 1, "there is centre");
}

#[test]
fn refused_records_are_listed_put_back_and_dropped() {
    let centre = Gateway::start("[topic.temp]\nmax.message.bytes = \"1KiB\"\n");
    let uplink = format!("[uplink.centre]\nbootstrap = [{:?}]\n", centre.kafka.to_string());
    let edge =
        Gateway::start(&(uplink + "delivery = \"at-least-once\"\nlinger = \"0s\"\n[clock]\ntrust = \"always\"\n"));
    centre.cli_ok(&["topic", "create", "temp"], "");
    // Text that doesn't compress.
    let long = |seed: u64| -> String {
        let mut seed = fastrand::Rng::with_seed(seed);
        (0..3_000).map(|_| seed.alphanumeric()).collect()
    };
    edge.cli_ok(&["produce", "temp"], &format!("small\n{}\n{}\nlast\n", long(1), long(2)));
    let listed = || -> Value { serde_json::from_str(&edge.cli_ok(&["dead-letter", "list", "--json"], "")).unwrap() };
    let letters = wait_for("two letters", Duration::from_secs(60), || {
        let letters = listed()["letters"].as_array().unwrap().clone();
        (letters.len() == 2).then_some(letters)
    });
    let of = |name: &str| [&letters[0][name], &letters[1][name]].map(|value| value.as_str().unwrap().to_owned());
    assert_eq!((of("cause"), of("topic")), (["too-large"; 2].map(str::to_owned), ["temp"; 2].map(str::to_owned)));
    assert!(edge.cli_ok(&["dead-letter", "list"], "").contains("max.message.bytes"));
    assert_eq!(centre.cli_ok(&["consume", "temp"], ""), "small\nlast\n");

    refused(&edge.cli(&["dead-letter", "retry"], ""), 2, "--all");
    edge.cli_ok(&["dead-letter", "drop", "1"], "");
    centre.cli_ok(&["topic", "alter", "temp", "--set", "max.message.bytes=100000"], "");
    // Until the uplink has heard of it, the record comes back as another letter.
    wait_for("the record at the centre", Duration::from_secs(60), || {
        edge.cli_ok(&["dead-letter", "retry", "--all"], "");
        (centre.cli_ok(&["consume", "temp"], "") == format!("small\nlast\n{}\n", long(1))).then_some(())
    });
    assert_eq!(listed()["letters"].as_array().unwrap().len(), 0);
}

#[test]
fn rules_of_access_are_added_listed_and_removed() {
    let gateway = Gateway::start("");
    expect_ok("produce", &gateway.cli(&["produce", "plant.a"], "1\n"));
    let add =
        ["acl", "add", "--principal", "ANONYMOUS", "--operation", "read", "--topic", "plant.", "--prefix", "--deny"];
    let said = stderr(&gateway.cli(&add, ""));
    assert!(said.contains("added: deny User:ANONYMOUS from *: Read on Topic \"plant.\" (prefix)"), "{said}");
    let listed: Value = serde_json::from_str(&gateway.cli_ok(&["acl", "list", "--json"], "")).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["allow"]), (1, &Value::Bool(false)));
    let denied = gateway.cli(&["consume", "plant.a"], "");
    assert!(!denied.status.success() && stderr(&denied).contains("User:ANONYMOUS has no right to"), "{denied:?}");
    refused(&gateway.cli(&["acl", "remove", "--principal", "nobody"], ""), 1, "there is no such rule");
    refused(&gateway.cli(&["acl", "remove"], ""), 2, "which rules?");
    expect_ok("acl remove", &gateway.cli(&["acl", "remove", "--principal", "ANONYMOUS"], ""));
    assert_eq!(gateway.cli_ok(&["consume", "plant.a"], ""), "1\n");
}

#[test]
fn a_stopped_store_is_verified_and_exported() {
    let mut gateway = Gateway::start("");
    let data = gateway.data_dir();
    let dir = data.to_str().unwrap();
    gateway.cli_ok(&["produce", "t", "-K", "="], "a=21.5\nb=a value to be found in the file\n");
    refused(&brooklet(&["fsck", dir]), 1, "a gateway runs on this directory");
    refused(&brooklet(&["export", dir, "--topic", "t"]), 1, "a gateway runs on this directory");
    gateway.kill();

    let whole = expect_ok("fsck", &brooklet(&["fsck", dir]));
    assert!(whole.contains("2 records") && whole.ends_with("nothing is wrong\n"), "{whole}");
    let json: Value = serde_json::from_str(&stdout(&brooklet(&["fsck", dir, "--json"]))).unwrap();
    assert_eq!((&json["ok"], &json["records"]), (&Value::Bool(true), &Value::from(2)));
    let format = ["--format", r"%p %o %k %v\n"];
    let export = |more: &[&str]| brooklet(&[&["export", dir, "--topic", "t"], &format[..], more].concat());
    assert_eq!(stdout(&export(&[])), "0 0 a 21.5\n0 1 b a value to be found in the file\n");
    assert_eq!(stdout(&export(&["--from", "1", "--count", "5"])), "0 1 b a value to be found in the file\n");
    refused(&export(&["--partition", "1"]), 1, "there is no 1");
    refused(&brooklet(&["export", dir, "--topic", "tt"]), 1, "there is no topic tt");
    refused(&brooklet(&["fsck", "/nowhere/at/all"]), 1, "No such file");
    refused(&brooklet(&["fsck", data.parent().unwrap().parent().unwrap().to_str().unwrap()]), 1, "no store here");
    gateway.launch();
    assert_eq!(gateway.cli_ok(&["consume", "t"], "").lines().count(), 2, "looking has changed nothing");
    gateway.stop();

    // One bit of a record.
    let mut damaged = false;
    for entry in std::fs::read_dir(data.join("store")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(17).position(|window| window == b"a value to be fou") {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged = true;
        }
    }
    assert!(damaged);
    let output = brooklet(&["fsck", dir]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains(".seg: "), "{}", stdout(&output));
    let output = export(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

/// A gateway tells the centre how it is, beside its records; what else lies in that topic harms nobody.
#[test]
fn the_fleet_is_told_of_at_the_centre() {
    let centre = Gateway::start("");
    for topic in ["brooklet.status", "t"] {
        centre.cli_ok(&["topic", "create", topic, "--partitions", "1"], "");
    }
    let uplink = format!(
        "gateway.id = \"gw-7\"\nclock.trust = \"always\"\n[uplink.up]\nbootstrap = [\"{}\"]\ndelivery = \"at-least-once\"\ntopics = [\"t\"]\n",
        centre.kafka
    );
    let gateway = Gateway::start(&uplink);
    let upstream = centre.kafka.to_string();
    let none = expect_ok("fleet", &brooklet(&["fleet", "--upstream", &upstream]));
    assert!(none.contains("no gateway has told anything yet"), "{none}");
    centre.cli_ok(&["produce", "brooklet.status", "--key-separator", "="], "a={\"v\":9}\nb=nothing\n");
    gateway.cli_ok(&["produce", "t"], "21.5\n");
    let fleet = wait_for("a notice", gateway::START, || {
        let json = expect_ok("fleet", &brooklet(&["fleet", "--upstream", &upstream, "--json"]));
        let json: Value = serde_json::from_str(&json).unwrap();
        (json["gateways"].as_array().unwrap().len() == 1).then_some(json)
    });
    let told = &fleet["gateways"][0];
    assert_eq!((told["gateway"].as_str(), told["notice"]["uplink"].as_str()), (Some("gw-7"), Some("up")));
    assert_eq!(told["notice"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((fleet["unreadable"].as_u64(), fleet["other_versions"].as_u64()), (Some(1), Some(1)));
    let config = gateway.home().join("brooklet.toml");
    let shown = brooklet(&["fleet", "--config", config.to_str().unwrap()]);
    assert!(stderr(&shown).contains("1 × unreadable record, 1 × record of another version"), "{}", stderr(&shown));
    let shown = expect_ok("fleet", &shown);
    assert!(shown.lines().count() == 2 && shown.contains("gw-7"), "{shown}");
    refused(&brooklet(&["fleet", "--upstream", &upstream, "--topic", "elsewhere"]), 1, "elsewhere");
    refused(&brooklet(&["fleet", "--upstream", "127.0.0.1:1"]), 1, "127.0.0.1:1");
    refused(&brooklet(&["fleet", "--uplink", "x", "--tls-ca", "y"]), 2, "--tls-ca");
}
