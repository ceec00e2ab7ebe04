//! DeleteRecords (key 21), versions 0–2: moves the start of partitions forward. Version 2 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for the records before an offset to go.
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
        /// The new first offset; −1: the high watermark.
        offset: i64;
    }

    /// Where the logs begin now.
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
        /// First offset there is; −1 with an error.
        low_watermark: i64, default -1;
        error_code: i16;
    }
}
