//! DeleteRecords: moves the start of partitions forward.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_topic;
use super::request::{Failed, Later, Request, ready};
use crate::broker::{Access, Granted, TopicError, right};
use crate::kafka::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use crate::kafka::error_code::ErrorCode;

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DeleteRecordsRequest<'_> = request.body()?;
        let mut topics = Vec::with_capacity(body.topics.len());
        for topic in &body.topics {
            let found = request.access.topic(topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                partitions.push(delete(&request.access, &found, partition).await);
            }
            topics.push(DeleteRecordsTopicResult { name: topic.name, partitions });
        }
        Ok(ready(request.answer(&DeleteRecordsResponse { topics, ..Default::default() })?))
    })
}

async fn delete(
    access: &Access,
    topic: &Result<Granted<right::Delete>, TopicError>,
    wanted: &DeleteRecordsPartition,
) -> DeleteRecordsPartitionResult {
    let code = |error: &TopicError| match error {
        TopicError::Invalid(_) => ErrorCode::OffsetOutOfRange,
        other => of_topic(other),
    };
    let deleted = match topic.as_ref().map(|topic| (topic, topic.partition(wanted.partition_index))) {
        Err(error) => Err(code(error)),
        Ok((_, None)) => Err(ErrorCode::UnknownTopicOrPartition),
        Ok((topic, Some(partition))) => {
            access.delete_records(topic, partition, wanted.offset).await.map_err(|error| code(&error))
        }
    };
    let result = DeleteRecordsPartitionResult { partition_index: wanted.partition_index, ..Default::default() };
    match deleted {
        Ok(low_watermark) => DeleteRecordsPartitionResult { low_watermark, ..result },
        Err(code) => DeleteRecordsPartitionResult { error_code: code.code(), ..result },
    }
}
