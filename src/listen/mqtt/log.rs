//! Records of the log as messages: which partitions may hold something for a filter, and what is in them from an offset on.
//!
//! Invariant: what a read takes in memory is bounded by [`CHUNK_BYTES`], or one batch.

use std::sync::Arc;
use std::time::Duration;

use super::Context;
use super::message::Message;
use super::session::Positions;
use crate::broker::{Access, FetchError, Granted, Topic, right};
use crate::limits;
use crate::metrics::METRICS;
use crate::record::{BatchError, BatchView, VerifyLimits, decompress, records};
use crate::store::PartitionId;

/// Bytes of batches that are read at a time; one batch comes even if it is larger.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;
/// How often one message is tried to be read again.
const ATTEMPTS: u32 = 3;
/// Pause after something in the store failed.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Batches that were read.
pub(super) struct Read {
    bytes: Vec<u8>,
    /// The first offset that is wanted of them.
    from: i64,
    /// The offset behind all of it.
    pub(super) next: i64,
}

/// The topics that hold messages for somebody: those that the gateway keeps for itself don't.
pub(super) fn topics(access: &Access) -> impl Iterator<Item = Granted<right::Read>> {
    let topics: Vec<Granted<right::Read>> = access.topics();
    topics.into_iter().filter(|topic| !topic.is_internal())
}

/// The partitions that may hold something for `pattern`, and where each ends.
pub(super) fn ends(context: &Context, access: &Access, pattern: &str) -> Positions {
    let rules = &context.options().rules;
    let mut ends = Positions::default();
    for topic in topics(access).filter(|topic| rules.may_hold(pattern, &topic.name)) {
        let end = |p: &PartitionId| Some((p.0, access.head(&topic, *p).ok()?.readable_end()));
        ends.extend(topic.partitions.iter().filter_map(end));
    }
    ends
}

/// The first offset that a partition still has; 0 if it is unknown.
pub(super) fn start(access: &Access, (topic, partition): (&Arc<Topic>, PartitionId)) -> i64 {
    let topic = access.again::<right::Read>(topic).ok();
    topic.and_then(|topic| access.head(&topic, partition).ok()).map_or(0, |head| head.log_start)
}

/// Where a partition ends now; 0 if it is unknown.
pub(super) fn end(access: &Access, (topic, partition): (&Arc<Topic>, PartitionId)) -> i64 {
    let topic = access.again::<right::Read>(topic).ok();
    topic.and_then(|topic| access.head(&topic, partition).ok()).map_or(0, |head| head.readable_end())
}

/// Reads a partition from `offset` on for `reader`; `None` if there is nothing. `evicted` is told where it begins if what was to be
/// read first is gone.
pub(super) async fn read(
    context: &Context,
    access: &Access,
    reader: &str,
    (topic, partition): (&Arc<Topic>, PartitionId),
    offset: i64,
    evicted: impl FnOnce(i64),
) -> Option<Read> {
    let granted = access.again(topic).ok()?;
    let head = access.head(&granted, partition).ok()?;
    let from = offset.max(head.log_start);
    if from > offset {
        METRICS.mqtt_evicted.add(from.abs_diff(offset));
        let gone = from - offset;
        ::log::warn!("mqtt: {reader}: {gone} records of {} were evicted before they could be delivered", topic.name);
        evicted(from);
    }
    if from >= head.readable_end() {
        return None;
    }
    let _permit = context.deliveries.take(CHUNK_BYTES).await;
    match access.fetch(&granted, partition, from, CHUNK_BYTES).await {
        Ok(read) => Some(Read { bytes: read.bytes.to_vec(), from, next: read.next_offset }),
        // Evicted in between: the next look sees it.
        Err(FetchError::OutOfRange(_)) => None,
        Err(error) => {
            ::log::error!("mqtt: {} can't be read: {error}", topic.name);
            smol::Timer::after(PAUSE).await;
            None
        }
    }
}

impl Read {
    /// Hands each message on, with its offset.
    pub(super) fn each(&self, kafka_topic: &str, mut take: impl FnMut(i64, Message)) {
        let taken = each_message(&self.bytes, kafka_topic, |offset, message| {
            if offset >= self.from {
                take(offset, message);
            }
        });
        if let Err(error) = taken {
            ::log::error!("mqtt: a stored batch of {kafka_topic} can't be read: {error}; run brooklet fsck");
        }
    }
}

/// One message again; `None` if it is gone, or can't be read in several attempts.
pub(super) async fn find(access: &Access, partition: PartitionId, offset: i64) -> Option<Message> {
    let (topic, _) = access.topic_of(partition)?;
    let mut attempts = 0;
    let read = loop {
        match access.fetch(&topic, partition, offset, 1).await {
            Ok(read) => break read,
            Err(FetchError::Store(error)) if attempts < ATTEMPTS => {
                ::log::error!("mqtt: offset {offset} of {} can't be read: {error}", topic.name);
                attempts += 1;
                smol::Timer::after(PAUSE).await;
            }
            Err(_) => return None,
        }
    };
    let mut found = None;
    let wanted = |at, message| {
        if at == offset {
            found = Some(message);
        }
    };
    each_message(&read.bytes, &topic.name, wanted).ok()?;
    found
}

fn each_message(batches: &[u8], kafka_topic: &str, mut take: impl FnMut(i64, Message)) -> Result<(), BatchError> {
    let mut rest = batches;
    while !rest.is_empty() {
        let (batch, behind) = BatchView::parse(rest)?;
        rest = behind;
        if batch.attributes().is_control() {
            continue;
        }
        let payload = decompress(&batch, &LIMITS)?;
        for record in records(&batch, &payload) {
            let record = record?;
            take(record.offset, Message::of_record(&record, kafka_topic));
        }
    }
    Ok(())
}

/// What was stored has been verified; these bounds are for what a disk may have done to it.
const LIMITS: VerifyLimits = VerifyLimits {
    batch_bytes_max: limits::BATCH_BYTES_MAX,
    decompressed_bytes_max: limits::BATCH_DECOMPRESSED_BYTES_MAX,
    ratio_max: limits::DECOMPRESSION_RATIO_MAX,
    control_allowed: true,
};
