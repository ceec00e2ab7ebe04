//! The gate: the one answer to "may I send?".

use std::time::Duration;

use super::budget::Budget;
use super::rhythm::Rhythm;
use super::schedule::{Schedule, Window};
use super::slow_start::SlowStart;
use crate::config::LinkConfig;
use crate::store::Stamp;

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Open {
    All,
    /// Only topics that are `urgent`.
    Urgent,
    Nothing,
}

/// Why not all may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Shut {
    /// No window of `schedule` is open.
    Schedule,
    /// `budget` is used up.
    Budget,
    /// An outage has just ended.
    SlowStart,
}

impl Shut {
    /// As the status tells it.
    pub(in crate::uplink) fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Budget => "budget",
            Self::SlowStart => "slow-start",
        }
    }
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Permit {
    pub(in crate::uplink) open: Open,
    /// Why not all is allowed.
    pub(in crate::uplink) shut: Option<Shut>,
    /// After that time another answer is certain: a window ends or opens, a budget is renewed. `None`: none in sight.
    pub(in crate::uplink) holds: Option<Duration>,
    /// Bytes left, both ways. `None`: any.
    pub(in crate::uplink) bytes: Option<u64>,
    /// Bytes a second that may leave. `None`: any.
    pub(in crate::uplink) rate: Option<u64>,
}

/// A budget, for the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct BudgetState {
    pub(in crate::uplink) used: u64,
    pub(in crate::uplink) bytes: u64,
    pub(in crate::uplink) renews_in: Duration,
}

/// See the module. Times are the store's.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Gate {
    rate: Option<u64>,
    budget: Option<Budget>,
    schedule: Schedule,
    slow_start: SlowStart,
    rhythm: Rhythm,
    /// Bytes on the wire that were counted.
    wire: u64,
}

impl Gate {
    /// As configured; `saved` is what [`Gate::row_due`] gave last.
    pub(in crate::uplink) fn new(config: &LinkConfig, saved: Option<&[u8]>, now: Stamp) -> Self {
        let budget = config.budget.map(|limit| Budget::restore(limit, config.reset_day, config.time_zone, saved, now));
        Self {
            rate: config.rate_limit,
            budget,
            schedule: Schedule::new(&config.schedule, config.time_zone),
            slow_start: SlowStart::new(config.slow_start),
            rhythm: Rhythm::default(),
            wire: 0,
        }
    }

    /// What may be sent now. `wire` is all that went over the link since the start, both ways.
    pub(in crate::uplink) fn ask(&mut self, wire: u64, now: Stamp) -> Permit {
        let used = wire.saturating_sub(std::mem::replace(&mut self.wire, wire));
        if let Some(budget) = &mut self.budget {
            budget.count(used, now);
        }
        let rates = [self.rate, self.slow_start.rate(now.mono_ms)];
        let rate = rates.into_iter().flatten().min();
        let bytes = self.budget.as_ref().map(Budget::left);
        let permit = |open, shut, holds| Permit { open, shut, holds, bytes, rate };
        if let Some(delay) = self.slow_start.delay(now.mono_ms) {
            return permit(Open::Nothing, Some(Shut::SlowStart), Some(delay));
        }
        let window = self.schedule.window(now);
        if let (Some(0), Some(budget)) = (bytes, &self.budget) {
            return permit(Open::Urgent, Some(Shut::Budget), Some(budget.renews_in(now)));
        }
        match window {
            Window::Closed(left) => permit(Open::Urgent, Some(Shut::Schedule), Some(left)),
            Window::Open(left) => permit(Open::All, None, left),
        }
    }

    /// The link works again after an outage. `jitter` is uniform in 0..1.
    pub(in crate::uplink) fn outage_ended(&mut self, lasted: Duration, jitter: f64, now: Stamp) {
        self.slow_start.outage_ended(lasted, jitter, now.mono_ms);
    }

    /// A commit upstream that carried `payload` bytes of records is through.
    pub(in crate::uplink) fn committed(&mut self, payload: u64, now: Stamp) {
        self.rhythm.committed(payload, self.wire, now.mono_ms);
    }

    /// Least time between two commits upstream; `None` where there is neither a rate nor a budget.
    pub(in crate::uplink) fn commit_every(&self, now: Stamp) -> Option<Duration> {
        let evenly = |budget: &Budget| {
            let seconds = budget.renews_in(now).as_secs_f64().max(1.0);
            budget.left() as f64 / seconds
        };
        let limits = [self.rate.map(|rate| rate as f64), self.budget.as_ref().map(evenly)];
        let allowed = limits.into_iter().flatten().reduce(f64::min)?;
        Some(self.rhythm.every(allowed))
    }

    /// What is to be made durable now; nothing most of the time.
    pub(in crate::uplink) fn row_due(&mut self) -> Option<Vec<u8>> {
        self.budget.as_mut()?.row_due()
    }

