//! DescribeLogDirs: the one directory that holds everything, and what each partition takes of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::request::{Failed, Later, Request, ready};
use crate::broker::Topic;
use crate::kafka::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeLogDirsRequest<'_> = request.body()?;
        let broker = &context.broker;
        let all =
            || broker.topics().into_iter().map(|topic| (Vec::from_iter(0..topic.partition_count() as i32), topic));
        let wanted: Vec<(Vec<i32>, Arc<Topic>)> = match &body.topics {
            None => all().collect(),
            // What is not here is left out, as Kafka does.
            Some(topics) => {
                topics.iter().filter_map(|t| Some((t.partitions.clone(), broker.topic(t.topic)?))).collect()
            }
        };
        let topics = wanted.iter().map(|(partitions, topic)| describe(&context, topic, partitions)).collect();
        let dir = broker.store().dir();
        let dir = dir.to_string_lossy();
        // The room that the store may take; of the file system it leaves the rest alone.
        let status = broker.store().status();
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let result = DescribeLogDirsResult {
            log_dir: &dir,
            topics,
            total_bytes: bytes(status.max_bytes),
            usable_bytes: bytes(status.max_bytes.saturating_sub(status.disk_bytes)),
            ..Default::default()
        };
        Ok(ready(request.answer(&DescribeLogDirsResponse { results: vec![result], ..Default::default() })?))
    })
}

fn describe<'a>(context: &Context, topic: &'a Topic, partitions: &[i32]) -> DescribeLogDirsTopic<'a> {
    let one = |index: &i32| {
        let bytes = context.broker.store().partition_bytes(topic.partition(*index)?)?;
        let partition_size = i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(DescribeLogDirsPartition { partition_index: *index, partition_size, ..Default::default() })
    };
    DescribeLogDirsTopic { name: &topic.name, partitions: partitions.iter().filter_map(one).collect() }
}
