//! Latencies counted in classes: percentiles of any number of them in little memory.
//!
//! A class is a 32nd of a power of two wide, so a percentile is at most 3 % above the truth; the maximum is exact.

use std::time::Duration;

/// Classes of a power of two.
const STEPS: u64 = 32;
/// Classes in all: up to 2^63 ns.
const CLASSES: usize = 64 * STEPS as usize;

/// Latencies, counted.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { counts: vec![0; CLASSES], total: 0, max: Duration::ZERO }
    }
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(class_of(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(latency);
    }

    pub(super) fn merge(&mut self, other: &Latencies) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// How many were recorded.
    pub(super) fn count(&self) -> u64 {
        self.total
    }

    /// What `percent` (0 to 100) of all are not above; zero if there are none.
    pub(super) fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut below = 0;
        for (class, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Duration::from_nanos(upper_end(class)).min(self.max);
            }
        }
        self.max
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }
}

/// Below [`STEPS`] each value has its class; above, each power of two has [`STEPS`] classes.
fn class_of(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEPS.ilog2();
    ((u64::from(shift) * STEPS) + (nanos >> shift)) as usize
}

/// The largest value of a class.
fn upper_end(class: usize) -> u64 {
    let class = class as u64;
    if class < 2 * STEPS {
        return class;
    }
    let (shift, step) = (class / STEPS - 1, class % STEPS + STEPS);
    // The last classes end beyond 64 bits.
    (u128::from(step + 1) << shift).saturating_sub(1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_class_and_classes_ascend() {
        let mut last = 0;
        for nanos in (0..200).chain([1_000, 1_023, 1_024, 65_535, 1_000_000, u64::MAX / 2, u64::MAX]) {
            let class = class_of(nanos);
            assert!(class >= last && class < CLASSES, "{nanos}");
            assert!(upper_end(class) >= nanos, "{nanos}");
            assert!(nanos < STEPS || upper_end(class) - nanos <= nanos / STEPS, "{nanos}");
            last = class;
        }
    }

    #[test]
    fn percentiles_of_known_values() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.percentile(99.0), latencies.max()), (Duration::ZERO, Duration::ZERO));
        (1..=1_000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        for (percent, ms) in [(50.0, 500), (95.0, 950), (99.0, 990), (100.0, 1_000)] {
            let (found, truth) = (latencies.percentile(percent), Duration::from_millis(ms));
            assert!(found >= truth && found <= truth * 104 / 100, "{percent}: {found:?}");
        }
        let mut both = Latencies::default();
        both.record(Duration::from_secs(9));
        both.merge(&latencies);
        assert_eq!((both.count(), both.max()), (1_001, Duration::from_secs(9)));
    }
}
