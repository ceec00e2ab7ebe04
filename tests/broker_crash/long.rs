//! Runs for as long as one likes, and runs with planted faults: scripts/crash.sh.

use std::time::Instant;

use brooklet::store::sim::Planted;

use crate::harness::Verdict;
use crate::harness::seeds::{Named, verdict, with_random_seeds};
use crate::scene::Case;
use crate::{cut, damage, failing, full, groups, heal, intake, lives, reader, slow, tiers};

#[test]
#[ignore = "runs as long as BROOKLET_CRASH_SECONDS says"]
fn everything_with_random_seeds() {
    const TESTS: [Named; 14] = [
        ("cut", |seed| cut::everywhere(sound(seed))),
        ("cut_evicting", |seed| cut::while_evicting(sound(seed))),
        ("groups", |seed| groups::over_power_cuts(sound(seed))),
        ("lives", |seed| lives::many_lives(sound(seed))),
        ("kill_then_cut", |seed| lives::kill_then_cut(sound(seed))),
        ("failing", |seed| failing::anywhere(sound(seed))),
        ("failed_syncs", |seed| failing::syncs(sound(seed))),
        ("heal", |seed| heal::heals(sound(seed))),
        ("full", |seed| full::full_for_a_while(sound(seed))),
        ("slow", |seed| slow::slow(sound(seed))),
        ("damage", |seed| damage::damaged(sound(seed))),
        ("reader", |seed| reader::held_up(sound(seed))),
        ("intake", |seed| intake::brought(sound(seed))),
        ("tiers", |seed| tiers::forwarded(sound(seed))),
    ];
    with_random_seeds(&TESTS);
}

fn sound(seed: u64) -> Case {
    Case { seed, planted: None }
}

/// The test that looks for a planted fault, and the number of seeds within which it must find it.
fn suspect(planted: Planted) -> (fn(Case) -> Verdict, u64) {
    match planted {
        Planted::NoDirSync | Planted::AckBeforeCommit | Planted::CommitWithoutSync => (cut::everywhere, 5),
        Planted::UnlinkBeforeLedger => (cut::while_evicting, 10),
        Planted::RecycleUnderReader => (reader::held_up, 20),
    }
}

/// Tests that find nothing prove nothing.
#[test]
#[ignore = "scripts/crash.sh --planted"]
fn planted_faults_are_caught() {
    // What is caught needs no backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = 0;
    for planted in Planted::ALL {
        let (test, seeds) = suspect(planted);
        let begin = Instant::now();
        let find = |seed| verdict(seed, |seed| test(Case { seed, planted: Some(planted) })).err();
        let found = (0..seeds).find_map(|seed| Some((seed, find(seed)?)));
        let seconds = begin.elapsed().as_secs_f64();
        match found {
            Some((seed, what)) => eprintln!("{planted:?}: caught by seed {seed} in {seconds:.1} s: {what}"),
            None => {
                eprintln!("{planted:?}: NOT caught by {seeds} seeds in {seconds:.1} s");
                missed += 1;
            }
        }
    }
    let _ = std::panic::take_hook();
    assert_eq!(missed, 0, "planted faults were not caught");
}
