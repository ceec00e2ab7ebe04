//! CreateTopics (key 19), versions 2–7.
//!
//! Version 4 allows −1 for partitions and replication factor (the server's defaults), 5 is flexible and answers with
//! what was created (KIP-525), 7 adds the topic id.

use crate::kafka::message::messages;
use crate::kafka::wire::Uuid;

messages! {
    request CreateTopicsRequest<'a>: CreateTopics {
        topics: Vec<CreatableTopic<'a>>;
        timeout_ms: i32, default 60000;
        validate_only: bool;
    }

    struct CreatableTopic<'a> {
        name: &'a str;
        num_partitions: i32;
        replication_factor: i16;
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

    response CreateTopicsResponse<'a>: CreateTopics {
        throttle_time_ms: i32;
        topics: Vec<CreatableTopicResult<'a>>;
    }

    struct CreatableTopicResult<'a> {
        name: &'a str;
        topic_id: Uuid, in 7..;
        error_code: i16;
        error_message: Option<&'a str>;
        topic_config_error_code: i16, in 5.., tag 0;
        num_partitions: i32, in 5.., default -1;
        replication_factor: i16, in 5.., default -1;
        configs: Option<Vec<CreatableTopicConfigs<'a>>>, in 5..;
    }

    struct CreatableTopicConfigs<'a> {
        name: &'a str;
        value: Option<&'a str>;
        read_only: bool;
        config_source: i8, default -1;
        is_sensitive: bool;
    }
}
