//! Record batches of Kafka producers on their way in: checked whole, deduplicated on the writer, appended as they came.

use super::Broker;
use super::call::unless_full;
use super::error::ProduceError;
use super::producers::{self, Verdict};
use super::ticket::{Answer, Ticket};
use super::topic::{TimestampType, Topic};
use crate::executor;
use crate::limits;
use crate::metrics::METRICS;
use crate::record::{self, BatchError, BatchView, SharedBytes, VerifyLimits, find_by_timestamp, header, verify};
use crate::store::{
    Committed, Draft, Operation, PartitionId, ProducerState, Refused, Space, Stamp, StoreError, producer_key,
};

/// What may be decompressed on a thread that serves, bytes: a millisecond of it.
const CHECKED_AT_ONCE_BYTES: u64 = 512 * 1024;

/// When a producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// When the records have their offsets: a power cut within the commit window loses them.
    Memory,
    /// When they are committed and fsynced.
    Flash,
    /// As `Flash`; that they have come upstream is told apart ([`Broker::upstream_offset`]).
    Upstream,
}

/// Where records came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first.
    pub base_offset: i64,
    /// First offset the partition has.
    pub log_start: i64,
    /// The gateway's time, ms since 1970, where the topic stamps records itself; else −1.
    pub log_append_time_ms: i64,
    /// Whether they had been appended before: this was a resend.
    pub duplicate: bool,
}

impl Broker {
    /// Checks a batch whole and queues it for `partition` of `topic`. Returns once it has its place in the order of
    /// appends, which is also the back-pressure; the ticket has the outcome.
    ///
    /// # Errors
    /// [`ProduceError::UnknownPartition`], `TooLarge`, `TooLargeUpstream`, `Corrupt`, `Timestamp`, or the store's. Later ones come by the ticket.
    pub async fn produce(
        &self,
        topic: &Topic,
        index: i32,
        batch: impl Into<SharedBytes>,
        acks: Acks,
    ) -> Result<Ticket<Appended>, ProduceError> {
        self.shared.check_open()?;
        let partition = topic.partition(index).ok_or(ProduceError::UnknownPartition)?;
        let refused = |_: &ProduceError| METRICS.batches_refused.add(1);
        let (batch, largest_record) = self.check_batch(topic, batch.into(), true).await.inspect_err(refused)?;
        let batch = self.recompress(topic, batch).await.inspect_err(refused)?;
        self.shared.check_at_door(topic, &batch, largest_record).await.inspect_err(refused)?;
        let (answer, ticket) = Answer::new(acks);
        let stamp = topic.config.timestamp_type == TimestampType::LogAppendTime;
        self.shared
            .store
            .submit(Box::new(Append { partition, batch, stamp, urgent: topic.config.urgent, answer }))
            .await?;
        Ok(ticket)
    }

    /// Every check that would otherwise fail only at the centre, weeks later. `times`: its timestamps are judged too. With the
    /// batch comes the size of its largest record.
    ///
    /// What decompresses to much is checked behind whatever else is to be done, one at a time: some kilobytes can take a core a tenth of
    /// a second.
    pub(super) async fn check_batch(
        &self,
        topic: &Topic,
        batch: SharedBytes,
        times: bool,
    ) -> Result<(SharedBytes, u64), ProduceError> {
        let at_once = CHECKED_AT_ONCE_BYTES.max(batch.len() as u64);
        match self.check_now(topic, batch.clone(), times, at_once) {
            Err(ProduceError::Corrupt(BatchError::TooLarge { .. })) => {}
            checked => return checked,
        }
        let place = self.shared.recompressions.acquire_arc().await;
        let (broker, topic) = (self.clone(), topic.clone());
        let check = move || {
            let _place = place;
            broker.check_now(&topic, batch, times, limits::BATCH_DECOMPRESSED_BYTES_MAX)
        };
        executor::unblock_behind(check).await
    }

