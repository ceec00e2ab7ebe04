//! A [`DiskFile`] as redb's storage, new or recycled.
//!
//! Overwriting blocks that a file already has is cheaper than giving it new ones: a commit into a recycled file runs
//! 1.05 to 1.3 times as fast on ext4, for no journal has to follow it (reserving blocks with fallocate gains nothing:
//! the first write into each must be journalled all the same). But redb creates a database only in a file of length 0.
//! So a file to be recycled keeps its blocks and loses its header ([`recycle`]), and [`Backend::create`] shows it to
//! redb as empty: the length that redb sees is kept here, in memory, and the real file only ever grows under it.
//!
//! Why that is sound, for the database as for its recovery:
//! - redb writes every page whole before it reads it, and follows only pointers that carry a 128-bit checksum of the
//!   page they point to. What an earlier life left in a page it has not written is never looked at; in a page whose
//!   write a power cut lost, it fails the checksum as zeroes would.
//! - redb writes its magic number last, after a sync. Until then the file is blank to [`Backend::create`] and refused
//!   by [`Backend::open`].
//! - After a power cut redb takes the layout from the file's length, and every whole number of pages is a layout.
//! - A clean close cuts the file down to the length redb believes in, which a read-only open insists on.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::store::disk::DiskFile;
use crate::store::pages::{self, Bounds, Header};

/// redb's page size, bytes.
pub const PAGE_BYTES: u64 = 4_096;

/// Most bytes of a page of a segment are this power of two times [`PAGE_BYTES`]: 1 MiB. A leaf with the longest chunk has 128 KiB.
/// So much is the most that redb takes for what a damaged segment says.
pub const PAGE_ORDER_MAX: u8 = 8;
/// As [`PAGE_ORDER_MAX`], of `state.redb`, whose values may be as long as a commit: only the file's length bounds it.
pub const PAGE_ORDER_ANY: u8 = 20;

/// Makes an empty spare of a database that is no longer needed: its header is gone when this returns, its blocks stay,
/// save those beyond `cap_bytes`. The caller renames it afterwards, and syncs the directory after that.
///
/// # Errors
/// Of the file. It is then either the old database still, or blank; recycling it again is always safe.
pub fn recycle(file: &dyn DiskFile, cap_bytes: u64) -> io::Result<()> {
    let cap_bytes = (cap_bytes / PAGE_BYTES).max(1) * PAGE_BYTES;
    if file.len()? > cap_bytes {
        file.set_len(cap_bytes)?;
    }
    file.write_at(0, &[0; PAGE_BYTES as usize])?;
    file.sync_data()
}

/// Adapter of a file to redb's [`StorageBackend`]. redb takes it over; [`Backend::usage`] stays with the store.
#[derive(Debug)]
pub struct Backend {
    file: Arc<dyn DiskFile>,
    lens: Mutex<Lens>,
    usage: Arc<Usage>,
    /// What is read is in use as well.
    counts_reads: bool,
    /// Of a file that redb believes without checking: how large the pages are that its branches may name.
    order_max: Option<u8>,
    /// An operation has failed, so redb's idea of the length is no longer evidence.
    failed: AtomicBool,
}

/// Invariant: `shown <= real`, both in bytes.
#[derive(Debug)]
struct Lens {
    shown: u64,
    real: u64,
}

impl Backend {
    /// A file in which redb shall create a database: new, or made by [`recycle`].
    ///
    /// # Errors
    /// `AlreadyExists` if a database is in it.
    pub fn create(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        match Header::read(&*file) {
            Ok(None) => {}
            Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
            _ => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a database in this file")),
        }
        let real = file.len()?;
        Ok(Self::new(file, Lens { shown: 0, real }))
    }

    /// A file that holds a database, for reading or for writing as it was opened; `order_max` as [`PAGE_ORDER_MAX`].
    ///
    /// # Errors
    /// `InvalidData` if no database was ever completely created in it (redb itself would make an empty one of a file of
    /// length 0), or what it says of its pages can't be.
    pub fn open(file: Arc<dyn DiskFile>, order_max: u8) -> io::Result<Self> {
        let header = Header::read(&*file)?.ok_or_else(|| pages::invalid("there is no database in this file"))?;
        if header.clean {
            header.check_tables(&*file, order_max)?;
        }
        let real = file.len()?;
        let order_max = header.clean.then_some(order_max);
        Ok(Self { order_max, ..Self::new(file, Lens { shown: real, real }) })
    }

    fn new(file: Arc<dyn DiskFile>, lens: Lens) -> Self {
        let (usage, failed) = (Arc::default(), AtomicBool::new(false));
        Self { file, lens: Mutex::new(lens), usage, counts_reads: false, order_max: None, failed }
    }

    /// Lets [`Backend::usage`] count what is read too: for a database that has something in it, all of which is read.
    pub fn counting_reads(self) -> Self {
        Self { counts_reads: true, ..self }
    }

    /// What redb does to the file, as far as the store must know.
    pub fn usage(&self) -> Arc<Usage> {
        Arc::clone(&self.usage)
    }

