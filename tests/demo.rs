//! `brooklet demo` as a user runs it, only shorter.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

fn demo(scratch: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brooklet"));
    command.arg("demo").args(args).env("TMPDIR", scratch).stdin(Stdio::null());
    command
}

/// A figure of the ledger's line.
fn figure(line: &str, name: &str) -> u64 {
    let word = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    word.unwrap_or_else(|| panic!("no {name} in {line}")).parse().unwrap()
}

#[test]
fn a_cut_link_and_a_killed_gateway_lose_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let output = demo(scratch.path(), &["--duration", "8s", "--devices", "3", "--rate", "20"]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));

    let ledger = said.lines().find(|line| line.starts_with("accepted=")).unwrap_or_else(|| panic!("no ledger: {said}"));
    let accepted = figure(ledger, "accepted");
    // Three devices, 20 a second, 8 s; a busy machine may come to less.
    assert!((100..=483).contains(&accepted), "{ledger}");
    assert_eq!(figure(ledger, "delivered"), accepted, "{ledger}");
    assert_eq!((figure(ledger, "pending"), figure(ledger, "lost")), (0, 0), "{ledger}");
    assert_eq!(figure(ledger, "duplicates"), 0, "{ledger}");
    for phase in
        ["is CUT", "is KILLED", "is up again", "is RESTORED", "read back", "Nothing acknowledged was lost or repeated"]
    {
        assert!(said.contains(phase), "{phase}: {said}");
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_signal_ends_it_with_all_that_it_started() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child =
        demo(scratch.path(), &["--devices", "1"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.by_ref().map(Result::unwrap).find(|line| line.contains("send")).expect("the devices begin");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    // The children hold no end of the pipe: this ends with the demo itself.
    let _rest = lines.count();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}
