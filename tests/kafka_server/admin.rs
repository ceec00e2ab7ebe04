//! Topics, partitions, records, and what a cluster tells about itself.

use brooklet::kafka::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use brooklet::kafka::create_topics::{CreatableTopic, CreateTopicsRequest, CreateTopicsResponse};
use brooklet::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use brooklet::kafka::delete_topics::{DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
use brooklet::kafka::describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
use brooklet::kafka::describe_log_dirs::{DescribableLogDirTopic, DescribeLogDirsRequest, DescribeLogDirsResponse};
use brooklet::kafka::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicRequest,
};
use brooklet::kafka::error_code::ErrorCode;
use brooklet::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use brooklet::kafka::nullable::Nullable;
use brooklet::kafka::wire::Uuid;

use crate::client::{Client, Server, plain};

/// Error code, id and number of partitions of a topic by name.
fn look_up(client: &mut Client, name: &str, create: bool) -> (i16, Uuid, usize) {
    let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]);
    let answer = client.call(12, &MetadataRequest { topics, allow_auto_topic_creation: create, ..Default::default() });
    let topic = &answer.read::<MetadataResponse<'_>>().topics[0];
    (topic.error_code, topic.topic_id, topic.partitions.len())
}

fn delete_by_id(client: &mut Client, topic_id: Uuid) -> i16 {
    let topics = vec![DeleteTopicState { name: None, topic_id }];
    let answer = client.call(6, &DeleteTopicsRequest { topics, ..Default::default() });
    answer.read::<DeleteTopicsResponse<'_>>().responses[0].error_code
}

fn delete_by_name(client: &mut Client, version: i16, name: &str) -> i16 {
    let topics = vec![DeleteTopicState { name: Some(name), ..Default::default() }];
    let request = DeleteTopicsRequest { topics, topic_names: vec![name], ..Default::default() };
    client.call(version, &request).read::<DeleteTopicsResponse<'_>>().responses[0].error_code
}

#[test]
fn a_topic_deleted_and_made_again_is_another_topic() {
    let mut server = Server::start();
    let mut client = server.client();
    assert_eq!(client.create("t", 2, &[]), 0);
    let (code, first, partitions) = look_up(&mut client, "t", false);
    assert_eq!((code, partitions), (0, 2));
    assert_eq!(client.produce("t", 0, &plain(&[1])).0, 0);
    assert_eq!(delete_by_id(&mut client, first), 0);
    assert_eq!(delete_by_id(&mut client, first), ErrorCode::UnknownTopicId.code());
    assert_eq!(look_up(&mut client, "t", false).0, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(client.create("t", 1, &[]), 0);
    assert_eq!(client.produce("t", 0, &plain(&[1])).1, 0, "a new topic begins at 0");

    server.restart();
    let mut client = server.client();
    let (_, second, partitions) = look_up(&mut client, "t", false);
    assert!(second != first && partitions == 1);
    // By the id of each: the first is gone, the second is there.
    let by_id = |topic_id| MetadataRequestTopic { topic_id, name: None };
    let topics = Some(vec![by_id(first), by_id(second)]);
    let answer = client.call(12, &MetadataRequest { topics, ..Default::default() });
    let topics = answer.read::<MetadataResponse<'_>>().topics;
    assert_eq!(topics[0].error_code, ErrorCode::UnknownTopicId.code());
    assert_eq!((topics[1].error_code, topics[1].name), (0, Some("t")));

    for version in [1, 5, 6] {
        client.create("other", 1, &[]);
        assert_eq!(delete_by_name(&mut client, version, "other"), 0);
        assert_eq!(delete_by_name(&mut client, version, "other"), ErrorCode::UnknownTopicOrPartition.code());
    }
}

#[test]
fn topics_are_created_by_use_only_where_that_is_asked_for_and_configured() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(look_up(&mut client, "t", false).0, ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(look_up(&mut client, "t", true).0, 0);
    assert_eq!(look_up(&mut client, "no/name", true).0, ErrorCode::InvalidTopic.code());
    assert_eq!(client.produce("u", 0, &plain(&[1])).0, ErrorCode::UnknownTopicOrPartition.code());

    let server = Server::start_with(|config| config.topics.auto_create = false);
    assert_eq!(look_up(&mut server.client(), "t", true).0, ErrorCode::UnknownTopicOrPartition.code());
}

#[test]
fn what_is_wrong_with_a_new_topic_is_told_apart() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.create("t", 1, &[]), 0);
    assert_eq!(client.create("t", 1, &[]), ErrorCode::TopicAlreadyExists.code());
    assert_eq!(client.create("a b", 1, &[]), ErrorCode::InvalidTopic.code());
    assert_eq!(client.create("u", 0, &[]), ErrorCode::InvalidPartitions.code());
    assert_eq!(client.create("u", 1_000_000, &[]), ErrorCode::PolicyViolation.code());
    assert_eq!(client.create("u", 1, &[("min.insync.replicas", "2")]), ErrorCode::InvalidConfig.code());
    assert_eq!(client.create("u", 1, &[("segment.bytes", "52428800"), ("cleanup.policy", "delete")]), 0);

    let new = |name, replication_factor| CreatableTopic {
        name,
        num_partitions: -1,
        replication_factor,
        ..Default::default()
    };
    let topics = vec![new("v", 1), new("w", 3), new("v", 1), new("x", -1)];
    let answer = client.call(7, &CreateTopicsRequest { topics, ..Default::default() });
    let results = answer.read::<CreateTopicsResponse<'_>>().topics;
    let codes: Vec<i16> = results.iter().map(|topic| topic.error_code).collect();
    let twice = ErrorCode::InvalidRequest.code();
    assert_eq!(codes, [twice, ErrorCode::InvalidReplicationFactor.code(), twice, 0]);
    let configs = results[3].configs.as_ref().unwrap();
    assert!(configs.iter().any(|config| config.name == "retention.ms" && config.value == Some("-1")));
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 2, &[]);
    let mut grow = |count, assignments: Option<Vec<Vec<i32>>>, validate_only| {
        let assignments = assignments
            .map(|all| all.into_iter().map(|broker_ids| CreatePartitionsAssignment { broker_ids }).collect());
        let topics = vec![CreatePartitionsTopic { name: "t", count, assignments }];
        let answer = client.call(3, &CreatePartitionsRequest { topics, timeout_ms: 1_000, validate_only });
        let code = answer.read::<CreatePartitionsResponse<'_>>().results[0].error_code;
        (code, look_up(&mut client, "t", false).2)
    };
    assert_eq!(grow(4, None, true), (0, 2));
    assert_eq!(grow(4, None, false), (0, 4));
    for count in [4, 3, 0, -1] {
        assert_eq!(grow(count, None, false), (ErrorCode::InvalidPartitions.code(), 4));
    }
    assert_eq!(grow(5, Some(vec![vec![2]]), false), (ErrorCode::InvalidReplicaAssignment.code(), 4));
    assert_eq!(grow(6, Some(vec![vec![1]]), false), (ErrorCode::InvalidReplicaAssignment.code(), 4));
    assert_eq!(grow(5, Some(vec![vec![1]]), false), (0, 5));
    assert_eq!(client.produce("t", 4, &plain(&[1])), (0, 0, -1));
}

