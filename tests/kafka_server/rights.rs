//! Rules of access by Kafka's own APIs, and the codes of what they deny.

use brooklet::config::IfNoRule;
use brooklet::kafka::create_acls::{AclCreation, CreateAclsRequest, CreateAclsResponse};
use brooklet::kafka::delete_acls::{DeleteAclsFilter, DeleteAclsRequest, DeleteAclsResponse};
use brooklet::kafka::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use brooklet::kafka::describe_log_dirs::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use brooklet::kafka::error_code::ErrorCode;
use brooklet::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use brooklet::kafka::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use brooklet::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use brooklet::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use brooklet::kafka::metadata::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use brooklet::kafka::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse};

use crate::client::{Client, Server, plain};

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ANY: i8 = 1;
const READ: i8 = 3;
const WRITE: i8 = 4;
const ALTER: i8 = 7;
const ALLOW: i8 = 3;
const DENY: i8 = 2;

fn rule(resource_type: i8, resource_name: &str, operation: i8, permission_type: i8) -> AclCreation<'_> {
    AclCreation {
        resource_type,
        resource_name,
        resource_pattern_type: LITERAL,
        principal: "User:ANONYMOUS",
        host: "*",
        operation,
        permission_type,
    }
}

fn create(client: &mut Client, creations: Vec<AclCreation<'_>>) -> Vec<i16> {
    let answer = client.call(3, &CreateAclsRequest { creations });
    answer.read::<CreateAclsResponse<'_>>().results.iter().map(|result| result.error_code).collect()
}

/// How many rules there are.
fn count(client: &mut Client) -> usize {
    let all = DescribeAclsRequest {
        resource_type_filter: ANY,
        pattern_type_filter: ANY,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    let answer = client.call(2, &all);
    let response = answer.read::<DescribeAclsResponse<'_>>();
    assert_eq!(response.error_code, 0);
    response.resources.iter().map(|resource| resource.acls.len()).sum()
}

#[test]
fn rules_are_added_shown_and_removed_and_outlive_a_restart() {
    let mut server = Server::start();
    let mut client = server.client();
    let prefixed =
        AclCreation { resource_pattern_type: PREFIXED, principal: "User:a", ..rule(TOPIC, "p.", READ, ALLOW) };
    let codes = create(
        &mut client,
        vec![
            prefixed.clone(),
            AclCreation { principal: "User:a", ..rule(TOPIC, "p.x", READ, DENY) },
            rule(CLUSTER, "other", READ, ALLOW),
            AclCreation { principal: "a", ..rule(TOPIC, "t", READ, ALLOW) },
            prefixed,
        ],
    );
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(codes, [0, 0, invalid, invalid, 0]);
    server.restart();
    let mut client = server.client();
    assert_eq!(count(&mut client), 2);
    // Those that match the name, whatever their type.
    let filter = DescribeAclsRequest {
        resource_type_filter: TOPIC,
        resource_name_filter: Some("p.x"),
        pattern_type_filter: 2,
        principal_filter: Some("User:a"),
        host_filter: None,
        operation: ANY,
        permission_type: ANY,
    };
    let answer = client.call(3, &filter);
    let resources = answer.read::<DescribeAclsResponse<'_>>().resources;
    let told: Vec<_> = resources.iter().map(|r| (r.resource_name, r.pattern_type, r.acls[0].permission_type)).collect();
    assert_eq!(told, [("p.x", LITERAL, DENY), ("p.", PREFIXED, ALLOW)]);
    let filters = vec![
        DeleteAclsFilter {
            resource_type_filter: ANY,
            pattern_type_filter: ANY,
            operation: ANY,
            permission_type: DENY,
            ..Default::default()
        },
        DeleteAclsFilter { resource_type_filter: 99, ..Default::default() },
    ];
    let answer = client.call(1, &DeleteAclsRequest { filters });
    let results = answer.read::<DeleteAclsResponse<'_>>().filter_results;
    assert_eq!((results[0].error_code, results[0].matching_acls[0].resource_name), (0, "p.x"));
    assert_eq!(results[1].error_code, invalid);
    assert_eq!(count(&mut client), 1);
}

fn fetch(client: &mut Client, topic: &str) -> i16 {
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..Default::default() };
    let topics = vec![FetchTopic { topic, partitions: vec![partition] }];
    let answer = client.call(11, &FetchRequest { max_bytes: 1 << 20, session_epoch: -1, topics, ..Default::default() });
    answer.read::<FetchResponse<'_>>().responses[0].partitions[0].error_code
}

