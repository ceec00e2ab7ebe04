//! `brooklet bench store`: the store against raw append + fdatasync, alternating in one run, so that both see the same
//! disk in the same mood.
//!
//! A commit is one operation of a [`side`]; the next begins when it is durable. The raw side appends the same number of
//! bytes to one file and syncs it. Bytes written are counted where they leave the store, before the filesystem adds its
//! own. With a flush time, both sides wait that much in each sync: what a card takes, where this machine's disk takes
//! next to nothing.

mod side;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::latencies::Latencies;
use super::{StateSize, StoreArgs};
use crate::cli::error::CliError;
use crate::cli::scratch::ScratchDir;
use crate::cli::signals;
use crate::cli::table::Table;
use crate::cli::term::{Progress, human_count, human_duration, print};
use crate::json::{self, JsonObject};
use crate::shutdown::Shutdown;
use crate::store::disk::{Disk, RealDisk};
pub(super) use side::BenchStore;

/// The raw file starts anew at this length.
const RAW_BYTES_MAX: u64 = 256 << 20;
/// How long each side runs before the other has its turn.
const TURN: Duration = Duration::from_millis(250);
/// Bound of the store: with it segments roll and are evicted within a case, as they do in the field.
const STORE_BYTES: u64 = 256 << 20;
/// Commits before anything is counted.
const WARM_UP: u32 = 20;

/// What is committed at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// Batches a commit, each to another partition.
    batches: usize,
    /// Of how many partitions, taken in turn.
    partitions: usize,
    /// Size of a batch, bytes.
    batch_bytes: usize,
}

const CASES: [Case; 5] =
    [case(1, 1, 100), case(16, 16, 1_000), case(16, 16, 4_000), case(4, 4, 65_400), case(64, 1_000, 1_000)];

/// Sizes of the sweep; those at powers of two are where pages are wasted if blobs aren't cut to fit.
const SWEEP: [usize; 12] = [100, 500, 1_000, 2_000, 4_000, 4_096, 8_192, 16_384, 32_768, 65_536, 262_144, 1_048_576];
/// Payload of a commit in the sweep: large, so that the fixed part of a commit counts for little.
const SWEEP_COMMIT_BYTES: usize = 1 << 20;

pub(super) const fn case(batches: usize, partitions: usize, batch_bytes: usize) -> Case {
    Case { batches, partitions, batch_bytes }
}

impl Case {
    /// Many batches of this size a commit.
    fn sweep(batch_bytes: usize) -> Case {
        let batches = (SWEEP_COMMIT_BYTES / batch_bytes).clamp(1, 256);
        case(batches, batches, batch_bytes)
    }

    pub(super) fn payload(&self) -> usize {
        self.batches * self.batch_bytes
    }

    fn name(&self) -> String {
        let Case { batches, partitions, batch_bytes } = self;
        let of = if partitions > batches { format!(" of {}", human_count(*partitions as u64)) } else { String::new() };
        format!("{batches}{of} × {} B", human_count(*batch_bytes as u64))
    }
}

/// What came out of a case.
#[derive(Clone, Debug, Default)]
struct Outcome {
    commits: Latencies,
    commit_time: Duration,
    raw: Latencies,
    raw_time: Duration,
    bytes_written: u64,
    payload_bytes: u64,
}

impl Outcome {
    fn commit_rate(&self) -> f64 {
        self.commits.count() as f64 / self.commit_time.as_secs_f64().max(1e-9)
    }

    fn raw_rate(&self) -> f64 {
        self.raw.count() as f64 / self.raw_time.as_secs_f64().max(1e-9)
    }

    fn ratio(&self) -> f64 {
        self.commit_rate() / self.raw_rate().max(1e-9)
    }

    /// Bytes written for each byte of payload.
    fn amplification(&self) -> f64 {
        self.bytes_written as f64 / (self.payload_bytes as f64).max(1.0)
    }

    /// Bytes beyond the payload, a commit.
    fn overhead(&self) -> f64 {
        (self.bytes_written as f64 - self.payload_bytes as f64) / (self.commits.count() as f64).max(1.0)
    }
}

