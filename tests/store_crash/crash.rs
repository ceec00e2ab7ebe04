//! The tests. Each is a function of a seed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use brooklet::store::sim::{Fault, Moment, OpKind, SimDisk};
use brooklet::store::{StoreError, fsck};
use fastrand::Rng;
use rustix::io::Errno;

use crate::damage::flip_bits;
use crate::full::{refuse, small_filesystem};
use crate::harness::seeds::{Named, with_random_seeds, with_seeds};
use crate::harness::{DIR, ROOMY, TIGHT, Verdict, new_disk, tally};
use crate::scene::Scene;

#[test]
fn a_power_cut_anywhere_loses_nothing() {
    with_seeds(0..3, cut_everywhere);
}

#[test]
fn a_power_cut_anywhere_loses_nothing_while_the_oldest_is_evicted() {
    with_seeds(10..13, cut_while_evicting);
}

#[test]
fn a_power_cut_anywhere_loses_nothing_while_segments_are_rewritten() {
    with_seeds(14..17, cut_while_rewriting);
}

#[test]
fn closed_killed_and_cut_off_again_and_again() {
    with_seeds(20..30, many_lives);
}

#[test]
fn what_a_killed_process_left_unsynced_is_safe_before_it_is_shown() {
    with_seeds(30..32, kill_then_cut);
}

#[test]
fn a_failing_disk_stops_the_store_and_nothing_acknowledged_is_lost() {
    with_seeds(40..43, fail_somewhere);
}

#[test]
fn the_size_bound_holds_at_every_moment() {
    with_seeds(50..52, push_through);
}

/// For hours: `scripts/crash.sh`.
#[test]
#[ignore = "runs as long as BROOKLET_CRASH_SECONDS says"]
fn everything_with_random_seeds() {
    const TESTS: [Named; 10] = [
        ("cut", cut_everywhere),
        ("cut_evicting", cut_while_evicting),
        ("cut_rewriting", cut_while_rewriting),
        ("lives", many_lives),
        ("kill_then_cut", kill_then_cut),
        ("failing", fail_somewhere),
        ("push_through", push_through),
        ("refuse", refuse),
        ("small_filesystem", small_filesystem),
        ("flipped", flip_bits),
    ];
    with_random_seeds(&TESTS);
}

/// A power cut before every sync, rename and removal, and before some writes.
fn cut_everywhere(seed: u64) -> Verdict {
    let scene = Scene::new(seed, ROOMY);
    let (run, moments) = scene.live(300, Some(0.01))?;
    let segments = run.store.status().segments;
    if segments < 2 {
        return Err(format!("only {segments} segments"));
    }
    for (number, moment) in moments.iter().enumerate() {
        scene.cut(&run, moment, seed.wrapping_mul(100_000) + number as u64)?;
    }
    Ok(())
}

fn cut_while_evicting(seed: u64) -> Verdict {
    let scene = Scene::new(seed, TIGHT);
    // Where many partitions are dropped, their room is enough for a while.
    let lives = [800, 1_600, 3_200].into_iter().map(|steps| scene.live(steps, Some(0.005)));
    let mut full = lives.filter(|lived| lived.as_ref().map_or(true, |(run, _)| run.store.status().evictions > 0));
    let (run, moments) = full.next().unwrap_or_else(|| Err("nothing was evicted".into()))?;
    drop(full);
    let rng = &mut Rng::with_seed(seed);
    for moment in rng.choose_multiple(&moments, 250) {
        scene.cut(&run, moment, rng.u64(..))?;
    }
    // Files change hands at these.
    let handovers = [OpKind::Rename, OpKind::Remove, OpKind::SyncDir];
    let handovers: Vec<_> = moments.iter().filter(|moment| handovers.contains(&moment.at.0)).collect();
    for moment in rng.choose_multiple(&handovers, 15) {
        scene.cut_and_refill(&run, moment, rng.u64(..))?;
    }
    Ok(())
}

