//! `brooklet bench scale`: what commits, memory, a start after a crash, lookups and a drain cost in a store with much in
//! it, where nothing may grow with what is stored.
//!
//! The crash: the newest files are copied as they are while the store is idle, and put back after it was closed. All
//! files leave the kernel's memory before the store is opened again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::latencies::Latencies;
use super::store::{BenchStore, Case, case};
use super::{ScaleArgs, StateSize};
use crate::cli::error::CliError;
use crate::cli::scratch::ScratchDir;
use crate::cli::signals;
use crate::cli::table::Table;
use crate::cli::term::{Progress, human_bytes, human_duration, print};
use crate::gateway::status::ProcessFigures;
use crate::json::JsonObject;
use crate::shutdown::Shutdown;
use crate::store::clock::RealClock;
use crate::store::disk::{Disk, OpenMode, RealDisk};
use crate::store::{PartitionId, Store, StoreOptions};

/// Batches a commit, and their size.
const BATCHES: usize = 64;
const BATCH_BYTES: usize = 1_000;
/// What is measured at the beginning and at the end of filling the store.
const SAMPLE_BYTES: u64 = 32 << 20;
/// Room beside what is stored.
const SPARE_BYTES: u64 = 32 << 20;
/// Old offsets looked up.
const LOOKUPS: usize = 500;
/// Bytes of batches that a drain takes at a time.
const DRAIN_BYTES: usize = 1 << 20;
/// How long the store rests before it crashes, so that maintenance is done.
const REST: Duration = Duration::from_secs(2);

/// Commits within a stretch of filling.
#[derive(Debug, Default)]
struct Stretch {
    commits: Latencies,
    written: u64,
    payload: u64,
}

#[derive(Debug, Default)]
struct Outcome {
    first: Stretch,
    last: Stretch,
    rss_filled: u64,
    /// Segments when it crashed.
    segments: usize,
    open_time: Duration,
    open_read: u64,
    rss_opened: u64,
    lookups: Latencies,
    drained: u64,
    drain_read: u64,
    drain_time: Duration,
}

/// Runs `bench scale`.
///
/// # Errors
/// [`CliError::Failed`] when the directory can't be written, the store stops, or a signal ends it.
pub(super) fn run(args: &ScaleArgs) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let scratch = ScratchDir::new(&parent, "brooklet-bench")?;
    let outcome = measure(args, scratch.path(), &stop)?;
    if args.json { print(&format!("{}\n", as_json(args, &outcome))) } else { print(&as_table(args, &outcome)) }
}

fn measure(args: &ScaleArgs, dir: &Path, stop: &Shutdown) -> Result<Outcome, CliError> {
    let mut outcome = Outcome::default();
    let disk = RealDisk::new();
    // Nothing is evicted, also where segments are a large part of it.
    let max_bytes = args.bytes + args.bytes / 3 + SPARE_BYTES;
    let case = case(BATCHES.min(args.partitions), args.partitions, BATCH_BYTES);
    let mut bench = BenchStore::open(&case, &disk, dir, StateSize::Small, max_bytes)?;
    fill(&mut bench, &case, args.bytes, &disk, &mut outcome, stop)?;
    std::thread::sleep(REST);
    outcome.rss_filled = ProcessFigures::now().resident_bytes;
    outcome.segments = bench.store.status().segments;
    let store_dir = dir.join("store");
    crash(bench, &store_dir, dir, &disk).map_err(|error| CliError::failed(dir.display(), error))?;

    let options = StoreOptions { max_bytes: Some(max_bytes), ..StoreOptions::new(&store_dir) };
    let begun = Instant::now();
    let opened = Store::open(options, Arc::new(disk.clone()), Arc::new(RealClock::default()));
    let (store, engine) = opened.map_err(|error| CliError::failed(dir.display(), error))?;
    outcome.open_time = begun.elapsed();
    outcome.open_read = store.status().opening.bytes_read;
    outcome.rss_opened = ProcessFigures::now().resident_bytes;
    look_up(&store, &mut outcome.lookups)?;
    drain(&store, &disk, &mut outcome, stop)?;
    engine.close().map_err(|error| CliError::failed(dir.display(), error))?;
    Ok(outcome)
}

