//! AddPartitionsToTxn (key 24), versions 0–3: takes partitions into a transaction, before the first produce to them.
//!
//! Version 3 is flexible. From 4 on the request is between brokers only, and in transactions v2 Produce does it by
//! itself.

use crate::kafka::message::messages;

messages! {
    request AddPartitionsToTxnRequest<'a>: AddPartitionsToTxn {
        v3_and_below_transactional_id: &'a str;
        v3_and_below_producer_id: i64;
        v3_and_below_producer_epoch: i16;
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic<'a>>;
    }

    struct AddPartitionsToTxnTopic<'a> {
        name: &'a str;
        partitions: Vec<i32>;
    }

    response AddPartitionsToTxnResponse<'a>: AddPartitionsToTxn {
        throttle_time_ms: i32;
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult<'a>>;
    }

    struct AddPartitionsToTxnTopicResult<'a> {
        name: &'a str;
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult>;
    }

    struct AddPartitionsToTxnPartitionResult {
        partition_index: i32;
        partition_error_code: i16;
    }
}
