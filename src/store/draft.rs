//! The commit that is being put together.
//!
//! Operations run against a [`Draft`]: the committed view with a layer of changes ([`Pending`]) on top. Nothing of it is
//! seen by readers until the writer has stored it as one stream and applied that to the view.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::classes::Classes;
use super::epoch_time::EpochTime;
use super::error::DraftError;
use super::format::{ENTRY_HEADER_BYTES, Stamps};
use super::heads::{Partition, proportion, total};
use super::intervals::Intervals;
use super::ledger::{self, Followers};
use super::options::OnFull;
use super::pending::{NewRecord, Pending, PendingPartition};
use super::pins::Pins;
use super::producers;
use super::ring::lock;
use super::state::{KEY_BYTES_MAX, ROW_BYTES};
use super::status::LossReason;
use super::trust::TrustedClock;
use super::types::{BootEpoch, CommitSeq, EpochRow, PartitionHead, PartitionId, Removed, Space, Stamp};
use super::view::{META_EVICTED, META_NEXT_PARTITION, View, decode_epochs, encode_epoch};
use crate::limits::BATCH_BYTES_MAX;
use crate::record::{BatchView, HEADER_BYTES, SharedBytes, TimestampType};

/// What drafts need besides the view.
#[derive(Debug)]
pub(super) struct DraftEnv {
    pub clock: Arc<TrustedClock>,
    /// What is known of time in this epoch.
    pub time: Mutex<EpochTime>,
    /// Epochs from this one on share the monotonic clock: in between the store was only opened anew after a failure.
    pub same_clock_from: u32,
    pub followers: Arc<Mutex<Followers>>,
    pub pins: Arc<Mutex<Pins>>,
    pub classes: Arc<Mutex<Classes>>,
    /// Topics that may not be evicted take nothing more; settled before each commit.
    pub promises_used_up: AtomicBool,
    pub epoch: BootEpoch,
    /// A commit may hold this many bytes, and no operation more.
    pub commit_bytes_max: usize,
    pub state_bytes_max: u64,
}

