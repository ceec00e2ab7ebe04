//! DescribeConfigs: of topics, and those of the broker that clients look at.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::configs::{self, BROKER, Entry, TOPIC};
use super::errors::{of_denied, of_topic};
use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID};
use crate::kafka::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::kafka::error_code::ErrorCode;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeConfigsRequest<'_> = request.body()?;
        let described: Vec<_> = body.resources.iter().map(|resource| describe(&request, resource)).collect();
        let each = body.resources.iter().zip(&described);
        let results = each.map(|(resource, described)| result(resource, described, &body)).collect();
        Ok(ready(request.answer(&DescribeConfigsResponse { results, ..Default::default() })?))
    })
}

fn describe(request: &Request, wanted: &DescribeConfigsResource<'_>) -> Result<Vec<Entry>, (ErrorCode, String)> {
    let name = wanted.resource_name;
    let mut entries = match wanted.resource_type {
        TOPIC => {
            if let Err(text) = crate::broker::validate_name(name) {
                return Err((ErrorCode::InvalidTopic, text));
            }
            let settings = request.access.settings(name).map_err(|error| (of_topic(&error), error.to_string()))?;
            configs::of_topic(settings)
        }
        // What was set for all brokers at once while they ran: nothing ever is.
        BROKER if name.is_empty() => Vec::new(),
        BROKER if matches!(name.parse(), Ok(NODE_ID)) => {
            let settings = request.access.broker_settings();
            let (options, dir) = settings.map_err(|denied| (of_denied(&denied), denied.to_string()))?;
            configs::of_broker((&options, &dir))
        }
        BROKER => {
            return Err((ErrorCode::InvalidRequest, format!("there is no broker {name}; this is {NODE_ID}")));
        }
        other => {
            let text = format!("resources of type {other} have no configuration here; topics and brokers have");
            return Err((ErrorCode::InvalidRequest, text));
        }
    };
    // Some clients send an empty list and mean all of them, as a null does.
    if let Some(keys) = wanted.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        entries.retain(|entry| keys.contains(&entry.name));
    }
    Ok(entries)
}

fn result<'a>(
    wanted: &DescribeConfigsResource<'a>,
    described: &'a Result<Vec<Entry>, (ErrorCode, String)>,
    request: &DescribeConfigsRequest<'_>,
) -> DescribeConfigsResult<'a> {
    let base = DescribeConfigsResult {
        resource_type: wanted.resource_type,
        resource_name: wanted.resource_name,
        ..Default::default()
    };
    match described {
        Err((code, text)) => DescribeConfigsResult { error_code: code.code(), error_message: Some(text), ..base },
        Ok(entries) => {
            let one = |entry| config(entry, request.include_synonyms, request.include_documentation);
            DescribeConfigsResult { configs: entries.iter().map(one).collect(), ..base }
        }
    }
}

fn config(entry: &Entry, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult<'_> {
    let synonyms = if synonyms { entry.synonyms.as_slice() } else { &[] };
    DescribeConfigsResourceResult {
        name: entry.name,
        value: Some(&entry.value),
        read_only: entry.read_only,
        config_source: entry.source,
        config_type: entry.config_type,
        synonyms: synonyms
            .iter()
            .map(|(name, value, source)| DescribeConfigsSynonym { name, value: Some(value), source: *source })
            .collect(),
        documentation: documentation.then_some(entry.about),
        ..Default::default()
    }
}
