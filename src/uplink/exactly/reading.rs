//! Reading a partition upstream from one place to another. Nothing here retries or decides.

use super::committed::Committed;
use super::requests::checked;
use super::resuming::Chunk;
use super::trouble::Failure;
use crate::kafka::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use crate::kafka::header::read_response;
use crate::kafka::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic};
use crate::uplink::link::cluster::Link;

/// Bytes of one answer. One batch comes even if it is larger.
pub(in crate::uplink) const READ_BYTES: i32 = 256 * 1024;
/// How long a broker waits for records that are not there yet, or hidden.
const READ_WAIT_MS: i32 = 500;
/// Records of committed transactions only.
const READ_COMMITTED: i8 = 1;

/// A partition upstream.
type Source<'a> = (&'a str, i32);

/// The first or last offset of a partition, by the timestamp that ListOffsets has for it.
pub(in crate::uplink) async fn edge(link: &Link, source: Source<'_>, timestamp: i64) -> Result<i64, Failure> {
    let asked = ListOffsetsPartition { partition_index: source.1, timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: source.0, partitions: vec![asked] }];
    let request = ListOffsetsRequest { isolation_level: 0, topics, ..Default::default() };
    let told = link.ask(&request, |version, frame| {
        let (_, told) = read_response::<ListOffsetsResponse<'_>>(version, frame)?;
        let partition = told.topics.first().and_then(|topic| topic.partitions.first());
        Ok(partition.map_or((-1, -1), |partition| (partition.error_code, partition.offset)))
    });
    let (code, offset) = told.await.map_err(Failure::of)?;
    checked(code)?;
    Ok(offset.max(0))
}

/// The records with keys from `from` on, which `log` continues, in about so many bytes.
pub(in crate::uplink) async fn read(
    link: &Link,
    source: Source<'_>,
    from: i64,
    mut log: Committed,
    bytes_max: i32,
) -> Result<Chunk, Failure> {
    let asked = FetchPartition {
        partition: source.1,
        fetch_offset: from,
        partition_max_bytes: bytes_max,
        ..Default::default()
    };
    let request = FetchRequest {
        max_wait_ms: READ_WAIT_MS,
        min_bytes: 1,
        max_bytes: bytes_max,
        isolation_level: READ_COMMITTED,
        topics: vec![FetchTopic { topic: source.0, partitions: vec![asked] }],
        ..Default::default()
    };
    let told = link.ask(&request, |version, frame| {
        let (_, told) = read_response::<FetchResponse<'_>>(version, frame)?;
        let partition = told.responses.first().and_then(|topic| topic.partitions.first());
        let Some(partition) = partition else {
            return Ok(Err(Failure::code(if told.error_code == 0 { -1 } else { told.error_code })));
        };
        if partition.error_code != 0 {
            return Ok(Err(Failure::code(partition.error_code)));
        }
        Ok(match log.take(partition) {
            Ok(records) => Ok(Chunk {
                records,
                log: Some(log),
                high_watermark: partition.high_watermark,
                bytes: frame.len() as u64,
            }),
            Err(error) => Err(Failure { code: Some(2), text: error.to_string() }),
        })
    });
    told.await.map_err(Failure::of)?
}
