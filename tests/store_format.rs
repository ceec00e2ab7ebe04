//! A store of format 2 as it was written once, kept as a file: every later version must open it, and find what is in it.
//!
//! `tests/fixtures/store-format-2.gz` holds the files of a store directory, each behind a line `NAME LENGTH`. It was made by
//! `cargo test --test store_format -- --ignored make`, which writes it anew only where there is none: it is never to be replaced. A new
//! format gets a file of its own.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use common::gateway::{Gateway, brooklet, expect_ok, run};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

const CONFIG: &str = "gateway.id = \"fixture\"\nstore.max_bytes = \"16MiB\"\nstore.segment_bytes = \"1MiB\"\n";
/// What may be kept in the repository.
const FIXTURE_BYTES_MAX: u64 = 100_000;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-format-2.gz")
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("reading {number}\n")).collect()
}

#[test]
#[ignore = "makes the fixture, once for each format"]
fn make() {
    let mut gateway = Gateway::start(CONFIG);
    gateway.cli_ok(&["produce", "plain"], &lines(0..40));
    gateway.cli_ok(&["topic", "create", "wide", "--partitions", "3"], "");
    gateway.cli_ok(&["produce", "wide"], &lines(0..30));
    gateway.cli_ok(&["consume", "plain", "--group", "readers", "--count", "25"], "");
    gateway.cli_ok(&["produce", "gone"], &lines(0..7));
    gateway.cli_ok(&["topic", "delete", "gone"], "");
    gateway.stop();
    gateway.launch();
    gateway.cli_ok(&["produce", "plain"], &lines(40..50));
    gateway.stop();
    let mut out = GzEncoder::new(File::create_new(fixture()).unwrap(), Compression::best());
    for entry in fs::read_dir(gateway.data_dir().join("store")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        writeln!(out, "{} {}", path.file_name().unwrap().to_str().unwrap(), bytes.len()).unwrap();
        out.write_all(&bytes).unwrap();
    }
    out.finish().unwrap();
}

fn unpack(into: &Path) {
    let mut files = BufReader::new(GzDecoder::new(File::open(fixture()).unwrap()));
    let mut line = String::new();
    while files.read_line(&mut line).unwrap() > 0 {
        let (name, bytes) = line.trim_end().split_once(' ').unwrap();
        let mut content = vec![0; bytes.parse().unwrap()];
        files.read_exact(&mut content).unwrap();
        fs::write(into.join(name), content).unwrap();
        line.clear();
    }
}

#[test]
fn a_store_of_format_2_is_opened_with_all_that_is_in_it() {
    assert!(fs::metadata(fixture()).unwrap().len() < FIXTURE_BYTES_MAX);
    let mut gateway = Gateway::start(CONFIG);
    gateway.stop();
    let store = gateway.data_dir().join("store");
    fs::remove_dir_all(&store).unwrap();
    fs::create_dir(&store).unwrap();
    unpack(&store);
    // Verified as it is, then run: that writes to it.
    let fsck = expect_ok("fsck", &run(brooklet().arg("fsck").arg(&store), b""));
    assert!(fsck.contains("nothing is wrong"), "{fsck}");
    gateway.launch();
    assert_eq!(gateway.cli_ok(&["consume", "plain"], ""), lines(0..50));
    assert_eq!(gateway.cli_ok(&["consume", "wide"], "").lines().count(), 30);
    assert_eq!(gateway.cli_ok(&["consume", "plain", "--group", "readers", "--count", "25"], ""), lines(25..50));
    let status: Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
    assert_eq!((&status["gateway"], &status["deleted_topics"][0]["name"]), (&"fixture".into(), &"gone".into()));
    let ends: Vec<&str> =
        status["starts"].as_array().unwrap().iter().map(|one| one["before"].as_str().unwrap()).collect();
    assert_eq!(ends, ["clean", "clean", "none"]);
    gateway.cli_ok(&["produce", "plain"], &lines(50..60));
    // What is appended is written as before, until that is to end.
    let said = gateway.cli_ok(&["store", "format"], "");
    assert!(said.starts_with("format 2; ") && said.contains("14 more days"), "{said}");
    gateway.stop();
    let format = |what: &str| expect_ok(what, &run(brooklet().args(["store", what]).arg(&store), b""));
    assert_eq!(format("format"), said);
    gateway.launch();
    assert_eq!(gateway.cli_ok(&["consume", "plain"], ""), lines(0..60));
    assert!(gateway.cli_ok(&["status"], "").contains(&format!("\nwritten in   {said}")), "{said}");
    let said = gateway.cli_ok(&["store", "finalize"], "");
    assert!(said.starts_with("format 2, 3 from the next segment on; "), "{said}");
    let status: Value = serde_json::from_str(&gateway.cli_ok(&["status", "--json"], "")).unwrap();
    assert_eq!((&status["store"]["format"]["written"], &status["store"]["format"]["next"]), (&2.into(), &3.into()));
    gateway.stop();
    assert_eq!(format("format"), said);
    assert_eq!(format("finalize"), said);
}
