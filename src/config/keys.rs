//! The one table of keys. Parsing, suggestions for unknown keys, `brooklet check` and the reference
//! (`brooklet check --reference`) all derive from it, so they can't disagree.
//!
//! Three scopes: the file itself, `[topic]` with `[topic.NAME]`, and `[uplink.NAME]`. Defaults are written as a user
//! would write them and take the same way as a user's values. Every change takes effect at the next start.

use std::time::Duration;

use super::{
    types::{
        AcksOne, ClockTrust, Compression, Config, DefaultKey, Delivery, OnFull, Partitioning, StoreMedium,
        TimestampType, TopicCompression, TopicSettings, Unforwarded, UplinkConfig,
    },
    value::{Choice, Kind},
};
use crate::limits::{BATCH_BYTES_MAX, CLIENT_ID_BYTES_MAX, PARTITIONS_MAX, PRIORITY_MAX, TOPIC_NAME_BYTES_MAX};

/// One key of the scope `T`.
pub(super) struct Key<T: 'static> {
    /// Dotted; within a scope's table where the scope has one.
    pub name: &'static str,
    /// As TOML would have it between quotes. `None`: must be set.
    pub default: Option<&'static str>,
    pub kind: Kind<T>,
    /// Never shown: masked in `check`, in errors and in Debug.
    pub secret: bool,
    /// One line for the reference.
    pub doc: &'static str,
}

/// A key with a default, which is no secret.
const fn key<T>(name: &'static str, default: &'static str, kind: Kind<T>, doc: &'static str) -> Key<T> {
    Key { name, default: Some(default), kind, secret: false, doc }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Longest time between two commits that may be set.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);
const YEARS_100: Duration = Duration::from_secs(86_400 * 36_500);

/// Smallest segment: must hold the activation transaction and a few batches.
pub(super) const SEGMENT_BYTES_MIN: u64 = MIB;

/// A choice whose words are the enum's own.
macro_rules! choice {
    ($words:ty, |$target:ident| $place:expr) => {
        choice!($words, refused: &[], |$target| $place)
    };
    ($words:ty, refused: $refused:expr, |$target:ident| $place:expr) => {
        Kind::Choice(Choice {
            words: <$words>::WORDS,
            refused: $refused,
            set: |$target, word| <$words>::from_word(word).map(|value| $place = value).is_some(),
        })
    };
}

