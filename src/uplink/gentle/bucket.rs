//! `rate_limit`: bytes leave one after the other as if the link had that rate.

use std::time::Duration;

/// What may leave at once after a pause, in time at the rate.
const BURST: Duration = Duration::from_millis(100);

/// When the next bytes may leave. Without a rate: at once.
#[derive(Clone, Debug, Default)]
pub(in crate::uplink) struct Bucket {
    /// Bytes a second; `None`: any.
    rate: Option<u64>,
    /// When all that has left would be through at the rate, microseconds of the caller's clock.
    through_us: u64,
}

impl Bucket {
    /// From now on this rate, bytes a second (at least 1).
    pub(in crate::uplink) fn set_rate(&mut self, rate: Option<u64>) {
        self.rate = rate.map(|rate| rate.max(1));
    }

    /// Takes the right to send `bytes`; how long to wait before they leave.
    pub(in crate::uplink) fn take(&mut self, bytes: usize, now_us: u64) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let burst_us = u64::try_from(BURST.as_micros()).unwrap_or(0);
        let begin_us = self.through_us.max(now_us.saturating_sub(burst_us));
        let takes_us = (u128::from(bytes as u64) * 1_000_000).div_ceil(u128::from(rate));
        self.through_us = begin_us.saturating_add(u64::try_from(takes_us).unwrap_or(u64::MAX));
        Duration::from_micros(begin_us.saturating_sub(now_us))
    }

    /// Counts `bytes` that came; how long until they and all before them would be through at the rate.
    pub(in crate::uplink) fn take_in(&mut self, bytes: usize, now_us: u64) -> Duration {
        if self.rate.is_none() {
            return Duration::ZERO;
        }
        self.take(bytes, now_us);
        Duration::from_micros(self.through_us.saturating_sub(now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take(usize::MAX, 5), Duration::ZERO);
        bucket.set_rate(Some(1_000));
        bucket.take(1_000_000, 0);
        bucket.set_rate(None);
        assert_eq!(bucket.take(1, 1), Duration::ZERO);
    }

    #[test]
    fn what_came_is_followed_by_a_pause() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.take_in(5_000, 1_000_000), Duration::ZERO);
        bucket.set_rate(Some(1_000));
        let burst = BURST;
        assert_eq!(bucket.take_in(5_000, 1_000_000), Duration::from_secs(5) - burst);
        // Two connections share the rate.
        assert_eq!(bucket.take_in(1_000, 2_000_000), Duration::from_secs(5) - burst);
    }

    proptest! {
        /// Whoever waits as told never sends more than the rate and one burst allow, and never less by much while busy.
        #[test]
        fn the_rate_is_kept(rate in 128_u64..10_000_000, pieces in prop::collection::vec((1_usize..65_536, 0_u64..50_000), 1..200)) {
            let mut bucket = Bucket::default();
            bucket.set_rate(Some(rate));
            let (mut now, mut sent) = (1_000_000_u64, 0_u64);
            for (bytes, pause_us) in pieces {
                let wait = bucket.take(bytes, now);
                now += wait.as_micros() as u64;
                // What left before this piece fits the time that has passed.
                let allowed = rate as f64 * ((now - 1_000_000) as f64 / 1e6 + BURST.as_secs_f64()) + 1.0;
                prop_assert!(sent as f64 <= allowed, "{sent} of {allowed}");
                sent += bytes as u64;
                now += pause_us;
            }
        }
    }
}
