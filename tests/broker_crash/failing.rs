//! Operations of the disk that fail, each kind at each of many places, with EIO and ENOSPC.
//!
//! The store stops, or says that it is full. What it had acknowledged is there when it is opened again by the same
//! kernel, and after a power cut then. A failed sync is the worst of them: its pages stay readable until the power goes,
//! though they are nowhere else.

use brooklet::store::sim::{Fault, OpKind};
use fastrand::Rng;
use rustix::io::Errno;

use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, TIGHT, Verdict, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn a_failing_disk_loses_nothing_that_was_acknowledged() {
    with_seeds(40..42, sound(anywhere));
}

#[test]
fn what_a_failed_sync_shows_is_not_taken_for_safe() {
    with_seeds(44..46, sound(syncs));
}

pub fn anywhere(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let kinds =
        [OpKind::Write, OpKind::SetLen, OpKind::SyncDir, OpKind::Rename, OpKind::Remove, OpKind::Open, OpKind::Read];
    for kind in kinds {
        for _ in 0..5 {
            let errno = if rng.bool() { Errno::IO } else { Errno::NOSPC };
            let after = match kind {
                OpKind::Write => rng.u64(0..600),
                OpKind::Read => rng.u64(0..80),
                _ => rng.u64(0..8),
            };
            fail_once(case, Fault { kind, after, errno })
                .map_err(|what| format!("{kind:?} fails after {after} ({errno}): {what}"))?;
        }
    }
    Ok(())
}

pub fn syncs(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    for _ in 0..20 {
        let (after, errno) = (rng.u64(0..80), Errno::IO);
        let fault = Fault { kind: OpKind::Sync, after, errno };
        fail_once(case, fault).map_err(|what| format!("sync fails after {after}: {what}"))?;
    }
    Ok(())
}

fn fail_once(case: Case, fault: Fault) -> Verdict {
    tally::count(format!("{:?} fails with {}", fault.kind, if fault.errno == Errno::IO { "EIO" } else { "ENOSPC" }));
    let scene = Scene::new(case, if case.seed.is_multiple_of(2) { TIGHT } else { ROOMY });
    let disk = new_disk(case.seed);
    disk.fail(fault);
    let Ok(mut gateway) = scene.create(disk) else {
        // Refusing to open is an answer as well.
        return Ok(());
    };
    gateway.trouble_expected = true;
    gateway.drive(80);
    gateway.settle();
    if let Some(what) = gateway.wrong.first() {
        return Err(what.clone());
    }
    let rng = &mut Rng::with_seed(case.seed);
    let ends = [
        ("killed by the failure", gateway.disk.kill(case.seed)),
        ("power cut after the failure", gateway.disk.power_cut(case.seed)),
    ];
    for (end, disk) in ends {
        tally::count(end);
        let again = scene.reopen(disk, gateway.model.clone(), 1).map_err(|what| format!("{end}: {what}"))?;
        let model = again.model.clone();
        let disk = again.disk.power_cut(rng.u64(..));
        scene.reopen(disk, model, 2).map_err(|what| format!("{end}, then power cut: {what}"))?;
        scene.go_on(again, 60, rng).map_err(|what| format!("{end}: {what}"))?;
    }
    Ok(())
}
