//! OffsetFetch: committed positions, of one group (up to version 7) or of many; null asks for all of a group.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::request::{Failed, Later, Request, ready};
use crate::broker::CommittedOffset;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

/// From this version on, many groups may be asked about.
const MANY: i16 = 8;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: OffsetFetchRequest<'_> = request.body()?;
        let bytes =
            if request.version >= MANY { many(&context, &request, &body) } else { one(&context, &request, &body) };
        Ok(ready(bytes?))
    })
}

/// A topic's name; partitions, in the order asked for, and what is committed there.
type Topic = (String, Vec<(i32, Option<CommittedOffset>)>);
type Found = Vec<Topic>;

fn many(context: &Context, request: &Request, body: &OffsetFetchRequest<'_>) -> Result<Vec<u8>, Failed> {
    let find_group = |group: &OffsetFetchRequestGroup<'_>| match &group.topics {
        _ if group.group_id.is_empty() => Vec::new(),
        None => all(context, group.group_id),
        Some(topics) => {
            let one = |topic: &OffsetFetchRequestTopics<'_>| {
                find(context, group.group_id, topic.name, &topic.partition_indexes)
            };
            topics.iter().map(one).collect()
        }
    };
    let found: Vec<Found> = body.groups.iter().map(find_group).collect();
    let groups = body.groups.iter().zip(&found).map(|(group, found)| OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics: found.iter().map(topic_of_many).collect(),
        error_code: code(group.group_id),
    });
    request.answer(&OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
}

fn topic_of_many((name, partitions): &Topic) -> OffsetFetchResponseTopics<'_> {
    OffsetFetchResponseTopics {
        name,
        partitions: partitions
            .iter()
            .map(|(index, committed)| {
                let (committed_offset, committed_leader_epoch) = told(committed.as_ref());
                OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata(committed.as_ref())),
                    ..Default::default()
                }
            })
            .collect(),
    }
}

fn one(context: &Context, request: &Request, body: &OffsetFetchRequest<'_>) -> Result<Vec<u8>, Failed> {
    let group = body.group_id;
    let found: Found = match &body.topics {
        _ if group.is_empty() => Vec::new(),
        None => all(context, group),
        Some(topics) => {
            let one = |topic: &OffsetFetchRequestTopic<'_>| find(context, group, topic.name, &topic.partition_indexes);
            topics.iter().map(one).collect()
        }
    };
    let topics = found.iter().map(topic_of_one).collect();
    request.answer(&OffsetFetchResponse { topics, error_code: code(group), ..Default::default() })
}

fn topic_of_one((name, partitions): &Topic) -> OffsetFetchResponseTopic<'_> {
    OffsetFetchResponseTopic {
        name,
        partitions: partitions
            .iter()
            .map(|(index, committed)| {
                let (committed_offset, committed_leader_epoch) = told(committed.as_ref());
                OffsetFetchResponsePartition {
                    partition_index: *index,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata(committed.as_ref())),
                    ..Default::default()
                }
            })
            .collect(),
    }
}

/// The error of a group as a whole.
fn code(group: &str) -> i16 {
    if group.is_empty() { ErrorCode::InvalidGroupId.code() } else { 0 }
}

/// All that a group has committed, of topics that are still there.
fn all(context: &Context, group: &str) -> Found {
    let mut found: BTreeMap<String, Vec<(i32, Option<CommittedOffset>)>> = BTreeMap::new();
    for (topic, index, committed) in context.broker.committed_offsets(group) {
        if let Some(topic) = context.broker.topic_by_id(topic) {
            found.entry(topic.name.clone()).or_default().push((index, Some(committed)));
        }
    }
    found.into_iter().collect()
}

fn find(context: &Context, group: &str, name: &str, indexes: &[i32]) -> Topic {
    let topic = context.broker.topic(name);
    let of = |index: &i32| {
        let committed = topic.as_ref().and_then(|topic| context.broker.committed_offset(group, topic, *index));
        (*index, committed)
    };
    (name.to_owned(), indexes.iter().map(of).collect())
}

/// Offset and leader epoch on the wire; −1 where nothing is committed.
fn told(committed: Option<&CommittedOffset>) -> (i64, i32) {
    committed.map_or((-1, -1), |committed| (committed.offset, committed.leader_epoch))
}

fn metadata(committed: Option<&CommittedOffset>) -> &str {
    committed.map_or("", |committed| &committed.metadata)
}
