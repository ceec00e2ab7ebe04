//! What a notice says. One JSON object without space in it; the record's key is the gateway's id. Pure.
//!
//! Invariants: at most [`NOTICE_BYTES_MAX`] bytes, whatever the figures; fields are added, never renamed, as long as `v` is 1; a reader
//! passes over fields that it does not know, and takes what is missing for 0, as figures of 0 are left out.

use std::fmt;

use crate::json::{JsonObject, members};
use crate::limits::PARTITIONS_MAX;

/// The largest notice, bytes of JSON.
pub(super) const NOTICE_BYTES_MAX: usize = 500;
/// The largest figures that are written: 15 digits, 317 years in seconds, the year 5138.
const FIGURE_MAX: u64 = 999_999_999_999_999;
const SECONDS_MAX: u64 = 9_999_999_999;
const TIME_MS_MAX: i64 = 99_999_999_999_999;
/// A larger record is none, whoever wrote it.
const READ_BYTES_MAX: usize = 8 * 1024;
/// The version that this software writes, and the only one that it reads.
const VERSION: u64 = 1;

/// A gateway as it was when records of it last came. Sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// When it was made, Unix ms by the gateway's clock.
    pub time_ms: i64,
    /// Whether the gateway believed its clock.
    pub time_trusted: bool,
    /// Of the software.
    pub version: String,
    /// Time since its last start, s.
    pub up_s: u64,
    /// How the run before that ended: `clean`, `power`, `watchdog`, `panic`, `killed` or `none`.
    pub before: String,
    /// The uplink that tells this.
    pub uplink: String,
    /// Records not acknowledged upstream, those under way included; their bytes in the store.
    pub backlog: u64,
    pub backlog_bytes: u64,
    /// Age of the oldest of them by its timestamp, s.
    pub oldest_s: u64,
    /// Records that went before this uplink had forwarded them, since the store was made.
    pub lost: u64,
    /// Partitions that are not forwarded until somebody changes something.
    pub stalled: u64,
    /// What the store occupies, and may.
    pub disk: u64,
    pub disk_max: u64,
    /// What the store wrote to the medium in the last 24 hours that it ran, and should at most; 0: no budget.
    pub flash_day: u64,
    pub flash_budget: u64,
    /// What an eMMC says is used up of its life, percent in tens; 0: it says nothing.
    pub flash_life: u64,
    /// Fingerprint of its configuration.
    pub config: u32,
}

/// Why a record is no notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeFault {
    /// No JSON as notices are, or a field of another kind.
    Unreadable,
    /// It has another version.
    Version,
}

impl fmt::Display for NoticeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "unreadable",
            Self::Version => "of another version",
        })
    }
}

impl Notice {
    /// The fields that are figures: name, and the most that is written.
    fn figures(&mut self) -> [(&'static str, u64, &mut u64); 11] {
        [
            ("up_s", SECONDS_MAX, &mut self.up_s),
            ("backlog", FIGURE_MAX, &mut self.backlog),
            ("backlog_bytes", FIGURE_MAX, &mut self.backlog_bytes),
            ("oldest_s", SECONDS_MAX, &mut self.oldest_s),
            ("lost", FIGURE_MAX, &mut self.lost),
            ("stalled", PARTITIONS_MAX as u64, &mut self.stalled),
            ("disk", FIGURE_MAX, &mut self.disk),
            ("disk_max", FIGURE_MAX, &mut self.disk_max),
            ("flash_day", FIGURE_MAX, &mut self.flash_day),
            ("flash_budget", FIGURE_MAX, &mut self.flash_budget),
            ("flash_life", u8::MAX as u64, &mut self.flash_life),
        ]
    }

    /// The JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = JsonObject::new();
        object.number("v", VERSION).number("time", self.time_ms.clamp(0, TIME_MS_MAX));
        object.text("clock", if self.time_trusted { "ok" } else { "unset" });
        object.text("version", &self.version).text("before", &self.before).text("uplink", &self.uplink);
        for (name, max, figure) in self.clone().figures() {
            if *figure > 0 {
                object.number(name, max.min(*figure));
            }
        }
        object.text("config", &format!("{:08x}", self.config));
        object.finish()
    }

