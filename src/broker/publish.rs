//! Records of native clients on their way in: partition chosen, deduplicated on the writer, gathered by the store
//! into one batch a partition and commit.

use std::sync::Arc;

use super::Broker;
use super::call::unless_full;
use super::devices::{DeviceSession, DeviceState};
use super::error::ProduceError;
use super::owner::Owner;
use super::partitioner::partition_for_key;
use super::produce::Acks;
use super::ticket::{Answer, Ticket};
use super::topic::{KeyDefault, TimestampType, Topic};
use crate::metrics::METRICS;
use crate::record::HEADER_BYTES;
use crate::record::provenance::DEVICE;
use crate::store::{Committed, Draft, Operation, PartitionId, Refused, Space, StoreError};

/// A record as a native client publishes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Chooses the partition; the client's id does where there is none.
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Milliseconds since 1970; the gateway stamps at the append where there is none.
    pub timestamp_ms: Option<i64>,
    /// Names and values, order and repetitions kept.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl NewRecord {
    /// Bytes it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, Vec::len) + 64).sum();
        self.key.as_ref().map_or(0, Vec::len) + self.value.as_ref().map_or(0, Vec::len) + headers + 96
    }
}

/// Where the records of a publish came to lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The last sequence of this publish.
    pub last_sequence: u64,
    /// Partition and offset of its last record, unless that was a resend.
    pub last: Option<(PartitionId, i64)>,
    /// Where the records that are wanted upstream end: partition and next offset.
    pub upstream: Vec<(PartitionId, i64)>,
    /// How many of the records had been appended before.
    pub duplicates: u64,
}

impl Topic {
    /// Checks that a batch of this record alone is within `max.message.bytes`.
    ///
    /// # Errors
    /// [`ProduceError::TooLarge`].
    pub(super) fn check_size(&self, record: &NewRecord) -> Result<(), ProduceError> {
        let (bytes, max) = (record.bytes() + HEADER_BYTES, self.config.max_message_bytes);
        if bytes > max { Err(ProduceError::TooLarge { bytes, max }) } else { Ok(()) }
    }
}

impl Broker {
    /// Queues `records`, numbered from `first_sequence` on, for `topic`. Returns once they have their place in the
    /// order of appends, which is also the back-pressure; the ticket has the outcome, for all or none of them.
    ///
    /// # Errors
    /// [`ProduceError::SessionFenced`], `TooLarge`, `TooLargeUpstream`, or the store's. Later ones come by the ticket.
    pub async fn publish(
        &self,
        session: &DeviceSession,
        topic: &Topic,
        first_sequence: u64,
        records: Vec<NewRecord>,
        acks: Acks,
    ) -> Result<Ticket<Published>, ProduceError> {
        if session.is_fenced() {
            return Err(ProduceError::SessionFenced);
        }
        self.shared.check_open()?;
        records.iter().try_for_each(|record| self.check_size(topic, record))?;
        let device_header = self.shared.options().device_header && !topic.is_internal();
        let place = |record| place(session, topic, device_header, record);
        let records: Vec<_> = records.into_iter().map(place).collect();
        let (answer, ticket) = Answer::new(acks);
        let bytes = records.iter().map(|(_, record)| record.bytes()).sum();
        let publish = Publish {
            client_id: Arc::clone(session.client_id()),
            owner: session.owner().clone(),
            epoch: session.epoch(),
            first_sequence,
            floor: session.floor(),
            count: records.len() as u64,
            records,
            bytes,
            urgent: topic.config.urgent,
            answer,
        };
        self.shared.store.submit(Box::new(publish)).await?;
        Ok(ticket)
    }

    /// Uses up `count` sequences from `first_sequence` on for records that were refused for good (an unknown topic,
    /// too large): those that the client has sent behind them are not held back.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub async fn skip(
        &self,
        session: &DeviceSession,
        first_sequence: u64,
        count: u64,
    ) -> Result<Ticket<Published>, ProduceError> {
        let (answer, ticket) = Answer::new(Acks::Flash);
        let skip = Publish {
            client_id: Arc::clone(session.client_id()),
            owner: session.owner().clone(),
            epoch: session.epoch(),
            first_sequence,
            floor: session.floor(),
            count,
            records: Vec::new(),
            bytes: 0,
            urgent: false,
            answer,
        };
        self.shared.store.submit(Box::new(skip)).await?;
        Ok(ticket)
    }
}

