//! The ring of segment files: their names, their handles, the spare, and how much room all of it takes.
//!
//! In the store's directory: `0000000007.seg` a segment, by id; `spare.new` a file on its way to become one;
//! `0000000006.bad` a segment that was taken out because it is damaged; `rewrite.new` a copy of sealed segments;
//! `state.redb` the cold state; `lock`. A spare is made complete under `spare.new` and then renamed to the name of the next
//! segment, so a `.seg` file is never half made: blank it is a spare, activated it is data.
//!
//! A sealed segment that turns out to be unreadable stays in the ring as damaged ([`Segment::note_unreadable`]): readers
//! pass over it, until it is evicted.
//!
//! Invariants: at most [`SEALED_OPEN_MAX`] sealed segments are open; a segment that went is closed before its file is
//! removed; no lock of one segment is awaited while another's is held.

mod aside;
mod member;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backend;
use super::directory::BeginCache;
use super::disk::{Disk, OpenMode};
use super::options::SEALED_OPEN_MAX;
use super::reserve::Reserve;
use super::segment::{SegmentError, SegmentFile};
#[cfg(debug_assertions)]
use super::sim::Planted;
use super::types::PartitionId;

use member::Slot;
pub(super) use member::{Segment, UseError};

/// A copy of sealed segments that is being made.
pub(super) const REWRITE_NEW: &str = "rewrite.new";
/// A file on its way to become a spare.
pub(super) const SPARE_NEW: &str = "spare.new";
const SEGMENT_SUFFIX: &str = ".seg";
const CONDEMNED_SUFFIX: &str = ".bad";

/// The name of a segment's file.
pub(super) fn segment_name(id: u32) -> String {
    format!("{id:010}{SEGMENT_SUFFIX}")
}

/// The segment whose file bears this name.
pub(super) fn segment_id(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    let id = digits.parse().ok()?;
    (segment_name(id) == name).then_some(id)
}

/// The damaged segment whose file bears this name.
pub(super) fn condemned_id(name: &str) -> Option<u32> {
    segment_id(&format!("{}{SEGMENT_SUFFIX}", name.strip_suffix(CONDEMNED_SUFFIX)?))
}

/// Locks, whatever happened to who held it: what these mutexes guard is valid at every moment.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A blank segment, ready to be activated.
#[derive(Debug)]
pub(super) struct Spare {
    pub id: u32,
    pub path: PathBuf,
    pub file: SegmentFile,
}

/// The files.
#[derive(Debug)]
pub(super) struct Ring {
    pub disk: Arc<dyn Disk>,
    pub dir: PathBuf,
    pub segment_bytes: u64,
    active_cache_bytes: usize,
    sealed_cache_bytes: usize,
    /// Open sealed segments, the least recently used first.
    open: Mutex<VecDeque<Arc<Segment>>>,
    spare: Mutex<Option<Spare>>,
    /// Held by whoever makes, recycles or removes a file, writer or maintenance: one at a time. The highest id of a
    /// spare that was ever taken: its name belongs to a segment in use.
    files: Mutex<u32>,
    /// Files of segments that were taken out of the ring because they are damaged, with what they occupy.
    condemned: Mutex<VecDeque<(PathBuf, u64)>>,
    /// Room claimed beforehand.
    pub reserve: Reserve,
    /// Evicted in a durable commit; their files are still there.
    doomed: Mutex<Vec<Arc<Segment>>>,
    /// A fault planted on purpose, for tests.
    #[cfg(debug_assertions)]
    pub planted: Option<Planted>,
    /// What a copy of sealed segments may come to occupy.
    rewrite_bytes: AtomicU64,
    begins: Mutex<BeginCache>,
    /// See `StoreOptions::opening_steps`.
    pub steps: Arc<AtomicU64>,
}

