//! What went through in the last minutes, for whoever comes to look: a page that begins with its opening shows nothing of an outage.
//!
//! Invariants: bounded memory; a sample reads a few counters and nothing else.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::status::TrafficFigures;
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;

/// Length of a stretch.
const EVERY: Duration = Duration::from_secs(10);
/// Stretches that are kept: ten minutes.
const KEPT: usize = 60;

/// In, out, forwarded.
type Counts = [u64; 3];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Traffic(Mutex<Samples>);

#[derive(Debug, Default)]
struct Samples {
    before: Counts,
    stretches: VecDeque<Counts>,
}

impl Samples {
    fn take(&mut self, now: Counts) {
        if self.stretches.len() >= KEPT {
            self.stretches.pop_front();
        }
        let mut stretch = now;
        for (now, before) in stretch.iter_mut().zip(self.before) {
            *now = now.saturating_sub(before);
        }
        self.stretches.push_back(stretch);
        self.before = now;
    }

    fn figures(&self) -> TrafficFigures {
        let mut figures = TrafficFigures { every_s: EVERY.as_secs(), ..TrafficFigures::default() };
        for [taken, sent, forwarded] in &self.stretches {
            figures.records_in.push(*taken);
            figures.records_out.push(*sent);
            figures.forwarded.push(*forwarded);
        }
        figures
    }
}

impl Traffic {
    /// Samples until shutdown.
    pub(super) async fn keep(&self, shutdown: Shutdown) {
        self.samples().before = counts();
        while shutdown.unless(smol::Timer::after(EVERY)).await.is_some() {
            self.samples().take(counts());
        }
    }

    pub(super) fn figures(&self) -> TrafficFigures {
        self.samples().figures()
    }

    /// A panic elsewhere can't leave it half changed.
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counts() -> Counts {
    let of = &METRICS;
    let out = of.records_out_native.get() + of.records_out_kafka.get() + of.mqtt_delivered.get();
    [of.records_in.get(), out, of.uplink_records.get()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_are_differences_and_few() {
        let mut samples = Samples { before: [100, 0, 0], ..Samples::default() };
        samples.take([110, 2, 3]);
        samples.take([110, 7, 3]);
        let figures = samples.figures();
        assert_eq!((figures.records_in, figures.records_out, figures.forwarded), (vec![10, 0], vec![2, 5], vec![3, 0]));
        for n in 0..2 * KEPT as u64 {
            samples.take([110 + n, 7, 3]);
        }
        assert_eq!((samples.stretches.len(), samples.figures().records_in.last()), (KEPT, Some(&1)));
    }
}
