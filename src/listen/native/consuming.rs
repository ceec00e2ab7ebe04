//! Fetches and subscriptions: batches read from the broker, handed out as native records.
//!
//! Invariants: one answer holds at most what the client asked for, what it takes, and [`limits::FETCH_BYTES_MAX`], and
//! its memory comes from the shared budget; a batch that cannot be decoded is an error, never a silent gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::errors::of_fetch;
use super::requests::{Call, Failure, Told, no_partition};
use crate::broker::{FetchError, Granted, Right, right};
use crate::frame::client_message::Fetch;
use crate::frame::gateway_message::{Offsets, RecordSet};
use crate::frame::{ErrorCode, GatewayMessage, Headers, Position, Record, Records, RecordsWriter};
use crate::limits;
use crate::metrics::METRICS;
use crate::record::{BatchError, BatchView, RecordRef, VerifyLimits, decompress, records};
use crate::store::{PartitionHead, PartitionId};

/// Bytes that a record set takes beside its records.
const SET_BYTES: usize = 64;
/// How long a subscription waits for records before it looks whether its partition is still there.
const WAIT: Duration = Duration::from_secs(60);

/// What a fetch asks for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    partition: u32,
    from: Position,
    bytes_max: usize,
    bytes_min: usize,
    wait: Duration,
}

impl Wanted {
    pub(super) fn of(fetch: &Fetch<'_>) -> Self {
        let bytes_max = (fetch.bytes_max as usize).clamp(1, limits::FETCH_BYTES_MAX);
        let wait_ms = u64::from(fetch.wait_ms).min(limits::FETCH_WAIT_MS_MAX);
        Self {
            partition: fetch.partition,
            from: fetch.from,
            bytes_max,
            bytes_min: (fetch.bytes_min as usize).min(bytes_max),
            wait: Duration::from_millis(wait_ms),
        }
    }
}

