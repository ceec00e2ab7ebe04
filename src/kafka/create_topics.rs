//! CreateTopics (key 19), versions 2–7.
//!
//! Version 4 allows −1 for partitions and replication factor (the server's defaults), 5 is flexible and answers with
//! what was created (KIP-525), 7 adds the topic id.

use crate::kafka::message::messages;
use crate::kafka::wire::Uuid;

messages! {
    /// Asks for topics to be created.
    request CreateTopicsRequest<'a>: CreateTopics {
        topics: Vec<CreatableTopic<'a>>;
        /// How long to wait until they can be used.
        timeout_ms: i32, default 60000;
        /// Only say whether it would work.
        validate_only: bool;
    }

    struct CreatableTopic<'a> {
        name: &'a str;
        /// −1: the server's default (from version 4), or given by `assignments`.
        num_partitions: i32;
        /// −1: the server's default (from version 4), or given by `assignments`.
        replication_factor: i16;
        /// Replicas by partition; empty to leave it to the server.
        assignments: Vec<CreatableReplicaAssignment>;
        configs: Vec<CreatableTopicConfig<'a>>;
    }

    struct CreatableReplicaAssignment {
        partition_index: i32;
        broker_ids: Vec<i32>;
    }

    struct CreatableTopicConfig<'a> {
        name: &'a str;
        value: Option<&'a str>;
    }

    /// What became of each topic.
    response CreateTopicsResponse<'a>: CreateTopics {
        throttle_time_ms: i32;
        topics: Vec<CreatableTopicResult<'a>>;
    }

    struct CreatableTopicResult<'a> {
        name: &'a str;
        topic_id: Uuid, in 7..;
        error_code: i16;
        error_message: Option<&'a str>;
        /// Why `configs` is null.
        topic_config_error_code: i16, in 5.., tag 0;
        num_partitions: i32, in 5.., default -1;
        replication_factor: i16, in 5.., default -1;
        /// Settings in force; null if the asker may not see them.
        configs: Option<Vec<CreatableTopicConfigs<'a>>>, in 5..;
    }

    /// A setting in force.
    struct CreatableTopicConfigs<'a> {
        name: &'a str;
        value: Option<&'a str>;
        read_only: bool;
        /// As [`super::describe_configs::DescribeConfigsResourceResult::config_source`].
        config_source: i8, default -1;
        is_sensitive: bool;
    }
}
