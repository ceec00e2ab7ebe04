//! AlterConfigs and IncrementalAlterConfigs: settings of topics. Those of the broker are in the gateway's configuration.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::configs::{BROKER, TOPIC};
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use super::{Context, repeated};
use crate::broker::{Access, Setting, SettingsChange, TopicError, ValueKind};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::{alter_configs as all, incremental_alter_configs as some};

/// `config_operation`.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

type Refusal = (ErrorCode, String);

/// AlterConfigs: what is not named returns to its default.
pub(super) fn replace(
    _: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: all::AlterConfigsRequest<'_> = request.body()?;
        let repeated = repeated(body.resources.iter().map(|r| (r.resource_type, r.resource_name)));
        let mut outcomes = Vec::with_capacity(body.resources.len());
        for resource in &body.resources {
            let target = (resource.resource_type, resource.resource_name);
            let change = if repeated.contains(&target) { Err(twice()) } else { replacement(resource) };
            outcomes.push(apply(&request.access, target, change, body.validate_only).await);
        }
        let each = body.resources.iter().zip(&outcomes).map(|(resource, outcome)| {
            let (error_code, error_message) = told(outcome);
            all::AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            }
        });
        let responses = each.collect();
        Ok(ready(request.answer(&all::AlterConfigsResponse { responses, ..Default::default() })?))
    })
}

/// IncrementalAlterConfigs: what is not named stays.
pub(super) fn edit(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: some::IncrementalAlterConfigsRequest<'_> = request.body()?;
        let repeated = repeated(body.resources.iter().map(|r| (r.resource_type, r.resource_name)));
        let mut outcomes = Vec::with_capacity(body.resources.len());
        for resource in &body.resources {
            let target = (resource.resource_type, resource.resource_name);
            let change = if repeated.contains(&target) { Err(twice()) } else { edits(&request.access, resource) };
            outcomes.push(apply(&request.access, target, change, body.validate_only).await);
        }
        let each = body.resources.iter().zip(&outcomes).map(|(resource, outcome)| {
            let (error_code, error_message) = told(outcome);
            some::AlterConfigsResourceResponse {
                error_code,
                error_message,
                resource_type: resource.resource_type,
                resource_name: resource.resource_name,
            }
        });
        let responses = each.collect();
        Ok(ready(request.answer(&some::IncrementalAlterConfigsResponse { responses, ..Default::default() })?))
    })
}

fn replacement(resource: &all::AlterConfigsResource<'_>) -> Result<SettingsChange, Refusal> {
    let repeated = repeated(resource.configs.iter().map(|config| config.name));
    let set = |config: &all::AlterableConfig<'_>| {
        if repeated.contains(config.name) {
            return Err(named_twice(config.name));
        }
        let value = config.value.ok_or_else(|| no_value(config.name))?;
        Ok((config.name.to_owned(), value.to_owned()))
    };
    Ok(SettingsChange::All(resource.configs.iter().map(set).collect::<Result<_, _>>()?))
}

fn edits(access: &Access, resource: &some::AlterConfigsResource<'_>) -> Result<SettingsChange, Refusal> {
    let is_topic = resource.resource_type == TOPIC;
    // Who may not see them may not change them either, and is told so when that is tried.
    let settings = if is_topic { access.settings(resource.resource_name).unwrap_or_default() } else { Vec::new() };
    let repeated = repeated(resource.configs.iter().map(|config| config.name));
    let one = |config: &some::AlterableConfig<'_>| {
        let name = config.name;
        if repeated.contains(name) {
            return Err(named_twice(name));
        }
        let value = match config.config_operation {
            DELETE => None,
            SET => Some(config.value.ok_or_else(|| no_value(name))?.to_owned()),
            operation @ (APPEND | SUBTRACT) => {
                let setting = settings.iter().find(|setting| setting.name == name);
                let items = config.value.ok_or_else(|| no_value(name))?;
                Some(edit_list(name, setting, items, operation == APPEND)?)
            }
            other => {
                let text =
                    format!("{name}: operation {other} is none of set (0), delete (1), append (2), subtract (3)");
                return Err((ErrorCode::InvalidRequest, text));
            }
        };
        Ok((name.to_owned(), value))
    };
    Ok(SettingsChange::Some(resource.configs.iter().map(one).collect::<Result<_, _>>()?))
}

/// A list's value with `items` appended or taken out.
fn edit_list(name: &str, setting: Option<&Setting>, items: &str, append: bool) -> Result<String, Refusal> {
    let setting = setting.filter(|setting| setting.kind == ValueKind::List).ok_or_else(|| {
        (ErrorCode::InvalidConfig, format!("{name} is not a list: there is nothing to append to or subtract from"))
    })?;
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let (mut list, items) = (split(&setting.value), split(items));
    list.retain(|item| append || !items.contains(item));
    if append {
        let new: Vec<String> = items.into_iter().filter(|item| !list.contains(item)).collect();
        list.extend(new);
    }
    Ok(list.join(","))
}

async fn apply(
    access: &Access,
    (resource_type, name): (i8, &str),
    change: Result<SettingsChange, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    match resource_type {
        TOPIC => {}
        BROKER => {
            let text = "the broker's settings are in the gateway's configuration, and take effect at its next start";
            return Err((ErrorCode::InvalidRequest, text.to_owned()));
        }
        other => {
            let text = format!("resources of type {other} have no configuration here; topics have");
            return Err((ErrorCode::InvalidRequest, text));
        }
    }
    let change = change?;
    let done = if validate_only {
        access.check_settings(name, change).await
    } else {
        access.change_settings(name, change).await.map(drop)
    };
    done.map_err(|error: TopicError| (of_topic(&error), error.to_string()))
}

fn told(outcome: &Result<(), Refusal>) -> (i16, Option<&str>) {
    match outcome {
        Ok(()) => (ErrorCode::None.code(), None),
        Err((code, text)) => (code.code(), Some(text)),
    }
}

fn twice() -> Refusal {
    (ErrorCode::InvalidRequest, "the resource is in the request more than once".to_owned())
}

fn named_twice(name: &str) -> Refusal {
    (ErrorCode::InvalidRequest, format!("{name} is named more than once"))
}

fn no_value(name: &str) -> Refusal {
    (ErrorCode::InvalidConfig, format!("{name} has no value; delete it to return to the default"))
}
