//! Metadata (key 3), versions 0–12: the brokers, and topics with their partitions and leaders.
//!
//! All topics are asked for by null from version 1 on, and by an empty array in version 0, where null doesn't exist.
//! Version 4 adds the leave to create topics, 7 leader epochs, 9 is flexible, 10 adds topic ids, 12 allows a topic to
//! be asked for by id alone (its name is then null).

use crate::kafka::message::messages;
use crate::kafka::wire::Uuid;

messages! {
    /// Asks for the cluster's brokers and for topics.
    request MetadataRequest<'a>: Metadata {
        /// Null: all topics (version 0: an empty array).
        topics: Option<Vec<MetadataRequestTopic<'a>>>, null 1..;
        /// Whether a missing topic may be created by asking.
        allow_auto_topic_creation: bool, in 4.., default true;
        include_cluster_authorized_operations: bool, in 8..=10;
        include_topic_authorized_operations: bool, in 8..;
    }

    /// A topic, by name or by id.
    struct MetadataRequestTopic<'a> {
        topic_id: Uuid, in 10..;
        /// Null if asked for by id (which works from version 12 on).
        name: Option<&'a str>, null 10..;
    }

    /// The brokers, and the topics asked for.
    response MetadataResponse<'a>: Metadata {
        throttle_time_ms: i32, in 3..;
        brokers: Vec<MetadataResponseBroker<'a>>;
        cluster_id: Option<&'a str>, in 2..;
        /// The broker to send changes of topics to; −1 if there is none.
        controller_id: i32, in 1.., default -1;
        topics: Vec<MetadataResponseTopic<'a>>;
        /// A bit an operation; `i32::MIN` if not asked for.
        cluster_authorized_operations: i32, in 8..=10, default i32::MIN;
    }

    struct MetadataResponseBroker<'a> {
        node_id: i32;
        host: &'a str;
        port: i32;
        rack: Option<&'a str>, in 1..;
    }

    struct MetadataResponseTopic<'a> {
        error_code: i16;
        /// Null for an id that is not known.
        name: Option<&'a str>, null 12..;
        /// Zero for a name that is not known.
        topic_id: Uuid, in 10..;
        /// Whether it is one of the cluster's own topics.
        is_internal: bool, in 1..;
        partitions: Vec<MetadataResponsePartition>;
        /// A bit an operation; `i32::MIN` if not asked for.
        topic_authorized_operations: i32, in 8.., default i32::MIN;
    }

    struct MetadataResponsePartition {
        error_code: i16;
        partition_index: i32;
        /// −1 if there is none at the moment.
        leader_id: i32;
        leader_epoch: i32, in 7.., default -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        offline_replicas: Vec<i32>, in 5..;
    }
}
