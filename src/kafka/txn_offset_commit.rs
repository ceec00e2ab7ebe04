//! TxnOffsetCommit (key 28), versions 0–5: a group's positions, as a part of a transaction.
//!
//! Generation −1 and member "" are accepted from a producer that isn't a member. Version 3 is flexible and adds the
//! member's fields; 5 is transactions v2.

use crate::kafka::message::messages;

messages! {
    /// Asks for positions to be kept when the transaction commits.
    request TxnOffsetCommitRequest<'a>: TxnOffsetCommit {
        transactional_id: &'a str;
        group_id: &'a str;
        producer_id: i64;
        producer_epoch: i16;
        /// −1 from outside of the group's membership.
        generation_id: i32, in 3.., default -1;
        member_id: &'a str, in 3..;
        group_instance_id: Option<&'a str>, in 3..;
        topics: Vec<TxnOffsetCommitRequestTopic<'a>>;
    }

    struct TxnOffsetCommitRequestTopic<'a> {
        name: &'a str;
        partitions: Vec<TxnOffsetCommitRequestPartition<'a>>;
    }

    struct TxnOffsetCommitRequestPartition<'a> {
        partition_index: i32;
        /// The next offset to read.
        committed_offset: i64;
        /// Epoch of the last record read; −1 if unknown.
        committed_leader_epoch: i32, in 2.., default -1;
        committed_metadata: Option<&'a str>;
    }

    /// Whether they will be.
    response TxnOffsetCommitResponse<'a>: TxnOffsetCommit {
        throttle_time_ms: i32;
        topics: Vec<TxnOffsetCommitResponseTopic<'a>>;
    }

    struct TxnOffsetCommitResponseTopic<'a> {
        name: &'a str;
        partitions: Vec<TxnOffsetCommitResponsePartition>;
    }

    struct TxnOffsetCommitResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}
