//! DescribeTopicPartitions (key 75), version 0: topics and their partitions, a page at a time (KIP-966). Flexible.

use crate::kafka::message::messages;
use crate::kafka::nullable::Nullable;
use crate::kafka::wire::Uuid;

messages! {
    /// Asks about topics.
    request DescribeTopicPartitionsRequest<'a>: DescribeTopicPartitions {
        /// None: all.
        topics: Vec<TopicRequest<'a>>;
        /// Most partitions of an answer.
        response_partition_limit: i32, default 2_000;
        /// Where to go on.
        cursor: Nullable<Cursor<'a>>;
    }

    struct TopicRequest<'a> {
        name: &'a str;
    }

    /// A place among the partitions, ordered by the topics' names.
    struct Cursor<'a> {
        topic_name: &'a str;
        partition_index: i32;
    }

    /// A page of topics.
    response DescribeTopicPartitionsResponse<'a>: DescribeTopicPartitions {
        throttle_time_ms: i32;
        topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>;
        /// Where the next page begins; null at the end.
        next_cursor: Nullable<Cursor<'a>>;
    }

    struct DescribeTopicPartitionsResponseTopic<'a> {
        error_code: i16;
        name: Option<&'a str>;
        topic_id: Uuid;
        is_internal: bool;
        partitions: Vec<DescribeTopicPartitionsResponsePartition>;
        /// A bit an operation; `i32::MIN` if not told.
        topic_authorized_operations: i32, default i32::MIN;
    }

    struct DescribeTopicPartitionsResponsePartition {
        error_code: i16;
        partition_index: i32;
        leader_id: i32;
        leader_epoch: i32, default -1;
        replica_nodes: Vec<i32>;
        isr_nodes: Vec<i32>;
        /// Those that could still lead without loss; null if there is no such list.
        eligible_leader_replicas: Option<Vec<i32>>;
        last_known_elr: Option<Vec<i32>>;
        offline_replicas: Vec<i32>;
    }
}
