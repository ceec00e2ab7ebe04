//! RFC 3339 date-times and milliseconds since 1970.
//!
//! Only the proleptic Gregorian calendar in UTC and fixed offsets; no time zones, so no tables.

/// Milliseconds of a day.
pub const MS_PER_DAY: i64 = 86_400_000;

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
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
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

/// Days of a month, 1 to 12.
#[must_use]
pub fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. The year is counted from March, so that the leap day is its last: then the days before a
/// month are a linear function of it, (153 m + 2) / 5, and 400 years are always 146,097 days.
#[must_use]
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`]: year, month, day.
#[must_use]
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Day of the week of a day since 1970-01-01, which was a Thursday: 0 is Monday.
#[must_use]
pub fn weekday(days: i64) -> u8 {
    // In 0..7, so it fits.
    (days + 3).rem_euclid(7) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_inverse() {
        let mut before = civil_from_days(-300_001);
        for day in -300_000..300_000 {
            let (year, month, of_month) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, of_month), day);
            let next = match before {
                (year, month, day) if day < days_in_month(year, month) => (year, month, day + 1),
                (year, month, _) if month < 12 => (year, month + 1, 1),
                (year, ..) => (year + 1, 1, 1),
            };
            assert_eq!((year, month, of_month), next);
            before = next;
        }
    }

    #[test]
    fn weekdays_are_known() {
        // 2026-11-22 is a Sunday, 2024-02-29 was a Thursday.
        assert_eq!(weekday(days_from_civil(2026, 11, 22)), 6);
        assert_eq!(weekday(days_from_civil(2024, 2, 29)), 3);
        assert_eq!((weekday(0), weekday(-1), weekday(-4)), (3, 2, 6));
    }
}
