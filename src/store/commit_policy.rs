//! When the open commit is due. Pure: transcripts are its tests.
//!
//! Every commit costs some 28 KB of flash beyond what is in it, so the fewer the better; and whoever waits for an
//! acknowledgement waits for one. In between stand: a *window* between the beginnings of two commits (0 where the medium
//! bears it: then a commit begins as soon as the writer is free, and takes what has come meanwhile), a daily budget that
//! stretches the window, and what waits for nothing.
//!
//! Invariants:
//! - After a pause of a window the first arrival is committed at once.
//! - Nothing that wants a commit waits longer than the larger of `window_ms` and `interval_max_ms` after the commit before.
//! - What merely rides never makes a commit before its own time.

use std::time::Duration;

/// A window closes early when this much waits, bytes: beyond it a commit costs a tenth more than its content.
pub(super) const CLOSE_BYTES: usize = 256 << 10;

/// What a commit doesn't change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// Least time between the beginnings of two commits, ms.
    pub window_ms: u64,
    /// The budget stretches the window at most to this, ms.
    pub interval_max_ms: u64,
}

impl Rules {
    /// Times of more than 584 million years count as that.
    pub(super) fn of(window: Duration, interval_max: Duration) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { window_ms: ms(window), interval_max_ms: ms(interval_max) }
    }
}

/// The open commit, and what came before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// Something in it wants the next commit, and doesn't just ride.
    pub wanted: bool,
    /// Something in it doesn't wait for company, or there is nothing to write.
    pub at_once: bool,
    /// What rides in it does so until then, by the monotonic clock, ms.
    pub rides_until_ms: Option<u64>,
    /// About what it will write, bytes.
    pub bytes: usize,
    /// When the last commit began.
    pub began_ms: Option<u64>,
    /// When the daily budget has earned what was written so far.
    pub earned_ms: u64,
}

/// When the open commit is due, by the monotonic clock, ms; `None` if there is nothing in it. What lies in the past is due.
pub(super) fn due_ms(rules: Rules, waiting: &Waiting) -> Option<u64> {
    let wanted = waiting.wanted.then(|| match waiting.began_ms {
        _ if waiting.at_once || waiting.bytes >= CLOSE_BYTES => 0,
        None => 0,
        Some(began) => {
            let window = began.saturating_add(rules.window_ms);
            let longest = began.saturating_add(rules.window_ms.max(rules.interval_max_ms));
            window.max(waiting.earned_ms.min(longest))
        }
    });
    let rides = waiting.rides_until_ms.map(|until| if waiting.at_once { 0 } else { until });
    wanted.into_iter().chain(rides).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays arrivals (ms, bytes) of a trickle against the policy; every commit takes `took_ms`. When commits began.
    fn play(rules: Rules, took_ms: u64, arrivals: &[(u64, usize)]) -> Vec<u64> {
        let (mut began, mut free_at, mut rest) = (None, 0, arrivals);
        let mut commits = Vec::new();
        while let Some(&(first, _)) = rest.first() {
            let mut now = free_at.max(first);
            loop {
                let here = rest.iter().take_while(|(at, _)| *at <= now);
                let bytes = here.map(|(_, bytes)| bytes).sum();
                let waiting = Waiting { wanted: true, bytes, began_ms: began, ..Waiting::default() };
                let due = due_ms(rules, &waiting).unwrap();
                if due <= now {
                    break;
                }
                // The next arrival may close it early.
                now = rest.iter().map(|(at, _)| *at).find(|at| *at > now).map_or(due, |at| at.min(due));
            }
            rest = &rest[rest.iter().take_while(|(at, _)| *at <= now).count()..];
            began = Some(now);
            free_at = now + took_ms;
            commits.push(now);
        }
        commits
    }

    #[test]
    fn a_trickle_on_a_card_is_one_commit_a_second() {
        let card = Rules { window_ms: 1_000, interval_max_ms: 5_000 };
        let every_100_ms: Vec<_> = (0..31).map(|n| (n * 100, 1_000)).collect();
        assert_eq!(play(card, 20, &every_100_ms), [0, 1_000, 2_000, 3_000]);
        // After a pause the first one is committed at once.
        assert_eq!(play(card, 20, &[(0, 1), (5_000, 1), (5_001, 1), (9_000, 1)]), [0, 5_000, 6_000, 9_000]);
        // A flood isn't held up.
        let flood: Vec<_> = (0..40).map(|n| (n, 64 << 10)).collect();
        assert_eq!(play(card, 5, &flood)[..4], [0, 5, 10, 15]);
        let faster: Vec<_> = (0..10).map(|n| (n * 50, 64 << 10)).collect();
        assert_eq!(play(card, 5, &faster), [0, 200, 400, 1_400], "256 KiB wait after four");
    }

    #[test]
    fn elsewhere_a_commit_begins_as_soon_as_the_writer_is_free() {
        let disk = Rules { window_ms: 0, interval_max_ms: 5_000 };
        let every_ms: Vec<_> = (0..12).map(|n| (n, 100)).collect();
        assert_eq!(play(disk, 4, &every_ms), [0, 4, 8, 12], "what came during a commit is in the next");
        assert_eq!(play(disk, 4, &[(0, 1), (50, 1)]), [0, 50]);
    }

    #[test]
    fn a_budget_stretches_the_window_up_to_its_bound() {
        let card = Rules { window_ms: 1_000, interval_max_ms: 5_000 };
        let base = Waiting { wanted: true, began_ms: Some(10_000), ..Waiting::default() };
        let at = |earned_ms| due_ms(card, &Waiting { earned_ms, ..base });
        assert_eq!([at(0), at(12_500), at(3_000_000)], [Some(11_000), Some(12_500), Some(15_000)]);
        // What is urgent doesn't wait for it, nor does a lot.
        let deep = Waiting { earned_ms: u64::MAX, ..base };
        assert_eq!(due_ms(card, &Waiting { at_once: true, ..deep }), Some(0));
        assert_eq!(due_ms(card, &Waiting { bytes: CLOSE_BYTES, ..deep }), Some(0));
        // An explicit window larger than the bound holds.
        let wide = Rules { window_ms: 8_000, interval_max_ms: 5_000 };
        assert_eq!(due_ms(wide, &deep), Some(18_000));
    }

    #[test]
    fn riders_wait_for_company_or_their_time() {
        let card = Rules { window_ms: 1_000, interval_max_ms: 5_000 };
        assert_eq!(due_ms(card, &Waiting::default()), None);
        let riders = Waiting { rides_until_ms: Some(70_000), began_ms: Some(10_000), ..Waiting::default() };
        assert_eq!(due_ms(card, &riders), Some(70_000));
        assert_eq!(due_ms(card, &Waiting { bytes: 2 * CLOSE_BYTES, ..riders }), Some(70_000));
        assert_eq!(due_ms(card, &Waiting { wanted: true, ..riders }), Some(11_000));
        assert_eq!(due_ms(card, &Waiting { at_once: true, ..riders }), Some(0), "nothing to write: told at once");
    }
}
