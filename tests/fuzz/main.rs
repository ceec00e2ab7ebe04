//! Bytes from strangers, in numbers: every decoder, from seeds.
//!
//! In the suite each target runs a few hundred or thousand cases of one seed, always the same. `scripts/fuzz.sh` goes on for as long as it
//! is told, with any seed. A finding becomes a test of its own, or a file in `corpus/TARGET`, which is tried before all else.
#![cfg(all(feature = "gateway", debug_assertions))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests"
)]

mod allocations;
mod batches;
mod certificates;
mod config;
mod disk;
#[path = "../uplink_fake/fake/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "a part of it is used here")]
mod fake;
mod frames;
#[path = "../kafka_oracle/generate.rs"]
mod generate;
mod harness;
mod http;
mod kafka;
mod live;
mod mqtt;
mod mutate;
mod records;
mod rows;
mod sasl;
#[path = "../kafka_oracle/subjects.rs"]
mod subjects;
mod uplink;
mod world;

use std::env;
use std::path::Path;
use std::time::Duration;

use harness::{Bound, Outcome, Target};

/// The seed of the suite.
const SEED: u64 = 1;

fn targets() -> Vec<Target> {
    let mut all = Vec::new();
    all.extend(frames::targets());
    all.extend(kafka::targets());
    all.extend(sasl::targets());
    all.extend(http::targets());
    all.extend(mqtt::targets());
    all.extend(records::targets());
    all.extend(config::targets());
    all.extend(certificates::targets());
    all.extend(rows::targets());
    all.extend(uplink::targets());
    all.extend(disk::targets());
    all.extend(live::targets());
    all
}

/// What lies in `tests/fuzz/corpus/NAME`, by name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn print(outcomes: &[Outcome]) {
    println!(
        "{:<18} {:>12} {:>9} {:>10} {:>12} {:>8}",
        "target", "executions", "a second", "slowest", "most held", "crashes"
    );
    for it in outcomes {
        let rate = it.executions as f64 / it.took.as_secs_f64().max(0.001);
        let slowest = format!("{:.1} ms", it.slowest.as_secs_f64() * 1e3);
        let held = format!("{:.1} KiB", it.peak as f64 / 1024.0);
        let failures = it.failures.len();
        println!("{:<18} {:>12} {rate:>9.0} {slowest:>10} {held:>12} {failures:>8}", it.name, it.executions);
    }
}

fn judge(outcomes: &[Outcome]) {
    let failures: Vec<&str> = outcomes.iter().flat_map(|outcome| &outcome.failures).map(String::as_str).collect();
    // Printed: what panics say is kept by the harness from the first case on.
    failures.iter().for_each(|failure| println!("{failure}"));
    assert!(failures.is_empty(), "{} failures", failures.len());
}

#[test]
fn every_decoder_survives_a_few() {
    let targets = targets();
    for target in &targets {
        let [one, again] = [target.input(7, 1_000), target.input(7, 1_000)];
        assert_eq!(one, again, "{}: a case is the same again", target.name);
    }
    let outcomes: Vec<_> =
        targets.iter().map(|target| harness::run(target, SEED, Bound::Cases(target.quick))).collect();
    print(&outcomes);
    judge(&outcomes);
}

#[test]
#[ignore = "run by scripts/fuzz.sh, which says for how long"]
fn for_as_long_as_told() {
    let told = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(case) = told("BROOKLET_FUZZ_REPLAY") {
        return replay(&case);
    }
    let seed = told("BROOKLET_FUZZ_SEED").map_or(SEED, |seed| seed.parse().expect("a seed is a number"));
    let chosen = told("BROOKLET_FUZZ_TARGET").unwrap_or_default();
    let all: Vec<_> = targets().into_iter().filter(|target| target.name.starts_with(&chosen)).collect();
    assert!(!all.is_empty(), "no target begins with {chosen:?}");
    let seconds: f64 = told("BROOKLET_FUZZ_SECONDS").expect("for how long").parse().expect("seconds");
    let each = Bound::Time(Duration::from_secs_f64(seconds / all.len() as f64));
    let outcomes: Vec<_> = all.iter().map(|target| harness::run(target, seed, each)).collect();
    print(&outcomes);
    judge(&outcomes);
}

/// Tries one case again: `TARGET:SEED:INDEX`, or `TARGET:FILE` with an input.
fn replay(case: &str) {
    let parts: Vec<&str> = case.split(':').collect();
    let all = targets();
    let target = all.iter().find(|target| target.name == parts[0]).expect("no such target");
    let input = match parts[..] {
        [_, seed, index] => target.input(seed.parse().unwrap(), index.trim().parse().unwrap()),
        [_, file] => std::fs::read(file).unwrap(),
        _ => panic!("TARGET:SEED:INDEX or TARGET:FILE"),
    };
    println!("{} bytes: {input:02x?}", input.len());
    let (verdict, peak) = harness::tried(target, &input);
    println!("most held: {peak} bytes");
    match &verdict {
        Ok(()) => println!("it passes"),
        Err(why) => println!("it fails: {why}"),
    }
    assert!(verdict.is_ok());
}
