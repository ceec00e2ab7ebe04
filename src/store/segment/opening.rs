//! Opens segment files: blank, for writing, for replaying, for reading.
//!
//! Invariants: before anything of a file that may have been written to by a process that failed is believed, the kernel's copy of it
//! is dropped; what is only checked is checked over an overlay, since redb's check rolls back what it doesn't like.

use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use redb::Database;

use super::super::backend::{Backend, PAGE_ORDER_MAX};
use super::super::disk::{Disk, DiskFile, OpenMode};
use super::super::log_parts::LogParts;
use super::super::once::OnceFile;
use super::super::overlay;
use super::super::ring::lock;
use super::{Db, SegmentError, SegmentFile, fail, guarded};

impl SegmentFile {
    /// Makes a blank segment in a file that is new or was recycled.
    pub(in crate::store) fn create(file: Arc<dyn DiskFile>, cache_bytes: usize) -> Result<Self, SegmentError> {
        let backend = Backend::create(Arc::clone(&file)).map_err(SegmentError::Io)?;
        Self::with_backend(file, backend, cache_bytes, true)
    }

    /// Opens a segment for writing; repairs it if it was not closed cleanly.
    pub(in crate::store) fn open_write(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<Self, SegmentError> {
        let file = disk.open(path, OpenMode::ReadWrite).map_err(SegmentError::Io)?;
        Self::write_in(file, cache_bytes)
    }

    /// As [`SegmentFile::open_write`], to replay it: what is read is kept until [`SegmentFile::release`]. How much of
    /// the file is in use is known when all of its log was read. `checked`: a damaged page is an error, wherever it is.
    pub(in crate::store) fn open_replay(
        disk: &dyn Disk,
        path: &Path,
        cache_bytes: usize,
        steps: Arc<AtomicU64>,
        checked: bool,
    ) -> Result<Self, SegmentError> {
        let file = disk.open(path, OpenMode::ReadWrite).map_err(SegmentError::Io)?;
        let once = Arc::new(OnceFile::new(file, steps).map_err(SegmentError::Io)?);
        let file = Arc::clone(&once) as Arc<dyn DiskFile>;
        file.drop_cache().map_err(SegmentError::Io)?;
        if checked {
            Self::check_clean(&file, cache_bytes)?;
        }
        let mut opened = Self::replay_in(file, cache_bytes)?;
        opened.once = Some(once);
        Ok(opened)
    }

    /// Forgets what was kept for replaying.
    pub(in crate::store) fn release(&self) {
        if let Some(once) = &self.once {
            once.release();
        }
    }

    /// Checks every page of a file that was closed cleanly. redb takes such a file at its word, and never misses the commits that a
    /// damaged branch leads past; one that was not closed it checks itself. Over an overlay: redb's check rolls back what it doesn't like.
    pub(in crate::store) fn check_clean(file: &Arc<dyn DiskFile>, cache_bytes: usize) -> Result<(), SegmentError> {
        let backend = Backend::open(Arc::clone(file), PAGE_ORDER_MAX).map_err(not_a_database)?;
        // Not clean; or what is wrong is met again.
        let Ok(clean) = Self::with_backend(Arc::clone(file), backend, cache_bytes, false) else { return Ok(()) };
        // That another version wrote it says more than that a page is odd.
        clean.activation()?;
        drop(clean);
        let over = overlay::over(Arc::clone(file)).map_err(SegmentError::Io)?;
        let backend = Backend::open(Arc::clone(&over), PAGE_ORDER_MAX).map_err(not_a_database)?;
        if Self::with_backend(over, backend, cache_bytes, true)?.check_pages()? {
            Ok(())
        } else {
            Err(SegmentError::Damaged("a page of it does not match its checksum".to_owned()))
        }
    }

    fn write_in(file: Arc<dyn DiskFile>, cache_bytes: usize) -> Result<Self, SegmentError> {
        // What an earlier process failed to sync may be in the kernel's memory and nowhere else.
        file.drop_cache().map_err(SegmentError::Io)?;
        Self::replay_in(file, cache_bytes)
    }

    fn replay_in(file: Arc<dyn DiskFile>, cache_bytes: usize) -> Result<Self, SegmentError> {
        let backend = Backend::open(Arc::clone(&file), PAGE_ORDER_MAX).map_err(not_a_database)?;
        Self::with_backend(file, backend.counting_reads(), cache_bytes, true)
    }

    /// Opens a segment that was closed cleanly.
    pub(in crate::store) fn open_read(disk: &dyn Disk, path: &Path, cache_bytes: usize) -> Result<Self, SegmentError> {
        let file = disk.open(path, OpenMode::Read).map_err(SegmentError::Io)?;
        let backend = Backend::open(Arc::clone(&file), PAGE_ORDER_MAX).map_err(not_a_database)?;
        Self::with_backend(file, backend, cache_bytes, false)
    }

    fn with_backend(
        file: Arc<dyn DiskFile>,
        backend: Backend,
        cache_bytes: usize,
        write: bool,
    ) -> Result<Self, SegmentError> {
        let usage = backend.usage();
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let db = guarded(|| {
            Ok(if write {
                Db::Write(builder.create_with_backend(backend).map_err(fail)?)
            } else {
                Db::Read(builder.open_read_only_with_backend(backend).map_err(fail)?)
            })
        })?;
        let opened = Self { db, file, usage, once: None, parts: Mutex::default() };
        let parts = opened.read(|txn| Ok(LogParts::among(txn.list_tables().map_err(fail)?)))?;
        *lock(&opened.parts) = parts;
        Ok(opened)
    }
}

/// A file without redb's magic number where a segment must be isn't a matter of I/O.
fn not_a_database(error: io::Error) -> SegmentError {
    match error.kind() {
        io::ErrorKind::InvalidData => SegmentError::damaged(error.to_string()),
        _ => SegmentError::Io(error),
    }
}
