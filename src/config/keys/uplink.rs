//! Keys of an uplink: `[uplink.NAME]`.

use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
    time::Duration,
};

use super::super::{
    link::{LinkBudget, UtcOffset},
    types::{Compression, Delivery, OnDivergence, Partitioning, ProvenanceMode, UplinkConfig, UplinkProtocol},
    units::{format_size, parse_size},
    value::{Kind, Special},
};
use super::{DAY, HOUR, KIB, Key, MS_10, SECOND, auth, count, joined, key, tls};
use crate::limits::{BATCH_BYTES_MAX, CLIENT_ID_BYTES_MAX};

/// Keys of `[uplink.NAME]`.
pub(in crate::config) static UPLINK: &[Key<UplinkConfig>] = &joined::<_, { count(PARTS) }>(PARTS);
const PARTS: &[&[Key<UplinkConfig>]] = &[OWN, tls::UPLINK, auth::UPLINK];

const OWN: &[Key<UplinkConfig>] = &[
    key("enabled", "true", Kind::Boolean(|u, v| u.enabled = v), "Whether this uplink forwards."),
    key(
        "protocol",
        "kafka",
        choice!(UplinkProtocol, |u| u.protocol),
        "What the centre speaks; brooklet: another gateway's native port, forwarded to exactly once.",
    ),
    Key {
        name: "bootstrap",
        default: None,
        kind: Kind::HostPorts(|u, v| u.bootstrap = v),
        secret: false,
        doc: "Kafka brokers to ask first, or the gateway upstream, as host:port; one suffices, more survive its outage.",
    },
    key(
        "topics",
        "*",
        Kind::Patterns(|u, v| u.topics = v),
        "Topics to forward; internal ones only if named (\"__…\", \"brooklet.losses\").",
    ),
    key("exclude", "", Kind::Patterns(|u, v| u.exclude = v), "Topics not to forward although `topics` matches them."),
    key(
        "topic",
        "{topic}",
        Kind::Template(|u, v| u.topic = v),
        "Name at the centre; {topic}, {gateway} and {label.NAME} (gateway.labels) are replaced.",
    ),
    key(
        "partitioning",
        "by-gateway",
        choice!(Partitioning, |u| u.partitioning),
        "Partition at the centre: by gateway and local partition, by the record's key, or the same number.",
    ),
    key(
        "batch.min_bytes",
        "16KiB",
        Kind::Size { min: 0, max: BATCH_BYTES_MAX as u64, set: |u, v| u.batch_min_bytes = v as usize },
        "Stored batches of this size and more pass through as they are; smaller ones are merged.",
    ),
    key(
        "batch.max_bytes",
        "512KiB",
        Kind::Size { min: KIB, max: BATCH_BYTES_MAX as u64, set: |u, v| u.batch_max_bytes = v as usize },
        "Largest merged batch; the centre's max.message.bytes bounds it too.",
    ),
    key("compression", "gzip", choice!(Compression, |u| u.compression), "Codec of merged batches."),
    key(
        "linger",
        "100ms",
        Kind::Duration { min: Duration::ZERO, max: HOUR, set: |u, v| u.linger = v },
        "How long records may wait for company before they are sent.",
    ),
    key(
        "clock_wait",
        "10m",
        Kind::Duration { min: Duration::ZERO, max: DAY, set: |u, v| u.clock_wait = v },
        "How long records that were stamped without knowing the time wait for it, once the link works.",
    ),
    key(
        "provenance",
        "built",
        choice!(ProvenanceMode, |u| u.provenance),
        "Which records get headers with gateway, device and origin; built: those in batches made here.",
    ),
    key(
        "create_topics",
        "false",
        Kind::Boolean(|u, v| u.create_topics = v),
        "Whether topics missing at the centre are created there.",
    ),
    key(
        "create_partitions",
        "auto",
        Kind::CountOr { word: "auto", min: 1, max: 10_000, set: |u, v| u.create_partitions = v.map(|v| v as u32) },
        "Partitions of topics created at the centre; auto: its own default.",
    ),
    key(
        "create_replication",
        "auto",
        Kind::CountOr { word: "auto", min: 1, max: 15, set: |u, v| u.create_replication = v.map(|v| v as u16) },
        "Replication factor of topics created at the centre; auto: its own default.",
    ),
    key(
        "connect_timeout",
        "30s",
        Kind::Duration { min: SECOND, max: HOUR, set: |u, v| u.connect_timeout = v },
        "For resolving, connecting and the first answer.",
    ),
    key(
        "request_timeout",
        "30s",
        Kind::Duration { min: SECOND, max: HOUR, set: |u, v| u.request_timeout = v },
        "While an answer is awaited and nothing has moved for so long, the connection is given up.",
    ),
    key(
        "backoff.min",
        "1s",
        Kind::Duration { min: MS_10, max: HOUR, set: |u, v| u.backoff_min = v },
        "First pause after a failure; it doubles, with jitter.",
    ),
    key(
        "backoff.max",
        "5m",
        Kind::Duration { min: MS_10, max: DAY, set: |u, v| u.backoff_max = v },
        "Longest pause between attempts.",
    ),
    key(
        "rate_limit",
        "unlimited",
        Kind::Special(Special {
            allowed: "\"unlimited\" or a size a second from 128B/s to 1TiB/s, such as \"20KiB/s\"",
            set: |u, text| unless("unlimited", text, rate, |v| u.link.rate_limit = v.map(|v| v.0)),
        }),
        "Most bytes a second that are sent.",
    ),
    key(
        "budget",
        "unlimited",
        Kind::Special(Special {
            allowed: "\"unlimited\" or a size a day or month from 64KiB, such as \"20MB/day\" or \"1GB/month\"",
            set: |u, text| unless("unlimited", text, budget, |v| u.link.budget = v),
        }),
        "Most bytes a day or month, both ways; at the limit all but urgent topics wait for the next.",
    ),
    key(
        "reset_day",
        "1",
        Kind::Count { min: 1, max: 28, set: |u, v| u.link.reset_day = v as u8 },
        "The day of the month on which a monthly budget begins.",
    ),
    key(
        "schedule",
        "always",
        Kind::Windows { word: "always", set: |u, v| u.link.schedule = v },
        "When records are forwarded; urgent topics always are, and all while the time is not known.",
    ),
    key(
        "time_zone",
        "UTC",
        Kind::Special(Special {
            allowed: "\"UTC\" or an offset from it, such as \"+02:00\"",
            set: |u, text| UtcOffset::parse(text).map(|v| (u.link.time_zone = v, v.to_string()).1),
        }),
        "Of the schedule, and of the budget's days and months; it knows no summer time.",
    ),
    key(
        "keepalive",
        "4m",
        Kind::DurationOr { word: "never", min: SECOND, max: DAY, set: |u, v| u.link.keepalive = v },
        "A connection idle for so long is asked something small, so that it lives and a dead one is noticed.",
    ),
    key(
        "metadata_refresh",
        "15m",
        Kind::Duration { min: SECOND, max: DAY, set: |u, v| u.link.metadata_refresh = v },
        "When there is something to send, metadata older than that is asked for again first.",
    ),
    key(
        "proxy",
        "none",
        Kind::HostPortOr { word: "none", set: |u, v| u.link.proxy = v },
        "HTTP proxy that is asked for a tunnel (CONNECT) to each broker; it resolves their names.",
    ),
    key(
        "proxy_auth",
        "none",
        Kind::Special(Special {
            allowed: "\"none\" or the path of a file that holds user:password",
            set: |u, text| unless("none", text, file, |v| u.link.proxy_auth = v.map(PathBuf::from)),
        }),
        "File with user:password for the proxy (basic authentication).",
    ),
    key(
        "slow_start",
        "30s",
        Kind::Duration { min: Duration::ZERO, max: HOUR, set: |u, v| u.link.slow_start = v },
        "After an outage, sending begins at random within that time or a tenth of the outage, and grows over it.",
    ),
    key(
        "delivery",
        "exactly-once",
        choice!(Delivery, |u| u.delivery),
        "What the uplink promises; exactly once takes transactions at the centre, and consumers that read committed.",
    ),
    key(
        "on_divergence",
        "forward-all",
        choice!(OnDivergence, |u| u.on_divergence),
        "Exactly once, and the centre has what this store never held: forward all that differs, or wait to be told.",
    ),
    key(
        "commit_every",
        "1s",
        Kind::Duration { min: Duration::ZERO, max: HOUR, set: |u, v| u.commit_every = v },
        "Exactly once: transactions are begun no more often than this, unless there is a lot to forward.",
    ),
    key(
        "transaction_timeout",
        "15s",
        Kind::Duration { min: SECOND, max: MINUTES_15, set: |u, v| u.transaction_timeout = v },
        "Exactly once: after that time the centre ends a transaction; raised where the link is measured slow.",
    ),
    key(
        "refuse_too_large",
        "true",
        Kind::Boolean(|u, v| u.refuse_too_large = v),
        "Whether records larger than the topic at the centre takes are refused at once; else they become dead letters.",
    ),
    key(
        "client_id",
        "auto",
        Kind::NameOr { word: "auto", max: CLIENT_ID_BYTES_MAX, set: |u, v| u.client_id = v },
        "Client id that the centre sees; auto: brooklet-GATEWAY.",
    ),
];

/// Apache Kafka's default of `transaction.max.timeout.ms`.
const MINUTES_15: Duration = Duration::from_secs(900);
/// Slowest and fastest rate, bytes a second.
const RATE_MIN: u64 = 128;
const RATE_MAX: u64 = 1 << 40;
/// Below that a budget would not even pay for connecting.
const BUDGET_MIN: u64 = 64 * KIB;

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
