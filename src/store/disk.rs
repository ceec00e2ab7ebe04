//! The only way from the store to the filesystem.
//!
//! Every file and directory operation goes through [`Disk`] and [`DiskFile`], so that the simulator can stand in for
//! them and lose what a power cut would lose. What the contract promises, and nothing beyond it:
//!
//! - Bytes written are on the medium once `sync_data` of that file has returned, not before, and in no order before.
//! - A file created, renamed or removed is so after a power cut only once `sync_dir` of its directory has returned.
//! - After a `sync_data` that **failed**, the kernel may go on serving from memory bytes that never reached the medium
//!   and never will: such a file must not be trusted before [`DiskFile::drop_cache`].

use std::ffi::OsString;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{Advice, FallocateFlags, OFlags};

/// What direct reads must be aligned to, in memory and in the file: the largest sector there is.
const SECTOR_BYTES: usize = 4_096;

/// What `lock` leaves in a directory; empty, never removed.
pub const LOCK_FILE: &str = "lock";

/// Modes of what is made here: records, and what is kept of passwords, are for nobody but the gateway's user.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// A filesystem.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file. See [`OpenMode`] for what must or must not exist.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames within one directory, replacing what bore the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name. Blocks are free only when nobody has the file open any more.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The regular files of a directory (not of directories below it), ordered by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>>;

    /// Creates a directory and what is missing above it; durable when it returns.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Makes all creations, renames and removals in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Room of the filesystem that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Claims a directory for this process until the guard is dropped or the process dies, however it dies.
    ///
    /// # Errors
    /// `WouldBlock` while another has it.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn DirLock>>;

    /// What has gone through this disk since it was made.
    fn counters(&self) -> DiskCounters;
}

/// An open file. Reads and writes carry their position, so one handle serves many threads.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Length, bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the length is 0.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Bytes of the medium that the file occupies: less than its length where it has holes.
    fn allocated(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, lengthening the file if needed.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Cuts or lengthens the file; what is added reads as zeroes. Cutting gives the blocks beyond the end back.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Gives the file blocks for its first `len` bytes, and at least that length; what is added reads as zeroes.
    ///
    /// # Errors
    /// `Unsupported` where the filesystem can't, `StorageFull` where there is no room; the file may have grown then.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Returns when data, length and allocation are on the medium.
    fn sync_data(&self) -> io::Result<()>;

    /// Drops what the kernel keeps of this file in memory and what is not waiting to be written, so that reads tell
    /// what is on the medium. Needed where an earlier process may have died of a failed sync.
    fn drop_cache(&self) -> io::Result<()>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Read and write; must not exist (`AlreadyExists`).
    CreateNew,
    /// Read and write; must exist (`NotFound`).
    ReadWrite,
    /// Read; must exist (`NotFound`).
    Read,
    /// Read from the medium, past what the kernel keeps in memory (O_DIRECT); must exist (`NotFound`). `Unsupported` or
    /// `InvalidInput` where the filesystem can't. Reads may begin anywhere; each goes to the medium.
    ReadDirect,
}

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    pub name: OsString,
    /// Length, bytes.
    pub len: u64,
    /// Bytes of the medium it occupies.
    pub allocated: u64,
}

/// Room of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that an unprivileged process may still use.
    pub free: u64,
}

/// Keeps a directory claimed; see [`Disk::lock`].
pub trait DirLock: Send + Sync + fmt::Debug {}

/// What has gone through a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Bytes that `read_at` gave.
    pub bytes_read: u64,
    /// Bytes given to `write_at`.
    pub bytes_written: u64,
    /// Calls of `sync_data` and `sync_dir`.
    pub syncs: u64,
}

/// The operating system's filesystem.
#[derive(Clone, Debug, Default)]
pub struct RealDisk {
    counters: Arc<Counters>,
    flush: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    syncs: AtomicU64,
}

