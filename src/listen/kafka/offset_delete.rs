//! OffsetDelete: positions of a group in topics that none of its members reads.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::{of_group, of_offset, of_topic};
use super::request::{Failed, Later, Request, ready};
use crate::broker::groups::{GroupDescription, GroupError};
use crate::broker::right;
use crate::kafka::consumer_protocol::{PROTOCOL_TYPE, Subscription};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(request))
}

async fn answer(request: Request) -> Result<Later, Failed> {
    let body: OffsetDeleteRequest<'_> = request.body()?;
    let group = request.access.group_to_clear(body.group_id);
    let read = match group.and_then(|group| topics_read(&group)) {
        Ok(read) => read,
        Err(error) => {
            let error_code = of_group(&error).code();
            return Ok(ready(request.answer(&OffsetDeleteResponse { error_code, ..Default::default() })?));
        }
    };
    let mut doomed = Vec::new();
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        let known = request.access.topic::<right::Read>(topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in &topic.partitions {
            let index = wanted.partition_index;
            let code = match known.as_ref().map(|topic| (topic, topic.partition(index))) {
                Err(error) => of_topic(error),
                Ok((_, None)) => ErrorCode::UnknownTopicOrPartition,
                Ok(_) if read.contains(topic.name) => ErrorCode::GroupSubscribedToTopic,
                Ok((topic, Some(_))) => {
                    doomed.push((topic.id, index));
                    ErrorCode::None
                }
            };
            partitions.push(OffsetDeleteResponsePartition { partition_index: index, error_code: code.code() });
        }
        topics.push(OffsetDeleteResponseTopic { name: topic.name, partitions });
    }
    let error_code = match request.access.delete_offsets(body.group_id, doomed).await {
        Ok(()) => 0,
        Err(error) => of_offset(&error).code(),
    };
    Ok(ready(request.answer(&OffsetDeleteResponse { error_code, topics, ..Default::default() })?))
}

/// What the members of a group are subscribed to. Of groups of other types that isn't known: they must be empty.
fn topics_read(group: &GroupDescription) -> Result<BTreeSet<String>, GroupError> {
    if group.members.is_empty() {
        return Ok(BTreeSet::new());
    }
    if group.protocol_type != PROTOCOL_TYPE {
        return Err(GroupError::NotEmpty);
    }
    let mut topics = BTreeSet::new();
    for member in &group.members {
        // Who isn't understood may read anything; while there is no protocol, nothing is known of anyone.
        let subscription = Subscription::decode(&member.metadata).map_err(|_| GroupError::Subscribed)?;
        topics.extend(subscription.topics.into_iter().map(str::to_owned));
    }
    Ok(topics)
}
