//! A filesystem that others fill for a while: the store gives up only what was forwarded, then refuses, and goes on when
//! there is room again.

use brooklet::store::LossReason;
use fastrand::Rng;

use crate::check::Evictions;
use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, Verdict, ensure, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn a_disk_that_is_full_for_a_while_loses_nothing() {
    with_seeds(64..67, sound(full_for_a_while));
}

pub fn full_for_a_while(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let mut scene = Scene::new(case, ROOMY);
    scene.evictions = Evictions::Possible;
    let mut gateway = scene.create(new_disk(case.seed))?;
    gateway.drive(rng.u64(20..150));
    gateway.settle();
    scene.check_settled(&gateway)?;
    tally::count("disk full for a while");
    gateway.trouble_expected = true;
    gateway.disk.set_capacity(gateway.disk.allocated() + rng.u64(0..2 << 20));
    gateway.drive(120);
    if let Some(loss) = gateway.broker.store().losses().iter().find(|loss| loss.reason == LossReason::Evicted) {
        return Err(format!("given up for others, though it was not forwarded: {loss:?}"));
    }
    gateway.disk.set_capacity(u64::MAX);
    gateway.troubles.clear();
    let stopped = gateway.broker.store().status().poisoned;
    if stopped.is_none() {
        gateway.settle();
        gateway.troubles.clear();
        let waiting = gateway.model.lanes.iter().flat_map(|lane| &lane.batches).filter(|batch| !batch.acked).count();
        ensure!(gateway.tasks.is_empty(), "requests are never answered");
        scene.check_settled(&gateway).map_err(|what| format!("room again, {waiting} batches wait: {what}"))?;
    }
    let model = gateway.model.clone();
    let disk = if rng.bool() { gateway.disk.kill(case.seed) } else { gateway.disk.power_cut(case.seed) };
    let again = scene.reopen(disk, model, 1).map_err(|what| format!("opened again ({stopped:?} before): {what}"))?;
    scene.go_on(again, 60, rng).map(drop)
}
