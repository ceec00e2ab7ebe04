//! The APIs that are served, by version. ApiVersions is answered from this table, so nothing is advertised that does
//! not work.

use super::request::Handler;
use super::{
    alter_configs, api_versions, create_acls, create_partitions, create_topics, delete_acls, delete_groups,
    delete_records, delete_topics, describe_acls, describe_cluster, describe_configs, describe_groups,
    describe_log_dirs, describe_topic_partitions, fetch, find_coordinator, gate, heartbeat, init_producer_id,
    join_group, leave_group, list_groups, list_offsets, metadata, offset_commit, offset_delete, offset_fetch,
    offset_for_leader_epoch, produce, sync_group, user_credentials,
};
use crate::kafka::api::{ApiKey, Route, Routes};

/// The table.
pub(super) const ROUTES: Routes<Handler> = Routes::new(&[
    Route::new(ApiKey::Produce, 3..=12, produce::handle as Handler).advertised_from(0),
    Route::new(ApiKey::Fetch, 4..=12, fetch::handle),
    Route::new(ApiKey::ListOffsets, 1..=9, list_offsets::handle),
    Route::new(ApiKey::Metadata, 0..=12, metadata::handle),
    Route::new(ApiKey::OffsetCommit, 2..=9, offset_commit::handle),
    Route::new(ApiKey::OffsetFetch, 1..=9, offset_fetch::handle),
    Route::new(ApiKey::FindCoordinator, 0..=6, find_coordinator::handle),
    Route::new(ApiKey::JoinGroup, 0..=9, join_group::handle),
    Route::new(ApiKey::Heartbeat, 0..=4, heartbeat::handle),
    Route::new(ApiKey::LeaveGroup, 0..=5, leave_group::handle),
    Route::new(ApiKey::SyncGroup, 0..=5, sync_group::handle),
    Route::new(ApiKey::DescribeGroups, 0..=6, describe_groups::handle),
    Route::new(ApiKey::ListGroups, 0..=5, list_groups::handle),
    Route::new(ApiKey::SaslHandshake, 0..=1, gate::unreached),
    Route::new(ApiKey::ApiVersions, 0..=4, api_versions::handle),
    Route::new(ApiKey::CreateTopics, 2..=7, create_topics::handle),
    Route::new(ApiKey::DeleteTopics, 1..=6, delete_topics::handle),
    Route::new(ApiKey::DeleteRecords, 0..=2, delete_records::handle),
    Route::new(ApiKey::InitProducerId, 0..=5, init_producer_id::handle),
    Route::new(ApiKey::OffsetForLeaderEpoch, 2..=4, offset_for_leader_epoch::handle),
    Route::new(ApiKey::DescribeAcls, 1..=3, describe_acls::handle),
    Route::new(ApiKey::CreateAcls, 1..=3, create_acls::handle),
    Route::new(ApiKey::DeleteAcls, 1..=3, delete_acls::handle),
    Route::new(ApiKey::DescribeConfigs, 1..=4, describe_configs::handle),
    Route::new(ApiKey::AlterConfigs, 0..=2, alter_configs::replace),
    Route::new(ApiKey::DescribeLogDirs, 1..=4, describe_log_dirs::handle),
    Route::new(ApiKey::SaslAuthenticate, 0..=2, gate::unreached),
    Route::new(ApiKey::CreatePartitions, 0..=3, create_partitions::handle),
    Route::new(ApiKey::IncrementalAlterConfigs, 0..=1, alter_configs::edit),
    Route::new(ApiKey::DescribeUserScramCredentials, 0..=0, user_credentials::describe),
    Route::new(ApiKey::AlterUserScramCredentials, 0..=0, user_credentials::alter),
    Route::new(ApiKey::DescribeCluster, 0..=2, describe_cluster::handle),
    Route::new(ApiKey::DescribeTopicPartitions, 0..=0, describe_topic_partitions::handle),
    Route::new(ApiKey::DeleteGroups, 0..=2, delete_groups::handle),
    Route::new(ApiKey::OffsetDelete, 0..=0, offset_delete::handle),
]);
