//! A store that failed opens its files again, in the same process.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::super::sim::{Fault, OpKind, SimDisk};
use super::*;

const DIR: &str = "/store";

/// Lets a commit fail: its sync, with what it wrote to be seen still.
fn fail(store: &mut Stepped, disk: &SimDisk) -> StoreError {
    disk.fail(Fault { kind: OpKind::Sync, after: 0, errno: Errno::IO });
    store.run(|draft| draft.append_batch(PartitionId(1), &batch(2, 50, 0)).map(drop)).unwrap_err()
}

/// Looks at what was recovered before anybody else can.
#[derive(Default)]
struct Looker {
    before: AtomicUsize,
    after: AtomicUsize,
    refuse: std::sync::atomic::AtomicBool,
}

impl Reopened for Looker {
    fn reopened(&self, store: &Store) -> Result<(), String> {
        assert!(store.head(PartitionId(1)).is_some());
        self.before.fetch_add(1, Ordering::SeqCst);
        if self.refuse.load(Ordering::SeqCst) { Err("not now".to_owned()) } else { Ok(()) }
    }

    fn resumed(&self) {
        self.after.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_store_that_failed_goes_on_by_itself_when_the_medium_does() {
    let disk = SimDisk::new(1);
    let options = StoreOptions { tail_bytes_max: 1_000, ..options(Path::new(DIR)) };
    let mut store = Stepped::open_on(options.clone(), Arc::new(disk.clone()), Arc::default());
    let looker = Arc::new(Looker::default());
    store.store.on_reopened(Arc::clone(&looker) as Arc<dyn Reopened>);
    store.create(1);
    // Several segments, sealed but the last.
    for n in 0..60 {
        store.append(1, batch(10, 5_000, n));
        store.settle();
    }
    let epoch = store.store.epoch();
    assert!(!store.engine.step_heal().unwrap(), "there is nothing to heal");

    let error = fail(&mut store, &disk);
    assert!(matches!(error, StoreError::Poisoned(_)), "{error}");
    let end = store.store.head(PartitionId(1)).unwrap().high_watermark;
    assert_eq!(end, 600);
    // What is sealed and what is in memory is served all the same.
    assert_eq!(store.store.read(PartitionId(1), 0, 1).unwrap().next_offset, 10);
    assert_eq!(store.store.read(PartitionId(1), end, 1).unwrap().next_offset, end);
    let refused = futures_lite::future::block_on(
        store.store.submit(Box::new(TestOp(|_: &mut Draft<'_>| Ok(()), Outcome::default()))),
    );
    assert!(matches!(refused, Err(StoreError::Stopped(_))), "{refused:?}");

    disk.break_down(Errno::IO);
    let error = store.engine.step_heal().unwrap_err();
    assert_eq!(store.store.status().healing, Healing { healed: 0, failure: Some(error.to_string()) });
    assert_eq!(store.store.read(PartitionId(1), 0, 1).unwrap().next_offset, 10);

    disk.mend();
    looker.refuse.store(true, Ordering::SeqCst);
    assert!(store.engine.step_heal().unwrap_err().to_string().contains("not now"));
    looker.refuse.store(false, Ordering::SeqCst);
    assert!(store.engine.step_heal().unwrap());
    assert_eq!((looker.before.load(Ordering::SeqCst), looker.after.load(Ordering::SeqCst)), (2, 1));
    let status = store.store.status();
    assert_eq!((status.poisoned, status.healing), (None, Healing { healed: 1, failure: None }));
    assert!(store.store.epoch().ordinal > epoch.ordinal && store.store.epoch().id != epoch.id);

    // The one that failed may be there or not, whole.
    let end = store.store.head(PartitionId(1)).unwrap().high_watermark;
    assert!([600, 602].contains(&end), "{end}");
    assert_eq!(store.append(1, batch(1, 1, 0)), end);
    assert_eq!(read_all(&store.store, 1, 1).last(), Some(&(end, end + 1)));
    store.settle();
    store.close();
    let store = Stepped::open_on(options, Arc::new(disk.power_cut(1)), Arc::default());
    assert_eq!(read_all(&store.store, 1, 1).last(), Some(&(end, end + 1)));
}

#[test]
fn it_heals_as_often_as_it_must_and_closes_in_between() {
    let disk = SimDisk::new(2);
    let mut store = Stepped::open_on(options(Path::new(DIR)), Arc::new(disk.clone()), Arc::default());
    store.create(1);
    for times in 1..5 {
        fail(&mut store, &disk);
        assert!(store.engine.step_heal().unwrap());
        assert_eq!(store.store.status().healing.healed, times);
        store.append(1, batch(1, 10, 0));
    }
    fail(&mut store, &disk);
    let handle = store.store.clone();
    store.store.shutdown();
    assert!(!store.engine.step_heal().unwrap(), "it is to end");
    drop(store);
    assert!(handle.try_submit(Box::new(TestOp(|_: &mut Draft<'_>| Ok(()), Outcome::default()))).is_err());
}

#[test]
fn the_threads_heal_it_and_end_when_told_to() {
    let disk = SimDisk::new(3);
    let clock = Arc::new(super::super::clock::RealClock::default());
    let (store, engine) = Store::open(options(Path::new(DIR)), Arc::new(disk.clone()), clock).unwrap();
    let engine = engine.spawn().unwrap();
    let append = |partition_is_new: bool| {
        let outcome = Outcome::default();
        let op = move |draft: &mut Draft<'_>| {
            if partition_is_new {
                draft.create_partition(PartitionId(1))?;
            }
            draft.append_batch(PartitionId(1), &batch(1, 10, 0)).map(drop)
        };
        futures_lite::future::block_on(store.submit(Box::new(TestOp(op, Arc::clone(&outcome)))))?;
        loop {
            if let Some(told) = outcome.lock().unwrap().take() {
                return told;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    };
    append(true).unwrap();
    disk.break_down(Errno::NOSPC);
    assert!(matches!(append(false), Err(StoreError::Poisoned(_))));
    disk.mend();
    while let Err(error) = append(false) {
        assert!(matches!(error, StoreError::Stopped(_)), "{error}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(store.status().healing.healed, 1);

    disk.break_down(Errno::NOSPC);
    append(false).unwrap_err();
    store.shutdown();
    engine.join();
}

/// After a failed sync reads show what is on no medium. What a store shows after healing is still there after a power cut.
#[test]
fn what_is_shown_after_healing_is_on_the_medium() {
    for seed in 0..40 {
        let disk = SimDisk::new(seed);
        if seed % 2 == 1 {
            disk.refuse_direct_reads();
        }
        let mut store = Stepped::open_on(options(Path::new(DIR)), Arc::new(disk.clone()), Arc::default());
        store.create(1);
        for n in 0..(seed as i64 % 5) * 6 {
            store.append(1, batch(10, 5_000, n));
            store.settle();
        }
        fail(&mut store, &disk);
        assert!(store.engine.step_heal().unwrap());
        let shown = read_all(&store.store, 1, 1_000);
        let after = Stepped::open_on(options(Path::new(DIR)), Arc::new(disk.power_cut(seed)), Arc::default());
        assert_eq!(read_all(&after.store, 1, 1_000), shown, "seed {seed}");
    }
}
