//! Whether this process still gets on, for a watchdog: what a restart would help, and nothing else.
//!
//! Invariants: slow is not hung. A write under way counts as progress for [`IO_PATIENCE`], since cards stall for tens of seconds; having
//! nothing to do counts as progress; a store that has failed and is being opened again counts as progress, because a
//! restart could do no more. Judging ([`Judge`]) is a pure function of readings over time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::executor::Executor;

use crate::store::{Store, Work};

/// How long one piece of work on the medium, or a turn of the sessions, may take.
const IO_PATIENCE: Duration = Duration::from_secs(120);
/// How often the sessions' threads show that they turn.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// What can be seen of the process at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// How long the store's longest work has been under way, if any is.
    under_way: Option<(Work, Duration)>,
    /// Operations that wait for the store's writer.
    queued: usize,
    /// Commits so far.
    commits: u64,
    /// Whether the store has failed, and waits to be opened again.
    failed: bool,
    /// Turns of the sessions' threads so far.
    beats: u64,
}

/// Remembers since when nothing has moved.
#[derive(Debug)]
struct Judge {
    beats: (u64, Instant),
    commits: (u64, Instant),
}

impl Judge {
    fn new(now: Instant) -> Self {
        Self { beats: (0, now), commits: (0, now) }
    }

    fn judge(&mut self, reading: Reading, now: Instant) -> Result<(), String> {
        if reading.beats != self.beats.0 {
            self.beats = (reading.beats, now);
        }
        // Only a writer that has something to do, and is not seen doing it, can be found hanging.
        let is_waited_for = reading.queued > 0 && reading.under_way.is_none() && !reading.failed;
        if reading.commits != self.commits.0 || !is_waited_for {
            self.commits = (reading.commits, now);
        }
        if let Some((work, time)) = reading.under_way
            && time > IO_PATIENCE
        {
            return Err(format!("the store's {work:?} has been under way for {} s", time.as_secs()));
        }
        let still = now.saturating_duration_since(self.beats.1);
        if still > IO_PATIENCE {
            return Err(format!("the threads of the connections have not turned for {} s", still.as_secs()));
        }
        let waiting = now.saturating_duration_since(self.commits.1);
        if waiting > IO_PATIENCE {
            return Err(format!("{} operations have waited {} s for a commit", reading.queued, waiting.as_secs()));
        }
        Ok(())
    }
}

/// Watches one gateway. Ask it at least every [`IO_PATIENCE`]: what it remembers is what it was asked.
#[derive(Debug)]
pub struct Vital {
    store: Store,
    beats: Arc<AtomicU64>,
    judge: Judge,
}

impl Vital {
    /// Watches `store`, and the threads that run `executor`.
    pub(super) fn new(store: &Store, executor: &Arc<Executor>) -> Self {
        let beats = Arc::new(AtomicU64::new(0));
        let beat = Arc::downgrade(&beats);
        let turning = async move {
            while let Some(beats) = beat.upgrade() {
                beats.fetch_add(1, Ordering::Relaxed);
                drop(beats);
                smol::Timer::after(BEAT_EVERY).await;
            }
        };
        executor.spawn(turning).detach();
        Self { store: store.clone(), beats, judge: Judge::new(Instant::now()) }
    }

    /// Whether everything gets on.
    ///
    /// # Errors
    /// What hangs, and for how long.
    pub fn check(&mut self) -> Result<(), String> {
        let (progress, status) = (self.store.progress(), self.store.status());
        let now_ms = self.store.now().mono_ms;
        let since = |work| {
            let began = progress.since_ms(work)?;
            Some((work, Duration::from_millis(now_ms.saturating_sub(began))))
        };
        let reading = Reading {
            under_way: Work::ALL.into_iter().filter_map(since).max_by_key(|(_, time)| *time),
            queued: status.queued_ops,
            commits: status.commits,
            failed: status.poisoned.is_some(),
            beats: self.beats.load(Ordering::Relaxed),
        };
        self.judge.judge(reading, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Reading = Reading { under_way: None, queued: 0, commits: 7, failed: false, beats: 1 };

    /// Asks every 10 s for `seconds`; the reading at each moment is `reading(second)`.
    fn run(seconds: u64, reading: impl Fn(u64) -> Reading) -> Result<(), String> {
        let start = Instant::now();
        let mut judge = Judge::new(start);
        (0..=seconds).step_by(10).try_for_each(|s| judge.judge(reading(s), start + Duration::from_secs(s)))
    }

    fn turning(second: u64) -> Reading {
        Reading { beats: second / 5, ..IDLE }
    }

    #[test]
    fn having_nothing_to_do_is_progress() {
        run(100_000, turning).unwrap();
    }

    #[test]
    fn a_write_may_take_two_minutes_and_no_more() {
        let stalled = |s| Reading { under_way: Some((Work::Commit, Duration::from_secs(s))), queued: 50, ..turning(s) };
        run(120, stalled).unwrap();
        let said = run(140, stalled).unwrap_err();
        assert_eq!(said, "the store's Commit has been under way for 130 s");
    }

    #[test]
    fn a_writer_that_does_not_take_what_waits_is_found() {
        let hung = |s| Reading { queued: 3, ..turning(s) };
        let said = run(200, hung).unwrap_err();
        assert_eq!(said, "3 operations have waited 130 s for a commit");
        // With commits going on something may always be waiting.
        run(10_000, |s| Reading { queued: 3, commits: s, ..turning(s) }).unwrap();
    }

    #[test]
    fn a_store_that_waits_to_be_opened_again_is_left_to_itself() {
        run(10_000, |s| Reading { queued: 3, failed: true, ..turning(s) }).unwrap();
    }

    #[test]
    fn threads_that_do_not_turn_are_found() {
        let said = run(200, |s| turning(s.min(30))).unwrap_err();
        assert_eq!(said, "the threads of the connections have not turned for 130 s");
    }
}
