//! A medium that fails: the store stops, tells everyone, and nothing acknowledged is lost.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use super::super::disk::{DirLock, DiskCounters, DiskFile, FileEntry, OpenMode};
use super::*;

/// The filesystem, until so many writes and syncs have passed; then each fails.
#[derive(Debug)]
struct Failing {
    below: RealDisk,
    left: Arc<AtomicI64>,
}

impl Failing {
    fn new() -> Self {
        Self { below: RealDisk::new(), left: Arc::new(AtomicI64::new(i64::MAX)) }
    }
}

fn pass(left: &AtomicI64) -> io::Result<()> {
    match left.fetch_sub(1, Ordering::SeqCst) {
        1.. => Ok(()),
        _ => Err(io::Error::other("the medium fails")),
    }
}

impl Disk for Failing {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingFile { below: self.below.open(path, mode)?, left: Arc::clone(&self.left) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        pass(&self.left)?;
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        pass(&self.left)?;
        self.below.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        self.below.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.below.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        pass(&self.left)?;
        self.below.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<super::super::disk::Space> {
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
struct FailingFile {
    below: Arc<dyn DiskFile>,
    left: Arc<AtomicI64>,
}

impl DiskFile for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn allocated(&self) -> io::Result<u64> {
        self.below.allocated()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        pass(&self.left)?;
        self.below.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        pass(&self.left)?;
        self.below.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        pass(&self.left)?;
        self.below.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        pass(&self.left)?;
        self.below.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.below.drop_cache()
    }
}

#[test]
fn a_failed_commit_stops_the_store_and_no_offset_is_used_twice() {
    for failing_at in [1, 2, 5, 9] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(Failing::new());
        let left = Arc::clone(&disk.left);
        let mut store = Stepped::open_on(options(dir.path()), disk, Arc::default());
        store.create(1);
        store.append(1, batch(5, 100, 0));
        left.store(failing_at, Ordering::SeqCst);
        let (mut acknowledged, mut offered) = (5, 5);
        let error = loop {
            offered += 3;
            let outcome = store.run(|draft| draft.append_batch(PartitionId(1), &batch(3, 50, 0)).map(drop));
            match outcome {
                Ok(committed) => acknowledged = committed.advanced[0].1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Poisoned(_)), "{error}");
        // Readers see what was acknowledged, and no more.
        assert_eq!(store.store.head(PartitionId(1)).unwrap().high_watermark, acknowledged);
        assert!(store.store.status().poisoned.is_some());
        assert!(matches!(
            store.store.try_submit(Box::new(TestOp(|_: &mut Draft<'_>| Ok(()), Outcome::default()))),
            Err(TrySubmitError::Closed(_))
        ));
        drop(store);

        // The last one may be there or not; whatever comes next stands behind all that was acknowledged.
        let mut store = Stepped::open(options(dir.path()));
        let end = store.store.head(PartitionId(1)).unwrap().high_watermark;
        assert!(end == acknowledged || end == offered, "{acknowledged} {end} {offered}");
        assert_eq!(store.append(1, batch(1, 1, 0)), end);
        assert_eq!(read_all(&store.store, 1, 1).last(), Some(&(end, end + 1)));
    }
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Stepped::open(options(dir.path()));
    let again = Store::open(options(dir.path()), Arc::new(RealDisk::new()), Arc::new(ManualClock::default()));
    let error = again.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().ends_with("is in use by another process"));
    store.close();
    Stepped::open(options(dir.path()));
}

#[test]
fn too_small_a_budget_is_refused_with_the_figures() {
    let dir = tempfile::tempdir().unwrap();
    let small = StoreOptions { max_bytes: Some(3 << 20), ..StoreOptions::new(dir.path()) };
    let opened = Store::open(small, Arc::new(RealDisk::new()), Arc::new(ManualClock::default()));
    assert!(matches!(opened, Err(OpenError::Options(text)) if text.contains("3145728")));
}
