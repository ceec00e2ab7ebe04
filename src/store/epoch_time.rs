//! Time over boots: how old a commit is, and what time it was, for a store that may have no clock. Pure.
//!
//! Each boot epoch's row has, in milliseconds less the monotonic clock of that epoch:
//! - `age`: a clock of the store's own that only ever goes on. It counts the time in which the store was open, as far as
//!   commits tell; and the time between two openings only where the wall clock was believed on both sides. Ages are
//!   differences of it: so no age is ever larger than the truth, whatever the wall clock shows.
//! - `basis`: the wall time that provisional stamps of the epoch count from.
//! - `learned`: the wall time as it was first believed in this epoch, once it was. What was stamped before is served
//!   corrected by `learned - basis`.
//! - `highest`: the latest wall time believed in this epoch. A gap between two openings counts from there, so that it is
//!   never taken for longer than it was because the clock was set ahead in between.

use super::clock::WALL_FLOOR_MS;
use super::format::u64_at;
use super::types::{CommitSeq, EpochRow, Stamp};

/// A longer gap between two openings isn't believed, ms: rather a clock is wrong.
const GAP_MS_MAX: i64 = 366 * 86_400_000;
/// A wall clock that isn't believed may be this much ahead of what is known, ms: the time in which the power was off.
const AHEAD_MS_MAX: i64 = 400 * 86_400_000;
/// The row is brought up to date when `highest` has grown by that, ms.
const HIGHEST_STEP_MS: i64 = 60_000;
/// What a row has for "not known".
const UNKNOWN: i64 = i64::MIN;

/// What an epoch's row says of time. Milliseconds, less the epoch's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpochTime {
    /// The store's own age.
    pub age_ms: i64,
    /// Wall time that provisional stamps count from.
    pub basis_ms: i64,
    /// Wall time as it was first believed.
    pub learned_ms: Option<i64>,
    /// The latest wall time believed.
    pub highest_ms: Option<i64>,
}

impl EpochTime {
    /// Bytes of the encoded form.
    pub(super) const BYTES: usize = 32;

    /// Begins an epoch after those of `rows`, whose last commit was made in epoch `last.0` at `last.1`. `raw_wall_ms` is
    /// what the wall clock shows, believed or not.
    pub(super) fn begin(rows: &[EpochRow], last: Option<(u32, Stamp)>, mono_ms: u64, raw_wall_ms: i64) -> Self {
        let mono = signed(mono_ms);
        let age_now = last.map_or(0, |(epoch, stamp)| {
            let of_epoch = rows.iter().find(|row| row.epoch.ordinal == epoch);
            of_epoch.map_or(0, |row| row.time.age_ms).saturating_add(signed(stamp.mono_ms))
        });
        let estimate = wall_less_age(rows, |time| time.learned_ms).map(|line| line.saturating_add(age_now));
        let plausible = match estimate {
            Some(estimate) => raw_wall_ms >= estimate && raw_wall_ms.saturating_sub(estimate) <= AHEAD_MS_MAX,
            None => raw_wall_ms >= WALL_FLOOR_MS,
        };
        let wall = if plausible { raw_wall_ms } else { estimate.unwrap_or(WALL_FLOOR_MS) };
        Self {
            age_ms: age_now.saturating_sub(mono),
            basis_ms: wall.saturating_sub(mono),
            learned_ms: None,
            highest_ms: None,
        }
    }

    /// Whether a moment at which the wall clock is believed says anything that the row doesn't.
    pub(super) fn is_news(&self, now: &Stamp) -> bool {
        let offset = now.wall_ms.saturating_sub(signed(now.mono_ms));
        let grown = |highest: i64| offset.saturating_sub(highest) >= HIGHEST_STEP_MS;
        self.learned_ms.is_none() || self.highest_ms.is_none_or(grown)
    }

    /// Takes in a moment at which the wall clock is believed; `before` are the rows of earlier epochs.
    pub(super) fn believe(&mut self, before: &[EpochRow], now: &Stamp) {
        let offset = now.wall_ms.saturating_sub(signed(now.mono_ms));
        if self.learned_ms.is_none() {
            self.learned_ms = Some(offset);
            if let Some(line) = wall_less_age(before, |time| time.highest_ms) {
                let gap = offset.saturating_sub(self.age_ms).saturating_sub(line);
                if (1..=GAP_MS_MAX).contains(&gap) {
                    self.age_ms = self.age_ms.saturating_add(gap);
                }
            }
        }
        self.highest_ms = Some(self.highest_ms.map_or(offset, |highest| highest.max(offset)));
    }

