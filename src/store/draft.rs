//! The commit that is being put together.

use std::marker::PhantomData;

use super::error::DraftError;
use super::types::{BootEpoch, CommitSeq, PartitionHead, PartitionId, Space, Stamp};

/// What operations see and change: the committed state with all earlier operations of this commit on top.
pub struct Draft<'a> {
    _state: PhantomData<&'a ()>,
}

impl Draft<'_> {
    /// Appends one whole batch, its bytes verified by the caller. The store assigns base offset and leader epoch.
    /// Returns the base offset.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn append_batch(&mut self, _partition: PartitionId, _batch: &[u8]) -> Result<i64, DraftError> {
        Err(DraftError::UnknownPartition)
    }

    /// Appends one record to the batch that gathers this partition's records. Without a `timestamp_ms` it gets the
    /// gateway's wall time. Records with and without one never share a batch. Returns its offset.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn append_record(
        &mut self,
        _partition: PartitionId,
        _timestamp_ms: Option<i64>,
        _key: Option<&[u8]>,
        _value: Option<&[u8]>,
        _headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<i64, DraftError> {
        Err(DraftError::UnknownPartition)
    }

    /// A value of the keyed state, as of all earlier operations.
    pub fn get(&self, _space: Space, _key: &[u8]) -> Option<&[u8]> {
        None
    }

    /// All entries of a space whose key begins with `prefix`, by key, as of all earlier operations.
    pub fn entries(&self, _space: Space, _prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }

    /// Sets a value. Keys have 1 to 1,024 bytes.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn put(&mut self, space: Space, _key: &[u8], _value: &[u8]) -> Result<(), DraftError> {
        Err(if space.is_internal() { DraftError::Invalid } else { DraftError::StateFull })
    }

    /// Removes a value, if there is one.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn delete(&mut self, _space: Space, _key: &[u8]) -> Result<(), DraftError> {
        Err(DraftError::Full)
    }

    /// The lowest partition id never used: what to give to `create_partition` next.
    pub fn unused_partition(&self) -> PartitionId {
        PartitionId(0)
    }

    /// Creates an empty partition. Its id must be at least `unused_partition()`.
    ///
    /// # Errors
    /// See [`DraftError`]; `Invalid` if the id was ever used.
    pub fn create_partition(&mut self, _partition: PartitionId) -> Result<(), DraftError> {
        Err(DraftError::Full)
    }

    /// Drops a partition with all its records; its id is never used again.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn drop_partition(&mut self, _partition: PartitionId) -> Result<(), DraftError> {
        Err(DraftError::UnknownPartition)
    }

    /// Advances the log start, at most to the end of what was appended; a smaller one than now is ignored.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn set_log_start(&mut self, _partition: PartitionId, _offset: i64) -> Result<(), DraftError> {
        Err(DraftError::UnknownPartition)
    }

    /// The head as of all earlier operations: its high watermark is the next offset to be assigned.
    pub fn head(&self, _partition: PartitionId) -> Option<PartitionHead> {
        None
    }

    /// The moment of this call.
    pub fn now(&self) -> Stamp {
        Stamp::default()
    }

    /// The number this commit will have.
    pub fn seq(&self) -> CommitSeq {
        0
    }

    /// The epoch of this opening, in which this commit will be.
    pub fn epoch(&self) -> BootEpoch {
        BootEpoch::default()
    }
}
