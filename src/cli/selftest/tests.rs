//! The thresholds, from both sides.

use super::*;

fn judged(judge: impl FnOnce(&mut Vec<Finding>)) -> Vec<(&'static str, Severity)> {
    let mut findings = Vec::new();
    judge(&mut findings);
    findings.iter().map(|finding| (finding.what, finding.severity)).collect()
}

#[test]
fn slow_disks_warn_and_bad_ones_fail() {
    let disk = |ms, rate| {
        let sync_p99 = Duration::from_millis(ms);
        judged(|all| judge_disk(all, DiskFigures { sync_p99, bytes_per_second: rate, ..DiskFigures::default() }))
    };
    assert_eq!(disk(1_000, RATE_SLOW), [("sync", Severity::Ok), ("write", Severity::Ok)]);
    assert_eq!(disk(1_001, RATE_SLOW - 1), [("sync", Severity::Warn), ("write", Severity::Warn)]);
    assert_eq!(disk(5_001, RATE_BAD - 1), [("sync", Severity::Fail), ("write", Severity::Fail)]);
}

#[test]
fn room_and_life_are_judged() {
    let room = |free| judged(|all| judge_room(all, free))[0].1;
    assert_eq!(
        (room(Some(ROOM_SMALL)), room(Some(ROOM_BAD)), room(Some(ROOM_BAD - 1))),
        (Severity::Ok, Severity::Warn, Severity::Fail)
    );
    assert_eq!(room(None), Severity::Fail);
    let life =
        |used, pre_eol| judged(|all| judge_life(all, Some(CardLife { used_percent: [used, None], pre_eol })))[0].1;
    assert_eq!(
        (life(Some(70), Some(1)), life(Some(80), Some(1)), life(Some(110), None)),
        (Severity::Ok, Severity::Warn, Severity::Fail)
    );
    assert_eq!((life(Some(10), Some(2)), life(None, Some(3))), (Severity::Warn, Severity::Fail));
    assert_eq!(judged(|all| judge_life(all, None))[0].1, Severity::Ok);
}

#[test]
fn a_filesystem_that_keeps_nothing_is_told() {
    let mount = |kind: &str, options: &str| {
        let mount = Mount { place: "/d".into(), kind: kind.to_owned(), options: options.to_owned() };
        judged(|all| judge_mount(all, Some(&mount)))[0].1
    };
    assert_eq!((mount("ext4", "rw"), mount("ext4", "ro,rw")), (Severity::Ok, Severity::Fail));
    assert_eq!((mount("tmpfs", "rw"), mount("nfs4", "rw")), (Severity::Warn, Severity::Warn));
}

#[test]
fn the_help_says_how_much_is_written() {
    assert!(SPEC.details.contains(&term::human_count(BYTES_WRITTEN_MAX)), "{}", term::human_count(BYTES_WRITTEN_MAX));
}
