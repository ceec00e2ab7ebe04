//! CreatePartitions: raises the number of a topic's partitions.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID, repeated};
use crate::broker::{Access, TopicError};
use crate::kafka::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use crate::kafka::error_code::ErrorCode;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: CreatePartitionsRequest<'_> = request.body()?;
        let repeated = repeated(body.topics.iter().map(|topic| topic.name));
        let mut outcomes = Vec::with_capacity(body.topics.len());
        for topic in &body.topics {
            outcomes.push(if repeated.contains(topic.name) {
                Err((ErrorCode::InvalidRequest, "the topic is in the request more than once".to_owned()))
            } else {
                grow(&request.access, topic, body.validate_only).await
            });
        }
        let results = body.topics.iter().zip(&outcomes).map(|(topic, outcome)| result(topic.name, outcome)).collect();
        Ok(ready(request.answer(&CreatePartitionsResponse { results, ..Default::default() })?))
    })
}

async fn grow(
    access: &Access,
    wanted: &CreatePartitionsTopic<'_>,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let code = |error: TopicError| {
        let code = match &error {
            TopicError::Invalid(_) => ErrorCode::InvalidPartitions,
            other => of_topic(other),
        };
        (code, error.to_string())
    };
    let topic = access.topic(wanted.name).map_err(code)?;
    let count = u32::try_from(wanted.count)
        .map_err(|_| (ErrorCode::InvalidPartitions, format!("{} partitions: at least 1", wanted.count)))?;
    access.check_partitions(&topic, count).map_err(code)?;
    if let Some(assignments) = &wanted.assignments {
        let added = count.saturating_sub(topic.partition_count()) as usize;
        if assignments.len() != added || assignments.iter().any(|a| a.broker_ids != [NODE_ID]) {
            let text = format!("{added} partitions are added; assign each of them to broker {NODE_ID}, the only one");
            return Err((ErrorCode::InvalidReplicaAssignment, text));
        }
    }
    if validate_only { Ok(()) } else { access.add_partitions(wanted.name, count).await.map(drop).map_err(code) }
}

fn result<'a>(name: &'a str, outcome: &'a Result<(), (ErrorCode, String)>) -> CreatePartitionsTopicResult<'a> {
    match outcome {
        Ok(()) => CreatePartitionsTopicResult { name, ..Default::default() },
        Err((code, text)) => CreatePartitionsTopicResult { name, error_code: code.code(), error_message: Some(text) },
    }
}
