//! Whether this process still gets on, for a watchdog: what a restart would help, and nothing else.
//!
//! Invariants: slow is not hung. Work on the medium counts as progress while one access follows another, and for
//! [`IO_PATIENCE`] within one, since cards stall for tens of seconds; having nothing to do counts as progress; a store that
//! has failed and is being opened again counts as progress, because a restart could do no more. Looking waits for no file, and
//! for no lock that is held while a file is waited for. Judging ([`Judge`]) is a pure function of readings over time, by the
//! store's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::executor::Executor;

use crate::store::{Pulse, Store, Work};

/// How long one access to the medium, or a turn of the sessions, may take.
const IO_PATIENCE: Duration = Duration::from_secs(120);
/// How often the sessions' threads show that they turn.
const BEAT_EVERY: Duration = Duration::from_secs(5);

/// What can be seen of the process at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// The store's work that has been under way longest, and since when, ms; if any is.
    under_way: Option<(Work, u64)>,
    store: Pulse,
    /// Turns of the sessions' threads so far.
    beats: u64,
}

/// A figure, and since when it has been the same, ms.
#[derive(Clone, Copy, Debug)]
struct Still {
    figure: u64,
    since_ms: u64,
}

impl Still {
    /// Looks again. `moves`: it counts as moving, whatever it is.
    fn look(&mut self, figure: u64, moves: bool, now_ms: u64) {
        if moves || figure != self.figure {
            *self = Self { figure, since_ms: now_ms };
        }
    }

    /// For how many seconds, if that is more than [`IO_PATIENCE`].
    fn too_long(since_ms: u64, now_ms: u64) -> Option<u64> {
        let still = Duration::from_millis(now_ms.saturating_sub(since_ms));
        (still > IO_PATIENCE).then_some(still.as_secs())
    }
}

/// Remembers since when nothing has moved.
#[derive(Debug)]
struct Judge {
    asked_ms: u64,
    beats: Still,
    commits: Still,
    accesses: Still,
}

impl Judge {
    fn new(now_ms: u64) -> Self {
        let still = Still { figure: 0, since_ms: now_ms };
        Self { asked_ms: now_ms, beats: still, commits: still, accesses: still }
    }

    fn judge(&mut self, reading: Reading, now_ms: u64) -> Result<(), String> {
        // Nobody has asked for so long: the machine slept.
        if Still::too_long(self.asked_ms, now_ms).is_some() {
            *self = Self::new(now_ms);
        }
        self.asked_ms = now_ms;
        let Reading { under_way, store, beats } = reading;
        self.beats.look(beats, false, now_ms);
        self.accesses.look(store.accesses, under_way.is_none(), now_ms);
        // Only a writer that has something to do, and is not seen doing it, can be found hanging.
        let is_waited_for = store.queued > 0 && under_way.is_none() && !store.failed;
        self.commits.look(store.commits, !is_waited_for, now_ms);
        if let Some((work, began_ms)) = under_way
            && let Some(still) = Still::too_long(began_ms.max(self.accesses.since_ms), now_ms)
        {
            return Err(format!("the store's {work:?} has stood still for {still} s"));
        }
        if let Some(still) = Still::too_long(self.beats.since_ms, now_ms) {
            return Err(format!("the threads of the connections have not turned for {still} s"));
        }
        if let Some(waiting) = Still::too_long(self.commits.since_ms, now_ms) {
            return Err(format!("{} operations have waited {waiting} s for a commit", store.queued));
        }
        Ok(())
    }
}

/// Watches one gateway. Ask it much more often than every [`IO_PATIENCE`]: what it remembers is what it was asked.
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
        Self::of(store, beats)
    }

    fn of(store: &Store, beats: Arc<AtomicU64>) -> Self {
        Self { store: store.clone(), beats, judge: Judge::new(store.now().mono_ms) }
    }

    /// Whether everything gets on. Never waits.
    ///
    /// # Errors
    /// What hangs, and for how long.
    pub fn check(&mut self) -> Result<(), String> {
        let progress = self.store.progress();
        let since = |work| Some((work, progress.since_ms(work)?));
        let reading = Reading {
            under_way: Work::ALL.into_iter().filter_map(since).min_by_key(|(_, since_ms)| *since_ms),
            store: self.store.pulse(),
            beats: self.beats.load(Ordering::Relaxed),
        };
        self.judge.judge(reading, self.store.now().mono_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Reading =
        Reading { under_way: None, store: Pulse { queued: 0, commits: 7, failed: false, accesses: 9 }, beats: 1 };

    /// Asks every 10 s for `seconds`; the reading at each moment is `reading(second)`.
    fn run(seconds: u64, reading: impl Fn(u64) -> Reading) -> Result<(), String> {
        let mut judge = Judge::new(0);
        (0..=seconds).step_by(10).try_for_each(|s| judge.judge(reading(s), s * 1_000))
    }

    fn turning(second: u64) -> Reading {
        Reading { beats: second / 5, ..IDLE }
    }

    fn waiting(second: u64) -> Reading {
        Reading { store: Pulse { queued: 3, ..IDLE.store }, ..turning(second) }
    }

    #[test]
    fn having_nothing_to_do_is_progress() {
        run(100_000, turning).unwrap();
    }

    #[test]
    fn an_access_may_take_two_minutes_and_no_more() {
        let stalled = |s| Reading { under_way: Some((Work::Commit, 0)), ..waiting(s) };
        run(120, stalled).unwrap();
        assert_eq!(run(140, stalled).unwrap_err(), "the store's Commit has stood still for 130 s");
    }

    #[test]
    fn work_of_many_accesses_may_take_long() {
        let busy = |s| {
            let store = Pulse { accesses: s / 100, ..IDLE.store };
            Reading { under_way: Some((Work::Maintenance, 0)), store, ..turning(s) }
        };
        run(10_000, busy).unwrap();
    }

    #[test]
    fn a_writer_that_does_not_take_what_waits_is_found() {
        assert_eq!(run(200, waiting).unwrap_err(), "3 operations have waited 130 s for a commit");
        // With commits going on something may always be waiting.
        run(10_000, |s| Reading { store: Pulse { commits: s, ..waiting(s).store }, ..turning(s) }).unwrap();
    }

    #[test]
    fn a_store_that_waits_to_be_opened_again_is_left_to_itself() {
        run(10_000, |s| Reading { store: Pulse { failed: true, ..waiting(s).store }, ..turning(s) }).unwrap();
    }

    #[test]
    fn threads_that_do_not_turn_are_found() {
        let said = run(200, |s| turning(s.min(30))).unwrap_err();
        assert_eq!(said, "the threads of the connections have not turned for 130 s");
    }

    #[test]
    fn a_machine_that_slept_has_not_hung() {
        let mut judge = Judge::new(0);
        judge.judge(waiting(0), 10_000).unwrap();
        judge.judge(waiting(0), 3_600_000).unwrap();
    }
}

#[cfg(test)]
#[cfg(debug_assertions)]
mod stall;