    fn check_now(
        &self,
        topic: &Topic,
        mut batch: SharedBytes,
        times: bool,
        decompressed_bytes_max: u64,
    ) -> Result<(SharedBytes, u64), ProduceError> {
        let max = topic.config.max_message_bytes;
        if batch.len() > max {
            return Err(ProduceError::TooLarge { bytes: batch.len(), max });
        }
        let (view, rest) = BatchView::parse(&batch).map_err(ProduceError::Corrupt)?;
        if !rest.is_empty() {
            return Err(malformed("more than one batch where one may come"));
        }
        let bounds = VerifyLimits {
            batch_bytes_max: max,
            decompressed_bytes_max,
            ratio_max: limits::DECOMPRESSION_RATIO_MAX,
            control_allowed: false,
        };
        let facts = verify(&view, &bounds).map_err(ProduceError::Corrupt)?;
        let attributes = view.attributes();
        if attributes.is_transactional() {
            return Err(malformed("it belongs to a transaction, which this version does not have"));
        }
        if attributes.timestamp_type() == record::TimestampType::LogAppendTime {
            return Err(malformed("it says that its timestamps are the broker's own"));
        }
        if view.producer_id() >= 0 && (view.producer_epoch() < 0 || view.base_sequence() < 0) {
            return Err(malformed("it has a producer id, but no epoch or no sequence"));
        }
        let now = self.shared.store.now();
        let judged = if times { topic.check_times(facts.min_timestamp, facts.max_timestamp, now) } else { Ok(()) };
        judged
            .map_err(|error| with_records(error, &view, &bounds, |time| topic.check_times(time, time, now).is_err()))?;
        // Some producers leave it out (−1); lookups by time rely on it, here and at the centre.
        let is_wrong = facts.max_timestamp != view.max_timestamp();
        if is_wrong {
            let mut corrected = batch.to_vec();
            header::set_max_timestamp(&mut corrected, facts.max_timestamp);
            batch = corrected.into();
        }
        Ok((batch, facts.largest_record))
    }

    /// Puts a checked batch into the codec that its topic is kept in, if that is another. One batch at a time, and where
    /// waiting for it holds nobody else: what it decompresses to is in memory meanwhile.
    pub(super) async fn recompress(&self, topic: &Topic, batch: SharedBytes) -> Result<SharedBytes, ProduceError> {
        let Some(codec) = topic.config.compression else { return Ok(batch) };
        let is_so = |(view, _): (BatchView<'_>, _)| view.attributes().compression() == Ok(codec);
        if BatchView::parse(&batch).is_ok_and(is_so) {
            return Ok(batch);
        }
        let max = topic.config.max_message_bytes;
        let bounds = VerifyLimits {
            batch_bytes_max: max,
            decompressed_bytes_max: limits::RECOMPRESS_BYTES_MAX,
            ratio_max: limits::DECOMPRESSION_RATIO_MAX,
            control_allowed: false,
        };
        let place = self.shared.recompressions.acquire_arc().await;
        let batch = executor::unblock(move || {
            let _place = place;
            let (view, _) = BatchView::parse(&batch)?;
            let recompressed = record::recompress(&view, codec, &bounds)?;
            Ok(recompressed.map_or(batch, SharedBytes::from))
        })
        .await
        .map_err(ProduceError::Corrupt)?;
        if batch.len() > max { Err(ProduceError::TooLarge { bytes: batch.len(), max }) } else { Ok(batch) }
    }
}

impl Topic {
    /// Checks the timestamps of records (the smallest and the largest, ms since 1970) against the gateway's clock, where
    /// the topic says so, keeps its producers' times, and the clock is to be trusted. −1 is no timestamp.
    ///
    /// # Errors
    /// [`ProduceError::Timestamp`].
    pub fn check_times(&self, min_ms: i64, max_ms: i64, now: Stamp) -> Result<(), ProduceError> {
        let config = &self.config;
        if !now.wall_trusted || config.timestamp_type == TimestampType::LogAppendTime {
            return Ok(());
        }
        let is_within = |by: i64, span: Option<u64>| span.is_none_or(|span| by <= 0 || by.unsigned_abs() <= span);
        let refuse = |timestamp_ms, key| {
            Err(ProduceError::Timestamp { timestamp_ms, now_ms: now.wall_ms, key, records: Vec::new() })
        };
        if min_ms >= 0 && !is_within(now.wall_ms.saturating_sub(min_ms), config.timestamp_before_max_ms) {
            return refuse(min_ms, "message.timestamp.before.max.ms");
        }
        if max_ms >= 0 && !is_within(max_ms.saturating_sub(now.wall_ms), config.timestamp_after_max_ms) {
            return refuse(max_ms, "message.timestamp.after.max.ms");
        }
        Ok(())
    }
}

/// A refusal for its timestamps, with the records whose time `is_wrong`: a producer can send the others again.
fn with_records(
    error: ProduceError,
    view: &BatchView<'_>,
    bounds: &VerifyLimits,
    is_wrong: impl Fn(i64) -> bool,
) -> ProduceError {
    let ProduceError::Timestamp { timestamp_ms, now_ms, key, .. } = error else { return error };
    let (mut index, mut records) = (0, Vec::new());
    let none = find_by_timestamp(view, bounds, |time| {
        if is_wrong(time) {
            records.push(index);
        }
        index += 1;
        records.len() >= limits::RECORDS_AT_FAULT_MAX
    });
    match none {
        Ok(_) => ProduceError::Timestamp { timestamp_ms, now_ms, key, records },
        Err(error) => ProduceError::Corrupt(error),
    }
}

fn malformed(why: &'static str) -> ProduceError {
    ProduceError::Corrupt(BatchError::Malformed(why))
}

/// One batch for one partition.
struct Append {
    partition: PartitionId,
    batch: SharedBytes,
    stamp: bool,
    urgent: bool,
    answer: Answer<Appended>,
}

impl Operation for Append {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        let result = unless_full(self.append(draft))?;
        self.answer.applied(result);
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        if let Some(appended) = self.answer.committed(outcome) {
            if appended.duplicate {
                return METRICS.duplicates_dropped.add(1);
            }
            let records = BatchView::parse(&self.batch).map_or(0, |(batch, _)| u64::from(batch.record_count()));
            METRICS.batches_appended.add(1);
            METRICS.records_in.add(records);
            METRICS.records_in_kafka.add(records);
            METRICS.bytes_in_kafka.add(self.batch.len() as u64);
        }
    }