fn fill(
    bench: &mut BenchStore,
    case: &Case,
    bytes: u64,
    disk: &RealDisk,
    outcome: &mut Outcome,
    stop: &Shutdown,
) -> Result<(), CliError> {
    let mut progress = Progress::new("filling", Some(bytes));
    let mut stored = 0;
    while stored < bytes {
        if stop.has_begun() {
            return Err(CliError::Failed("interrupted".to_owned()));
        }
        let (begun, written) = (Instant::now(), disk.counters().bytes_written);
        bench.commit(case)?;
        let payload = case.payload() as u64;
        let sample = SAMPLE_BYTES.min(bytes / 2);
        let stretch = match stored {
            stored if stored < sample => Some(&mut outcome.first),
            stored if stored + sample >= bytes => Some(&mut outcome.last),
            _ => None,
        };
        if let Some(stretch) = stretch {
            stretch.commits.record(begun.elapsed());
            stretch.written += disk.counters().bytes_written - written;
            stretch.payload += payload;
        }
        stored += payload;
        progress.advance(payload);
    }
    progress.finish();
    Ok(())
}

/// Stops the store so that its files are as a crash would leave them, and out of the kernel's memory.
fn crash(bench: BenchStore, store: &Path, aside: &Path, disk: &RealDisk) -> std::io::Result<()> {
    let mut names: Vec<String> =
        disk.list(store)?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
    names.sort();
    // The spare, the active segment, the one before; the state that is not in a segment.
    let newest = names.iter().filter(|name| name.ends_with(".seg")).rev().take(3);
    let copied: Vec<&String> = newest.chain(names.iter().filter(|name| name.ends_with(".redb"))).collect();
    for name in &copied {
        fs::copy(store.join(name), aside.join(name))?;
    }
    bench.close();
    for name in &copied {
        fs::rename(aside.join(name), store.join(name))?;
    }
    for entry in disk.list(store)? {
        let file = disk.open(&store.join(entry.name), OpenMode::ReadWrite)?;
        file.sync_data()?;
        file.drop_cache()?;
    }
    Ok(())
}

/// Reads single batches at random old offsets.
fn look_up(store: &Store, lookups: &mut Latencies) -> Result<(), CliError> {
    let partitions = store.partitions();
    for _ in 0..LOOKUPS {
        let Some(&partition) = partitions.get(fastrand::usize(..partitions.len().max(1))) else { break };
        let Some(head) = store.head(partition).filter(|head| head.log_start < head.high_watermark) else { continue };
        let offset = fastrand::i64(head.log_start..head.high_watermark);
        let begun = Instant::now();
        store.read(partition, offset, 1).map_err(|error| CliError::failed("the store", error))?;
        lookups.record(begun.elapsed());
    }
    Ok(())
}

fn drain(store: &Store, disk: &RealDisk, outcome: &mut Outcome, stop: &Shutdown) -> Result<(), CliError> {
    let all = |_: PartitionId| true;
    let (begun, read) = (Instant::now(), disk.counters().bytes_read);
    let mut from = 1;
    loop {
        let chunk = store.scan(from, &all, DRAIN_BYTES).map_err(|error| CliError::failed("the store", error))?;
        outcome.drained += chunk.batches.iter().map(|batch| batch.bytes.len() as u64).sum::<u64>();
        if chunk.at_end || stop.has_begun() {
            break;
        }
        from = chunk.next;
    }
    outcome.drain_time = begun.elapsed();
    outcome.drain_read = disk.counters().bytes_read - read;
    Ok(())
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / (whole as f64).max(1.0)
}