impl Ring {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        segment_bytes: u64,
        active_cache_bytes: usize,
        sealed_cache_bytes: usize,
    ) -> Self {
        Self {
            disk,
            dir,
            segment_bytes,
            active_cache_bytes,
            sealed_cache_bytes,
            open: Mutex::default(),
            spare: Mutex::default(),
            files: Mutex::default(),
            condemned: Mutex::default(),
            reserve: Reserve::default(),
            doomed: Mutex::default(),
            #[cfg(debug_assertions)]
            planted: None,
            rewrite_bytes: AtomicU64::new(0),
            begins: Mutex::default(),
            steps: Arc::default(),
        }
    }

    /// Counts the steps of an opening here.
    pub(super) fn counting(self, steps: &Arc<AtomicU64>) -> Self {
        Self { steps: Arc::clone(steps), ..self }
    }

    /// Breaks a rule on purpose.
    #[cfg(debug_assertions)]
    pub(super) fn with_planted(self, planted: Option<Planted>) -> Self {
        Self { planted, ..self }
    }

    pub(super) fn path(&self, id: u32) -> PathBuf {
        self.dir.join(segment_name(id))
    }

    /// Opens a segment's file for writing, to replay it. `checked`: a damaged page is an error, wherever it is.
    pub(super) fn open_replay(&self, path: &Path, checked: bool) -> Result<SegmentFile, SegmentError> {
        SegmentFile::open_replay(&*self.disk, path, self.active_cache_bytes, Arc::clone(&self.steps), checked)
    }

    /// Checks every page of a file that was closed cleanly.
    pub(super) fn check_clean(&self, path: &Path) -> Result<(), SegmentError> {
        let file = self.disk.open(path, OpenMode::Read).map_err(SegmentError::Io)?;
        SegmentFile::check_clean(&file, self.sealed_cache_bytes)
    }

    /// Opens a segment's file for reading, if it was closed cleanly.
    pub(super) fn open_sealed_clean(&self, path: &Path) -> Result<SegmentFile, SegmentError> {
        SegmentFile::open_read(&*self.disk, path, self.sealed_cache_bytes)
    }

    /// Opens a sealed segment's file. One that was sealed but not closed is closed first.
    pub(super) fn open_sealed(&self, path: &Path) -> Result<SegmentFile, SegmentError> {
        match self.open_sealed_clean(path) {
            Err(SegmentError::Unclean) => {
                SegmentFile::open_write(&*self.disk, path, self.sealed_cache_bytes)?.close()?;
                match self.open_sealed_clean(path) {
                    // Over an overlay nothing stays closed.
                    Err(SegmentError::Unclean) => SegmentFile::open_write(&*self.disk, path, self.sealed_cache_bytes),
                    opened => opened,
                }
            }
            opened => opened,
        }
    }

    /// Uses a segment's file, opening it if need be.
    pub(super) fn with_file<T>(
        &self,
        segment: &Arc<Segment>,
        use_it: impl FnOnce(&SegmentFile) -> Result<T, SegmentError>,
    ) -> Result<T, UseError> {
        let mut use_it = Some(use_it);
        loop {
            {
                let slot = segment.slot.read().unwrap_or_else(PoisonError::into_inner);
                match &*slot {
                    Slot::Open(file) => {
                        self.touch(segment);
                        let Some(use_it) = use_it.take() else { return Err(UseError::Gone) };
                        return Ok(use_it(file)?);
                    }
                    Slot::Damaged(_) => return Err(UseError::Unreadable),
                    Slot::Gone => return Err(UseError::Gone),
                    Slot::Withdrawn => {
                        let error = io::Error::other("the store is being opened again after a failure");
                        return Err(SegmentError::Io(error).into());
                    }
                    Slot::Closed => {}
                }
            }
            {
                let mut slot = segment.slot.write().unwrap_or_else(PoisonError::into_inner);
                if matches!(&*slot, Slot::Closed) {
                    match self.open_sealed(&segment.path) {
                        Ok(file) => *slot = Slot::Open(file),
                        Err(error) if is_damage(&error) => {
                            drop(slot);
                            segment.note_unreadable(&error.to_string());
                            return Err(UseError::Unreadable);
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            self.admit(segment);
        }
    }

    /// The next offset of a partition before a segment's first commit; 0 if there was no such partition.
    pub(super) fn beginning(&self, segment: &Arc<Segment>, partition: PartitionId) -> Result<i64, UseError> {
        if let Some(offset) = lock(&self.begins).get(segment.first_commit, partition) {
            return Ok(offset);
        }
        let offset = match self.with_file(segment, |file| file.beginning(partition)) {
            Err(UseError::Segment(error)) if is_damage(&error) && segment.unsealed().is_none() => {
                // Every lookup goes through it: without this, it would make others fail too.
                segment.note_unreadable(&error.to_string());
                return Err(UseError::Unreadable);
            }
            read => read?,
        };
        lock(&self.begins).set(segment.first_commit, partition, offset);
        Ok(offset)
    }

    /// Marks an open sealed segment as used.
    fn touch(&self, segment: &Arc<Segment>) {
        let mut open = lock(&self.open);
        if let Some(at) = open.iter().position(|other| Arc::ptr_eq(other, segment))
            && let Some(segment) = open.remove(at)
        {
            open.push_back(segment);
        }
    }

    /// Counts a segment among the open ones; closes the least recently used if there are too many.
    fn admit(&self, segment: &Arc<Segment>) {
        let mut open = lock(&self.open);
        if !open.iter().any(|other| Arc::ptr_eq(other, segment)) {
            open.push_back(Arc::clone(segment));
        }
        while open.len() > SEALED_OPEN_MAX {
            let Some(oldest) = open.pop_front() else { break };
            // One that is being read is closed when its turn comes again.
            let Ok(mut slot) = oldest.slot.try_write() else {
                open.push_back(oldest);
                break;
            };
            if matches!(&*slot, Slot::Open(_)) {
                *slot = Slot::Closed;
            }
        }
    }

    fn forget_open(&self, segment: &Arc<Segment>) {
        lock(&self.open).retain(|other| !Arc::ptr_eq(other, segment));
    }

    /// Closes all that is open, for good.
    pub(super) fn close<'a>(&self, segments: impl Iterator<Item = &'a Arc<Segment>>) -> Result<(), SegmentError> {
        lock(&self.open).clear();
        let mut result = Ok(());
        if let Some(spare) = lock(&self.spare).take() {
            result = spare.file.close();
        }
        for segment in segments {
            if let Slot::Open(file) = segment.set_slot(Slot::Gone) {
                result = result.and(file.close());
            }
        }
        result
    }

    /// Lets go of the spare; its file stays until the store is opened again.
    pub(super) fn drop_spare(&self) {
        drop(lock(&self.spare).take());
    }

    pub(super) fn has_spare(&self) -> bool {
        lock(&self.spare).is_some()
    }

    /// Takes the spare with this id; makes one if there is none. If one is being made, waits for that.
    pub(super) fn take_spare(&self, id: u32) -> Result<Spare, SegmentError> {
        let mut taken = lock(&self.files);
        let spare = match lock(&self.spare).take() {
            Some(spare) if spare.id == id => spare,
            _ => self.make_spare(id, None)?,
        };
        *taken = id;
        Ok(spare)
    }

    /// Makes the spare for segment `id` ahead of its time; out of the file of an evicted segment, if given. Does nothing
    /// if that id was taken, or that file has gone, since the caller looked.
    pub(super) fn prepare_spare(&self, id: u32, recycled: Option<&Arc<Segment>>) -> Result<(), SegmentError> {
        let taken = lock(&self.files);
        if id <= *taken || recycled.is_some_and(|segment| !self.is_doomed(segment)) {
            return Ok(());
        }
        let spare = self.make_spare(id, recycled.map(|segment| &**segment))?;
        *lock(&self.spare) = Some(spare);
        if let Some(segment) = recycled {
            self.undoom(segment);
        }
        Ok(())
    }

    fn make_spare(&self, id: u32, recycled: Option<&Segment>) -> Result<Spare, SegmentError> {
        let io = SegmentError::Io;
        let new = self.dir.join(SPARE_NEW);
        let file = match recycled {
            Some(segment) => {
                let file = self.disk.open(&segment.path, OpenMode::ReadWrite).map_err(io)?;
                backend::recycle(&*file, self.segment_bytes).map_err(io)?;
                self.disk.rename(&segment.path, &new).map_err(io)?;
                file
            }
            None => self.claimed_or_new(&new).map_err(io)?,
        };
        let file = SegmentFile::create(file, self.active_cache_bytes)?;
        let path = self.path(id);
        self.disk.rename(&new, &path).map_err(io)?;
        self.sync_dir().map_err(io)?;
        Ok(Spare { id, path, file })
    }

    /// Makes the names of files durable.
    fn sync_dir(&self) -> io::Result<()> {
        #[cfg(debug_assertions)]
        if self.planted == Some(Planted::NoDirSync) {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir)
    }

    /// An empty file: out of the reserve, else new.
    fn claimed_or_new(&self, path: &Path) -> io::Result<Arc<dyn super::disk::DiskFile>> {
        match self.reserve.take(&self.dir) {
            Some(claimed) => {
                self.disk.rename(&claimed, path)?;
                self.disk.open(path, OpenMode::ReadWrite)
            }
            None => self.create_new(path),
        }
    }

    /// Bytes of the spare; 0 if there is none.
    pub(super) fn spare_bytes(&self) -> u64 {
        lock(&self.spare).as_ref().map_or(0, |spare| spare.file.file.allocated().unwrap_or(0))
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn super::disk::DiskFile>> {
        match self.disk.open(path, OpenMode::CreateNew) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left over from an attempt that failed.
                self.disk.remove(path)?;
                self.disk.open(path, OpenMode::CreateNew)
            }
            opened => opened,
        }
    }

    /// Takes in segments whose eviction is durable: nobody can use them any more when this returns.
    pub(super) fn doom(&self, segments: Vec<Arc<Segment>>) {
        for segment in &segments {
            #[cfg(debug_assertions)]
            if self.planted == Some(Planted::RecycleUnderReader) {
                continue;
            }
            self.forget_open(segment);
            segment.set_gone();
        }
        lock(&self.doomed).extend(segments);
    }

    /// An evicted segment whose file is still there; it counts until [`Ring::remove`] or recycling is done with it.
    pub(super) fn doomed(&self) -> Option<Arc<Segment>> {
        lock(&self.doomed).first().cloned()
    }

    fn is_doomed(&self, segment: &Arc<Segment>) -> bool {
        lock(&self.doomed).iter().any(|other| Arc::ptr_eq(other, segment))
    }

    /// Says that the file of an evicted segment is gone or has become something else.
    fn undoom(&self, segment: &Arc<Segment>) {
        lock(&self.doomed).retain(|other| !Arc::ptr_eq(other, segment));
    }

    /// Removes the file of an evicted segment, unless someone else has meanwhile.
    pub(super) fn remove(&self, segment: &Arc<Segment>) -> io::Result<()> {
        let _one_at_a_time = lock(&self.files);
        if !self.is_doomed(segment) {
            return Ok(());
        }
        match self.disk.remove(&segment.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.sync_dir()?,
        }
        self.undoom(segment);
        Ok(())
    }

    /// A segment's file has another content now: nobody can use the old one any more when this returns.
    pub(super) fn replaced(&self, segment: &Arc<Segment>) {
        self.forget_open(segment);
        segment.set_gone();
    }

    /// What the spare will occupy beyond that once it is full.
    pub(super) fn spare_growth(&self) -> u64 {
        if self.has_spare() { self.segment_bytes.saturating_sub(self.spare_bytes()) } else { 0 }
    }

    /// Removes the spare, to have its room.
    pub(super) fn remove_spare(&self) -> io::Result<()> {
        let _one_at_a_time = lock(&self.files);
        let Some(spare) = lock(&self.spare).take() else { return Ok(()) };
        let path = spare.path;
        drop(spare.file);
        self.disk.remove(&path)?;
        self.sync_dir()
    }

    /// Bytes of the spare and of evicted segments whose files are still there.
    pub(super) fn idle_bytes(&self) -> u64 {
        let doomed: u64 = lock(&self.doomed).iter().map(|segment| segment.allocated()).sum();
        self.spare_bytes() + doomed + self.condemned().1 + self.rewrite_bytes.load(Ordering::Relaxed)
    }
}

/// Whether a file is bad or missing, and not just the moment.
fn is_damage(error: &SegmentError) -> bool {
    match error {
        SegmentError::Io(error) => error.kind() == io::ErrorKind::NotFound,
        SegmentError::Unclean | SegmentError::NoRoom => false,
        SegmentError::Damaged(_) | SegmentError::TooNew(_) | SegmentError::TooOld(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids_belong_together() {
        assert_eq!((condemned_id("0000000007.bad"), condemned_id("0000000007.seg")), (Some(7), None));
        assert_eq!(segment_name(7), "0000000007.seg");
        assert_eq!(segment_id("0000000007.seg"), Some(7));
        for other in ["7.seg", "+000000007.seg", "spare.new", "0000000007.seg.bak", "9999999999.seg", "lock"] {
            assert_eq!(segment_id(other), None, "{other}");
        }
    }
}
