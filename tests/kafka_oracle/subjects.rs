//! Every message the codec speaks.

use brooklet::kafka::api::ApiKey;
use brooklet::kafka::message::Message;
use brooklet::kafka::wire::{DecodeError, Shape, Wire};

/// What came of decoding: the value as Debug shows it, and its bytes when encoded again.
pub(crate) struct Decoded {
    pub(crate) debug: String,
    pub(crate) bytes: Vec<u8>,
}

/// One message.
pub(crate) struct Subject {
    pub(crate) key: ApiKey,
    pub(crate) is_request: bool,
    pub(crate) shape: Shape,
    /// Decodes all of the bytes, shows, and encodes in the same version.
    pub(crate) both_ways: fn(i16, &[u8]) -> Result<Decoded, DecodeError>,
    /// Decodes only.
    pub(crate) decode: fn(i16, &[u8]) -> Result<(), DecodeError>,
}

impl Subject {
    pub(crate) fn name(&self, version: i16) -> String {
        format!("{} {} v{version}", self.key.name(), if self.is_request { "request" } else { "response" })
    }
}

macro_rules! subjects {
    ($($module:ident: $request:ident, $response:ident;)*) => {
        vec![$(
            subjects!(@ $module::$request, true),
            subjects!(@ $module::$response, false),
        )*]
    };
    (@ $module:ident::$message:ident, $is_request:literal) => {{
        use brooklet::kafka::$module::$message;
        Subject {
            key: <$message as Message>::KEY,
            is_request: $is_request,
            shape: <$message as Wire>::SHAPE,
            both_ways: |version, bytes| {
                let message = $message::from_bytes(version, bytes)?;
                let mut again = Vec::new();
                message.encode(version, &mut again).unwrap();
                Ok(Decoded { debug: format!("{message:?}"), bytes: again })
            },
            decode: |version, bytes| $message::from_bytes(version, bytes).map(drop),
        }
    }};
}

/// Every message of every API.
pub(crate) fn subjects() -> Vec<Subject> {
    let subjects = subjects! {
        produce: ProduceRequest, ProduceResponse;
        fetch: FetchRequest, FetchResponse;
        list_offsets: ListOffsetsRequest, ListOffsetsResponse;
        metadata: MetadataRequest, MetadataResponse;
        offset_commit: OffsetCommitRequest, OffsetCommitResponse;
        offset_fetch: OffsetFetchRequest, OffsetFetchResponse;
        find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
        join_group: JoinGroupRequest, JoinGroupResponse;
        heartbeat: HeartbeatRequest, HeartbeatResponse;
        leave_group: LeaveGroupRequest, LeaveGroupResponse;
        sync_group: SyncGroupRequest, SyncGroupResponse;
        describe_groups: DescribeGroupsRequest, DescribeGroupsResponse;
        list_groups: ListGroupsRequest, ListGroupsResponse;
        sasl_handshake: SaslHandshakeRequest, SaslHandshakeResponse;
        api_versions: ApiVersionsRequest, ApiVersionsResponse;
        create_topics: CreateTopicsRequest, CreateTopicsResponse;
        delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
        delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
        init_producer_id: InitProducerIdRequest, InitProducerIdResponse;
        offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
        add_partitions_to_txn: AddPartitionsToTxnRequest, AddPartitionsToTxnResponse;
        add_offsets_to_txn: AddOffsetsToTxnRequest, AddOffsetsToTxnResponse;
        end_txn: EndTxnRequest, EndTxnResponse;
        txn_offset_commit: TxnOffsetCommitRequest, TxnOffsetCommitResponse;
        describe_acls: DescribeAclsRequest, DescribeAclsResponse;
        create_acls: CreateAclsRequest, CreateAclsResponse;
        delete_acls: DeleteAclsRequest, DeleteAclsResponse;
        describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
        alter_configs: AlterConfigsRequest, AlterConfigsResponse;
        describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
        sasl_authenticate: SaslAuthenticateRequest, SaslAuthenticateResponse;
        create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
        delete_groups: DeleteGroupsRequest, DeleteGroupsResponse;
        incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
        offset_delete: OffsetDeleteRequest, OffsetDeleteResponse;
        describe_user_scram_credentials: DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse;
        alter_user_scram_credentials: AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse;
        describe_cluster: DescribeClusterRequest, DescribeClusterResponse;
        describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    };
    let spoken: Vec<ApiKey> = subjects.iter().filter(|s| s.is_request).map(|s| s.key).collect();
    assert_eq!(spoken, ApiKey::ALL, "an API is not tested");
    subjects
}
