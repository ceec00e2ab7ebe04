//! A reader that is held up in the middle of a read, while what it reads is evicted and its file used again.
//!
//! The one test with a second thread: a store that is right waits for the reader, so the reader goes on by itself after
//! a while. How long that is decides only how surely a fault is found, never whether a right store passes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use brooklet::store::sim::{OpKind, SimDisk};
use brooklet::store::{PartitionId, ReadError};
use fastrand::Rng;

use crate::check::were_sent;
use crate::gateway::Gateway;
use crate::harness::seeds::with_seeds;
use crate::harness::{TIGHT, Verdict, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

/// How long a reader waits for what it must not wait for.
const HELD_UP: Duration = Duration::from_millis(150);

#[test]
fn a_reader_held_up_in_an_evicted_segment_reads_what_was_there() {
    with_seeds(80..82, sound(held_up));
}

pub fn held_up(case: Case) -> Verdict {
    let mut scene = Scene::new(case, TIGHT);
    // What is in memory needs no disk.
    (scene.options.tail_bytes_max, scene.options.sealed_cache_bytes) = (0, 0);
    let mut gateway = scene.create(new_disk(case.seed))?;
    let rng = &mut Rng::with_seed(case.seed);
    while gateway.broker.store().status().evictions == 0 {
        gateway.drive(20);
    }
    for _ in 0..4 {
        gateway.settle();
        if let Some(partition) = oldest(&gateway) {
            tally::count("reader held up while its segment is evicted");
            hold_up(&mut gateway, partition, rng)?;
        }
        gateway.drive(30);
    }
    gateway.settle();
    scene.check_settled(&gateway).map(drop)
}

/// The partition that will lose records first.
fn oldest(gateway: &Gateway) -> Option<PartitionId> {
    let store = gateway.broker.store();
    let begin = |id: &PartitionId| {
        let head = store.head(*id).filter(|head| head.log_start < head.high_watermark)?;
        Some((store.scan_start(*id, head.log_start).ok()?, *id))
    };
    let of_clients = |id: &&PartitionId| gateway.broker.topic_of(**id).is_some_and(|(topic, _)| !topic.is_internal());
    store.partitions().iter().filter(of_clients).filter_map(begin).min().map(|(_, id)| id)
}

fn hold_up(gateway: &mut Gateway, partition: PartitionId, rng: &mut Rng) -> Verdict {
    let store = gateway.broker.store().clone();
    let start = store.head(partition).map_or(0, |head| head.log_start);
    let (tell, told) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let (disk, read_number) = (gateway.disk.clone(), rng.u32(0..3));
    let reader = std::thread::spawn(move || {
        hold_at(&disk, read_number, tell.clone(), goes_on);
        let read = store.read(partition, start, 1);
        let _ = tell.send(false);
        read
    });
    if told.recv().unwrap_or(false) {
        let evicted = gateway.broker.store().status().evictions;
        for _ in 0..1_000 {
            gateway.drive(1);
            if gateway.broker.store().status().evictions > evicted + 1 {
                break;
            }
        }
        // What was evicted is filled again.
        gateway.drive(30);
        let _ = go_on.send(());
    }
    match reader.join().map_err(|_| "the reader panicked")? {
        Ok(read) => were_sent(&read.bytes, partition, &gateway.model)
            .map_err(|what| format!("reading {start} of {partition:?}, which was evicted meanwhile: {what}"))?,
        Err(ReadError::OutOfRange(_) | ReadError::UnknownPartition) => {}
        Err(error) => return Err(format!("reading {start} of {partition:?}, which was evicted meanwhile: {error}")),
    }
    Ok(())
}

/// Holds the calling thread up at its read of the disk with this number, until it is told to go on.
fn hold_at(disk: &SimDisk, number: u32, tell: mpsc::Sender<bool>, goes_on: mpsc::Receiver<()>) {
    let (me, left, goes_on) = (std::thread::current().id(), AtomicU32::new(number + 1), Mutex::new(goes_on));
    disk.set_hook(move |kind, _| {
        let mine = kind == OpKind::Read && std::thread::current().id() == me;
        if mine && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = tell.send(true);
            let _ = goes_on.lock().unwrap().recv_timeout(HELD_UP);
        }
    });
}
