//! Keys of the file itself: where data lies, the store, the listeners, what the gateway does besides.

use std::time::Duration;

use super::super::{
    listen::AcksOne,
    reading::address,
    store::{OnFull, StoreMedium},
    types::{ClockTrust, Compression, Config},
    value::{Choice, Kind, Special, SpecialList},
};
use super::{
    DAY, GIB, HOUR, KIB, Key, MIB, MINUTE, MS_10, SECOND, TIB, YEARS_100, adopted, auth, count, for_new, http, joined,
    key, link::unless, live, security, tls,
};
use crate::limits::{CLIENT_ID_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// Longest time between two commits that may be set.
const COMMIT_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// The longest keep-alive that MQTT can name.
const KEEPALIVE_MAX: Duration = Duration::from_secs(u16::MAX as u64);

/// Smallest segment: must hold the activation transaction and a few batches.
const SEGMENT_BYTES_MIN: u64 = MIB;

/// Keys of the file itself.
pub(in crate::config) static GLOBAL: &[Key<Config>] = &joined::<_, { count(PARTS) }>(PARTS);
const PARTS: &[&[Key<Config>]] = &[
    OWN,
    http::HTTP,
    tls::NATIVE,
    tls::KAFKA,
    tls::MQTT,
    tls::HTTP,
    auth::NATIVE,
    auth::KAFKA,
    auth::MQTT,
    auth::NAMES,
    security::SECURITY,
];

const OWN: &[Key<Config>] = &[
    key("data_dir", "./brooklet-data", Kind::Path(|c, v| c.data_dir = v), "Directory of everything Brooklet keeps."),
    adopted(
        "gateway.id",
        "auto",
        Kind::NameOr { word: "auto", max: CLIENT_ID_BYTES_MAX, set: |c, v| c.gateway.id = v },
        "Name of this gateway at the centre; auto: by the board's serial, else random, and kept; or machine-id.",
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
    live(
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
    live(
        "store.commit_interval_max",
        "5s",
        Kind::Duration { min: MS_10, max: COMMIT_INTERVAL_MAX, set: |c, v| c.store.commit_interval_max = v },
        "Longest that the flash budget makes commits wait; a record waits as long for its acknowledgement.",
    ),
    live(
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
        "1MiB",
        Kind::Size { min: 512 * KIB, max: 4 * GIB, set: |c, v| c.store.cache_bytes = v },
        "Page cache of the store.",
    ),
    key(
        "store.tail_bytes",
        "2MiB",
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
    live(
        "listen.max_connections",
        "unlimited",
        Kind::CountOr {
            word: "unlimited",
            min: 1,
            max: 1 << 20,
            set: |c, v| c.listen.max_connections = v.map(|v| v as usize),
        },
        "Most connections at once on all listeners together.",
    ),
    live(
        "listen.max_connections_per_address",
        "auto",
        Kind::CountOr {
            word: "auto",
            min: 1,
            max: 1 << 20,
            set: |c, v| c.listen.max_connections_per_address = v.map(|v| v as usize),
        },
        "Most connections at once from one address to one listener; auto: half of it, and all from this machine.",
    ),
    key(
        "listen.max_inflight_bytes",
        "32MiB",
        Kind::Size { min: 64 * KIB, max: 4 * GIB, set: |c, v| c.listen.max_inflight_bytes = v },
        "Memory of requests not answered yet, all listeners together; and as much for answers.",
    ),
    live(
        "listen.max_handshakes",
        "32",
        Kind::Count { min: 1, max: 4_096, set: |c, v| c.listen.max_handshakes = v as usize },
        "Most TLS handshakes at once, half of them from one address; further ones wait for their turn.",
    ),
    live(
        "listen.handshake_timeout",
        "10s",
        Kind::Duration { min: SECOND, max: HOUR, set: |c, v| c.listen.handshake_timeout = v },
        "Within this a client must have shaken hands, its turn included.",
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
        "Where the native protocol listens; 0.0.0.0:9790 for all interfaces.",
    ),
    live(
        "listen.native.max_connections",
        "256",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.listen.native.max_connections = v as usize },
        "Most native connections at once.",
    ),
    for_new(
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
    live(
        "listen.native.device_header",
        "true",
        Kind::Boolean(|c, v| c.listen.native.device_header = v),
        "Whether records whose key is not their client's id keep that id in a header (brooklet.device).",
    ),
    for_new(
        "listen.native.idle_timeout",
        "10m",
        Kind::DurationOr { word: "never", min: SECOND, max: DAY, set: |c, v| c.listen.native.idle_timeout = v },
        "A native connection silent for longer is closed.",
    ),
    for_new(
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
        "Where the Kafka protocol listens; 0.0.0.0:9092 for all interfaces.",
    ),
    for_new(
        "listen.kafka.advertised",
        "auto",
        Kind::HostPortOr { word: "auto", set: |c, v| c.listen.kafka.advertised = v },
        "Address that Metadata answers with; auto: the one that the connection came in on.",
    ),
    for_new(
        "listen.kafka.acks_1",
        "flash",
        choice!(AcksOne, |c| c.listen.kafka.acks_1),
        "What acks=1 waits for: the commit (as acks=all), or nothing but memory.",
    ),
    live(
        "listen.kafka.max_connections",
        "128",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.listen.kafka.max_connections = v as usize },
        "Most Kafka connections at once.",
    ),
    for_new(
        "listen.kafka.max_request_bytes",
        "8MiB",
        Kind::Size { min: 16 * KIB, max: 100 * MIB, set: |c, v| c.listen.kafka.max_request_bytes = v as usize },
        "Largest Kafka request.",
    ),
    for_new(
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
    for_new(
        "listen.kafka.idle_timeout",
        "10m",
        Kind::DurationOr { word: "never", min: SECOND, max: DAY, set: |c, v| c.listen.kafka.idle_timeout = v },
        "A Kafka connection silent for longer is closed.",
    ),
    for_new(
        "listen.kafka.frame_timeout",
        "30s",
        Kind::Duration { min: SECOND, max: HOUR, set: |c, v| c.listen.kafka.frame_timeout = v },
        "Within this a begun request must be whole and an answer be taken.",
    ),
    key(
        "listen.mqtt.enabled",
        "true",
        Kind::Boolean(|c, v| c.listen.mqtt.enabled = v),
        "Whether MQTT clients are served.",
    ),
    key(
        "listen.mqtt.addr",
        "127.0.0.1:1883",
        Kind::Address(|c, v| c.listen.mqtt.addr = v),
        "Where MQTT listens; 0.0.0.0:1883 for all interfaces.",
    ),
    live(
        "listen.mqtt.map",
        "",
        Kind::MqttRules(|c, v| c.listen.mqtt.map = v),
        "Which topic a message goes to: the first rule that matches; none: the first level.",
    ),
    live(
        "listen.mqtt.max_connections",
        "128",
        Kind::Count { min: 1, max: 65_536, set: |c, v| c.listen.mqtt.max_connections = v as usize },
        "Most MQTT connections at once.",
    ),
    for_new(
        "listen.mqtt.max_packet_bytes",
        "1MiB",
        Kind::Size { min: KIB, max: 8 * MIB, set: |c, v| c.listen.mqtt.max_packet_bytes = v as usize },
        "Largest MQTT packet.",
    ),
    key(
        "listen.mqtt.max_inflight_bytes",
        "8MiB",
        Kind::Size { min: 64 * KIB, max: 4 * GIB, set: |c, v| c.listen.mqtt.max_inflight_bytes = v },
        "Large MQTT packets being received, and batches being read for clients, all connections together.",
    ),
    for_new(
        "listen.mqtt.max_inflight",
        "100",
        Kind::Count { min: 1, max: 65_535, set: |c, v| c.listen.mqtt.max_inflight = v as u16 },
        "Most messages of QoS 1 and 2 that one client has open, each way.",
    ),
    live(
        "listen.mqtt.max_sessions",
        "1000",
        Kind::Count { min: 1, max: 100_000, set: |c, v| c.listen.mqtt.max_sessions = v as usize },
        "Most MQTT clients that are connected or have a session.",
    ),
    live(
        "listen.mqtt.max_subscriptions",
        "100",
        Kind::Count { min: 1, max: 10_000, set: |c, v| c.listen.mqtt.max_subscriptions = v as usize },
        "Most subscriptions of one MQTT session.",
    ),
    for_new(
        "listen.mqtt.session_expiry",
        "30d",
        Kind::DurationOr { word: "never", min: SECOND, max: YEARS_100, set: |c, v| c.listen.mqtt.session_expiry = v },
        "Longest that a session outlives its connection, by the time that the gateway runs.",
    ),
    live(
        "listen.mqtt.max_retained",
        "1000",
        Kind::Count { min: 0, max: 100_000, set: |c, v| c.listen.mqtt.max_retained = v as usize },
        "Most retained messages; they are kept in memory as well.",
    ),
    live(
        "listen.mqtt.max_retained_bytes",
        "1MiB",
        Kind::Size { min: 0, max: GIB, set: |c, v| c.listen.mqtt.max_retained_bytes = v },
        "Most bytes of retained messages.",
    ),
    for_new(
        "listen.mqtt.packet_timeout",
        "30s",
        Kind::Duration { min: SECOND, max: HOUR, set: |c, v| c.listen.mqtt.packet_timeout = v },
        "Within this CONNECT must come, a begun packet be whole and an answer be taken.",
    ),
    for_new(
        "listen.mqtt.max_keepalive",
        "none",
        Kind::DurationOr { word: "none", min: SECOND, max: KEEPALIVE_MAX, set: |c, v| c.listen.mqtt.max_keepalive = v },
        "Longest that MQTT clients of 5.0 may be silent; one that is gone is noticed after half as long again.",
    ),
    key(
        "listen.mqtt.websocket",
        "off",
        Kind::Special(Special {
            allowed: "\"off\" or an address and a port, such as \"0.0.0.0:9001\"",
            set: |c, text| unless("off", text, address, |v| c.listen.mqtt.websocket = v),
        }),
        "Where MQTT is spoken over WebSocket as well, at the path /mqtt.",
    ),
    for_new(
        "listen.mqtt.websocket_origins",
        "none",
        Kind::SpecialList(SpecialList {
            allowed: "[\"none\"], [\"*\"], or sites such as [\"https://tools.example\"]",
            set: |c, texts| {
                let is_site = |text: &&str| *text == "*" || text.starts_with("http://") || text.starts_with("https://");
                let named = texts.iter().filter(|text| **text != "none");
                c.listen.mqtt.websocket_origins = named.clone().map(ToString::to_string).collect();
                named.clone().all(is_site).then(|| texts.iter().map(ToString::to_string).collect())
            },
        }),
        "Sites whose pages may connect by WebSocket; pages loaded from the gateway's own address may always.",
    ),
    live(
        "topic.auto_create",
        "true",
        Kind::Boolean(|c, v| c.topics.auto_create = v),
        "Whether a topic is created when it is first produced to or asked for.",
    ),
    live(
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
    live(
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
