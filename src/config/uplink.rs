//! `[uplink.NAME]`: what goes up, and how.

use std::time::Duration;

use super::{
    auth::LinkSaslConfig,
    link::LinkConfig,
    pattern::{TopicPattern, TopicTemplate},
    tls::LinkTlsConfig,
    types::{Compression, HostPort},
    words::words,
};
use crate::limits::is_internal_topic;

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
