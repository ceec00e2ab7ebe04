//! A medium that forgets: a sealed segment that can't be opened any more, or is gone, while the gateway runs or while it is
//! off. It is taken out with an entry in the ledger, the rest serves, and nothing wrong is ever read. (Segments of which
//! single batches are damaged stay: tests/store_crash flips those bits.)

use std::path::Path;

use brooklet::store::disk::Disk;
use brooklet::store::sim::SimDisk;
use fastrand::Rng;

use crate::check::{Evictions, were_sent};
use crate::gateway::Gateway;
use crate::harness::seeds::with_seeds;
use crate::harness::{DIR, ROOMY, Verdict, ensure, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

/// Bytes of a file's head without which it is no segment.
const HEAD_BYTES: u64 = 64;

#[test]
fn a_damaged_segment_is_taken_out_and_the_rest_serves() {
    with_seeds(110..111, sound(damaged));
}

pub fn damaged(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let mut scene = Scene::new(case, ROOMY);
    scene.evictions = Evictions::Possible;
    let mut gateway = scene.create(new_disk(case.seed))?;
    while gateway.broker.store().status().segments < 5 {
        gateway.drive(30);
    }
    gateway.settle();
    scene.check_settled(&gateway)?;
    tally::count("sealed segment spoilt");
    spoil(&gateway.disk, rng)?;
    if rng.bool() {
        let (disk, model) = (gateway.disk.kill(case.seed), gateway.model.clone());
        gateway = scene.open(disk, model, 1)?;
    }
    meet(&mut gateway)?;
    let found = scene.check(&gateway).map_err(|what| format!("a segment was spoilt: {what}"))?;
    gateway.model.settle(&found)?;
    gateway.troubles.clear();
    scene.go_on(gateway, 60, rng).map(drop)
}

/// Takes the head off a segment that was sealed long ago, or all of it.
fn spoil(disk: &SimDisk, rng: &mut Rng) -> Verdict {
    let mut files = disk.list(Path::new(DIR)).map_err(|error| error.to_string())?;
    files.retain(|file| file.name.to_string_lossy().ends_with(".seg"));
    files.truncate(files.len().saturating_sub(3));
    let file = rng.choice(&files).ok_or("no sealed segments")?;
    let path = Path::new(DIR).join(&file.name);
    if rng.u8(0..3) == 0 {
        return disk.remove(&path).map_err(|error| error.to_string());
    }
    (0..HEAD_BYTES).try_for_each(|at| disk.flip(&path, at, 0xA5)).map_err(|error| error.to_string())
}

/// Reads everything until nothing fails any more: damage shows when it is met.
fn meet(gateway: &mut Gateway) -> Verdict {
    for _ in 0..10 {
        let mut failed = false;
        let store = gateway.broker.store().clone();
        for partition in store.partitions() {
            // What the gateway tells of losses, nobody has sent.
            if gateway.broker.topic_of(partition).is_some_and(|(topic, _)| topic.is_internal()) {
                continue;
            }
            let Some(head) = store.head(partition) else { continue };
            let mut at = head.log_start;
            while at < head.high_watermark {
                let Ok(read) = store.read(partition, at, 100_000) else {
                    failed = true;
                    break;
                };
                were_sent(&read.bytes, partition, &gateway.model)?;
                ensure!(read.next_offset > at, "reading {at} of {partition:?} doesn't get on");
                at = read.next_offset;
            }
        }
        gateway.settle();
        if !failed {
            return Ok(());
        }
    }
    Err("damage is met again and again".into())
}
