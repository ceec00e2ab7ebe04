//! What a client may subscribe to: a plain filter, a share of one (`$share/NAME/FILTER`), or one with its past
//! (`$replay/FROM/FILTER`). Pure.
//!
//! FROM is `earliest` (all that is kept), an age (`90s`, `15m`, `12h`, `7d`), or a moment in milliseconds since 1970. A replay is a
//! subscription of its own: beside a plain one that matches too, a message comes with both.

use crate::limits::MQTT_TOPIC_BYTES_MAX;
use crate::mqtt::{ReasonCode, topic};

const REPLAY: &str = "$replay/";

/// A filter, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter<'a> {
    Plain(&'a str),
    Shared { name: &'a str, filter: &'a str },
    Replay { from: From, filter: &'a str },
}

/// Where a replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Earliest,
    /// That long ago, ms.
    Ago(i64),
    /// Milliseconds since 1970.
    At(i64),
}

impl<'a> Filter<'a> {
    /// Takes a filter apart.
    ///
    /// # Errors
    /// The reason code for it.
    pub(super) fn parse(text: &'a str) -> Result<Self, ReasonCode> {
        if text.len() > MQTT_TOPIC_BYTES_MAX {
            return Err(ReasonCode::TOPIC_FILTER_INVALID);
        }
        if let Some(shared) = topic::shared(text) {
            let shared = shared.map_err(|()| ReasonCode::TOPIC_FILTER_INVALID)?;
            return Ok(Self::Shared { name: shared.name, filter: shared.filter });
        }
        let parsed = match text.strip_prefix(REPLAY) {
            Some(rest) => rest.split_once('/').and_then(|(from, filter)| {
                Some(Self::Replay { from: From::parse(from)?, filter: Some(filter).filter(|f| topic::is_filter(f))? })
            }),
            None => Some(Self::Plain(text)).filter(|_| topic::is_filter(text)),
        };
        parsed.ok_or(ReasonCode::TOPIC_FILTER_INVALID)
    }

    /// What topics are held against.
    pub(super) fn pattern(&self) -> &'a str {
        match self {
            Self::Plain(filter) | Self::Shared { filter, .. } | Self::Replay { filter, .. } => filter,
        }
    }
}

impl From {
    fn parse(text: &str) -> Option<Self> {
        if text == "earliest" {
            return Some(Self::Earliest);
        }
        let unit = match text.chars().last()? {
            's' => 1_000,
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            _ => return text.parse().ok().filter(|ms: &i64| *ms >= 0).map(Self::At),
        };
        let count: u32 = text.get(..text.len() - 1)?.parse().ok()?;
        i64::from(count).checked_mul(unit).map(Self::Ago)
    }

    /// The moment, by a clock that shows `now_ms`; `None`: as far back as there is anything.
    pub(super) fn moment_ms(self, now_ms: i64) -> Option<i64> {
        match self {
            Self::Earliest => None,
            Self::Ago(ms) => Some(now_ms.saturating_sub(ms)),
            Self::At(ms) => Some(ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_taken_apart() {
        let replay = |from| Ok(Filter::Replay { from, filter: "a/#" });
        assert_eq!(Filter::parse("a/+"), Ok(Filter::Plain("a/+")));
        assert_eq!(Filter::parse("$share/g/a/+"), Ok(Filter::Shared { name: "g", filter: "a/+" }));
        assert_eq!(Filter::parse("$replay/earliest/a/#"), replay(From::Earliest));
        assert_eq!(Filter::parse("$replay/90s/a/#"), replay(From::Ago(90_000)));
        assert_eq!(Filter::parse("$replay/7d/a/#"), replay(From::Ago(604_800_000)));
        assert_eq!(Filter::parse("$replay/1764000000000/a/#"), replay(From::At(1_764_000_000_000)));
        for bad in
            ["", "a#", "$share/g", "$replay/soon/a", "$replay/1h", "$replay/-1h/a", "$replay/1h/a#", "$replay/1å/a"]
        {
            assert_eq!(Filter::parse(bad), Err(ReasonCode::TOPIC_FILTER_INVALID), "{bad}");
        }
        assert!(Filter::parse(&"a".repeat(MQTT_TOPIC_BYTES_MAX + 1)).is_err());
    }
}
