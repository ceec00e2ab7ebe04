//! What of a store outlives a failure: the claim on its directory, who is told of what, and the present [`Shared`].
//!
//! A failure of the medium ends a `Shared` for good. The engine then opens the files anew and puts another one in its
//! place; handles notice nothing of it but the errors in between.
//!
//! Invariants: at most one `Shared` of a directory takes operations; what a reader holds of an old one is of no use
//! once its segments are given up (see [`super::ring::Ring::close`]), so such a read is made again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::Store;
use super::clock::Clock;
use super::disk::{DirLock, Disk};
use super::options::StoreOptions;
use super::ring::lock;
use super::shared::{Shared, Signal};

/// Who keeps things in memory that follow from what is stored.
pub trait Reopened: Send + Sync {
    /// A store that had failed is open again: `store` has what was recovered. The last commit before the failure may be
    /// there or not. Nobody else has seen it yet, and it takes operations only when this has returned.
    ///
    /// # Errors
    /// A text that says what in the store can't be used. It stays closed then, and is opened again later.
    fn reopened(&self, store: &Store) -> Result<(), String>;

    /// Now all handles lead to what was recovered: whoever waits for something in it must look again.
    fn resumed(&self) {}
}

/// How a store that failed gets on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healing {
    /// How often it was opened again since the process began.
    pub healed: u64,
    /// Why the last try to open it again failed; `None` while it works.
    pub failure: Option<String>,
}

/// What outlives a failure.
pub(super) struct Handle {
    current: RwLock<Arc<Shared>>,
    /// What it was opened with, to do so again.
    pub options: StoreOptions,
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<dyn Clock>,
    dir_lock: Mutex<Option<Box<dyn DirLock>>>,
    closing: AtomicBool,
    /// Ends the wait before the next try to open it again.
    wake: Signal,
    reopened: Mutex<Vec<Arc<dyn Reopened>>>,
    healed: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("dir", &self.options.dir).finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(
        shared: Arc<Shared>,
        dir_lock: Box<dyn DirLock>,
        options: StoreOptions,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            current: RwLock::new(shared),
            options,
            disk,
            clock,
            dir_lock: Mutex::new(Some(dir_lock)),
            closing: AtomicBool::new(false),
            wake: Signal::default(),
            reopened: Mutex::default(),
            healed: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// A handle on what was recovered, for those who look at it before anybody else does.
    pub(super) fn preview(&self, shared: &Arc<Shared>) -> Store {
        let handle = Self {
            current: RwLock::new(Arc::clone(shared)),
            options: self.options.clone(),
            disk: Arc::clone(&self.disk),
            clock: Arc::clone(&self.clock),
            dir_lock: Mutex::default(),
            closing: AtomicBool::new(false),
            wake: Signal::default(),
            reopened: Mutex::default(),
            healed: AtomicU64::new(0),
            failure: Mutex::default(),
        };
        Store { handle: Arc::new(handle) }
    }

    pub(super) fn current(&self) -> Arc<Shared> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_current(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.current.read().unwrap_or_else(PoisonError::into_inner), shared)
    }

    /// Puts what was recovered in the place of what had failed.
    pub(super) fn replace(&self, shared: Arc<Shared>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = shared;
        self.healed.fetch_add(1, Ordering::Relaxed);
        *lock(&self.failure) = None;
        // Somebody may have closed the other one meanwhile.
        if self.is_closing() {
            self.current().queue.close();
        }
    }

    /// The store is to end: it isn't opened again.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.current().queue.close();
        self.wake.wake();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Waits, unless the store is to end.
    pub(super) fn pause(&self, time: Duration) {
        if !self.is_closing() {
            self.wake.wait(time);
        }
    }

    /// Gives the directory free for other processes.
    pub(super) fn release(&self) {
        drop(lock(&self.dir_lock).take());
    }

    pub(super) fn on_reopened(&self, who: Arc<dyn Reopened>) {
        lock(&self.reopened).push(who);
    }

    pub(super) fn reopened(&self) -> Vec<Arc<dyn Reopened>> {
        lock(&self.reopened).clone()
    }

    /// Notes why the store couldn't be opened again. Whether that is news.
    pub(super) fn note_failure(&self, why: String) -> bool {
        let mut failure = lock(&self.failure);
        let news = failure.as_ref() != Some(&why);
        *failure = Some(why);
        news
    }

    pub(super) fn healing(&self) -> Healing {
        Healing { healed: self.healed.load(Ordering::Relaxed), failure: lock(&self.failure).clone() }
    }
}