    fn lens(&self) -> MutexGuard<'_, Lens> {
        self.lens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a failure on its way out.
    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lens().shown)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (end, len) = (offset.saturating_add(out.len() as u64), self.lens().shown);
        if end > len {
            return self.note(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if self.counts_reads {
            self.usage.touch(offset, out.len());
        }
        self.note(self.file.read_at(offset, out))?;
        match self.order_max.filter(|_| offset > 0) {
            Some(order_max) => self.note(Bounds { len, order_max }.check_children(out).map_err(pages::invalid)),
            None => Ok(()),
        }
    }

    /// What lengthening within the real file brings back is **not** zeroed, against the letter of redb's contract; see
    /// the module's text.
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut lens = self.lens();
        if len > lens.real {
            self.note(self.file.set_len(len))?;
            lens.real = len;
        }
        lens.shown = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.usage.touch(offset, data.len());
        self.note(self.file.write_at(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        let mut lens = self.lens();
        // While redb never got as far as a length, a spare stays what it is.
        if self.failed.load(Ordering::Relaxed) || lens.shown == lens.real || lens.shown == 0 {
            return Ok(());
        }
        self.file.set_len(lens.shown)?;
        lens.real = lens.shown;
        self.file.sync_data()
    }
}

/// How much of a file its database has used since it was created or opened.
///
/// A recycled file has its blocks from the start, so its occupied size doesn't tell when it is full. This does.
#[derive(Debug, Default)]
pub struct Usage {
    touched_pages: AtomicU64,
    /// A bit per page of the file.
    bitmap: Mutex<Vec<u64>>,
}

impl Usage {
    /// Bytes of the file that the database occupies or has occupied: what a new, sparse file would take on the medium.
    /// Never decreases.
    pub fn bytes(&self) -> u64 {
        self.touched_pages.load(Ordering::Relaxed).saturating_mul(PAGE_BYTES)
    }

    fn touch(&self, offset: u64, len: usize) {
        let end = offset.saturating_add(len as u64).div_ceil(PAGE_BYTES);
        let mut bitmap = self.bitmap.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fresh = 0;
        for page in offset / PAGE_BYTES..end {
            let word = usize::try_from(page / 64).unwrap_or(usize::MAX);
            if word >= bitmap.len() {
                bitmap.resize(word.saturating_add(1), 0);
            }
            if let Some(word) = bitmap.get_mut(word) {
                let bit = 1 << (page % 64);
                fresh += u64::from(*word & bit == 0);
                *word |= bit;
            }
        }
        self.touched_pages.fetch_add(fresh, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

    use super::*;
    use crate::store::disk::{Disk, OpenMode, RealDisk};

    const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");
    const CAP: u64 = 8 << 20;

    fn database(backend: Backend) -> Database {
        Database::builder().set_cache_size(1 << 20).create_with_backend(backend).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "a file that is whole")]
    fn fill(db: &Database, commits: std::ops::Range<u64>, byte: u8) {
        for commit in commits {
            let txn = db.begin_write().unwrap();
            txn.open_table(TABLE).unwrap().insert(commit, &[byte; 60_000][..]).unwrap();
            txn.commit().unwrap();
        }
    }

    fn sum(path: &Path) -> (u64, u8) {
        let file = RealDisk::new().open(path, OpenMode::Read).unwrap();
        let db = Database::builder().open_read_only_with_backend(Backend::open(file, PAGE_ORDER_MAX).unwrap()).unwrap();
        let table = db.begin_read().unwrap().open_table(TABLE).unwrap();
        let last = table.last().unwrap().unwrap();
        (last.0.value() + 1, last.1.value()[0])
    }

    #[test]
    fn a_recycled_file_keeps_its_blocks_and_forgets_its_past() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let disk = RealDisk::new();
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        assert!(Backend::open(Arc::clone(&file), PAGE_ORDER_MAX).is_err(), "nothing in it yet");
        let backend = Backend::create(Arc::clone(&file)).unwrap();
        let usage = backend.usage();
        let db = database(backend);
        fill(&db, 0..100, 1);
        assert!(usage.bytes() > 6_000_000);
        assert!(usage.bytes().abs_diff(file.allocated().unwrap()) < 65_536, "a new file's use is its blocks");
        drop(db);
        assert_eq!(sum(&path), (100, 1));
        assert!(Backend::create(Arc::clone(&file)).is_err(), "a database is not overwritten");

        recycle(&*file, CAP).unwrap();
        let held = file.allocated().unwrap();
        assert!(Backend::open(Arc::clone(&file), PAGE_ORDER_MAX).is_err());
        let backend = Backend::create(Arc::clone(&file)).unwrap();
        let usage = backend.usage();
        let db = database(backend);
        fill(&db, 0..10, 2);
        assert!(usage.bytes() < 1_500_000);
        assert_eq!(file.allocated().unwrap(), held, "its blocks stay while it is filled");
        drop(db);
        assert_eq!(sum(&path), (10, 2));
        assert!(file.len().unwrap() < 1_500_000, "a clean close gives back what was not used");
    }

    #[test]
    fn a_recycled_file_is_cut_to_the_cap() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk::new().open(&dir.path().join("x"), OpenMode::CreateNew).unwrap();
        file.write_at(0, &vec![7; 3 << 20]).unwrap();
        recycle(&*file, (1 << 20) + 100).unwrap();
        assert_eq!(file.len().unwrap(), 1 << 20);
        let mut header = [1; PAGE_BYTES as usize];
        file.read_at(0, &mut header).unwrap();
        assert!(header.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn use_counts_each_page_once() {
        let usage = Usage::default();
        usage.touch(0, 4_096);
        usage.touch(100, 8);
        usage.touch(4_095, 2);
        assert_eq!(usage.bytes(), 2 * PAGE_BYTES);
        usage.touch(1 << 30, 65_536);
        assert_eq!(usage.bytes(), 18 * PAGE_BYTES);
    }
}