/// Code and authorised operations of a topic that is asked for; names of those that are listed.
fn metadata(client: &mut Client, name: &str) -> (i16, i32, Vec<String>) {
    let topics = Some(vec![MetadataRequestTopic { name: Some(name), ..Default::default() }]);
    let one = MetadataRequest { topics, include_topic_authorized_operations: true, ..Default::default() };
    let answer = client.call(12, &one);
    let topic = answer.read::<MetadataResponse<'_>>().topics[0].clone();
    let (code, operations) = (topic.error_code, topic.topic_authorized_operations);
    let answer = client.call(12, &MetadataRequest { topics: None, ..Default::default() });
    let listed = answer.read::<MetadataResponse<'_>>();
    let names = listed.topics.iter().filter_map(|topic| topic.name.map(str::to_owned)).collect();
    (code, operations, names)
}

#[test]
fn what_is_denied_has_kafkas_codes_and_is_not_shown() {
    let server = Server::start_with(|config| {
        config.listen.kafka.if_no_rule = IfNoRule::Deny;
        config.topics.defaults.partitions = 1;
    });
    let broker = server.broker();
    smol::block_on(broker.topic_or_create("t")).unwrap();
    let mut client = server.client();
    let (no_topic, no_group) = (ErrorCode::TopicAuthorizationFailed.code(), ErrorCode::GroupAuthorizationFailed.code());
    let no_cluster = ErrorCode::ClusterAuthorizationFailed.code();
    assert_eq!(client.produce("t", 0, &plain(&[1])).0, no_topic);
    assert_eq!(client.produce("not there", 0, &plain(&[1])).0, no_topic, "whether it is there isn't told");
    assert_eq!(fetch(&mut client, "t"), no_topic);
    assert_eq!(client.create("u", 1, &[]), no_topic);
    assert_eq!(metadata(&mut client, "t"), (no_topic, i32::MIN, vec![]));
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g"], ..Default::default() };
    let answer = client.call(4, &find);
    assert_eq!(answer.read::<FindCoordinatorResponse<'_>>().coordinators[0].error_code, no_group);
    let answer = client.call(4, &HeartbeatRequest { group_id: "g", ..Default::default() });
    assert_eq!(answer.read::<HeartbeatResponse>().error_code, no_group);
    let groups = vec![OffsetFetchRequestGroup { group_id: "g", ..Default::default() }];
    let answer = client.call(8, &OffsetFetchRequest { groups, ..Default::default() });
    assert_eq!(answer.read::<OffsetFetchResponse<'_>>().groups[0].error_code, no_group);
    let answer = client.call(4, &InitProducerIdRequest { transaction_timeout_ms: -1, ..Default::default() });
    assert_eq!(answer.read::<InitProducerIdResponse>().error_code, no_cluster);
    let answer = client.call(4, &DescribeLogDirsRequest::default());
    assert_eq!(answer.read::<DescribeLogDirsResponse<'_>>().error_code, no_cluster);
    assert_eq!(create(&mut client, vec![rule(TOPIC, "t", READ, ALLOW)]), [no_cluster]);

    let allow = |kind, name: &str, what| {
        use brooklet::broker::rights::{Origin, Pattern, Rule, What, Who};
        let who = Who::parse("User:ANONYMOUS").unwrap();
        let rule = Rule {
            kind,
            pattern: Pattern::new(name, false),
            who,
            from: Origin::Anywhere,
            what: What::One(what),
            allows: true,
        };
        smol::block_on(broker.add_rules(vec![rule])).unwrap()[0].as_ref().unwrap();
    };
    use brooklet::broker::rights::{Operation, ResourceKind};
    allow(ResourceKind::Cluster, "kafka-cluster", Operation::Alter);
    // The same connection: what holds changes at its next request.
    assert_eq!(create(&mut client, vec![rule(TOPIC, "t", WRITE, ALLOW), rule(GROUP, "g", READ, ALLOW)]), [0, 0]);
    assert_eq!(client.produce("t", 0, &plain(&[1])).0, 0);
    assert_eq!(fetch(&mut client, "t"), no_topic);
    let bits = (1 << WRITE) | (1 << 8);
    assert_eq!(metadata(&mut client, "t"), (0, bits, vec!["t".to_owned()]));
    let answer = client.call(4, &InitProducerIdRequest { transaction_timeout_ms: -1, ..Default::default() });
    assert_eq!(answer.read::<InitProducerIdResponse>().error_code, 0, "who may write somewhere may do so idempotently");
    assert_eq!(create(&mut client, vec![rule(TOPIC, "*", READ, ALLOW), rule(TOPIC, "t", READ, DENY)]), [0, 0]);
    assert_eq!(fetch(&mut client, "t"), no_topic, "a denial wins");
    assert_eq!(fetch(&mut client, "u"), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(create(&mut client, vec![rule(CLUSTER, "kafka-cluster", ALTER, DENY)]), [0]);
    assert_eq!(create(&mut client, vec![rule(TOPIC, "t", READ, ALLOW)]), [no_cluster]);
}
