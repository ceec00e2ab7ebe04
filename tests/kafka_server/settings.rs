//! Settings of topics and of the broker, by the names that Kafka's users know.

use brooklet::kafka::alter_configs::{self, AlterConfigsRequest, AlterConfigsResponse};
use brooklet::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse, DescribeConfigsResult,
};
use brooklet::kafka::error_code::ErrorCode;
use brooklet::kafka::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use crate::client::{Client, Server};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

fn edit(client: &mut Client, topic: &str, changes: &[(&str, i8, Option<&str>)], validate_only: bool) -> i16 {
    edit_of(client, TOPIC, topic, changes, validate_only)
}

fn edit_of(
    client: &mut Client,
    resource_type: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> i16 {
    let configs = changes.iter();
    let configs = configs.map(|(name, config_operation, value)| AlterableConfig {
        name,
        config_operation: *config_operation,
        value: *value,
    });
    let resource = AlterConfigsResource { resource_type, resource_name: name, configs: configs.collect() };
    let answer = client.call(1, &IncrementalAlterConfigsRequest { resources: vec![resource], validate_only });
    let response = &answer.read::<IncrementalAlterConfigsResponse<'_>>().responses[0];
    assert_eq!(response.error_code == 0, response.error_message.is_none());
    response.error_code
}

fn replace(client: &mut Client, topic: &str, configs: &[(&str, Option<&str>)]) -> i16 {
    let configs = configs.iter().map(|(name, value)| alter_configs::AlterableConfig { name, value: *value });
    let resource =
        alter_configs::AlterConfigsResource { resource_type: TOPIC, resource_name: topic, configs: configs.collect() };
    let answer = client.call(2, &AlterConfigsRequest { resources: vec![resource], validate_only: false });
    answer.read::<AlterConfigsResponse<'_>>().responses[0].error_code
}

fn describe<T>(
    client: &mut Client,
    resource_type: i8,
    resource_name: &str,
    keys: Option<Vec<&str>>,
    look: impl FnOnce(&DescribeConfigsResult<'_>) -> T,
) -> T {
    let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys: keys };
    let request =
        DescribeConfigsRequest { resources: vec![resource], include_synonyms: true, include_documentation: true };
    let answer = client.call(4, &request);
    look(&answer.read::<DescribeConfigsResponse<'_>>().results[0])
}

/// Value and source of a topic's setting.
fn setting(client: &mut Client, topic: &str, name: &str) -> (String, i8) {
    describe(client, TOPIC, topic, Some(vec![name]), |result| {
        let config = &result.configs[0];
        assert_eq!((config.name, result.configs.len()), (name, 1));
        (config.value.unwrap().to_owned(), config.config_source)
    })
}

#[test]
fn settings_are_changed_one_by_one() {
    let mut server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[("retention.bytes", "1000")]);
    assert_eq!(setting(&mut client, "t", "retention.ms"), ("-1".to_owned(), 5));
    assert_eq!(edit(&mut client, "t", &[("retention.ms", SET, Some("60000"))], true), 0);
    assert_eq!(setting(&mut client, "t", "retention.ms"), ("-1".to_owned(), 5), "validate_only changes nothing");
    let changes = [("retention.ms", SET, Some("60000")), ("retention.bytes", DELETE, None)];
    assert_eq!(edit(&mut client, "t", &changes, false), 0);
    assert_eq!(edit(&mut client, "t", &[("segment.ms", SET, Some("1000"))], false), 0);
    server.restart();
    let mut client = server.client();
    assert_eq!(setting(&mut client, "t", "retention.ms"), ("60000".to_owned(), 1));
    assert_eq!(setting(&mut client, "t", "retention.bytes"), ("-1".to_owned(), 5));
    assert_eq!(setting(&mut client, "t", "segment.ms"), ("1000".to_owned(), 1));

    let list = "cleanup.policy";
    assert_eq!(edit(&mut client, "t", &[(list, APPEND, Some("delete"))], false), 0);
    let (invalid, request) = (ErrorCode::InvalidConfig.code(), ErrorCode::InvalidRequest.code());
    for (changes, code) in [
        (vec![(list, APPEND, Some("compact"))], invalid),
        (vec![(list, SUBTRACT, Some("delete"))], invalid),
        (vec![("retention.ms", APPEND, Some("1"))], invalid),
        (vec![("retention.ms", SET, None)], invalid),
        (vec![("retention.ms", SET, Some("soon"))], invalid),
        (vec![("no.such.thing", SET, Some("1"))], invalid),
        (vec![("compression.type", SET, Some("brotli"))], invalid),
        (vec![("message.timestamp.difference.max.ms", SET, Some("1"))], invalid),
        (vec![("retention.ms", 9, Some("1"))], request),
        (vec![("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)], request),
        (vec![("retention.ms", SET, Some("1")), ("min.insync.replicas", SET, Some("2"))], invalid),
    ] {
        assert_eq!(edit(&mut client, "t", &changes, false), code, "{changes:?}");
    }
    assert_eq!(setting(&mut client, "t", "retention.ms"), ("60000".to_owned(), 1), "all or none");
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(edit(&mut client, "none", &[("retention.ms", SET, Some("1"))], false), unknown);
    assert_eq!(edit_of(&mut client, BROKER, "1", &[("num.partitions", SET, Some("2"))], false), request);
    assert_eq!(edit_of(&mut client, 8, "1", &[], false), request);
}

#[test]
fn what_is_not_named_returns_to_its_default_where_all_is_replaced() {
    let server = Server::start();
    let mut client = server.client();
    client.create("t", 1, &[("retention.bytes", "1000"), ("compression.type", "gzip")]);
    assert_eq!(replace(&mut client, "t", &[("retention.ms", Some("5000"))]), 0);
    assert_eq!(setting(&mut client, "t", "retention.ms"), ("5000".to_owned(), 1));
    assert_eq!(setting(&mut client, "t", "compression.type"), ("producer".to_owned(), 5));
    assert_eq!(replace(&mut client, "t", &[("retention.ms", None)]), ErrorCode::InvalidConfig.code());
    let twice = [("retention.ms", Some("1")), ("retention.ms", Some("2"))];
    assert_eq!(replace(&mut client, "t", &twice), ErrorCode::InvalidRequest.code());
    assert_eq!(setting(&mut client, "t", "retention.ms"), ("5000".to_owned(), 1));
}

#[test]
fn a_setting_tells_its_type_its_sources_and_what_it_means() {
    let server = Server::start_with(|config| config.topics.defaults.max_message_bytes = 500_000);
    let mut client = server.client();
    client.create("t", 1, &[("max.message.bytes", "400000")]);
    describe(&mut client, TOPIC, "t", None, |result| {
        assert!(result.error_code == 0 && result.configs.len() > 30);
        assert!(result.configs.is_sorted_by_key(|config| config.name));
        assert!(result.configs.iter().all(|c| c.config_type > 0 && !c.is_sensitive && c.documentation.is_some()));
        let config = result.configs.iter().find(|config| config.name == "max.message.bytes").unwrap();
        assert_eq!((config.value, config.config_source, config.config_type), (Some("400000"), 1, 3));
        let synonyms: Vec<_> = config.synonyms.iter().map(|s| (s.name, s.value.unwrap(), s.source)).collect();
        assert_eq!(synonyms, [("max.message.bytes", "400000", 1), ("message.max.bytes", "500000", 4)]);
    });
    describe(&mut client, BROKER, "1", None, |result| {
        assert!(result.configs.iter().all(|config| config.read_only && config.config_source == 4));
        let config = result.configs.iter().find(|config| config.name == "message.max.bytes").unwrap();
        assert_eq!(config.value, Some("500000"));
    });
    describe(&mut client, BROKER, "", None, |result| assert_eq!((result.error_code, result.configs.len()), (0, 0)));
    let code = |client: &mut Client, kind, name| describe(client, kind, name, None, |result| result.error_code);
    assert_eq!(code(&mut client, BROKER, "2"), ErrorCode::InvalidRequest.code());
    assert_eq!(code(&mut client, TOPIC, "none"), ErrorCode::UnknownTopicOrPartition.code());
    assert_eq!(code(&mut client, TOPIC, "no name"), ErrorCode::InvalidTopic.code());
    assert_eq!(code(&mut client, 32, "group"), ErrorCode::InvalidRequest.code());
}
