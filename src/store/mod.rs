//! The store: a ring of segment files, each a small redb database. The only code that names redb.
//!
//! | file | job |
//! |---|---|
//! | `types`, `error`, `options`, `status`, `intervals` | the vocabulary |
//! | `disk`, `clock`, `backend`, `sim` | the world: files and time, real or simulated |
//! | `trust`, `epoch_time` | which time to believe, ages and times over boots |
//! | `format`, `chunks` | bytes of a commit, and how they are cut into pages |
//! | `segment`, `log_parts`, `ring`, `cold` | files: one segment, all of them, the cold state |
//! | `directory` | what is known of sealed segments without opening them |
//! | `index`, `state`, `heads`, `tail`, `view`, `look` | what is known in memory, moved by one commit at a time |
//! | `handle`, `heal`, `prove`, `progress` | what outlives a failure, and how the store gets over it |
//! | `queue`, `draft`, `pending`, `room`, `writer`, `commit_policy` | the way in |
//! | `medium`, `flash` | the device below, what is written to it, and the daily budget |
//! | `classes`, `plan`, `way`, `pins`, `copy`, `rewrite` | what goes when room is needed, and how |
//! | `removal`, `deleted` | what is said of that |
//! | `sealer`, `evictor`, `holdings`, `quarantine`, `reserve`, `retention`, `ledger`, `engine` | maintenance |
//! | `place`, `read`, `scan` | the way out |
//! | `open`, `recovery`, `once`, `overlay`, `reader`, `fsck`, `repair`, `renew` | opening, and looking without changing |
//!
//! ARCHITECTURE.md tells the layout on disk byte by byte.

pub mod backend;
pub mod clock;
pub mod disk;
#[cfg(debug_assertions)]
pub mod sim;

mod chunks;
mod classes;
mod cold;
mod commit_policy;
mod company;
mod copy;
mod cut;
mod deleted;
mod directory;
mod draft;
mod engine;
mod epoch_time;
mod error;
mod evictor;
mod flash;
mod format;
mod formats;
mod fsck;
mod handle;
mod heads;
mod heal;
mod holdings;
mod index;
mod intervals;
mod learn;
mod ledger;
mod log_parts;
mod look;
mod medium;
mod once;
mod open;
mod options;
mod overlay;
mod pages;
mod pending;
mod pins;
mod place;
mod plan;
mod producers;
mod progress;
mod prove;
mod quarantine;
mod queue;
mod read;
mod reader;
mod recovery;
mod redb_call;
mod removal;
mod renew;
mod repair;
mod reserve;
mod retention;
mod rewrite;
mod ring;
mod room;
mod salvage;
mod scan;
mod sealer;
mod segment;
mod shared;
mod state;
mod status;
mod tail;
mod trust;
mod types;
mod view;
mod way;
mod writer;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub use classes::Class;
pub use cut::CutReport;
pub use deleted::DeletedTopic;
pub use draft::Draft;
pub use engine::{Engine, EngineHandle};
pub use epoch_time::EpochTime;
pub use error::{DraftError, OpenError, ReadError, StoreError, TrySubmitError};
pub use flash::FlashDay;
pub use formats::{FINALIZE_AFTER_MS, FORMAT_MIN, FORMAT_NEW, FORMAT_OLD, FormatStatus, finalize, format_of};
pub use fsck::{Finding, FsckReport, fsck};
pub use handle::{Healing, Reopened};
pub use intervals::{Intervals, InvalidIntervals, TooManyIntervals, cursor_key};
pub use medium::{CardLife, Device, Medium};
pub use options::{OnFull, Pace, SEALED_OPEN_MAX, StoreOptions, max_bytes_default, segment_bytes_for};
pub use producers::{ProducerBatch, ProducerState, advance_sequence, is_producer_key, producer_key};
pub use progress::{Progress, Pulse, Work};
pub use reader::Reader;
pub use renew::{STATE_BAD, StateRenewed, renew_state};
pub use repair::{RepairReport, repair};
pub use status::{FlashStatus, LossEntry, LossReason, Opening, StoreStatus};
pub use types::{
    BootEpoch, CommitObserver, CommitSeq, Committed, EpochRow, LossSink, Operation, PartitionAccounts, PartitionHead,
    PartitionId, ReadBatches, Refused, Removed, Retention, ScanChunk, ScannedBatch, Space, Stamp,
};
pub use writer::WriterStep;

use clock::Clock;
use commit_policy::Rules;
use disk::Disk;
use handle::Handle;
use ring::lock;
use shared::Shared;

