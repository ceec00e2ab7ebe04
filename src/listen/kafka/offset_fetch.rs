//! OffsetFetch: committed positions, of one group (up to version 7) or of many; null asks for all of a group.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_denied;
use super::request::{Failed, Later, Request, ready};
use crate::broker::rights::Denied;
use crate::broker::{Access, CommittedOffset, TopicError};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};

/// From this version on, a group has an error of its own; before, each partition has it.
const GROUP_ERROR: i16 = 2;
/// From this version on, many groups may be asked about.
const MANY: i16 = 8;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: OffsetFetchRequest<'_> = request.body()?;
        let bytes = if request.version >= MANY { many(&request, &body) } else { one(&request, &body) };
        Ok(ready(bytes?))
    })
}

/// A topic's name; partitions, in the order asked for, and what is committed there.
type Topic = (String, Vec<(i32, Committed)>);
type Committed = Result<Option<CommittedOffset>, ErrorCode>;
/// What was found of a group, or why not.
type Found = Result<Vec<Topic>, ErrorCode>;

fn many(request: &Request, body: &OffsetFetchRequest<'_>) -> Result<Vec<u8>, Failed> {
    let find_group = |group: &OffsetFetchRequestGroup<'_>| {
        let asked = group
            .topics
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (topic.name, topic.partition_indexes.as_slice())).collect());
        find_group(&request.access, group.group_id, asked)
    };
    let found: Vec<Found> = body.groups.iter().map(find_group).collect();
    let groups = body.groups.iter().zip(&found).map(|(group, found)| OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics: found.iter().flatten().map(topic_of_many).collect(),
        error_code: code(found),
    });
    request.answer(&OffsetFetchResponse { groups: groups.collect(), ..Default::default() })
}

fn topic_of_many((name, partitions): &Topic) -> OffsetFetchResponseTopics<'_> {
    OffsetFetchResponseTopics {
        name,
        partitions: partitions
            .iter()
            .map(|(index, committed)| {
                let (committed_offset, committed_leader_epoch, metadata, error_code) = told(committed);
                OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata),
                    error_code,
                }
            })
            .collect(),
    }
}

fn one(request: &Request, body: &OffsetFetchRequest<'_>) -> Result<Vec<u8>, Failed> {
    let asked: Option<Vec<(&str, &[i32])>> = body
        .topics
        .as_ref()
        .map(|topics| topics.iter().map(|topic| (topic.name, topic.partition_indexes.as_slice())).collect());
    let mut found = find_group(&request.access, body.group_id, asked.clone());
    if let (Err(code), true) = (&found, request.version < GROUP_ERROR) {
        let code = *code;
        let failed = |(name, indexes): (&str, &[i32])| {
            (name.to_owned(), indexes.iter().map(|index| (*index, Err(code))).collect())
        };
        found = Ok(asked.unwrap_or_default().into_iter().map(failed).collect());
    }
    let topics = found.iter().flatten().map(topic_of_one).collect();
    request.answer(&OffsetFetchResponse { topics, error_code: code(&found), ..Default::default() })
}

fn topic_of_one((name, partitions): &Topic) -> OffsetFetchResponseTopic<'_> {
    OffsetFetchResponseTopic {
        name,
        partitions: partitions
            .iter()
            .map(|(index, committed)| {
                let (committed_offset, committed_leader_epoch, metadata, error_code) = told(committed);
                OffsetFetchResponsePartition {
                    partition_index: *index,
                    committed_offset,
                    committed_leader_epoch,
                    metadata: Some(metadata),
                    error_code,
                }
            })
            .collect(),
    }
}

/// The error of a group as a whole.
fn code(found: &Found) -> i16 {
    found.as_ref().err().map_or(0, |code| code.code())
}

/// What a group has committed: of the topics and partitions asked for, or everywhere.
fn find_group(access: &Access, group: &str, asked: Option<Vec<(&str, &[i32])>>) -> Found {
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    access.allow_see_group(group).map_err(|denied| of_denied(&denied))?;
    match asked {
        None => all(access, group).map_err(|denied| of_denied(&denied)),
        Some(topics) => Ok(topics.into_iter().map(|(name, indexes)| find(access, group, name, indexes)).collect()),
    }
}

/// All that a group has committed, of topics that are still there.
fn all(access: &Access, group: &str) -> Result<Vec<Topic>, Denied> {
    let mut found: BTreeMap<String, Vec<(i32, Committed)>> = BTreeMap::new();
    for (topic, index, committed) in access.committed_offsets(group)? {
        found.entry(topic).or_default().push((index, Ok(Some(committed))));
    }
    Ok(found.into_iter().collect())
}

fn find(access: &Access, group: &str, name: &str, indexes: &[i32]) -> Topic {
    let topic = access.topic(name);
    let of = |index: &i32| {
        let committed = match &topic {
            Ok(topic) => access.committed_offset(group, topic, *index).map_err(|denied| of_denied(&denied)),
            // What isn't there has nothing committed.
            Err(TopicError::Denied(denied)) => Err(of_denied(denied)),
            Err(_) => Ok(None),
        };
        (*index, committed)
    };
    (name.to_owned(), indexes.iter().map(of).collect())
}

/// Offset, leader epoch, note and error on the wire; −1 where nothing is committed.
fn told(committed: &Committed) -> (i64, i32, &str, i16) {
    match committed {
        Ok(Some(committed)) => (committed.offset, committed.leader_epoch, &committed.metadata, 0),
        Ok(None) => (-1, -1, "", 0),
        Err(code) => (-1, -1, "", code.code()),
    }
}
