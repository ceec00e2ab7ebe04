//! Times on the command line: RFC 3339 date-times, Unix milliseconds, "so long ago".
//!
//! Only the proleptic Gregorian calendar in UTC and fixed offsets; no time zones, so no tables.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::parse_duration;

const MS_PER_DAY: i64 = 86_400_000;

/// What a time on the command line may be, for help and errors.
pub const ALLOWED: &str =
    "a time such as 2026-11-21T20:00:00Z, 2026-11-21T21:00:00+01:00, @1795291200000 (Unix ms) or 15m (ago)";

/// Reads a time as milliseconds since 1970-01-01T00:00:00Z; "so long ago" counts from `now_ms`.
///
/// # Errors
/// What is allowed.
pub fn parse_time(text: &str, now_ms: i64) -> Result<i64, String> {
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().map_err(|_| format!("must be {ALLOWED}"));
    }
    if let Ok(ago) = parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(now_ms.saturating_sub(ago));
    }
    parse_rfc3339(text).ok_or_else(|| format!("must be {ALLOWED}"))
}

/// Milliseconds since 1970 by the system's clock.
#[must_use]
pub fn now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-21T20:00:00.000Z`. Years beyond 9999 get more digits, as in ISO 8601.
#[must_use]
pub fn format_time(unix_ms: i64) -> String {
    let (year, month, day) = civil_from_days(unix_ms.div_euclid(MS_PER_DAY));
    let ms = unix_ms.rem_euclid(MS_PER_DAY);
    let (hour, minute, second, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// `date "T" time offset` of RFC 3339 section 5.6; also a space for the T, as its note allows. A leap second counts as
/// the second before it.
pub(super) fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|byte| allowed.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (milli, rest) = fraction(bytes.get(19..)?)?;
    let offset_ms = offset(rest)?;
    let seconds = hour * 3_600 + minute * 60 + second.min(59);
    Some(days_from_civil(year, month, day) * MS_PER_DAY + seconds * 1_000 + milli - offset_ms)
}

/// The milliseconds of a fraction, if there is one (finer digits are cut), and what follows.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = bytes.strip_prefix(b".") else { return Some((0, bytes)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let milli = digits.iter().take(count).chain([&b'0'; 3]).take(3).fold(0, |n, d| n * 10 + i64::from(d - b'0'));
    Some((milli, digits.get(count..)?))
}

/// `Z` or `+hh:mm` as milliseconds east of UTC.
fn offset(bytes: &[u8]) -> Option<i64> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    match bytes {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digit(h1)? * 10 + digit(h2)?, digit(m1)? * 10 + digit(m2)?);
            let ms = (hours * 60 + minutes) * 60_000;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -ms } else { ms })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. The year is counted from March, so that the leap day is its last: then the days before a
/// month are a linear function of it, (153 m + 2) / 5, and 400 years are always 146,097 days.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_as_people_write_them() {
        let now = 1_000_000_000_000;
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T20:00:00Z", 1_795_291_200_000),
            ("2026-11-21T21:00:00+01:00", 1_795_291_200_000),
            ("2026-11-21t20:00:00.25z", 1_795_291_200_250),
            ("2026-11-21 20:00:00.1239999Z", 1_795_291_200_123),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("@1795291200000", 1_795_291_200_000),
            ("@-5", -5),
            ("15m", now - 900_000),
        ] {
            assert_eq!(parse_time(text, now), Ok(ms), "{text}");
        }
        for text in [
            "",
            "now",
            "12345",
            "2026-11-21",
            "2026-11-21T20:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T20:00:00.Z",
            "2026-11-21T20:00:00+1:00",
            "2026-11-21T20:00:00Zx",
            "@",
            "@x",
        ] {
            assert!(parse_time(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(format_time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(format_time(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_time(1_795_291_200_250), "2026-11-21T20:00:00.250Z");
        assert!(!format_time(i64::MAX).is_empty() && !format_time(i64::MIN).is_empty());
    }

    proptest! {
        #[test]
        fn written_times_are_read_back(ms in -62_135_596_800_000_i64..253_402_300_800_000) {
            prop_assert_eq!(parse_time(&format_time(ms), 0), Ok(ms));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,32}") {
            let _ = parse_time(&text, 0);
        }
    }
}
