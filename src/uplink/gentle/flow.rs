//! How much may be under way: what the link carries in a round trip must be, else it idles while answers travel. Pure.
//!
//! Invariants: never less than [`WINDOW_BYTES`], never more than [`WINDOW_BYTES_MAX`]; it grows only where the window is what
//! held records back.

use std::time::{Duration, Instant};

use super::super::options::{WINDOW_BYTES, WINDOW_BYTES_MAX};

/// The window holds so many times what the link carries in a round trip: with one, the link would idle while a batch is made or
/// an answer read; and while the window is too small, what is measured is too little.
const GAIN: f64 = 3.0;
/// What is acknowledged is measured over a time of at least this, and two round trips.
const MEASURED_OVER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(in crate::uplink) struct Flow {
    /// When the measuring began, and the bytes acknowledged since.
    since: Option<Instant>,
    bytes: u64,
    /// The window was full meanwhile.
    held_back: bool,
    /// Bytes a second that were acknowledged while the window was full.
    rate: f64,
}

impl Flow {
    /// There is more to send, but the window is full.
    pub(in crate::uplink) fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// So many bytes were acknowledged.
    pub(in crate::uplink) fn acknowledged(&mut self, bytes: u64, round_trip: Duration, now: Instant) {
        let Some(since) = self.since else {
            // The first answer begins a measure; it tells nothing of how long its bytes took.
            (self.since, self.bytes, self.held_back) = (Some(now), 0, false);
            return;
        };
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(since);
        if elapsed < MEASURED_OVER.max(round_trip * 2) {
            return;
        }
        if self.held_back {
            let measured = self.bytes as f64 / elapsed.as_secs_f64();
            self.rate = if measured > self.rate { measured } else { (self.rate * 3.0 + measured) / 4.0 };
        }
        (self.since, self.bytes, self.held_back) = (Some(now), 0, false);
    }

    /// Bytes that may be under way.
    pub(in crate::uplink) fn window(&self, round_trip: Duration) -> usize {
        ((self.rate * round_trip.as_secs_f64() * GAIN) as usize).clamp(WINDOW_BYTES, WINDOW_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// The part of a link of this rate and round trip that is used after a while, and the largest window; `offered` bytes a second
    /// come to be sent.
    fn play(rate: f64, round_trip: f64, offered: f64) -> (f64, usize) {
        const BATCH: usize = 256 * 1_024;
        let (mut flow, begin, round_trip) = (Flow::default(), Instant::now(), Duration::from_secs_f64(round_trip));
        let mut answers: VecDeque<Duration> = VecDeque::new();
        let (mut now, mut free, mut sent, mut largest) = (Duration::ZERO, Duration::ZERO, 0_usize, 0);
        let (end, half) = (Duration::from_secs(120), Duration::from_secs(60));
        let mut used = 0.0;
        while now < end {
            while answers.front().is_some_and(|at| *at <= now) {
                answers.pop_front();
                flow.acknowledged(BATCH as u64, round_trip, begin + now);
            }
            let window = flow.window(round_trip);
            largest = largest.max(window);
            while (sent as f64) < offered * now.as_secs_f64() {
                if (answers.len() + 1) * BATCH > window {
                    flow.hold_back();
                    break;
                }
                let leaves = free.max(now);
                free = leaves + Duration::from_secs_f64(BATCH as f64 / rate);
                answers.push_back(free + round_trip);
                sent += BATCH;
                if now >= half {
                    used += BATCH as f64;
                }
            }
            now += Duration::from_millis(5);
        }
        (used / (rate * (end - half).as_secs_f64()), largest)
    }

    #[test]
    fn a_long_thin_link_is_filled_and_a_short_one_takes_no_more_memory() {
        for (rate, round_trip) in [(1.25e6, 1.0), (1.25e6, 0.1), (12.5e6, 0.1), (125e3, 3.0)] {
            let (used, window) = play(rate, round_trip, 1e12);
            assert!(used > 0.9, "{rate} B/s, {round_trip} s: {used} with {window}");
        }
        assert_eq!(play(1.25e6, 0.1, 1e12).1, WINDOW_BYTES);
        assert_eq!(play(125e6, 0.001, 1e12).1, WINDOW_BYTES);
        // Beyond the bound it is the bound that counts.
        let (used, window) = play(12.5e6, 1.0, 1e12);
        assert!(used < 0.5 && window == WINDOW_BYTES_MAX, "{used} {window}");
    }

    #[test]
    fn where_the_window_holds_nothing_back_it_does_not_grow() {
        assert_eq!(play(1.25e6, 1.0, 300e3).1, WINDOW_BYTES);
    }
}
