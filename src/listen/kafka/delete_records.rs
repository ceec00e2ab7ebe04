//! DeleteRecords: moves the start of partitions forward.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use crate::broker::TopicError;
use crate::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use crate::kafka::error_code::ErrorCode;

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DeleteRecordsRequest<'_> = request.body()?;
        let mut topics = Vec::with_capacity(body.topics.len());
        for topic in &body.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                partitions.push(delete(&context, topic.name, partition).await);
            }
            topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
        }
        Ok(ready(request.answer(&DeleteRecordsResponse { topics, ..Default::default() })?))
    })
}

async fn delete(context: &Context, topic: &str, wanted: &DeleteRecordsPartition) -> DeleteRecordsPartitionResult {
    let broker = &context.broker;
    let partition = broker.topic(topic).and_then(|topic| topic.partition(wanted.partition_index));
    let deleted = match partition {
        None => Err(ErrorCode::UnknownTopicOrPartition),
        Some(partition) => broker.delete_records(partition, wanted.offset).await.map_err(|error| match &error {
            TopicError::Invalid(_) => ErrorCode::OffsetOutOfRange,
            other => of_topic(other),
        }),
    };
    let result = DeleteRecordsPartitionResult { partition_index: wanted.partition_index, ..Default::default() };
    match deleted {
        Ok(low_watermark) => DeleteRecordsPartitionResult { low_watermark, ..result },
        Err(code) => DeleteRecordsPartitionResult { error_code: code.code(), ..result },
    }
}
