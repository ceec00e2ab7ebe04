//! Keys of an uplink: `[uplink.NAME]`.

use std::time::Duration;

use super::super::{
    types::{Compression, Delivery, Partitioning, UplinkConfig},
    value::Kind,
};
use super::{DAY, HOUR, KIB, Key, MS_10, SECOND, key};
use crate::limits::{BATCH_BYTES_MAX, CLIENT_ID_BYTES_MAX};

/// Keys of `[uplink.NAME]`.
pub(in crate::config) static UPLINK: &[Key<UplinkConfig>] = &[
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