/// What operations see and change: the committed state with all earlier operations of this commit on top.
pub struct Draft<'a> {
    pub(super) view: &'a View,
    pub(super) env: &'a DraftEnv,
    pub(super) pending: &'a mut Pending,
    /// No room for appends: with what they are refused.
    full: Option<DraftError>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(view: &'a View, env: &'a DraftEnv, pending: &'a mut Pending, full: Option<DraftError>) -> Self {
        Self { view, env, pending, full }
    }

    /// Appends one whole batch, its bytes verified by the caller. The store assigns base offset and leader epoch.
    /// Returns the base offset.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn append_batch(&mut self, partition: PartitionId, batch: &[u8]) -> Result<i64, DraftError> {
        self.append_shared(partition, &batch.into())
    }

    /// As [`Draft::append_batch`]; the bytes are kept until the commit is made, not copied.
    ///
    /// # Errors
    /// As there.
    pub fn append_shared(&mut self, partition: PartitionId, batch: &SharedBytes) -> Result<i64, DraftError> {
        self.check_room(partition, batch.len())?;
        let (view, rest) = BatchView::parse(batch).map_err(|_| DraftError::Invalid)?;
        if !rest.is_empty() || view.last_offset_delta() < 0 {
            return Err(DraftError::Invalid);
        }
        let records = i64::from(view.last_offset_delta()) + 1;
        let pending = self.partition_mut(partition)?;
        let base_offset = pending.next_offset;
        let next_offset = base_offset.checked_add(records).ok_or(DraftError::Invalid)?;
        self.note_producer(partition, &view, base_offset)?;
        let stamps = match view.attributes().timestamp_type() {
            TimestampType::LogAppendTime => self.stamp().1,
            TimestampType::CreateTime => Stamps::Producer,
        };
        self.partition_mut(partition)?.push_batch(batch.clone(), stamps, next_offset);
        self.pending.bytes += batch.len() + ENTRY_HEADER_BYTES;
        Ok(base_offset)
    }

    /// Appends one record to the batch that gathers this partition's records. Without a `timestamp_ms` it gets the
    /// gateway's wall time. Records with and without one never share a batch. Returns its offset.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn append_record(
        &mut self,
        partition: PartitionId,
        timestamp_ms: Option<i64>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<i64, DraftError> {
        let part = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len) + 5;
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + 5 + part(*value)).sum();
        let bytes = part(key) + part(value) + header_bytes + 24;
        self.check_room(partition, bytes)?;
        let (timestamp_ms, stamps) = timestamp_ms.map_or_else(|| self.stamp(), |ms| (ms, Stamps::Producer));
        let pending = self.partition_mut(partition)?;
        let offset = pending.next_offset;
        let next_offset = offset.checked_add(1).ok_or(DraftError::Invalid)?;
        let record = NewRecord { timestamp_ms, stamps, key, value, headers };
        let began = pending.push_record(&record, next_offset).map_err(|_| DraftError::Invalid)?;
        self.pending.bytes += bytes + if began { HEADER_BYTES + ENTRY_HEADER_BYTES } else { 0 };
        Ok(offset)
    }

    /// What `append_batch` does to the row of the batch's producer. It follows from the batch and costs the commit nothing,
    /// unless this commit changes the row besides: that entry would be applied behind the batch, and undo it.
    fn note_producer(
        &mut self,
        partition: PartitionId,
        batch: &BatchView<'_>,
        base_offset: i64,
    ) -> Result<(), DraftError> {
        let before = |key: &[u8]| self.get(Space::Producer, key);
        let after = producers::row_after(partition, batch, base_offset, self.seq(), self.now(), before);
        let Some((key, row)) = after else { return Ok(()) };
        if self.pending.rows(Space::Producer).is_some_and(|rows| rows.contains_key(key.as_slice())) {
            return self.put(Space::Producer, &key, &row);
        }
        let growth = self.check_growth(Space::Producer, &key, row.len())?;
        self.pending.state_growth += growth;
        self.pending.set_producer(&key, row);
        Ok(())
    }

    /// A value of the keyed state, as of all earlier operations.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<&[u8]> {
        if let Some(changed) = self.pending.rows(space).and_then(|rows| rows.get(key)) {
            return changed.as_deref();
        }
        let follows = self.pending.producers().get(key).filter(|_| space == Space::Producer);
        follows.map(Vec::as_slice).or_else(|| self.view.state.get(space, key))
    }

    /// All entries of a space whose key begins with `prefix`, by key, as of all earlier operations.
    pub fn entries(&self, space: Space, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let committed = self.view.state.range(space, prefix);
        let mut rows: BTreeMap<&[u8], &[u8]> = committed.collect();
        if space == Space::Producer {
            let follow = self.pending.producers().iter().filter(|(key, _)| key.starts_with(prefix));
            rows.extend(follow.map(|(key, row)| (key.as_slice(), row.as_slice())));
        }
        let changed = self.pending.rows(space).into_iter().flat_map(|rows| {
            let from = (Bound::Included(prefix), Bound::Unbounded);
            rows.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix))
        });
        for (key, value) in changed {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(key.as_slice()),
            };
        }
        rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    /// Sets a value. Keys have 1 to 1,024 bytes.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn put(&mut self, space: Space, key: &[u8], value: &[u8]) -> Result<(), DraftError> {
        if space.is_internal() || !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(DraftError::Invalid);
        }
        self.check_bytes(key.len() + value.len())?;
        if self.get(space, key) == Some(value) {
            return Ok(());
        }
        self.check_growth(space, key, value.len())?;
        self.set(space, key, Some(value));
        Ok(())
    }

    /// By how much the state grows with a value of `value_bytes` under `key`.
    ///
    /// # Errors
    /// [`DraftError::StateFull`] if that is more than it may.
    fn check_growth(&self, space: Space, key: &[u8], value_bytes: usize) -> Result<i64, DraftError> {
        let row = |value: usize| (key.len() + value) as i64 + ROW_BYTES as i64;
        let growth = row(value_bytes) - self.get(space, key).map_or(0, |old| row(old.len()));
        let after = self.view.state.bytes() as i64 + self.pending.state_growth + growth;
        if growth > 0 && after > self.env.state_bytes_max as i64 { Err(DraftError::StateFull) } else { Ok(growth) }
    }

    /// Removes a value, if there is one.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn delete(&mut self, space: Space, key: &[u8]) -> Result<(), DraftError> {
        if space.is_internal() {
            return Err(DraftError::Invalid);
        }
        self.check_bytes(key.len())?;
        if self.get(space, key).is_some() {
            self.set(space, key, None);
        }
        Ok(())
    }

    /// The lowest partition id never used: what to give to `create_partition` next.
    pub fn unused_partition(&self) -> PartitionId {
        let raw = self.get(Space::Meta, META_NEXT_PARTITION);
        PartitionId(raw.map_or(0, |raw| super::format::u32_at(raw, 0)))
    }

    /// Creates an empty partition. Its id must be at least `unused_partition()`.
    ///
    /// # Errors
    /// See [`DraftError`]; `Invalid` if the id was ever used.
    pub fn create_partition(&mut self, partition: PartitionId) -> Result<(), DraftError> {
        let next = partition.0.checked_add(1).ok_or(DraftError::Invalid)?;
        if partition < self.unused_partition() {
            return Err(DraftError::Invalid);
        }
        self.check_bytes(64)?;
        self.pending.create_partition(partition);
        self.pending.bytes += ENTRY_HEADER_BYTES;
        self.set(Space::Meta, META_NEXT_PARTITION, Some(&next.to_le_bytes()));
        Ok(())
    }

    /// Drops a partition with all its records; its id is never used again.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn drop_partition(&mut self, partition: PartitionId) -> Result<(), DraftError> {
        self.check_bytes(64)?;
        let end = self.partition_mut(partition)?.next_offset;
        let start = self.head(partition).map_or(end, |head| head.log_start);
        self.lose(partition, start..end, self.retained(partition), LossReason::Deleted);
        self.partition_mut(partition)?.flags.dropped = true;
        self.pending.bytes += ENTRY_HEADER_BYTES;
        Ok(())
    }

    /// Advances the log start, at most to the end of what was appended; a smaller one than now is ignored.
    ///
    /// # Errors
    /// See [`DraftError`]; nothing is changed then.
    pub fn set_log_start(&mut self, partition: PartitionId, offset: i64) -> Result<(), DraftError> {
        self.trim(partition, offset, LossReason::Deleted)
    }

    /// As [`Draft::set_log_start`], for any reason.
    pub(super) fn trim(&mut self, partition: PartitionId, offset: i64, reason: LossReason) -> Result<(), DraftError> {
        self.check_bytes(64)?;
        let pending = self.partition_mut(partition)?;
        let offset = offset.min(pending.next_offset);
        let start = pending.log_start;
        if offset > start {
            let retained = self.retained(partition);
            let records = offset.abs_diff(start).min(retained.records);
            let what = Removed { records, bytes: proportion(retained, records) };
            self.remove(partition, start..offset, what, reason);
        }
        Ok(())
    }

    /// Where what all followers have read ends, as of all earlier operations; `None` if nobody follows the partition.
    pub(super) fn read_by_all(&self, partition: PartitionId) -> Option<i64> {
        let followers = lock(&self.env.followers);
        ledger::read_by_all(followers.of(partition), partition, |key| self.position(key))
    }

    /// The position under this key; none where nothing was read yet.
    pub(super) fn position(&self, key: &[u8]) -> Option<Intervals> {
        self.get(Space::Cursor, key).and_then(|value| Intervals::decode(value).ok())
    }

    /// Takes the records of a range of offsets away, and says so: in the partition's books, and in the ledger to who
    /// follows. If the range begins at the log start, that moves to its end. Nothing if there is no such partition.
    pub(super) fn remove(&mut self, partition: PartitionId, range: Range<i64>, what: Removed, reason: LossReason) {
        self.lose(partition, range.clone(), what, reason);
        let Ok(pending) = self.partition_mut(partition) else { return };
        let at_start = range.start <= pending.log_start;
        let log_start = if at_start { range.end.max(pending.log_start) } else { pending.log_start };
        pending.remove(reason, log_start, what);
        // Four numbers, of which at most ten bytes each.
        self.pending.bytes += ENTRY_HEADER_BYTES + 40;
    }

    /// What is still there of a partition.
    pub(super) fn retained(&self, partition: PartitionId) -> Removed {
        let committed = self.view.partitions.get(&partition).map(Partition::retained).unwrap_or_default();
        let Some(pending) = self.pending.partition(partition) else { return committed };
        let before = self.view.partitions.get(&partition).map_or(0, |p| p.next_offset);
        let appended = pending.next_offset.abs_diff(before);
        let removed = total(&pending.removed);
        Removed {
            records: (committed.records + appended).saturating_sub(removed.records),
            bytes: committed.bytes.saturating_sub(removed.bytes),
        }
    }

    /// All segments up to this one are given up.
    pub(super) fn evicted_through(&self) -> u32 {
        self.get(Space::Meta, META_EVICTED).map_or(0, |raw| super::format::u32_at(raw, 0))
    }

    /// The head as of all earlier operations: its high watermark is the next offset to be assigned.
    pub fn head(&self, partition: PartitionId) -> Option<PartitionHead> {
        match self.pending.partition(partition) {
            Some(pending) if pending.flags.dropped => None,
            Some(pending) => Some(PartitionHead {
                log_start: pending.log_start,
                high_watermark: pending.next_offset,
                last_stable_offset: pending.next_offset,
            }),
            None => self.view.partitions.get(&partition).map(Partition::head),
        }
    }

    /// The time to stamp records with, ms since 1970, and how it is known.
    fn stamp(&self) -> (i64, Stamps) {
        let (_, told) = self.env.clock.look();
        (told.wall_ms, if told.provisional { Stamps::Provisional } else { Stamps::Gateway })
    }

    /// Enters what is known of time into this epoch's row, if there is news. The first commit begins the row.
    pub(super) fn enter_time(&mut self) {
        let now = self.now();
        let (ordinal, env) = (self.env.epoch.ordinal, self.env);
        let begun = self.get(Space::Epoch, &ordinal.to_be_bytes()).is_some();
        let mut time = lock(&env.time);
        let is_news = now.wall_trusted && time.is_news(&now);
        if begun && !is_news {
            return;
        }
        let rows = decode_epochs(&self.entries(Space::Epoch, &[]));
        let (earlier, mut changed): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.epoch.ordinal < env.same_clock_from);
        if !begun {
            changed.push(EpochRow { epoch: env.epoch, first_commit: self.seq(), time: *time });
        }
        if is_news {
            time.believe(&earlier, &now);
        }
        for mut row in changed {
            if row.epoch.ordinal == ordinal {
                row.time = *time;
            } else if row.time.learned_ms.is_none() {
                row.time.learned_ms = time.learned_ms;
                row.time.highest_ms = time.highest_ms;
            }
            let (key, value) = encode_epoch(&row);
            self.set(Space::Epoch, &key, Some(&value));
        }
    }

    /// The moment of this call.
    pub fn now(&self) -> Stamp {
        now(&self.env.clock)
    }

    /// The epoch of this opening, in which this commit will be.
    pub fn epoch(&self) -> BootEpoch {
        self.env.epoch
    }

    /// The number this commit will have.
    pub fn seq(&self) -> CommitSeq {
        self.view.last_commit + 1
    }

    /// Whether changes of `bytes` bytes altogether will fit.
    ///
    /// # Errors
    /// `Full` (the operation returns `Err(Refused)`) or `TooLarge`.
    pub fn check_bytes(&self, bytes: usize) -> Result<(), DraftError> {
        if bytes > self.env.commit_bytes_max {
            return Err(DraftError::TooLarge);
        }
        if self.pending.bytes + bytes > self.env.commit_bytes_max { Err(DraftError::Full) } else { Ok(()) }
    }

    fn check_room(&self, partition: PartitionId, bytes: usize) -> Result<(), DraftError> {
        if bytes > BATCH_BYTES_MAX {
            return Err(DraftError::TooLarge);
        }
        if let Some(full) = self.full {
            return Err(full);
        }
        if self.env.promises_used_up.load(Ordering::Relaxed) && self.may_not_be_evicted(partition) {
            return Err(DraftError::StoreFull);
        }
        self.check_bytes(bytes)
    }

    fn may_not_be_evicted(&self, partition: PartitionId) -> bool {
        lock(&self.env.classes).get(partition).is_some_and(|class| class.on_full == OnFull::Refuse)
    }

    /// Changes a row of any space.
    pub(super) fn set(&mut self, space: Space, key: &[u8], value: Option<&[u8]>) {
        let row = |value: &[u8]| (key.len() + value.len()) as i64 + ROW_BYTES as i64;
        let growth = value.map_or(0, row) - self.get(space, key).map_or(0, row);
        self.pending.state_growth += growth;
        self.pending.bytes += ENTRY_HEADER_BYTES + 2 + key.len() + value.map_or(0, <[u8]>::len);
        self.pending.set_row(space, key, value);
    }

    fn partition_mut(&mut self, partition: PartitionId) -> Result<&mut PendingPartition, DraftError> {
        self.pending.partition_mut(self.view, partition).ok_or(DraftError::UnknownPartition)
    }
}

/// The moment by these clocks.
pub(super) fn now(clock: &TrustedClock) -> Stamp {
    let (mono_ms, told) = clock.look();
    Stamp { mono_ms, wall_ms: told.wall_ms, wall_trusted: told.trusted }
}