/// Serves a fetch: waits for `bytes_min` of batches, at most for `wait`.
pub(super) async fn fetch(call: Call, topic: String, wanted: Wanted) -> Told {
    let topic = match call.topic::<right::Read>(&topic) {
        Ok(topic) => topic,
        Err(failure) => return Ok(Err(failure)),
    };
    let (partition, offset) = match locate(&call, &topic, wanted.partition, wanted.from).await {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    let deadline = Instant::now() + wanted.wait;
    loop {
        let permit = call.context.answers.take(wanted.bytes_max).await;
        let seen = call.context.broker.seen(partition);
        let set = match read(&call, &topic, partition, offset, wanted.bytes_max).await {
            Ok(set) => set,
            Err(failure) => return Ok(Err(failure)),
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if set.bytes.len() >= wanted.bytes_min || left.is_zero() {
            set.count();
            return call.outbox.send(GatewayMessage::Records(set.message(call.id))).await.map(Ok);
        }
        let short = wanted.bytes_min - set.bytes.len();
        // Memory is not held while waiting: what was read is read again, once there is enough.
        drop((set, permit));
        call.context.broker.wait_for_bytes(seen.as_slice(), short as u64, left).await;
    }
}

/// Serves a subscription until its client or the partition goes.
pub(super) async fn push(
    call: Call,
    topic: Granted<right::Read>,
    index: u32,
    from: Position,
    credit: Arc<Credit>,
) -> Told {
    let (partition, mut offset) = match locate(&call, &topic, index, from).await {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    // For one request it was granted; each push is another.
    let topic = Arc::clone(topic.topic());
    loop {
        call.context.broker.wait_for_records(&[(partition, offset)], WAIT).await;
        let granted = match call.access.again(&topic) {
            Ok(granted) => granted,
            Err(denied) => return Ok(Err(denied.into())),
        };
        let bytes_max = credit.available().await.min(limits::FETCH_BYTES_MAX);
        let _permit = call.context.answers.take(bytes_max).await;
        let set = match read(&call, &granted, partition, offset, bytes_max).await {
            Ok(set) => set,
            Err(failure) => return Ok(Err(failure)),
        };
        if set.next_offset == offset {
            continue;
        }
        offset = set.next_offset;
        credit.spend(set.bytes.len());
        set.count();
        call.outbox.send(GatewayMessage::Push(set.message(call.id))).await?;
    }
}

/// Serves ListOffsets.
pub(super) async fn list_offsets(call: Call, topic: String, index: u32, at: Position) -> Told {
    let topic = match call.topic::<right::Describe>(&topic) {
        Ok(topic) => topic,
        Err(failure) => return Ok(Err(failure)),
    };
    let (partition, offset) = match locate(&call, &topic, index, at).await {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    let head = match call.access.head(&topic, partition) {
        Ok(head) => head,
        Err(error) => return Ok(Err(failed(&error))),
    };
    let (log_start, high_watermark) = (head.log_start, head.readable_end());
    let offsets = Offsets { id: call.id, log_start, high_watermark, offset };
    call.outbox.send(GatewayMessage::Offsets(offsets)).await.map(Ok)
}

/// How much more may be pushed.
#[derive(Debug)]
pub(super) struct Credit {
    bytes: AtomicI64,
    added: Event,
}

impl Credit {
    pub(super) fn new(bytes: u32) -> Self {
        Self { bytes: AtomicI64::new(i64::from(bytes)), added: Event::new() }
    }

    pub(super) fn add(&self, bytes: u32) {
        // A client that adds without end gets no more than it can be sent.
        let _ = self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, |credit| {
            Some(credit.saturating_add(i64::from(bytes)).min(i64::from(u32::MAX)))
        });
        self.added.notify(usize::MAX);
    }

    fn spend(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes as i64, Ordering::AcqRel);
    }

    /// Waits until there is some, and tells how much.
    async fn available(&self) -> usize {
        loop {
            let added = self.added.listen();
            match usize::try_from(self.bytes.load(Ordering::Acquire)) {
                Ok(bytes) if bytes > 0 => return bytes,
                _ => added.await,
            }
        }
    }
}

/// The store's partition and the offset that a position is.
async fn locate<R: Right>(
    call: &Call,
    topic: &Granted<R>,
    index: u32,
    from: Position,
) -> Result<(PartitionId, i64), Failure> {
    let index = i32::try_from(index).unwrap_or(i32::MAX);
    let partition = topic.partition(index).ok_or_else(|| no_partition(topic, index))?;
    let access = &call.access;
    let head = access.head(topic, partition).map_err(|error| failed(&error))?;
    let offset = match from {
        Position::Offset(offset) => offset,
        Position::Beginning => head.log_start,
        Position::End => head.readable_end(),
        Position::Time(time) => {
            let found = access.offset_for_time(topic, partition, time).await.map_err(|error| failed(&error))?;
            found.map_or(head.readable_end(), |(offset, _)| offset)
        }
    };
    Ok((partition, offset))
}

/// Records that were read, encoded.
struct Set {
    head: PartitionHead,
    base_offset: i64,
    next_offset: i64,
    bytes: Vec<u8>,
}

impl Set {
    /// They are on their way.
    fn count(&self) {
        let records = Records::parse(&self.bytes).map_or(0, |records| records.len());
        METRICS.records_out_native.add(records as u64);
        METRICS.bytes_out_native.add(self.bytes.len() as u64);
    }

    fn message(&self, id: u32) -> RecordSet<'_> {
        RecordSet {
            id,
            log_start: self.head.log_start,
            high_watermark: self.head.readable_end(),
            next_offset: self.next_offset,
            base_offset: self.base_offset,
            // Written by the codec just now.
            records: Records::parse(&self.bytes).unwrap_or(Records::EMPTY),
        }
    }
}

/// Reads records from `offset` on into at most `bytes_max`; one comes even if it is larger, if the client takes it.
async fn read(
    call: &Call,
    topic: &Granted<right::Read>,
    partition: PartitionId,
    offset: i64,
    bytes_max: usize,
) -> Result<Set, Failure> {
    let read = call.access.fetch(topic, partition, offset, bytes_max).await.map_err(|error| failed(&error))?;
    let peer_max = call.peer_bytes_max.saturating_sub(SET_BYTES);
    let set = |(next_offset, bytes)| Set { head: read.head, base_offset: offset, next_offset, bytes };
    let encoded = encode(&read.bytes, offset, bytes_max.min(peer_max)).map_err(damaged)?;
    if let Some(encoded) = encoded {
        return Ok(set(encoded));
    }
    // The first record is larger than what was asked for.
    let largest =
        peer_max.min(limits::BATCH_DECOMPRESSED_BYTES_MAX as usize).min(crate::frame::FRAME_BYTES_MAX - SET_BYTES);
    encode(&read.bytes, offset, largest).map_err(damaged)?.map(set).ok_or_else(|| {
        let text =
            format!("the record at offset {offset} or behind it is larger than the {peer_max} bytes this client takes");
        Failure::new(ErrorCode::FrameTooLarge, text)
    })
}

/// The records of `batches` from `offset` on, as many as fit into `bytes_max`, and the offset to read on from; `None` if
/// not even the first fits.
fn encode(batches: &[u8], offset: i64, bytes_max: usize) -> Result<Option<(i64, Vec<u8>)>, BatchError> {
    let mut buffer = vec![0; bytes_max];
    let mut writer = RecordsWriter::for_fetch(&mut buffer, offset);
    let mut next_offset = offset;
    let mut rest = batches;
    'batches: while !rest.is_empty() {
        let (batch, behind) = BatchView::parse(rest)?;
        let payload = decompress(&batch, &LIMITS)?;
        for record in records(&batch, &payload) {
            let record = record?;
            let record_offset = record.offset;
            if record_offset < offset {
                continue;
            }
            if !write(&mut writer, record) {
                break 'batches;
            }
            next_offset = record_offset + 1;
        }
        next_offset = next_offset.max(batch.next_offset());
        rest = behind;
    }
    if next_offset == offset && !batches.is_empty() {
        return Ok(None);
    }
    let length = writer.finish().bytes().len();
    buffer.truncate(length);
    Ok(Some((next_offset, buffer)))
}

