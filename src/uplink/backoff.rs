//! How long to wait after failures, and when to speak about them. Pure: the caller brings the time and the randomness.

use std::time::{Duration, Instant};

/// The bounds of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// After the first failure.
    pub(super) min: Duration,
    /// After many.
    pub(super) max: Duration,
}

/// Waits that double from `min` to `max`, each between half of its nominal length and all of it, so that a fleet that lost its
/// link at one moment doesn't come back at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure. `jitter` is uniform in 0..1.
    pub(super) fn fail(&mut self, bounds: Bounds, jitter: f64) -> Duration {
        let doubled = bounds.min.saturating_mul(1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        let nominal = doubled.min(bounds.max);
        nominal.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// What was tried has worked.
    pub(super) fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

/// A condition that lasts is told that often.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(3_600);

/// Decides which of many equal failures are worth a line in the log: the first, then one every so often, then the recovery.
#[derive(Clone, Debug, Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    told: Option<Instant>,
    failures: u64,
}

/// What to say about a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    /// How long it lasted.
    pub(super) lasted: Duration,
    /// How often was tried in vain.
    pub(super) failures: u64,
}

impl Outage {
    /// One more failure; whether it is to be told.
    pub(super) fn fail(&mut self, now: Instant, every: Duration) -> bool {
        self.since.get_or_insert(now);
        self.failures += 1;
        let due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= every);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// It works (again): what there is to tell, if it had failed.
    pub(super) fn recover(&mut self, now: Instant) -> Option<Recovery> {
        let since = self.since.take()?;
        self.told = None;
        let failures = std::mem::take(&mut self.failures);
        Some(Recovery { lasted: now.saturating_duration_since(since), failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_secs(300) };

    #[test]
    fn waits_double_up_to_the_bound_and_start_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..12).map(|_| backoff.fail(BOUNDS, 1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        for _ in 0..100 {
            assert_eq!(backoff.fail(BOUNDS, 0.0).as_secs(), 150);
        }
        assert_eq!(backoff.failures(), 112);
        backoff.succeed();
        assert_eq!(backoff.fail(BOUNDS, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn an_outage_is_told_once_then_rarely_then_its_end() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        let every = Duration::from_secs(300);
        assert_eq!(outage.recover(start), None);
        let told: Vec<_> = (0..1_000).filter(|s| outage.fail(at(*s), every)).collect();
        assert_eq!(told, [0, 300, 600, 900]);
        let recovery = Recovery { lasted: Duration::from_secs(1_000), failures: 1_000 };
        assert_eq!(outage.recover(at(1_000)), Some(recovery));
        assert!(outage.fail(at(1_001), every));
    }
}
