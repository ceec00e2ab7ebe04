//! OffsetForLeaderEpoch (key 23), versions 2–4: where a leader epoch ended, so that a client sees that a log was cut
//! (KIP-320).
//!
//! Version 3 adds the replica id (−1 for a consumer), 4 is flexible.

use crate::kafka::message::messages;

messages! {
    /// Asks where epochs ended.
    request OffsetForLeaderEpochRequest<'a>: OffsetForLeaderEpoch {
        /// −1 for a consumer.
        replica_id: i32, in 3.., default -1;
        topics: Vec<OffsetForLeaderTopic<'a>>;
    }

    struct OffsetForLeaderTopic<'a> {
        topic: &'a str;
        partitions: Vec<OffsetForLeaderPartition>;
    }

    struct OffsetForLeaderPartition {
        partition: i32;
        /// The leader epoch the client knows, to be fenced if it is stale; −1 if none.
        current_leader_epoch: i32, default -1;
        /// The epoch whose end is asked for.
        leader_epoch: i32;
    }

    /// The ends.
    response OffsetForLeaderEpochResponse<'a>: OffsetForLeaderEpoch {
        throttle_time_ms: i32;
        topics: Vec<OffsetForLeaderTopicResult<'a>>;
    }

    struct OffsetForLeaderTopicResult<'a> {
        topic: &'a str;
        partitions: Vec<EpochEndOffset>;
    }

    /// The end of the largest epoch that is not above the one asked for; −1 if there is none.
    struct EpochEndOffset {
        error_code: i16;
        partition: i32;
        leader_epoch: i32, default -1;
        /// First offset after the epoch.
        end_offset: i64, default -1;
    }
}
