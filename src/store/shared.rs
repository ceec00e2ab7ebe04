//! What the handle, the writer and maintenance share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::classes::Class;
use super::cold::{ColdChanges, ColdFile};
use super::draft::DraftEnv;
use super::error::StoreError;
use super::options::OnFull;
use super::progress::Progress;
use super::queue::Queue;
use super::ring::{Ring, lock};
use super::types::{CommitObserver, PartitionId, Retention};
use super::view::View;

/// Room kept for what must go through when all else is used up: an eviction's own commit, the end of a seal.
pub(super) const RESERVE_BYTES: u64 = 256 * 1_024;
/// What a commit adds to the file besides its stream, at most: table roots, freed pages, the log's right edge.
pub(super) const COMMIT_OVERHEAD_BYTES: u64 = 64 * 1_024;

/// What the handle, the writer and maintenance share.
#[derive(Debug)]
pub(super) struct Shared {
    pub ring: Ring,
    pub env: DraftEnv,
    pub view: RwLock<View>,
    pub queue: Queue,
    /// Outlives a failure, as do `retention`, `classes`, `counters`, `progress` and the followers.
    pub observers: Arc<Mutex<Observers>>,
    pub retention: Arc<Mutex<HashMap<PartitionId, Retention>>>,
    pub classes: Arc<Mutex<HashMap<PartitionId, Class>>>,
    pub max_bytes: u64,
    pub on_full: OnFull,
    pub window_ms: u64,
    pub draft_bytes_max: usize,
    pub incarnation: [u8; 16],
    pub counters: Arc<Counters>,
    pub progress: Arc<Progress>,
    pub maintenance: Signal,
    pub cold: Mutex<ColdFile>,
    /// What `state.redb` occupies; while it is written, what it may come to occupy.
    pub cold_bytes: AtomicU64,
    /// Left by a roll for the sealer.
    pub cold_changes: Mutex<Option<ColdChanges>>,
    /// Segments up to this one are sealed, and `state.redb` has their changes.
    pub sealed_through: AtomicU32,
    /// The last segment whose eviction was sent to the writer.
    pub evicting: Arc<AtomicU32>,
    /// Held while a segment is sealed.
    pub sealing: Mutex<()>,
    /// Files that are damaged and none of the ring's any more: they count, nothing else.
    pub other_bytes: AtomicU64,
    pub poison: Mutex<Option<Arc<str>>>,
}

/// Who is told of commits.
#[derive(Default)]
pub(super) struct Observers(pub Vec<Arc<dyn CommitObserver>>);

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Observers").field(&self.0.len()).finish()
    }
}

/// Figures since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub commits: AtomicU64,
    pub payload_bytes: AtomicU64,
    pub evictions: AtomicU64,
}

/// Wakes the maintenance thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    woken: Mutex<bool>,
    condvar: Condvar,
    stopped: AtomicBool,
}

impl Signal {
    pub(super) fn wake(&self) {
        *lock(&self.woken) = true;
        self.condvar.notify_all();
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn wait(&self, time: Duration) {
        let woken = self.condvar.wait_timeout_while(lock(&self.woken), time, |woken| !*woken);
        *woken.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Shared {
    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the writer, or recovery before there is one.
    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops all writing: what is on disk is unknown until the store is opened again (see [`super::heal`]).
    pub(super) fn poison(&self, why: &str) -> StoreError {
        log::error!("the store stops: {why}");
        let why: Arc<str> = lock(&self.poison).get_or_insert_with(|| why.into()).clone();
        self.queue.close();
        self.maintenance.wake();
        StoreError::Poisoned(why)
    }

    /// What an operation is told that isn't tried any more.
    pub(super) fn poisoned(&self) -> Option<StoreError> {
        lock(&self.poison).clone().map(StoreError::Stopped)
    }

    /// Why the queue takes nothing any more.
    pub(super) fn why_closed(&self) -> StoreError {
        self.poisoned().unwrap_or(StoreError::Closed)
    }

    /// Bytes of everything on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let segments: u64 = self.view().segments.iter().map(|segment| segment.allocated()).sum();
        let other = self.other_bytes.load(Ordering::Relaxed);
        segments + self.ring.idle_bytes() + self.cold_bytes.load(Ordering::Relaxed) + other
    }

    /// Bytes of everything on disk once the active segment is full and what is under way is finished. While this stays
    /// within `max_bytes`, no commit needs to wait for room.
    pub(super) fn planned_bytes(&self) -> u64 {
        let (growth, cold) = {
            let view = self.view();
            let allocated = view.active().map_or(0, |active| active.allocated());
            let cold = if view.state.cold_spaces().is_empty() { 0 } else { 3 * view.state.bytes() };
            (self.ring.segment_bytes.saturating_sub(allocated), cold)
        };
        let cold = cold.saturating_sub(self.cold_bytes.load(Ordering::Relaxed));
        // The writer wants to have room for the largest commit before it begins any.
        let commit = self.env.commit_bytes_max as u64;
        self.disk_bytes() + growth + cold + commit + commit / 8 + 3 * RESERVE_BYTES
    }
}
