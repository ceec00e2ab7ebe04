//! DescribeTopicPartitions: topics by name, a page of partitions at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use super::{Context, NODE_ID, acls};
use crate::broker::rights::Resource;
use crate::broker::{Access, Granted, Topic, TopicError, right, validate_name};
use crate::kafka::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition as PartitionRow, DescribeTopicPartitionsResponseTopic as TopicRow,
};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::nullable::Nullable;

/// Most partitions of a page, whatever the client asks for (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_PER_PAGE_MAX: u32 = 2_000;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeTopicPartitionsRequest<'_> = request.body()?;
        let found = wanted(&request.access, &body);
        let epoch = context.broker.epoch().ordinal as i32;
        let from = body.cursor.0.as_ref().map_or(("", 0), |cursor| (cursor.topic_name, cursor.partition_index));
        let mut room = u32::try_from(body.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_PER_PAGE_MAX);
        let mut topics = Vec::new();
        let mut next = None;
        for (name, topic) in found.iter().filter(|(name, _)| name.as_str() >= from.0) {
            let topic = match topic {
                Ok(topic) => topic,
                Err(error) => {
                    topics.push(refused(name, error));
                    continue;
                }
            };
            let first = if name == from.0 { u32::try_from(from.1).unwrap_or(0) } else { 0 };
            if room == 0 {
                next = Some(Cursor { topic_name: name, partition_index: first as i32 });
                break;
            }
            let count = topic.partition_count().saturating_sub(first);
            let taken = count.min(room);
            let operations = acls::operations(&request.access, true, Resource::topic(name));
            let rows = describe(topic, first..first.saturating_add(taken), epoch);
            topics.push(TopicRow { topic_authorized_operations: operations, ..rows });
            room -= taken;
            if taken < count {
                next = Some(Cursor { topic_name: name, partition_index: (first + taken) as i32 });
                break;
            }
        }
        let response = DescribeTopicPartitionsResponse { topics, next_cursor: Nullable(next), ..Default::default() };
        Ok(ready(request.answer(&response)?))
    })
}

/// A topic that may be seen, or why not.
type Found = Result<Granted<right::Describe>, TopicError>;

/// The topics that were asked for, by name, each once.
fn wanted(access: &Access, body: &DescribeTopicPartitionsRequest<'_>) -> Vec<(String, Found)> {
    if body.topics.is_empty() {
        return access.topics().into_iter().map(|topic| (topic.name.clone(), Ok(topic))).collect();
    }
    let mut names: Vec<&str> = body.topics.iter().map(|topic| topic.name).collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| (name.to_owned(), access.topic(name))).collect()
}

fn refused<'a>(name: &'a str, error: &TopicError) -> TopicRow<'a> {
    let code = match error {
        TopicError::Unknown(_) if validate_name(name).is_err() => ErrorCode::InvalidTopic,
        error => of_topic(error),
    };
    TopicRow { error_code: code.code(), name: Some(name), ..Default::default() }
}

fn describe(topic: &Topic, partitions: std::ops::Range<u32>, leader_epoch: i32) -> TopicRow<'_> {
    let partition = |index| PartitionRow {
        partition_index: index as i32,
        leader_id: NODE_ID,
        leader_epoch,
        replica_nodes: vec![NODE_ID],
        isr_nodes: vec![NODE_ID],
        // Null is allowed, but Java's clients stumble over it.
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        ..Default::default()
    };
    TopicRow {
        name: Some(&topic.name),
        topic_id: topic.id.0,
        is_internal: topic.is_internal(),
        partitions: partitions.map(partition).collect(),
        ..Default::default()
    }
}
