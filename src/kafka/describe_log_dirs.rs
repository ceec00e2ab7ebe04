//! DescribeLogDirs (key 35), versions 1–4: where a broker keeps partitions, and how much of them. Version 2 is
//! flexible; 3 adds an error for all, 4 the sizes of the file systems (KIP-827).

use crate::kafka::message::messages;

messages! {
    /// Asks about directories.
    request DescribeLogDirsRequest<'a>: DescribeLogDirs {
        /// Null: all topics.
        topics: Option<Vec<DescribableLogDirTopic<'a>>>;
    }

    struct DescribableLogDirTopic<'a> {
        topic: &'a str;
        partitions: Vec<i32>;
    }

    /// The directories.
    response DescribeLogDirsResponse<'a>: DescribeLogDirs {
        throttle_time_ms: i32;
        error_code: i16, in 3..;
        results: Vec<DescribeLogDirsResult<'a>>;
    }

    struct DescribeLogDirsResult<'a> {
        error_code: i16;
        /// Absolute path.
        log_dir: &'a str;
        topics: Vec<DescribeLogDirsTopic<'a>>;
        /// Of its file system, bytes; −1 unknown.
        total_bytes: i64, in 4.., default -1;
        usable_bytes: i64, in 4.., default -1;
    }

    struct DescribeLogDirsTopic<'a> {
        name: &'a str;
        partitions: Vec<DescribeLogDirsPartition>;
    }

    struct DescribeLogDirsPartition {
        partition_index: i32;
        /// Bytes.
        partition_size: i64;
        /// How far it is behind the high watermark, or behind the replica it is to replace.
        offset_lag: i64;
        /// Whether it is on its way to replace another.
        is_future_key: bool;
    }
}
