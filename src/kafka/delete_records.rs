//! DeleteRecords (key 21), versions 0–2: moves the start of partitions forward. Version 2 is flexible.

use crate::kafka::message::messages;

messages! {
    request DeleteRecordsRequest<'a>: DeleteRecords {
        topics: Vec<DeleteRecordsTopic<'a>>;
        timeout_ms: i32;
    }

    struct DeleteRecordsTopic<'a> {
        name: &'a str;
        partitions: Vec<DeleteRecordsPartition>;
    }

    struct DeleteRecordsPartition {
        partition_index: i32;
        offset: i64;
    }

    response DeleteRecordsResponse<'a>: DeleteRecords {
        throttle_time_ms: i32;
        topics: Vec<DeleteRecordsTopicResult<'a>>;
    }

    struct DeleteRecordsTopicResult<'a> {
        name: &'a str;
        partitions: Vec<DeleteRecordsPartitionResult>;
    }

    struct DeleteRecordsPartitionResult {
        partition_index: i32;
        low_watermark: i64;
        error_code: i16;
    }
}
