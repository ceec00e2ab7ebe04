//! When a notice is due: every five minutes, and sooner when something has changed that matters. Pure.
//!
//! Invariant: something that changes all the time, as a link does that comes and goes, makes notices no more frequent than every five
//! minutes for long: each early one doubles how long the next change waits.

use std::time::{Duration, Instant};

/// Without a change.
const EVERY: Duration = Duration::from_secs(300);
/// A change waits for so long since the notice before, where that was not about a change.
pub(super) const CHANGE_MIN: Duration = Duration::from_secs(30);
/// Between two looks at what has changed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What is told soon after it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Matters {
    /// When the link last went, or was paused, Unix ms: that is told once it is back.
    pub(super) gone_ms: Option<i64>,
    /// Records that were lost before they were forwarded.
    pub(super) lost: u64,
    pub(super) stalled: usize,
    pub(super) config: u32,
    pub(super) time_trusted: bool,
    /// Of the medium: the budget is not met; its life that is used up, in tenths; what it says of its reserve.
    pub(super) flash: (bool, u8, u8),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    told: Option<(Instant, Matters)>,
    /// How long a change waits now.
    patience: Duration,
    look_at: Option<Instant>,
}

impl Rhythm {
    /// Whether it is worth looking at what has changed; notes the look.
    pub(super) fn may_look(&mut self, now: Instant) -> bool {
        let waits = self.told.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) < self.patience);
        if waits || self.look_at.is_some_and(|at| at > now) {
            return false;
        }
        self.look_at = Some(now + LOOK_EVERY);
        true
    }

    /// Whether a notice is due, as things are.
    pub(super) fn is_due(&self, now: Instant, matters: &Matters) -> bool {
        self.told.as_ref().is_none_or(|(at, told)| {
            let since = now.saturating_duration_since(*at);
            since >= EVERY || since >= self.patience && told != matters
        })
    }

    /// One has gone out.
    pub(super) fn told(&mut self, now: Instant, matters: Matters) {
        let changed = self.told.as_ref().is_some_and(|(_, told)| *told != matters);
        self.patience = if changed { (self.patience * 2).min(EVERY) } else { CHANGE_MIN };
        self.told = Some((now, matters));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which seconds of `until` notices go out, if records go all the time and things are `at(second)`.
    fn notices(until: u64, at: impl Fn(u64) -> Matters) -> Vec<u64> {
        let (begin, mut rhythm, mut went) = (Instant::now(), Rhythm::default(), Vec::new());
        for second in 0..until {
            let now = begin + Duration::from_secs(second);
            if rhythm.may_look(now) && rhythm.is_due(now, &at(second)) {
                rhythm.told(now, at(second));
                went.push(second);
            }
        }
        went
    }

    fn lost(lost: u64) -> Matters {
        Matters { lost, ..Matters::default() }
    }

    #[test]
    fn it_goes_at_the_start_every_five_minutes_and_after_a_change() {
        assert_eq!(notices(700, |_| lost(0)), [0, 300, 600]);
        assert_eq!(notices(700, |second| lost(u64::from(second > 100))), [0, 110, 410]);
        assert_eq!(notices(100, |second| lost(u64::from(second > 5))), [0, 30], "not at once after another");
    }

    #[test]
    fn what_changes_all_the_time_is_told_seldom() {
        let went = notices(86_400, lost);
        assert_eq!(went[..6], [0, 30, 90, 210, 450, 750]);
        assert!(went.len() < 295, "{}", went.len());
        // Quiet for a while, and a change is told soon again.
        let calmed =
            notices(10_000, |second| lost(if second < 5_000 { second } else { 5_000 + u64::from(second > 9_000) }));
        assert!(calmed.iter().any(|second| (9_001..9_011).contains(second)), "{calmed:?}");
    }
}
