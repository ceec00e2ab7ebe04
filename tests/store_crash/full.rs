//! A full store, and a full filesystem.

use brooklet::store::sim::SimDisk;
use brooklet::store::{OnFull, StoreError};

use crate::harness::seeds::with_seeds;
use crate::harness::{TIGHT, Verdict, new_disk, tally};
use crate::run::Run;
use crate::scene::Scene;

#[test]
fn a_store_that_may_not_evict_refuses_and_keeps_all() {
    with_seeds(80..83, refuse);
}

#[test]
fn a_filesystem_that_others_fill_loses_nothing() {
    with_seeds(90..93, small_filesystem);
}

/// Filled until it refuses, the store has all that it took, through crashes; once something is deleted it takes more.
pub fn refuse(seed: u64) -> Verdict {
    let mut scene = Scene::new(seed, TIGHT);
    scene.options.on_full = OnFull::Refuse;
    scene.shape.actions = 1;
    scene.shape.deletes = false;
    scene.shape.retention = None;
    tally::count("filled until it refuses");
    let mut run = scene.create(new_disk(seed))?;
    run.drive(1_500);
    run.settle();
    let acked = all_until_full(&run)?;
    if run.store.status().evictions > 0 {
        return Err("it evicted".into());
    }
    let held = run.disk.allocated();
    if held < TIGHT / 2 {
        return Err(format!("it refuses with {held} bytes on disk"));
    }
    let model = run.after(acked).ok_or("no such step")?;
    let mut again = scene.reopen(run.disk.power_cut(seed), model, 1)?;
    again.clear();
    again.settle();
    again.drive(30);
    again.settle();
    scene.check_settled(&again).map_err(|what| format!("after deleting: {what}"))
}

/// Everything before the first refusal was acknowledged, nothing after it. Returns the last step acknowledged.
fn all_until_full(run: &Run) -> Result<u64, String> {
    let log = run.log();
    if let Some(what) = log.wrong.first() {
        return Err(what.clone());
    }
    let acked = log.acks.last().map_or(0, |ack| ack.step);
    match log.failed.first() {
        Some((step, StoreError::Full | StoreError::DiskFull)) if *step == acked + 1 => Ok(acked),
        first => Err(format!("{acked} acknowledged, then {first:?}")),
    }
}

/// Others fill the filesystem: what was read goes, then the store refuses, and keeps all else that it took; when there is
/// room again it takes more.
pub fn small_filesystem(seed: u64) -> Verdict {
    tally::count("filesystem smaller than the bound");
    let mut scene = Scene::new(seed, TIGHT);
    // The bound is never met.
    scene.options.max_bytes = Some(4 * TIGHT);
    scene.shape.actions = 1;
    scene.shape.deletes = false;
    scene.shape.retention = None;
    let disk = SimDisk::with_capacity(seed, TIGHT * 3 / 4);
    let mut run = scene.create(disk)?;
    run.drive(1_500);
    run.settle();
    run.log().troubles.clear();
    let refused = !run.log().failed.is_empty();
    let acked = if refused { all_until_full(&run)? } else { run.last().steps };
    if !refused && run.store.status().evictions == 0 {
        return Err("it never needed room".into());
    }
    if let Some(loss) = run.store.losses().first() {
        return Err(format!("given up, though not read: {loss:?}"));
    }
    let model = run.after(acked).ok_or("no such step")?;
    let disk = run.disk.power_cut(seed);
    disk.set_capacity(u64::MAX);
    let mut again = scene.reopen(disk, model, 1)?;
    again.drive(200);
    again.settle();
    scene.check_settled(&again).map_err(|what| format!("with room again: {what}"))
}
