//! How far the store's threads are: tells a store that is slow from one that hangs, for a watchdog.
//!
//! Invariant: telling it costs a few atomic stores a commit, and never blocks.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Clock;

/// What may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The writer stores a commit.
    Commit,
    /// Sealing, evicting, making spares.
    Maintenance,
    /// The files are opened again after a failure.
    Healing,
}

impl Work {
    /// All there is.
    pub const ALL: [Self; 3] = [Self::Commit, Self::Maintenance, Self::Healing];
}

/// What a watchdog looks at besides: taken without waiting for a file, or for a lock that is held while one is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Operations that wait for the writer.
    pub queued: usize,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Whether the store has failed, and waits to be opened again.
    pub failed: bool,
    /// Moves with every write and sync; while the store has failed with every read, too. Readers don't move
    /// it otherwise: they get on while the writer hangs.
    pub accesses: u64,
}

/// How far the store's threads are. Moments are of the store's monotonic clock, as in [`super::Stamp`].
#[derive(Debug, Default)]
pub struct Progress {
    /// For each kind of work the moment it began, plus 1; 0 if none is under way.
    since: [AtomicU64; Work::ALL.len()],
    last: AtomicU64,
}

impl Progress {
    /// Does something, and notes when it began and ended.
    pub(super) fn during<T>(&self, work: Work, clock: &dyn Clock, run: impl FnOnce() -> T) -> T {
        let Some(since) = self.since.get(work as usize) else { return run() };
        since.store(clock.mono_ms().saturating_add(1), Ordering::Relaxed);
        let done = run();
        since.store(0, Ordering::Relaxed);
        self.last.fetch_max(clock.mono_ms(), Ordering::Relaxed);
        done
    }

    /// Since when work of this kind is under way, ms; `None` if it isn't.
    pub fn since_ms(&self, work: Work) -> Option<u64> {
        self.since.get(work as usize)?.load(Ordering::Relaxed).checked_sub(1)
    }

    /// When work was last finished, ms; 0 if never.
    pub fn last_ms(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::ManualClock;
    use super::*;

    #[test]
    fn what_is_under_way_is_seen_with_its_beginning() {
        let (progress, clock) = (Progress::default(), ManualClock::default());
        clock.advance_ms(5);
        let began = clock.mono_ms();
        progress.during(Work::Commit, &clock, || {
            clock.advance_ms(70);
            assert_eq!(progress.since_ms(Work::Commit), Some(began));
            assert_eq!(progress.since_ms(Work::Healing), None);
        });
        assert_eq!((progress.since_ms(Work::Commit), progress.last_ms()), (None, began + 70));
    }
}
