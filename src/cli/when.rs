//! Times on the command line: RFC 3339 date-times, Unix milliseconds, "so long ago".

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::calendar::{format_time, parse_rfc3339};
use crate::config::parse_duration;

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
