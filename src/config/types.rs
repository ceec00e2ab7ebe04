//! The final types: what the rest of the house sees of the configuration.
//!
//! Values here have been checked: ranges of single keys by the table in [`super::keys`], relations between keys by
//! [`super::relations`]. Nobody below parses text again. Sizes are in bytes.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

use crate::limits::is_internal_topic;

use super::{
    auth::{CertificateName, LinkSaslConfig, ListenAuthConfig},
    downlink::DownlinkConfig,
    http::HttpListenConfig,
    labels::Labels,
    link::LinkConfig,
    pattern::{TopicPattern, TopicTemplate},
    security::{IfNoRule, SecurityConfig},
    tls::{LinkTlsConfig, ListenTlsConfig},
    value::words,
};

/// Everything `serve` can be told. [`Config::default`] is what holds without any file, variable or flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where everything is kept: segments, identity, the socket for local administration.
    pub data_dir: PathBuf,
    pub gateway: GatewayConfig,
    pub store: StoreConfig,
    pub listen: ListenConfig,
    pub topics: TopicsConfig,
    pub group: GroupConfig,
    pub source: SourceConfig,
    /// By name; the name is part of the durable cursor's key.
    pub uplinks: BTreeMap<String, UplinkConfig>,
    /// By name, which no uplink has; the name is part of the durable positions' keys.
    pub downlinks: BTreeMap<String, DownlinkConfig>,
    pub log: LogConfig,
    pub clock: ClockConfig,
    pub security: SecurityConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GatewayConfig {
    /// Name of this gateway at the centre. `None`: generated once and kept in the data directory.
    pub id: Option<String>,
    /// What it is known by besides.
    pub labels: Labels,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// How long offsets of a group without members are kept, in powered time.
    pub offsets_retention: Duration,
    /// How long an empty group waits for more members before it assigns.
    pub initial_rebalance_delay: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StoreConfig {
    /// Bound of everything on disk: segments, spares, state, files unlinked but still open.
    pub max_bytes: DiskBudget,
    /// Size of a segment file. `None`: the store chooses by the budget.
    pub segment_bytes: Option<u64>,
    /// Least time between the beginnings of two commits; zero commits as fast as the disk can. `None`: by the medium.
    pub commit_window: Option<Duration>,
    /// To this the flash budget stretches the window, if that is longer.
    pub commit_interval_max: Duration,
    /// Bytes that may be written a day; commits wait for it, nothing is refused. `None`: any amount.
    pub flash_budget: Option<u64>,
    /// Bytes a day that rewriting segments may write. `None`: as much as `max_bytes`.
    pub rewrite_budget: Option<u64>,
    pub medium: StoreMedium,
    /// Of batches that are gathered here out of single records.
    pub compression: Compression,
    /// Page cache of the store.
    pub cache_bytes: u64,
    /// Recent committed batches kept in memory for readers.
    pub tail_bytes: u64,
    pub on_full: OnFull,
    /// Claim the room of `max_bytes` from the filesystem beforehand.
    pub preallocate: bool,
}

/// How much disk the store may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskBudget {
    /// The smaller of 1 GiB and a quarter of the filesystem.
    Auto,
    Bytes(u64),
    /// Of the whole filesystem's size, 1 to 95.
    Percent(u8),
}

words! {
    /// What the data directory lies on.
    pub enum StoreMedium {
        /// As /sys tells.
        Auto = "auto",
        /// eMMC or an SD card: at most a commit a second while traffic trickles.
        FlashCard = "flash-card",
        /// Anything else.
        Disk = "disk",
    }
}