#[test]
fn records_are_deleted_up_to_an_offset() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[]);
    client.produce("t", 0, &plain(&[1, 2, 3]));
    let mut delete = |topic: &str, partition_index, offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index, offset }];
        let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
        let answer = client.call(2, &DeleteRecordsRequest { topics, timeout_ms: 1_000 });
        let partition = &answer.read::<DeleteRecordsResponse<'_>>().topics[0].partitions[0];
        (partition.error_code, partition.low_watermark)
    };
    assert_eq!(delete("t", 0, 2), (0, 2));
    assert_eq!(delete("t", 0, 1), (0, 2), "it never goes back");
    let out_of_range = (ErrorCode::OffsetOutOfRange.code(), -1);
    assert_eq!(delete("t", 0, 4), out_of_range);
    assert_eq!(delete("t", 0, -2), out_of_range);
    assert_eq!(delete("t", 0, -1), (0, 3));
    let unknown = (ErrorCode::UnknownTopicOrPartition.code(), -1);
    assert_eq!((delete("t", 1, 0), delete("u", 0, 0)), (unknown, unknown));
}

#[test]
fn a_cluster_of_one_tells_about_itself() {
    let mut server = Server::start_with(|config| {
        config.listen.kafka.advertised =
            Some(brooklet::config::HostPort { host: "broker.example".to_owned(), port: 19_092 });
    });
    let mut client = server.client();
    let answer = client.call(12, &MetadataRequest { topics: Some(Vec::new()), ..Default::default() });
    let cluster_id = answer.read::<MetadataResponse<'_>>().cluster_id.unwrap().to_owned();
    server.restart();
    let mut client = server.client();
    for version in 0..=2 {
        let answer = client.call(version, &DescribeClusterRequest::default());
        let cluster = answer.read::<DescribeClusterResponse<'_>>();
        assert_eq!((cluster.error_code, cluster.cluster_id, cluster.controller_id), (0, cluster_id.as_str(), 1));
        let broker = &cluster.brokers[0];
        assert_eq!((broker.broker_id, broker.host, broker.port), (1, "broker.example", 19_092));
    }
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let answer = client.call(2, &controllers);
    let code = answer.read::<DescribeClusterResponse<'_>>().error_code;
    assert_eq!(code, ErrorCode::MismatchedEndpointType.code());
}

