use super::*;
use crate::limits::PRIORITY_MAX;

const URGENT: Class = Class { waits: false, below: 4 };
const HIGH: Class = Class { waits: true, below: 0 };
const LOW: Class = Class { waits: true, below: 9 };

fn names(topic: &str) -> Names {
    Names { topic: topic.into(), index: 0, upstream: topic.into() }
}

/// One partition a class, begun with at commit 10.
fn mirror(classes: &[Class]) -> Mirror {
    let mut mirror = Mirror::default();
    for (index, class) in classes.iter().enumerate() {
        let partition = PartitionId(index as u32);
        mirror.follow(partition, names(&format!("t{index}")), *class, Intervals::default(), Instant::now());
        mirror.rewind(partition, 10);
    }
    mirror
}

/// The partitions of the next step and where it begins.
fn step(mirror: &mut Mirror) -> Option<(Vec<u32>, CommitSeq)> {
    let step = mirror.scan_step(false)?;
    Some((step.partitions.iter().map(|partition| partition.0).collect(), step.from))
}

#[test]
fn what_matters_more_is_read_first_and_each_class_from_its_own_place() {
    assert_eq!((Class::new(true, 5), Class::new(false, PRIORITY_MAX), Class::new(false, 0)), (URGENT, HIGH, LOW));
    let mut mirror = mirror(&[LOW, URGENT, HIGH, HIGH]);
    assert_eq!(step(&mut mirror), Some((vec![1], 10)));
    mirror.scanned(URGENT, 50, true);
    assert_eq!(step(&mut mirror), Some((vec![2, 3], 10)));
    mirror.scanned(HIGH, 30, false);
    assert_eq!(step(&mut mirror), Some((vec![2, 3], 30)));
    mirror.scanned(HIGH, 50, true);
    assert_eq!(step(&mut mirror), Some((vec![0], 10)));
    mirror.scanned(LOW, 20, false);
    // Something was committed while the least important backlog is under way.
    mirror.look_again();
    assert_eq!(step(&mut mirror), Some((vec![1], 50)));
    mirror.scanned(URGENT, 60, true);
    mirror.scanned(HIGH, 60, true);
    assert_eq!(step(&mut mirror), Some((vec![0], 20)));
    mirror.scanned(LOW, 60, true);
    assert_eq!(step(&mut mirror), None);
}

#[test]
fn where_only_urgent_records_may_go_the_others_keep_their_place() {
    let mut mirror = mirror(&[LOW, URGENT]);
    mirror.scanned(URGENT, 50, true);
    assert_eq!(mirror.scan_step(true), None);
    mirror.look_again();
    assert_eq!(mirror.scan_step(true).map(|step| (step.class, step.from)), Some((URGENT, 50)));
    mirror.scanned(URGENT, 60, true);
    assert_eq!(step(&mut mirror), Some((vec![0], 10)));
}

#[test]
fn a_partition_that_lagged_is_read_alone_until_it_has_caught_up() {
    let mut mirror = mirror(&[HIGH, HIGH]);
    let now = Instant::now();
    mirror.stall(PartitionId(1), "why".into(), now);
    assert_eq!(step(&mut mirror), Some((vec![0], 10)));
    mirror.scanned(HIGH, 40, true);
    mirror.rewind(PartitionId(1), 12);
    assert_eq!(step(&mut mirror), Some((vec![1], 12)));
    mirror.scanned(HIGH, 60, true);
    assert_eq!(step(&mut mirror), Some((vec![0, 1], 40)), "the other one was not read beyond");
    mirror.scanned(HIGH, 60, true);
    // It stalls again while it is catching up: the others are not held back.
    mirror.rewind(PartitionId(1), 20);
    assert_eq!(step(&mut mirror), Some((vec![1], 20)));
    mirror.stall(PartitionId(1), "why".into(), now);
    assert_eq!(step(&mut mirror), Some((vec![0], 60)));
}

#[test]
fn a_partition_whose_class_changes_goes_on_where_it_is() {
    let mut mirror = mirror(&[LOW, HIGH]);
    mirror.scanned(HIGH, 50, true);
    let now = Instant::now();
    mirror.follow(PartitionId(0), names("t0"), HIGH, Intervals::default(), now);
    assert_eq!((step(&mut mirror), mirror.due(now)), (None, vec![PartitionId(0)]));
    mirror.rewind(PartitionId(0), 25);
    assert_eq!(step(&mut mirror), Some((vec![0], 25)));
    mirror.scanned(HIGH, 50, true);
    assert_eq!(step(&mut mirror), Some((vec![0, 1], 50)));
}
