//! A file that is read once, however often its database looks at it, while a store is opened.
//!
//! After a crash redb goes through a whole file to check it and again to see which pages are in use; then the log in it
//! is replayed. So what was read stays in memory until all that is over ([`OnceFile::release`]): at most
//! [`KEPT_BYTES_MAX`], as one piece of memory that goes back to the system. Reading is also what tells how far an
//! opening is.
//!
//! Invariant: what is kept is what the file below would give: written pages and those beyond a cut are forgotten.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::backend::PAGE_BYTES;
use super::disk::DiskFile;
use super::ring::lock;

/// What is kept of a file at most: all of a segment of stores below 16 GiB.
pub(super) const KEPT_BYTES_MAX: u64 = 32 << 20;

/// A file of which the pages that were read are kept.
#[derive(Debug)]
pub(super) struct OnceFile {
    below: Arc<dyn DiskFile>,
    kept: Mutex<Option<Kept>>,
    /// Moves with every read.
    steps: Arc<AtomicU64>,
}

/// Invariant: a page whose bit is set is as in the file.
struct Kept {
    bytes: Vec<u8>,
    /// A bit per page of `bytes`.
    pages: Vec<u64>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kept").field(&self.bytes.len()).finish()
    }
}

impl OnceFile {
    /// Keeps what is read of `below` from now on; counts `steps` up with every read.
    ///
    /// # Errors
    /// Of the file.
    pub(super) fn new(below: Arc<dyn DiskFile>, steps: Arc<AtomicU64>) -> io::Result<Self> {
        let bytes = below.len()?.min(KEPT_BYTES_MAX) / PAGE_BYTES * PAGE_BYTES;
        let words = (bytes / PAGE_BYTES).div_ceil(64);
        let size = |number: u64| usize::try_from(number).unwrap_or(0);
        // Zeroed memory takes none until it is written to.
        let kept = Kept { bytes: vec![0; size(bytes)], pages: vec![0; size(words)] };
        Ok(Self { below, kept: Mutex::new(Some(kept)), steps })
    }

    /// Forgets what is kept, and keeps nothing any more.
    pub(super) fn release(&self) {
        *lock(&self.kept) = None;
    }

    fn forget(&self, offset: u64, end: u64) {
        if let Some(kept) = &mut *lock(&self.kept) {
            for page in offset / PAGE_BYTES..end.div_ceil(PAGE_BYTES).min(kept.bytes.len() as u64 / PAGE_BYTES) {
                if let Some(word) = kept.pages.get_mut((page / 64) as usize) {
                    *word &= !(1 << (page % 64));
                }
            }
        }
    }
}

impl Kept {
    /// The place of whole pages that hold a range, if it is kept in memory or may be.
    fn span(&self, offset: u64, len: usize) -> Option<(usize, usize)> {
        let start = offset / PAGE_BYTES * PAGE_BYTES;
        let end = offset.checked_add(len as u64)?.div_ceil(PAGE_BYTES).checked_mul(PAGE_BYTES)?;
        (end <= self.bytes.len() as u64).then_some((start as usize, end as usize))
    }

    /// The bits of these pages: word and mask.
    fn bits(start: usize, end: usize) -> impl Iterator<Item = (usize, u64)> {
        let page = PAGE_BYTES as usize;
        (start / page..end / page).map(|page| (page / 64, 1 << (page % 64)))
    }

    fn has(&self, start: usize, end: usize) -> bool {
        Self::bits(start, end).all(|(word, bit)| self.pages.get(word).is_some_and(|word| word & bit != 0))
    }

    fn set(&mut self, start: usize, end: usize) {
        for (word, bit) in Self::bits(start, end) {
            if let Some(word) = self.pages.get_mut(word) {
                *word |= bit;
            }
        }
    }
}

impl DiskFile for OnceFile {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.below.allocated()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.below.allocate(len)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.steps.fetch_add(1, Ordering::Relaxed);
        let mut kept = lock(&self.kept);
        let Some(kept) = &mut *kept else { return self.below.read_at(offset, out) };
        let Some((start, end)) = kept.span(offset, out.len()) else { return self.below.read_at(offset, out) };
        if !kept.has(start, end) {
            let Some(place) = kept.bytes.get_mut(start..end) else { return self.below.read_at(offset, out) };
            if self.below.read_at(start as u64, place).is_err() {
                // Cut since, or bad somewhere beside what is wanted.
                return self.below.read_at(offset, out);
            }
            kept.set(start, end);
        }
        let from = offset as usize;
        let found = kept.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.forget(offset, offset.saturating_add(data.len() as u64));
        self.below.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.forget(len, u64::MAX);
        self.below.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.below.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.forget(0, u64::MAX);
        self.below.drop_cache()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::disk::{Disk, OpenMode, RealDisk};
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn it_is_the_file_below_and_reads_it_once(
            steps in prop::collection::vec((0u64..30_000, 0usize..9_000, 0u8..8), 1..40),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (path, disk) = (dir.path().join("x"), RealDisk::new());
            let mut model: Vec<u8> = (0..25_000u32).map(|n| (n / 7) as u8).collect();
            std::fs::write(&path, &model).unwrap();
            let below = disk.open(&path, OpenMode::ReadWrite).unwrap();
            let file = OnceFile::new(below, Arc::default()).unwrap();
            let mut written = false;
            for (n, (offset, bytes, what)) in steps.into_iter().enumerate() {
                let at = offset as usize;
                match what {
                    0 => {
                        file.set_len(offset).unwrap();
                        model.resize(at, 0);
                        written = true;
                    }
                    1 => {
                        file.write_at(offset, &vec![n as u8; bytes]).unwrap();
                        model.resize(model.len().max(at + bytes), 0);
                        model[at..at + bytes].fill(n as u8);
                        written = true;
                    }
                    _ => {
                        let mut out = vec![0; bytes];
                        let read = file.read_at(offset, &mut out);
                        match model.get(at..at + bytes) {
                            Some(expected) => {
                                read.unwrap();
                                prop_assert!(out == expected);
                            }
                            None => prop_assert!(read.is_err() || bytes == 0),
                        }
                    }
                }
            }
            if !written {
                prop_assert!(disk.counters().bytes_read <= 25_000 + 3 * 9_000 * 40);
            }
        }
    }

    #[test]
    fn what_was_read_is_not_read_again_until_released() {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("x"), RealDisk::new());
        std::fs::write(&path, vec![7; 100 * 4_096]).unwrap();
        let steps = Arc::new(AtomicU64::new(0));
        let file = OnceFile::new(disk.open(&path, OpenMode::ReadWrite).unwrap(), Arc::clone(&steps)).unwrap();
        let mut out = vec![0; 4_096];
        for page in (0..100).chain(0..100) {
            file.read_at(page * 4_096, &mut out).unwrap();
        }
        assert_eq!((disk.counters().bytes_read, steps.load(Ordering::Relaxed)), (100 * 4_096, 200));
        file.write_at(5, b"new").unwrap();
        file.read_at(0, &mut out).unwrap();
        assert_eq!((&out[4..9], disk.counters().bytes_read), (&b"\x07new\x07"[..], 101 * 4_096));
        file.release();
        file.read_at(0, &mut out).unwrap();
        assert_eq!(disk.counters().bytes_read, 102 * 4_096);
    }
}
