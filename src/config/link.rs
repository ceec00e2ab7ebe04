//! What an uplink or a downlink may ask of its link: `rate_limit`, `budget`, `schedule` and their kin, as types.

use std::{fmt, path::PathBuf, time::Duration};

use super::types::HostPort;
use super::units::{format_size, parse_size};

/// Minutes of a day.
const DAY_MINUTES: u16 = 1_440;
/// Furthest offset from UTC that exists is 14 h.
const OFFSET_MINUTES_MAX: i16 = 14 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const ALL_DAYS: u8 = 0b0111_1111;

/// The part of `[uplink.NAME]` and `[downlink.NAME]` that keeps it gentle on its link.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Bytes a second that are sent at most; of a downlink, that are brought. `None`: any.
    pub rate_limit: Option<u64>,
    /// Bytes of a day or month, both directions. `None`: any.
    pub budget: Option<LinkBudget>,
    /// The day of the month on which a monthly budget begins, 1 to 28.
    pub reset_day: u8,
    /// Of `schedule`, and of the days and months of `budget`.
    pub time_zone: UtcOffset,
    /// When records are forwarded or brought; empty: always.
    pub schedule: Vec<WeekWindow>,
    /// A connection that is silent for that long is asked something small. `None`: never.
    pub keepalive: Option<Duration>,
    /// Metadata older than that is asked for again: by an uplink, before something is sent.
    pub metadata_refresh: Duration,
    /// An HTTP proxy that is asked for a tunnel (CONNECT) to each broker.
    pub proxy: Option<HostPort>,
    /// A file with `user:password` for the proxy.
    pub proxy_auth: Option<PathBuf>,
    /// After an outage, sending begins within that time and grows over it.
    pub slow_start: Duration,
}

impl LinkConfig {
    pub(super) fn blank() -> LinkConfig {
        LinkConfig {
            rate_limit: None,
            budget: None,
            reset_day: 1,
            time_zone: UtcOffset::default(),
            schedule: Vec::new(),
            keepalive: None,
            metadata_refresh: Duration::ZERO,
            proxy: None,
            proxy_auth: None,
            slow_start: Duration::ZERO,
        }
    }
}

/// Bytes that may be used in a period, both directions together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkBudget {
    pub bytes: u64,
    pub period: Period,
}

/// What a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    Day,
    /// From one reset day to the next.
    Month,
}

impl Period {
    fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

impl LinkBudget {
    /// Reads `20MB/day` or `1GB/month`. `None` if it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (size, period) = text.trim().split_once('/')?;
        let period = match period {
            "day" | "d" => Period::Day,
            "month" => Period::Month,
            _ => return None,
        };
        Some(Self { bytes: parse_size(size).ok()?, period })
    }
}

impl fmt::Display for LinkBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", format_size(self.bytes), self.period.word())
    }
}

/// A fixed offset from UTC, minutes east.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcOffset(i16);

impl UtcOffset {
    /// Reads `UTC`, `+02:00` or `-03:30`. `None` if it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "UTC" {
            return Some(Self(0));
        }
        let (east, rest) = match text.strip_prefix('+') {
            Some(rest) => (1, rest),
            None => (-1, text.strip_prefix('-')?),
        };
        let minutes = i16::try_from(minutes_of(rest).filter(|minutes| minutes % DAY_MINUTES == *minutes)?).ok()?;
        (minutes <= OFFSET_MINUTES_MAX).then_some(Self(east * minutes))
    }

    /// Milliseconds east of UTC.
    #[must_use]
    pub fn ms(self) -> i64 {
        i64::from(self.0) * 60_000
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, minutes) = (if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs());
        if self.0 == 0 { f.write_str("UTC") } else { write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60) }
    }
}

/// A span of time on some days of the week. One that ends before it begins goes on into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeekWindow {
    /// Bit 0 is Monday.
    days: u8,
    /// Minutes of the day, 0 to 1439 and 1 to 1440.
    from: u16,
    to: u16,
}

