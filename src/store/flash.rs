//! What is written, by the day, and the daily budget. Pure: totals and times come in as numbers.
//!
//! A *day* is the last 24 hours in which the store was open, by the monotonic clock, in steps of an hour; so no clock
//! has to be right, and time without power doesn't count. The account lies in a row of the store's own state, written
//! along with another commit once a minute: a crash forgets what was counted since.
//!
//! **The budget** is a balance in bytes. It earns evenly, a day's budget a day, and saves up to an hour's worth for
//! bursts; what is written is taken off. Below 0 commits wait until it has earned that back (`commit_policy` bounds how
//! long). So in any 24 hours at most 1/24 more than the budget is written, as long as waiting can achieve that. Debts
//! beyond a day's budget are forgiven: a flood is not held against the next days.

use std::collections::VecDeque;

use super::intervals::{put_leb128, take_leb128};

const HOURS: usize = 24;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = HOURS as u64 * HOUR_MS;
/// First byte of the row.
const FORMAT: u64 = 1;

/// What was written in an hour, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hour {
    own: u64,
    device: u64,
}

/// The account. See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct FlashAccount {
    budget: Option<u64>,
    /// Bytes, times [`DAY_MS`] so that earning is exact.
    balance: i128,
    /// The budget was not met for an hour's worth, and it was told.
    unmet: bool,
    /// Newest last: the hour that is being counted.
    hours: VecDeque<Hour>,
    /// How much of the newest hour has passed.
    hour_ms: u64,
    /// The totals and the time up to which all is counted.
    at_ms: u64,
    own_total: u64,
    device_total: Option<u64>,
}

/// A change that deserves a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The budget can't be met: more had to be written, by an hour's worth.
    Unmet,
    /// It is met again.
    Met,
}

/// What was written and may be, as of now. Sizes in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlashDay {
    /// Written by this store in the last 24 hours that it was open.
    pub own_bytes: u64,
    /// Written to the device below by everyone, the filesystem's journal included; 0 where it can't be told.
    pub device_bytes: u64,
    /// How long was counted, at most a day, ms.
    pub counted_ms: u64,
    /// What `own_bytes` should stay within.
    pub budget_bytes: Option<u64>,
    /// More had to be written than the budget allows.
    pub unmet: bool,
}

impl FlashAccount {
    /// Goes on from the row of an earlier opening, if there is one. The totals are those of this moment.
    pub(super) fn new(
        budget: Option<u64>,
        row: Option<&[u8]>,
        now_ms: u64,
        own_total: u64,
        device_total: Option<u64>,
    ) -> Self {
        let saved = row.and_then(Self::decode).unwrap_or_default();
        let mut account = Self { budget, at_ms: now_ms, own_total, device_total, ..saved };
        if account.hours.is_empty() {
            account.hours.push_back(Hour::default());
        }
        account.bound_balance();
        account
    }

    /// Another budget from now on; without one nothing is owed.
    pub(super) fn set_budget(&mut self, budget: Option<u64>) {
        self.budget = budget;
        self.unmet &= budget.is_some();
        self.bound_balance();
    }

    /// Counts up to now. Totals only grow, except that one that can't be told may come and go.
    pub(super) fn note(&mut self, now_ms: u64, own_total: u64, device_total: Option<u64>) -> Option<Notice> {
        let own = own_total.saturating_sub(self.own_total);
        let device = device_total.zip(self.device_total).map_or(0, |(now, before)| now.saturating_sub(before));
        self.own_total = self.own_total.max(own_total);
        self.device_total = device_total.or(self.device_total);
        let passed = now_ms.saturating_sub(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        self.pass(passed);
        if let Some(hour) = self.hours.back_mut() {
            hour.own = hour.own.saturating_add(own);
            hour.device = hour.device.saturating_add(device);
        }
        let budget = self.budget?;
        self.balance += i128::from(budget) * i128::from(passed);
        // Saved up before it is spent.
        self.bound_balance();
        self.balance -= i128::from(own) * i128::from(DAY_MS);
        self.bound_balance();
        let hours_worth = i128::from(budget) * i128::from(HOUR_MS);
        if !self.unmet && self.balance < -hours_worth {
            self.unmet = true;
            return Some(Notice::Unmet);
        }
        if self.unmet && self.balance >= 0 {
            self.unmet = false;
            return Some(Notice::Met);
        }
        None
    }

    /// Bytes counted so far: own, and of the device.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.own_total, self.device_total.unwrap_or(0))
    }

