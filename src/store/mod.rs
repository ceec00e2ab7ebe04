//! The store: the only code that names redb.

pub mod backend;
pub mod clock;
pub mod disk;
#[cfg(debug_assertions)]
pub mod sim;

mod draft;
mod error;
mod intervals;
mod options;
mod status;
mod types;

use std::sync::Arc;
use std::time::Duration;

pub use draft::Draft;
pub use error::{Closed, DraftError, OpenError, ReadError, StoreError, TrySubmitError};
pub use intervals::{Intervals, InvalidIntervals, TooManyIntervals, cursor_key};
pub use options::{OnFull, SEALED_OPEN_MAX, StoreOptions, max_bytes_default, segment_bytes_for};
pub use status::{LossEntry, LossReason, StoreStatus};
pub use types::{
    BootEpoch, CommitObserver, CommitSeq, Committed, EpochRow, Operation, PartitionHead, PartitionId, ReadBatches,
    Refused, Retention, ScanChunk, ScannedBatch, Space, Stamp,
};

use clock::Clock;
use disk::Disk;

/// A handle on an open store; cheap to clone. Reads block the calling thread on the disk: async callers wrap them in
/// `smol::unblock`.
#[derive(Clone, Debug)]
pub struct Store {
    _shared: Arc<()>,
}

/// What moves an open store: three step functions. [`Engine::spawn`] drives them on threads; a simulator calls them.
#[derive(Debug)]
pub struct Engine {
    _shared: Arc<()>,
}

/// The threads of a running store. [`EngineHandle::join`] returns once [`Store::shutdown`] was called and all is closed.
#[derive(Debug)]
pub struct EngineHandle {}

impl EngineHandle {
    /// Waits until the store has closed.
    pub fn join(self) {}
}

impl Engine {
    /// Runs the store on two threads: the writer, and maintenance (sealing, evicting, spares).
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn spawn(self) -> std::io::Result<EngineHandle> {
        Ok(EngineHandle {})
    }
}

impl Store {
    /// Opens or creates the store in `options.dir`: recovers, and leaves it ready. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        _options: StoreOptions,
        _disk: Arc<dyn Disk>,
        _clock: Arc<dyn Clock>,
    ) -> Result<(Self, Engine), OpenError> {
        Err(OpenError::Options("the store is being built".into()))
    }

    /// Queues an operation; waits while the queue is full, which is the back-pressure.
    ///
    /// # Errors
    /// [`Closed`] if the store is closing, closed or poisoned; `done` isn't called then.
    pub async fn submit(&self, _op: Box<dyn Operation>) -> Result<(), Closed> {
        Err(Closed)
    }

    /// Queues an operation if there is room now.
    ///
    /// # Errors
    /// Gives the operation back.
    pub fn try_submit(&self, op: Box<dyn Operation>) -> Result<(), TrySubmitError> {
        Err(TrySubmitError::Closed(op))
    }

    /// Queues an operation that rides with the next commit; if none comes `within` that time, one is made for it.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub async fn submit_lazy(&self, _op: Box<dyn Operation>, _within: Duration) -> Result<(), Closed> {
        Err(Closed)
    }

    /// The readable range of a partition; `None` if it doesn't exist.
    pub fn head(&self, _partition: PartitionId) -> Option<PartitionHead> {
        None
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> Vec<PartitionId> {
        Vec::new()
    }

    /// Reads whole batches from `offset` on: at least one if there is one, else at most `max_bytes`. From the middle of
    /// a batch the whole batch is returned, from inside a gap the next one. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, _partition: PartitionId, _offset: i64, _max_bytes: usize) -> Result<ReadBatches, ReadError> {
        Err(ReadError::UnknownPartition)
    }

    /// As [`Store::read`], if that needs nothing but memory: the recent tail, the end of the partition, or an error that
    /// is known at once. `None` if the disk must be read. Never blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_tail(
        &self,
        _partition: PartitionId,
        _offset: i64,
        _max_bytes: usize,
    ) -> Option<Result<ReadBatches, ReadError>> {
        None
    }

    /// This moment, by the store's clock.
    pub fn now(&self) -> Stamp {
        Stamp::default()
    }

    /// Reads whole commits in commit order, at least one, of them the batches whose partition passes `filter`. Stops
    /// after `max_bytes` of such batches, or a bounded amount of reading: an empty chunk isn't the end. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scan(
        &self,
        _from: CommitSeq,
        _filter: &dyn Fn(PartitionId) -> bool,
        _max_bytes: usize,
    ) -> Result<ScanChunk, ReadError> {
        Err(ReadError::UnknownPartition)
    }

    /// The commit that holds `offset`, or the first one behind it: where a scan must start to meet it. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scan_start(&self, _partition: PartitionId, _offset: i64) -> Result<CommitSeq, ReadError> {
        Err(ReadError::UnknownPartition)
    }

    /// The first record whose timestamp is at least `timestamp_ms`: its offset and timestamp. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_time(
        &self,
        _partition: PartitionId,
        _timestamp_ms: i64,
    ) -> Result<Option<(i64, i64)>, ReadError> {
        Err(ReadError::UnknownPartition)
    }

    /// The record with the highest timestamp: its offset and timestamp; the first of several. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn max_timestamp(&self, _partition: PartitionId) -> Result<Option<(i64, i64)>, ReadError> {
        Err(ReadError::UnknownPartition)
    }

    /// The latest epoch of a partition at or below `ordinal`, and the offset where it ends (KIP-101).
    pub fn epoch_end(&self, _partition: PartitionId, _ordinal: u32) -> Option<(u32, i64)> {
        None
    }

    /// The epoch of this opening. It is in the table only once something was committed.
    pub fn epoch(&self) -> BootEpoch {
        BootEpoch::default()
    }

    /// The boot-epoch table, ascending; the oldest rows go first when it is full.
    pub fn epochs(&self) -> Vec<EpochRow> {
        Vec::new()
    }

    /// Random, made when the store was created.
    pub fn incarnation(&self) -> [u8; 16] {
        [0; 16]
    }

    /// Committed state: one value.
    pub fn get(&self, _space: Space, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    /// Committed state: all entries whose key begins with `prefix`, by key.
    pub fn entries(&self, _space: Space, _prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }

    /// Adds an observer of commits; it stays until the store closes.
    pub fn observe(&self, _observer: Arc<dyn CommitObserver>) {}

    /// Protects what `reader` has not read of a partition: when it must go, the loss ledger tells. Not durable: whoever
    /// follows says so after each opening.
    pub fn follow(&self, _reader: &str, _partition: PartitionId) {}

    /// Ends [`Store::follow`].
    pub fn unfollow(&self, _reader: &str, _partition: PartitionId) {}

    /// Sets how long and how much of a partition is kept. Not durable.
    pub fn set_retention(&self, _partition: PartitionId, _retention: Retention) {}

    /// The loss ledger, by reader, partition and offset.
    pub fn losses(&self) -> Vec<LossEntry> {
        Vec::new()
    }

    /// The store's figures.
    pub fn status(&self) -> StoreStatus {
        StoreStatus::default()
    }

    /// Refuses what comes from now on; the engine commits what waits, and closes. Doesn't wait: [`EngineHandle::join`].
    pub fn shutdown(&self) {}
}
