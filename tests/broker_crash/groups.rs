//! Members of a group over power cuts: what was acknowledged to them is kept, and every record is processed by somebody.
//!
//! They are clients: they live on while the gateway dies, with their ids, generation and shares, and what they have
//! processed stays processed.

use fastrand::Rng;

use crate::check::{CREW, READERS};
use crate::gateway::Gateway;
use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, Verdict, ensure, new_disk, tally};
use crate::members::bytes;
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn members_process_every_record_over_power_cuts() {
    with_seeds(90..93, sound(over_power_cuts));
}

pub fn over_power_cuts(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let mut scene = Scene::new(case, ROOMY);
    scene.members = 3;
    let disk = new_disk(case.seed);
    disk.watch(0.005);
    let past = scene.live(disk, 600)?;
    let chosen: Vec<_> = past.moments.iter().filter(|_| rng.u8(0..6) == 0).collect();
    for (moment, model) in past.models(chosen.into_iter()) {
        let seed = rng.u64(..);
        tally::count_at("power cut among members,", moment.at.0);
        let place = |what| format!("power cut {seed} before operation {}, {:?}: {what}", moment.op, moment.at);
        let mut again = scene.reopen(moment.power_cut(seed), model, seed).map_err(place)?;
        check_group(&again).map_err(place)?;
        again.drive(rng.u64(0..60));
        all_processed(&mut again).map_err(place)?;
    }
    Ok(())
}

/// The group is as its members know it, or further.
fn check_group(gateway: &Gateway) -> Verdict {
    let crew = &gateway.model.crew;
    let Some(group) = gateway.broker.group(READERS[CREW as usize]) else {
        ensure!(crew.generation == 0, "the group is gone, generation {} was told", crew.generation);
        return Ok(());
    };
    ensure!(group.generation >= crew.generation, "generation {} after {}", group.generation, crew.generation);
    tally::count(if group.generation == crew.generation { "members go on" } else { "members join anew" });
    for member in crew.members.iter().filter(|member| member.generation == Some(group.generation)) {
        let known = group.members.iter().find(|known| known.member_id == member.id);
        let known = known.ok_or_else(|| format!("{} of generation {} is gone", member.id, group.generation))?;
        ensure!(known.assignment[..] == bytes(&member.share)[..], "{} had {:?}", member.id, member.share);
    }
    Ok(())
}

/// Members finish; between them they have processed every offset that was there to process.
fn all_processed(gateway: &mut Gateway) -> Verdict {
    gateway.finish_work()?;
    if let Some(what) = gateway.wrong.first() {
        return Err(what.clone());
    }
    for topic in gateway.broker.topics().iter().filter(|topic| !topic.is_internal()) {
        for partition in &topic.partitions {
            let head = gateway.broker.head(*partition).map_err(|error| error.to_string())?;
            let processed = gateway.model.crew.processed.get(partition).cloned().unwrap_or_default();
            let missing = processed.missing_in(head.log_start..head.high_watermark);
            ensure!(missing.is_empty(), "{}, {partition:?}: nobody processed {missing:?}", topic.name);
        }
    }
    Ok(())
}