#[test]
fn a_directory_tells_what_partitions_take() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 2, &[]);
    client.create("u", 1, &[]);
    client.produce("t", 1, &plain(&[1, 2, 3]));
    let topics = Some(vec![DescribableLogDirTopic { topic: "t", partitions: vec![1, 7] }]);
    for (request, count) in [(DescribeLogDirsRequest { topics }, 1), (DescribeLogDirsRequest { topics: None }, 3)] {
        let answer = client.call(4, &request);
        let response = answer.read::<DescribeLogDirsResponse<'_>>();
        let dir = &response.results[0];
        assert!(dir.log_dir.ends_with("store") && dir.total_bytes > dir.usable_bytes && dir.usable_bytes > 0);
        let all = dir.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |p| (topic.name, p)));
        let all: Vec<_> = all.collect();
        assert_eq!(all.len(), count);
        for (topic, partition) in all {
            assert_eq!(partition.partition_size > 0, (topic, partition.partition_index) == ("t", 1));
        }
    }
}

#[test]
fn topics_are_described_a_page_at_a_time() {
    let server = Server::start();
    let mut client = server.client();
    for (name, partitions) in [("a", 3), ("b", 1), ("c", 2)] {
        client.create(name, partitions, &[]);
    }
    let mut at: Option<(String, i32)> = None;
    let mut seen = Vec::new();
    loop {
        let cursor = at.as_ref().map(|(name, index)| Cursor { topic_name: name, partition_index: *index });
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 2,
            cursor: Nullable(cursor),
            ..Default::default()
        };
        let answer = client.call(0, &request);
        let page = answer.read::<DescribeTopicPartitionsResponse<'_>>();
        let rows = page.topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.unwrap(), p.partition_index)));
        let rows: Vec<_> = rows.map(|(name, index)| (name.to_owned(), index)).collect();
        assert!(rows.len() <= 2);
        seen.extend(rows);
        at = page.next_cursor.0.map(|cursor| (cursor.topic_name.to_owned(), cursor.partition_index));
        if at.is_none() {
            break;
        }
    }
    let all = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("c", 0), ("c", 1)];
    assert_eq!(seen, all.map(|(name, index)| (name.to_owned(), index)));

    let topics = vec![TopicRequest { name: "none" }, TopicRequest { name: "b" }, TopicRequest { name: "b" }];
    let answer = client.call(0, &DescribeTopicPartitionsRequest { topics, ..Default::default() });
    let page = answer.read::<DescribeTopicPartitionsResponse<'_>>();
    let partition = &page.topics[0].partitions[0];
    assert!(partition.eligible_leader_replicas.is_some() && partition.last_known_elr.is_some(), "Java wants lists");
    let told: Vec<_> = page.topics.iter().map(|topic| (topic.name, topic.error_code)).collect();
    assert_eq!(told, [(Some("b"), 0), (Some("none"), ErrorCode::UnknownTopicOrPartition.code())]);
}

/// Bits of Kafka's operations: those that a topic, and those that the cluster knows.
#[test]
fn without_authorisation_everything_is_authorised_for_who_asks() {
    const TOPIC: i32 = 0b1101_1111_1000;
    const CLUSTER: i32 = 0b1_1111_1010_0000;
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[]);
    for (asked, topic, cluster) in [(true, TOPIC, CLUSTER), (false, i32::MIN, i32::MIN)] {
        let mut request = MetadataRequest { include_topic_authorized_operations: asked, ..Default::default() };
        request.include_cluster_authorized_operations = asked;
        let answer = client.call(10, &request);
        let metadata = answer.read::<MetadataResponse<'_>>();
        assert_eq!(metadata.topics[0].topic_authorized_operations, topic);
        assert_eq!(metadata.cluster_authorized_operations, cluster);
        let request = DescribeClusterRequest { include_cluster_authorized_operations: asked, ..Default::default() };
        let answer = client.call(1, &request);
        assert_eq!(answer.read::<DescribeClusterResponse<'_>>().cluster_authorized_operations, cluster);
    }
    let answer = client.call(0, &DescribeTopicPartitionsRequest { response_partition_limit: 10, ..Default::default() });
    assert_eq!(answer.read::<DescribeTopicPartitionsResponse<'_>>().topics[0].topic_authorized_operations, TOPIC);
}
