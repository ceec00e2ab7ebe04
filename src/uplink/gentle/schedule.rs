//! `schedule`: the windows of the week in which records are forwarded.

use std::time::Duration;

use crate::calendar::{MS_PER_DAY, weekday};
use crate::config::{UtcOffset, WeekWindow};
use crate::store::Stamp;

const WEEK_MS: i64 = 7 * MS_PER_DAY;
const MINUTE_MS: i64 = 60_000;

/// Merged windows of a week. None at all: always open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Begin and end in ms since Monday 00:00, ascending, apart from each other, within one week.
    spans: Vec<(i64, i64)>,
    zone: UtcOffset,
}

/// Whether a window is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// For so long; `None`: no end is known.
    Open(Option<Duration>),
    /// The next one opens in so long.
    Closed(Duration),
}

impl Schedule {
    pub(super) fn new(windows: &[WeekWindow], zone: UtcOffset) -> Self {
        let mut parts = Vec::new();
        for (from, to) in windows.iter().flat_map(|window| window.spans()) {
            let (from, to) = (i64::from(from) * MINUTE_MS, i64::from(to) * MINUTE_MS);
            parts.push((from, to.min(WEEK_MS)));
            if to > WEEK_MS {
                parts.push((0, to - WEEK_MS));
            }
        }
        parts.sort_unstable();
        let mut spans: Vec<(i64, i64)> = Vec::new();
        for (from, to) in parts {
            match spans.last_mut().filter(|last| last.1 >= from) {
                Some(last) => last.1 = last.1.max(to),
                None => spans.push((from, to)),
            }
        }
        if spans == [(0, WEEK_MS)] {
            spans.clear();
        }
        Self { spans, zone }
    }

    /// As of now. Open, while the time is not known.
    pub(super) fn window(&self, now: Stamp) -> Window {
        let Some(first) = self.spans.first().filter(|_| now.wall_trusted) else { return Window::Open(None) };
        let local = now.wall_ms.saturating_add(self.zone.ms());
        let day = local.div_euclid(MS_PER_DAY);
        let at = i64::from(weekday(day)) * MS_PER_DAY + local.rem_euclid(MS_PER_DAY);
        if let Some((_, end)) = self.spans.iter().find(|(from, to)| (*from..*to).contains(&at)) {
            // One that ends with the week goes on in the next, if that begins with one.
            let end = if *end == WEEK_MS && first.0 == 0 { WEEK_MS + first.1 } else { *end };
            return Window::Open(Some(ms(end - at)));
        }
        let next = self.spans.iter().map(|(from, _)| *from).find(|from| *from > at);
        Window::Closed(ms(next.unwrap_or(WEEK_MS + first.0) - at))
    }
}

fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schedule(windows: &[&str], zone: &str) -> Schedule {
        let windows: Vec<_> = windows.iter().map(|text| WeekWindow::parse(text).unwrap()).collect();
        Schedule::new(&windows, UtcOffset::parse(zone).unwrap())
    }

    /// 2026-11-22 is a Sunday.
    fn sunday(hour: i64, minute: i64) -> Stamp {
        let day = crate::calendar::days_from_civil(2026, 11, 22);
        Stamp { mono_ms: 0, wall_ms: day * MS_PER_DAY + hour * 3_600_000 + minute * MINUTE_MS, wall_trusted: true }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_window_over_midnight_and_the_end_of_the_week() {
        let nights = schedule(&["22:00-06:00"], "UTC");
        assert_eq!(nights.window(sunday(21, 59)), Window::Closed(MINUTE));
        assert_eq!(nights.window(sunday(22, 0)), Window::Open(Some(480 * MINUTE)));
        assert_eq!(nights.window(sunday(23, 59)), Window::Open(Some(361 * MINUTE)));
        assert_eq!(nights.window(sunday(6, 0)), Window::Closed(960 * MINUTE));
        let weekend = schedule(&["Sat Sun", "Mon 00:00-01:00"], "UTC");
        assert_eq!(weekend.window(sunday(12, 0)), Window::Open(Some(780 * MINUTE)));
        let tuesday = schedule(&["Tue 10:00-11:00"], "UTC");
        assert_eq!(tuesday.window(sunday(12, 0)), Window::Closed(46 * 60 * MINUTE));
    }

    #[test]
    fn it_is_of_the_time_zone() {
        let day = schedule(&["08:00-20:00"], "+02:00");
        assert_eq!(day.window(sunday(6, 0)), Window::Open(Some(720 * MINUTE)));
        assert_eq!(day.window(sunday(18, 0)), Window::Closed(720 * MINUTE));
    }

    #[test]
    fn it_is_open_without_windows_with_all_of_them_and_without_the_time() {
        let late = sunday(3, 0);
        assert_eq!(schedule(&[], "UTC").window(late), Window::Open(None));
        assert_eq!(schedule(&["Mon-Thu", "fri-sun 00:00-24:00"], "UTC").window(late), Window::Open(None));
        let unknown = Stamp { wall_trusted: false, ..late };
        assert_eq!(schedule(&["08:00-20:00"], "UTC").window(unknown), Window::Open(None));
    }

    proptest! {
        /// What it says of the future is so: open until then, closed until then.
        #[test]
        fn what_it_announces_happens(
            windows in prop::collection::vec((0_u8..7, 0_u16..24, 0_u16..60, 1_u16..24), 1..6),
            minute in 0_i64..20_160,
        ) {
            let names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
            let texts: Vec<String> = windows
                .iter()
                .map(|(day, from, minute, hours)| format!("{} {from:02}:{minute:02}-{:02}:{minute:02}", names[usize::from(*day)], (from + hours) % 24))
                .collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let schedule = schedule(&texts, "UTC");
            let now = sunday(0, minute);
            let at = |ahead: Duration| schedule.window(Stamp { wall_ms: now.wall_ms + ahead.as_millis() as i64, ..now });
            let ms = Duration::from_millis(1);
            match schedule.window(now) {
                Window::Open(None) => prop_assert!(false, "not all of the week"),
                Window::Open(Some(left)) => {
                    prop_assert_eq!(at(left - ms), Window::Open(Some(ms)));
                    prop_assert!(matches!(at(left), Window::Closed(_)));
                }
                Window::Closed(left) => {
                    prop_assert_eq!(at(left - ms), Window::Closed(ms));
                    prop_assert!(matches!(at(left), Window::Open(_)));
                }
            }
        }
    }
}
