//! MQTT clients of a gateway whose disk loses power: what was acknowledged with QoS 1 and 2 comes to every subscriber, with QoS 2
//! once, whenever the power goes: before every sync, rename and removal, at random writes, and again after it.
//!
//! | file | what it is |
//! |---|---|
//! | `overload` | a store that stands still, under a publisher that doesn't |
//! | `world` | a gateway on a simulated disk, driven by hand, with its clients on connections in memory |
//! | `../mqtt_peers` | the clients |
//!
//! Everything is drawn from a seed. What is no longer in memory is read on other threads, so a seed does not replay to the last byte.
#![cfg(debug_assertions)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

#[path = "../crash_harness/mod.rs"]
mod harness;
mod overload;
#[path = "../mqtt_peers/mod.rs"]
mod peers;
mod pipe;
mod world;

use brooklet::store::StoreOptions;
use brooklet::store::sim::Moment;
use fastrand::Rng;

use harness::seeds::{with_random_seeds, with_seeds};
use harness::{ROOMY, Verdict, new_disk, options, tally};
use peers::Crew;
use world::World;

/// What clients knew, by the operations of the disk done by then.
type Journal = Vec<(u64, Crew)>;

#[test]
fn power_cuts_lose_nothing_and_repeat_nothing() {
    with_seeds(0..2, power_cuts);
}

/// For scripts/crash.sh.
#[test]
#[ignore = "takes as long as it is told"]
fn everything() {
    with_random_seeds(&[("mqtt", power_cuts)]);
}

fn power_cuts(seed: u64) -> Verdict {
    let rng = &mut Rng::with_seed(seed);
    let options = options(rng, ROOMY);
    let disk = new_disk(seed);
    disk.watch(0.005);
    let mut world = World::open(disk, &options, Crew::new())?;
    let mut journal = vec![(0, world.crew.clone())];
    world.live(rng, 250, &mut journal)?;
    let moments = world.disk.unwatch();
    world.finish(rng)?;
    drop(world);
    for moment in &moments {
        after(moment, &journal, &options, rng, 1)?;
    }
    Ok(())
}

/// The power goes at this moment; the clients go on. Sometimes it goes again.
fn after(moment: &Moment, journal: &Journal, options: &StoreOptions, rng: &mut Rng, depth: u32) -> Verdict {
    let known = journal.iter().rev().find(|(ops, _)| *ops <= moment.op).map(|(_, crew)| crew.clone());
    tally::count_at("power cut under MQTT clients,", moment.at.0);
    let wrong = |what: String| format!("power cut before operation {}, {:?}: {what}", moment.op, moment.at);
    let disk = moment.power_cut(rng.u64(..));
    let again = depth > 0 && rng.u8(0..4) == 0;
    if again {
        disk.watch(0.005);
    }
    let mut world = World::open(disk, options, known.unwrap_or_else(Crew::new)).map_err(wrong)?;
    let mut journal = vec![(0, world.crew.clone())];
    world.live(rng, 30, &mut journal).map_err(wrong)?;
    let moments = world.disk.unwatch();
    if let (true, Some(second)) = (again, rng.choice(&moments)) {
        drop(world);
        return after(second, &journal, options, rng, depth - 1).map_err(wrong);
    }
    world.finish(rng).map_err(wrong)
}
