//! Closed, killed and cut off again and again: clients send again what was not acknowledged, and it is stored once.
//!
//! A killed process leaves the kernel alive: what was written and not synced is seen again. It must be safe before it is
//! shown, or a power cut later takes back what readers have seen.

use fastrand::Rng;

use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, TIGHT, Verdict, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn closed_killed_and_cut_off_again_and_again() {
    with_seeds(20..26, sound(many_lives));
}

#[test]
fn what_a_killed_process_left_unsynced_is_safe_before_it_is_shown() {
    with_seeds(30..32, sound(kill_then_cut));
}

pub fn many_lives(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let scene = Scene::new(case, if rng.bool() { TIGHT } else { ROOMY });
    let mut gateway = scene.create(new_disk(case.seed))?;
    for life in 1..12 {
        gateway.drive(rng.u64(0..80));
        // Most ends find requests under way.
        if rng.u8(0..3) == 0 {
            gateway.settle();
            scene.check_settled(&gateway).map_err(|what| format!("life {life}: {what}"))?;
        }
        let model = gateway.model.clone();
        let disk = match rng.u8(0..4) {
            0 => {
                tally::count("closed in order");
                gateway.settle();
                let model = gateway.model.clone();
                gateway = scene.reopen(gateway.close()?, model, life)?;
                continue;
            }
            1 => {
                tally::count("killed");
                gateway.disk.kill(rng.u64(..))
            }
            _ => {
                tally::count("power cut between two operations");
                gateway.disk.power_cut(rng.u64(..))
            }
        };
        gateway = scene.reopen(disk, model, life).map_err(|what| format!("life {life}, opened again: {what}"))?;
    }
    gateway.settle();
    scene.check_settled(&gateway).map(drop)
}

pub fn kill_then_cut(case: Case) -> Verdict {
    let disk = new_disk(case.seed);
    disk.watch(0.01);
    let scene = Scene::new(case, if case.seed.is_multiple_of(2) { ROOMY } else { TIGHT });
    let past = if case.seed.is_multiple_of(2) { scene.live(disk, 150) } else { scene.live_through(disk, 2) }?;
    let rng = &mut Rng::with_seed(case.seed);
    let chosen: Vec<_> = past.moments.iter().filter(|_| rng.u8(0..6) == 0).collect();
    for (moment, model) in past.models(chosen.into_iter()) {
        tally::count_at("killed", moment.at.0);
        let place = |what| format!("killed before operation {}, {:?}: {what}", moment.op, moment.at);
        let again = scene.reopen(moment.kill(case.seed), model, 1).map_err(place)?;
        tally::count("power cut after recovery");
        let disk = again.disk.power_cut(rng.u64(..));
        scene.reopen(disk, again.model.clone(), 2).map_err(|what| place(format!("then power cut: {what}")))?;
    }
    Ok(())
}