/// Runs `bench store`.
///
/// # Errors
/// [`CliError::Failed`] when the directory can't be written, the store stops, or a signal ends it.
pub(super) fn run(args: &StoreArgs) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let scratch = ScratchDir::new(&parent, "brooklet-bench")?;
    let sweep = args.sweep.then_some(SWEEP).into_iter().flatten().map(Case::sweep);
    let cases: Vec<Case> = CASES.into_iter().chain(sweep).collect();
    let mut progress = Progress::new("measuring", Some(cases.len() as u64));
    let mut outcomes = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let dir = scratch.path().join(number.to_string());
        let setting = Setting { state: args.state, flush: args.flush, time: Duration::from_secs(args.seconds) };
        outcomes.push((*case, measure(case, &dir, &setting, &stop)?));
        std::fs::remove_dir_all(&dir).map_err(|error| CliError::failed(dir.display(), error))?;
        progress.advance(1);
    }
    progress.finish();
    if args.json { print(&format!("{}\n", as_json(&outcomes))) } else { print(&as_table(&outcomes)) }
}

/// What is the same for all cases of a run.
#[derive(Clone, Copy, Debug)]
struct Setting {
    state: StateSize,
    /// What each sync takes beyond what it takes.
    flush: Duration,
    /// For each case, both sides together.
    time: Duration,
}

/// One case: store and raw in turns, until each has had half of the time.
fn measure(case: &Case, dir: &Path, setting: &Setting, stop: &Shutdown) -> Result<Outcome, CliError> {
    let (disk, time) = (RealDisk::with_flush(setting.flush), setting.time);
    disk.create_dir_all(dir).map_err(|error| CliError::failed(dir.display(), error))?;
    let mut store = BenchStore::open(case, &disk, dir, setting.state, STORE_BYTES)?;
    let raw = Raw::create(&dir.join("raw"), setting.flush);
    let mut raw = raw.map_err(|error| CliError::failed(dir.display(), error))?;
    let mut outcome = Outcome::default();
    for _ in 0..WARM_UP {
        store.commit(case)?;
    }
    let block = store.batch().repeat(case.batches);
    while outcome.commit_time + outcome.raw_time < time {
        if stop.has_begun() {
            return Err(CliError::Failed("interrupted".to_owned()));
        }
        let before = disk.counters().bytes_written;
        let committed = outcome.commits.count();
        outcome.commit_time += turn(time, &mut outcome.commits, || store.commit(case))?;
        outcome.bytes_written += disk.counters().bytes_written - before;
        outcome.payload_bytes += (outcome.commits.count() - committed) * case.payload() as u64;
        outcome.raw_time += turn(time, &mut outcome.raw, || {
            raw.append(&block).map_err(|error| CliError::failed(dir.display(), error))
        })?;
        raw.shorten().map_err(|error| CliError::failed(dir.display(), error))?;
    }
    store.close();
    Ok(outcome)
}

/// Repeats `step` for [`TURN`], or a quarter of the whole time if that is less; how long it took.
fn turn(
    time: Duration,
    latencies: &mut Latencies,
    mut step: impl FnMut() -> Result<(), CliError>,
) -> Result<Duration, CliError> {
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < TURN.min(time / 4) {
        step()?;
        let now = Instant::now();
        latencies.record(now - last);
        last = now;
    }
    Ok(last - begun)
}

/// The raw side: one file, appended to and synced.
struct Raw {
    file: File,
    path: PathBuf,
    bytes: u64,
    flush: Duration,
}

impl Raw {
    fn create(path: &Path, flush: Duration) -> io::Result<Raw> {
        Ok(Raw { file: File::create(path)?, path: path.to_owned(), bytes: 0, flush })
    }

    fn append(&mut self, block: &[u8]) -> io::Result<()> {
        self.file.write_all(block)?;
        self.bytes += block.len() as u64;
        self.file.sync_data()?;
        std::thread::sleep(self.flush);
        Ok(())
    }

    /// Begins a new file when this one is long. Not counted.
    fn shorten(&mut self) -> io::Result<()> {
        if self.bytes >= RAW_BYTES_MAX {
            self.file = File::create(&self.path)?;
            self.bytes = 0;
        }
        Ok(())
    }
}

