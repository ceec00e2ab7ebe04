//! Commits, reads, state, epochs, over reopenings.

use super::*;

const P: PartitionId = PartitionId(1);

#[test]
fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    let incarnation = store.store.incarnation();
    assert_eq!(store.store.status().last_commit, 0);
    store.create(1);
    assert_eq!(store.append(1, batch(3, 100, 1_000)), 0);
    assert_eq!(store.append(1, batch(2, 5_000, 2_000)), 3);
    let committed = store.run(|draft| draft.put(Space::Device, b"d", b"7")).unwrap();
    assert_eq!((committed.seq, committed.advanced), (4, vec![]));
    assert_eq!(read_all(&store.store, 1, 1), [(0, 3), (3, 5)]);
    assert_eq!(store.store.epochs().len(), 1);
    store.close();

    let mut store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.incarnation(), incarnation);
    assert_eq!(read_all(&store.store, 1, 1 << 20), [(0, 3), (3, 5)]);
    assert_eq!(store.store.get(Space::Device, b"d"), Some(b"7".to_vec()));
    assert_eq!((store.store.status().last_commit, store.store.epochs().len()), (4, 1));
    assert_eq!(store.append(1, batch(1, 10, 3_000)), 5);
    assert_eq!(store.store.epochs().len(), 2, "with the first commit, not with the opening");
    let read = store.store.read(P, 5, 1_000).unwrap();
    assert_eq!(BatchView::parse(&read.bytes).unwrap().0.leader_epoch(), 2);
    assert_eq!([1, 2].map(|ordinal| store.store.epoch_end(P, ordinal)), [Some((1, 5)), Some((2, 6))]);
    // Dropped without closing: as after a crash.
    drop(store);
    let store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.head(P).unwrap().high_watermark, 6);
}

#[test]
fn lookups_by_time_see_no_record_before_the_log_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    // Timestamps 30, 10, 20; then 15.
    let mut builder = BatchBuilder::new();
    for timestamp in [30, 10, 20] {
        builder.push(timestamp, None, None, NO_HEADERS).unwrap();
    }
    store.append(1, builder.finish(Compression::None));
    store.append(1, batch(1, 10, 15));
    let highest = |store: &Stepped| store.store.max_timestamp(P).unwrap();
    assert_eq!(highest(&store), Some((0, 30)));
    store.run(|draft| draft.set_log_start(P, 1)).unwrap();
    assert_eq!(highest(&store), Some((2, 20)));
    assert_eq!(store.store.offset_for_time(P, 12).unwrap(), Some((2, 20)));
    store.run(|draft| draft.set_log_start(P, 3)).unwrap();
    assert_eq!(highest(&store), Some((3, 15)));
    store.run(|draft| draft.set_log_start(P, 4)).unwrap();
    assert_eq!(highest(&store), None);
}

/// On the real threads: what rides waits for company, and company does not wait for what rides.
#[test]
fn an_open_commit_of_riders_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let Stepped { store, engine, .. } =
        Stepped::open_on(options(dir.path()), Arc::new(RealDisk::new()), Arc::default());
    let engine = engine.spawn().unwrap();
    let put = |key: u8| {
        let outcome = Outcome::default();
        let op = move |draft: &mut Draft<'_>| draft.put(Space::Device, &[key], b"1");
        (Box::new(TestOp(op, Arc::clone(&outcome))), outcome)
    };
    let (rider, rode) = put(1);
    futures_lite::future::block_on(store.submit_lazy(rider, Duration::from_secs(600))).unwrap();
    // Time for the writer to take the rider in and fall asleep over it.
    std::thread::sleep(Duration::from_millis(50));
    assert!(rode.lock().unwrap().is_none());
    let (op, told) = put(2);
    store.try_submit(op).unwrap();
    let begun = std::time::Instant::now();
    while told.lock().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it waits for the rider's time");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(rode.lock().unwrap().is_some(), "in the same commit");
    store.shutdown();
    engine.join();
}