impl WeekWindow {
    /// Reads `22:00-06:00`, `Mon-Fri 22:00-06:00`, `Sat Sun` or `Sat 12:00-24:00`. `None` if it isn't one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (last, others) = words.split_last()?;
        let (from, to, days) = match span(last) {
            Some((from, to)) => (from, to, others),
            None => (0, DAY_MINUTES, words.as_slice()),
        };
        let mut bits = if days.is_empty() { ALL_DAYS } else { 0 };
        for word in days {
            bits |= days_of(word)?;
        }
        Some(Self { days: bits, from, to })
    }

    /// The spans of the week that it covers, in minutes since Monday 00:00: `from..to`, where `to` may lie in the next week.
    pub fn spans(self) -> impl Iterator<Item = (u32, u32)> {
        let length = if self.to > self.from { self.to - self.from } else { DAY_MINUTES - self.from + self.to };
        (0..7_u32).filter(move |day| self.days & (1 << day) != 0).map(move |day| {
            let from = day * u32::from(DAY_MINUTES) + u32::from(self.from);
            (from, from + u32::from(length))
        })
    }
}

impl fmt::Display for WeekWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != ALL_DAYS {
            for (_, name) in DAYS.iter().enumerate().filter(|(day, _)| self.days & (1 << day) != 0) {
                write!(f, "{name} ")?;
            }
        }
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.from / 60, self.from % 60, self.to / 60, self.to % 60)
    }
}

/// `22:00-06:00`: begins within a day, and lasts at most one.
fn span(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minutes_of(from)?, minutes_of(to)?);
    let to = if to == 0 { DAY_MINUTES } else { to };
    (from < DAY_MINUTES && from != to).then_some((from, to))
}

/// `22:00` as minutes; 24:00 is the end of the day.
fn minutes_of(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| -> Option<u16> {
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY_MINUTES).then_some(all)
}

/// `Sat` or `Mon-Fri`, as bits. A range may go over the end of the week.
fn days_of(word: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|known| known.eq_ignore_ascii_case(name));
    let (first, last) = match word.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(word)?, day(word)?),
    };
    let length = (last + 7 - first) % 7;
    Some((0..=length).fold(0, |bits, ahead| bits | 1 << ((first + ahead) % 7)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_of_a_day_or_a_month() {
        let day = LinkBudget { bytes: 20_000_000, period: Period::Day };
        assert_eq!((LinkBudget::parse("20MB/day"), LinkBudget::parse("20MB/d")), (Some(day), Some(day)));
        assert_eq!(LinkBudget::parse("1GiB/month").map(|budget| budget.to_string()).as_deref(), Some("1GiB/month"));
        for text in ["20MB", "20MB/week", "/day", "x/day", "20MB/day/day"] {
            assert_eq!(LinkBudget::parse(text), None, "{text}");
        }
    }

    #[test]
    fn offsets_are_read_as_they_are_written() {
        for text in ["UTC", "+02:00", "-03:30", "+14:00", "-00:30"] {
            assert_eq!(UtcOffset::parse(text).map(|offset| offset.to_string()).as_deref(), Some(text));
        }
        assert_eq!(UtcOffset::parse("+00:00").map(UtcOffset::ms), Some(0));
        assert_eq!(UtcOffset::parse("-03:30").map(UtcOffset::ms), Some(-12_600_000));
        for text in ["", "+2:00", "+15:00", "+24:00", "CET", "+02:60", "02:00", "utc"] {
            assert_eq!(UtcOffset::parse(text), None, "{text}");
        }
    }

    #[test]
    fn windows_are_read_as_they_are_written() {
        for (text, shown) in [
            ("22:00-06:00", "22:00-06:00"),
            ("Mon-Fri 22:00-06:00", "Mon Tue Wed Thu Fri 22:00-06:00"),
            ("Sat Sun", "Sat Sun 00:00-24:00"),
            ("fri-mon 12:30-00:00", "Mon Fri Sat Sun 12:30-24:00"),
            ("Mon-Sun 00:00-24:00", "00:00-24:00"),
        ] {
            let window = WeekWindow::parse(text).unwrap();
            assert_eq!(window.to_string(), shown);
            assert_eq!(WeekWindow::parse(shown), Some(window));
        }
        for text in ["", "22:00", "22:00-22:00", "24:00-01:00", "22:00-24:01", "Foo", "Mon 22-06", "22:00-06:00 Mon"] {
            assert_eq!(WeekWindow::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
        let sunday = WeekWindow::parse("Sun 22:00-06:00").unwrap();
        let from = 6 * 1_440 + 22 * 60;
        assert_eq!(sunday.spans().collect::<Vec<_>>(), [(from, from + 480)]);
        assert_eq!(WeekWindow::parse("00:00-24:00").unwrap().spans().map(|(a, b)| b - a).sum::<u32>(), 7 * 1_440);
    }
}
