//! OffsetCommit (key 8), versions 2–9: a group's positions.
//!
//! A consumer that assigns partitions itself commits with generation −1 and member "". Versions 2–4 carry a retention
//! time; 6 adds the leader epoch of the position, 7 static members, 8 is flexible; 9 is for groups of the new
//! protocol (KIP-848).

use crate::kafka::message::messages;

messages! {
    /// Asks for positions to be kept.
    request OffsetCommitRequest<'a>: OffsetCommit {
        group_id: &'a str;
        /// −1 from outside of the group's membership.
        generation_id_or_member_epoch: i32, default -1;
        member_id: &'a str;
        group_instance_id: Option<&'a str>, in 7..;
        /// −1: as the server does it.
        retention_time_ms: i64, in 2..=4, default -1;
        topics: Vec<OffsetCommitRequestTopic<'a>>;
    }

    struct OffsetCommitRequestTopic<'a> {
        name: &'a str;
        partitions: Vec<OffsetCommitRequestPartition<'a>>;
    }

    struct OffsetCommitRequestPartition<'a> {
        partition_index: i32;
        /// The next offset to read.
        committed_offset: i64;
        /// Epoch of the last record read; −1 if unknown.
        committed_leader_epoch: i32, in 6.., default -1;
        committed_metadata: Option<&'a str>;
    }

    /// Whether they are.
    response OffsetCommitResponse<'a>: OffsetCommit {
        throttle_time_ms: i32, in 3..;
        topics: Vec<OffsetCommitResponseTopic<'a>>;
    }

    struct OffsetCommitResponseTopic<'a> {
        name: &'a str;
        partitions: Vec<OffsetCommitResponsePartition>;
    }

    struct OffsetCommitResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}