fn write(writer: &mut RecordsWriter<'_>, record: RecordRef<'_>) -> bool {
    let headers: Vec<_> = record.headers.collect();
    let native = Record {
        offset: record.offset,
        timestamp: Some(record.timestamp),
        key: record.key,
        value: record.value,
        headers: Headers::of(&headers),
    };
    writer.push(&native).is_ok()
}

/// What was stored has been verified; these bounds are for what a disk may have done to it.
const LIMITS: VerifyLimits = VerifyLimits {
    batch_bytes_max: limits::BATCH_BYTES_MAX,
    decompressed_bytes_max: limits::BATCH_DECOMPRESSED_BYTES_MAX,
    ratio_max: limits::DECOMPRESSION_RATIO_MAX,
    control_allowed: true,
};

fn failed(error: &FetchError) -> Failure {
    Failure::new(of_fetch(error), error)
}

fn damaged(error: BatchError) -> Failure {
    Failure::new(ErrorCode::StoreFailed, format!("a stored batch cannot be read: {error}; run brooklet fsck"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Compression, NO_HEADERS, header};

    fn batch(base_offset: i64, values: &[&[u8]]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for (i, value) in values.iter().enumerate() {
            builder.push(i as i64, None, Some(value), NO_HEADERS).unwrap();
        }
        let mut batch = builder.finish(Compression::Zstd);
        header::set_base_offset(&mut batch, base_offset);
        batch
    }

    #[test]
    fn records_come_from_the_middle_of_a_batch_and_over_gaps() {
        let mut batches = batch(10, &[b"a", b"b", b"c"]);
        batches.extend(batch(20, &[b"d"]));
        let (next, bytes) = encode(&batches, 11, 1_000).unwrap().unwrap();
        let set = RecordSet {
            id: 1,
            log_start: 0,
            high_watermark: 21,
            next_offset: next,
            base_offset: 11,
            records: Records::parse(&bytes).unwrap(),
        };
        let got: Vec<_> = set.iter().map(|r| (r.offset, r.value.unwrap().to_vec())).collect();
        assert_eq!(got, [(11, b"b".to_vec()), (12, b"c".to_vec()), (20, b"d".to_vec())]);
        assert_eq!(next, 21);
    }

    #[test]
    fn what_does_not_fit_is_read_next_time() {
        let batches = batch(0, &[&[1; 100], &[2; 100], &[3; 100]]);
        let (next, bytes) = encode(&batches, 0, 250).unwrap().unwrap();
        assert_eq!((next, Records::parse(&bytes).unwrap().len()), (2, 2));
        assert!(encode(&batches, 0, 50).unwrap().is_none());
    }
}
