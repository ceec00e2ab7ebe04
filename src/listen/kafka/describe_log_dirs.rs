//! DescribeLogDirs: the one directory that holds everything, and what each partition takes of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::Context;
use super::errors::of_denied;
use super::request::{Failed, Later, Request, ready};
use crate::broker::{Access, Granted, right};
use crate::kafka::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};

pub(super) fn handle(_: Arc<Context>, request: Request) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        let body: DescribeLogDirsRequest<'_> = request.body()?;
        let access = &request.access;
        let (dir, status) = match access.disk() {
            Ok(disk) => disk,
            Err(denied) => {
                let error_code = of_denied(&denied).code();
                return Ok(ready(request.answer(&DescribeLogDirsResponse { error_code, ..Default::default() })?));
            }
        };
        let all =
            || access.topics().into_iter().map(|topic| (Vec::from_iter(0..topic.partition_count() as i32), topic));
        let wanted: Vec<(Vec<i32>, Granted<right::Describe>)> = match &body.topics {
            None => all().collect(),
            // What is not here is left out, as Kafka does.
            Some(topics) => {
                topics.iter().filter_map(|t| Some((t.partitions.clone(), access.topic(t.topic).ok()?))).collect()
            }
        };
        let topics = wanted.iter().map(|(partitions, topic)| describe(access, topic, partitions)).collect();
        let dir = dir.to_string_lossy();
        // The room that the store may take; of the file system it leaves the rest alone.
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

fn describe<'a>(access: &Access, topic: &'a Granted<right::Describe>, partitions: &[i32]) -> DescribeLogDirsTopic<'a> {
    let one = |index: &i32| {
        let bytes = access.partition_bytes(topic, *index)?;
        let partition_size = i64::try_from(bytes).unwrap_or(i64::MAX);
        Some(DescribeLogDirsPartition { partition_index: *index, partition_size, ..Default::default() })
    };
    DescribeLogDirsTopic { name: &topic.name, partitions: partitions.iter().filter_map(one).collect() }
}