    /// When the budget has earned what was written, by the monotonic clock, ms; 0 if it has.
    pub(super) fn earned_ms(&self) -> u64 {
        match self.budget {
            Some(budget) if self.balance < 0 => {
                let wait = self.balance.unsigned_abs().div_ceil(u128::from(budget.max(1)));
                self.at_ms.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
            }
            _ => 0,
        }
    }

    pub(super) fn day(&self) -> FlashDay {
        FlashDay {
            own_bytes: self.hours.iter().map(|hour| hour.own).sum(),
            device_bytes: self.hours.iter().map(|hour| hour.device).sum(),
            counted_ms: (self.hours.len() as u64).saturating_sub(1) * HOUR_MS + self.hour_ms,
            budget_bytes: self.budget,
            unmet: self.unmet,
        }
    }

    /// Its row: LEB128 numbers: format · ms of the newest hour · debt of the budget, bytes · hours · own and device
    /// bytes of each.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16);
        let debt = self.balance.min(0).unsigned_abs() / u128::from(DAY_MS);
        let head = [FORMAT, self.hour_ms, u64::try_from(debt).unwrap_or(u64::MAX), self.hours.len() as u64];
        let hours = self.hours.iter().flat_map(|hour| [hour.own, hour.device]);
        head.into_iter().chain(hours).for_each(|number| put_leb128(&mut out, number));
        out
    }

    fn decode(mut row: &[u8]) -> Option<Self> {
        let mut number = || take_leb128(&mut row).ok();
        if number()? != FORMAT {
            return None;
        }
        let (hour_ms, debt, count) = (number()?.min(HOUR_MS), number()?, number()?);
        let mut hours = VecDeque::new();
        for _ in 0..count.min(HOURS as u64) {
            hours.push_back(Hour { own: number()?, device: number()? });
        }
        let balance = -i128::from(debt) * i128::from(DAY_MS);
        Some(Self { balance, hours, hour_ms, ..Self::default() })
    }

    /// Lets time pass over the hours.
    fn pass(&mut self, ms: u64) {
        self.hour_ms = self.hour_ms.saturating_add(ms);
        let whole = self.hour_ms / HOUR_MS;
        self.hour_ms %= HOUR_MS;
        for _ in 0..whole.min(HOURS as u64) {
            if self.hours.len() >= HOURS {
                self.hours.pop_front();
            }
            self.hours.push_back(Hour::default());
        }
    }

    fn bound_balance(&mut self) {
        let budget = i128::from(self.budget.unwrap_or(0));
        self.balance = self.balance.clamp(-budget * i128::from(DAY_MS), budget * i128::from(HOUR_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::super::commit_policy::{Rules, Waiting, due_ms};
    use super::*;

    const CARD: Rules = Rules { window_ms: 1_000, interval_max_ms: 5_000 };

    /// A trickle that wants a commit all the time: `payload` bytes a second, 28,000 for each commit. Runs for `hours`;
    /// the bytes of each hour, and the gaps between commits of the last one.
    fn day(account: &mut FlashAccount, payload: u64, hours: u64) -> (Vec<u64>, Vec<u64>) {
        let (mut now, mut total, mut began) = (account.at_ms, account.own_total, None);
        let (mut by_hour, mut gaps) = (Vec::new(), Vec::new());
        for hour in 1..=hours {
            let before = total;
            gaps.clear();
            let end = account.at_ms - account.at_ms % HOUR_MS + HOUR_MS;
            while now < end {
                let earned_ms = account.earned_ms();
                let waiting = Waiting { wanted: true, began_ms: began, earned_ms, ..Waiting::default() };
                let due = due_ms(CARD, &waiting).unwrap().max(now + 1);
                let gap = began.map_or(1_000, |began| due - began);
                gaps.push(gap);
                total += 28_000 + payload * gap / 1_000;
                (now, began) = (due, Some(due));
                account.note(now, total, None);
            }
            by_hour.push(total - before);
            assert!(hour <= hours);
        }
        (by_hour, gaps)
    }

    #[test]
    fn a_budget_is_met_by_waiting_just_long_enough() {
        let mut account = FlashAccount::new(Some(2_000_000_000), None, 0, 0, None);
        let (by_hour, gaps) = day(&mut account, 10_000, 24);
        let written: u64 = by_hour.iter().sum();
        assert!((1_990_000_000..=2_010_000_000).contains(&written), "{written}");
        // 28,000 bytes a commit, 10,000 a second, 23,148 a second to spend: a commit every 2.13 s.
        assert!(gaps.iter().all(|gap| (2_100..2_160).contains(gap)), "{gaps:?}");
        assert!(!account.day().unmet);
    }

    #[test]
    fn a_budget_that_changes_counts_from_then_on() {
        let mut account = FlashAccount::new(Some(24_000_000), None, 0, 0, None);
        account.note(HOUR_MS, 9_000_000, None);
        assert!(account.day().unmet && account.earned_ms() > HOUR_MS);
        let owed = account.earned_ms();
        account.set_budget(Some(240_000_000));
        assert!(account.earned_ms() < owed, "a larger one is earned faster");
        account.set_budget(None);
        assert!(!account.day().unmet && account.earned_ms() == 0);
        account.set_budget(Some(24_000_000));
        account.note(HOUR_MS, 9_000_100, None);
        assert!(account.earned_ms() > HOUR_MS);
    }

    #[test]
    fn without_a_budget_the_window_stays() {
        let mut account = FlashAccount::new(None, None, 0, 0, None);
        let (_, gaps) = day(&mut account, 10_000, 1);
        assert!(gaps.iter().all(|gap| *gap == 1_000));
        assert_eq!(account.earned_ms(), 0);
    }

    #[test]
    fn a_budget_that_cannot_be_met_is_reported_once_and_bounded() {
        let mut account = FlashAccount::new(Some(500_000_000), None, 0, 0, None);
        // 10 kB/s are 864 MB a day already.
        let (_, gaps) = day(&mut account, 10_000, 30);
        assert!(gaps.iter().all(|gap| *gap == 5_000));
        assert!(account.day().unmet);
        // The debt is forgiven beyond a day's budget: after a day of silence it is paid.
        let total = account.own_total;
        assert_eq!(account.note(account.at_ms + DAY_MS - HOUR_MS, total, None), None);
        assert_eq!(account.note(account.at_ms + 2 * HOUR_MS, total, None), Some(Notice::Met));
        assert_eq!(account.earned_ms(), 0);
    }

    #[test]
    fn a_quiet_night_is_saved_up_for_an_hour_at_most() {
        let mut account = FlashAccount::new(Some(24_000_000), None, 0, 0, None);
        assert_eq!(account.note(8 * HOUR_MS, 0, None), None);
        // An hour's worth may go at once; a byte more must be waited for.
        account.note(8 * HOUR_MS, 1_000_000, None);
        assert_eq!(account.earned_ms(), 0);
        account.note(8 * HOUR_MS, 1_001_000, None);
        assert_eq!(account.earned_ms(), 8 * HOUR_MS + 3_600);
    }

    #[test]
    fn a_day_rolls_on_by_the_hour_and_over_restarts() {
        let mut account = FlashAccount::new(Some(1 << 30), None, 5_000, 100, Some(700));
        account.note(5_000 + HOUR_MS / 2, 1_100, Some(2_700));
        let expect = FlashDay { own_bytes: 1_000, device_bytes: 2_000, counted_ms: HOUR_MS / 2, ..account.day() };
        assert_eq!(account.day(), expect);
        // The machine restarts: clock and totals begin anew, the time between doesn't count.
        let row = account.encode();
        let mut account = FlashAccount::new(Some(1 << 30), Some(&row), 10, 0, Some(4));
        assert_eq!(account.day(), expect);
        account.note(10 + HOUR_MS / 2, 7, Some(8));
        account.note(10 + 2 * HOUR_MS, 8, None);
        let day = account.day();
        assert_eq!((day.own_bytes, day.device_bytes, day.counted_ms), (1_008, 2_004, 5 * HOUR_MS / 2));
        // 24 hours later nothing of it is left.
        account.note(10 + 26 * HOUR_MS, 8, None);
        let day = account.day();
        assert_eq!((day.own_bytes, day.device_bytes), (0, 0));
        assert!(day.counted_ms <= DAY_MS);
    }

    #[test]
    fn a_row_that_makes_no_sense_is_a_new_beginning() {
        for row in [&[][..], &[9, 9, 9], &[1, 2], &[1, 0, 0, 3, 1]] {
            let account = FlashAccount::new(None, Some(row), 0, 0, None);
            assert_eq!(account.day(), FlashDay::default());
        }
        let mut account = FlashAccount::new(Some(1_000), None, 0, 0, None);
        account.note(1, 5_000, None);
        let again = FlashAccount::new(Some(1_000), Some(&account.encode()), 0, 0, None);
        assert!(again.earned_ms() > 0, "debts survive");
    }
}
