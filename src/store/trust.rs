//! When the wall clock is believed, and what time it is while it isn't. [`Trust`] is pure; [`TrustedClock`] asks the clock
//! below and remembers.
//!
//! The clock below *vouches* for its wall time (the kernel says that it is synchronised, or the configuration says so).
//! That suffices at first. From then on wall and monotonic clock must move together: where the wall clock jumps against
//! the other, trust is suspended, and time goes on along the line it was on, until the wall clock is back there, or has
//! stayed on its new line for ten minutes and is vouched for all the while.
//!
//! Before the wall clock was ever believed in this opening, time is *provisional*: a basis that was chosen at the opening
//! (`epoch_time` says how) plus the monotonic clock. So within an opening time never jumps before it is learned.
//!
//! Invariants: the wall clock is looked at often (the store does so every second); a jump between two looks is noticed
//! if it is more than two seconds and a hundredth of the time between them.

use std::sync::{Arc, Mutex};

use super::clock::Clock;
use super::ring::lock;

/// A smaller difference between two looks is an adjustment, not a jump, ms.
const JUMP_MS: u64 = 2_000;
/// How long a wall clock that has jumped must move with the monotonic one, vouched for, ms.
const CONFIRM_MS: u64 = 600_000;

/// What is known of the wall clock. Lines are wall less monotonic time, ms.
#[derive(Clone, Copy, Debug, Default)]
struct Trust {
    state: State,
    /// Time goes on along this line while the wall clock isn't believed.
    basis: i64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// Never believed in this opening.
    #[default]
    Unknown,
    /// Believed, if it is vouched for: it has moved with the monotonic clock since the last look.
    OnLine { line: i64, looked_ms: u64 },
    /// It has jumped off this line, to another one on which it has been since then.
    Suspended { line: i64, off_ms: u64, new: i64, since_ms: u64, looked_ms: u64 },
}

/// A time, and how good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub wall_ms: i64,
    pub trusted: bool,
    /// The time was not known yet in this opening: it counts from the basis.
    pub provisional: bool,
}

impl Trust {
    fn look(&mut self, mono_ms: u64, wall_ms: i64, vouched: bool) -> Told {
        let mono = i64::try_from(mono_ms).unwrap_or(i64::MAX);
        let offset = wall_ms.saturating_sub(mono);
        let off = |line: i64, since_ms: u64| {
            offset.abs_diff(line) > JUMP_MS.saturating_add(mono_ms.saturating_sub(since_ms) / 100)
        };
        let on_line = State::OnLine { line: offset, looked_ms: mono_ms };
        self.state = match self.state {
            State::Unknown if vouched => on_line,
            State::Unknown => State::Unknown,
            State::OnLine { line, looked_ms } if off(line, looked_ms) => {
                State::Suspended { line, off_ms: mono_ms, new: offset, since_ms: mono_ms, looked_ms: mono_ms }
            }
            State::OnLine { .. } => on_line,
            State::Suspended { line, off_ms, new, since_ms, looked_ms } => {
                if !off(line, off_ms) {
                    on_line
                } else if off(new, looked_ms) || !vouched {
                    State::Suspended { line, off_ms, new: offset, since_ms: mono_ms, looked_ms: mono_ms }
                } else if mono_ms.saturating_sub(since_ms) >= CONFIRM_MS {
                    on_line
                } else {
                    State::Suspended { line, off_ms, new: offset, since_ms, looked_ms: mono_ms }
                }
            }
        };
        let (line, trusted) = match self.state {
            State::Unknown => (self.basis, false),
            State::OnLine { line, .. } => (line, vouched),
            State::Suspended { line, .. } => (line, false),
        };
        let provisional = matches!(self.state, State::Unknown);
        Told { wall_ms: mono.saturating_add(line), trusted, provisional }
    }
}

/// A clock whose wall time is the best that is known, and that jumps only when that is believed.
#[derive(Debug)]
pub(super) struct TrustedClock {
    below: Arc<dyn Clock>,
    trust: Mutex<Trust>,
}

impl TrustedClock {
    /// Over this clock. Until [`TrustedClock::set_basis`] what isn't believed counts from where the wall clock is now.
    pub(super) fn new(below: Arc<dyn Clock>) -> Self {
        let mono = i64::try_from(below.mono_ms()).unwrap_or(i64::MAX);
        let basis = below.wall_ms().saturating_sub(mono);
        Self { below, trust: Mutex::new(Trust { basis, ..Trust::default() }) }
    }

