//! A medium that fails and works again while the gateway runs: the store opens its files anew, clients send again, and
//! everything is there once. Crashes inside healing, failures inside healing, and readers meanwhile.

use brooklet::store::sim::{Fault, OpKind};
use fastrand::Rng;
use rustix::io::Errno;

use crate::check::were_sent;
use crate::gateway::Gateway;
use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, TIGHT, Verdict, ensure, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn a_store_that_failed_heals_and_loses_nothing() {
    with_seeds(90..96, sound(heals));
}

pub fn heals(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let scene = Scene::new(case, if rng.bool() { TIGHT } else { ROOMY });
    let mut gateway = scene.create(new_disk(case.seed))?;
    if rng.bool() {
        gateway.disk.refuse_direct_reads();
    }
    gateway.trouble_expected = true;
    for round in 0..4 {
        gateway.drive(rng.u64(10..60));
        let failure = fail(&gateway, rng);
        for _ in 0..60 {
            gateway.drive(1);
            if gateway.is_stopped() {
                break;
            }
        }
        let what = |what| format!("round {round}, {failure}: {what}");
        if gateway.is_stopped() {
            readers_go_on(&gateway, rng).map_err(what)?;
            heal(&scene, &mut gateway, rng).map_err(what)?;
        }
        gateway.disk.mend();
    }
    gateway.settle();
    gateway.troubles.clear();
    scene.check_settled(&gateway)?;
    let (model, disk) = (gateway.model.clone(), gateway.disk.power_cut(case.seed));
    scene.reopen(disk, model, 1).map_err(|what| format!("power cut at the end: {what}")).map(drop)
}

/// Plans a failure. Returns what it is.
fn fail(gateway: &Gateway, rng: &mut Rng) -> String {
    let errno = if rng.bool() { Errno::IO } else { Errno::NOSPC };
    if rng.u8(0..4) == 0 {
        tally::count("medium fails for a while");
        gateway.disk.break_down(errno);
        return "everything fails".into();
    }
    let kinds =
        [OpKind::Sync, OpKind::Write, OpKind::SetLen, OpKind::SyncDir, OpKind::Rename, OpKind::Remove, OpKind::Open];
    let kind = if rng.bool() { OpKind::Sync } else { *rng.choice(&kinds).unwrap() };
    let after = match kind {
        OpKind::Write => rng.u64(0..60),
        OpKind::Sync => rng.u64(0..12),
        _ => rng.u64(0..4),
    };
    tally::count(format!("{kind:?} fails, then heals"));
    gateway.disk.fail(Fault { kind, after, errno });
    format!("{kind:?} fails after {after} ({errno})")
}

/// A stopped store gives what it can prove, or an error; never anything else.
fn readers_go_on(gateway: &Gateway, rng: &mut Rng) -> Verdict {
    let store = gateway.broker.store();
    for partition in store.partitions() {
        // What the gateway tells of losses, nobody has sent.
        if gateway.broker.topic_of(partition).is_some_and(|(topic, _)| topic.is_internal()) {
            continue;
        }
        let Some(head) = store.head(partition) else { continue };
        let from = rng.i64(head.log_start..=head.high_watermark);
        if let Ok(read) = store.read(partition, from, 50_000) {
            were_sent(&read.bytes, partition, &gateway.model).map_err(|what| format!("read while stopped: {what}"))?;
        }
    }
    Ok(())
}

/// Tries until the store is open again; what it holds then is certain.
fn heal(scene: &Scene, gateway: &mut Gateway, rng: &mut Rng) -> Verdict {
    for attempt in 0..6 {
        if attempt == 4 {
            gateway.disk.mend();
        }
        if attempt < 3 && rng.u8(0..4) == 0 {
            tally::count("failure inside healing");
            let kind = *rng.choice(&[OpKind::Sync, OpKind::Write, OpKind::Open, OpKind::Read, OpKind::Rename]).unwrap();
            gateway.disk.fail(Fault { kind, after: rng.u64(0..6), errno: Errno::IO });
        }
        gateway.disk.watch(0.02);
        let healed = gateway.engine.step_heal();
        let inside = gateway.disk.unwatch();
        gateway.listen();
        for moment in rng.choose_multiple(&inside, 2) {
            tally::count_at("power cut inside healing,", moment.at.0);
            let seed = rng.u64(..);
            scene
                .recover(moment.power_cut(seed), &gateway.model, seed, 1)
                .map_err(|what| format!("power cut {seed} inside healing, before {:?}: {what}", moment.at))?;
        }
        match healed {
            Ok(true) => {
                let found = scene.check(gateway).map_err(|what| format!("healed at try {attempt}: {what}"))?;
                return gateway.model.settle(&found);
            }
            Ok(false) => return Err("there was nothing to heal".into()),
            Err(error) => ensure!(attempt < 5, "it doesn't heal: {error}"),
        }
    }
    Ok(())
}
