//! Looking at a stopped store: the reader and fsck. Neither changes a byte.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// All files of a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// A store of some segments; closed cleanly or not.
fn filled(dir: &Path, cleanly: bool) -> Vec<(i64, i64)> {
    let mut store = Stepped::open(options(dir));
    store.create(1);
    store.run(|draft| draft.put(Space::Topic, b"t", b"name")).unwrap();
    for n in 0..60 {
        store.append(1, batch(3, 12_000, n));
        store.settle();
    }
    let all = read_all(&store.store, 1, 1 << 20);
    assert!(store.store.status().segments > 2);
    if cleanly {
        store.close();
        return all;
    }
    // As a crash leaves it: the files as they are now, not as closing them would make them.
    let copy = contents(dir);
    store.close();
    for (path, bytes) in copy {
        std::fs::write(path, bytes).unwrap();
    }
    all
}

fn check(dir: &Path) -> FsckReport {
    let mut calls = 0;
    let report = fsck(dir, Arc::new(RealDisk::new()), &mut |done, total| {
        calls += 1;
        assert!(done == calls && done <= total);
    });
    report.unwrap()
}

#[test]
fn a_stopped_store_is_read_and_verified_without_a_change() {
    for cleanly in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let all = filled(dir.path(), cleanly);
        let before = contents(dir.path());
        let reader = Reader::open(dir.path(), Arc::new(RealDisk::new())).unwrap();
        assert_eq!(reader.get(Space::Topic, b"t"), Some(b"name".to_vec()));
        assert_eq!(read_all(&reader.store, 1, 30_000), all);
        assert_eq!(reader.next_batch(PartitionId(1), 1).unwrap(), Some(3));
        assert!(matches!(Reader::open(dir.path(), Arc::new(RealDisk::new())), Err(OpenError::InUse(_))));
        drop(reader);
        let report = check(dir.path());
        assert_eq!(report.findings, [], "{cleanly}");
        assert_eq!((report.batches, report.records), (60, 180));
        assert!(report.segments > 2 && report.commits >= 62, "{report:?}");
        assert!(contents(dir.path()) == before, "{cleanly}: looking changes nothing");
    }
}

#[test]
fn a_flipped_bit_is_found_and_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), true);
    // The value bytes of a record repeat with a known step: flip one in the middle of the second segment.
    let path = dir.path().join("0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let run: Vec<u8> = (0..64).map(|at| (at * 7) as u8).collect();
    let at = bytes.windows(64).enumerate().filter(|(_, window)| *window == run).nth(20).unwrap().0;
    bytes[at + 30] ^= 4;
    std::fs::write(&path, &bytes).unwrap();

    let report = check(dir.path());
    assert!(report.findings_total > 0);
    assert!(report.findings.iter().all(|finding| finding.file == path), "{:?}", report.findings);
    assert!(report.findings.iter().any(|finding| finding.commit.is_some()), "{:?}", report.findings);

    let store = Stepped::open(options(dir.path())).store;
    let mut damaged = 0;
    for &(base, next) in &all {
        match store.read(PartitionId(1), base, 1) {
            Ok(read) => assert_eq!(ranges(&read.bytes), [(base, next)]),
            Err(ReadError::Damaged(what)) => {
                damaged += 1;
                assert!(what.contains(&format!("offset {base}")), "{what}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(damaged, 1, "only the batch with the flipped bit");
}

#[test]
fn an_unreadable_sealed_segment_is_a_gap_and_not_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), true);
    let path = dir.path().join("0000000002.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..4_096].fill(0xaa);
    std::fs::write(&path, &bytes).unwrap();
    let mut store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.status().damaged_segments, 0, "opening reads no sealed segment");
    let head = store.store.head(PartitionId(1)).unwrap();
    assert_eq!(head.high_watermark, all.last().unwrap().1);
    let left = read_all(&store.store, 1, 1 << 20);
    assert!(left.len() < all.len() && left.iter().all(|range| all.contains(range)));
    assert_eq!(store.store.status().damaged_segments, 1);
    let mut scanned = 0;
    let mut from = 1;
    loop {
        let chunk = store.store.scan(from, &|_| true, 100_000).unwrap();
        scanned += chunk.batches.len();
        from = chunk.next;
        if chunk.at_end {
            break;
        }
    }
    assert_eq!(scanned, left.len());
    // The next epoch goes on behind everything; the damaged one is taken out.
    for n in 0..100 {
        store.append(1, batch(3, 12_000, n));
        store.settle();
    }
    assert_eq!(store.store.status().damaged_segments, 0);
    assert!(!path.exists());
    let accounts = store.store.accounts(PartitionId(1)).unwrap();
    let head = store.store.head(PartitionId(1)).unwrap();
    let removed = |reason| accounts.removed.iter().find(|(of, _)| *of == reason).unwrap().1.records;
    let lost: u64 = all.iter().filter(|range| !left.contains(range)).map(|(from, to)| (to - from) as u64).sum();
    assert_eq!(removed(LossReason::Quarantined), lost);
    // The log may begin in the gap now: what lay there is counted once.
    let readable: u64 = read_all(&store.store, 1, 1 << 20).iter().map(|(from, to)| (to - from) as u64).sum();
    assert_eq!(accounts.retained.records, readable);
    assert_eq!(removed(LossReason::Evicted) + lost + readable, head.high_watermark as u64);
}

#[test]
fn a_missing_segment_is_a_gap_that_shows_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let all = filled(dir.path(), true);
    std::fs::remove_file(dir.path().join("0000000002.seg")).unwrap();
    let store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.status().damaged_segments, 1);
    let left = read_all(&store.store, 1, 1 << 20);
    assert!(left.len() < all.len() && left.iter().all(|range| all.contains(range)));
    assert_eq!((left[0], left.last()), (all[0], all.last()));
}
