//! A slow disk: each sync and some other operations take up to seconds of the store's clock, as on a card that tidies
//! up. Commits are due long before they can be made; nothing else may change.

use std::sync::Mutex;

use brooklet::store::sim::OpKind;
use fastrand::Rng;

use crate::harness::seeds::with_seeds;
use crate::harness::{ROOMY, TIGHT, Verdict, new_disk, tally};
use crate::scene::{Case, Scene};
use crate::sound;

#[test]
fn a_slow_disk_only_takes_longer() {
    with_seeds(60..62, sound(slow));
}

pub fn slow(case: Case) -> Verdict {
    let rng = &mut Rng::with_seed(case.seed);
    let scene = Scene::new(case, if rng.bool() { TIGHT } else { ROOMY });
    let mut gateway = scene.create(new_disk(case.seed))?;
    for life in 0..3 {
        let (clock, delays) = (gateway.clock.clone(), Mutex::new(rng.fork()));
        gateway.disk.set_hook(move |kind, _| {
            let mut delays = delays.lock().unwrap();
            match kind {
                OpKind::Sync | OpKind::SyncDir => clock.advance_ms(delays.u64(0..3_000)),
                _ if delays.u8(..) == 0 => clock.advance_ms(delays.u64(0..500)),
                _ => {}
            }
        });
        tally::count("slow disk");
        gateway.drive(100);
        let model = gateway.model.clone();
        let disk = if rng.bool() { gateway.disk.kill(life) } else { gateway.disk.power_cut(life) };
        gateway = scene.reopen(disk, model, life).map_err(|what| format!("life {life}: {what}"))?;
    }
    gateway.settle();
    scene.check_settled(&gateway).map(drop)
}