/// Partitions of different priorities and reserves, and partitions that are dropped: a power cut before everything that
/// is done with a copy, and at other moments.
fn cut_while_rewriting(seed: u64) -> Verdict {
    let mut scene = Scene::new(seed, TIGHT);
    scene.shape.classes = true;
    scene.shape.retention = None;
    let (run, moments) = scene.live(900, Some(0.002))?;
    let rewrites = run.store.status().rewrites;
    if rewrites < 3 {
        return Err(format!("only {rewrites} rewrites"));
    }
    let rng = &mut Rng::with_seed(seed);
    let of_copy = |moment: &&Moment| moment.at.1.ends_with("rewrite.new") && moment.at.0 != OpKind::Write;
    let mut chosen: Vec<&Moment> = moments.iter().filter(of_copy).collect();
    chosen.truncate(150);
    chosen.extend(rng.choose_multiple(&moments, 100));
    for moment in chosen {
        scene.cut(&run, moment, rng.u64(..))?;
    }
    let handovers = [OpKind::Rename, OpKind::Remove, OpKind::SyncDir];
    let handovers: Vec<_> = moments.iter().filter(|moment| handovers.contains(&moment.at.0)).collect();
    for moment in rng.choose_multiple(&handovers, 10) {
        scene.cut_and_refill(&run, moment, rng.u64(..))?;
    }
    verified(&run.disk.power_cut(rng.u64(..)))
}

/// Nobody runs the store on this disk: to `fsck` everything in it is right, the books too.
fn verified(disk: &SimDisk) -> Verdict {
    let report = fsck(Path::new(DIR), Arc::new(disk.clone()), &mut |_, _| {}).map_err(|error| error.to_string())?;
    match report.findings.first() {
        Some(finding) => Err(format!("fsck found {} things: {finding:?}", report.findings_total)),
        None => Ok(()),
    }
}

/// Closed, killed and cut off at random, again and again, the store is what the model is.
fn many_lives(seed: u64) -> Verdict {
    let rng = &mut Rng::with_seed(seed);
    let scene = Scene::new(seed, if rng.bool() { TIGHT } else { ROOMY });
    let mut run = scene.create(new_disk(seed))?;
    for life in 1..12 {
        run.drive(rng.u64(0..60));
        run.settle();
        scene.check_settled(&run).map_err(|what| format!("life {life}: {what}"))?;
        let last = Arc::clone(run.last());
        let disk = match rng.u8(0..3) {
            0 => run.close()?,
            1 => run.disk.kill(rng.u64(..)),
            _ => run.disk.power_cut(rng.u64(..)),
        };
        tally::count("closed, killed or cut off between two operations");
        verified(&disk).map_err(|what| format!("life {life}: {what}"))?;
        run = scene.reopen(disk, &last, life).map_err(|what| format!("life {life}, opened again: {what}"))?;
    }
    Ok(())
}

/// The process is killed, the kernel lives: what was written but not synced is seen again. It must be safe before it is
/// shown, or a power cut later takes back what readers have seen.
fn kill_then_cut(seed: u64) -> Verdict {
    let (scene, steps) = match seed % 2 {
        0 => (Scene::new(seed, ROOMY), 100),
        _ => (Scene::new(seed, TIGHT), 500),
    };
    let (run, moments) = scene.live(steps, Some(0.01))?;
    let rng = &mut Rng::with_seed(seed);
    for moment in rng.choose_multiple(&moments, 150) {
        let possible = run.possible_after(moment.op);
        tally::count_at("killed", moment.at.0);
        let place = |what| format!("killed before operation {}, {:?}: {what}", moment.op, moment.at);
        let again = scene.open_crashed(&run, moment.kill(seed), &[possible.0, possible.1], seed).map_err(place)?;
        scene.check(&again).map_err(place)?;
        let disk = again.disk.power_cut(rng.u64(..));
        scene.reopen(disk, again.last(), 1).map_err(|what| place(format!("then power cut: {what}")))?;
    }
    Ok(())
}

/// An operation of the disk fails. The store stops, or says that it is full; what it had acknowledged is there when it
/// is opened again by the same kernel, and after a power cut then.
fn fail_somewhere(seed: u64) -> Verdict {
    let rng = &mut Rng::with_seed(seed);
    let kinds = [
        OpKind::Write,
        OpKind::SetLen,
        OpKind::Sync,
        OpKind::SyncDir,
        OpKind::Rename,
        OpKind::Remove,
        OpKind::Open,
        OpKind::Read,
    ];
    for kind in kinds {
        for _ in 0..12 {
            let errno = if rng.bool() { Errno::IO } else { Errno::NOSPC };
            let after = match kind {
                OpKind::Write => rng.u64(0..600),
                OpKind::Sync | OpKind::Read => rng.u64(0..80),
                _ => rng.u64(0..8),
            };
            fail_once(seed, Fault { kind, after, errno })
                .map_err(|what| format!("{kind:?} fails after {after} ({errno}): {what}"))?;
        }
    }
    Ok(())
}