    /// Reads a notice.
    ///
    /// # Errors
    /// [`NoticeFault`].
    pub fn parse(json: &[u8]) -> Result<Self, NoticeFault> {
        let json = std::str::from_utf8(json).ok().filter(|json| json.len() <= READ_BYTES_MAX);
        let members = json.and_then(members).ok_or(NoticeFault::Unreadable)?;
        let find = |name: &str| {
            let quoted = |key: &str| key.strip_prefix('"').and_then(|key| key.strip_suffix('"')) == Some(name);
            members.iter().find(|(key, _)| quoted(key)).map(|(_, value)| *value)
        };
        match find("v").map(str::parse::<u64>) {
            Some(Ok(VERSION)) => {}
            Some(Ok(_)) => return Err(NoticeFault::Version),
            _ => return Err(NoticeFault::Unreadable),
        }
        // What notices hold as text has no need of escapes.
        let text = |name: &str| match find(name) {
            None => Ok(String::new()),
            Some(value) => {
                let inside = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                inside.filter(|text| !text.contains('\\')).map(str::to_owned).ok_or(NoticeFault::Unreadable)
            }
        };
        let unreadable = |_| NoticeFault::Unreadable;
        let mut notice = Self {
            time_ms: find("time").unwrap_or("0").parse().map_err(unreadable)?,
            time_trusted: text("clock")? == "ok",
            version: text("version")?,
            before: text("before")?,
            uplink: text("uplink")?,
            config: u32::from_str_radix(&text("config")?, 16).unwrap_or(0),
            ..Self::default()
        };
        for (name, _, figure) in notice.figures() {
            *figure = find(name).unwrap_or("0").parse().map_err(unreadable)?;
        }
        Ok(notice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::UPLINK_NAME_BYTES_MAX;

    fn longest() -> Notice {
        let mut notice = Notice {
            time_ms: TIME_MS_MAX,
            version: "100.100.100-beta.100".to_owned(),
            before: "watchdog".to_owned(),
            uplink: "u".repeat(UPLINK_NAME_BYTES_MAX),
            config: u32::MAX,
            ..Notice::default()
        };
        for (_, max, figure) in notice.figures() {
            *figure = max;
        }
        notice
    }

    #[test]
    fn the_longest_is_within_its_bound() {
        let json = longest().to_json();
        assert!(json.len() <= NOTICE_BYTES_MAX, "{}: {json}", json.len());
        let mut beyond = longest();
        beyond.figures().into_iter().for_each(|(_, _, figure)| *figure = u64::MAX);
        assert_eq!(beyond.to_json(), json);
        assert!(env!("CARGO_PKG_VERSION").len() <= longest().version.len());
    }

    #[test]
    fn it_reads_as_it_was_written() {
        let notice = Notice { time_ms: 5, time_trusted: true, backlog: 7, flash_life: 30, config: 0xab, ..longest() };
        assert_eq!(Notice::parse(notice.to_json().as_bytes()), Ok(notice));
        let some = Notice {
            time_ms: 1_763_812_345_678,
            version: "0.1.0".to_owned(),
            before: "clean".to_owned(),
            backlog: 9,
            ..Notice::default()
        };
        assert_eq!(
            some.to_json(),
            r#"{"v":1,"time":1763812345678,"clock":"unset","version":"0.1.0","before":"clean","uplink":"","backlog":9,"config":"00000000"}"#
        );
    }

    #[test]
    fn what_is_none_is_told_apart() {
        let parse = |json: &str| Notice::parse(json.as_bytes());
        assert_eq!(parse(r#"{"v":2,"time":{}}"#), Err(NoticeFault::Version));
        for bad in
            ["", "{}", "[1]", "{\"v\":1,\"lost\":\"7\"}", "{\"v\":1,\"lost\":-1}", "{\"v\":1,\"uplink\":7}", "\u{1}"]
        {
            assert_eq!(parse(bad), Err(NoticeFault::Unreadable), "{bad}");
        }
        assert_eq!(Notice::parse(&[0xff, 0]), Err(NoticeFault::Unreadable));
        let later = parse(r#"{"v":1,"lost":3,"to_come":{"a":[1]}}"#).unwrap();
        assert_eq!((later.lost, later.time_trusted), (3, false));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "[{}\":,v1a\\\\\\[\\]]{0,30}") {
            let _ = Notice::parse(&bytes);
            let _ = Notice::parse(text.as_bytes());
        }
    }
}
