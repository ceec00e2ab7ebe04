//! OffsetForLeaderEpoch: where an epoch ends, from the store's boot-epoch table (KIP-101, KIP-320).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use crate::broker::{Access, Granted, TopicError, right};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: OffsetForLeaderEpochRequest<'_> = request.body()?;
        let topics = body
            .topics
            .iter()
            .map(|topic| {
                let found = request.access.topic(topic.topic);
                let look_up = |p| look_up(&context, &request.access, &found, p);
                OffsetForLeaderTopicResult {
                    topic: topic.topic,
                    partitions: topic.partitions.iter().map(look_up).collect(),
                }
            })
            .collect();
        Ok(ready(request.answer(&OffsetForLeaderEpochResponse { topics, ..Default::default() })?))
    })
}

fn look_up(
    context: &Context,
    access: &Access,
    topic: &Result<Granted<right::Describe>, TopicError>,
    wanted: &OffsetForLeaderPartition,
) -> EpochEndOffset {
    let mut result = EpochEndOffset { partition: wanted.partition, ..Default::default() };
    let partition = topic
        .as_ref()
        .map_err(of_topic)
        .and_then(|topic| Ok((topic, topic.partition(wanted.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?)));
    let (topic, id) = match partition {
        Ok(found) => found,
        Err(code) => {
            result.error_code = code.code();
            return result;
        }
    };
    if let Err(code) = super::check_epoch(context, wanted.current_leader_epoch) {
        result.error_code = code.code();
    } else if let Ok(epoch) = u32::try_from(wanted.leader_epoch)
        && let Some((epoch, end_offset)) = access.epoch_end(topic, id, epoch)
    {
        result.leader_epoch = epoch as i32;
        result.end_offset = end_offset;
    }
    result
}
