//! After an outage: a fleet that got its link back at one moment must not come at one moment, nor at full speed.

use std::time::Duration;

/// A shorter outage is a hiccup: nothing is held back.
const OUTAGE_MIN: Duration = Duration::from_secs(60);
/// At random within this part of the outage at most, sending begins.
const DELAY_PART: u32 = 10;
/// Bytes a second at the beginning. It doubles [`DOUBLINGS`] times over `slow_start`, then there is no limit.
const RATE_FIRST: u64 = 32 * 1_024;
const DOUBLINGS: u32 = 8;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SlowStart {
    over: Duration,
    /// When sending begins, ms of the caller's clock; `None`: no outage has ended lately.
    begins_ms: Option<u64>,
}

impl SlowStart {
    /// Grows over `over`; zero holds nothing back.
    pub(super) fn new(over: Duration) -> Self {
        Self { over, begins_ms: None }
    }

    /// The link works again. `jitter` is uniform in 0..1.
    pub(super) fn outage_ended(&mut self, lasted: Duration, jitter: f64, now_ms: u64) {
        if lasted < OUTAGE_MIN || self.over.is_zero() {
            return;
        }
        let delay = self.over.min(lasted / DELAY_PART).mul_f64(jitter.clamp(0.0, 1.0));
        self.begins_ms = Some(now_ms.saturating_add(millis(delay)));
    }

    /// How long nothing is sent yet.
    pub(super) fn delay(&self, now_ms: u64) -> Option<Duration> {
        let left = self.begins_ms?.saturating_sub(now_ms);
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// The rate of now, bytes a second; `None`: any.
    pub(super) fn rate(&mut self, now_ms: u64) -> Option<u64> {
        let since = now_ms.saturating_sub(self.begins_ms?);
        let step = (millis(self.over) / u64::from(DOUBLINGS)).max(1);
        let doublings = since / step;
        if doublings >= u64::from(DOUBLINGS) {
            self.begins_ms = None;
            return None;
        }
        Some(RATE_FIRST << doublings)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: Duration = Duration::from_secs(40);

    #[test]
    fn a_hiccup_costs_nothing() {
        let mut start = SlowStart::new(OVER);
        start.outage_ended(Duration::from_secs(59), 1.0, 5);
        assert_eq!((start.delay(5), start.rate(5)), (None, None));
        let mut none = SlowStart::new(Duration::ZERO);
        none.outage_ended(Duration::from_secs(9_999), 1.0, 5);
        assert_eq!((none.delay(5), none.rate(5)), (None, None));
    }

    #[test]
    fn it_begins_late_and_grows() {
        let mut start = SlowStart::new(OVER);
        start.outage_ended(Duration::from_secs(100), 0.5, 1_000);
        assert_eq!(start.delay(1_000), Some(Duration::from_secs(5)));
        assert_eq!(start.delay(6_000), None);
        let rates: Vec<_> = (0..9).map(|step| start.rate(6_000 + step * 5_000)).collect();
        let kib = |n: u64| Some(n * 1_024);
        assert_eq!(rates, [kib(32), kib(64), kib(128), kib(256), kib(512), kib(1_024), kib(2_048), kib(4_096), None]);
        assert_eq!(start.rate(6_000), None, "it is over");
    }

    #[test]
    fn a_long_outage_waits_no_longer_than_the_setting() {
        let mut start = SlowStart::new(OVER);
        start.outage_ended(Duration::from_secs(86_400), 1.0, 0);
        assert_eq!(start.delay(0), Some(OVER));
    }
}
