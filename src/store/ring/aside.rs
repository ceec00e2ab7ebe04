//! The files beside the ring: segments that were put aside as damaged, the copy that a rewrite makes, the reserve.
//!
//! Invariant: each of them counts in the bound from before it is made until after it is gone.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::backend;
use super::super::disk::OpenMode;
use super::super::segment::{SegmentError, SegmentFile};
use super::{REWRITE_NEW, Ring, Segment, lock};

impl Ring {
    /// Puts the files of damaged segments aside, whose quarantine is durable.
    pub(in crate::store) fn condemn(&self, segments: Vec<Arc<Segment>>) {
        for segment in segments {
            self.forget_open(&segment);
            segment.set_gone();
            if let Err(error) = self.put_aside(&segment.path, segment.allocated()) {
                // It counts, and opening the store puts it aside.
                log::warn!("{}: putting it aside: {error}", segment.path.display());
            }
        }
    }

    /// Renames the file of a segment that is none of the ring's any more; from then on it goes when room is needed.
    ///
    /// # Errors
    /// Of the disk; the file counts all the same.
    pub(in crate::store) fn put_aside(&self, path: &Path, allocated: u64) -> io::Result<()> {
        let aside = path.with_extension("bad");
        let renamed = self.disk.rename(path, &aside);
        match &renamed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => lock(&self.condemned).push_back((path.to_path_buf(), allocated)),
            Ok(()) => lock(&self.condemned).push_back((aside, allocated)),
        }
        renamed?;
        self.sync_dir()
    }

    /// Takes over a file that an earlier opening had put aside.
    pub(in crate::store) fn adopt_condemned(&self, name: &str, allocated: u64) {
        lock(&self.condemned).push_back((self.dir.join(name), allocated));
    }

    /// Removes the oldest file that was put aside. Whether there was any.
    ///
    /// # Errors
    /// Of the disk; it stays then.
    pub(in crate::store) fn remove_condemned(&self) -> io::Result<bool> {
        let mut condemned = lock(&self.condemned);
        let Some((path, _)) = condemned.front() else { return Ok(false) };
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => condemned.pop_front(),
        };
        Ok(true)
    }

    /// How many files were put aside, and what they occupy.
    pub(in crate::store) fn condemned(&self) -> (usize, u64) {
        let condemned = lock(&self.condemned);
        (condemned.len(), condemned.iter().map(|(_, allocated)| allocated).sum())
    }

    /// Makes the file for a copy of sealed segments, which counts as `bytes` from now on.
    pub(in crate::store) fn create_rewrite(&self, bytes: u64) -> Result<SegmentFile, SegmentError> {
        let _one_at_a_time = lock(&self.files);
        self.count_rewrite(bytes);
        let file = self.create_new(&self.dir.join(REWRITE_NEW)).map_err(SegmentError::Io);
        file.and_then(|file| SegmentFile::create(file, self.active_cache_bytes)).inspect_err(|_| self.count_rewrite(0))
    }

    /// Says what the copy may come to occupy.
    pub(in crate::store) fn count_rewrite(&self, bytes: u64) {
        self.rewrite_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Makes the name of a complete copy durable; returns what it occupies.
    pub(in crate::store) fn complete_rewrite(&self) -> Result<u64, SegmentError> {
        self.sync_dir().map_err(SegmentError::Io)?;
        let file = self.disk.open(&self.dir.join(REWRITE_NEW), OpenMode::Read).map_err(SegmentError::Io)?;
        let allocated = file.allocated().map_err(SegmentError::Io)?;
        self.count_rewrite(allocated);
        Ok(allocated)
    }

    /// Gives a declared copy the name of segment `id`, durably; returns what it occupies.
    pub(in crate::store) fn name_rewrite(&self, id: u32) -> io::Result<u64> {
        let _one_at_a_time = lock(&self.files);
        let (new, path) = (self.dir.join(REWRITE_NEW), self.path(id));
        match self.disk.rename(&new, &path) {
            // It had succeeded, and the sync behind it had not.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        self.sync_dir()?;
        self.disk.open(&path, OpenMode::Read)?.allocated()
    }

    /// Removes a copy that is of no use any more.
    pub(in crate::store) fn remove_rewrite(&self) -> io::Result<()> {
        let _one_at_a_time = lock(&self.files);
        match self.disk.remove(&self.dir.join(REWRITE_NEW)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.count_rewrite(0),
        }
        Ok(())
    }

    /// Size of a file of the reserve: that of a segment, in whole pages.
    pub(in crate::store) fn reserve_file_bytes(&self) -> u64 {
        self.segment_bytes / backend::PAGE_BYTES * backend::PAGE_BYTES
    }

    /// Takes over or removes what an earlier opening had claimed.
    pub(in crate::store) fn adopt_reserve(&self, wanted: bool) -> io::Result<()> {
        self.reserve.adopt(&*self.disk, &self.dir, self.reserve_file_bytes(), wanted)
    }

    /// Claims a segment's worth of room.
    pub(in crate::store) fn grow_reserve(&self) -> io::Result<()> {
        self.reserve.grow(&*self.disk, &self.dir, self.reserve_file_bytes())
    }

    /// Gives a segment's worth of room back. Whether there was any.
    pub(in crate::store) fn shrink_reserve(&self) -> io::Result<bool> {
        self.reserve.shrink(&*self.disk, &self.dir)
    }
}
