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
    OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
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

/// Topics with partitions, as asked for; `None` for all.
type Wanted<'a> = Option<Vec<(&'a str, &'a [i32])>>;
/// By topic, in the order asked for: partitions and what is committed there.
type Found = Vec<(String, Vec<(i32, Option<CommittedOffset>)>)>;

fn many(context: &Context, request: &Request, body: &OffsetFetchRequest<'_>) -> Result<Vec<u8>, Failed> {
    let wanted = |topics: &'_ Option<Vec<OffsetFetchRequestTopics<'_>>>| -> Option<Vec<(String, Vec<i32>)>> {
        let one = |topic: &OffsetFetchRequestTopics<'_>| (topic.name.to_owned(), topic.partition_indexes.clone());
        topics.as_ref().map(|topics| topics.iter().map(one).collect())
    };
    let found: Vec<(ErrorCode, Found)> = body
        .groups
        .iter()
        .map(|group| {
            let topics = wanted(&group.topics);
            let borrowed =
                topics.as_ref().map(|topics| topics.iter().map(|(name, p)| (name.as_str(), p.as_slice())).collect());
            find(context, group.group_id, borrowed)
        })
        .collect();
    let partition = |(index, committed): &'_ (i32, Option<CommittedOffset>)| {
        let (committed_offset, committed_leader_epoch) = told(committed.as_ref());
        OffsetFetchResponsePartitions {
            partition_index: *index,
            committed_offset,
            committed_leader_epoch,
            ..Default::default()
        }
    };
    let groups = body.groups.iter().zip(&found).map(|(group, (code, found))| OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics: found
            .iter()
            .map(|(name, partitions)| OffsetFetchResponseTopics {
                name,
                partitions: partitions
                    .iter()
                    .map(|of| OffsetFetchResponsePartitions { metadata: Some(metadata(of)), ..partition(of) })
                    .collect(),
            })
            .collect(),
        error_code: code.code(),
    });
    request.answer(&OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
}

fn one(context: &Context, request: &Request, body: &OffsetFetchRequest<'_>) -> Result<Vec<u8>, Failed> {
    let one = |topic: &'_ OffsetFetchRequestTopic<'_>| (topic.name.to_owned(), topic.partition_indexes.clone());
    let topics: Option<Vec<(String, Vec<i32>)>> = body.topics.as_ref().map(|topics| topics.iter().map(one).collect());
    let borrowed = topics.as_ref().map(|topics| topics.iter().map(|(name, p)| (name.as_str(), p.as_slice())).collect());
    let (code, found) = find(context, body.group_id, borrowed);
    let topics = found.iter().map(|(name, partitions)| OffsetFetchResponseTopic {
        name,
        partitions: partitions
            .iter()
            .map(|of| {
                let (committed_offset, committed_leader_epoch) = told(of.1.as_ref());
                OffsetFetchResponsePartition {
                    partition_index: of.0,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata(of)),
                    ..Default::default()
                }
            })
            .collect(),
    });
    let response = OffsetFetchResponse { topics: topics.collect(), error_code: code.code(), ..Default::default() };
    request.answer(&response)
}

fn find(context: &Context, group: &str, wanted: Wanted<'_>) -> (ErrorCode, Found) {
    if group.is_empty() {
        return (ErrorCode::InvalidGroupId, Vec::new());
    }
    let broker = &context.broker;
    let Some(wanted) = wanted else {
        let mut found: BTreeMap<String, Vec<(i32, Option<CommittedOffset>)>> = BTreeMap::new();
        for (topic, index, committed) in broker.committed_offsets(group) {
            if let Some(topic) = broker.topic_by_id(topic) {
                found.entry(topic.name.clone()).or_default().push((index, Some(committed)));
            }
        }
        return (ErrorCode::None, found.into_iter().collect());
    };
    let one = |(name, indexes): (&str, &[i32])| {
        let topic = broker.topic(name);
        let of = |index: &i32| (*index, topic.as_ref().and_then(|topic| broker.committed_offset(group, topic, *index)));
        (name.to_owned(), indexes.iter().map(of).collect())
    };
    (ErrorCode::None, wanted.into_iter().map(one).collect())
}

/// Offset and leader epoch on the wire; −1 where nothing is committed.
fn told(committed: Option<&CommittedOffset>) -> (i64, i32) {
    committed.map_or((-1, -1), |committed| (committed.offset, committed.leader_epoch))
}

fn metadata((_, committed): &(i32, Option<CommittedOffset>)) -> &str {
    committed.as_ref().map_or("", |committed| &committed.metadata)
}
