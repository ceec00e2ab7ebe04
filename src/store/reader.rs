//! A stopped store, only looked at: what `export` reads. Changes no file, also if the store was not closed cleanly.

use std::path::Path;
use std::sync::Arc;

use super::Store;
use super::clock::RealClock;
use super::disk::Disk;
use super::error::{OpenError, ReadError};
use super::formats::FormatStatus;
use super::open;
use super::options::StoreOptions;
use super::status::LossEntry;
use super::types::{CommitSeq, PartitionHead, PartitionId, ReadBatches, ScanChunk, Space};

/// A stopped store. Its methods do what those of [`Store`] do.
#[derive(Debug)]
pub struct Reader {
    pub(super) store: Store,
}

impl Reader {
    /// Opens the store in `dir`, which stays claimed until the reader is dropped. Blocks.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if a process runs it; else see [`OpenError`].
    pub fn open(dir: &Path, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let handle = open::inspect(StoreOptions::new(dir), disk, Arc::new(RealClock::default()))?;
        Ok(Self { store: Store { handle: Arc::new(handle) } })
    }

    /// See [`Store::incarnation`].
    pub fn incarnation(&self) -> [u8; 16] {
        self.store.incarnation()
    }

    /// What the files are written in.
    pub fn format(&self) -> FormatStatus {
        self.store.status().format
    }

    /// See [`Store::partitions`].
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.store.partitions()
    }

    /// See [`Store::head`].
    pub fn head(&self, partition: PartitionId) -> Option<PartitionHead> {
        self.store.head(partition)
    }

    /// See [`Store::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, partition: PartitionId, offset: i64, bytes_max: usize) -> Result<ReadBatches, ReadError> {
        self.store.read(partition, offset, bytes_max)
    }

    /// The base offset of the first batch behind the one that holds `offset`: where to read on if that one is damaged.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn next_batch(&self, partition: PartitionId, offset: i64) -> Result<Option<i64>, ReadError> {
        super::read::next_batch(&self.store.shared(), partition, offset)
    }

    /// See [`Store::scan`].
    ///
    /// # Errors
    /// As there.
    pub fn scan(
        &self,
        from: CommitSeq,
        filter: &dyn Fn(PartitionId) -> bool,
        bytes_max: usize,
    ) -> Result<ScanChunk, ReadError> {
        self.store.scan(from, filter, bytes_max)
    }

    /// See [`Store::offset_for_time`].
    ///
    /// # Errors
    /// As there.
    pub fn offset_for_time(&self, partition: PartitionId, timestamp_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        self.store.offset_for_time(partition, timestamp_ms)
    }

    /// See [`Store::losses`].
    pub fn losses(&self) -> Vec<LossEntry> {
        self.store.losses()
    }

    /// See [`Store::get`].
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        self.store.get(space, key)
    }

    /// See [`Store::entries`].
    pub fn entries(&self, space: Space, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.store.entries(space, prefix)
    }
}