    pub(super) fn encode(&self) -> [u8; Self::BYTES] {
        let fields =
            [self.age_ms, self.basis_ms, self.learned_ms.unwrap_or(UNKNOWN), self.highest_ms.unwrap_or(UNKNOWN)];
        let mut out = [0; Self::BYTES];
        for (place, byte) in out.iter_mut().zip(fields.into_iter().flat_map(i64::to_le_bytes)) {
            *place = byte;
        }
        out
    }

    pub(super) fn decode(raw: &[u8]) -> Self {
        let at = |index: usize| u64_at(raw, index * 8) as i64;
        let known = |value: i64| (value != UNKNOWN).then_some(value);
        Self { age_ms: at(0), basis_ms: at(1), learned_ms: known(at(2)), highest_ms: known(at(3)) }
    }

    /// What is added to provisional stamps when they are served; `None` as long as the time isn't known.
    fn correction(&self) -> Option<i64> {
        self.learned_ms.map(|learned| learned.saturating_sub(self.basis_ms))
    }
}

/// Wall time less age, by the latest epoch in which the time was known.
fn wall_less_age(rows: &[EpochRow], wall: impl Fn(&EpochTime) -> Option<i64>) -> Option<i64> {
    rows.iter().rev().find_map(|row| Some(wall(&row.time)?.saturating_sub(row.time.age_ms)))
}

fn signed(mono_ms: u64) -> i64 {
    i64::try_from(mono_ms).unwrap_or(i64::MAX)
}

/// The ages of commits, as of a moment.
#[derive(Clone, Debug)]
pub(super) struct Ages {
    /// By ordinal.
    offsets: Vec<(u32, i64)>,
    now_ms: i64,
}

impl Ages {
    /// As of `mono_ms` in epoch `epoch`, whose row may not be there yet.
    pub(super) fn new(rows: &[EpochRow], epoch: u32, time: &EpochTime, mono_ms: u64) -> Self {
        let earlier = rows.iter().filter(|row| row.epoch.ordinal != epoch);
        let mut offsets: Vec<_> = earlier.map(|row| (row.epoch.ordinal, row.time.age_ms)).collect();
        offsets.push((epoch, time.age_ms));
        Self { offsets, now_ms: time.age_ms.saturating_add(signed(mono_ms)) }
    }

    /// How long ago something was, at least, ms; `None` if its epoch isn't known any more.
    pub(super) fn age_ms(&self, epoch: u32, stamp: &Stamp) -> Option<u64> {
        let (_, offset) = self.offsets.iter().find(|(ordinal, _)| *ordinal == epoch)?;
        let then = offset.saturating_add(signed(stamp.mono_ms));
        Some(u64::try_from(self.now_ms.saturating_sub(then)).unwrap_or(0))
    }
}

/// By how much the provisional stamps of each epoch are wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Corrections {
    /// First commit of each epoch, and what to add; ascending.
    epochs: Vec<(CommitSeq, Option<i64>)>,
    highest: i64,
}

impl Corrections {
    pub(super) fn new(rows: &[EpochRow]) -> Self {
        let epochs: Vec<_> = rows.iter().map(|row| (row.first_commit, row.time.correction())).collect();
        let highest = epochs.iter().filter_map(|(_, delta)| *delta).max().unwrap_or(0).max(0);
        Self { epochs, highest }
    }

    /// What to add to provisional stamps of a commit, ms; `None` if that isn't known.
    pub(super) fn of(&self, commit: CommitSeq) -> Option<i64> {
        let behind = self.epochs.partition_point(|(first, _)| *first <= commit);
        self.epochs.get(behind.checked_sub(1)?)?.1
    }

