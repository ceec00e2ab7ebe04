//! A medium that stands still for a while, or for good, under a store that writes: by a simulated disk and clock.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::record::{BatchBuilder, Compression, NO_HEADERS};
use crate::store::clock::{Clock, ManualClock};
use crate::store::disk::Disk;
use crate::store::sim::{OpKind, SimDisk};
use crate::store::{Committed, Draft, Engine, Operation, PartitionId, Refused, StoreError, StoreOptions};

const PARTITION: PartitionId = PartitionId(1);
/// How often it is asked, as by the feeder.
const ASKED_EVERY_S: u64 = 10;

/// Appends a batch; the partition comes with the first.
struct Append(Arc<AtomicU64>);

impl Operation for Append {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        if draft.head(PARTITION).is_none() {
            draft.create_partition(PARTITION).map_err(|_| Refused)?;
        }
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(&[7; 60_000]), NO_HEADERS).unwrap();
        draft.append_batch(PARTITION, &builder.finish(Compression::None)).map(drop).map_err(|_| Refused)
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        outcome.unwrap();
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A store on a disk whose next sync takes so long, when told to. Who watches is asked meanwhile.
struct Scene {
    store: Store,
    engine: Engine,
    clock: Arc<ManualClock>,
    beats: Arc<AtomicU64>,
    stalls: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    /// What the watchdog was told during the stall.
    said: Arc<Mutex<Vec<Result<(), String>>>>,
}

impl Scene {
    fn new(stall_s: u64) -> Self {
        let (disk, clock) = (SimDisk::new(1), Arc::new(ManualClock::default()));
        let options = StoreOptions {
            max_bytes: Some(8 << 20),
            segment_bytes: Some(1 << 20),
            ..StoreOptions::new(Path::new("/s"))
        };
        let on = Arc::new(disk.clone()) as Arc<dyn Disk>;
        let (store, engine) = Store::open(options, on, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        let (beats, stalls): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let said: Arc<Mutex<Vec<_>>> = Arc::default();
        let vital = Mutex::new(Vital::of(&store, Arc::clone(&beats)));
        let held = (Arc::clone(&clock), Arc::clone(&beats), Arc::clone(&stalls), Arc::clone(&said));
        disk.set_hook(move |kind, _| {
            let (clock, beats, stalls, said) = &held;
            if kind == OpKind::Sync && stalls.swap(false, Ordering::SeqCst) {
                for _ in 0..stall_s / ASKED_EVERY_S {
                    clock.advance_ms(ASKED_EVERY_S * 1_000);
                    beats.fetch_add(1, Ordering::SeqCst);
                    let answer = vital.lock().unwrap_or_else(PoisonError::into_inner).check();
                    said.lock().unwrap().push(answer);
                }
            }
        });
        Self { store, engine, clock, beats, stalls, acknowledged: Arc::default(), said }
    }

    fn send(&self) {
        self.store.try_submit(Box::new(Append(Arc::clone(&self.acknowledged)))).unwrap();
    }

    fn append(&mut self) {
        self.send();
        self.engine.step_writer(true);
    }

    /// Appends until a segment waits to be sealed.
    fn fill(&mut self) {
        let segments = self.store.status().segments;
        while self.store.status().segments == segments {
            self.append();
        }
    }

    fn said(&self) -> Vec<Result<(), String>> {
        std::mem::take(&mut self.said.lock().unwrap())
    }

    fn all_is_there(&self) {
        let (mut at, end) = (0, self.store.head(PARTITION).unwrap().high_watermark);
        assert_eq!(end as u64, self.acknowledged.load(Ordering::SeqCst));
        while at < end {
            at = self.store.read(PARTITION, at, 1).unwrap().next_offset;
        }
        assert!(self.store.status().poisoned.is_none());
    }
}

#[test]
fn a_commit_that_waits_two_minutes_for_the_medium_is_progress() {
    let mut scene = Scene::new(120);
    scene.append();
    scene.stalls.store(true, Ordering::SeqCst);
    scene.append();
    assert_eq!(scene.said(), vec![Ok(()); 12]);
    scene.append();
    scene.all_is_there();
}

#[test]
fn looking_waits_for_no_lock_of_a_segment_that_is_being_closed() {
    let mut scene = Scene::new(30);
    scene.append();
    scene.fill();
    // Every sync of the seal, so the one of the close as well.
    loop {
        scene.stalls.store(true, Ordering::SeqCst);
        if !scene.engine.step_sealer().unwrap() {
            break;
        }
    }
    let said = scene.said();
    assert!(said.len() >= 3 && said.iter().all(Result::is_ok), "{said:?}");
    scene.stalls.store(false, Ordering::SeqCst);
    scene.append();
    scene.all_is_there();
}

#[test]
fn beyond_two_minutes_it_is_told_until_the_medium_goes_on() {
    let mut scene = Scene::new(300);
    scene.append();
    scene.stalls.store(true, Ordering::SeqCst);
    scene.append();
    let said = scene.said();
    // The first look sees what moved before, ten seconds late.
    assert!(said[..13].iter().all(Result::is_ok) && said[13..].iter().all(Result::is_err), "{said:?}");
    assert_eq!(said[13].as_ref().unwrap_err(), "the store's Commit has stood still for 130 s");
    // The kernel may get over it before the service manager's patience ends.
    scene.append();
    scene.all_is_there();
}

#[test]
fn a_writer_that_never_comes_back_is_told() {
    let scene = Scene::new(0);
    let mut vital = Vital::of(&scene.store, Arc::clone(&scene.beats));
    scene.send();
    let mut asked = || {
        scene.clock.advance_ms(ASKED_EVERY_S * 1_000);
        scene.beats.fetch_add(1, Ordering::SeqCst);
        vital.check()
    };
    let said: Vec<_> = (0..20).map(|_| asked()).collect();
    assert!(said[..12].iter().all(Result::is_ok) && said[12..].iter().all(Result::is_err), "{said:?}");
    assert_eq!(said[19].as_ref().unwrap_err(), "1 operations have waited 200 s for a commit");
}
