//! A segment of the ring: where it stands, the handle on its file, and whether that can be used.
//!
//! Invariant: a file is open at most once; whoever wants to use it while it is closed or replaced waits.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::super::heads::Marks;
use super::super::index::SegmentIndex;
use super::super::segment::{SegmentError, SegmentFile};
use super::super::types::CommitSeq;
use super::lock;

/// A segment that holds data.
#[derive(Debug)]
pub(in crate::store) struct Segment {
    pub id: u32,
    /// The first of the segments whose place it takes: itself, unless it is the rewritten form of a run.
    pub covers_from: u32,
    pub first_commit: CommitSeq,
    pub path: PathBuf,
    pub(super) slot: RwLock<Slot>,
    /// Until it is sealed, from the moment it isn't the active one any more.
    unsealed: Mutex<Option<Unsealed>>,
    allocated: AtomicU64,
}

/// What a segment will be sealed with.
#[derive(Clone, Debug)]
pub(in crate::store) struct Unsealed {
    pub index: Arc<SegmentIndex>,
    pub marks: Arc<Marks>,
}

#[derive(Debug)]
pub(super) enum Slot {
    Open(SegmentFile),
    Closed,
    /// It can't be read; why.
    Damaged(Arc<str>),
    /// Closed after a failure: what the file shows is no evidence until the store is opened again.
    Withdrawn,
    /// Its file is removed or about to be.
    Gone,
}

/// Why a segment can't be used.
#[derive(Debug)]
pub(in crate::store) enum UseError {
    /// It was evicted meanwhile: look again where the data is.
    Gone,
    /// It has just turned out to be unreadable, and is passed over from now on: look again where to go on.
    Unreadable,
    Segment(SegmentError),
}

impl From<SegmentError> for UseError {
    fn from(error: SegmentError) -> Self {
        Self::Segment(error)
    }
}

impl Segment {
    /// A segment with an open file.
    pub(in crate::store) fn open(id: u32, first_commit: CommitSeq, path: PathBuf, file: SegmentFile) -> Self {
        let allocated = file.file.allocated().unwrap_or(0);
        Self::new((id, id), first_commit, path, Slot::Open(file), allocated)
    }

    /// A sealed segment, closed; it covers the segments of these ids.
    pub(in crate::store) fn sealed(covers: (u32, u32), first_commit: CommitSeq, path: PathBuf, allocated: u64) -> Self {
        Self::new(covers, first_commit, path, Slot::Closed, allocated)
    }

    fn new((covers_from, id): (u32, u32), first_commit: CommitSeq, path: PathBuf, slot: Slot, allocated: u64) -> Self {
        Self {
            id,
            covers_from,
            first_commit,
            path,
            slot: RwLock::new(slot),
            unsealed: Mutex::new(None),
            allocated: AtomicU64::new(allocated),
        }
    }

    /// Says that a sealed segment can't be read. It stays in the ring, and readers pass over it, until it is evicted.
    pub(in crate::store) fn note_unreadable(&self, why: &str) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(&*slot, Slot::Gone | Slot::Damaged(_)) {
            log::error!("{}: damaged, its records are out of reach: {why}", self.path.display());
            *slot = Slot::Damaged(why.into());
        }
    }

    /// Why it can't be read, if it can't.
    pub(in crate::store) fn damage(&self) -> Option<Arc<str>> {
        match &*self.slot.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Damaged(why) => Some(Arc::clone(why)),
            _ => None,
        }
    }

    /// Uses the file of a segment that is open for writing.
    pub(in crate::store) fn with_open<T>(&self, use_it: impl FnOnce(&SegmentFile) -> T) -> Option<T> {
        match &*self.slot.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Open(file) => Some(use_it(file)),
            _ => None,
        }
    }

    /// Replaces the handle; the one before is dropped once nobody uses it.
    pub(super) fn set_slot(&self, slot: Slot) -> Slot {
        std::mem::replace(&mut *self.slot.write().unwrap_or_else(PoisonError::into_inner), slot)
    }

    /// Closes the file cleanly; whoever wants to use it meanwhile waits, for a file must never be open twice.
    pub(in crate::store) fn close_file(&self) -> Result<(), SegmentError> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Open(file) => file.close(),
            other => {
                *slot = other;
                Ok(())
            }
        }
    }

    pub(in crate::store) fn is_damaged(&self) -> bool {
        self.damage().is_some()
    }

    /// Closes the file after a failure: it can't be used through this any more.
    pub(in crate::store) fn withdraw(&self) {
        drop(self.set_slot(Slot::Withdrawn));
    }

    /// Gives up the handle for good.
    pub(in crate::store) fn set_gone(&self) {
        drop(self.set_slot(Slot::Gone));
    }

    pub(in crate::store) fn set_unsealed(&self, index: SegmentIndex, marks: Marks) {
        *lock(&self.unsealed) = Some(Unsealed { index: Arc::new(index), marks: Arc::new(marks) });
    }

    /// Index and time marks, if they aren't in the file yet.
    pub(in crate::store) fn unsealed(&self) -> Option<Unsealed> {
        lock(&self.unsealed).clone()
    }

    pub(in crate::store) fn set_sealed(&self) {
        *lock(&self.unsealed) = None;
    }

    /// Bytes it occupies on the medium.
    pub(in crate::store) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    pub(in crate::store) fn set_allocated(&self, bytes: u64) {
        self.allocated.store(bytes, Ordering::Relaxed);
    }
}