/// Keys of the file itself.
pub(super) static GLOBAL: &[Key<Config>] = &[
    key("data_dir", "./brooklet-data", Kind::Path(|c, v| c.data_dir = v), "Directory of everything Brooklet keeps."),
    key(
        "gateway.id",
        "auto",
        Kind::NameOr { word: "auto", max: CLIENT_ID_BYTES_MAX, set: |c, v| c.gateway.id = v },
        "Name of this gateway at the centre; auto: generated once and kept in the data directory.",
    ),
    key(
        "store.max_bytes",
        "auto",
        Kind::Budget { min: 16 * MIB, max: 16 * TIB, set: |c, v| c.store.max_bytes = v },
        "Bound of everything on disk; auto: the smaller of 1GiB and 25% of the filesystem.",
    ),
    key(
        "store.segment_bytes",
        "auto",
        Kind::SizeOr { word: "auto", min: SEGMENT_BYTES_MIN, max: GIB, set: |c, v| c.store.segment_bytes = v },
        "Size of a segment file; space is freed in such pieces. auto: by max_bytes, 8MiB to 64MiB.",
    ),
    key(
        "store.commit_window",
        "auto",
        Kind::DurationOr {
            word: "auto",
            min: Duration::ZERO,
            max: COMMIT_INTERVAL_MAX,
            set: |c, v| c.store.commit_window = v,
        },
        "Least time between two commits. auto: 1s on eMMC and SD cards, elsewhere as soon as the last one is done.",
    ),
    key(
        "store.commit_interval_max",
        "5s",
        Kind::Duration { min: MS_10, max: COMMIT_INTERVAL_MAX, set: |c, v| c.store.commit_interval_max = v },
        "Longest that the flash budget makes commits wait; a record waits as long for its acknowledgement.",
    ),
    key(
        "store.flash_budget",
        "unlimited",
        Kind::SizeADayOr { word: "unlimited", min: MIB, max: 16 * TIB, set: |c, v| c.store.flash_budget = v },
        "What may be written a day, as in 2GB/day: commits wait for it, and it is told if that isn't enough.",
    ),
    key(
        "store.rewrite_budget",
        "auto",
        Kind::SizeADayOr { word: "auto", min: 0, max: 16 * TIB, set: |c, v| c.store.rewrite_budget = v },
        "What rewriting for priorities and deleted topics may write a day; auto: store.max_bytes.",
    ),
    key(
        "store.medium",
        "auto",
        choice!(StoreMedium, |c| c.store.medium),
        "What the data directory lies on; auto: found out from /sys.",
    ),
    key(
        "store.compression",
        "lz4",
        choice!(Compression, |c| c.store.compression),
        "Codec of batches gathered from native records; batches of Kafka producers stay as they come.",
    ),
    key(
        "store.cache_bytes",
        "4MiB",
        Kind::Size { min: 512 * KIB, max: 4 * GIB, set: |c, v| c.store.cache_bytes = v },
        "Page cache of the store.",
    ),
    key(
        "store.tail_bytes",
        "4MiB",
        Kind::Size { min: 0, max: 4 * GIB, set: |c, v| c.store.tail_bytes = v },
        "Most recent committed batches that readers get from memory.",
    ),
    key(
        "store.on_full",
        "evict-oldest",
        choice!(OnFull, |c| c.store.on_full),
        "At the bound: the oldest segment goes, or producers are refused.",
    ),
    key(
        "store.preallocate",
        "false",
        Kind::Boolean(|c, v| c.store.preallocate = v),
        "Claim the whole of max_bytes from the filesystem beforehand.",
    ),
    key(
        "listen.native.enabled",
        "true",
        Kind::Boolean(|c, v| c.listen.native.enabled = v),
        "Whether devices are served by the native protocol.",
    ),
    key(
        "listen.native.addr",
        "127.0.0.1:9790",
        Kind::Address(|c, v| c.listen.native.addr = v),
        "Where the native protocol listens; 0.0.0.0:9790 for all interfaces. There is no authentication yet.",
    ),
    key(
        "listen.native.max_connections",
        "256",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.listen.native.max_connections = v as usize },
        "Most native connections at once.",
    ),
    key(
        "listen.native.max_frame_bytes",
        "1152KiB",
        Kind::Size { min: KIB, max: 16 * MIB, set: |c, v| c.listen.native.max_frame_bytes = v as usize },
        "Largest native frame.",
    ),
    key(
        "listen.native.max_inflight_bytes",
        "8MiB",
        Kind::Size { min: 64 * KIB, max: 4 * GIB, set: |c, v| c.listen.native.max_inflight_bytes = v },
        "Native frames received and not yet answered, all connections together.",
    ),
    key(
        "listen.native.idle_timeout",
        "10m",
        Kind::DurationOr { word: "never", min: SECOND, max: DAY, set: |c, v| c.listen.native.idle_timeout = v },
        "A native connection silent for longer is closed.",
    ),
    key(
        "listen.native.frame_timeout",
        "30s",
        Kind::Duration { min: SECOND, max: HOUR, set: |c, v| c.listen.native.frame_timeout = v },
        "Within this a begun frame must be whole and an answer be taken.",
    ),
    key(
        "listen.kafka.enabled",
        "true",
        Kind::Boolean(|c, v| c.listen.kafka.enabled = v),
        "Whether Kafka clients are served.",
    ),
    key(
        "listen.kafka.addr",
        "127.0.0.1:9092",
        Kind::Address(|c, v| c.listen.kafka.addr = v),
        "Where the Kafka protocol listens; 0.0.0.0:9092 for all interfaces. There is no authentication yet.",
    ),
    key(
        "listen.kafka.advertised",
        "auto",
        Kind::HostPortOr { word: "auto", set: |c, v| c.listen.kafka.advertised = v },
        "Address that Metadata answers with; auto: the one that the connection came in on.",
    ),
    key(
        "listen.kafka.acks_1",
        "flash",
        choice!(AcksOne, |c| c.listen.kafka.acks_1),
        "What acks=1 waits for: the commit (as acks=all), or nothing but memory.",
    ),
    key(
        "listen.kafka.max_connections",
        "128",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.listen.kafka.max_connections = v as usize },
        "Most Kafka connections at once.",
    ),
    key(
        "listen.kafka.max_request_bytes",
        "8MiB",
        Kind::Size { min: 16 * KIB, max: 100 * MIB, set: |c, v| c.listen.kafka.max_request_bytes = v as usize },
        "Largest Kafka request.",
    ),
    key(
        "listen.kafka.max_in_flight",
        "16",
        Kind::Count { min: 1, max: 1_024, set: |c, v| c.listen.kafka.max_in_flight = v as usize },
        "Most requests of one Kafka connection in progress at once.",
    ),
    key(
        "listen.kafka.max_inflight_bytes",
        "16MiB",
        Kind::Size { min: 64 * KIB, max: 4 * GIB, set: |c, v| c.listen.kafka.max_inflight_bytes = v },
        "Kafka requests received and not yet answered, all connections together.",
    ),
    key(
        "listen.kafka.idle_timeout",
        "10m",
        Kind::DurationOr { word: "never", min: SECOND, max: DAY, set: |c, v| c.listen.kafka.idle_timeout = v },
        "A Kafka connection silent for longer is closed.",
    ),
    key(
        "listen.kafka.frame_timeout",
        "30s",
        Kind::Duration { min: SECOND, max: HOUR, set: |c, v| c.listen.kafka.frame_timeout = v },
        "Within this a begun request must be whole and an answer be taken.",
    ),
    key(
        "topic.auto_create",
        "true",
        Kind::Boolean(|c, v| c.topics.auto_create = v),
        "Whether a topic is created when it is first produced to or asked for.",
    ),
    key(
        "group.offsets_retention",
        "7d",
        Kind::Duration { min: HOUR, max: YEARS_100, set: |c, v| c.group.offsets_retention = v },
        "How long offsets of a consumer group without members are kept, in time that the gateway is powered.",
    ),
    key(
        "group.initial_rebalance_delay",
        "100ms",
        Kind::Duration { min: Duration::ZERO, max: MINUTE, set: |c, v| c.group.initial_rebalance_delay = v },
        "How long an empty consumer group waits for more members before it assigns partitions (Kafka: 3s).",
    ),
    key(
        "source.host.enabled",
        "false",
        Kind::Boolean(|c, v| c.source.host.enabled = v),
        "Whether the gateway publishes its own telemetry (CPU, memory, disk, network).",
    ),
    key(
        "source.host.interval",
        "10s",
        Kind::Duration { min: Duration::from_millis(100), max: DAY, set: |c, v| c.source.host.interval = v },
        "Time between two readings of each counter.",
    ),
    key(
        "source.host.topic",
        "host",
        Kind::Name { max: TOPIC_NAME_BYTES_MAX, set: |c, v| c.source.host.topic = v },
        "Topic of the gateway's own telemetry.",
    ),
    key(
        "log.level",
        "info",
        Kind::Choice(Choice {
            words: &["off", "error", "warn", "info", "debug", "trace"],
            refused: &[],
            set: |c, word| word.parse().map(|level| c.log.level = level).is_ok(),
        }),
        "How much is logged to standard error.",
    ),
    key(
        "clock.trust",
        "auto",
        choice!(ClockTrust, |c| c.clock.trust),
        "When the wall clock is believed; auto: once the kernel reports it synchronised.",
    ),
];

