//! Rewriting: priorities, reserves, deleted topics, budgets, pins; and that nothing else is touched by it.

use std::collections::BTreeMap;

use super::*;

const P: PartitionId = PartitionId(1);

/// Partitions 1 and 2 of different topics, of these priorities.
fn two(dir: &std::path::Path, priorities: [u8; 2], change: impl FnOnce(&mut StoreOptions)) -> Stepped {
    let mut options = options(dir);
    change(&mut options);
    let mut store = Stepped::open(options);
    for (id, priority) in [1, 2].into_iter().zip(priorities) {
        store.create(id);
        class(&store, id, priority, 0, OnFull::EvictOldest);
    }
    store
}

fn class(store: &Stepped, id: u32, priority: u8, reserve: u64, on_full: OnFull) {
    let class = Class { topic: [id as u8; 16], priority, reserve, on_full };
    store.store.set_class(PartitionId(id), class);
}

impl Stepped {
    fn try_append(&mut self, partition: u32, batch: Vec<u8>) -> Result<(), DraftError> {
        let result = Arc::new(Mutex::new(Ok(())));
        let told = Arc::clone(&result);
        self.run(move |draft| {
            *told.lock().unwrap() = draft.append_batch(PartitionId(partition), &batch).map(drop);
            Ok(())
        })
        .unwrap();
        *result.lock().unwrap()
    }
}

fn start(store: &Stepped, id: u32) -> i64 {
    store.store.head(PartitionId(id)).unwrap().log_start
}

/// Appends as much to both, round by round.
fn fill(store: &mut Stepped, rounds: i64) {
    for n in 0..rounds {
        store.append(1, batch(4, 5_000, n));
        store.append(2, batch(4, 5_000, n));
        store.settle();
    }
}

/// All that is retained reads back, and the books balance.
fn check(store: &Stepped) {
    for partition in store.store.partitions() {
        let head = store.store.head(partition).unwrap();
        let batches = read_all(&store.store, partition.0, 1 << 20);
        let mut at = head.log_start;
        for (base, next) in batches {
            assert!(base <= at && at < next, "partition {partition}: {base} to {next}, expected {at}");
            at = next;
        }
        assert_eq!(at, head.high_watermark, "partition {partition}");
        let accounts = store.store.accounts(partition).unwrap();
        let removed: u64 = accounts.removed.iter().map(|(_, what)| what.records).sum();
        assert_eq!(accounts.accepted.records, accounts.retained.records + removed);
        assert_eq!(accounts.retained.records, head.high_watermark.abs_diff(head.log_start), "partition {partition}");
        let own = store.store.removals().into_iter().filter(|loss| loss.partition == partition);
        let own: u64 = own.map(|loss| loss.records).sum();
        assert_eq!(own, removed, "partition {partition}: ledger");
    }
}

#[test]
fn the_higher_priority_keeps_its_data_and_the_lower_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [9, 1], |_| {});
    store.store.follow("uplink/a", P);
    store.store.follow("uplink/a", PartitionId(2));
    let mut rounds = 0;
    while start(&store, 2) == 0 {
        fill(&mut store, 1);
        rounds += 1;
    }
    fill(&mut store, rounds / 2);
    let status = store.store.status();
    assert_eq!(start(&store, 1), 0, "{status:?}");
    assert!(start(&store, 2) > 0 && status.rewrites > 0, "{status:?}");
    check(&store);
    let held = store.store.status().disk_bytes;
    assert!(held <= store.store.max_bytes());
    // It goes on to do so when opened again, with what was rewritten in its place.
    let (options, before) = (options(dir.path()), store.store.losses());
    drop(store);
    let mut store = Stepped::open(options);
    assert_eq!(store.store.losses(), before);
    check(&store);
    class(&store, 1, 9, 0, OnFull::EvictOldest);
    class(&store, 2, 1, 0, OnFull::EvictOldest);
    fill(&mut store, 5);
    check(&store);
    store.close();
    let report = fsck(dir.path(), Arc::new(RealDisk::new()), &mut |_, _| {}).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn deleting_half_of_the_data_shrinks_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [5, 5], |_| {});
    while store.store.status().segments < 5 {
        fill(&mut store, 1);
    }
    let before = store.store.status();
    store.run(|draft| draft.drop_topic([2; 16], "two", &[PartitionId(2)])).unwrap();
    store.settle();
    let after = store.store.status();
    assert!(after.disk_bytes < before.disk_bytes * 3 / 4, "{before:?} {after:?}");
    assert_eq!(start(&store, 1), 0);
    check(&store);
    let deleted = store.store.deleted_topics();
    assert_eq!((deleted.len(), deleted[0].name.as_str()), (1, "two"));
    let records = |reason| deleted[0].removed.iter().find(|(r, _)| *r == reason).map_or(0, |(_, what)| what.records);
    assert_eq!(records(LossReason::Deleted), deleted[0].accepted.records);
    store.close();
    let mut store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.deleted_topics(), deleted);
    check(&store);
    fill_one(&mut store, 3);
    store.close();
    let report = fsck(dir.path(), Arc::new(RealDisk::new()), &mut |_, _| {}).unwrap();
    assert_eq!(report.findings, []);
}

