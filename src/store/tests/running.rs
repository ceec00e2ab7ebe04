//! The store on its threads: producers, readers and scans at once, across rolls, seals and evictions.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use super::super::clock::RealClock;
use super::*;

const P: PartitionId = PartitionId(1);

fn run(options: StoreOptions) -> (Store, EngineHandle) {
    let (store, engine) = Store::open(options, Arc::new(RealDisk::new()), Arc::new(RealClock::default())).unwrap();
    let handle = engine.spawn().unwrap();
    (store, handle)
}

/// Tells the observer's order: high watermarks before acknowledgements.
#[derive(Default)]
struct Watch(AtomicI64);

impl CommitObserver for Watch {
    fn committed(&self, committed: &Committed) {
        if let Some((_, end)) = committed.advanced.iter().find(|(id, _)| *id == P) {
            self.0.store(*end, Ordering::SeqCst);
        }
    }
}

struct Acked {
    batch: Vec<u8>,
    watch: Arc<Watch>,
    store: Store,
    done: async_channel::Sender<()>,
}

impl Operation for Acked {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        match draft.append_batch(P, &self.batch) {
            Ok(_) => Ok(()),
            Err(DraftError::Full) => Err(Refused),
            Err(error) => panic!("{error}"),
        }
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let end = outcome.unwrap().advanced[0].1;
        assert_eq!(self.watch.0.load(Ordering::SeqCst), end, "observers first");
        assert_eq!(self.store.head(P).unwrap().high_watermark, end, "readers first");
        let _gone = self.done.try_send(());
    }
}

#[test]
fn readers_and_scans_race_with_rolls_and_evictions() {
    let dir = tempfile::tempdir().unwrap();
    let tiny = StoreOptions {
        max_bytes: Some(6 << 20),
        segment_bytes: Some(768 << 10),
        tail_bytes_max: 20_000,
        commit_window: Duration::ZERO,
        ..StoreOptions::new(dir.path())
    };
    let (store, handle) = run(tiny.clone());
    let watch = Arc::new(Watch::default());
    store.observe(Arc::clone(&watch) as Arc<dyn CommitObserver>);
    let (created, wait) = async_channel::bounded(1);
    store
        .try_submit(Box::new(TestOp(
            move |draft: &mut Draft<'_>| {
                let _told = created.try_send(());
                draft.create_partition(P)
            },
            Outcome::default(),
        )))
        .unwrap();
    wait.recv_blocking().unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let reader = thread::spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        move || {
            let (mut at, mut read, mut jumps) = (0, 0, 0);
            while !stop.load(Ordering::SeqCst) {
                match store.read(P, at, 60_000) {
                    Ok(chunk) => {
                        let found = ranges(&chunk.bytes);
                        assert!(found.first().is_none_or(|(base, next)| *base <= at && at < *next));
                        assert!(found.windows(2).all(|pair| pair[0].1 == pair[1].0));
                        read += found.len();
                        // Back to the beginning now and then, where evictions are.
                        at = if read % 50 == 49 { chunk.head.log_start } else { chunk.next_offset };
                    }
                    Err(ReadError::OutOfRange(head)) => {
                        jumps += 1;
                        at = head.log_start;
                    }
                    Err(ReadError::UnknownPartition) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            (read, jumps)
        }
    });
    let scanner = thread::spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        move || {
            let (mut from, mut end, mut batches) = (1, 0, 0);
            while !stop.load(Ordering::SeqCst) {
                let chunk = store.scan(from, &|id| id == P, 60_000).unwrap();
                for batch in &chunk.batches {
                    assert!(batch.base_offset >= end && batch.commit >= from);
                    end = batch.next_offset;
                }
                batches += chunk.batches.len();
                from = chunk.next;
                if chunk.at_end {
                    thread::yield_now();
                }
            }
            batches
        }
    });

    let (done, acked) = async_channel::bounded(1_000);
    let records = 600;
    for n in 0..records {
        let op =
            Acked { batch: batch(2, 9_000, n), watch: Arc::clone(&watch), store: store.clone(), done: done.clone() };
        smol::block_on(store.submit(Box::new(op))).unwrap();
        let status = store.status();
        assert!(status.disk_bytes <= status.max_bytes, "{status:?}");
    }
    drop(done);
    for _ in 0..records {
        acked.recv_blocking().unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let (read, _jumps) = reader.join().unwrap();
    assert!(read > 50 && scanner.join().unwrap() > 50);
    let status = store.status();
    assert!(status.evictions > 0, "{status:?}");
    let head = store.head(P).unwrap();
    store.shutdown();
    assert_eq!(
        smol::block_on(store.submit(Box::new(TestOp(|_: &mut Draft<'_>| Ok(()), Outcome::default())))),
        Err(Closed)
    );
    handle.join();

    let (store, handle) = run(tiny);
    // An eviction may have been on its way.
    assert!(store.head(P).unwrap().log_start >= head.log_start);
    assert_eq!(store.head(P).unwrap().high_watermark, head.high_watermark);
    assert_eq!(head.high_watermark, 2 * records);
    store.shutdown();
    handle.join();
}
