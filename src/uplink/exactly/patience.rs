//! `transaction.timeout.ms`: how long the brokers let a transaction stand. Short, since an open one holds back consumers; longer only
//! where what was measured says that it would end before it is done. Pure.
//!
//! It is told with InitProducerId, so another one takes a new epoch of the producer: between two transactions, and rarely.
//!
//! Invariants: it never lies below what is configured, unless upstream refuses that, nor above what upstream allows; an outage is no
//! measure, only what was answered.

use std::time::Duration;

/// So many times longer than what was measured.
const SLACK: u32 = 3;
/// Apache Kafka's default of `transaction.max.timeout.ms`.
const MOST: Duration = Duration::from_secs(900);
/// If upstream refuses even this, it is no matter of time.
const LEAST: Duration = Duration::from_secs(1);
/// An answer to so many bytes within that time shows a link that is fast enough for anything.
const FAST_BYTES: usize = 32 * 1_024;
const FAST_WITHIN: Duration = Duration::from_secs(1);
/// So many bytes tell how long more of them would take.
const TELLING_BYTES: usize = 4 * 1_024;

/// See the module.
#[derive(Debug)]
pub(super) struct Patience {
    /// As configured.
    least: Duration,
    /// What upstream allows, as far as it is known.
    most: Duration,
    /// What is told, or to be told next.
    timeout: Duration,
    /// The slowest that was lately answered; older ones fade.
    slowest: Duration,
    /// The rate of the last slow request, bytes a second. `None`: none is known to be slow.
    rate: Option<f64>,
}

impl Patience {
    pub(super) fn new(least: Duration) -> Self {
        Self { least, most: MOST.max(least), timeout: least, slowest: Duration::ZERO, rate: None }
    }

    /// What to tell upstream, ms.
    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX)
    }

    /// A Produce request of so many bytes was answered after that time, whatever the answer; of it, answers travel for `round_trip`.
    pub(super) fn answered(&mut self, bytes: usize, took: Duration, round_trip: Duration) {
        if took < FAST_WITHIN {
            self.rate = self.rate.filter(|_| bytes < FAST_BYTES);
            return;
        }
        self.slowest = self.slowest.max(took);
        if bytes >= TELLING_BYTES {
            let carried_for = took.saturating_sub(round_trip).max(took / 8);
            self.rate = Some(bytes as f64 / carried_for.as_secs_f64());
        }
    }

    /// A transaction was committed after that time.
    pub(super) fn committed(&mut self, took: Duration) {
        self.slowest = took.max(self.slowest * 3 / 4);
    }

    /// Whether the brokers have ended a transaction by themselves that was open for so long.
    pub(super) fn is_up(&self, took: Duration) -> bool {
        took >= self.timeout
    }

    /// Upstream does not allow that much. Whether there is less to try.
    pub(super) fn refused(&mut self) -> bool {
        if self.timeout <= LEAST {
            return false;
        }
        self.most = (self.timeout / 2).max(LEAST);
        self.timeout = self.most;
        true
    }

    /// Takes another time-out where a transaction of so many bytes asks for one. Whether it has changed: then upstream is to be told
    /// before that transaction begins.
    pub(super) fn adapts(&mut self, bytes: usize) -> bool {
        let needed = self.needed(bytes);
        let wanted = (needed * SLACK).clamp(self.least.min(self.most), self.most);
        // Not for every little: each change costs a round trip or three.
        let changes = needed * 2 > self.timeout && wanted > self.timeout || wanted * 4 <= self.timeout;
        if changes {
            self.timeout = wanted;
        }
        changes
    }

    /// How long a transaction of so many bytes takes.
    fn needed(&self, bytes: usize) -> Duration {
        let by_rate = self.rate.map_or(0.0, |rate| bytes as f64 / rate.max(1.0));
        self.slowest.max(Duration::from_secs_f64(by_rate)).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience() -> Patience {
        Patience::new(15 * SECOND)
    }

    #[test]
    fn on_a_fast_link_it_stays_short() {
        let mut patience = patience();
        for _ in 0..100 {
            patience.answered(1 << 20, SECOND / 2, Duration::ZERO);
            patience.committed(2 * SECOND);
            assert!(!patience.adapts(16 << 20));
        }
        assert_eq!(patience.timeout_ms(), 15_000);
        assert!(!patience.is_up(14 * SECOND) && patience.is_up(15 * SECOND));
    }

    #[test]
    fn a_large_batch_on_a_slow_link_fails_once_at_most() {
        // Nothing was measured: the brokers end it after 15 s, and the answer comes when all of it is through.
        let mut patience = patience();
        assert!(!patience.adapts(100 << 10));
        assert!(patience.is_up(100 * SECOND));
        patience.answered(100 << 10, 100 * SECOND, Duration::ZERO);
        assert!(patience.adapts(100 << 10));
        assert_eq!(patience.timeout_ms(), 300_000);
        patience.committed(100 * SECOND);
        assert!(!patience.adapts(100 << 10));
        // What was measured of a small one is enough for a large one.
        let mut other = Patience::new(15 * SECOND);
        other.answered(8 << 10, 8 * SECOND, Duration::ZERO);
        other.committed(10 * SECOND);
        assert!(other.adapts(100 << 10));
        assert_eq!(other.timeout_ms(), 300_000);
        assert!(!other.adapts(100 << 10));
        assert!(other.adapts(1 << 20));
        assert_eq!(other.timeout_ms(), 900_000, "no more than brokers allow");
    }

    #[test]
    fn slow_round_trips_are_granted_and_forgotten() {
        let mut patience = patience();
        patience.committed(9 * SECOND);
        assert!(patience.adapts(100));
        assert_eq!(patience.timeout_ms(), 27_000);
        let changes: Vec<i32> = (0..40)
            .filter_map(|_| {
                patience.answered(64 << 10, SECOND / 10, Duration::ZERO);
                patience.committed(SECOND / 5);
                patience.adapts(100).then(|| patience.timeout_ms())
            })
            .collect();
        assert!(changes.is_empty(), "within four times the least: {changes:?}");
        patience.answered(100 << 10, 100 * SECOND, Duration::ZERO);
        assert!(patience.adapts(100));
        let mut last = 0;
        for _ in 0..40 {
            patience.answered(64 << 10, SECOND / 10, Duration::ZERO);
            patience.committed(SECOND / 5);
            if patience.adapts(100) {
                last = patience.timeout_ms();
            }
        }
        assert!((15_000..=60_000).contains(&last), "{last}");
    }

    #[test]
    fn a_long_round_trip_is_no_slow_link() {
        let mut patience = patience();
        patience.answered(100 << 10, SECOND * 2, SECOND * 19 / 10);
        assert!(!patience.adapts(1 << 20), "{:?}", patience.needed(1 << 20));
    }

    #[test]
    fn what_upstream_does_not_allow_is_halved() {
        let mut patience = patience();
        patience.answered(100 << 10, 400 * SECOND, Duration::ZERO);
        assert!(patience.adapts(100));
        assert_eq!(patience.timeout_ms(), 900_000);
        assert!(patience.refused());
        assert_eq!(patience.timeout_ms(), 450_000);
        assert!(!patience.adapts(100), "it stays at what is allowed");
        let mut strict = Patience::new(15 * SECOND);
        let asked: Vec<i32> = (0..4).map(|_| (strict.refused(), strict.timeout_ms()).1).collect();
        assert_eq!(asked, [7_500, 3_750, 1_875, 1_000]);
        assert!(!strict.refused() && !strict.adapts(1 << 20));
    }
}
