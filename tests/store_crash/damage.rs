//! A medium that forgets: bits flip in the files of a closed store.

use std::path::Path;
use std::sync::Arc;

use brooklet::record::BatchView;
use brooklet::store::disk::Disk;
use brooklet::store::sim::SimDisk;
use brooklet::store::{PartitionId, ReadError, Store};
use fastrand::Rng;

use crate::check::check_batch;
use crate::harness::seeds::with_seeds;
use crate::harness::{DIR, ROOMY, Verdict, tally};
use crate::model::Model;
use crate::run::Run;
use crate::scene::Scene;

#[test]
fn flipped_bits_are_never_served() {
    with_seeds(100..104, flip_bits);
}

/// Whatever is flipped: opening fails with an error or succeeds, a read fails or gives what was written.
///
/// One thing nobody can tell from a power cut: damage to the last commit of a file that was not closed. Repair takes it
/// for torn, and goes back to the commit before; never further.
pub fn flip_bits(seed: u64) -> Verdict {
    let scene = Scene::new(seed, ROOMY);
    let rng = &mut Rng::with_seed(seed);
    let (run, _) = scene.live(150, None)?;
    let mut possible = vec![Arc::clone(run.last())];
    let closed = rng.bool();
    if !closed {
        possible.push(Arc::clone(run.before_last_commit().ok_or("only one commit")?));
    }
    let disk = if closed { run.close()? } else { run.disk.power_cut(seed) };
    let (mut refused, mut failed) = (0, 0);
    for _ in 0..60 {
        tally::count("bit flipped");
        let disk = disk.kill(rng.u64(..));
        let place = flip_one(&disk, rng)?;
        let held = |steps| match possible.iter().find(|model| model.steps == steps) {
            Some(model) => Ok(Arc::clone(model)),
            None => panic!("{place}: it holds {steps} steps"),
        };
        match Run::open(disk, &scene.options, scene.shape, seed, held) {
            Ok(run) => failed += check_reads(&run.store, run.last()).map_err(|what| format!("{place}: {what}"))?,
            Err(_) => refused += 1,
        }
    }
    // Pages not in use are part of a file as well, but not most of it.
    if refused + failed < 6 {
        return Err(format!("of 60 flips, {refused} were found by opening, {failed} by reading"));
    }
    Ok(())
}

/// Flips a bit somewhere in a file. Returns where.
fn flip_one(disk: &SimDisk, rng: &mut Rng) -> Result<String, String> {
    let files = disk.list(Path::new(DIR)).map_err(|error| error.to_string())?;
    let files: Vec<_> = files.into_iter().filter(|file| file.len > 0).collect();
    let file = rng.choice(&files).ok_or("no files")?;
    let path = Path::new(DIR).join(&file.name);
    let offset = rng.u64(0..file.allocated.min(file.len));
    disk.flip(&path, offset, 1 << rng.u8(0..8)).map_err(|error| error.to_string())?;
    Ok(format!("a bit flipped in {} at {offset}", path.display()))
}

/// Every batch that is served is one that was appended. Returns 1 if any read failed.
fn check_reads(store: &Store, model: &Model) -> Result<usize, String> {
    let mut failed = 0;
    for (id, partition) in &model.partitions {
        let Some(head) = store.head(PartitionId(*id)) else { return Err(format!("partition {id} is gone")) };
        if head.high_watermark != partition.next {
            return Err(format!("partition {id} ends at {}, not {}", head.high_watermark, partition.next));
        }
        for item in partition.items.iter().filter(|item| item.offset >= head.log_start) {
            let read = match store.read(PartitionId(*id), item.offset, 1) {
                Ok(read) => read,
                Err(ReadError::Damaged(_) | ReadError::Io(_)) => {
                    failed = 1;
                    continue;
                }
                Err(error) => return Err(format!("partition {id} at {}: {error}", item.offset)),
            };
            let Ok((batch, _)) = BatchView::parse(&read.bytes) else {
                return Err(format!("partition {id} at {}: not a batch", item.offset));
            };
            if batch.base_offset() > item.offset {
                // A gap, where a damaged segment was.
                failed = 1;
                continue;
            }
            check_batch(&batch, partition).map_err(|what| format!("partition {id}: {what}"))?;
        }
    }
    Ok(failed)
}
