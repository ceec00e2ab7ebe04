//! What commits cost on the medium: page waste of the log, and the floor of a commit. Prints the figures.

use super::*;

/// Bytes of a new segment's file in use after commits of these batches, and what the batches and their entries have.
fn used(batch_bytes: usize, per_commit: usize, total: usize) -> (u64, u64, u64, u64) {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::new());
    let large = StoreOptions {
        max_bytes: Some(1 << 30),
        segment_bytes: Some(32 << 20),
        draft_bytes_max: Some(4 << 20),
        ..StoreOptions::new(dir.path())
    };
    let mut store = Stepped::open_on(large, Arc::clone(&disk) as Arc<dyn Disk>, Arc::default());
    store.create(1);
    // One record that makes the batch as long as asked for.
    let overhead = batch(1, batch_bytes, 0).len() - batch_bytes;
    let bytes = batch(1, batch_bytes.saturating_sub(overhead), 0);
    let in_use = |store: &Store| {
        let view = store.shared.view();
        view.active().unwrap().with_open(super::super::segment::SegmentFile::used_bytes).unwrap()
    };
    let commits = total / (batch_bytes * per_commit);
    // The first commits build the trees that all others use.
    let commit = |store: &mut Stepped| {
        for _ in 0..per_commit {
            let bytes = bytes.clone();
            store.queue(move |draft| draft.append_batch(PartitionId(1), &bytes).map(drop));
        }
        store.engine.step_writer(true);
    };
    for _ in 0..12 {
        commit(&mut store);
    }
    let (before, written) = (in_use(&store.store), disk.counters().bytes_written);
    for _ in 0..commits {
        commit(&mut store);
    }
    assert_eq!(store.store.status().segments, 1);
    let entries = (commits * per_commit * (bytes.len() + 28) + commits * 60) as u64;
    let written = disk.counters().bytes_written - written;
    (in_use(&store.store) - before, entries, written, commits as u64)
}

#[test]
fn page_waste_stays_within_six_percent() {
    println!("batch bytes × batches a commit: file/stream; bytes written a commit beyond its stream");
    let mut worst: f64 = 0.0;
    for (batch_bytes, per_commit) in [
        (100, 16),
        (100, 256),
        (250, 64),
        (1_000, 1),
        (1_000, 16),
        (1_500, 7),
        (2_500, 5),
        (4_000, 16),
        (4_096, 1),
        (4_096, 16),
        (5_000, 3),
        (8_192, 1),
        (12_000, 4),
        (16_384, 1),
        (16_384, 4),
        (17_000, 3),
        (30_000, 2),
        (40_000, 1),
        (65_400, 4),
        (65_536, 1),
        (70_000, 2),
        (100_000, 1),
        (131_072, 1),
        (300_000, 1),
        (1_000_000, 1),
        (1_048_588, 1),
    ] {
        let total = (batch_bytes * per_commit * 8).max(1 << 20);
        let (file, stream, written, commits) = used(batch_bytes, per_commit, total);
        let ratio = file as f64 / stream as f64;
        println!("{batch_bytes:>9} × {per_commit:<3} {ratio:.3}  {:>6} B", (written.saturating_sub(stream)) / commits);
        worst = worst.max(ratio);
    }
    assert!(worst <= 1.06, "{worst:.3}");
}
