//! ListOffsets: log start, high watermark, and offsets by time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::{of_fetch, of_topic};
use super::request::{Failed, Later, Request, ready};
use crate::broker::{Access, FetchError, Granted, right};
use crate::kafka::error_code::ErrorCode;
use crate::kafka::list_offsets::{
    EARLIEST, EARLIEST_LOCAL, LATEST, LATEST_TIERED, ListOffsetsPartition, ListOffsetsPartitionResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse, MAX_TIMESTAMP,
};

/// A topic that may be seen.
type Found = Granted<right::Describe>;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(answer(context, request))
}

async fn answer(context: Arc<Context>, request: Request) -> Result<Later, Failed> {
    let body: ListOffsetsRequest<'_> = request.body()?;
    let mut topics = Vec::with_capacity(body.topics.len());
    for topic in &body.topics {
        // One look for all partitions of it.
        let found = request.access.topic(topic.name);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let response = match unsupported(partition.timestamp, request.version) {
                true => failed(partition, ErrorCode::UnsupportedVersion),
                false => match &found {
                    Ok(topic) => look_up(&context, &request.access, topic, partition, body.isolation_level).await,
                    Err(error) => failed(partition, of_topic(error)),
                },
            };
            partitions.push(response);
        }
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    Ok(ready(request.answer(&ListOffsetsResponse { topics, ..Default::default() })?))
}

/// Whether a special timestamp has no meaning in this version.
fn unsupported(timestamp: i64, version: i16) -> bool {
    match timestamp {
        0.. | LATEST | EARLIEST => false,
        MAX_TIMESTAMP => version < 7,
        EARLIEST_LOCAL => version < 8,
        LATEST_TIERED => version < 9,
        _ => true,
    }
}

fn failed(wanted: &ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: wanted.partition_index,
        error_code: code.code(),
        ..Default::default()
    }
}

async fn look_up(
    context: &Context,
    access: &Access,
    topic: &Found,
    wanted: &ListOffsetsPartition,
    isolation_level: i8,
) -> ListOffsetsPartitionResponse {
    let partition_index = wanted.partition_index;
    match find(context, access, topic, wanted, isolation_level).await {
        Ok(Some((offset, timestamp))) => ListOffsetsPartitionResponse {
            partition_index,
            offset,
            timestamp,
            leader_epoch: epoch_at(access, topic, wanted.partition_index, offset).map_or(-1, |epoch| epoch as i32),
            ..Default::default()
        },
        Ok(None) => ListOffsetsPartitionResponse { partition_index, ..Default::default() },
        Err(code) => failed(wanted, code),
    }
}

/// The leader epoch of the record at `offset`.
fn epoch_at(access: &Access, topic: &Found, index: i32, offset: i64) -> Option<u32> {
    access.epoch_at(topic, topic.partition(index)?, offset)
}

/// Offset and timestamp (−1 where none was asked for); `None` where no record fits.
async fn find(
    context: &Context,
    access: &Access,
    topic: &Found,
    wanted: &ListOffsetsPartition,
    isolation_level: i8,
) -> Result<Option<(i64, i64)>, ErrorCode> {
    let code = |error: FetchError| of_fetch(&error);
    let partition = topic.partition(wanted.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    super::check_epoch(context, wanted.current_leader_epoch)?;
    let head = access.head(topic, partition).map_err(code)?;
    match wanted.timestamp {
        LATEST if isolation_level == 1 => Ok(Some((head.last_stable_offset, -1))),
        LATEST => Ok(Some((head.high_watermark, -1))),
        EARLIEST | EARLIEST_LOCAL => Ok(Some((head.log_start, -1))),
        // There is no tiered storage.
        LATEST_TIERED => Ok(None),
        MAX_TIMESTAMP => access.max_timestamp(topic, partition).await.map_err(code),
        timestamp => access.offset_for_time(topic, partition, timestamp).await.map_err(code),
    }
}
