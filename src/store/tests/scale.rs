//! What must not grow with what is stored: what opening reads, and how many files a lookup opens.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::store::disk::{DirLock, DiskCounters, DiskFile, FileEntry, OpenMode, Space as DiskSpace};

/// The real disk; counts how often files are opened.
#[derive(Debug, Default)]
struct Counting {
    disk: RealDisk,
    opens: AtomicU64,
}

impl Disk for Counting {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        self.disk.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        self.disk.list(dir)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.disk.space(path)
    }
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn DirLock>> {
        self.disk.lock(dir)
    }
    fn counters(&self) -> DiskCounters {
        self.disk.counters()
    }
}

const PARTITIONS: u32 = 40;

/// A store of some thirty segments in which each partition is in some of them.
fn filled(options: &StoreOptions) -> Stepped {
    let mut store = Stepped::open(options.clone());
    for partition in 1..=PARTITIONS {
        store.create(partition);
    }
    let mut n = 0;
    while store.store.status().segments < 30 {
        // Every partition rests for a while, at times of its own.
        let partition = 1 + (n * n / 50 + n) % PARTITIONS;
        store.append(partition, batch(4, 10_000, i64::from(n)));
        store.settle();
        n += 1;
    }
    store
}

fn wide(dir: &Path) -> StoreOptions {
    StoreOptions { max_bytes: Some(40 * SEGMENT), tail_bytes_max: 1_000, ..options(dir) }
}

/// Stops a store as a crash does: its files stay as they are now.
fn crash(store: Stepped, dir: &Path) {
    let names = || std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let read = |name: OsString| (name.clone(), std::fs::read(dir.join(name)).unwrap());
    let files: BTreeMap<OsString, Vec<u8>> = names().map(read).collect();
    store.close();
    names().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap());
    files.into_iter().for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes).unwrap());
}

#[test]
fn opening_reads_the_active_segment_once_and_a_lookup_opens_few_files() {
    let dir = tempfile::tempdir().unwrap();
    let options = wide(dir.path());
    let store = filled(&options);
    let all: Vec<_> = (1..=PARTITIONS).map(|partition| read_all(&store.store, partition, 1 << 20)).collect();
    crash(store, dir.path());

    let disk = Arc::new(Counting::default());
    let steps = Arc::clone(&options.opening_steps);
    steps.store(0, Ordering::Relaxed);
    let store = Stepped::open_on(options, Arc::clone(&disk) as Arc<dyn Disk>, Arc::default()).store;
    let opening = store.status().opening;
    assert!(opening.bytes_read <= SEGMENT * 9 / 8, "{opening:?}");
    assert_eq!(opening.bytes_read, disk.counters().bytes_read);
    assert!(steps.load(Ordering::Relaxed) > 20, "a watchdog sees it move");
    assert!(disk.opens.load(Ordering::Relaxed) < 12);

    // Thirty segments: five halvings, then the one in which it lies.
    let mut most = 0;
    for (partition, ranges) in (1..).zip(&all) {
        for &(base, next) in ranges {
            let before = disk.opens.load(Ordering::Relaxed);
            let read = store.read(PartitionId(partition), next - 1, 1).unwrap();
            most = most.max(disk.opens.load(Ordering::Relaxed) - before);
            assert_eq!(super::ranges(&read.bytes)[0], (base, next));
        }
    }
    assert!((1..=6).contains(&most), "{most}");
    for (partition, ranges) in (1..).zip(&all) {
        assert_eq!(&read_all(&store, partition, 25_000), ranges, "gaps between segments are passed over");
    }
}

#[test]
fn a_store_of_the_first_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    store.close();
    // The version of a segment's meta row; it is looked at before the page's checksum.
    let path = dir.path().join("0000000001.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let row = [&2u32.to_le_bytes()[..], &2u32.to_le_bytes(), &1u64.to_le_bytes(), &1u64.to_le_bytes()].concat();
    let at: Vec<usize> = (0..bytes.len() - row.len()).filter(|&at| bytes[at..].starts_with(&row)).collect();
    assert!(!at.is_empty());
    for at in at {
        bytes[at] = 1;
        bytes[at + 4] = 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    let opened = Store::open(options(dir.path()), Arc::new(RealDisk::new()), Arc::new(ManualClock::default()));
    let error = opened.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::TooOld { version: 1, .. }), "{error}");
    assert!(error.to_string().contains("0000000001.seg has the store format of version 1"), "{error}");
}
