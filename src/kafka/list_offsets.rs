//! ListOffsets (key 2), versions 1–9: the offset for a point in time, or the first or next one.
//!
//! Special timestamps: [`LATEST`], [`EARLIEST`], [`MAX_TIMESTAMP`] (from version 7), [`EARLIEST_LOCAL`] (from 8),
//! [`LATEST_TIERED`] (from 9).
//! Version 2 adds the isolation level, 4 leader epochs, 6 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks for offsets by time.
    request ListOffsetsRequest<'a>: ListOffsets {
        /// −1 for a consumer.
        replica_id: i32, default -1;
        /// 1: [`LATEST`] means the last stable offset.
        isolation_level: i8, in 2..;
        topics: Vec<ListOffsetsTopic<'a>>;
    }

    struct ListOffsetsTopic<'a> {
        name: &'a str;
        partitions: Vec<ListOffsetsPartition>;
    }

    struct ListOffsetsPartition {
        partition_index: i32;
        /// The leader epoch the client knows; −1 if none.
        current_leader_epoch: i32, in 4.., default -1;
        /// Milliseconds since 1970, or one of the special values.
        timestamp: i64;
    }

    /// The offsets.
    response ListOffsetsResponse<'a>: ListOffsets {
        throttle_time_ms: i32, in 2..;
        topics: Vec<ListOffsetsTopicResponse<'a>>;
    }

    struct ListOffsetsTopicResponse<'a> {
        name: &'a str;
        partitions: Vec<ListOffsetsPartitionResponse>;
    }

    struct ListOffsetsPartitionResponse {
        partition_index: i32;
        error_code: i16;
        /// Of the record found; −1 if none, or if none was asked for by time.
        timestamp: i64, default -1;
        /// First offset whose timestamp is not below the one asked for; −1 if none.
        offset: i64, default -1;
        leader_epoch: i32, in 4.., default -1;
    }
}

/// Timestamp that asks for the offset the next record will get (or the last stable one).
pub const LATEST: i64 = -1;
/// Timestamp that asks for the first offset there is.
pub const EARLIEST: i64 = -2;
/// Timestamp that asks for the record with the largest timestamp (KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;
/// Timestamp that asks for the first offset on the broker's own disk (KIP-405).
pub const EARLIEST_LOCAL: i64 = -4;
/// Timestamp that asks for the last offset in tiered storage (KIP-1005).
pub const LATEST_TIERED: i64 = -5;
