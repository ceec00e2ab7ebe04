//! Every file of board-configs/ loads, starts a gateway that takes records, and says why each of its values is what it is.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::{fs, path::PathBuf};

use brooklet::config::{Origin, load_file};
use common::gateway::Gateway;

fn files() -> Vec<PathBuf> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/board-configs");
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_board_config_loads() {
    let files = files();
    assert_eq!(files.len(), 9);
    for file in files {
        let loaded = load_file(&file).unwrap_or_else(|errors| panic!("{errors}"));
        let set = loaded.effective.iter().filter(|effective| effective.origin != Origin::Default).count();
        assert!(set >= 4, "{}: sets {set} keys only", file.display());
        assert!(loaded.config.listen.native.addr.ip().is_loopback(), "{}: open to the network", file.display());
    }
}

/// As it stands, but for the addresses and the data directory: those of the test.
#[test]
fn every_board_config_starts_and_takes_records() {
    for file in files() {
        let mut gateway = Gateway::start(&fs::read_to_string(&file).unwrap());
        gateway.cli_ok(&["produce", "readings"], "21.5\n");
        assert_eq!(gateway.cli_ok(&["consume", "readings"], ""), "21.5\n", "{}", file.display());
        gateway.stop();
    }
}

/// What is commented out to be filled in must be right too: key names change, comments don't complain.
#[test]
fn what_they_suggest_loads_too() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        // Sections go last, since what follows one belongs to it.
        let suggestions: Vec<&str> = text.lines().filter_map(suggestion).collect();
        let (sections, keys) = split_at_section(&suggestions);
        let rest: Vec<&str> = text.lines().filter(|line| suggestion(line).is_none()).collect();
        let own: Vec<&str> = rest.into_iter().filter(|line| !repeats(line, &keys)).collect();
        let whole = [own, keys, sections].concat().join("\n");
        let copy = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        fs::write(copy.path(), whole).unwrap();
        load_file(copy.path()).unwrap_or_else(|errors| panic!("{}: {errors}", file.display()));
    }
}

#[test]
fn every_value_has_its_reason() {
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        // A paragraph of values begins with a comment.
        for paragraph in text.split("\n\n") {
            assert!(paragraph.trim_start().starts_with("# "), "{}: {paragraph}", file.display());
        }
    }
}

/// `#key = value` or `#[section]`; prose has a space after the `#`.
fn suggestion(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_alphabetic()))
}

/// The lines from a section's heading to the next line that is a dotted key of the file itself, and all others.
fn split_at_section<'a>(lines: &[&'a str]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut inside = false;
    lines.iter().copied().partition(|line| {
        inside = line.starts_with('[') || (inside && !line.starts_with("listen."));
        inside
    })
}

fn repeats(line: &str, keys: &[&str]) -> bool {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    line.contains('=') && keys.iter().any(|other| key(other) == key(line))
}