/// Keys of `[topic]` (for all topics) and of `[topic.NAME]` (for one).
pub(super) static TOPIC: &[Key<TopicSettings>] = &[
    key(
        "partitions",
        "1",
        Kind::Count { min: 1, max: PARTITIONS_MAX as u64, set: |t, v| t.partitions = v as u32 },
        "Partitions of a topic when it is created.",
    ),
    key(
        "retention.ms",
        "unlimited",
        Kind::DurationOr { word: "unlimited", min: SECOND, max: YEARS_100, set: |t, v| t.retention = v },
        "Records older than this may go; a number without unit is milliseconds. unlimited: until space is needed.",
    ),
    key(
        "retention.bytes",
        "unlimited",
        Kind::SizeOr { word: "unlimited", min: MIB, max: 16 * TIB, set: |t, v| t.retention_bytes = v },
        "Beyond this size of a partition its oldest records may go. unlimited: until space is needed.",
    ),
    key(
        "max.message.bytes",
        "1048588",
        Kind::Size { min: KIB, max: BATCH_BYTES_MAX as u64, set: |t, v| t.max_message_bytes = v as usize },
        "Largest record batch.",
    ),
    key(
        "compression.type",
        "producer",
        choice!(TopicCompression, |t| t.compression),
        "Codec that batches of Kafka producers are kept in; producer: as they come.",
    ),
    key(
        "message.timestamp.before.max.ms",
        "unlimited",
        Kind::DurationOr {
            word: "unlimited",
            min: Duration::ZERO,
            max: Duration::from_secs(86_400 * 36_500),
            set: |t, v| t.timestamp_before_max = v,
        },
        "Records older than this by a trusted clock are refused; a number without unit is milliseconds.",
    ),
    key(
        "message.timestamp.after.max.ms",
        "unlimited",
        Kind::DurationOr {
            word: "unlimited",
            min: Duration::ZERO,
            max: Duration::from_secs(86_400 * 36_500),
            set: |t, v| t.timestamp_after_max = v,
        },
        "Records further ahead of a trusted clock are refused; a number without unit is milliseconds.",
    ),
    key(
        "message.timestamp.type",
        "CreateTime",
        choice!(TimestampType, |t| t.timestamp_type),
        "Whether records keep their producer's time or get the gateway's.",
    ),
    key(
        "key",
        "client-id",
        choice!(DefaultKey, |t| t.key),
        "Key of native records that bring none: the client's id (order per device holds), or none.",
    ),
    key(
        "priority",
        "5",
        Kind::Count { min: 0, max: PRIORITY_MAX as u64, set: |t, v| t.priority = v as u8 },
        "When room is needed, what has a lower priority goes first.",
    ),
    key(
        "reserve",
        "0",
        Kind::Size { min: 0, max: 16 * TIB, set: |t, v| t.reserve = v },
        "This much of a topic's newest records is never evicted; all together at most 70% of store.max_bytes.",
    ),
    key(
        "on_full",
        "evict-oldest",
        choice!(OnFull, |t| t.on_full),
        "When room is needed: its oldest records may go, or they stay and new ones are refused.",
    ),
    key(
        "retention.unforwarded",
        "keep",
        choice!(Unforwarded, |t| t.unforwarded),
        "Whether retention removes what an uplink has not forwarded yet.",
    ),
    key(
        "urgent",
        "false",
        Kind::Boolean(|t, v| t.urgent = v),
        "Whether records are committed at once, whatever store.commit_window and store.flash_budget say.",
    ),
];

