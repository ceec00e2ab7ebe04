//! Fetch: batches as they lie, waiting for `min_bytes` of them up to `max_wait`. No fetch sessions (KIP-227): a client
//! that asks for one is answered session 0 and sends whole requests; one that goes on with a session, of another broker
//! at this address perhaps, is told that there is none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::Context;
use super::errors::{of_fetch, of_topic};
use super::request::{Answer, Failed, Later, Reply, Request};
use crate::broker::{Access, Granted, Seen, TopicError, right};
use crate::kafka::blob::Blob;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::fetch::{
    EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::limits;
use crate::listen::budget::Permit;
use crate::metrics::METRICS;
use crate::record::BatchView;
use crate::store::{PartitionHead, PartitionId};

pub(super) fn handle(
    context: Arc<Context>,
    request: Request,
) -> Pin<Box<dyn Future<Output = Result<Later, Failed>> + Send>> {
    Box::pin(async move {
        // Decoded again when its turn comes: the body borrows from the request.
        let _: FetchRequest<'_> = request.body()?;
        Ok(Box::pin(finish(context, request)) as Later)
    })
}

/// `session_epoch` of a request for a new session; −1 asks for none. Any later one goes on with a session.
const SESSION_EPOCH_FIRST: i32 = 0;

/// How long a fetch waits for memory.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most bytes of records (or one batch) in an answer for which there was no memory; one a connection.
const BYTES_WITHOUT_ROOM: usize = 32 * 1024;

/// One partition's share of an answer.
#[derive(Default)]
struct Share {
    code: i16,
    head: Option<PartitionHead>,
    diverging: EpochEndOffset,
    records: Vec<u8>,
    /// Where in the answer they belong.
    place: AtomicUsize,
    /// From when on to wait for more.
    seen: Option<Seen>,
}

async fn finish(context: Arc<Context>, request: Request) -> Answer {
    let body: FetchRequest<'_> = request.body()?;
    if body.session_epoch > SESSION_EPOCH_FIRST {
        let response =
            FetchResponse { error_code: ErrorCode::FetchSessionIdNotFound.code(), ..FetchResponse::default() };
        return Ok(Some(request.answer(&response)?.into()));
    }
    let bytes_max = usize::try_from(body.max_bytes).unwrap_or(0).min(limits::FETCH_BYTES_MAX);
    let bytes_min = usize::try_from(body.min_bytes).unwrap_or(0).min(bytes_max);
    let wait_ms = u64::try_from(body.max_wait_ms).unwrap_or(0).min(limits::FETCH_WAIT_MS_MAX);
    let deadline = Instant::now() + Duration::from_millis(wait_ms);
    let shares = loop {
        let (permit, bytes_max) = room(&context, bytes_max).await;
        let shares = read(&context, &request.access, &body, bytes_max).await;
        let bytes: usize = shares.iter().map(|share| share.records.len()).sum();
        let left = deadline.saturating_duration_since(Instant::now());
        let enough = bytes_min.min(bytes_max);
        if bytes >= enough || left.is_zero() || shares.iter().any(|share| share.code != 0) {
            break (shares, permit);
        }
        let seen: Vec<_> = shares.iter().filter_map(|share| share.seen).collect();
        // What was read so far is read again, once there is enough: memory is not held while waiting.
        drop((shares, permit));
        context.broker.wait_for_bytes(&seen, (enough - bytes) as u64, left).await;
    };
    let (shares, mut permit) = shares;
    let mut each = shares.iter();
    let responses = body
        .topics
        .iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.topic,
            // One share a partition, in the same order.
            partitions: topic.partitions.iter().zip(&mut each).map(|(p, share)| partition(p, share)).collect(),
        })
        .collect();
    let bytes = request.answer(&FetchResponse { responses, ..Default::default() })?;
    let records = shares.iter().map(|share| record_count(&share.records)).sum();
    METRICS.records_out_kafka.add(records);
    METRICS.bytes_out_kafka.add(shares.iter().map(|share| share.records.len() as u64).sum());
    let asides = shares.into_iter().filter(|share| !share.records.is_empty());
    let reply = Reply::with_asides(bytes, asides.map(|share| (share.place.into_inner(), share.records)).collect())?;
    if let Some(permit) = &mut permit {
        permit.keep(reply.len());
    }
    Ok(Some(reply.holding(permit)))
}

