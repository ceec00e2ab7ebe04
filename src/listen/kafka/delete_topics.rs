//! DeleteTopics: by name, and from version 6 by id.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use crate::broker::{Access, Granted, Topic, TopicError, TopicId, right};
use crate::kafka::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::wire::Uuid;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(request))
}

/// A topic that was to be deleted: as it was asked for, and what became of it.
struct Asked<'a> {
    name: Option<&'a str>,
    id: Uuid,
    outcome: Result<Arc<Topic>, (ErrorCode, String)>,
}

async fn answer(request: Request) -> Result<Later, Failed> {
    let body: DeleteTopicsRequest<'_> = request.body()?;
    let by_name = body.topic_names.iter().map(|name| (Some(*name), Uuid::default()));
    let wanted = by_name.chain(body.topics.iter().map(|topic| (topic.name, topic.topic_id)));
    let mut asked = Vec::with_capacity(body.topics.len() + body.topic_names.len());
    for (name, id) in wanted {
        let outcome = match find(&request.access, name, id) {
            Ok(topic) => delete(&request.access, topic).await,
            Err(refused) => Err(refused),
        };
        asked.push(Asked { name, id, outcome });
    }
    let responses = asked.iter().map(result).collect();
    Ok(ready(request.answer(&DeleteTopicsResponse { responses, ..Default::default() })?))
}

fn find(access: &Access, name: Option<&str>, id: Uuid) -> Result<Granted<right::Delete>, (ErrorCode, String)> {
    let refused = |error: TopicError| (of_topic(&error), error.to_string());
    match name {
        Some(_) if id != Uuid::default() => {
            Err((ErrorCode::InvalidRequest, "a topic is named by its name or by its id, not by both".to_owned()))
        }
        Some(name) => access.topic(name).map_err(refused),
        None => access.topic_by_id(TopicId(id)).map_err(|error| match error {
            TopicError::Unknown(_) => (ErrorCode::UnknownTopicId, error.to_string()),
            other => refused(other),
        }),
    }
}

async fn delete(access: &Access, topic: Granted<right::Delete>) -> Result<Arc<Topic>, (ErrorCode, String)> {
    let deleted = access.delete_topic(&topic).await;
    deleted.map(|()| Arc::clone(topic.topic())).map_err(|error| (of_topic(&error), error.to_string()))
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
