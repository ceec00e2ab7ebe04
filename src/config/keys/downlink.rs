//! Keys of a downlink: `[downlink.NAME]`.

use std::time::Duration;

use super::super::{
    downlink::{DownlinkConfig, DownlinkFrom, DownlinkPartitioning, OutOfRange},
    value::{Kind, Special},
};
use super::{KIB, Key, MIB, MS_10, all_live, auth, count, joined, key, link, required, tls};

/// Keys of `[downlink.NAME]`.
pub(in crate::config) static DOWNLINK: &[Key<DownlinkConfig>] = &all_live(joined::<_, { count(PARTS) }>(PARTS));
const PARTS: &[&[Key<DownlinkConfig>]] = &[OWN, link::DOWNLINK, tls::DOWNLINK, auth::DOWNLINK];

const OWN: &[Key<DownlinkConfig>] = &[
    key("enabled", "true", Kind::Boolean(|d, v| d.enabled = v), "Whether this downlink brings anything."),
    required(
        "bootstrap",
        Kind::HostPorts(|d, v| d.bootstrap = v),
        "Kafka brokers to ask first, as host:port; one suffices, more survive an outage of it.",
    ),
    required(
        "topics",
        Kind::Templates(|d, v| d.topics = v),
        "Topics at the centre that are brought, by name; {gateway} and {label.NAME} are replaced.",
    ),
    key(
        "topic",
        "{topic}",
        Kind::Template(|d, v| d.topic = v),
        "Name of the local topic; {topic} (the name at the centre), {gateway} and {label.NAME} are replaced.",
    ),
    key(
        "partitioning",
        "same",
        choice!(DownlinkPartitioning, |d| d.partitioning),
        "Local partition: the same number (partitions are added), or modulo those that the local topic has.",
    ),
    key(
        "from",
        "latest",
        Kind::Special(Special {
            allowed: DownlinkFrom::ALLOWED,
            set: |d, text| DownlinkFrom::parse(text).map(|v| (d.from = v, v.to_string()).1),
        }),
        "Where a topic begins that was never brought before.",
    ),
    key(
        "out_of_range",
        "earliest",
        choice!(OutOfRange, |d| d.out_of_range),
        "Where to go on when the centre has deleted what was not brought yet; it is counted and logged.",
    ),
    key(
        "fetch.max_bytes",
        "256KiB",
        Kind::Size { min: KIB, max: 2 * MIB, set: |d, v| d.fetch_max_bytes = v as usize },
        "Bytes asked for at a time, and so the memory of a downlink; one larger batch comes alone.",
    ),
    key(
        "fetch.wait",
        "1m",
        Kind::Duration { min: MS_10, max: Duration::from_secs(600), set: |d, v| d.fetch_wait = v },
        "How long a broker holds a question until there is something new; records never wait for it.",
    ),
];
