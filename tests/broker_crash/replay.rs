//! One seed is one history.

use crate::harness::{TIGHT, new_disk};
use crate::scene::{Case, Scene};

#[test]
fn a_seed_replays_exactly() {
    let trace = |seed| {
        let disk = new_disk(seed);
        disk.watch(0.01);
        let past = Scene::new(Case { seed, planted: None }, TIGHT).live(disk, 300).unwrap();
        (past.gateway.trace(), past.moments.len())
    };
    for seed in 70..72 {
        assert_eq!(trace(seed), trace(seed));
    }
    assert_ne!(trace(70), trace(71));
}
