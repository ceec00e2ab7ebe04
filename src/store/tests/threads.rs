//! The writer and maintenance on their real threads, meeting at the ring: segments so small that they roll, seal, evict
//! and recycle all the time.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::store::clock::{RealClock, WallTrust};
use crate::store::disk::{DirLock, DiskCounters, DiskFile, FileEntry, OpenMode, Space as DiskSpace};

/// A real disk on which what is done to names takes its time, so that whoever comes in between does.
#[derive(Debug)]
struct SlowNames(RealDisk);

impl SlowNames {
    fn pause() {
        std::thread::sleep(Duration::from_millis(15));
    }
}

impl Disk for SlowNames {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.open(path, mode);
        if mode == OpenMode::CreateNew {
            Self::pause();
        }
        file
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Self::pause();
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Self::pause();
        self.0.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        self.0.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }

    fn space(&self, path: &Path) -> io::Result<DiskSpace> {
        self.0.space(path)
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn DirLock>> {
        self.0.lock(dir)
    }

    fn counters(&self) -> DiskCounters {
        self.0.counters()
    }
}

struct Append(PartitionId, Vec<u8>, async_channel::Sender<Result<(), StoreError>>);

impl Operation for Append {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        match draft.append_batch(self.0, &self.1) {
            Err(DraftError::Full) => Err(Refused),
            other => {
                other.unwrap();
                Ok(())
            }
        }
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let _ = self.2.try_send(outcome.map(|_| ()).map_err(Clone::clone));
    }
}

#[test]
fn rolling_all_the_time_beside_maintenance_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { commit_window: Duration::ZERO, ..options(dir.path()) };
    let clock = Arc::new(RealClock::new(WallTrust::Always));
    let (store, engine) = Store::open(options, Arc::new(SlowNames(RealDisk::new())), clock).unwrap();
    let engine = engine.spawn().unwrap();
    let create = TestOp(|draft: &mut Draft<'_>| draft.create_partition(PartitionId(1)), Outcome::default());
    smol::block_on(store.submit(Box::new(create))).unwrap();
    // 24 MiB through a ring of 8 MiB.
    for n in 0..400 {
        let (told, outcome) = async_channel::bounded(1);
        let append = Append(PartitionId(1), batch(3, 20_000, n), told);
        smol::block_on(store.submit(Box::new(append))).unwrap();
        outcome.recv_blocking().unwrap().unwrap_or_else(|error| panic!("batch {n}: {error}"));
    }
    let head = store.head(PartitionId(1)).unwrap();
    assert_eq!(head.high_watermark, 1_200);
    assert!(head.log_start > 0 && store.status().evictions > 10, "{:?}", store.status());
    let read = read_all(&store, 1, 1 << 20);
    assert_eq!((read[0].0, read.last().unwrap().1), (head.log_start, 1_200));
    store.shutdown();
    engine.join();
}
