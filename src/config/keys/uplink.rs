//! Keys of an uplink: `[uplink.NAME]`.

use std::time::Duration;

use super::super::{
    types::Compression,
    uplink::{Delivery, OnDivergence, Partitioning, ProvenanceMode, UplinkConfig, UplinkProtocol},
    value::Kind,
};
use super::{DAY, HOUR, KIB, Key, SECOND, all_live, auth, count, joined, key, link, required, tls};
use crate::limits::{BATCH_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// Keys of `[uplink.NAME]`.
pub(in crate::config) static UPLINK: &[Key<UplinkConfig>] = &all_live(joined::<_, { count(PARTS) }>(PARTS));
const PARTS: &[&[Key<UplinkConfig>]] = &[OWN, link::UPLINK, tls::UPLINK, auth::UPLINK];

const OWN: &[Key<UplinkConfig>] = &[
    key("enabled", "true", Kind::Boolean(|u, v| u.enabled = v), "Whether this uplink forwards."),
    key(
        "protocol",
        "kafka",
        choice!(UplinkProtocol, |u| u.protocol),
        "What the centre speaks; brooklet: another gateway's native port, forwarded to exactly once.",
    ),
    required(
        "bootstrap",
        Kind::HostPorts(|u, v| u.bootstrap = v),
        "Kafka brokers to ask first, or the gateway upstream, as host:port; one suffices, more survive its outage.",
    ),
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
        "status",
        "brooklet.status",
        Kind::NameOr { word: "off", max: TOPIC_NAME_BYTES_MAX, set: |u, v| u.status = v },
        "Topic at the centre, by its whole name there, that is told how this gateway is, beside its records.",
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
        "keepalive",
        "4m",
        Kind::DurationOr { word: "never", min: SECOND, max: DAY, set: |u, v| u.link.keepalive = v },
        "A connection idle for so long is asked something small, so that it lives and a dead one is noticed.",
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
];

/// Apache Kafka's default of `transaction.max.timeout.ms`.
const MINUTES_15: Duration = Duration::from_secs(900);
