//! CreatePartitions (key 37), versions 0–3: raises the number of a topic's partitions. Version 2 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for more partitions.
    request CreatePartitionsRequest<'a>: CreatePartitions {
        topics: Vec<CreatePartitionsTopic<'a>>;
        timeout_ms: i32;
        validate_only: bool;
    }

    struct CreatePartitionsTopic<'a> {
        name: &'a str;
        /// How many the topic is to have in all.
        count: i32;
        /// Replicas of the new ones; null to leave it to the server.
        assignments: Option<Vec<CreatePartitionsAssignment>>;
    }

    struct CreatePartitionsAssignment {
        broker_ids: Vec<i32>;
    }

    /// What became of each topic.
    response CreatePartitionsResponse<'a>: CreatePartitions {
        throttle_time_ms: i32;
        results: Vec<CreatePartitionsTopicResult<'a>>;
    }

    struct CreatePartitionsTopicResult<'a> {
        name: &'a str;
        error_code: i16;
        error_message: Option<&'a str>;
    }
}
