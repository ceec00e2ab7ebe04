//! DescribeConfigs: of topics, and the few of the broker that clients look at.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID};
use crate::broker::{Topic, TopicConfig};
use crate::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult,
};
use crate::kafka::error_code::ErrorCode;

/// `resource_type` of a topic and of a broker.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// `config_source`: set on the topic, set in the gateway's configuration, or the default.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;
/// `config_type`.
const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const LIST: i8 = 7;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeConfigsRequest<'_> = request.body()?;
        let described: Vec<_> = body.resources.iter().map(|resource| describe(&context, resource)).collect();
        let results = body.resources.iter().zip(&described).map(|(resource, d)| result(resource, d)).collect();
        Ok(ready(request.answer(&DescribeConfigsResponse { results, ..Default::default() })?))
    })
}

/// One configuration.
struct Entry {
    name: &'static str,
    value: String,
    source: i8,
    kind: i8,
    read_only: bool,
}

fn describe(context: &Context, wanted: &DescribeConfigsResource<'_>) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let mut entries = match wanted.resource_type {
        TOPIC => {
            let unknown =
                || (ErrorCode::UnknownTopicOrPartition, format!("there is no topic {}", wanted.resource_name));
            of_topic(&*context.broker.topic(wanted.resource_name).ok_or_else(unknown)?)
        }
        BROKER if matches!(wanted.resource_name.parse(), Ok(NODE_ID)) => of_broker(context),
        BROKER => {
            let text = format!("there is no broker {}; this is {NODE_ID}", wanted.resource_name);
            return Err((ErrorCode::InvalidRequest, text));
        }
        other => {
            let text = format!("resources of type {other} have no configuration here; topics and brokers have");
            return Err((ErrorCode::InvalidRequest, text));
        }
    };
    if let Some(keys) = &wanted.configuration_keys {
        entries.retain(|entry| keys.contains(&entry.name));
    }
    Ok(entries)
}

fn of_topic(topic: &Topic) -> Vec<Entry> {
    let fixed = Entry {
        name: "cleanup.policy",
        value: "delete".to_owned(),
        source: SOURCE_DEFAULT,
        kind: LIST,
        read_only: true,
    };
    let own = TopicConfig::KEYS.into_iter().filter_map(|name| {
        let kind = match name {
            "retention.ms" | "retention.bytes" | "brooklet.reserve" => LONG,
            "max.message.bytes" | "brooklet.priority" => INT,
            "brooklet.urgent" => BOOLEAN,
            _ => STRING,
        };
        Some(Entry { name, value: topic.config.get(name)?, source: source(topic, name), kind, read_only: false })
    });
    own.chain([fixed]).collect()
}

fn of_broker(context: &Context) -> Vec<Entry> {
    let options = context.broker.options();
    let entry = |name, value, kind| Entry { name, value, source: SOURCE_STATIC, kind, read_only: true };
    vec![
        entry("auto.create.topics.enable", options.auto_create.to_string(), BOOLEAN),
        entry("default.replication.factor", "1".to_owned(), INT),
        entry("message.max.bytes", options.defaults.config.max_message_bytes.to_string(), INT),
        entry("num.partitions", options.partitions.to_string(), INT),
    ]
}

/// Where the value of a topic's configuration comes from.
pub(super) fn source(topic: &Topic, name: &str) -> i8 {
    let is_set = topic.overrides.iter().any(|(key, _)| key == name);
    if is_set { SOURCE_TOPIC } else { SOURCE_DEFAULT }
}

fn result<'a>(
    wanted: &DescribeConfigsResource<'a>,
    described: &'a Result<Vec<Entry>, (ErrorCode, String)>,
) -> DescribeConfigsResult<'a> {
    let base = DescribeConfigsResult {
        resource_type: wanted.resource_type,
        resource_name: wanted.resource_name,
        ..Default::default()
    };
    match described {
        Err((code, text)) => DescribeConfigsResult { error_code: code.code(), error_message: Some(text), ..base },
        Ok(entries) => DescribeConfigsResult {
            configs: entries
                .iter()
                .map(|entry| DescribeConfigsResourceResult {
                    name: entry.name,
                    value: Some(&entry.value),
                    read_only: entry.read_only,
                    config_source: entry.source,
                    config_type: entry.kind,
                    ..Default::default()
                })
                .collect(),
            ..base
        },
    }
}
