//! Sizes and durations as people write them: `256MiB`, `1GB`, `7d`, `1h30m`, `250ms`.
//!
//! Parsing is exact (nothing is rounded), refuses what would be ambiguous (`10M`, a duration without a unit), and
//! formatting picks the largest unit that holds the value exactly, so that `parse(format(x)) == x` for every x.

use std::time::Duration;

/// Unit, bytes in it; largest first, binary before decimal of the same letter.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Unit, nanoseconds in it; largest first. Weeks are read, never written.
const DURATION_UNITS: [(&str, u128); 7] = [
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// Reads a size in bytes: `64MiB`, `1.5GiB`, `1GB`, `4096`, `4096B`. Case of the unit does not matter.
///
/// # Errors
/// Says what is allowed: an unknown or ambiguous unit (`10M` could be either), a fraction of a byte, more than `u64`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const ALLOWED: &str = "a size is a number and a unit, such as \"256MiB\", \"1GB\" or \"4096\" (bytes)";
    let text = text.trim();
    let (number, unit) = split_number(text, true);
    let factor = if unit.is_empty() {
        1
    } else if let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        *factor
    } else if matches!(unit.to_ascii_lowercase().as_str(), "k" | "m" | "g" | "t") {
        let letter = unit.to_ascii_uppercase();
        return Err(format!(
            "\"{unit}\" is ambiguous: write {letter}iB (powers of 1024) or {letter}B (powers of 1000)"
        ));
    } else {
        return Err(ALLOWED.to_owned());
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let too_large = || "larger than any size that fits 64 bits".to_owned();
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 15 {
        return Err(ALLOWED.to_owned());
    }
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let numerator: u128 = fraction.parse().map_err(|_| ALLOWED.to_owned())?;
    let denominator = 10_u128.pow(fraction.len() as u32);
    let part = numerator * u128::from(factor);
    if !part.is_multiple_of(denominator) {
        return Err(format!("{text} is not a whole number of bytes"));
    }
    let part = u64::try_from(part / denominator).map_err(|_| too_large())?;
    whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(part)).ok_or_else(too_large)
}

/// Writes a size exactly, in the largest unit that divides it: `67108864` is `64MiB`, `1000000` is `1MB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => "0B".to_owned(),
    }
}

/// Reads a duration: `7d`, `15m`, `250ms`, `1h30m`, `500us`, `0s`. A number without a unit is refused.
///
/// # Errors
/// Says what is allowed; also where the sum does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const ALLOWED: &str =
        "a duration is a number and a unit (w, d, h, m, s, ms, us), such as \"7d\", \"15m\" or \"250ms\"";
    let mut rest = text.trim();
    let mut total: u128 = 0;
    if rest.is_empty() {
        return Err(ALLOWED.to_owned());
    }
    while !rest.is_empty() {
        let (number, tail) = split_number(rest, false);
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let Some((_, nanos)) = DURATION_UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(ALLOWED.to_owned());
        };
        let number: u64 = number.parse().map_err(|_| ALLOWED.to_owned())?;
        total += u128::from(number) * nanos;
        rest = tail.trim_start();
    }
    let too_long = || "longer than any duration that fits".to_owned();
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| too_long())?;
    Ok(Duration::new(seconds, (total % 1_000_000_000) as u32))
}

/// Writes a duration in the largest unit that divides it (days at most): 90 s is `90s`, 120 s is `2m`.
/// What is below a microsecond is dropped: no setting is that fine.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() / 1_000 * 1_000;
    let unit = DURATION_UNITS.iter().skip(1).find(|(_, factor)| nanos >= *factor && nanos.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", nanos / factor),
        None => "0s".to_owned(),
    }
}

/// Splits the leading digits (and points) from the rest, spaces between them dropped.
fn split_number(text: &str, point: bool) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_digit() || (point && c == '.'))).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number, rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("256MiB", 256 << 20),
            ("1GB", 1_000_000_000),
            ("1 gib", 1 << 30),
            ("1.5KiB", 1536),
            ("0.5kB", 500),
            ("4096", 4096),
            ("0", 0),
            ("1048588", 1_048_588),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "MiB", "10M", "10 apples", "-1", "1.0001KiB", "1e9", "99999999TiB", "1..5KiB", "18446744073709551616"]
        {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("10M").unwrap_err().contains("MiB"));
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [
            ("7d", 604_800_000),
            ("15m", 900_000),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "7", "d", "7 days", "-1s", "1.5h", "1h30", "99999999999999999999d", "18446744073709551615w"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn sizes_round_trip(bytes: u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn round_sizes_round_trip(n in 0_u64..5_000, unit in 0_usize..SIZE_UNITS.len()) {
            let bytes = n * SIZE_UNITS[unit].1;
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn durations_round_trip(micros: u64) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = parse_size(&text);
            let _ = parse_duration(&text);
        }
    }
}
