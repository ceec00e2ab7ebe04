//! How much a transaction may take, so that it ends soon: an open one holds back every consumer that reads committed records
//! only. Pure.
//!
//! Invariant: what is allowed follows from what was measured; where nothing was, it is little.

use std::time::{Duration, Instant};

/// A transaction is to end within this time.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// It is to be filled within this, at least and at most; it ends within two round trips more.
const FILLED_WITHIN: Duration = Duration::from_millis(1_500);
const FILLED_WITHIN_MAX: Duration = Duration::from_millis(1_800);
/// A round trip is believed to be no more than this part of what a transaction took.
const TRAVEL_MAX: f64 = 0.75;
/// What the first transaction may take, bytes.
const FIRST_BYTES: usize = 128 * 1024;
/// The least, bytes.
const BYTES_MIN: usize = 8 * 1024;
/// The most, bytes: what is sent again at worst when a transaction comes to nothing.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// A transaction of less than this tells of round trips only.
const TELLING_BYTES: usize = 32 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Sizing {
    /// Bytes that a transaction may take.
    allowed: usize,
    taken: usize,
    /// As it was measured last.
    round_trip: Duration,
}

impl Default for Sizing {
    fn default() -> Self {
        Self { allowed: FIRST_BYTES, taken: 0, round_trip: Duration::ZERO }
    }
}

impl Sizing {
    /// A transaction is begun; `waiting` bytes were gathered before.
    pub(super) fn begin(&mut self, waiting: usize, round_trip: Duration) {
        (self.taken, self.round_trip) = (waiting, round_trip);
    }

    /// The time within which it is filled: what is left of the whole, where round trips are short.
    fn filled_within(&self) -> Duration {
        ENDED_WITHIN.saturating_sub(self.round_trip * 2).clamp(FILLED_WITHIN, FILLED_WITHIN_MAX)
    }

    /// Bytes that the transaction may still take.
    pub(super) fn room(&self) -> usize {
        self.allowed.saturating_sub(self.taken)
    }

    /// Bytes that a transaction may take which is not open yet.
    pub(super) fn allowed(&self) -> usize {
        self.allowed
    }

    pub(super) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Whether it is time to end a transaction.
    pub(super) fn is_full(&self, since: Instant, now: Instant) -> bool {
        self.taken >= self.allowed || now.saturating_duration_since(since) >= self.filled_within()
    }

    /// When it is time to end a transaction, whatever it took.
    pub(super) fn full_at(&self, since: Instant) -> Instant {
        since + self.filled_within()
    }

    /// All that was taken is acknowledged after this time.
    pub(super) fn delivered(&mut self, took: Duration) {
        if self.taken < TELLING_BYTES.min(self.allowed) {
            return;
        }
        // How long answers travel says nothing of how much the link carries.
        let took = took.as_secs_f64();
        let travel = self.round_trip.as_secs_f64().min(took * TRAVEL_MAX);
        let per_second = self.taken as f64 / (took - travel).max(0.001);
        let aim = (per_second * self.filled_within().as_secs_f64()) as usize;
        // Halfway there: one slow answer says little.
        self.allowed = usize::midpoint(self.allowed, aim).clamp(BYTES_MIN, BYTES_MAX);
    }

    /// The transaction came to nothing after this time.
    pub(super) fn failed(&mut self, took: Duration) {
        if took >= FILLED_WITHIN {
            self.allowed = (self.allowed / 4).max(BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much is allowed after some transactions over a link of this rate and round trip.
    fn settled(bytes_per_second: f64, round_trip: f64) -> usize {
        let mut sizing = Sizing::default();
        for _ in 0..40 {
            sizing.begin(0, Duration::from_secs_f64(round_trip));
            let bytes = sizing.room();
            sizing.take(bytes);
            sizing.delivered(Duration::from_secs_f64(round_trip + bytes as f64 / bytes_per_second));
        }
        sizing.allowed()
    }

    #[test]
    fn transactions_grow_with_the_link_and_end_in_time_on_a_slow_one() {
        assert_eq!(settled(100e6, 0.001), BYTES_MAX);
        // Round trips are no part of what the link carries, but of the time.
        for (rate, round_trip, filled) in [(1e6, 0.2, 1.6), (1e6, 0.001, 1.8), (1e6, 1.0, 1.5), (200e3, 3.0, 1.5)] {
            let (bytes, expected) = (settled(rate, round_trip) as f64, rate * filled);
            assert!((bytes / expected - 1.0).abs() < 0.1, "{rate} B/s, {round_trip} s: {bytes}, not {expected}");
        }
        assert_eq!(settled(1_000.0, 0.5), BYTES_MIN);
    }

    #[test]
    fn little_says_nothing_and_a_failure_that_took_long_says_less() {
        let mut sizing = Sizing::default();
        sizing.take(100);
        sizing.delivered(Duration::from_secs(1));
        assert_eq!(sizing.allowed(), FIRST_BYTES);
        sizing.failed(Duration::from_millis(20));
        assert_eq!(sizing.allowed(), FIRST_BYTES);
        sizing.failed(Duration::from_secs(20));
        assert_eq!(sizing.allowed(), FIRST_BYTES / 4);
    }

    #[test]
    fn it_is_full_by_bytes_or_by_time() {
        let (mut sizing, now) = (Sizing::default(), Instant::now());
        sizing.begin(1_000, Duration::from_secs(1));
        assert!(!sizing.is_full(now, now));
        assert!(sizing.is_full(now, now + FILLED_WITHIN));
        sizing.take(sizing.room());
        assert!(sizing.is_full(now, now) && sizing.room() == 0);
    }
}
