//! Rolls, seals, evictions, and reopening between them.

use super::*;

/// Appends until so many segments have been begun.
fn fill(store: &mut Stepped, partition: u32, segments: u64) -> i64 {
    let begun = |store: &Stepped| {
        let status = store.store.status();
        status.segments as u64 + status.evictions
    };
    let (from, mut offset) = (begun(store), 0);
    while begun(store) < from + segments {
        offset = store.append(partition, batch(4, 10_000, offset)) + 4;
        store.settle();
        store.clock.advance_ms(100);
        let status = store.store.status();
        assert!(status.disk_bytes <= status.max_bytes, "{status:?}");
    }
    offset
}

#[test]
fn a_full_segment_is_sealed_and_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    let end = fill(&mut store, 1, 3);
    let expected: Vec<(i64, i64)> = (0..end / 4).map(|n| (n * 4, n * 4 + 4)).collect();
    assert_eq!(read_all(&store.store, 1, 100_000), expected);
    store.close();
    let store = Stepped::open(options(dir.path()));
    assert_eq!(read_all(&store.store, 1, 1), expected);
    drop(store);
    let store = Stepped::open(options(dir.path()));
    assert_eq!(read_all(&store.store, 1, 1 << 20), expected);
}

#[test]
fn the_oldest_segment_goes_when_the_bound_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    let mut end = fill(&mut store, 1, 20);
    for round in 0..3 {
        let status = store.store.status();
        assert!(status.evictions > 0 || round > 0, "{status:?}");
        let head = store.store.head(PartitionId(1)).unwrap();
        assert!(head.log_start > 0 && head.high_watermark == end, "{head:?}");
        assert!(matches!(store.store.read(PartitionId(1), head.log_start - 1, 1), Err(ReadError::OutOfRange(_))));
        let read = read_all(&store.store, 1, 50_000);
        assert_eq!((read[0].0, read.last().unwrap().1), (head.log_start, end));
        assert!(read.windows(2).all(|pair| pair[0].1 == pair[1].0));
        drop(store);
        store = Stepped::open(options(dir.path()));
        assert_eq!(store.store.head(PartitionId(1)).unwrap(), head);
        end = fill(&mut store, 1, 2);
    }
}