    /// What is to be made durable at a clean end.
    pub(in crate::uplink) fn last_save(&mut self) -> Option<Vec<u8>> {
        self.budget.as_mut().map(Budget::last_save)
    }

    /// Making it durable failed.
    pub(in crate::uplink) fn not_saved(&mut self) {
        if let Some(budget) = &mut self.budget {
            budget.not_saved();
        }
    }

    /// The budget, if there is one.
    pub(in crate::uplink) fn budget(&self, now: Stamp) -> Option<BudgetState> {
        let state = |budget: &Budget| BudgetState {
            used: budget.used(),
            bytes: budget.limit().bytes,
            renews_in: budget.renews_in(now),
        };
        self.budget.as_ref().map(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::{MS_PER_DAY, days_from_civil};
    use crate::config::{HostPort, LinkBudget, UplinkConfig, WeekWindow};

    /// A time on a Sunday.
    fn at(hour: i64) -> Stamp {
        let wall_ms = days_from_civil(2026, 11, 22) * MS_PER_DAY + hour * 3_600_000;
        Stamp { mono_ms: (hour * 3_600_000).unsigned_abs(), wall_ms, wall_trusted: true }
    }

    fn config() -> LinkConfig {
        UplinkConfig::to(vec![HostPort { host: "k".to_owned(), port: 1 }]).link
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn without_settings_everything_may_go() {
        let mut gate = Gate::new(&config(), None, at(0));
        let permit = Permit { open: Open::All, shut: None, holds: None, bytes: None, rate: None };
        assert_eq!(gate.ask(1 << 40, at(1)), permit);
        assert_eq!((gate.row_due(), gate.last_save(), gate.budget(at(1))), (None, None, None));
        assert_eq!(gate.commit_every(at(1)), None);
    }

    #[test]
    fn at_the_limit_only_what_is_urgent_goes_until_the_budget_is_renewed() {
        let config = LinkConfig { budget: LinkBudget::parse("1MB/day"), ..config() };
        let mut gate = Gate::new(&config, None, at(0));
        assert_eq!(gate.ask(400_000, at(1)).bytes, Some(600_000));
        let permit = gate.ask(1_200_000, at(2));
        assert_eq!((permit.open, permit.shut, permit.holds), (Open::Urgent, Some(Shut::Budget), Some(22 * HOUR)));
        let row = gate.last_save().unwrap();
        let mut again = Gate::new(&config, Some(&row), at(3));
        assert_eq!(again.ask(0, at(3)).open, Open::Urgent);
        assert_eq!(
            again.ask(5, at(24)),
            Permit { open: Open::All, shut: None, holds: None, bytes: Some(999_995), rate: None }
        );
    }

    #[test]
    fn a_closed_window_lets_what_is_urgent_through() {
        let schedule = vec![WeekWindow::parse("02:00-04:00").unwrap()];
        let mut gate = Gate::new(&LinkConfig { schedule, ..config() }, None, at(0));
        let permit = gate.ask(0, at(0));
        assert_eq!((permit.open, permit.shut, permit.holds), (Open::Urgent, Some(Shut::Schedule), Some(2 * HOUR)));
        let permit = gate.ask(0, at(3));
        assert_eq!((permit.open, permit.holds), (Open::All, Some(HOUR)));
        let unknown = Stamp { wall_trusted: false, ..at(0) };
        assert_eq!(gate.ask(0, unknown).open, Open::All);
    }

    #[test]
    fn after_an_outage_nothing_goes_for_a_moment_and_then_slowly() {
        let config = LinkConfig { rate_limit: Some(50_000), ..config() };
        let mut gate = Gate::new(&config, None, at(0));
        gate.outage_ended(HOUR, 0.5, at(0));
        let permit = gate.ask(0, at(0));
        assert_eq!(
            (permit.open, permit.shut, permit.holds),
            (Open::Nothing, Some(Shut::SlowStart), Some(Duration::from_secs(15)))
        );
        let later = Stamp { mono_ms: 15_000, ..at(0) };
        let permit = gate.ask(0, later);
        assert_eq!((permit.open, permit.rate), (Open::All, Some(32 * 1_024)));
        assert_eq!(gate.ask(0, at(1)).rate, Some(50_000));
    }

    #[test]
    fn commits_are_spread_by_what_is_left_of_the_budget() {
        let config = LinkConfig { budget: LinkBudget::parse("20MB/day"), ..config() };
        let mut gate = Gate::new(&config, None, at(0));
        let plenty = gate.commit_every(at(0)).unwrap();
        gate.ask(19_000_000, at(1));
        assert!(gate.commit_every(at(1)).unwrap() > 5 * plenty);
        gate.ask(20_000_000, at(1));
        assert_eq!(gate.commit_every(at(1)), Some(Duration::from_secs(300)));
    }
}
