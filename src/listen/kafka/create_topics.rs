//! CreateTopics: with the names of configurations that Kafka users know; replication is always 1.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::configs::{self, Entry};
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID, repeated};
use crate::broker::{Access, NewTopic, Topic, TopicError};
use crate::kafka::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use crate::kafka::error_code::ErrorCode;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(request))
}

/// What became of one topic: as it is now, with its configurations if they may be seen; or why not.
type Outcome = Result<(Topic, Option<Vec<Entry>>), (ErrorCode, String)>;

async fn answer(request: Request) -> Result<Later, Failed> {
    let body: CreateTopicsRequest<'_> = request.body()?;
    let repeated = repeated(body.topics.iter().map(|topic| topic.name));
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(body.topics.len());
    for wanted in &body.topics {
        outcomes.push(if repeated.contains(wanted.name) {
            Err((ErrorCode::InvalidRequest, "the topic is in the request more than once".to_owned()))
        } else {
            create(&request.access, wanted, body.validate_only).await
        });
    }
    let topics = body.topics.iter().zip(&outcomes).map(|(wanted, outcome)| result(wanted, outcome)).collect();
    Ok(ready(request.answer(&CreateTopicsResponse { topics, ..Default::default() })?))
}

async fn create(access: &Access, wanted: &CreatableTopic<'_>, validate_only: bool) -> Outcome {
    let new = NewTopic {
        name: wanted.name.to_owned(),
        partitions: partitions(wanted)?,
        configs: wanted
            .configs
            .iter()
            // Null asks for the default.
            .filter_map(|config| Some((config.name.to_owned(), config.value?.to_owned())))
            .collect(),
        id: None,
    };
    let code = |error: TopicError| {
        let code = match &error {
            TopicError::Invalid(_) if crate::broker::validate_name(wanted.name).is_err() => ErrorCode::InvalidTopic,
            other => of_topic(other),
        };
        (code, error.to_string())
    };
    let topic = if validate_only {
        access.check_new_topic(&new).map_err(code)?
    } else {
        access.create_topic(new).await.map_err(code)?.as_ref().clone()
    };
    let configs = access.settings_of(&topic).ok().map(configs::of_topic);
    Ok((topic, configs))
}

/// The number of partitions; `None` is the broker's default.
fn partitions(wanted: &CreatableTopic<'_>) -> Result<Option<u32>, (ErrorCode, String)> {
    if !wanted.assignments.is_empty() {
        if wanted.assignments.iter().any(|a| a.broker_ids != [NODE_ID]) {
            let text = format!("there is one broker, {NODE_ID}: assign every partition to it alone");
            return Err((ErrorCode::InvalidReplicaAssignment, text));
        }
        return Ok(Some(wanted.assignments.len() as u32));
    }
    if !matches!(wanted.replication_factor, -1 | 1) {
        let text = format!("replication factor {}: there is one broker, use 1", wanted.replication_factor);
        return Err((ErrorCode::InvalidReplicationFactor, text));
    }
    match wanted.num_partitions {
        -1 => Ok(None),
        n if n > 0 => Ok(Some(n.unsigned_abs())),
        n => Err((ErrorCode::InvalidPartitions, format!("{n} partitions: at least 1, or -1 for the default"))),
    }
}

fn result<'a>(wanted: &CreatableTopic<'a>, outcome: &'a Outcome) -> CreatableTopicResult<'a> {
    match outcome {
        Err((code, text)) => CreatableTopicResult {
            name: wanted.name,
            error_code: code.code(),
            error_message: Some(text),
            ..Default::default()
        },
        // Who may create it may not see how it is configured (KIP-525).
        Ok((topic, None)) => CreatableTopicResult {
            name: wanted.name,
            topic_id: topic.id.0,
            topic_config_error_code: ErrorCode::TopicAuthorizationFailed.code(),
            ..Default::default()
        },
        Ok((topic, Some(configs))) => CreatableTopicResult {
            name: wanted.name,
            topic_id: topic.id.0,
            num_partitions: topic.partition_count() as i32,
            replication_factor: 1,
            configs: Some(
                configs
                    .iter()
                    .map(|entry| CreatableTopicConfigs {
                        name: entry.name,
                        value: Some(&entry.value),
                        config_source: entry.source,
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        },
    }
}
