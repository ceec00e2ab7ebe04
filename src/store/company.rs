//! Whether a commit waits a moment for company. Pure: transcripts are its tests.
//!
//! Where commits follow each other without a window, producers that keep a few requests on the way fall into two halves:
//! what came during a commit is in the next one, and what that commit answers comes during it. Twice the commits, each
//! with its own sync and its 28 KB, for the same records. So after a commit the next one waits for those who were just
//! told, if they come back quickly.
//!
//! Invariants:
//! - Nobody waits longer than the commits before took, counted from the end of the last one, and never longer than [`WAIT_MAX`].
//! - Where the company doesn't come, it is waited for ever more seldom.

use std::time::Duration;

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_millis(5);
/// After waits in vain, so many commits don't wait, at most.
const SKIP_MAX: u32 = 64;

/// What is expected after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// So many operations.
    pub ops: usize,
    /// Within this time of the commit's end.
    pub within: Duration,
}

/// What is known of the commits before.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// What a commit takes, about.
    took: Duration,
    /// Commits until the next one waits.
    skip: u32,
    /// Waits in vain, one after the other.
    vain: u32,
}

impl Company {
    /// A commit has ended: it took so long and told so many operations, while `queued` others came. Whom the next one
    /// should wait for.
    pub(super) fn committed(&mut self, took: Duration, told: usize, queued: usize) -> Option<Expected> {
        self.took = if self.took.is_zero() { took } else { (self.took * 3 + took) / 4 };
        if let Some(left) = self.skip.checked_sub(1) {
            self.skip = left;
            return None;
        }
        (told > 0).then(|| Expected { ops: told + queued, within: self.took.min(WAIT_MAX) })
    }

    /// Whether the expected ones came.
    pub(super) fn came(&mut self, all: bool) {
        self.vain = if all { 0 } else { self.vain + 1 };
        self.skip = if all { 0 } else { 1u32.checked_shl(self.vain).unwrap_or(SKIP_MAX).min(SKIP_MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn who_was_told_is_expected_with_those_who_came_meanwhile() {
        let mut company = Company::default();
        assert_eq!(company.committed(MS, 2, 3), Some(Expected { ops: 5, within: MS }));
        company.came(true);
        // The time is that of the commits before, not of one that was slow.
        assert_eq!(company.committed(5 * MS, 5, 0), Some(Expected { ops: 5, within: 2 * MS }));
        assert_eq!(company.committed(1_000 * MS, 5, 0).map(|expected| expected.within), Some(WAIT_MAX));
        assert_eq!(company.committed(MS, 0, 7), None, "nobody was told");
    }

    #[test]
    fn who_does_not_come_is_waited_for_ever_more_seldom() {
        let mut company = Company::default();
        let mut waits = Vec::new();
        for commit in 0..200 {
            if company.committed(MS, 1, 0).is_some() {
                waits.push(commit);
                company.came(false);
            }
        }
        assert_eq!(waits, [0, 3, 8, 17, 34, 67, 132, 197]);
        company.came(true);
        assert!(company.committed(MS, 1, 0).is_some());
    }
}
