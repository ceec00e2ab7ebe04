//! Keys that uplinks and downlinks have alike: the way to the centre, and what may be used of it.

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
    time::Duration,
};

use super::super::{
    downlink::DownlinkConfig,
    link::{LinkBudget, UtcOffset},
    units::{format_size, parse_size},
    uplink::UplinkConfig,
    value::{Kind, Special},
};
use super::{DAY, HOUR, KIB, Key, MS_10, SECOND, key};
use crate::limits::CLIENT_ID_BYTES_MAX;

/// Slowest and fastest rate, bytes a second.
const RATE_MIN: u64 = 128;
const RATE_MAX: u64 = 1 << 40;
/// Below that a budget would not even pay for connecting.
const BUDGET_MIN: u64 = 64 * KIB;

/// The keys, for either; what differs is what is told of them.
macro_rules! link {
    (request_timeout: $request_timeout:literal, rate_limit: $rate_limit:literal, schedule: $schedule:literal,
     metadata_refresh: $refresh:literal, $refresh_doc:literal) => {
        &[
            key(
                "connect_timeout",
                "30s",
                Kind::Duration { min: SECOND, max: HOUR, set: |l, v| l.connect_timeout = v },
                "For resolving, connecting and the first answer.",
            ),
            key(
                "request_timeout",
                "30s",
                Kind::Duration { min: SECOND, max: HOUR, set: |l, v| l.request_timeout = v },
                $request_timeout,
            ),
            key(
                "backoff.min",
                "1s",
                Kind::Duration { min: MS_10, max: HOUR, set: |l, v| l.backoff_min = v },
                "First pause after a failure; it doubles, with jitter.",
            ),
            key(
                "backoff.max",
                "5m",
                Kind::Duration { min: MS_10, max: DAY, set: |l, v| l.backoff_max = v },
                "Longest pause between attempts.",
            ),
            key(
                "rate_limit",
                "unlimited",
                Kind::Special(Special {
                    allowed: "\"unlimited\" or a size a second from 128B/s to 1TiB/s, such as \"20KiB/s\"",
                    set: |l, text| unless("unlimited", text, rate, |v| l.link.rate_limit = v.map(|v| v.0)),
                }),
                $rate_limit,
            ),
            key(
                "budget",
                "unlimited",
                Kind::Special(Special {
                    allowed: "\"unlimited\" or a size a day or month from 64KiB, such as \"20MB/day\" or \"1GB/month\"",
                    set: |l, text| unless("unlimited", text, budget, |v| l.link.budget = v),
                }),
                "Most bytes a day or month, both ways; at the limit all but urgent topics wait for the next.",
            ),
            key(
                "reset_day",
                "1",
                Kind::Count { min: 1, max: 28, set: |l, v| l.link.reset_day = v as u8 },
                "The day of the month on which a monthly budget begins.",
            ),
            key("schedule", "always", Kind::Windows { word: "always", set: |l, v| l.link.schedule = v }, $schedule),
            key(
                "time_zone",
                "UTC",
                Kind::Special(Special {
                    allowed: "\"UTC\" or an offset from it, such as \"+02:00\"",
                    set: |l, text| UtcOffset::parse(text).map(|v| (l.link.time_zone = v, v.to_string()).1),
                }),
                "Of the schedule, and of the budget's days and months; it knows no summer time.",
            ),
            key(
                "slow_start",
                "30s",
                Kind::Duration { min: Duration::ZERO, max: HOUR, set: |l, v| l.link.slow_start = v },
                "After an outage, it begins at random within that time or a tenth of the outage, and grows over it.",
            ),
            key(
                "metadata_refresh",
                $refresh,
                Kind::Duration { min: SECOND, max: DAY, set: |l, v| l.link.metadata_refresh = v },
                $refresh_doc,
            ),
            key(
                "proxy",
                "none",
                Kind::HostPortOr { word: "none", set: |l, v| l.link.proxy = v },
                "HTTP proxy that is asked for a tunnel (CONNECT) to each broker; it resolves their names.",
            ),
            key(
                "proxy_auth",
                "none",
                Kind::Special(Special {
                    allowed: "\"none\" or the path of a file that holds user:password",
                    set: |l, text| unless("none", text, file, |v| l.link.proxy_auth = v.map(PathBuf::from)),
                }),
                "File with user:password for the proxy (basic authentication).",
            ),
            key(
                "client_id",
                "auto",
                Kind::NameOr { word: "auto", max: CLIENT_ID_BYTES_MAX, set: |l, v| l.client_id = v },
                "Client id that the centre sees; auto: brooklet-GATEWAY.",
            ),
        ]
    };
}

/// Those of `[uplink.NAME]`.
pub(super) const UPLINK: &[Key<UplinkConfig>] = link!(
    request_timeout: "While an answer is awaited and nothing has moved for so long, the connection is given up.",
    rate_limit: "Most bytes a second that are sent.",
    schedule: "When records are forwarded; urgent topics always are, and all while the time is not known.",
    metadata_refresh: "15m", "When there is something to send, metadata older than that is asked for again first."
);

/// Those of `[downlink.NAME]`.
pub(super) const DOWNLINK: &[Key<DownlinkConfig>] = link!(
    request_timeout: "As long as nothing has moved besides fetch.wait while an answer is awaited: then it is given up.",
    rate_limit: "Most bytes a second that are brought.",
    schedule: "When records are brought; urgent topics always are, and all while the time is not known.",
    metadata_refresh: "5m", "Metadata older than that is asked for again, to notice partitions and topics made anew."
);

/// Sets `None` for the word, else what `read` makes of the text; its canonical spelling.
pub(super) fn unless<V: Display>(
    word: &str,
    text: &str,
    read: impl FnOnce(&str) -> Option<V>,
    set: impl FnOnce(Option<V>),
) -> Option<String> {
    if text == word {
        set(None);
        return Some(word.to_owned());
    }
    let value = read(text)?;
    let shown = value.to_string();
    set(Some(value));
    Some(shown)
}

/// Bytes a second.
struct Rate(u64);

impl Display for Rate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", format_size(self.0))
    }
}

fn rate(text: &str) -> Option<Rate> {
    let bytes = parse_size(text.trim().strip_suffix("/s")?).ok()?;
    (RATE_MIN..=RATE_MAX).contains(&bytes).then_some(Rate(bytes))
}

fn budget(text: &str) -> Option<LinkBudget> {
    LinkBudget::parse(text).filter(|budget| budget.bytes >= BUDGET_MIN)
}

pub(super) fn file(text: &str) -> Option<String> {
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}