fn fail_once(seed: u64, fault: Fault) -> Verdict {
    tally::count(format!("{:?} fails", fault.kind));
    let scene = Scene::new(seed, TIGHT);
    let disk = new_disk(seed);
    disk.fail(fault);
    let Ok(mut run) = scene.create(disk) else {
        // Refusing to open is an answer as well.
        return Ok(());
    };
    run.drive(60);
    run.settle();
    let log = run.log();
    if let Some(what) = log.wrong.first() {
        return Err(what.clone());
    }
    let acked = log.acks.iter().map(|ack| ack.step).max().unwrap_or(0);
    if let Some((step, _)) = log.failed.iter().find(|(step, _)| *step <= acked) {
        return Err(format!("step {step} failed, but {acked} was acknowledged"));
    }
    if let Some((step, error)) = log.failed.iter().find(|(_, error)| matches!(error, StoreError::Closed)) {
        return Err(format!("step {step}: {error}"));
    }
    drop(log);
    // Which steps the failed commit would have held is not known.
    let possible: Vec<_> = (acked..=run.last().steps).collect();
    for disk in [run.disk.kill(seed), run.disk.power_cut(seed)] {
        let mut again = scene.open_crashed(&run, disk, &possible, seed)?;
        scene.check(&again)?;
        if seed.is_multiple_of(2) {
            again.drive(100);
            again.settle();
            scene.check_settled(&again).map_err(|what| format!("going on: {what}"))?;
        }
        let disk = again.disk.power_cut(seed);
        scene.reopen(disk, again.last(), 1).map_err(|what| format!("power cut after opening: {what}"))?;
    }
    Ok(())
}

/// Many times the bound goes through; what is on disk never exceeds it, at any write.
fn push_through(seed: u64) -> Verdict {
    let mut scene = Scene::new(seed, TIGHT);
    if seed.is_multiple_of(2) {
        scene.shape.deletes = false;
        scene.shape.retention = None;
        // Rewrites keep a segment's room free.
        scene.shape.classes = false;
    }
    let (run, _) = scene.live(3_500, None)?;
    let (through, kept) = (run.store.status().payload_bytes, run.disk.allocated());
    if through < 4 * TIGHT {
        return Err(format!("only {through} bytes went through"));
    }
    // What there is room for must be kept, too: all but the rest of the active segment, the largest commit, what the store
    // holds free beside (see ARCHITECTURE.md), and the segment that was given up last.
    let segment = scene.options.segment_bytes.unwrap_or(0);
    let (commit, beside) = (segment / 2 + segment / 16, (768 << 10) + 3 * run.store.status().state_bytes);
    let least = TIGHT - 2 * segment - commit - beside;
    if !scene.shape.deletes && kept < least {
        return Err(format!("only {kept} bytes are kept, {least} could be"));
    }
    Ok(())
}

/// The planted faults: with syncs that do nothing, these tests must find losses, else they would prove nothing.
#[test]
fn a_disk_that_lies_is_found_out() {
    for (kind, share_min) in [(OpKind::Sync, 0.5), (OpKind::SyncDir, 0.1)] {
        let scene = Scene::new(60, ROOMY);
        let disk = new_disk(60);
        disk.lie_about(kind);
        let mut run = scene.create(disk).unwrap();
        run.disk.watch(0.0);
        run.drive(100);
        run.settle();
        let moments = run.disk.unwatch();
        let harmful = |(number, moment): &(usize, &Moment)| {
            let cut = AssertUnwindSafe(|| scene.cut(&run, moment, *number as u64));
            !matches!(catch_unwind(cut), Ok(Ok(())))
        };
        let found = moments.iter().enumerate().filter(harmful).count();
        let share = found as f64 / moments.len() as f64;
        assert!(share >= share_min, "{kind:?}: only {found} of {} cuts were found to do harm", moments.len());
    }
}

/// One seed is one history, byte for byte.
#[test]
fn a_seed_replays_exactly() {
    let history = || {
        let (run, moments) = Scene::new(70, TIGHT).live(120, Some(0.05)).unwrap();
        let acks: Vec<_> = run.log().acks.iter().map(|ack| (ack.step, ack.commit, ack.disk_ops)).collect();
        (acks, moments.len(), run.disk.ops(), run.disk.allocated_max())
    };
    assert_eq!(history(), history());
}
