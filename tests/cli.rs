//! The binary's outside: exit codes, what goes to which stream, and `brooklet check` whole.
#![cfg(feature = "gateway")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

use std::{
    fs,
    process::{Command, Output, Stdio},
};

fn brooklet(args: &[&str]) -> Output {
    with_env(args, &[])
}

fn with_env(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brooklet"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BROOKLET_")) {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A file that is gone when the value is dropped.
fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn help_and_version_go_to_standard_output() {
    for args in [
        &["--help"][..],
        &["-h"],
        &["help", "serve"],
        &["topic", "create", "--help"],
        &["help", "topic"],
        &["user", "-h"],
    ] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(stdout(&output).contains("Usage: brooklet"), "{args:?}");
        assert!(output.stderr.is_empty());
    }
    assert_eq!(stdout(&brooklet(&["--version"])), format!("brooklet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn usage_errors_exit_2_and_go_to_standard_error() {
    for (args, said) in [
        (&[][..], "a command is missing"),
        (&["srve"], "did you mean serve?"),
        (&["topic"], "create, list, describe, alter, delete"),
        (&["topic", "crate"], "unknown: topic crate"),
        (&["help", "nothing-like-it"], "unknown command"),
        (&["serve", "--natve", "127.0.0.1:1"], "did you mean --native?"),
        (&["produce"], "missing argument TOPIC"),
        (&["consume", "t", "--from", "yesterday"], "beginning, end, an offset"),
        (&["topic", "alter", "t"], "nothing to change"),
    ] {
        let output = brooklet(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(stderr(&output).contains(said), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("Try `brooklet"), "{args:?}");
    }
}

#[test]
fn check_prints_what_holds_and_where_it_came_from() {
    let config = file("\nstore.max_bytes = \"64MiB\"\n[uplink.centre]\nbootstrap = [\"kafka.example:9092\"]\n");
    let path = config.path().to_str().unwrap();
    let output = with_env(&["check", path], &[("BROOKLET_LOG__LEVEL", "debug"), ("BROOKLET_PORT", "tcp://10.0.0.1:1")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}: {text}"));
    assert!(line("store.max_bytes = \"64MiB\"").ends_with(&format!("# {path}:2")));
    assert!(line("log.level = \"debug\"").ends_with("# environment BROOKLET_LOG__LEVEL"));
    assert!(line("topic.partitions = 1").ends_with("# default"));
    assert!(line("uplink.centre.bootstrap = [\"kafka.example:9092\"]").ends_with(":4"));
    assert!(stderr(&output).contains("BROOKLET_PORT"));

    let json = stdout(&with_env(&["check", path, "--json"], &[("BROOKLET_LOG__LEVEL", "debug")]));
    assert!(json.starts_with("{\"ok\":true,\"keys\":{"), "{json}");
    assert!(json.contains("\"log.level\":{\"value\":\"debug\",\"from\":\"environment\""), "{json}");
    assert!(json.contains("\"topic.partitions\":{\"value\":1,\"from\":\"default\""), "{json}");
}

#[test]
fn what_check_prints_is_a_configuration() {
    let first = brooklet(&["check", file("topic.partitions = 7").path().to_str().unwrap()]);
    let again = brooklet(&["check", file(&stdout(&first)).path().to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    let values = |output: &Output| {
        stdout(output).lines().map(|line| line.split("  #").next().unwrap().trim_end().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&again));
}

#[test]
fn check_is_strict_and_tells_all_errors() {
    let config = file("store.max_byte = 1\nlog.level = \"loud\"\n[listen.serial]\naddr = \"x\"\n");
    let path = config.path().to_str().unwrap();
    let output = brooklet(&["check", path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let said = stderr(&output);
    assert!(said.contains(&format!("{path}:1: store.max_byte: unknown key; did you mean store.max_bytes?")), "{said}");
    assert!(said.contains(&format!("{path}:2: log.level = \"loud\": must be \"off\" or \"error\"")), "{said}");
    assert!(said.contains(&format!("{path}:4: listen.serial.addr: the serial listener is not available")), "{said}");

    let json = stdout(&brooklet(&["check", path, "--json"]));
    assert!(json.starts_with("{\"ok\":false,\"errors\":["), "{json}");
    assert_eq!(brooklet(&["check", "/nowhere/at/all.toml"]).status.code(), Some(2));
}

#[test]
fn the_reference_is_a_configuration_in_which_nothing_is_set() {
    let reference = stdout(&brooklet(&["check", "--reference"]));
    assert!(reference.contains("\n#store.max_bytes = \"auto\"\n"), "{reference}");
    let output = brooklet(&["check", file(&reference).path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // Behind the keys it says who may do what.
    let printed = stdout(&output);
    let mut keys = printed.lines().take_while(|line| !line.is_empty());
    assert!(keys.all(|line| line.ends_with("# default")));
    assert!(
        printed.contains("# listen.kafka: whoever connects is User:ANONYMOUS; they may do everything"),
        "{printed}"
    );
}

#[test]
fn serve_refuses_a_bad_configuration_with_exit_code_2() {
    let config = file("topic.partitions = 0");
    let data = tempfile::tempdir().unwrap();
    let (config, data) = (config.path().to_str().unwrap(), data.path().to_str().unwrap());
    let output = brooklet(&["serve", "--config", config, "--data", data, "--strict"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("topic.partitions = 0: must be a number from 1 to"));
    let flag = brooklet(&["serve", "--data", data, "--native", "nowhere"]);
    assert_eq!(flag.status.code(), Some(2));
    assert!(stderr(&flag).contains("--native: listen.native.addr = \"nowhere\": must be an address"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_brooklet"))
        .args(["check", "--reference"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