/// Records in batches that lie back to back, by their headers.
fn record_count(mut batches: &[u8]) -> u64 {
    let mut records = 0;
    while let Ok((batch, behind)) = BatchView::parse(batches) {
        records += u64::from(batch.record_count());
        batches = behind;
    }
    records
}

/// Memory for an answer, and how many bytes of records it may have. Where consumers that do not read hold all of it, an
/// answer goes without, and is small: they hold nobody else up.
async fn room(context: &Context, bytes_max: usize) -> (Option<Permit>, usize) {
    let taken = async { Some(context.answers.take(bytes_max).await) };
    let late = async {
        smol::Timer::after(PATIENCE).await;
        None
    };
    match taken.or(late).await {
        Some(permit) => (Some(permit), bytes_max),
        None => (None, bytes_max.min(BYTES_WITHOUT_ROOM)),
    }
}

/// Reads every partition once, in the order asked, until `bytes_max` is reached; the first batch comes whatever its size.
async fn read(context: &Context, access: &Access, body: &FetchRequest<'_>, bytes_max: usize) -> Vec<Share> {
    let mut shares = Vec::with_capacity(body.topics.iter().map(|topic| topic.partitions.len()).sum());
    let mut left = bytes_max;
    let mut nothing_yet = true;
    for topic in &body.topics {
        // One look for all partitions of it.
        let found = access.topic(topic.topic);
        for partition in &topic.partitions {
            let share = read_partition(context, access, &found, partition, left, nothing_yet).await;
            left = left.saturating_sub(share.records.len());
            nothing_yet &= share.records.is_empty();
            shares.push(share);
        }
    }
    shares
}

async fn read_partition(
    context: &Context,
    access: &Access,
    topic: &Result<Granted<right::Read>, TopicError>,
    wanted: &FetchPartition,
    bytes_left: usize,
    nothing_yet: bool,
) -> Share {
    let failed = |code: ErrorCode| Share { code: code.code(), ..Share::default() };
    let topic = match topic {
        Ok(topic) => topic,
        Err(error) => return failed(of_topic(error)),
    };
    let Some(id) = topic.partition(wanted.partition) else {
        return failed(ErrorCode::UnknownTopicOrPartition);
    };
    let head = || access.head(topic, id).ok();
    if let Err(code) = super::check_epoch(context, wanted.current_leader_epoch) {
        return failed(code);
    }
    if let Some(diverging) = diverging(access, topic, id, wanted) {
        return Share { diverging, head: head(), ..Share::default() };
    }
    let bytes_max = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(bytes_left);
    if bytes_max == 0 && !nothing_yet {
        return Share { head: head(), ..Share::default() };
    }
    let seen = access.seen(id);
    match access.fetch(topic, id, wanted.fetch_offset, bytes_max).await {
        // A batch larger than what is left comes only where nothing else does.
        Ok(read) if read.bytes.len() > bytes_max && !nothing_yet => Share { head: Some(read.head), ..Share::default() },
        Ok(read) => Share { head: Some(read.head), seen, records: read.bytes, ..Share::default() },
        Err(error) => Share { head: head(), ..failed(of_fetch(&error)) },
    }
}

/// Where the client's log and ours part, if they do (KIP-320, KIP-595).
fn diverging(
    access: &Access,
    topic: &Granted<right::Read>,
    id: PartitionId,
    wanted: &FetchPartition,
) -> Option<EpochEndOffset> {
    let last_fetched = u32::try_from(wanted.last_fetched_epoch).ok()?;
    let (epoch, end_offset) = access.epoch_end(topic, id, last_fetched)?;
    let parted = epoch < last_fetched || end_offset < wanted.fetch_offset;
    parted.then_some(EpochEndOffset { epoch: epoch as i32, end_offset })
}

fn partition<'a>(wanted: &FetchPartition, share: &'a Share) -> PartitionData<'a> {
    let unknown = PartitionHead { log_start: -1, high_watermark: -1, last_stable_offset: -1 };
    let head = share.head.unwrap_or(unknown);
    PartitionData {
        partition_index: wanted.partition,
        error_code: share.code,
        high_watermark: head.high_watermark,
        last_stable_offset: head.last_stable_offset,
        log_start_offset: head.log_start,
        diverging_epoch: share.diverging.clone(),
        // There are no transactions yet, so none was aborted.
        aborted_transactions: Some(Vec::new()),
        // Sent from where they lie: see `Reply`.
        records: Some(Blob::aside(&share.records, &share.place)),
        ..Default::default()
    }
}