fn as_table(args: &ScaleArgs, outcome: &Outcome) -> String {
    let mut table = Table::new(&["WHAT", ">MEASURED"]);
    for (name, stretch) in [("first", &outcome.first), ("last", &outcome.last)] {
        let (p50, p99) = (stretch.commits.percentile(50.0), stretch.commits.percentile(99.0));
        let written = ratio(stretch.written, stretch.payload);
        let figures = format!("p50 {}, p99 {}, {written:.2} B written/B", human_duration(p50), human_duration(p99));
        table.row([format!("commits, {name} {}", human_bytes(stretch.payload)), figures]);
    }
    table.row(["segments".to_owned(), outcome.segments.to_string()]);
    table.row(["memory when filled".to_owned(), human_bytes(outcome.rss_filled)]);
    let opened = format!("{}, {} read", human_duration(outcome.open_time), human_bytes(outcome.open_read));
    table.row(["open after a crash".to_owned(), opened]);
    table.row(["memory after that".to_owned(), human_bytes(outcome.rss_opened)]);
    let (p50, p99) = (outcome.lookups.percentile(50.0), outcome.lookups.percentile(99.0));
    table.row(["reads at old offsets".to_owned(), format!("p50 {}, p99 {}", human_duration(p50), human_duration(p99))]);
    let drained = format!(
        "{} in {}, {:.3} B read/B",
        human_bytes(outcome.drained),
        human_duration(outcome.drain_time),
        ratio(outcome.drain_read, outcome.drained)
    );
    table.row(["drain in commit order".to_owned(), drained]);
    format!("{} in {} partitions\n\n{}", human_bytes(args.bytes), args.partitions, table.render())
}

fn as_json(args: &ScaleArgs, outcome: &Outcome) -> String {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut object = JsonObject::new();
    object.number("partitions", args.partitions as u64).number("bytes", args.bytes);
    for (p50, p99, written, stretch) in [
        ("first_p50_us", "first_p99_us", "first_written_per_byte", &outcome.first),
        ("last_p50_us", "last_p99_us", "last_written_per_byte", &outcome.last),
    ] {
        object.number(p50, micros(stretch.commits.percentile(50.0)));
        object.number(p99, micros(stretch.commits.percentile(99.0)));
        object.fraction(written, ratio(stretch.written, stretch.payload));
    }
    object.number("segments", outcome.segments as u64).number("rss_filled", outcome.rss_filled);
    object.number("open_us", micros(outcome.open_time)).number("open_bytes_read", outcome.open_read);
    object.number("rss_opened", outcome.rss_opened);
    object.number("lookup_p50_us", micros(outcome.lookups.percentile(50.0)));
    object.number("lookup_p99_us", micros(outcome.lookups.percentile(99.0)));
    object.number("drained_bytes", outcome.drained).number("drain_us", micros(outcome.drain_time));
    object.fraction("drain_read_per_byte", ratio(outcome.drain_read, outcome.drained));
    object.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_store_is_filled_crashed_opened_and_drained() {
        let dir = tempfile::tempdir().unwrap();
        let args = ScaleArgs { dir: None, partitions: 100, bytes: 16 << 20, json: true };
        let outcome = measure(&args, dir.path(), &Shutdown::default()).unwrap();
        assert!(outcome.drained >= 16 << 20 && outcome.drain_read > 0, "{} drained", outcome.drained);
        assert!(outcome.open_read > 0 && outcome.open_read < 8 << 20, "{} read", outcome.open_read);
        assert_eq!(outcome.lookups.count(), LOOKUPS as u64);
        assert!(outcome.rss_filled > 1 << 20 && outcome.segments > 3, "{} segments", outcome.segments);
        assert!(as_table(&args, &outcome).starts_with("16.0 MiB in 100 partitions"));
        assert!(as_json(&args, &outcome).starts_with("{\"partitions\":100,"));
    }
}
