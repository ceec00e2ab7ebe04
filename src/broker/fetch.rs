//! Records on their way out: batches from an offset, as they lie, and waiting for more.

use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::Broker;
use super::error::FetchError;
use super::waiters::Registration;
use crate::metrics::METRICS;
use crate::record::{BatchView, TimestampType};
use crate::store::{PartitionHead, PartitionId, ReadBatches, Store};

impl Broker {
    /// Where a partition begins and ends now.
    ///
    /// # Errors
    /// [`FetchError::UnknownPartition`].
    pub fn head(&self, partition: PartitionId) -> Result<PartitionHead, FetchError> {
        self.shared.store.head(partition).ok_or(FetchError::UnknownPartition)
    }

    /// Whole batches from `offset` on, about `max_bytes` of them but at least one; none at the end. A fetch from the
    /// middle of a batch returns that batch; one in a gap, the next.
    ///
    /// # Errors
    /// [`FetchError::OutOfRange`] outside [log start, high watermark], `UnknownPartition`, or the store's.
    pub async fn fetch(
        &self,
        partition: PartitionId,
        offset: i64,
        max_bytes: usize,
    ) -> Result<ReadBatches, FetchError> {
        let read = match self.shared.store.read_tail(partition, offset, max_bytes) {
            Some(read) => read,
            // Not in memory: the disk is read where waiting for it holds nobody.
            None => self.read_disk(move |store| store.read(partition, offset, max_bytes)).await,
        }?;
        METRICS.bytes_fetched.add(read.bytes.len() as u64);
        Ok(read)
    }

    /// Registers for any advance of `partitions`; look at their heads only after this.
    pub fn watch(&self, partitions: impl IntoIterator<Item = PartitionId>) -> Registration {
        self.shared.waiters.register(partitions)
    }

    /// Waits until any of `wanted` has a record at its offset, or until `wait` has passed. Returns at once when one
    /// has it already, or is not there or out of range, which the fetch then reports.
    pub async fn wait_for_records(&self, wanted: &[(PartitionId, i64)], wait: Duration) {
        let deadline = Instant::now() + wait;
        let watch = self.watch(wanted.iter().map(|(partition, _)| *partition));
        loop {
            let advanced = watch.listen();
            let nothing = |(partition, offset): &(PartitionId, i64)| {
                self.shared.store.head(*partition).is_some_and(|head| head.readable_end() == *offset)
            };
            if !wanted.iter().all(nothing) {
                return;
            }
            let timer = smol::Timer::at(deadline);
            let in_time = async {
                advanced.await;
                true
            };
            let late = async {
                timer.await;
                false
            };
            if !in_time.or(late).await {
                return;
            }
        }
    }

    /// The first record with a timestamp at or after `timestamp_ms`: its offset and timestamp. `None` when there is none.
    ///
    /// # Errors
    /// As [`Broker::fetch`].
    pub async fn offset_for_time(
        &self,
        partition: PartitionId,
        timestamp_ms: i64,
    ) -> Result<Option<(i64, i64)>, FetchError> {
        Ok(self.read_disk(move |store| store.offset_for_time(partition, timestamp_ms)).await?)
    }

    /// The time, ms since 1970, at which the topic stamped the batch that begins at `offset`; `None` when it is gone, not
    /// there yet, or was not stamped.
    pub async fn append_time(&self, partition: PartitionId, offset: i64) -> Option<i64> {
        let read = self.fetch(partition, offset, 1).await.ok()?;
        let (batch, _) = BatchView::parse(&read.bytes).ok()?;
        let is_stamped = batch.attributes().timestamp_type() == TimestampType::LogAppendTime;
        (is_stamped && batch.base_offset() == offset).then(|| batch.max_timestamp())
    }

    /// Offset and timestamp of the record with the newest timestamp. `None` when the partition is empty.
    ///
    /// # Errors
    /// As [`Broker::fetch`].
    pub async fn max_timestamp(&self, partition: PartitionId) -> Result<Option<(i64, i64)>, FetchError> {
        Ok(self.read_disk(move |store| store.max_timestamp(partition)).await?)
    }

    /// Runs `read` where waiting for the disk holds nobody, when one of the few places for that is free.
    pub async fn read_disk<T: Send + 'static>(&self, read: impl FnOnce(&Store) -> T + Send + 'static) -> T {
        let _place = self.shared.disk_reads.acquire().await;
        let store = self.shared.store.clone();
        smol::unblock(move || read(&store)).await
    }
}