words! {
    /// What happens when `store.max_bytes` is reached: of the store, and of a topic.
    pub enum OnFull {
        /// The oldest segment goes; what a reader still missed of it is recorded in the loss ledger.
        EvictOldest = "evict-oldest",
        /// Producers get an error until space is free again.
        Refuse = "refuse",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenConfig {
    /// Connections of all listeners together. `None`: as many as each may have.
    pub max_connections: Option<usize>,
    /// Connections of one listener from one address. `None`: half of what it may have; from this machine all.
    pub max_connections_per_address: Option<usize>,
    /// Memory of requests of all listeners that are not answered yet, and as much for answers. Bytes.
    pub max_inflight_bytes: u64,
    /// TLS handshakes at once, on all listeners.
    pub max_handshakes: usize,
    /// For a handshake, waiting for its turn included.
    pub handshake_timeout: Duration,
    /// `security.names`: where the names in clients' certificates stand.
    pub certificate_names: Vec<CertificateName>,
    pub native: NativeListenConfig,
    pub kafka: KafkaListenConfig,
    pub mqtt: MqttListenConfig,
    pub http: HttpListenConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NativeListenConfig {
    pub enabled: bool,
    pub addr: SocketAddr,
    pub if_no_rule: IfNoRule,
    pub tls: ListenTlsConfig,
    pub auth: ListenAuthConfig,
    pub max_connections: usize,
    /// Largest frame accepted.
    pub max_frame_bytes: usize,
    /// Whether records with a key of their own are kept with their client's id in a header.
    pub device_header: bool,
    /// Frames of all connections together that are received but not answered.
    pub max_inflight_bytes: u64,
    /// A connection silent for longer is closed. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A begun frame must be whole, and an answer taken, within this.
    pub frame_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct KafkaListenConfig {
    pub enabled: bool,
    pub addr: SocketAddr,
    pub if_no_rule: IfNoRule,
    pub tls: ListenTlsConfig,
    pub auth: ListenAuthConfig,
    /// What Metadata answers. `None`: the address that the connection came in on.
    pub advertised: Option<HostPort>,
    /// The same, over TLS.
    pub tls_advertised: Option<HostPort>,
    pub acks_1: AcksOne,
    pub max_connections: usize,
    /// Largest request accepted.
    pub max_request_bytes: usize,
    /// Most requests of a connection in progress at once.
    pub max_in_flight: usize,
    /// Requests of all connections together that are received but not answered.
    pub max_inflight_bytes: u64,
    /// A connection silent for longer is closed. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A begun request must be whole, and an answer taken, within this.
    pub frame_timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MqttListenConfig {
    pub enabled: bool,
    pub addr: SocketAddr,
    pub if_no_rule: IfNoRule,
    pub tls: ListenTlsConfig,
    pub auth: ListenAuthConfig,
    pub max_connections: usize,
    /// Largest packet accepted.
    pub max_packet_bytes: usize,
    /// Packets of all connections together that are received but not worked off.
    pub max_inflight_bytes: u64,
    /// Messages of QoS 1 and 2 that a client may have open, each way.
    pub max_inflight: u16,
    /// Clients that are connected or have a session.
    pub max_sessions: usize,
    /// Subscriptions of one session.
    pub max_subscriptions: usize,
    /// Longest that a session outlives its connection. `None`: as long as the client asked for.
    pub session_expiry: Option<Duration>,
    pub max_retained: usize,
    pub max_retained_bytes: u64,
    /// CONNECT must come, a begun packet be whole, and an answer be taken, within this.
    pub packet_timeout: Duration,
    /// The longest that a client of 5.0 may be silent. `None`: as long as it promised.
    pub max_keepalive: Option<Duration>,
    /// Where MQTT is spoken over WebSocket, in the clear. `None`: nowhere.
    pub websocket: Option<SocketAddr>,
    /// The same, by TLS.
    pub websocket_tls: Option<SocketAddr>,
    /// Sites whose pages may come by WebSocket, beside the gateway's own; `*`: all.
    pub websocket_origins: Vec<String>,
    /// Which Kafka topic a message goes to; the first rule that matches.
    pub map: Vec<MqttRule>,
}

/// A rule of `listen.mqtt.map`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttRule {
    /// An MQTT filter.
    pub filter: String,
    /// Template of the Kafka topic.
    pub topic: String,
    /// Template of the record's key; the client's id where there is none.
    pub key: Option<String>,
    /// Names and templates of further headers.
    pub headers: Vec<(String, String)>,
}

words! {
    /// What acks=1 of a Kafka producer means here.
    pub enum AcksOne {
        /// Committed and fsynced, like acks=all.
        Flash = "flash",
        /// Accepted; a power cut within the commit window loses it.
        Memory = "memory",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct TopicsConfig {
    pub auto_create: bool,
    /// Of topics without a table of their own.
    pub defaults: TopicSettings,
    /// Whole settings (defaults applied) of the topics that have a `[topic.NAME]` table.
    pub by_name: BTreeMap<String, TopicSettings>,
}

impl TopicsConfig {
    /// The settings with which a topic of this name is created.
    #[must_use]
    pub fn of(&self, name: &str) -> &TopicSettings {
        self.by_name.get(name).unwrap_or(&self.defaults)
    }

    /// What the configuration reserves: the topics that it names. A default for all others counts when they are created.
    #[must_use]
    pub fn reserve_sum(&self) -> u64 {
        let named = self.by_name.values().map(|topic| topic.reserve);
        named.fold(self.defaults.reserve, u64::saturating_add)
    }
}

/// Settings of one topic. Names as in Kafka's topic configuration where Kafka has them.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    pub partitions: u32,
    /// `retention.ms`. `None`: until space is needed.
    pub retention: Option<Duration>,
    /// `retention.bytes`, per partition. `None`: until space is needed.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`: largest batch.
    pub max_message_bytes: usize,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `message.timestamp.before.max.ms`. `None`: records may be of any age.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.after.max.ms`. `None`: records may be any time ahead.
    pub timestamp_after_max: Option<Duration>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    pub key: DefaultKey,
    /// 0 to 9; what has a higher one is kept longer when room is needed.
    pub priority: u8,
    /// Bytes of a topic's newest records that are never evicted.
    pub reserve: u64,
    /// When room is needed: may its records go, or are new ones refused?
    pub on_full: OnFull,
    /// Whether retention removes what an uplink has not forwarded.
    pub unforwarded: Unforwarded,
    /// Whether records are committed at once, whatever the commit window and the flash budget.
    pub urgent: bool,
    /// Which uplinks follow it.
    pub forward: Forward,
}

words! {
    /// `forward` of a topic.
    pub enum Forward {
        /// Those of which a pattern matches its name.
        Always = "always",
        /// Those that have its whole name in `topics`. A downlink sets this on its topics.
        Named = "named",
    }
}

words! {
    /// `retention.unforwarded` of a topic.
    pub enum Unforwarded {
        /// What an uplink has still to forward outlives `retention.ms` and `retention.bytes`.
        Keep = "keep",
        /// It goes with the rest, into the loss ledger.
        Delete = "delete",
    }
}

words! {
    /// `compression.type` of a topic.
    pub enum TopicCompression {
        /// Batches are stored as the producer compressed them.
        Producer = "producer",
        Uncompressed = "uncompressed",
        Gzip = "gzip",
        Snappy = "snappy",
        Lz4 = "lz4",
        Zstd = "zstd",
    }
}

words! {
    /// `message.timestamp.type` of a topic.
    pub enum TimestampType {
        CreateTime = "CreateTime",
        LogAppendTime = "LogAppendTime",
    }
}

words! {
    /// The key of a native record that brings none.
    pub enum DefaultKey {
        /// The client's id: order per device holds across partitions, and the centre knows the device.
        ClientId = "client-id",
        /// None: such records go to partitions in turn.
        None = "none",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    pub host: HostSourceConfig,
}

/// The gateway's own telemetry from /proc and /sys.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSourceConfig {
    pub enabled: bool,
    pub interval: Duration,
    pub topic: String,
}

/// One `[uplink.NAME]`: forwards topics to a Kafka cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct UplinkConfig {
    pub enabled: bool,
    pub protocol: UplinkProtocol,
    /// Brokers to ask first, or addresses of the gateway upstream; at least one.
    pub bootstrap: Vec<HostPort>,
    /// Topics followed. Internal topics (`__…`, `brooklet.losses`, `brooklet.dead-letter`) only where a pattern begins with `__` or `brooklet.`.
    pub topics: Vec<TopicPattern>,
    /// Topics not followed although a pattern of `topics` matches.
    pub exclude: Vec<TopicPattern>,
    /// Name of the topic at the centre.
    pub topic: TopicTemplate,
    pub partitioning: Partitioning,
    /// A stored batch of at least this size passes through as it is; smaller ones are merged.
    pub batch_min_bytes: usize,
    /// Largest merged batch.
    pub batch_max_bytes: usize,
    /// Of merged batches.
    pub compression: Compression,
    /// How long a merged batch may wait for company.
    pub linger: Duration,
    /// How long records that the gateway stamped without knowing the time wait for it.
    pub clock_wait: Duration,
    pub provenance: ProvenanceMode,
    /// Topic at the centre that is told how the gateway is. `None`: it is not told.
    pub status: Option<String>,
    /// Whether missing topics are created at the centre.
    pub create_topics: bool,
    /// Partitions of created topics. `None`: the centre's default.
    pub create_partitions: Option<u32>,
    /// Replication factor of created topics. `None`: the centre's default.
    pub create_replication: Option<u16>,
    /// For resolving, connecting and the first answer.
    pub connect_timeout: Duration,
    /// How long nothing may move while an answer is awaited.
    pub request_timeout: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    pub delivery: Delivery,
    /// How gentle it is on its link.
    pub link: LinkConfig,
    pub tls: LinkTlsConfig,
    pub sasl: LinkSaslConfig,
    pub on_divergence: OnDivergence,
    /// Transactions are not begun more often than this, unless there is a lot to forward.
    pub commit_every: Duration,
    /// The least `transaction.timeout.ms`.
    pub transaction_timeout: Duration,
    /// Whether producers are refused what the topic at the centre is too small for.
    pub refuse_too_large: bool,
    /// Sent with every request. `None`: `brooklet-` and the gateway's id.
    pub client_id: Option<String>,
}

impl UplinkConfig {
    /// Whether this uplink follows the topic.
    #[must_use]
    pub fn follows(&self, topic: &str) -> bool {
        let internal = is_internal_topic(topic);
        let wanted =
            self.topics.iter().any(|pattern| pattern.matches(topic) && (!internal || pattern.names_internal()));
        wanted && !self.exclude.iter().any(|pattern| pattern.matches(topic))
    }

    /// Whether the topic's whole name stands in `topics`.
    #[must_use]
    pub fn names(&self, topic: &str) -> bool {
        self.topics.iter().any(|pattern| pattern.as_str() == topic)
    }
}

words! {
    /// Which partition at the centre a record goes to.
    pub enum Partitioning {
        /// murmur2 of gateway id and local partition: order per local partition is kept.
        ByGateway = "by-gateway",
        /// By the record's key, as a Kafka producer would; records are re-encoded.
        ByKey = "by-key",
        /// The same number; refused if the centre has fewer partitions.
        Same = "same",
    }
}

words! {
    /// Which records get headers that say where they come from.
    pub enum ProvenanceMode {
        /// Those in batches that are built here: of native clients, and what an uplink merges.
        Built = "built",
        /// All; batches of Kafka clients are built anew for it.
        Always = "always",
        Never = "never",
    }
}

words! {
    /// Codec of a record batch.
    pub enum Compression {
        None = "none",
        Gzip = "gzip",
        Snappy = "snappy",
        Lz4 = "lz4",
        Zstd = "zstd",
    }
}

words! {
    /// What an uplink forwards to.
    pub enum UplinkProtocol {
        /// A cluster that speaks Kafka.
        Kafka = "kafka",
        /// Another Brooklet, by its native protocol.
        Brooklet = "brooklet",
    }
}

words! {
    /// What an uplink promises.
    pub enum Delivery {
        /// Records and positions in one transaction: what is read committed at the centre is there once.
        ExactlyOnce = "exactly-once",
        /// Nothing is lost; after a crash the last batches may arrive twice.
        AtLeastOnce = "at-least-once",
    }
}

words! {
    /// What an uplink does when upstream has records of its gateway that the store never held.
    pub enum OnDivergence {
        /// Everything behind the last common point.
        ForwardAll = "forward-all",
        /// Nothing, until an operator says so.
        Stop = "stop",
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub level: log::LevelFilter,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClockConfig {
    pub trust: ClockTrust,
}

words! {
    /// When the wall clock is believed. Many boards have no clock that survives a power cut.
    pub enum ClockTrust {
        /// Once the kernel says that it is synchronised, or a hardware clock exists and shows a plausible time.
        Auto = "auto",
        Always = "always",
        Never = "never",
    }
}

/// A host name or address and a port; resolved when connecting, never before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Without brackets, also for IPv6.
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_written_as_they_are_read() {
        let v6 = HostPort { host: "::1".to_owned(), port: 9092 };
        assert_eq!(v6.to_string(), "[::1]:9092");
    }
}
