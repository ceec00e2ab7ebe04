//! OffsetForLeaderEpoch: where an epoch ends, from the store's boot-epoch table (KIP-101, KIP-320).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::request::{Failed, Later, Request, ready};
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
            .map(|topic| OffsetForLeaderTopicResult {
                topic: topic.topic,
                partitions: topic.partitions.iter().map(|p| look_up(&context, topic.topic, p)).collect(),
            })
            .collect();
        Ok(ready(request.answer(&OffsetForLeaderEpochResponse { topics, ..Default::default() })?))
    })
}

fn look_up(context: &Context, topic: &str, wanted: &OffsetForLeaderPartition) -> EpochEndOffset {
    let broker = &context.broker;
    let mut result = EpochEndOffset { partition: wanted.partition, ..Default::default() };
    let Some(id) = broker.topic(topic).and_then(|topic| topic.partition(wanted.partition)) else {
        result.error_code = ErrorCode::UnknownTopicOrPartition.code();
        return result;
    };
    if let Err(code) = super::check_epoch(context, wanted.current_leader_epoch) {
        result.error_code = code.code();
    } else if let Ok(epoch) = u32::try_from(wanted.leader_epoch)
        && let Some((epoch, end_offset)) = broker.store().epoch_end(id, epoch)
    {
        result.leader_epoch = epoch as i32;
        result.end_offset = end_offset;
    }
    result
}