fn as_table(outcomes: &[(Case, Outcome)]) -> String {
    let mut table = Table::new(&[
        "A COMMIT",
        ">COMMITS/S",
        ">RAW/S",
        ">RATIO",
        ">P50",
        ">P99",
        ">WORST",
        ">RAW P99",
        ">WRITTEN/PAYLOAD",
        ">OVERHEAD/COMMIT",
    ]);
    for (case, outcome) in outcomes {
        table.row([
            case.name(),
            format!("{:.0}", outcome.commit_rate()),
            format!("{:.0}", outcome.raw_rate()),
            format!("{:.2}", outcome.ratio()),
            human_duration(outcome.commits.percentile(50.0)),
            human_duration(outcome.commits.percentile(99.0)),
            human_duration(outcome.commits.max()),
            human_duration(outcome.raw.percentile(99.0)),
            format!("{:.3}", outcome.amplification()),
            format!("{:.1} KiB", outcome.overhead() / 1024.0),
        ]);
    }
    format!(
        "{}\nA commit: batches (of as many partitions, in turn) × size. Raw: append of the same bytes to one file, \
         fdatasync.\nEach batch is of an idempotent producer, and what is evicted goes into the loss ledger. Worst: \
         the longest commit, rolls and evictions included.\nWritten: bytes given to the filesystem for each byte of payload.\n",
        table.render()
    )
}

fn as_json(outcomes: &[(Case, Outcome)]) -> String {
    json::array(outcomes.iter().map(|(case, outcome)| {
        let micros = |latency: Duration| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let mut object = JsonObject::new();
        object.number("batches", case.batches as u64).number("partitions", case.partitions as u64);
        object.number("batch_bytes", case.batch_bytes as u64).number("commits", outcome.commits.count());
        object.fraction("commits_per_s", outcome.commit_rate()).fraction("raw_per_s", outcome.raw_rate());
        object.fraction("ratio", outcome.ratio());
        object.number("commit_p50_us", micros(outcome.commits.percentile(50.0)));
        object.number("commit_p99_us", micros(outcome.commits.percentile(99.0)));
        object.number("commit_worst_us", micros(outcome.commits.max()));
        object.number("raw_p99_us", micros(outcome.raw.percentile(99.0)));
        object.number("payload_bytes", outcome.payload_bytes).number("bytes_written", outcome.bytes_written);
        object.fraction("written_per_payload_byte", outcome.amplification());
        object.finish()
    }))
}

#[cfg(test)]
mod tests {
    use super::side::batch_of;
    use super::*;
    use crate::record::{BatchView, VerifyLimits, verify};

    const SETTING: Setting =
        Setting { state: StateSize::Small, flush: Duration::ZERO, time: Duration::from_millis(80) };

    #[test]
    fn batches_have_the_size_asked_for() {
        for size in CASES.iter().map(|case| case.batch_bytes).chain(SWEEP) {
            let batch = batch_of(size).unwrap();
            assert_eq!(batch.len(), size);
            let (view, rest) = BatchView::parse(&batch).unwrap();
            assert!(rest.is_empty());
            verify(&view, &VerifyLimits { batch_bytes_max: size, ..VerifyLimits::default() }).unwrap();
        }
        assert!(batch_of(10).is_err());
    }

    #[test]
    fn a_case_measures_both_sides() {
        let dir = tempfile::tempdir().unwrap();
        let outcome = measure(&case(2, 3, 500), dir.path(), &SETTING, &Shutdown::default()).unwrap();
        assert!(outcome.commits.count() > 0 && outcome.raw.count() > 0);
        assert_eq!(outcome.payload_bytes, outcome.commits.count() * 1_000);
        assert!(outcome.bytes_written > outcome.payload_bytes && outcome.ratio() > 0.0);
        let outcomes = [(case(2, 3, 500), outcome)];
        assert!(as_table(&outcomes).contains("2 of 3 × 500 B"));
        assert!(as_json(&outcomes).starts_with("[{\"batches\":2,"));
    }

    #[test]
    fn a_signal_ends_it() {
        let (dir, stop) = (tempfile::tempdir().unwrap(), Shutdown::default());
        stop.begin();
        assert!(measure(&CASES[0], dir.path(), &SETTING, &stop).is_err());
    }
}
