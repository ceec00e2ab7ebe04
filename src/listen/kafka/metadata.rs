//! Metadata: this broker, alone in its cluster and leader of everything, and its topics.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID, acls};
use crate::broker::rights::Resource;
use crate::broker::{Access, Granted, TopicError, TopicId, right};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use crate::kafka::wire::Uuid;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(context, request))
}

/// A topic that was asked for, or why there is none.
enum Found<'a> {
    Topic(Granted<right::Describe>),
    Not { name: Option<&'a str>, id: Uuid, code: ErrorCode },
}

async fn answer(context: Arc<Context>, request: Request) -> Result<Later, Failed> {
    let body: MetadataRequest<'_> = request.body()?;
    // Version 0 asks for everything by an empty list.
    let wanted = body.topics.as_deref().filter(|topics| request.version > 0 || !topics.is_empty());
    let found: Vec<Found<'_>> = match wanted {
        None => request.access.topics().into_iter().map(Found::Topic).collect(),
        Some(wanted) => {
            let mut found = Vec::with_capacity(wanted.len());
            for topic in wanted {
                found.push(find(&request.access, topic, body.allow_auto_topic_creation).await);
            }
            found
        }
    };
    let (host, port) = context.address(&request);
    let epoch = context.broker.epoch().ordinal as i32;
    let operations =
        |name: &str| acls::operations(&request.access, body.include_topic_authorized_operations, Resource::topic(name));
    let response = MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: NODE_ID, host: &host, port: port.into(), rack: None }],
        cluster_id: Some(&context.cluster_id),
        controller_id: NODE_ID,
        topics: found.iter().map(|found| describe(found, epoch, &operations)).collect(),
        cluster_authorized_operations: acls::cluster_operations(
            &request.access,
            body.include_cluster_authorized_operations,
        ),
        ..Default::default()
    };
    Ok(ready(request.answer(&response)?))
}

async fn find<'a>(access: &Access, wanted: &MetadataRequestTopic<'a>, create: bool) -> Found<'a> {
    let Some(name) = wanted.name else {
        let not = Found::Not { name: None, id: wanted.topic_id, code: ErrorCode::UnknownTopicId };
        return access.topic_by_id(TopicId(wanted.topic_id)).map_or(not, Found::Topic);
    };
    let result = if create { access.topic_or_create(name).await } else { access.topic(name) };
    match result {
        Ok(topic) => Found::Topic(topic),
        Err(error) => {
            let code = match &error {
                TopicError::Invalid(_) => ErrorCode::InvalidTopic,
                other => of_topic(other),
            };
            Found::Not { name: Some(name), id: Uuid::default(), code }
        }
    }
}

fn describe<'a>(
    found: &'a Found<'_>,
    leader_epoch: i32,
    operations: &impl Fn(&str) -> i32,
) -> MetadataResponseTopic<'a> {
    match found {
        Found::Not { name, id, code } => {
            MetadataResponseTopic { error_code: code.code(), name: *name, topic_id: *id, ..Default::default() }
        }
        Found::Topic(topic) => MetadataResponseTopic {
            name: Some(&topic.name),
            topic_id: topic.id.0,
            is_internal: topic.is_internal(),
            partitions: (0..topic.partition_count())
                .map(|index| MetadataResponsePartition {
                    partition_index: index as i32,
                    leader_id: NODE_ID,
                    leader_epoch,
                    replica_nodes: vec![NODE_ID],
                    isr_nodes: vec![NODE_ID],
                    ..Default::default()
                })
                .collect(),
            topic_authorized_operations: operations(&topic.name),
            ..Default::default()
        },
    }
}
