//! AddPartitionsToTxn (key 24), versions 0–3: takes partitions into a transaction, before the first produce to them.
//!
//! Version 3 is flexible. From 4 on the request is between brokers only, and in transactions v2 Produce does it by
//! itself.

use crate::kafka::message::messages;

messages! {
    /// Asks for partitions to be taken in.
    request AddPartitionsToTxnRequest<'a>: AddPartitionsToTxn {
        transactional_id: &'a str;
        producer_id: i64;
        producer_epoch: i16;
        topics: Vec<AddPartitionsToTxnTopic<'a>>;
    }

    struct AddPartitionsToTxnTopic<'a> {
        name: &'a str;
        partitions: Vec<i32>;
    }

    /// Which are.
    response AddPartitionsToTxnResponse<'a>: AddPartitionsToTxn {
        throttle_time_ms: i32;
        results_by_topic: Vec<AddPartitionsToTxnTopicResult<'a>>;
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
