//! Sealed segments that can't be read are taken out of the ring, with what they held entered into the ledger.

use super::super::ring::segment_name;
use super::*;

/// A store with some sealed segments of two partitions, and who follows both.
fn filled(dir: &Path, bound: u64) -> Stepped {
    let options = StoreOptions { max_bytes: Some(bound), ..options(dir) };
    let mut store = Stepped::open(options);
    store.create(1);
    store.create(2);
    for partition in [1, 2] {
        store.store.follow("up", PartitionId(partition));
    }
    for n in 0..60 {
        store.append(1 + n % 2, batch(10, 8_000, n.into()));
        store.settle();
    }
    assert!(store.store.status().segments >= 5);
    store
}

/// Makes a sealed segment unreadable, and opens the store again.
fn ruin(store: Stepped, dir: &Path, bound: u64, ids: &[u32]) -> Stepped {
    store.close();
    for id in ids {
        std::fs::write(dir.join(segment_name(*id)), vec![7; 300_000]).unwrap();
    }
    let store = Stepped::open(StoreOptions { max_bytes: Some(bound), ..options(dir) });
    for partition in [1, 2] {
        store.store.follow("up", PartitionId(partition));
    }
    store
}

fn records(ranges: &[(i64, i64)]) -> u64 {
    ranges.iter().map(|(from, to)| to.abs_diff(*from)).sum()
}

#[test]
fn a_segment_that_cant_be_read_goes_with_an_entry_and_the_rest_serves() {
    for ruined in [&[3][..], &[2, 3], &[1]] {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let before: Vec<_> = {
            let store = filled(dir, 64 * SEGMENT);
            let all = [1, 2].map(|partition| read_all(&store.store, partition, 1));
            let store = ruin(store, dir, 64 * SEGMENT, ruined);
            // Readers find it out, or the scan.
            for partition in [1, 2] {
                read_all(&store.store, partition, 1);
            }
            let mut store = store;
            store.settle();
            store.append(1, batch(1, 10, 0));
            let status = store.store.status();
            assert_eq!((status.damaged_segments, status.quarantined_segments), (0, ruined.len()), "{ruined:?}");
            assert!(status.quarantined_bytes >= 300_000);
            store.close();
            all.to_vec()
        };
        let mut store = Stepped::open(StoreOptions { max_bytes: Some(64 * SEGMENT), ..options(dir) });
        assert_eq!(store.store.status().quarantined_segments, ruined.len());
        for (partition, before) in [1, 2].into_iter().zip(before) {
            let left = read_all(&store.store, partition, 1);
            let lost: Vec<_> = before.iter().filter(|range| !left.contains(range)).copied().collect();
            assert!(!lost.is_empty());
            let losses: Vec<_> =
                store.store.losses().into_iter().filter(|loss| loss.partition == PartitionId(partition)).collect();
            let told: u64 = losses.iter().map(|loss| loss.records).sum();
            assert_eq!(told, records(&lost), "{ruined:?} {losses:?}");
            assert!(losses.iter().all(|loss| loss.reason == LossReason::Quarantined), "{losses:?}");
            let first = lost.first().unwrap().0;
            assert_eq!(losses.first().unwrap().first_offset, first);
            let accounts = store.store.accounts(PartitionId(partition)).unwrap();
            assert_eq!(accounts.retained.records, records(&left), "{accounts:?}");
        }
        // New offsets go on behind the old ones.
        let end = store.store.head(PartitionId(2)).unwrap().high_watermark;
        assert_eq!(store.append(2, batch(1, 10, 0)), end);
    }
}

#[test]
fn what_was_put_aside_is_the_first_to_go_when_room_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bound = 10 * SEGMENT;
    let store = filled(dir, bound);
    let mut store = ruin(store, dir, bound, &[3]);
    read_all(&store.store, 1, 1);
    store.settle();
    let start = store.store.head(PartitionId(1)).unwrap().log_start;
    let mut n = 0;
    while store.store.status().quarantined_segments > 0 {
        assert_eq!(store.store.head(PartitionId(1)).unwrap().log_start, start, "nothing else goes before");
        store.append(1, batch(10, 8_000, n));
        store.settle();
        n += 1;
        assert!(n < 200);
    }
    assert!(!dir.join("0000000003.bad").exists());
}

/// What went out of the middle isn't counted again when the log start passes it.
#[test]
fn a_loss_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let bound = 10 * SEGMENT;
    let store = filled(dir, bound);
    let mut store = ruin(store, dir, bound, &[3]);
    read_all(&store.store, 1, 1);
    store.settle();
    for n in 0..150 {
        store.append(1, batch(10, 8_000, n));
        store.settle();
    }
    let head = store.store.head(PartitionId(1)).unwrap();
    let told: u64 =
        store.store.losses().iter().filter(|loss| loss.partition == PartitionId(1)).map(|loss| loss.records).sum();
    assert_eq!(told, head.log_start.unsigned_abs());
    let accounts = store.store.accounts(PartitionId(1)).unwrap();
    assert_eq!(accounts.retained.records, head.high_watermark.abs_diff(head.log_start));
}

#[test]
fn a_repair_takes_out_what_fsck_finds_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut store = filled(dir, 64 * SEGMENT);
    store
        .run(|draft| {
            let nothing = Intervals::default().encode();
            [1, 2].iter().try_for_each(|p| draft.put(Space::Cursor, &cursor_key("up", PartitionId(*p)), &nothing))
        })
        .unwrap();
    store.close();
    // A bit within a record: the file can be opened, and all but that batch can be read.
    let path = dir.join(segment_name(3));
    let mut bytes = std::fs::read(&path).unwrap();
    let record: Vec<u8> = (0..64).map(|at| (at * 7) as u8).collect();
    let at = bytes.windows(64).position(|window| window == record).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let found = fsck(dir, Arc::clone(&disk), &mut |_, _| {}).unwrap();
    assert!(found.findings_total > 0);
    let done = repair(dir, &disk, &mut |_, _| {}).unwrap();
    assert_eq!((done.before, &done.quarantined), (found, &vec![path]));
    assert_eq!(done.after.findings, []);
    let records: u64 = done.lost.iter().map(|(_, what)| what.records).sum();
    assert!(records > 0);
    assert!(dir.join("0000000003.bad").exists());

    let mut store = Stepped::open(StoreOptions { max_bytes: Some(64 * SEGMENT), ..options(dir) });
    let left: u64 = [1, 2].iter().map(|p| self::records(&read_all(&store.store, *p, 1))).sum();
    assert_eq!(left + records, 600);
    let told: u64 = store.store.losses().iter().map(|loss| loss.records).sum();
    assert_eq!(told, records, "who has a position is told");
    store.append(1, batch(1, 10, 0));
    store.close();
    let again = repair(dir, &disk, &mut |_, _| {}).unwrap();
    assert!(again.quarantined.is_empty() && again.before.findings_total == 0);
}
