//! Produce (key 0), versions 3–12: appends batches to partitions.
//!
//! Exactly one record batch per partition and request since batch format v2. With `acks` 0 there is no response at
//! all. Version 7 allows zstd; 9 is flexible; 10 adds the new leader and its address to errors (KIP-951); 12 adds the
//! partition to the producer's transaction by itself (transactions v2, KIP-890), so a transaction of the older
//! protocol must stay below 12. Versions 0–2 carried the old message formats and are not spoken, though a server has
//! to advertise them ([`crate::kafka::api::Route::advertised_from`]).

use crate::kafka::message::messages;

messages! {
    /// Asks for batches to be appended.
    request ProduceRequest<'a>: Produce {
        /// Null without a transaction.
        transactional_id: Option<&'a str>;
        /// How many replicas must have it: −1 all in sync, 1 the leader, 0 no response at all.
        acks: i16, default -1;
        /// How long the leader may wait for its replicas.
        timeout_ms: i32;
        topic_data: Vec<TopicProduceData<'a>>;
    }

    struct TopicProduceData<'a> {
        name: &'a str;
        partition_data: Vec<PartitionProduceData<'a>>;
    }

    struct PartitionProduceData<'a> {
        index: i32;
        /// One batch, as it goes into the log.
        records: Option<&'a [u8]>;
    }

    /// What became of each partition's batch.
    response ProduceResponse<'a>: Produce {
        responses: Vec<TopicProduceResponse<'a>>;
        throttle_time_ms: i32;
        /// Addresses of the leaders named in [`PartitionProduceResponse::current_leader`].
        node_endpoints: Vec<NodeEndpoint<'a>>, in 10.., tag 0;
    }

    struct TopicProduceResponse<'a> {
        name: &'a str;
        partition_responses: Vec<PartitionProduceResponse<'a>>;
    }

    struct PartitionProduceResponse<'a> {
        index: i32;
        error_code: i16;
        /// Offset of the batch's first record; −1 if it wasn't appended.
        base_offset: i64, default -1;
        /// Milliseconds since 1970 if the topic stamps at append, else −1.
        log_append_time_ms: i64, default -1;
        log_start_offset: i64, in 5.., default -1;
        /// The records for which the whole batch was refused.
        record_errors: Vec<BatchIndexAndErrorMessage<'a>>, in 8..;
        error_message: Option<&'a str>, in 8..;
        /// With NOT_LEADER_OR_FOLLOWER: who leads now.
        current_leader: LeaderIdAndEpoch, in 10.., tag 0;
    }

    /// Why one record was refused.
    struct BatchIndexAndErrorMessage<'a> {
        /// Place of the record within its batch, from 0.
        batch_index: i32;
        batch_index_error_message: Option<&'a str>;
    }

    /// A leader; −1 where unknown.
    struct LeaderIdAndEpoch {
        leader_id: i32, default -1;
        leader_epoch: i32, default -1;
    }

    /// A broker's address.
    struct NodeEndpoint<'a> {
        node_id: i32;
        host: &'a str;
        port: i32;
        rack: Option<&'a str>;
    }
}
