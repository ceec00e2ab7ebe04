//! OffsetCommit: a group's positions, durable before the answer. It is done before the next request of the connection
//! begins, so that a member that commits and then joins again commits in its old generation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::{of_offset, of_topic};
use super::request::{Failed, Later, Request, ready};
use crate::broker::groups::{Claim, Membership};
use crate::broker::{CommittedOffset, Granted, TopicError, TopicId, right};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};
use crate::limits;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(request))
}

async fn answer(request: Request) -> Result<Later, Failed> {
    let body: OffsetCommitRequest<'_> = request.body()?;
    let mut offsets = Vec::new();
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let known = request.access.topic(topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let code = match place(&known, index).and_then(|id| check(partition, id)) {
                Ok(offset) => {
                    offsets.push(offset);
                    ErrorCode::None
                }
                Err(code) => code,
            };
            partitions.push(OffsetCommitResponsePartition { partition_index: index, error_code: code.code() });
        }
        topics.push(OffsetCommitResponseTopic { name: topic.name, partitions });
    }
    let claim = Claim { member_id: body.member_id.to_owned(), instance_id: body.group_instance_id.map(str::to_owned) };
    let membership = Membership { claim, generation: body.generation_id_or_member_epoch };
    let committed = request.access.commit_offsets(body.group_id, Some(membership), offsets).await;
    if let Err(error) = committed {
        let code = of_offset(&error).code();
        for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            if partition.error_code == 0 {
                partition.error_code = code;
            }
        }
    }
    Ok(ready(request.answer(&OffsetCommitResponse { topics, ..Default::default() })?))
}

/// The topic, if it may be read and has that partition.
fn place(topic: &Result<Granted<right::Read>, TopicError>, index: i32) -> Result<TopicId, ErrorCode> {
    let topic = topic.as_ref().map_err(of_topic)?;
    topic.partition(index).map(|_| topic.id).ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn check(
    partition: &OffsetCommitRequestPartition<'_>,
    topic: TopicId,
) -> Result<(TopicId, i32, CommittedOffset), ErrorCode> {
    let metadata = partition.committed_metadata.unwrap_or_default();
    if metadata.len() > limits::OFFSET_METADATA_BYTES_MAX {
        return Err(ErrorCode::OffsetMetadataTooLarge);
    }
    if partition.committed_offset < 0 {
        return Err(ErrorCode::InvalidRequest);
    }
    let committed = CommittedOffset {
        offset: partition.committed_offset,
        leader_epoch: partition.committed_leader_epoch,
        metadata: metadata.to_owned(),
    };
    Ok((topic, partition.partition_index, committed))
}
