//! Runs targets: case after case from a seed, each in a moment that is known if it ends the process.
//!
//! A case is `(target, seed, index)` and nothing else: its bytes are made of these three, so that a failure is tried again by naming
//! them. What fails (a panic, here or on a thread of a gateway; more memory than the target allows) is made smaller and written to a
//! file.

use std::cell::RefCell;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::allocations::peak_of;

/// A case that takes so long has hung.
const HUNG_AFTER: Duration = Duration::from_secs(120);
/// Failures after which a target is given up.
const FAILURES_MAX: usize = 5;
/// Tries to make a failing input smaller.
const SHRINKS_MAX: usize = 3_000;

/// Makes an input.
pub(crate) type Make = Box<dyn Fn(&mut Rng) -> Vec<u8>>;
/// Tries one.
pub(crate) type Run = Box<dyn Fn(&[u8])>;

/// One decoder, or a few that take the same bytes.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Executions where the whole suite runs.
    pub(crate) quick: u64,
    /// Most bytes that a case may hold, by the bytes of its input.
    pub(crate) memory: fn(usize) -> usize,
    /// Inputs that are tried as they are, before all others.
    pub(crate) corpus: Vec<Vec<u8>>,
    pub(crate) make: Make,
    /// Panics if anything is wrong.
    pub(crate) run: Run,
}

impl Target {
    /// The input of a case.
    pub(crate) fn input(&self, seed: u64, index: u64) -> Vec<u8> {
        match self.corpus.get(index as usize) {
            Some(input) => input.clone(),
            None => (self.make)(&mut rng(self.name, seed, index)),
        }
    }
}

/// How long a target runs: so many cases, or so long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Cases(u64),
    Time(Duration),
}

/// What came of a target.
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) executions: u64,
    pub(crate) took: Duration,
    pub(crate) slowest: Duration,
    pub(crate) peak: usize,
    pub(crate) failures: Vec<String>,
}

fn rng(target: &str, seed: u64, index: u64) -> Rng {
    let name = target
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Rng::with_seed(name ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_mul(0xd134_2543_de82_ef95))
}

/// Runs one target.
pub(crate) fn run(target: &Target, seed: u64, bound: Bound) -> Outcome {
    listen_for_panics();
    let watch = Watch::begin(target.name, seed);
    let begin = Instant::now();
    let mut outcome = Outcome {
        name: target.name,
        executions: 0,
        took: Duration::ZERO,
        slowest: Duration::ZERO,
        peak: 0,
        failures: Vec::new(),
    };
    loop {
        let index = outcome.executions;
        let over = match bound {
            Bound::Cases(cases) => index >= cases,
            Bound::Time(time) => begin.elapsed() >= time,
        };
        if over || outcome.failures.len() >= FAILURES_MAX {
            break;
        }
        let input = target.input(seed, index);
        watch.case(index);
        let started = Instant::now();
        let (verdict, peak) = tried(target, &input);
        outcome.slowest = outcome.slowest.max(started.elapsed());
        outcome.peak = outcome.peak.max(peak);
        if let Err(why) = verdict {
            outcome.failures.push(report(target, (seed, index), &input, &why));
        }
        outcome.executions += 1;
    }
    outcome.took = begin.elapsed();
    watch.end();
    outcome
}

/// Runs one case; why it failed, and the most it held.
pub(crate) fn tried(target: &Target, input: &[u8]) -> (Result<(), String>, usize) {
    listen_for_panics();
    let _ = others();
    let (caught, peak) = peak_of(|| panic::catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let allowed = (target.memory)(input.len());
    let verdict = match caught {
        Err(_) => Err(OWN.take()),
        Ok(()) if peak > allowed => Err(format!("it held {peak} bytes for {}; {allowed} are allowed", input.len())),
        Ok(()) => others().map_or(Ok(()), Err),
    };
    (verdict, peak)
}

thread_local! {
    static OWN: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The first panic on another thread.
static OTHERS: Mutex<Option<String>> = Mutex::new(None);

fn others() -> Option<String> {
    OTHERS.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Keeps what is said at a panic, here or on a thread of a gateway. What ruzstd and redb panic at is caught where they are called.
fn listen_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let fuzzing = thread::current().id();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let said = info.to_string();
            if thread::current().id() == fuzzing {
                OWN.set(said);
            } else if !said.contains("ruzstd") && !said.contains("redb") {
                OTHERS.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
            }
        }));
    });
}

/// Where findings go.
pub(crate) fn directory() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Makes a failing input smaller, and writes both to a file; what is wrong, in a line.
fn report(target: &Target, (seed, index): (u64, u64), input: &[u8], why: &str) -> String {
    let small = shrink(target, input);
    let case = format!("{}:{seed}:{index}", target.name);
    let path = directory().join(format!("{}-{seed}-{index}.txt", target.name));
    let text = format!(
        "case: {case}\nagain: scripts/fuzz.sh --replay {case}\n{why}\n\nsmallest, {} bytes:\n{}\nas it was, {} bytes:\n{}",
        small.len(),
        hex(&small),
        input.len(),
        hex(input)
    );
    fs::write(&path, text).unwrap();
    fs::write(path.with_extension("bin"), &small).unwrap();
    format!("{case}: {why}; {}", path.display())
}

/// Leaves out what isn't needed to fail, then zeroes what may be zero.
fn shrink(target: &Target, input: &[u8]) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut tries = 0;
    let mut fails = |candidate: &[u8]| {
        tries += 1;
        tries <= SHRINKS_MAX && tried(target, candidate).0.is_err()
    };
    let mut span = best.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < best.len() {
            let end = (at + span).min(best.len());
            let without = [&best[..at], &best[end..]].concat();
            if fails(&without) { best = without } else { at = end }
        }
        if span == 1 {
            break;
        }
        span = span.div_ceil(2);
    }
    for at in 0..best.len() {
        let mut zeroed = best.clone();
        zeroed[at] = 0;
        if zeroed != best && fails(&zeroed) {
            best = zeroed;
        }
    }
    best
}

fn hex(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ") + "\n";
    bytes.chunks(32).map(line).collect()
}

/// Which case is under way, for who finds the process gone; and an end to one that never comes to its own.
struct Watch {
    last: File,
    name: &'static str,
    seed: u64,
}

/// When the case under way began, ms since the first; 0: none is.
static BEGAN: AtomicU64 = AtomicU64::new(0);

impl Watch {
    fn begin(name: &'static str, seed: u64) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            thread::spawn(|| {
                loop {
                    thread::sleep(Duration::from_secs(1));
                    let began = BEGAN.load(Ordering::Relaxed);
                    if began != 0 && now_ms().saturating_sub(began) > HUNG_AFTER.as_millis() as u64 {
                        eprintln!("a case hangs for {HUNG_AFTER:?}; which one: target/tmp/fuzz/last");
                        std::process::abort();
                    }
                }
            });
        });
        Self { last: File::create(directory().join("last")).unwrap(), name, seed }
    }

    fn case(&self, index: u64) {
        BEGAN.store(now_ms(), Ordering::Relaxed);
        let text = format!("{}:{}:{index:<20}\n", self.name, self.seed);
        self.last.write_all_at(text.as_bytes(), 0).unwrap();
    }

    fn end(self) {
        BEGAN.store(0, Ordering::Relaxed);
        let _ = fs::remove_file(directory().join("last"));
    }
}

fn now_ms() -> u64 {
    static FIRST: Mutex<Option<Instant>> = Mutex::new(None);
    let first = *FIRST.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    1 + first.elapsed().as_millis() as u64
}
