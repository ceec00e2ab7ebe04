//! DeleteTopics: by name, and from version 6 by id.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use crate::broker::{Topic, TopicError, TopicId};
use crate::kafka::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::wire::Uuid;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(context, request))
}

/// A topic that was to be deleted: as it was asked for, and what became of it.
struct Asked<'a> {
    name: Option<&'a str>,
    id: Uuid,
    outcome: Result<Arc<Topic>, (ErrorCode, String)>,
}

async fn answer(context: Arc<Context>, request: Request) -> Result<Later, Failed> {
    let body: DeleteTopicsRequest<'_> = request.body()?;
    let by_name = body.topic_names.iter().map(|name| (Some(*name), Uuid::default()));
    let wanted = by_name.chain(body.topics.iter().map(|topic| (topic.name, topic.topic_id)));
    let mut asked = Vec::with_capacity(body.topics.len() + body.topic_names.len());
    for (name, id) in wanted {
        let outcome = match find(&context, name, id) {
            Ok(topic) => delete(&context, topic).await,
            Err(refused) => Err(refused),
        };
        asked.push(Asked { name, id, outcome });
    }
    let responses = asked.iter().map(result).collect();
    Ok(ready(request.answer(&DeleteTopicsResponse { responses, ..Default::default() })?))
}

fn find(context: &Context, name: Option<&str>, id: Uuid) -> Result<Arc<Topic>, (ErrorCode, String)> {
    let broker = &context.broker;
    match name {
        Some(_) if id != Uuid::default() => {
            Err((ErrorCode::InvalidRequest, "a topic is named by its name or by its id, not by both".to_owned()))
        }
        Some(name) => broker
            .topic(name)
            .ok_or_else(|| (ErrorCode::UnknownTopicOrPartition, TopicError::Unknown(name.to_owned()).to_string())),
        None => broker
            .topic_by_id(TopicId(id))
            .ok_or_else(|| (ErrorCode::UnknownTopicId, format!("there is no topic of the id {}", TopicId(id)))),
    }
}

async fn delete(context: &Context, topic: Arc<Topic>) -> Result<Arc<Topic>, (ErrorCode, String)> {
    let deleted = context.broker.delete_topic_as_found(&topic).await;
    deleted.map(|()| topic).map_err(|error| (of_topic(&error), error.to_string()))
}

fn result<'a>(asked: &'a Asked<'a>) -> DeletableTopicResult<'a> {
    match &asked.outcome {
        Ok(topic) => DeletableTopicResult { name: Some(&topic.name), topic_id: topic.id.0, ..Default::default() },
        Err((code, text)) => DeletableTopicResult {
            name: asked.name,
            topic_id: asked.id,
            error_code: code.code(),
            error_message: Some(text),
        },
    }
}
