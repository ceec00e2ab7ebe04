//! Rows that a listener keeps of its clients (`Space::Mqtt`): sessions, retained messages, packet ids. The broker doesn't know what is in
//! them; it puts them into the same commit as the records they belong to, and decides on the writer whether a record is there already.
//!
//! Invariant: records and rows of one call are durable together or not at all.

use std::time::Duration;

use super::Broker;
use super::call::{call, call_lazily, unless_full};
use super::error::{CommitError, ProduceError};
use super::partitioner::partition_for_key;
use super::produce::Acks;
use super::publish::NewRecord;
use super::ticket::{Answer, Ticket};
use super::topic::{TimestampType, Topic};
use crate::metrics::METRICS;
use crate::store::{Committed, Draft, DraftError, Operation, PartitionId, Refused, Space, StoreError};

/// A row to put, or (`None`) to delete.
pub type RowChange = (Vec<u8>, Option<Vec<u8>>);

/// A change of a row that is left undone if the row that is there says so: what it has is newer. Decided on the writer, where rows are
/// in the order in which they become durable.
pub struct GuardedChange {
    pub row: RowChange,
    /// Whether a value that is there is to stay.
    pub unless: Option<Stays>,
}

/// Looks at the value of a row.
pub type Stays = Box<dyn Fn(&[u8]) -> bool + Send>;

impl From<RowChange> for GuardedChange {
    fn from(row: RowChange) -> Self {
        Self { row, unless: None }
    }
}

/// A record together with what a listener notes about it.
#[derive(Default)]
pub struct NotedRecord {
    pub record: NewRecord,
    /// Nothing of it is done if there is this row: key, value.
    pub unless: Option<(Vec<u8>, Vec<u8>)>,
    /// Rows that are changed with it.
    pub rows: Vec<RowChange>,
    /// Dropped when it is known whether all of it is durable or nothing, before that is answered.
    pub held: Option<Box<dyn Send>>,
}

/// Where a record came to lie; `None` if it had been stored before.
pub type Noted = Option<(PartitionId, i64)>;

impl Broker {
    /// Queues a record for `topic`, whose partition its key chooses. Returns once it has its place in the order of appends, which is
    /// also the back-pressure; the ticket has the outcome.
    ///
    /// # Errors
    /// [`ProduceError::TooLarge`], `TooLargeUpstream` or the store's. Later ones come by the ticket.
    pub async fn publish_noted(
        &self,
        topic: &Topic,
        mut noted: NotedRecord,
        acks: Acks,
    ) -> Result<Ticket<Noted>, ProduceError> {
        self.shared.check_open()?;
        self.check_size(topic, &noted.record)?;
        if topic.config.timestamp_type == TimestampType::LogAppendTime {
            noted.record.timestamp_ms = None;
        }
        let index = partition_for_key(noted.record.key.as_deref().unwrap_or_default(), topic.partition_count());
        // A topic has at least one partition; this number belongs to none, and the writer says so.
        let partition = topic.partition(index as i32).unwrap_or(PartitionId(u32::MAX));
        let (answer, ticket) = Answer::new(acks);
        let bytes = noted.record.bytes() + noted.rows.iter().map(row_bytes).sum::<usize>();
        let operation = Append { partition, noted, bytes, urgent: topic.config.urgent, answer };
        self.shared.store.submit(Box::new(operation)).await?;
        Ok(ticket)
    }

    /// Changes rows. They are durable when this returns; they may wait up to `within` for another commit to ride with.
    ///
    /// # Errors
    /// Why it was not committed; then nothing of it was.
    pub async fn change_rows(&self, rows: Vec<RowChange>, within: Duration) -> Result<(), CommitError> {
        self.change_rows_guarded(rows.into_iter().map(Into::into).collect(), within).await
    }

    /// As [`Broker::change_rows`], with a say for the rows that are there.
    ///
    /// # Errors
    /// As there.
    pub async fn change_rows_guarded(&self, changes: Vec<GuardedChange>, within: Duration) -> Result<(), CommitError> {
        let apply = move |draft: &mut Draft<'_>| {
            changes.iter().try_for_each(|GuardedChange { row, unless }| {
                let stays = unless.as_ref().is_some_and(|stays| draft.get(Space::Mqtt, &row.0).is_some_and(stays));
                if stays { Ok(()) } else { change(draft, std::slice::from_ref(row)) }
            })
        };
        if within.is_zero() {
            call(&self.shared.store, apply, |()| {}).await
        } else {
            call_lazily(&self.shared.store, within, apply, |()| {}).await
        }
    }

    /// The rows whose keys begin with `prefix`, by key.
    pub fn rows(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.shared.store.entries(Space::Mqtt, prefix)
    }

    /// One row.
    pub fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.shared.store.get(Space::Mqtt, key)
    }
}

fn row_bytes((key, value): &RowChange) -> usize {
    key.len() + value.as_ref().map_or(0, Vec::len) + 64
}

fn change(draft: &mut Draft<'_>, rows: &[RowChange]) -> Result<(), DraftError> {
    rows.iter().try_for_each(|(key, value)| match value {
        Some(value) => draft.put(Space::Mqtt, key, value),
        None if draft.get(Space::Mqtt, key).is_some() => draft.delete(Space::Mqtt, key),
        None => Ok(()),
    })
}

struct Append {
    partition: PartitionId,
    noted: NotedRecord,
    bytes: usize,
    urgent: bool,
    answer: Answer<Noted>,
}

impl Append {
    fn append(&self, draft: &mut Draft<'_>) -> Result<Noted, ProduceError> {
        let NotedRecord { record, unless, rows, .. } = &self.noted;
        if unless.as_ref().is_some_and(|(key, value)| draft.get(Space::Mqtt, key) == Some(value.as_slice())) {
            return Ok(None);
        }
        let before: Vec<RowChange> =
            rows.iter().map(|(key, _)| (key.clone(), draft.get(Space::Mqtt, key).map(<[u8]>::to_vec))).collect();
        let headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref())).collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        // The record last: a row can be taken back, a record can't.
        let appended = change(draft, rows)
            .and_then(|()| draft.append_record(self.partition, record.timestamp_ms, key, value, &headers));
        match appended {
            Ok(offset) => Ok(Some((self.partition, offset))),
            // The writer takes everything back by itself.
            Err(DraftError::Full) => Err(DraftError::Full.into()),
            Err(error) => {
                change(draft, &before)?;
                Err(error.into())
            }
        }
    }
}

impl Operation for Append {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        let result = unless_full(self.append(draft))?;
        self.answer.applied(result);
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let NotedRecord { record, held, .. } = self.noted;
        drop(held);
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) as u64;
        let bytes = length(&record.key) + length(&record.value);
        match self.answer.committed(outcome) {
            Some(Some(_)) => {
                METRICS.records_in.add(1);
                METRICS.records_in_mqtt.add(1);
                METRICS.bytes_in_mqtt.add(bytes);
            }
            Some(None) => METRICS.duplicates_dropped.add(1),
            None => {}
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