/// Keys of `[uplink.NAME]`.
pub(super) static UPLINK: &[Key<UplinkConfig>] = &[
    key("enabled", "true", Kind::Boolean(|u, v| u.enabled = v), "Whether this uplink forwards."),
    Key {
        name: "bootstrap",
        default: None,
        kind: Kind::HostPorts(|u, v| u.bootstrap = v),
        secret: false,
        doc: "Kafka brokers to ask first, as host:port; one suffices, more survive an outage of it.",
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
        "Name at the centre; {topic} and {gateway} are replaced.",
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
        "256KiB",
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
        "60s",
        Kind::Duration { min: SECOND, max: HOUR, set: |u, v| u.request_timeout = v },
        "For the answer to one request; long, since links are slow.",
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
        "delivery",
        "at-least-once",
        choice!(Delivery, refused: DELIVERY_LATER, |u| u.delivery),
        "What the uplink promises.",
    ),
    key(
        "client_id",
        "auto",
        Kind::NameOr { word: "auto", max: CLIENT_ID_BYTES_MAX, set: |u, v| u.client_id = v },
        "Client id that the centre sees; auto: brooklet-GATEWAY.",
    ),
];

const DELIVERY_LATER: &[(&str, &str)] = &[(
    "exactly-once",
    "an uplink retries until the centre has acknowledged, and a crash of the gateway may repeat the last batches",
)];

const MS_10: Duration = Duration::from_millis(10);

/// Sections that have their place but not their meaning yet. They are refused, never silently ignored: a `[tls]` that
/// does nothing would be a listener in the clear. `*` stands for one part of the path.
pub(super) static RESERVED: &[(&[&str], &str)] = &[
    (&["tls"], "TLS"),
    (&["auth"], "authentication"),
    (&["user"], "authentication"),
    (&["acl"], "authorisation"),
    (&["quota"], "quotas"),
    (&["listen", "*", "tls"], "TLS"),
    (&["listen", "*", "auth"], "authentication"),
    (&["listen", "*", "sasl"], "authentication"),
    (&["listen", "mqtt"], "the MQTT listener"),
    (&["listen", "http"], "the HTTP listener"),
    (&["listen", "serial"], "the serial listener"),
    (&["uplink", "*", "tls"], "TLS"),
    (&["uplink", "*", "auth"], "authentication"),
    (&["uplink", "*", "sasl"], "authentication"),
    (&["downlink"], "the downlink"),
    (&["streams"], "stream processing"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check_scope<T>(scope: &[Key<T>]) {
        for (index, key) in scope.iter().enumerate() {
            assert!(key.doc.ends_with('.') && key.doc.len() < 110, "{}: one line, ended", key.name);
            assert!(!scope[..index].iter().any(|other| other.name == key.name), "{} twice", key.name);
            // A variable's `__` stands for a dot, so no part of a key may hold it.
            assert!(!key.name.contains("__"), "{}", key.name);
        }
    }

    #[test]
    fn keys_are_described_and_unique() {
        check_scope(GLOBAL);
        check_scope(TOPIC);
        check_scope(UPLINK);
    }

    /// `[topic]` holds defaults and topics alike: no key may read as a topic's name plus another key.
    #[test]
    fn a_topic_key_is_never_a_name_and_a_key() {
        for key in TOPIC {
            for other in TOPIC {
                assert!(!key.name.ends_with(&format!(".{}", other.name)), "{} {}", key.name, other.name);
            }
        }
    }
}
