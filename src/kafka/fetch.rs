//! Fetch (key 1), versions 4–12: record batches of partitions, from given offsets on.
//!
//! Version 7 adds sessions (KIP-227): a server without them answers session id 0 and gets whole requests; 9 lets the
//! client say which leader epoch it believes in; 12 is flexible and reports a diverging epoch. From 13 on topics go
//! by id, which is not spoken. `records` is a run of whole batches and may end within one.

use crate::kafka::blob::Blob;
use crate::kafka::message::messages;

messages! {
    /// Asks for batches, and says how long to wait for how many bytes.
    request FetchRequest<'a>: Fetch {
        /// Between brokers only.
        cluster_id: Option<&'a str>, in 12.., tag 0;
        /// −1 for a consumer.
        replica_id: i32, default -1;
        max_wait_ms: i32;
        /// Bytes to wait for, at most [`FetchRequest::max_wait_ms`].
        min_bytes: i32;
        /// Bound on the whole response; the first batch comes even if it is larger (KIP-74).
        max_bytes: i32, default i32::MAX;
        /// 0: everything up to the high watermark; 1: only what is committed, up to the last stable offset.
        isolation_level: i8;
        /// 0 without a session, or to open one.
        session_id: i32, in 7..;
        /// −1: no session; 0: a new one.
        session_epoch: i32, in 7.., default -1;
        topics: Vec<FetchTopic<'a>>;
        /// Partitions that leave the session.
        forgotten_topics_data: Vec<ForgottenTopic<'a>>, in 7..;
        /// Where the client is, so that it may be sent to a near replica.
        rack_id: &'a str, in 11..;
    }

    struct FetchTopic<'a> {
        topic: &'a str;
        partitions: Vec<FetchPartition>;
    }

    struct FetchPartition {
        partition: i32;
        /// The leader epoch the client knows, to be fenced if it is stale; −1 if none.
        current_leader_epoch: i32, in 9.., default -1;
        /// The first offset wanted.
        fetch_offset: i64;
        /// Leader epoch of the last record the client has; −1 if none.
        last_fetched_epoch: i32, in 12.., default -1;
        /// Of a follower; −1 from a consumer.
        log_start_offset: i64, in 5.., default -1;
        /// Bound on this partition's share, with the same exception for the first batch.
        partition_max_bytes: i32;
    }

    struct ForgottenTopic<'a> {
        topic: &'a str;
        partitions: Vec<i32>;
    }

    /// The batches.
    response FetchResponse<'a>: Fetch {
        throttle_time_ms: i32;
        error_code: i16, in 7..;
        /// 0 if the server keeps no session.
        session_id: i32, in 7..;
        responses: Vec<FetchableTopicResponse<'a>>;
    }

    struct FetchableTopicResponse<'a> {
        topic: &'a str;
        partitions: Vec<PartitionData<'a>>;
    }

    /// One partition's batches and marks.
    struct PartitionData<'a> {
        partition_index: i32;
        error_code: i16;
        /// First offset a consumer may not see yet; −1 with an error.
        high_watermark: i64, default -1;
        /// First offset of the oldest open transaction, else the high watermark.
        last_stable_offset: i64, default -1;
        log_start_offset: i64, in 5.., default -1;
        /// Set when the log was cut below what the client has read.
        diverging_epoch: EpochEndOffset, in 12.., tag 0;
        current_leader: LeaderIdAndEpoch, in 12.., tag 1;
        /// Between controllers only.
        snapshot_id: SnapshotId, in 12.., tag 2;
        /// With isolation level 1: whose records in the batches to skip. Null with level 0.
        aborted_transactions: Option<Vec<AbortedTransaction>>;
        /// The replica to fetch from instead; −1 for this one.
        preferred_read_replica: i32, in 11.., default -1;
        /// A run of batches; the last may be cut off.
        records: Option<Blob<'a>>;
    }

    /// The end of an epoch; −1 where unset.
    struct EpochEndOffset {
        epoch: i32, default -1;
        end_offset: i64, default -1;
    }

    /// A leader; −1 where unknown.
    struct LeaderIdAndEpoch {
        leader_id: i32, default -1;
        leader_epoch: i32, default -1;
    }

    /// A snapshot of the metadata log; −1 where unset.
    struct SnapshotId {
        end_offset: i64, default -1;
        epoch: i32, default -1;
    }

    /// Records of this producer from this offset up to its abort marker don't count.
    struct AbortedTransaction {
        producer_id: i64;
        first_offset: i64;
    }
}
