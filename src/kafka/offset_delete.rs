//! OffsetDelete (key 47), version 0: forgets committed positions of a group (KIP-496).

use crate::kafka::message::messages;

messages! {
    /// Asks for positions to be forgotten.
    request OffsetDeleteRequest<'a>: OffsetDelete {
        group_id: &'a str;
        topics: Vec<OffsetDeleteRequestTopic<'a>>;
    }

    struct OffsetDeleteRequestTopic<'a> {
        name: &'a str;
        partitions: Vec<OffsetDeleteRequestPartition>;
    }

    struct OffsetDeleteRequestPartition {
        partition_index: i32;
    }

    /// Which are.
    response OffsetDeleteResponse<'a>: OffsetDelete {
        /// Of the group as a whole.
        error_code: i16;
        throttle_time_ms: i32;
        topics: Vec<OffsetDeleteResponseTopic<'a>>;
    }

    struct OffsetDeleteResponseTopic<'a> {
        name: &'a str;
        partitions: Vec<OffsetDeleteResponsePartition>;
    }

    struct OffsetDeleteResponsePartition {
        partition_index: i32;
        error_code: i16;
    }
}