    fn is_urgent(&self) -> bool {
        self.answer.acks() == Acks::Memory
    }

    fn commits_at_once(&self) -> bool {
        self.urgent
    }

    fn queued_bytes(&self) -> usize {
        self.batch.len()
    }
}

impl Append {
    fn append(&mut self, draft: &mut Draft<'_>) -> Result<Appended, ProduceError> {
        let head = draft.head(self.partition).ok_or(ProduceError::UnknownPartition)?;
        let (view, _) = BatchView::parse(&self.batch).map_err(ProduceError::Corrupt)?;
        let (producer_id, epoch) = (view.producer_id(), view.producer_epoch());
        let (sequence, count) = (view.base_sequence(), view.record_count());
        let key = producer_key(self.partition, producer_id);
        let known = draft.get(Space::Producer, &key).filter(|_| producer_id >= 0).and_then(ProducerState::decode);
        match known.map_or(Verdict::Append, |known| producers::check(&known, epoch, sequence, count)) {
            Verdict::Append => {}
            Verdict::Duplicate { base_offset } => {
                let log_start = head.log_start;
                return Ok(Appended { base_offset, log_start, log_append_time_ms: -1, duplicate: true });
            }
            Verdict::OutOfOrder { expected } => {
                return Err(ProduceError::OutOfOrderSequence { expected, got: sequence });
            }
            Verdict::Fenced => return Err(ProduceError::ProducerFenced),
        }
        let now = draft.now();
        let log_append_time_ms = if self.stamp { now.wall_ms } else { -1 };
        if self.stamp {
            let mut stamped = self.batch.to_vec();
            header::set_log_append_time(&mut stamped, log_append_time_ms);
            self.batch = stamped.into();
        }
        let base_offset = draft.append_shared(self.partition, &self.batch)?;
        // With the batch the store remembers what its producer wrote last.
        Ok(Appended { base_offset, log_start: head.log_start, log_append_time_ms, duplicate: false })
    }
}
