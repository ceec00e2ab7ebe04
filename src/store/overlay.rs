//! A disk that is only looked at: what is written stays in memory.
//!
//! Opening a redb file that was not closed cleanly repairs it, which writes. Whoever only looks (fsck, export) opens it
//! over this, and leaves the files as they were. The memory it takes is what the repair writes.
//!
//! Invariant: nothing reaches the disk below, except the claim on the directory.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::disk::{DirLock, Disk, DiskCounters, DiskFile, FileEntry, OpenMode, Space};
use super::ring::lock;

const PAGE_BYTES: usize = 4_096;

/// A disk that is only looked at.
#[derive(Debug)]
pub(super) struct OverlayDisk {
    below: Arc<dyn Disk>,
}

impl OverlayDisk {
    pub(super) fn new(below: Arc<dyn Disk>) -> Self {
        Self { below }
    }
}

/// A file that is only looked at.
///
/// # Errors
/// Of the file.
pub(super) fn over(below: Arc<dyn DiskFile>) -> io::Result<Arc<dyn DiskFile>> {
    let len = below.len()?;
    Ok(Arc::new(OverlayFile { below, pages: Mutex::new(Pages { len, visible: len, pages: HashMap::new() }) }))
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for OverlayDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        if mode == OpenMode::CreateNew {
            return refused();
        }
        // Direct reads see the file below; nothing of the overlay is on the medium.
        let mode = if mode == OpenMode::ReadDirect { mode } else { OpenMode::Read };
        over(self.below.open(path, mode)?)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        self.below.list(dir)
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.below.space(path)
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn DirLock>> {
        self.below.lock(dir)
    }

    fn counters(&self) -> DiskCounters {
        self.below.counters()
    }
}

#[derive(Debug)]
struct OverlayFile {
    below: Arc<dyn DiskFile>,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    len: u64,
    /// How much of the file below still shows: lengthening after a cut gives zeroes.
    visible: u64,
    /// Whole pages that were written, by number.
    pages: HashMap<u64, Box<[u8; PAGE_BYTES]>>,
}

impl OverlayFile {
    /// A page as the file below has it.
    fn page_below(&self, number: u64, visible: u64) -> io::Result<Box<[u8; PAGE_BYTES]>> {
        let mut page = Box::new([0; PAGE_BYTES]);
        let start = number * PAGE_BYTES as u64;
        let bytes = visible.saturating_sub(start).min(PAGE_BYTES as u64) as usize;
        if let Some(part) = page.get_mut(..bytes).filter(|part| !part.is_empty()) {
            self.below.read_at(start, part)?;
        }
        Ok(page)
    }
}

/// The pages that a range touches: number, where in the page, and how many bytes.
fn spans(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = offset;
    let end = offset + len as u64;
    std::iter::from_fn(move || {
        let within = (at % PAGE_BYTES as u64) as usize;
        let bytes = (end.saturating_sub(at)).min((PAGE_BYTES - within) as u64) as usize;
        let span = (at / PAGE_BYTES as u64, within, bytes);
        at += bytes as u64;
        (bytes > 0).then_some(span)
    })
}

impl DiskFile for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.pages).len)
    }

    fn allocated(&self) -> io::Result<u64> {
        self.below.allocated()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = lock(&self.pages);
        if offset.saturating_add(out.len() as u64) > pages.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        for (number, within, bytes) in spans(offset, rest.len()) {
            let (part, behind) = rest.split_at_mut(bytes);
            let copy = |page: &[u8; PAGE_BYTES], part: &mut [u8]| {
                part.copy_from_slice(page.get(within..within + bytes).unwrap_or_default());
            };
            match pages.pages.get(&number) {
                Some(page) => copy(page, part),
                None => copy(&*self.page_below(number, pages.visible)?, part),
            }
            rest = behind;
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut pages = lock(&self.pages);
        let mut rest = data;
        for (number, within, bytes) in spans(offset, data.len()) {
            let (part, behind) = rest.split_at(bytes);
            if !pages.pages.contains_key(&number) {
                let page = self.page_below(number, pages.visible)?;
                pages.pages.insert(number, page);
            }
            let page = pages.pages.get_mut(&number).and_then(|page| page.get_mut(within..within + bytes));
            if let Some(page) = page {
                page.copy_from_slice(part);
            }
            rest = behind;
        }
        pages.len = pages.len.max(offset + data.len() as u64);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut pages = lock(&self.pages);
        pages.len = len;
        pages.visible = pages.visible.min(len);
        let kept = len.div_ceil(PAGE_BYTES as u64);
        pages.pages.retain(|number, _| *number < kept);
        let within = (len % PAGE_BYTES as u64) as usize;
        if let Some(page) = pages.pages.get_mut(&(len / PAGE_BYTES as u64)) {
            page.get_mut(within..).unwrap_or_default().fill(0);
        }
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        if len > self.len()? { self.set_len(len) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.below.drop_cache()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::disk::RealDisk;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn behaves_as_a_file_and_leaves_the_one_below(
            steps in prop::collection::vec((0u64..20_000, 0usize..9_000, any::<bool>()), 1..20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x");
            let original: Vec<u8> = (0..10_000u32).map(|n| (n / 7) as u8).collect();
            std::fs::write(&path, &original).unwrap();
            let disk = OverlayDisk::new(Arc::new(RealDisk::new()));
            let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
            let mut model = original.clone();
            for (n, (offset, bytes, cut)) in steps.into_iter().enumerate() {
                if cut {
                    file.set_len(offset).unwrap();
                    model.resize(offset as usize, 0);
                } else {
                    let data = vec![n as u8 + 1; bytes];
                    file.write_at(offset, &data).unwrap();
                    let end = offset as usize + bytes;
                    model.resize(model.len().max(end), 0);
                    model[offset as usize..end].copy_from_slice(&data);
                }
                let mut read = vec![0; model.len()];
                prop_assert_eq!(file.len().unwrap(), model.len() as u64);
                file.read_at(0, &mut read).unwrap();
                prop_assert!(read == model);
                prop_assert!(file.read_at(1, &mut read).is_err() || read.is_empty());
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), original);
        }
    }
}
