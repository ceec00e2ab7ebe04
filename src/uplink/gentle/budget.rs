//! `budget`: how much of a day's or month's bytes is used, over restarts.
//!
//! The period is known by the wall clock while that is believed. While it isn't, a period lasts its nominal length in powered
//! time, so that a gateway that never learns the time is not cut off for ever.
//!
//! What is saved is ahead of what was used, by a step: so a crash makes it count too much by a step at most, and saving is rare.
//!
//! Row, 25 bytes: version 1, used u64, first day of the period i64 (days since 1970 in the zone; `i64::MIN`: not known), powered
//! time in it u64 ms; little-endian.

use std::time::Duration;

use crate::calendar::{MS_PER_DAY, civil_from_days, days_from_civil, days_in_month};
use crate::config::{LinkBudget, Period, UtcOffset};
use crate::store::Stamp;

const VERSION: u8 = 1;
const UNKNOWN: i64 = i64::MIN;
/// So many steps of saving a period.
const STEPS: u64 = 256;
const STEP_BYTES_MIN: u64 = 16 * 1_024;

/// What is kept over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Account {
    used: u64,
    /// First day of the period.
    begin: i64,
    powered_ms: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    limit: LinkBudget,
    reset_day: u8,
    zone: UtcOffset,
    account: Account,
    /// Of the clock, when time was last counted.
    counted_ms: u64,
    /// What the durable row says.
    saved: Option<Account>,
}

impl Budget {
    /// Goes on with what was saved; anew, if that is nothing (or from another version).
    pub(super) fn restore(limit: LinkBudget, reset_day: u8, zone: UtcOffset, saved: Option<&[u8]>, now: Stamp) -> Self {
        let saved = saved.and_then(Account::decode);
        let account = saved.unwrap_or(Account { used: 0, begin: UNKNOWN, powered_ms: 0 });
        let mut budget = Self { limit, reset_day, zone, account, counted_ms: now.mono_ms, saved };
        budget.count(0, now);
        budget
    }

    /// Counts bytes that went over the link, and lets time pass.
    pub(super) fn count(&mut self, bytes: u64, now: Stamp) {
        let account = &mut self.account;
        account.powered_ms = account.powered_ms.saturating_add(now.mono_ms.saturating_sub(self.counted_ms));
        self.counted_ms = now.mono_ms;
        if now.wall_trusted {
            let begin = begin_of(self.limit.period, self.reset_day, self.day(now));
            let account = &mut self.account;
            // A clock that went back renews nothing.
            if account.begin != UNKNOWN && begin > account.begin {
                (account.used, account.powered_ms) = (0, 0);
            }
            account.begin = begin;
        } else if account.powered_ms >= nominal_ms(self.limit.period) {
            *account = Account { used: 0, begin: UNKNOWN, powered_ms: 0 };
        }
        self.account.used = self.account.used.saturating_add(bytes);
    }

    /// Bytes used of this period.
    pub(super) fn used(&self) -> u64 {
        self.account.used
    }

    /// What it allows.
    pub(super) fn limit(&self) -> LinkBudget {
        self.limit
    }

    /// Bytes left of this period.
    pub(super) fn left(&self) -> u64 {
        self.limit.bytes.saturating_sub(self.account.used)
    }

    /// Time until the next period; about, while the time is not known.
    pub(super) fn renews_in(&self, now: Stamp) -> Duration {
        if !now.wall_trusted {
            return Duration::from_millis(nominal_ms(self.limit.period).saturating_sub(self.account.powered_ms));
        }
        let next = next_begin(self.limit.period, begin_of(self.limit.period, self.reset_day, self.day(now)));
        let local = now.wall_ms.saturating_add(self.zone.ms());
        Duration::from_millis(next.saturating_mul(MS_PER_DAY).saturating_sub(local).max(0).unsigned_abs())
    }

    /// What is to be made durable now, if the durable row has fallen behind.
    pub(super) fn row_due(&mut self) -> Option<Vec<u8>> {
        let behind = self.saved.is_none_or(|saved| saved.begin != self.account.begin || saved.used < self.account.used);
        behind.then(|| {
            let step = (self.limit.bytes / STEPS).max(STEP_BYTES_MIN);
            self.save(Account { used: self.account.used.saturating_add(step), ..self.account })
        })
    }

    /// The exact row, for a clean end.
    pub(super) fn last_save(&mut self) -> Vec<u8> {
        self.save(self.account)
    }

    /// The last row was not saved.
    pub(super) fn not_saved(&mut self) {
        self.saved = None;
    }

    fn save(&mut self, account: Account) -> Vec<u8> {
        self.saved = Some(account);
        account.encode()
    }

    fn day(&self, now: Stamp) -> i64 {
        now.wall_ms.saturating_add(self.zone.ms()).div_euclid(MS_PER_DAY)
    }
}

impl Account {
    fn encode(self) -> Vec<u8> {
        let mut row = vec![VERSION];
        row.extend(self.used.to_le_bytes());
        row.extend(self.begin.to_le_bytes());
        row.extend(self.powered_ms.to_le_bytes());
        row
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let (version, rest) = row.split_first()?;
        let (used, rest) = rest.split_first_chunk()?;
        let (begin, rest) = rest.split_first_chunk()?;
        let powered_ms = rest.try_into().ok()?;
        (*version == VERSION).then_some(Self {
            used: u64::from_le_bytes(*used),
            begin: i64::from_le_bytes(*begin),
            powered_ms: u64::from_le_bytes(powered_ms),
        })
    }
}

fn nominal_ms(period: Period) -> u64 {
    let days = match period {
        Period::Day => 1,
        Period::Month => 30,
    };
    days * MS_PER_DAY.unsigned_abs()
}