/// Chooses the partition of a record, and its key and whose time it carries where the topic says so.
fn place(
    session: &DeviceSession,
    topic: &Topic,
    device_header: bool,
    mut record: NewRecord,
) -> (PartitionId, NewRecord) {
    let client = session.client_id().as_bytes();
    let index = partition_for_key(record.key.as_deref().unwrap_or(client), topic.partition_count());
    if topic.config.timestamp_type == TimestampType::LogAppendTime {
        // The gateway stamps what has no time of its own.
        record.timestamp_ms = None;
    }
    if record.key.is_none() && topic.config.key == KeyDefault::ClientId {
        record.key = Some(client.to_vec());
    }
    // Where the key is the client's id nothing more is kept: the uplink knows.
    let told = record.key.as_deref() == Some(client) || record.headers.iter().any(|(name, _)| name == DEVICE);
    if device_header && !told {
        record.headers.push((DEVICE.to_vec(), Some(client.to_vec())));
    }
    // A topic has at least one partition; this number belongs to none, and the writer says so.
    let partition = topic.partition(index as i32).unwrap_or(PartitionId(u32::MAX));
    (partition, record)
}

struct Publish {
    client_id: Arc<str>,
    owner: Owner,
    epoch: u64,
    first_sequence: u64,
    floor: u64,
    /// Sequences used: one a record, or those of records that were refused.
    count: u64,
    records: Vec<(PartitionId, NewRecord)>,
    bytes: usize,
    urgent: bool,
    answer: Answer<Published>,
}

impl Operation for Publish {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        let result = unless_full(self.append(draft))?;
        self.answer.applied(result);
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let records = self.records.len() as u64;
        if let Some(published) = self.answer.committed(outcome) {
            let new = records.saturating_sub(published.duplicates);
            METRICS.records_in.add(new);
            METRICS.records_in_native.add(new);
            // Of a part that came again the bytes are estimated: which records it was is the writer's.
            METRICS.bytes_in_native.add((self.bytes as u64).saturating_mul(new) / records.max(1));
            METRICS.duplicates_dropped.add(published.duplicates);
        }
    }

    fn is_urgent(&self) -> bool {
        self.answer.acks() == Acks::Memory
    }

    fn commits_at_once(&self) -> bool {
        self.urgent
    }

    fn queued_bytes(&self) -> usize {
        self.bytes
    }
}

impl Publish {
    fn append(&self, draft: &mut Draft<'_>) -> Result<Published, ProduceError> {
        let key = self.client_id.as_bytes();
        let mut state = draft.get(Space::Device, key).and_then(DeviceState::decode).unwrap_or_default();
        if self.epoch < state.epoch {
            return Err(ProduceError::SessionFenced);
        }
        if self.epoch > state.epoch {
            state = DeviceState { epoch: self.epoch, ..DeviceState::default() };
        }
        let expected = state.last_sequence.saturating_add(1).max(self.floor);
        if self.first_sequence > expected {
            return Err(ProduceError::SequenceGap { expected, got: self.first_sequence });
        }
        let duplicates = (expected - self.first_sequence).min(self.count);
        let last_sequence = self.first_sequence.saturating_add(self.count).saturating_sub(1);
        if duplicates == self.count {
            let upstream = self.upstream(&state);
            return Ok(Published { last_sequence, last: None, upstream, duplicates });
        }
        let mut last = None;
        for (partition, record) in self.records.iter().skip(usize::try_from(duplicates).unwrap_or(usize::MAX)) {
            let headers: Vec<_> = record.headers.iter().map(|(k, v)| (k.as_slice(), v.as_deref())).collect();
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let offset = draft.append_record(*partition, record.timestamp_ms, key, value, &headers)?;
            last = Some((*partition, offset));
            if self.answer.acks() == Acks::Upstream {
                state.wants_upstream(*partition, offset + 1);
            }
        }
        let now = draft.now();
        state.owner = self.owner.clone();
        state.last_sequence = last_sequence;
        state.seen_commit = draft.seq();
        state.seen_wall_ms = now.wall_trusted.then_some(now.wall_ms);
        draft.put(Space::Device, key, &state.encode())?;
        Ok(Published { last_sequence, last, upstream: self.upstream(&state), duplicates })
    }

    /// What the client wants to see upstream: of everything so far, so that resends are covered as well.
    fn upstream(&self, state: &DeviceState) -> Vec<(PartitionId, i64)> {
        match self.answer.acks() {
            Acks::Upstream => state.upstream.iter().map(|(partition, next)| (PartitionId(*partition), *next)).collect(),
            Acks::Memory | Acks::Flash => Vec::new(),
        }
    }
}