    /// At most this is the true time of what was stamped `timestamp_ms`.
    pub(super) fn bound(&self, timestamp_ms: i64) -> i64 {
        timestamp_ms.saturating_add(self.highest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::BootEpoch;
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const YEARS: i64 = 3_660 * DAY;
    const NOON: i64 = 1_800_000_000_000;

    fn stamp(mono_ms: i64, wall_ms: i64) -> Stamp {
        Stamp { mono_ms: mono_ms as u64, wall_ms, wall_trusted: true }
    }

    /// Openings one after the other: what the wall clock shows at first, hours for which it runs, and the wall times
    /// that are believed in it, each at an hour.
    struct Life {
        rows: Vec<EpochRow>,
        last: Option<(u32, Stamp)>,
    }

    impl Life {
        fn open(&mut self, raw_wall_ms: i64, hours: i64, believed: &[(i64, i64)]) -> EpochTime {
            let ordinal = self.rows.len() as u32 + 1;
            let mut time = EpochTime::begin(&self.rows, self.last, 0, raw_wall_ms);
            for (hour, wall) in believed {
                time.believe(&self.rows, &stamp(hour * HOUR, *wall));
            }
            assert_eq!(EpochTime::decode(&time.encode()), time);
            let epoch = BootEpoch { ordinal, id: 0 };
            self.rows.push(EpochRow { epoch, first_commit: u64::from(ordinal) * 10, time });
            self.last = Some((ordinal, stamp(hours * HOUR, 0)));
            time
        }

        /// Age now, at the end of the last opening, of what was appended at the beginning of the first.
        fn age(&self) -> i64 {
            let row = self.rows.last().unwrap();
            let now = self.last.unwrap().1.mono_ms;
            let ages = Ages::new(&self.rows, row.epoch.ordinal, &row.time, now);
            ages.age_ms(1, &stamp(0, 0)).unwrap() as i64
        }
    }

    fn life() -> Life {
        Life { rows: Vec::new(), last: None }
    }

    #[test]
    fn time_without_power_counts_only_between_times_that_were_believed() {
        let mut without = life();
        without.open(0, 5, &[]);
        without.open(0, 3, &[]);
        assert_eq!(without.age(), 8 * HOUR);

        let mut with = life();
        with.open(NOON, 5, &[(0, NOON)]);
        with.open(NOON + DAY, 3, &[(1, NOON + DAY + HOUR)]);
        assert_eq!(with.age(), DAY + 3 * HOUR);

        let mut on_one_side = life();
        on_one_side.open(NOON, 5, &[(0, NOON)]);
        on_one_side.open(NOON + DAY, 3, &[]);
        assert_eq!(on_one_side.age(), 8 * HOUR);
        // Believed again in the third: all of the time since the first counts.
        on_one_side.open(0, 1, &[(1, NOON + 2 * DAY)]);
        assert_eq!(on_one_side.age(), 2 * DAY);
    }

    #[test]
    fn a_clock_that_jumps_by_years_makes_nothing_old() {
        // Within an opening: ages are the monotonic clock's.
        let mut ahead = life();
        ahead.open(NOON, 10, &[(1, NOON), (2, NOON + YEARS), (3, NOON + HOUR)]);
        assert_eq!(ahead.age(), 10 * HOUR);
        // Over a restart, whichever time it shows then.
        let mut back = ahead;
        back.open(NOON, 1, &[(0, NOON + 12 * HOUR)]);
        assert_eq!(back.age(), 11 * HOUR, "the gap counts from the latest time that was believed");
        let mut years = life();
        years.open(NOON, 10, &[(0, NOON)]);
        years.open(NOON + YEARS, 1, &[(0, NOON + YEARS)]);
        assert_eq!(years.age(), 11 * HOUR, "nobody leaves a gateway off for ten years");
        let mut backward = life();
        backward.open(NOON, 10, &[(0, NOON)]);
        backward.open(0, 1, &[(0, NOON - YEARS)]);
        assert_eq!(backward.age(), 11 * HOUR);
    }

    #[test]
    fn provisional_time_goes_on_from_the_last_that_was_believed() {
        let mut life = life();
        assert_eq!(life.open(5, 1, &[]).basis_ms, WALL_FLOOR_MS, "never before this version was made");
        let time = life.open(NOON, 10, &[(1, NOON + HOUR)]);
        assert_eq!((time.basis_ms, time.learned_ms), (NOON, Some(NOON)));
        assert_eq!(life.open(7_000, 2, &[]).basis_ms, NOON + 10 * HOUR);
        assert_eq!(life.open(NOON - YEARS, 1, &[]).basis_ms, NOON + 12 * HOUR);
        assert_eq!(life.open(NOON + YEARS, 1, &[]).basis_ms, NOON + 13 * HOUR);
        // A battery clock, not vouched for, that shows what may well be true.
        assert_eq!(life.open(NOON + 3 * DAY, 1, &[]).basis_ms, NOON + 3 * DAY);
    }

    #[test]
    fn corrections_are_found_by_commit() {
        let mut life = life();
        life.open(0, 1, &[]);
        life.open(0, 1, &[(0, NOON)]);
        life.open(NOON, 1, &[]);
        let corrections = Corrections::new(&life.rows);
        let delta = NOON - WALL_FLOOR_MS - HOUR;
        let basis = life.rows[1].time.basis_ms;
        assert_eq!(basis, WALL_FLOOR_MS);
        assert_eq!(
            [9, 10, 20, 29, 30].map(|commit| corrections.of(commit)),
            [None, None, Some(NOON - basis), Some(NOON - basis), None]
        );
        assert!(delta > 0 && corrections.bound(5) == 5 + NOON - basis);
        assert_eq!(Corrections::default().bound(5), 5);
    }
}
