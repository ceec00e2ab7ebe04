//! OffsetForLeaderEpoch (key 23), versions 2–4: where a leader epoch ended, so that a client sees that a log was cut
//! (KIP-320).
//!
//! Version 3 adds the replica id (−1 for a consumer), 4 is flexible.

use crate::kafka::message::messages;

messages! {
    request OffsetForLeaderEpochRequest<'a>: OffsetForLeaderEpoch {
        replica_id: i32, in 3.., default -2;
        topics: Vec<OffsetForLeaderTopic<'a>>;
    }

    struct OffsetForLeaderTopic<'a> {
        topic: &'a str;
        partitions: Vec<OffsetForLeaderPartition>;
    }

    struct OffsetForLeaderPartition {
        partition: i32;
        current_leader_epoch: i32, default -1;
        leader_epoch: i32;
    }

    response OffsetForLeaderEpochResponse<'a>: OffsetForLeaderEpoch {
        throttle_time_ms: i32;
        topics: Vec<OffsetForLeaderTopicResult<'a>>;
    }

    struct OffsetForLeaderTopicResult<'a> {
        topic: &'a str;
        partitions: Vec<EpochEndOffset>;
    }

    /// The end of an epoch; −1 where unset.
    struct EpochEndOffset {
        error_code: i16;
        partition: i32;
        leader_epoch: i32, default -1;
        end_offset: i64, default -1;
    }
}