/// The first day of the period that holds `day`.
fn begin_of(period: Period, reset_day: u8, day: i64) -> i64 {
    if period == Period::Day {
        return day;
    }
    let (year, month, of_month) = civil_from_days(day);
    let reset = i64::from(reset_day);
    match (of_month >= reset, month) {
        (true, _) => days_from_civil(year, month, reset),
        (false, 1) => days_from_civil(year - 1, 12, reset),
        (false, _) => days_from_civil(year, month - 1, reset),
    }
}

fn next_begin(period: Period, begin: i64) -> i64 {
    match period {
        Period::Day => begin.saturating_add(1),
        Period::Month => {
            let (year, month, _) = civil_from_days(begin);
            begin.saturating_add(days_in_month(year, month))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(text: &str, reset_day: u8, saved: Option<&[u8]>, now: Stamp) -> Budget {
        Budget::restore(LinkBudget::parse(text).unwrap(), reset_day, UtcOffset::parse("+02:00").unwrap(), saved, now)
    }

    fn at(year: i64, month: i64, day: i64, hour: i64) -> Stamp {
        let wall_ms = days_from_civil(year, month, day) * MS_PER_DAY + hour * 3_600_000;
        Stamp { mono_ms: wall_ms.unsigned_abs(), wall_ms, wall_trusted: true }
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_day_ends_at_midnight_of_the_zone() {
        let mut budget = budget("1MB/day", 1, None, at(2026, 11, 22, 12));
        budget.count(900_000, at(2026, 11, 22, 13));
        assert_eq!((budget.left(), budget.renews_in(at(2026, 11, 22, 13))), (100_000, 9 * HOUR));
        budget.count(900_000, at(2026, 11, 22, 21));
        assert_eq!((budget.left(), budget.used()), (0, 1_800_000));
        budget.count(1, at(2026, 11, 22, 22));
        assert_eq!(budget.used(), 1);
    }

    #[test]
    fn a_month_ends_on_the_reset_day() {
        let mut budget = budget("1GB/month", 15, None, at(2026, 1, 3, 0));
        budget.count(5, at(2026, 1, 14, 21));
        assert_eq!(budget.used(), 5);
        assert_eq!(budget.renews_in(at(2026, 1, 14, 21)), HOUR);
        budget.count(7, at(2026, 1, 14, 22));
        assert_eq!(budget.used(), 7);
        assert_eq!(budget.renews_in(at(2026, 1, 14, 22)), 24 * 31 * HOUR);
        assert_eq!(budget.renews_in(at(2026, 2, 14, 22)), 24 * 28 * HOUR);
    }

    #[test]
    fn it_goes_on_after_a_crash_and_never_counts_less() {
        let now = at(2026, 11, 22, 12);
        let mut first = budget("100MB/day", 1, None, now);
        first.count(1_000, now);
        let row = first.row_due().unwrap();
        first.count(300_000, now);
        assert_eq!(first.row_due(), None, "within the step");
        let crashed = budget("100MB/day", 1, Some(&row), now);
        assert!(crashed.used() >= first.used() && crashed.used() <= first.used() + 100_000_000 / STEPS);
        first.count(200_000, now);
        assert!(first.row_due().is_some());
        let stopped = budget("100MB/day", 1, Some(&first.last_save()), now);
        assert_eq!(stopped.used(), first.used());
        assert_eq!(budget("100MB/day", 1, Some(&row), at(2026, 11, 23, 12)).used(), 0);
        assert_eq!(budget("100MB/day", 1, Some(b"\x02rubbish"), now).used(), 0);
    }

    #[test]
    fn a_clock_that_goes_back_renews_nothing() {
        let mut budget = budget("1MB/day", 1, None, at(2027, 5, 5, 12));
        budget.count(900, at(2027, 5, 5, 12));
        budget.count(0, at(2026, 11, 22, 12));
        assert_eq!(budget.used(), 900);
        budget.count(0, at(2026, 11, 23, 12));
        assert_eq!(budget.used(), 0, "days pass as they do");
    }

    #[test]
    fn without_the_time_a_day_is_a_day_of_power() {
        let now = |hours: u64| Stamp { mono_ms: hours * 3_600_000, wall_ms: 0, wall_trusted: false };
        let mut first = budget("1MB/day", 1, None, now(0));
        first.count(500, now(0));
        assert_eq!(first.renews_in(now(0)), 24 * HOUR);
        first.count(0, now(20));
        // Powered time survives a restart, by a clock that starts anew.
        let mut second = budget("1MB/day", 1, Some(&first.last_save()), now(0));
        second.count(0, now(3));
        assert_eq!((second.used(), second.renews_in(now(3))), (500, HOUR));
        second.count(9, now(4));
        assert_eq!(second.used(), 9);
        // Once the time is known, what was used counts for that period.
        second.count(0, at(2026, 11, 22, 12));
        assert_eq!(second.used(), 9);
    }

    proptest! {
        #[test]
        fn periods_follow_one_another(day in -200_000_i64..200_000, reset_day in 1_u8..=28, monthly: bool) {
            let period = if monthly { Period::Month } else { Period::Day };
            let begin = begin_of(period, reset_day, day);
            let next = next_begin(period, begin);
            prop_assert!(begin <= day && day < next);
            prop_assert_eq!(begin_of(period, reset_day, next), next);
            prop_assert_eq!(begin_of(period, reset_day, next - 1), begin);
        }

        #[test]
        fn no_row_panics(row: Vec<u8>) {
            let _ = budget("1MB/day", 1, Some(&row), at(2026, 11, 22, 12));
        }
    }
}