fn fill_one(store: &mut Stepped, rounds: i64) {
    for n in 0..rounds {
        store.append(1, batch(4, 5_000, n));
        store.settle();
    }
}

#[test]
fn beyond_the_budget_the_oldest_goes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [9, 1], |options| options.rewrite_budget_bytes = Some(0));
    while store.store.status().evictions < 3 {
        fill(&mut store, 1);
    }
    assert!(start(&store, 1) > 0 && store.store.status().rewrites == 0);
    check(&store);
}

#[test]
fn reserves_hold_against_higher_priorities_and_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [1, 9], |options| options.rewrite_budget_bytes = Some(0));
    let reserve = store.store.max_bytes() / 8;
    class(&store, 1, 1, reserve, OnFull::EvictOldest);
    fill(&mut store, 70);
    while store.store.status().evictions + store.store.status().rewrites < 6 {
        // Hardly anything of the first from here on: it would be the next to go.
        for n in 0..4 {
            store.append(2, batch(4, 5_000, n));
            store.settle();
        }
        store.append(1, batch(1, 100, 0));
    }
    let kept = store.store.accounts(P).unwrap().retained.bytes;
    assert!(kept >= reserve * 9 / 10, "{kept} of {reserve}");
    check(&store);
}

#[test]
fn a_topic_that_refuses_keeps_all_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [5, 5], |_| {});
    class(&store, 1, 0, 0, OnFull::Refuse);
    let mut refused = 0;
    for n in 0..280 {
        if store.try_append(1, batch(4, 5_000, n)) == Err(DraftError::StoreFull) {
            refused += 1;
        }
        store.append(2, batch(4, 5_000, n));
        store.settle();
    }
    assert!(refused > 20, "{refused}");
    assert_eq!(start(&store, 1), 0);
    assert!(start(&store, 2) > 0);
    check(&store);
    // What is deleted makes room for more.
    store.run(|draft| draft.set_log_start(P, 100)).unwrap();
    assert_eq!(store.try_append(1, batch(4, 5_000, 0)), Ok(()));
}

#[test]
fn what_is_pinned_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [0, 9], |_| {});
    store.store.pin("uplink/a", P, 40..48);
    for n in 0..200 {
        store.append(1, batch(4, 5_000, n));
        store.append(2, batch(4, 5_000, n));
        store.settle();
    }
    assert_eq!(start(&store, 1).min(40), start(&store, 1), "pinned from 40 on");
    check(&store);
    store.store.unpin("uplink/a", P);
    fill(&mut store, 40);
    assert!(start(&store, 1) > 40, "{}", start(&store, 1));
    check(&store);
}

#[test]
fn what_is_lost_is_told_in_the_same_commit() {
    struct Told;
    impl LossSink for Told {
        fn tell(&self, draft: &mut Draft<'_>, losses: &[LossEntry]) {
            for loss in losses {
                let text = format!("{} {:?} {}", loss.partition, loss.reason, loss.records);
                draft
                    .append_record(PartitionId(3), None, Some(loss.reader.as_bytes()), Some(text.as_bytes()), &[])
                    .unwrap();
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut store = two(dir.path(), [5, 5], |_| {});
    store.create(3);
    store.store.follow("uplink/a", P);
    store.store.tell_losses(Arc::new(Told));
    while store.store.status().evictions < 2 {
        fill(&mut store, 1);
    }
    store.run(|draft| draft.set_log_start(P, i64::MAX)).unwrap();
    let head = store.store.head(PartitionId(3)).unwrap();
    let (mut at, mut bytes) = (head.log_start, Vec::new());
    while at < head.high_watermark {
        let read = store.store.read(PartitionId(3), at, 1 << 20).unwrap();
        bytes.extend_from_slice(&read.bytes);
        at = read.next_offset;
    }
    let mut sums: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (view, after) = crate::record::BatchView::parse(rest).unwrap();
        for record in crate::record::records(&view, view.payload()) {
            let record = record.unwrap();
            let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            let (what, records) = text.rsplit_once(' ').unwrap();
            let reader = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            *sums.entry((reader, what.to_owned())).or_default() += records.parse::<u64>().unwrap();
        }
        rest = after;
    }
    let mut expected: BTreeMap<(String, String), u64> = BTreeMap::new();
    let told = store.store.losses().into_iter().chain(store.store.removals());
    for loss in told.filter(|loss| loss.partition != PartitionId(3)) {
        *expected.entry((loss.reader, format!("{} {:?}", loss.partition, loss.reason))).or_default() += loss.records;
    }
    assert_eq!(sums, expected);
}
