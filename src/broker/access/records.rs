//! Records in and out, and where partitions begin and end.

use super::granted::right::{Delete, Read, Write};
use super::{Access, Granted, Right};
use crate::broker::rights::Denied;
use crate::broker::{
    Acks, Appended, DeviceSession, FetchError, NewRecord, Noted, NotedRecord, ProduceError, Published, Ticket,
    TopicError,
};
use crate::record::SharedBytes;
use crate::store::{PartitionHead, PartitionId, ReadBatches};

impl Access {
    /// As [`crate::broker::Broker::produce`].
    ///
    /// # Errors
    /// As there.
    pub async fn produce(
        &self,
        topic: &Granted<Write>,
        index: i32,
        batch: impl Into<SharedBytes>,
        acks: Acks,
    ) -> Result<Ticket<Appended>, ProduceError> {
        self.broker().produce(topic, index, batch, acks).await
    }

    /// As [`crate::broker::Broker::publish`].
    ///
    /// # Errors
    /// As there.
    pub async fn publish(
        &self,
        session: &DeviceSession,
        topic: &Granted<Write>,
        first_sequence: u64,
        records: Vec<NewRecord>,
        acks: Acks,
    ) -> Result<Ticket<Published>, ProduceError> {
        self.broker().publish(session, topic, first_sequence, records, acks).await
    }

    /// As [`crate::broker::Broker::check_size`].
    ///
    /// # Errors
    /// As there.
    pub fn check_size(&self, topic: &Granted<Write>, record: &NewRecord) -> Result<(), ProduceError> {
        self.broker().check_size(topic, record)
    }

    /// As [`crate::broker::Broker::skip`].
    ///
    /// # Errors
    /// As there.
    pub async fn skip(
        &self,
        session: &DeviceSession,
        first_sequence: u64,
        count: u64,
    ) -> Result<Ticket<Published>, ProduceError> {
        self.broker().skip(session, first_sequence, count).await
    }

    /// As [`crate::broker::Broker::publish_noted`].
    ///
    /// # Errors
    /// As there.
    pub async fn publish_noted(
        &self,
        topic: &Granted<Write>,
        noted: NotedRecord,
        acks: Acks,
    ) -> Result<Ticket<Noted>, ProduceError> {
        self.broker().publish_noted(topic, noted, acks).await
    }

    /// As [`crate::broker::Broker::open_session`], if the client id is the caller's.
    ///
    /// # Errors
    /// As there, and [`ProduceError::NotYours`].
    pub async fn open_session(
        &self,
        client_id: &str,
        resume: Option<u64>,
        next_sequence: u64,
    ) -> Result<DeviceSession, ProduceError> {
        self.broker().open_session_for(self.caller(), client_id, resume, next_sequence).await
    }

    /// An id that no producer was ever given: for who may write to any topic, or as an idempotent producer (KIP-679).
    ///
    /// # Errors
    /// [`ProduceError::Denied`] or the store's.
    pub async fn new_producer_id(&self) -> Result<i64, ProduceError> {
        self.allow_idempotent_write()?;
        Ok(self.broker().new_producer_id().await?)
    }

    pub(super) fn allow_idempotent_write(&self) -> Result<(), Denied> {
        self.broker().shared.rights.check_idempotent_write(self.caller())
    }

    /// As [`crate::broker::Broker::fetch`], of a partition of `topic`.
    ///
    /// # Errors
    /// As there.
    pub async fn fetch(
        &self,
        topic: &Granted<Read>,
        partition: PartitionId,
        offset: i64,
        max_bytes: usize,
    ) -> Result<ReadBatches, FetchError> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().fetch(partition, offset, max_bytes).await
    }

    /// As [`crate::broker::Broker::append_time`], of a batch that the caller has produced.
    pub async fn append_time(&self, partition: PartitionId, offset: i64) -> Option<i64> {
        self.broker().append_time(partition, offset).await
    }

    /// Where a partition of `topic` begins and ends now.
    ///
    /// # Errors
    /// [`FetchError::UnknownPartition`].
    pub fn head<R: Right>(&self, topic: &Granted<R>, partition: PartitionId) -> Result<PartitionHead, FetchError> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().head(partition)
    }

    /// As [`crate::broker::Broker::offset_for_time`].
    ///
    /// # Errors
    /// As there.
    pub async fn offset_for_time<R: Right>(
        &self,
        topic: &Granted<R>,
        partition: PartitionId,
        timestamp_ms: i64,
    ) -> Result<Option<(i64, i64)>, FetchError> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().offset_for_time(partition, timestamp_ms).await
    }

    /// As [`crate::broker::Broker::max_timestamp`].
    ///
    /// # Errors
    /// As there.
    pub async fn max_timestamp<R: Right>(
        &self,
        topic: &Granted<R>,
        partition: PartitionId,
    ) -> Result<Option<(i64, i64)>, FetchError> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().max_timestamp(partition).await
    }

    /// The boot epoch that wrote the record at `offset`.
    pub fn epoch_at<R: Right>(&self, topic: &Granted<R>, partition: PartitionId, offset: i64) -> Option<u32> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().store().epoch_at(partition, offset)
    }

    /// The latest boot epoch up to `ordinal` that the partition has, and where it ends.
    pub fn epoch_end<R: Right>(&self, topic: &Granted<R>, partition: PartitionId, ordinal: u32) -> Option<(u32, i64)> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().store().epoch_end(partition, ordinal)
    }

    /// As [`crate::broker::Broker::delete_records`].
    ///
    /// # Errors
    /// As there.
    pub async fn delete_records(
        &self,
        topic: &Granted<Delete>,
        partition: PartitionId,
        offset: i64,
    ) -> Result<i64, TopicError> {
        debug_assert!(topic.partitions.contains(&partition));
        self.broker().delete_records(partition, offset).await
    }
}
