//! Records on their way out: batches from an offset, as they lie, and waiting for more.

use std::time::{Duration, Instant};

use futures_lite::FutureExt;

use super::Broker;
use super::error::FetchError;
use super::waiters::Registration;
use crate::executor;
use crate::metrics::METRICS;
use crate::record::{BatchView, TimestampType};
use crate::store::{PartitionHead, PartitionId, ReadBatches, Store};

/// How much a partition had got when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    partition: PartitionId,
    appended_bytes: u64,
}

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
        let nothing = |(partition, offset): &(PartitionId, i64)| {
            self.shared.store.head(*partition).is_some_and(|head| head.readable_end() == *offset)
        };
        let partitions = wanted.iter().map(|(partition, _)| *partition);
        self.wait_until(partitions, wait, || !wanted.iter().all(nothing)).await;
    }

    /// How much a partition has got so far; `None` if it is not there. Look before the read whose end is waited at.
    pub fn seen(&self, partition: PartitionId) -> Option<Seen> {
        let appended_bytes = self.shared.store.appended_bytes(partition)?;
        Some(Seen { partition, appended_bytes })
    }

    /// Waits until these partitions have got about so many bytes together since they were seen, or until `wait` has
    /// passed, without reading anything. Returns at once when one of them is not there any more.
    pub async fn wait_for_bytes(&self, seen: &[Seen], bytes: u64, wait: Duration) {
        let enough = || {
            let mut come: u64 = 0;
            for seen in seen {
                let Some(now) = self.shared.store.appended_bytes(seen.partition) else { return true };
                come = come.saturating_add(now.saturating_sub(seen.appended_bytes));
            }
            come >= bytes
        };
        self.wait_until(seen.iter().map(|seen| seen.partition), wait, enough).await;
    }

    /// Looks again at each advance of any of `partitions` until `done`, or until `wait` has passed.
    async fn wait_until(&self, partitions: impl Iterator<Item = PartitionId>, wait: Duration, done: impl Fn() -> bool) {
        let deadline = Instant::now() + wait;
        let watch = self.watch(partitions);
        let look = async {
            loop {
                let advanced = watch.listen();
                if done() {
                    return;
                }
                advanced.await;
            }
        };
        let late = async {
            smol::Timer::at(deadline).await;
        };
        look.or(late).await;
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
        executor::unblock(move || read(&store)).await
    }
}