    /// Sets what provisional time counts from: wall less monotonic time, ms.
    pub(super) fn set_basis(&self, basis: i64) {
        lock(&self.trust).basis = basis;
    }

    /// Monotonic time, ms.
    pub(super) fn mono_ms(&self) -> u64 {
        self.below.mono_ms()
    }

    /// The wall time of the clock below, believed or not.
    pub(super) fn raw_wall_ms(&self) -> i64 {
        self.below.wall_ms()
    }

    /// Looks at the clocks: monotonic time, and what is told of the wall time.
    pub(super) fn look(&self) -> (u64, Told) {
        let mut trust = lock(&self.trust);
        let mono_ms = self.below.mono_ms();
        (mono_ms, trust.look(mono_ms, self.below.wall_ms(), self.below.wall_trusted()))
    }
}

impl Clock for TrustedClock {
    fn mono_ms(&self) -> u64 {
        self.below.mono_ms()
    }

    fn wall_ms(&self) -> i64 {
        self.look().1.wall_ms
    }

    fn wall_trusted(&self) -> bool {
        self.look().1.trusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: i64 = 10 * 366 * 86_400_000;
    const NOON: i64 = 1_800_000_000_000;

    /// Looks every second for `seconds` at a wall clock on a line; what was told at the end.
    fn stay(trust: &mut Trust, mono_ms: &mut u64, line: i64, vouched: bool, seconds: u64) -> Told {
        for _ in 1..seconds {
            *mono_ms += 1_000;
            trust.look(*mono_ms, *mono_ms as i64 + line, vouched);
        }
        *mono_ms += 1_000;
        trust.look(*mono_ms, *mono_ms as i64 + line, vouched)
    }

    /// Boots at 1970, learns the time, jumps ahead ten years, comes back; then jumps for good.
    #[test]
    fn a_clock_that_boots_in_1970_learns_jumps_and_comes_back() {
        let basis = NOON - 86_400_000;
        let (mut trust, mut mono, mut out) = (Trust { basis, ..Trust::default() }, 0, String::new());
        for (what, line, vouched, seconds) in [
            ("boots in 1970", 0, false, 60),
            ("learns the time", NOON, true, 60),
            ("jumps ahead ten years", NOON + YEARS, true, 300),
            ("comes back", NOON, true, 1),
            ("drifts a second in a minute", NOON + 1_000, true, 60),
            ("is no longer vouched for", NOON + 1_000, false, 60),
            ("jumps unvouched", NOON + YEARS, false, 3_600),
            ("is vouched for", NOON + YEARS, true, 599),
            ("stays", NOON + YEARS, true, 2),
        ] {
            let told = stay(&mut trust, &mut mono, line, vouched, seconds);
            let from_noon = told.wall_ms - mono as i64 - NOON;
            out.push_str(&format!(
                "{what}: {from_noon:+} ms, trusted {}, provisional {}\n",
                told.trusted, told.provisional
            ));
        }
        println!("{out}");
        let expected = "\
boots in 1970: -86400000 ms, trusted false, provisional true
learns the time: +0 ms, trusted true, provisional false
jumps ahead ten years: +0 ms, trusted false, provisional false
comes back: +0 ms, trusted true, provisional false
drifts a second in a minute: +1000 ms, trusted true, provisional false
is no longer vouched for: +1000 ms, trusted false, provisional false
jumps unvouched: +1000 ms, trusted false, provisional false
is vouched for: +1000 ms, trusted false, provisional false
stays: +316224000000 ms, trusted true, provisional false
";
        assert_eq!(out, expected);
    }

    #[test]
    fn a_clock_that_keeps_jumping_is_never_believed_again() {
        let (mut trust, mut mono) = (Trust::default(), 0);
        assert!(stay(&mut trust, &mut mono, NOON, true, 5).trusted);
        for n in 1..10 {
            let told = stay(&mut trust, &mut mono, NOON + n * YEARS, true, 500);
            assert_eq!((told.trusted, told.wall_ms), (false, NOON + mono as i64));
        }
        assert!(stay(&mut trust, &mut mono, NOON, true, 1).trusted);
    }
}