impl RealDisk {
    /// The operating system's filesystem, its counters at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, but that every sync of a file takes `flush` longer: to measure as on a slower medium.
    pub fn with_flush(flush: Duration) -> Self {
        Self { flush, ..Self::default() }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let writes = matches!(mode, OpenMode::CreateNew | OpenMode::ReadWrite);
        let (direct, flush) = (mode == OpenMode::ReadDirect, self.flush);
        let mut options = OpenOptions::new();
        options.read(true).write(writes).create_new(mode == OpenMode::CreateNew).mode(FILE_MODE);
        if direct {
            options.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        Ok(Arc::new(RealFile { file: options.open(path)?, direct, counters: Arc::clone(&self.counters), flush }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if metadata.is_file() {
                files.push(FileEntry { name: entry.file_name(), len: metadata.len(), allocated: allocated(&metadata) });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(files)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !at.as_os_str().is_empty() && !at.is_dir() {
            missing.push(at);
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir)?;
        // A new directory is an entry of its parent, so it is the parents that must be synced.
        for created in missing {
            self.sync_dir(&parent_of(created))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        File::open(dir)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(path)?;
        let unit = stat.f_frsize;
        Ok(Space { total: stat.f_blocks.saturating_mul(unit), free: stat.f_bavail.saturating_mul(unit) })
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(dir.join(LOCK_FILE))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealDirLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn counters(&self) -> DiskCounters {
        DiskCounters {
            bytes_read: self.counters.bytes_read.load(Ordering::Relaxed),
            bytes_written: self.counters.bytes_written.load(Ordering::Relaxed),
            syncs: self.counters.syncs.load(Ordering::Relaxed),
        }
    }
}

/// The kernel drops the lock with the descriptor.
#[derive(Debug)]
struct RealDirLock {
    _file: File,
}

impl DirLock for RealDirLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// Opened with O_DIRECT.
    direct: bool,
    counters: Arc<Counters>,
    flush: Duration,
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(allocated(&self.file.metadata()?))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.direct { read_direct(&self.file, offset, out) } else { self.file.read_exact_at(out, offset) }?;
        self.counters.bytes_read.fetch_add(out.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.counters.bytes_written.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write_all_at(data, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()?;
        if !self.flush.is_zero() {
            std::thread::sleep(self.flush);
        }
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        // Pages whose write failed are marked clean, so they go; those still waiting to be written stay.
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// Reads from a file that is open with O_DIRECT: whole sectors, through a buffer of its own that is aligned to them.
fn read_direct(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let skip = (offset % SECTOR_BYTES as u64) as usize;
    let wanted = skip + out.len();
    let mut buffer = vec![0; wanted.next_multiple_of(SECTOR_BYTES) + SECTOR_BYTES];
    let aligned = buffer.as_ptr().align_offset(SECTOR_BYTES);
    let sectors = buffer.get_mut(aligned..aligned + wanted.next_multiple_of(SECTOR_BYTES)).unwrap_or_default();
    let mut have = 0;
    while have < wanted {
        let part = sectors.get_mut(have..).unwrap_or_default();
        match file.read_at(part, offset - skip as u64 + have as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => have += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // Only the end of the file gives less than whole sectors.
        if have < wanted && !have.is_multiple_of(SECTOR_BYTES) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    out.copy_from_slice(sectors.get(skip..wanted).ok_or(io::ErrorKind::UnexpectedEof)?);
    Ok(())
}

/// Occupied bytes. `st_blocks` counts units of 512 bytes whatever the block size of the filesystem (stat(2)).
fn allocated(metadata: &std::fs::Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_created_listed_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, dir) = (RealDisk::new(), dir.path().join("a/b"));
        disk.create_dir_all(&dir).unwrap();
        let syncs = disk.counters().syncs;
        assert_eq!(syncs, 2, "the parents of both new directories are synced");

        let file = disk.open(&dir.join("x"), OpenMode::CreateNew).unwrap();
        assert_eq!(disk.open(&dir.join("x"), OpenMode::CreateNew).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.open(&dir.join("y"), OpenMode::Read).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(disk.open(&dir.join("y"), OpenMode::ReadWrite).unwrap_err().kind(), io::ErrorKind::NotFound);
        file.write_at(8_190, b"abc").unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.counters(), DiskCounters { bytes_read: 0, bytes_written: 3, syncs: 4 });

        disk.rename(&dir.join("x"), &dir.join("z")).unwrap();
        disk.create_dir_all(&dir.join("below")).unwrap();
        let list = disk.list(&dir).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!((list[0].name.to_str(), list[0].len), (Some("z"), 8_193));
        assert_eq!(list[0].allocated, file.allocated().unwrap());

        let reader = disk.open(&dir.join("z"), OpenMode::Read).unwrap();
        let mut out = [1; 5];
        reader.read_at(8_188, &mut out).unwrap();
        assert_eq!((&out, disk.counters().bytes_read), (b"\0\0abc", 5));
        assert_eq!(reader.read_at(8_189, &mut out).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(reader.write_at(0, b"x").is_err());
        reader.drop_cache().unwrap();
        disk.remove(&dir.join("z")).unwrap();
        assert!(disk.list(&dir).unwrap().is_empty());
        assert!(disk.space(&dir).unwrap().free <= disk.space(&dir).unwrap().total);
    }

    #[test]
    fn direct_reads_give_what_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (RealDisk::new(), dir.path().join("x"));
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..10_001u32).map(|n| (n % 251) as u8).collect();
        file.write_at(0, &bytes).unwrap();
        file.sync_data().unwrap();
        let Ok(direct) = disk.open(&path, OpenMode::ReadDirect) else { return };
        for (offset, len) in [(0, 10_001), (0, 4_096), (4_095, 2), (8_192, 1_809), (10_000, 1), (5_000, 0)] {
            let mut out = vec![0; len];
            direct.read_at(offset, &mut out).unwrap();
            assert_eq!(out, &bytes[offset as usize..offset as usize + len]);
        }
        assert_eq!(direct.read_at(10_000, &mut [0; 2]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(direct.write_at(0, b"x").is_err());
    }

    #[test]
    fn a_file_gets_its_blocks_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk::new().open(&dir.path().join("x"), OpenMode::CreateNew).unwrap();
        match file.allocate(1 << 20) {
            Ok(()) => assert!(file.len().unwrap() == 1 << 20 && file.allocated().unwrap() >= 1 << 20),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
    }

    #[test]
    fn a_directory_is_claimed_once() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::new();
        let held = disk.lock(dir.path()).unwrap();
        assert_eq!(disk.lock(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        disk.lock(dir.path()).unwrap();
    }
}