/// A handle on an open store; cheap to clone. Reads block the calling thread on the disk: async callers wrap them in
/// [`crate::executor::unblock`].
///
/// After a failure of the medium operations fail, reads of memory and of sealed segments go on, and the engine opens the
/// files anew; the handle stays valid, and then leads to what was recovered.
#[derive(Clone, Debug)]
pub struct Store {
    handle: Arc<Handle>,
}

impl Store {
    /// Opens or creates the store in `options.dir`: recovers, and leaves it ready for its [`Engine`] to run. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        options: StoreOptions,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Engine), OpenError> {
        let handle = Arc::new(open::open(options, disk, clock)?);
        Ok((Self { handle: Arc::clone(&handle) }, Engine::new(handle)))
    }

    fn shared(&self) -> Arc<Shared> {
        self.handle.current()
    }

    /// Reads; once more if the store was opened anew meanwhile.
    fn reading<T>(&self, read: impl Fn(&Shared) -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            let shared = self.shared();
            let done = read(&shared);
            if done.is_ok() || self.handle.is_current(&shared) {
                return done;
            }
        }
    }

    /// Queues an operation; waits while the queue is full, which is the back-pressure.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if the store is closing or closed, [`StoreError::Stopped`] after a failure; `done` isn't
    /// called then.
    pub async fn submit(&self, op: Box<dyn Operation>) -> Result<(), StoreError> {
        let shared = self.shared();
        shared.queue.push(op, None).await.map_err(|error::Closed| shared.why_closed())
    }

    /// Queues an operation if there is room now.
    ///
    /// # Errors
    /// Gives the operation back.
    pub fn try_submit(&self, op: Box<dyn Operation>) -> Result<(), TrySubmitError> {
        self.shared().queue.try_push(op, None)
    }

    /// Queues an operation that rides with the next commit; if none comes `within` that time, one is made for it.
    ///
    /// # Errors
    /// As [`Store::submit`].
    pub async fn submit_lazy(&self, op: Box<dyn Operation>, within: Duration) -> Result<(), StoreError> {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let shared = self.shared();
        let until = shared.env.clock.mono_ms().saturating_add(within);
        shared.queue.push(op, Some(until)).await.map_err(|error::Closed| shared.why_closed())
    }

    /// The readable range of a partition; `None` if it doesn't exist.
    pub fn head(&self, partition: PartitionId) -> Option<PartitionHead> {
        self.shared().view().partitions.get(&partition).map(heads::Partition::head)
    }

    /// All partitions, ascending.
    pub fn partitions(&self) -> Vec<PartitionId> {
        self.shared().view().partitions.keys().copied().collect()
    }

    /// Bytes kept of a partition, store headers included.
    pub fn partition_bytes(&self, partition: PartitionId) -> Option<u64> {
        self.shared().view().partitions.get(&partition).map(|partition| partition.retained().bytes)
    }

    /// Bytes ever appended to a partition, store headers included; `None` if it doesn't exist.
    pub fn appended_bytes(&self, partition: PartitionId) -> Option<u64> {
        self.shared().view().partitions.get(&partition).map(|partition| partition.appended_bytes)
    }

    /// What was accepted of a partition, what is still there, and what went and why. They add up.
    pub fn accounts(&self, partition: PartitionId) -> Option<PartitionAccounts> {
        self.shared().view().partitions.get(&partition).map(heads::Partition::accounts)
    }

    /// Reads whole batches from `offset` on: at least one if there is one, else at most `bytes_max`. From the middle of
    /// a batch the whole batch is returned, from inside a gap the next one. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, partition: PartitionId, offset: i64, bytes_max: usize) -> Result<ReadBatches, ReadError> {
        self.reading(|shared| read::read(shared, partition, offset, bytes_max))
    }

    /// As [`Store::read`], if that needs nothing but memory: the recent tail, the end of the partition, or an error that
    /// is known at once. `None` if the disk must be read. Never blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_tail(
        &self,
        partition: PartitionId,
        offset: i64,
        bytes_max: usize,
    ) -> Option<Result<ReadBatches, ReadError>> {
        read::read_tail(&self.shared().view(), partition, offset, bytes_max)
    }

    /// This moment, by the store's clock.
    pub fn now(&self) -> Stamp {
        draft::now(&self.shared().env.clock)
    }

    /// Reads whole commits in commit order, at least one, of them the batches whose partition passes `filter`. Stops
    /// after `bytes_max` of such batches, or a bounded amount of reading: an empty chunk isn't the end. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scan(
        &self,
        from: CommitSeq,
        filter: &dyn Fn(PartitionId) -> bool,
        bytes_max: usize,
    ) -> Result<ScanChunk, ReadError> {
        self.reading(|shared| scan::scan(shared, from, filter, bytes_max))
    }

    /// The commit that holds `offset`, or the first one behind it: where a scan must start to meet it. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scan_start(&self, partition: PartitionId, offset: i64) -> Result<CommitSeq, ReadError> {
        self.reading(|shared| read::commit_of(shared, partition, offset))
    }

    /// The first record whose timestamp is at least `timestamp_ms`: its offset and timestamp. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn offset_for_time(&self, partition: PartitionId, timestamp_ms: i64) -> Result<Option<(i64, i64)>, ReadError> {
        self.reading(|shared| read::offset_for_time(shared, partition, timestamp_ms))
    }

    /// The record with the highest timestamp: its offset and timestamp; the first of several. Blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn max_timestamp(&self, partition: PartitionId) -> Result<Option<(i64, i64)>, ReadError> {
        self.reading(|shared| read::max_timestamp(shared, partition))
    }

    /// The latest epoch of a partition at or below `ordinal`, and the offset where it ends (KIP-101).
    pub fn epoch_end(&self, partition: PartitionId, ordinal: u32) -> Option<(u32, i64)> {
        self.shared().view().partitions.get(&partition)?.epoch_end(ordinal)
    }

    /// The epoch that appended an offset, or the latest one of the partition for what comes next; `None` where it is not
    /// known (any more).
    pub fn epoch_at(&self, partition: PartitionId, offset: i64) -> Option<u32> {
        self.shared().view().partitions.get(&partition)?.epoch_at(offset)
    }

    /// The epoch of this opening. It is in the table only once something was committed.
    pub fn epoch(&self) -> BootEpoch {
        self.shared().env.epoch
    }

    /// The boot-epoch table, ascending; the oldest rows go first when it is full.
    pub fn epochs(&self) -> Vec<EpochRow> {
        self.shared().view().epochs()
    }

    /// The directory that holds everything.
    pub fn dir(&self) -> std::path::PathBuf {
        self.shared().ring.dir.clone()
    }

    /// Random, made when the store was created.
    pub fn incarnation(&self) -> [u8; 16] {
        self.shared().incarnation
    }

    /// Committed state: one value.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Vec<u8>> {
        self.shared().view().state.get(space, key).map(<[u8]>::to_vec)
    }

    /// Committed state: all entries whose key begins with `prefix`, by key.
    pub fn entries(&self, space: Space, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let shared = self.shared();
        let view = shared.view();
        view.state.range(space, prefix).map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    }

    /// Adds an observer of commits; it stays until the store closes.
    pub fn observe(&self, observer: Arc<dyn CommitObserver>) {
        lock(&self.shared().observers).0.push(observer);
    }

    /// Adds who must look again each time that a store which had failed is open again.
    pub fn on_reopened(&self, who: Arc<dyn Reopened>) {
        self.handle.on_reopened(who);
    }

    /// How far the store's threads are, for a watchdog.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.shared().progress)
    }

    /// Protects what `reader` has not read of a partition: when it must go, the loss ledger tells. Not durable: whoever
    /// follows says so after each opening. The name must not contain a zero byte.
    pub fn follow(&self, reader: &str, partition: PartitionId) {
        lock(&self.shared().env.followers).follow(reader, partition);
    }

    /// Ends [`Store::follow`].
    pub fn unfollow(&self, reader: &str, partition: PartitionId) {
        lock(&self.shared().env.followers).unfollow(reader, partition);
    }

    /// Another pace of commits; the one that is open may still go by the pace before. Not durable, but it outlives a failure.
    pub fn set_pace(&self, pace: Pace) {
        let shared = self.shared();
        *lock(&shared.rules) = Rules::of(pace.commit_window, pace.commit_interval_max);
        let mut flash = lock(&shared.flash);
        flash.set_budget(pace.flash_budget);
        crate::metrics::METRICS.flash_budget_unmet.set(flash.day().unmet.into());
    }

    /// Sets how long and how much of a partition is kept. Not durable. Without effect if the partition doesn't exist.
    pub fn set_retention(&self, partition: PartitionId, retention: Retention) {
        lock(&self.shared().retention).insert(partition, retention);
    }

    /// Says what a partition is worth when room is needed. Not durable. Without effect if the partition doesn't exist.
    pub fn set_class(&self, partition: PartitionId, class: Class) {
        lock(&self.shared().classes).insert(partition, class);
    }

    /// Keeps a range of a partition from going, for a reader that is in doubt whether it has read it, in place of what
    /// that reader had pinned there. Not durable.
    pub fn pin(&self, reader: &str, partition: PartitionId, range: Range<i64>) {
        lock(&self.shared().env.pins).pin(reader, partition, range);
    }

    /// Ends [`Store::pin`].
    pub fn unpin(&self, reader: &str, partition: PartitionId) {
        lock(&self.shared().env.pins).unpin(reader, partition);
    }

    /// Lets someone tell of losses, in the commits that make them.
    pub fn tell_losses(&self, sink: Arc<dyn LossSink>) {
        *lock(&self.shared().loss_sink) = Some(shared::Teller(sink));
    }

    /// The accounts of deleted topics, oldest first; of a bounded number of them.
    pub fn deleted_topics(&self) -> Vec<DeletedTopic> {
        let shared = self.shared();
        let view = shared.view();
        let rows = view.state.range(Space::Ledger, &ledger::DELETED);
        rows.filter_map(|(key, value)| DeletedTopic::decode(key, value)).collect()
    }

    /// Bound of everything on disk.
    pub fn max_bytes(&self) -> u64 {
        self.shared().max_bytes
    }

    /// The loss ledger, by reader, partition and offset: what went before a follower had read it.
    pub fn losses(&self) -> Vec<LossEntry> {
        self.ledger(false)
    }

    /// The partitions' own books, by partition and offset: what went, whoever had read it.
    pub fn removals(&self) -> Vec<LossEntry> {
        self.ledger(true)
    }

    fn ledger(&self, own: bool) -> Vec<LossEntry> {
        let shared = self.shared();
        let view = shared.view();
        let rows = view.state.range(Space::Ledger, &[]).filter_map(|(key, value)| ledger::decode(key, value));
        rows.filter(|entry| entry.reader.is_empty() == own).collect()
    }

    /// The store's figures.
    pub fn status(&self) -> StoreStatus {
        let shared = self.shared();
        let disk_bytes = shared.disk_bytes();
        let rewrite_budget_left = shared.rewrite.budget_left(&shared);
        let refused = room::refused(&shared);
        let view = shared.view();
        StoreStatus {
            max_bytes: shared.max_bytes,
            disk_bytes: disk_bytes + shared.reserve_bytes(),
            reserve_bytes: shared.reserve_bytes(),
            reserve_failure: shared.ring.reserve.failure(),
            segment_bytes: shared.ring.segment_bytes,
            segments: view.segments.len(),
            damaged_segments: view.segments.iter().filter(|segment| segment.is_damaged()).count(),
            quarantined_segments: shared.ring.condemned().0,
            quarantined_bytes: shared.ring.condemned().1,
            first_commit: view.segments.front().map_or(1, |segment| segment.first_commit),
            last_commit: view.last_commit,
            epoch: shared.env.epoch,
            opening: shared.opening,
            partitions: view.partitions.len(),
            state_bytes: view.state.bytes(),
            queued_ops: shared.queue.len(),
            tail_bytes: view.tail.bytes(),
            commits: shared.counters.commits.load(Ordering::Relaxed),
            payload_bytes: shared.counters.payload_bytes.load(Ordering::Relaxed),
            evictions: shared.counters.evictions.load(Ordering::Relaxed),
            rewrites: shared.counters.rewrites.load(Ordering::Relaxed),
            rewritten_bytes: shared.counters.rewritten_bytes.load(Ordering::Relaxed),
            rewrite_budget_left,
            rewrite_budget: shared.rewrite_budget,
            refused,
            poisoned: lock(&shared.poison).as_ref().map(ToString::to_string),
            healing: self.handle.healing(),
            flash: shared.flash_status(),
            format: view.format_status(),
        }
    }

    /// What a watchdog looks at besides [`Store::progress`]. Never waits for a file.
    pub fn pulse(&self) -> Pulse {
        let shared = self.shared();
        let (disk, failed) = (shared.ring.disk.counters(), shared.poisoned().is_some());
        let reads = if failed { disk.bytes_read } else { 0 };
        Pulse {
            queued: shared.queue.len(),
            commits: shared.counters.commits.load(Ordering::Relaxed),
            failed,
            accesses: disk.bytes_written.wrapping_add(disk.syncs).wrapping_add(reads),
        }
    }

    /// Refuses what comes from now on; the engine commits what waits, and closes. Doesn't wait: [`EngineHandle::join`].
    pub fn shutdown(&self) {
        self.handle.close();
    }
}
