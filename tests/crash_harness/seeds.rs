//! Runs tests with seeds: a few fixed ones, one that failed before, or random ones for as long as asked.
//!
//! `BROOKLET_CRASH_SEED=7` replays one seed; `BROOKLET_CRASH_SECONDS=600` goes on with seed after seed for that long, on
//! all cores; with `BROOKLET_CRASH_ONLY=lives`, with that test only. scripts/crash.sh sets them.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Verdict, tally};

/// A test by its name.
pub type Named = (&'static str, fn(u64) -> Verdict);

/// Violations after which a long run ends.
const VIOLATIONS_MAX: usize = 10;

/// Runs `test` with these seeds, or with the one asked for.
///
/// # Panics
/// If one fails, with the seed.
pub fn with_seeds(seeds: Range<u64>, test: impl Fn(u64) -> Verdict) {
    let seeds = setting("BROOKLET_CRASH_SEED").map_or(seeds, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(what) = verdict(seed, &test) {
            panic!("{what}\nagain with scripts/crash.sh --seed {seed}");
        }
    }
}

/// Runs all `tests` with seed after seed for `BROOKLET_CRASH_SECONDS`, and prints what there was.
///
/// # Panics
/// At the end, if any failed.
pub fn with_random_seeds(tests: &[Named]) {
    let only = std::env::var("BROOKLET_CRASH_ONLY").unwrap_or_default();
    let tests: Vec<_> = tests.iter().filter(|(name, _)| only.is_empty() || *name == only).collect();
    if tests.is_empty() {
        return;
    }
    let limit = Duration::from_secs(setting("BROOKLET_CRASH_SECONDS").unwrap_or(60));
    let (start, violations, runs) = (Instant::now(), Mutex::new(Vec::new()), Mutex::new(0_u64));
    let work = || {
        let mut rng = Rng::new();
        while start.elapsed() < limit && violations.lock().unwrap().len() < VIOLATIONS_MAX {
            // In turns of a test each, so that short runs too have had all of them.
            let number = {
                let mut runs = runs.lock().unwrap();
                *runs += 1;
                *runs as usize
            };
            let (name, test) = *tests[number % tests.len()];
            let seed = rng.u64(1_000..1 << 40);
            if let Err(what) = verdict(seed, test) {
                eprintln!("VIOLATION in {name}: {what}\nagain with scripts/crash.sh --seed {seed}");
                violations.lock().unwrap().push((name, seed));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (violations, runs) = (violations.into_inner().unwrap(), runs.into_inner().unwrap());
    eprintln!(
        "\n{}\n{runs} runs in {:.0} s, {} violations",
        tally::report(),
        start.elapsed().as_secs_f64(),
        violations.len()
    );
    assert!(violations.is_empty(), "again with {violations:?}");
}

/// What a test says of a seed; a panic is an error as well.
pub fn verdict(seed: u64, test: impl Fn(u64) -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(|| test(seed))).unwrap_or_else(|_| Err("it panicked".into()))
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
