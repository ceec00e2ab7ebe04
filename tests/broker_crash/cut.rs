//! Power cuts: before every sync, rename and removal, at random writes, inside recovery, and after it.
//!
//! The simulator keeps any subset of what was not synced, torn at sectors or blocks, and any of the directory's changes,
//! in their order or not.

use brooklet::store::sim::OpKind;
use fastrand::Rng;

use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, TIGHT, Verdict, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn a_power_cut_anywhere_loses_nothing() {
    with_seeds(0..2, sound(everywhere));
}

#[test]
fn a_power_cut_anywhere_loses_nothing_while_the_oldest_is_evicted() {
    with_seeds(10..12, sound(while_evicting));
}

/// Nothing is ever evicted, so everything that was acknowledged must be there.
pub fn everywhere(case: Case) -> Verdict {
    let scene = Scene::new(case, ROOMY);
    let disk = new_disk(case.seed);
    disk.watch(0.005);
    let past = scene.live(disk, 300)?;
    let rng = &mut Rng::with_seed(case.seed);
    let chosen: Vec<_> = past.moments.iter().filter(|_| rng.u8(0..3) == 0).collect();
    for (moment, model) in past.models(chosen.into_iter()) {
        let seed = rng.u64(..);
        tally::count_at("power cut", moment.at.0);
        scene
            .recover(moment.power_cut(seed), &model, seed, 1)
            .map_err(|what| format!("power cut {seed} before operation {}, {:?}: {what}", moment.op, moment.at))?;
    }
    Ok(())
}

/// The ring turns all the time. What a cut left behind may do harm only later: so some go on until all of it has been
/// used again.
pub fn while_evicting(case: Case) -> Verdict {
    let scene = Scene::new(case, TIGHT);
    let disk = new_disk(case.seed);
    disk.watch(0.005);
    let past = scene.live_through(disk, 4)?;
    let rng = &mut Rng::with_seed(case.seed);
    // Files change hands at these, and what comes next must find them changed.
    let handover = |at| matches!(at, OpKind::Rename | OpKind::Remove | OpKind::SyncDir);
    let mut since = u32::MAX;
    let chosen: Vec<_> = past
        .moments
        .iter()
        .filter(|moment| {
            since = if handover(moment.at.0) { 0 } else { since.saturating_add(1) };
            rng.u8(..) < if since < 3 { 128 } else { 20 }
        })
        .collect();
    for (moment, model) in past.models(chosen.into_iter()) {
        let seed = rng.u64(..);
        tally::count_at("power cut", moment.at.0);
        let refill = handover(moment.at.0) && rng.u8(0..6) == 0;
        let outcome = if refill {
            let again = scene.reopen(moment.power_cut(seed), model, seed);
            again.and_then(|again| scene.go_on(again, 200, rng)).map(drop)
        } else {
            scene.recover(moment.power_cut(seed), &model, seed, 1)
        };
        outcome.map_err(|what| format!("power cut {seed} before operation {}, {:?}: {what}", moment.op, moment.at))?;
    }
    Ok(())
}
