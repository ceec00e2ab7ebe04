//! OffsetFetch (key 9), versions 1–9: a group's committed positions.
//!
//! Up to version 7 it asks for one group at the top level; from 8 on for many, in `groups` (KIP-709). All topics are
//! asked for by null from version 2 on. An offset of −1 means that none is committed. Version 6 is flexible, 7 adds
//! `require_stable`: UNSTABLE_OFFSET_COMMIT while a transaction holds a position open.

use crate::kafka::message::messages;

messages! {
    /// Asks for positions.
    request OffsetFetchRequest<'a>: OffsetFetch {
        group_id: &'a str, in 1..=7;
        /// Null: all of the group.
        topics: Option<Vec<OffsetFetchRequestTopic<'a>>>, in 1..=7, null 2..=7, default Some(Vec::new());
        groups: Vec<OffsetFetchRequestGroup<'a>>, in 8..;
        /// Rather an error than a position that an open transaction may move.
        require_stable: bool, in 7..;
    }

    struct OffsetFetchRequestTopic<'a> {
        name: &'a str;
        partition_indexes: Vec<i32>;
    }

    struct OffsetFetchRequestGroup<'a> {
        group_id: &'a str;
        member_id: Option<&'a str>, in 9..;
        /// −1 from outside of the group's membership.
        member_epoch: i32, in 9.., default -1;
        /// Null: all of the group.
        topics: Option<Vec<OffsetFetchRequestTopics<'a>>>;
    }

    struct OffsetFetchRequestTopics<'a> {
        name: &'a str;
        partition_indexes: Vec<i32>;
    }

    /// The positions.
    response OffsetFetchResponse<'a>: OffsetFetch {
        throttle_time_ms: i32, in 3..;
        topics: Vec<OffsetFetchResponseTopic<'a>>, in 1..=7;
        error_code: i16, in 2..=7;
        groups: Vec<OffsetFetchResponseGroup<'a>>, in 8..;
    }

    struct OffsetFetchResponseTopic<'a> {
        name: &'a str;
        partitions: Vec<OffsetFetchResponsePartition<'a>>;
    }

    /// A position, up to version 7.
    struct OffsetFetchResponsePartition<'a> {
        partition_index: i32;
        /// The next offset to read; −1 if none is committed.
        committed_offset: i64, default -1;
        committed_leader_epoch: i32, in 5.., default -1;
        metadata: Option<&'a str>;
        error_code: i16;
    }

    struct OffsetFetchResponseGroup<'a> {
        group_id: &'a str;
        topics: Vec<OffsetFetchResponseTopics<'a>>;
        error_code: i16;
    }

    struct OffsetFetchResponseTopics<'a> {
        name: &'a str;
        partitions: Vec<OffsetFetchResponsePartitions<'a>>;
    }

    /// A position, from version 8 on.
    struct OffsetFetchResponsePartitions<'a> {
        partition_index: i32;
        /// The next offset to read; −1 if none is committed.
        committed_offset: i64, default -1;
        committed_leader_epoch: i32, default -1;
        metadata: Option<&'a str>;
        error_code: i16;
    }
}
