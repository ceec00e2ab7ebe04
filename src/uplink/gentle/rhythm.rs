//! How far apart commits upstream are: as near as the link's limits allow, since each costs bytes whatever it carries.
//!
//! Where there is a rate or a budget, the overhead of commits may take what the records leave of it, and at most
//! [`OVERHEAD_PART`] of it.

use std::time::Duration;

/// Shortest and longest time between two commits.
const EVERY_MIN: Duration = Duration::from_secs(1);
const EVERY_MAX: Duration = Duration::from_secs(300);
/// Overhead may take this part of what the limits allow.
const OVERHEAD_PART: f64 = 0.25;
/// What a commit is taken to cost before any was measured, bytes both ways.
const OVERHEAD_FIRST: f64 = 2_048.0;
/// Weight of the newest commit in the mean.
const NEWEST: f64 = 0.2;

/// What commits cost, and how much they carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rhythm {
    /// Bytes of a commit beyond its records, both ways, mean.
    overhead: f64,
    /// Bytes of records a second, mean.
    traffic: f64,
    /// Bytes on the wire, and the time, at the last commit.
    last: Option<(u64, u64)>,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { overhead: OVERHEAD_FIRST, traffic: 0.0, last: None }
    }
}

impl Rhythm {
    /// A commit that carried `payload` bytes is through; `wire` bytes went both ways since the start.
    pub(super) fn committed(&mut self, payload: u64, wire: u64, now_ms: u64) {
        if let Some((wire_before, ms_before)) = self.last.replace((wire, now_ms)) {
            let overhead = wire.saturating_sub(wire_before).saturating_sub(payload) as f64;
            self.overhead += NEWEST * (overhead - self.overhead);
            let seconds = now_ms.saturating_sub(ms_before).max(1) as f64 / 1_000.0;
            self.traffic += NEWEST * (payload as f64 / seconds - self.traffic);
        }
    }

    /// Least time between two commits, where `allowed` bytes a second may go over the link.
    pub(super) fn every(&self, allowed: f64) -> Duration {
        let spare = (allowed - self.traffic).min(allowed * OVERHEAD_PART);
        if spare <= 0.0 {
            return EVERY_MAX;
        }
        let seconds = (self.overhead / spare).clamp(EVERY_MIN.as_secs_f64(), EVERY_MAX.as_secs_f64());
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(payload: u64, overhead: u64, every_ms: u64) -> Rhythm {
        let (mut rhythm, mut wire) = (Rhythm::default(), 0);
        for commit in 0..200 {
            rhythm.committed(payload, wire, commit * every_ms);
            wire += payload + overhead;
        }
        rhythm
    }

    #[test]
    fn a_small_budget_spreads_them_and_heavy_traffic_more() {
        // 20 MB a day are 231 bytes a second.
        let allowed = 231.0;
        let quiet = after(150, 1_500, 60_000).every(allowed);
        assert!(quiet > Duration::from_secs(20) && quiet < Duration::from_secs(30), "{quiet:?}");
        let busy = after(12_000, 1_500, 60_000).every(allowed);
        assert!(busy > Duration::from_secs(40) && busy < Duration::from_secs(60), "{busy:?}");
        assert_eq!(after(20_000, 1_500, 60_000).every(allowed), EVERY_MAX, "records alone take more than it allows");
    }

    #[test]
    fn a_wide_link_needs_no_spreading() {
        assert_eq!(after(150, 1_500, 60_000).every(1e6), EVERY_MIN);
    }
}
