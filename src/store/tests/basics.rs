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
fn what_is_read_again_after_an_opening_takes_no_more_memory_than_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut stepped = Stepped::open(options(dir.path()));
    (0..3).for_each(|partition| stepped.create(partition));
    let whole: Vec<_> = (0..3).map(|partition| (PartitionId(partition), batch(1, 10_000, 0))).collect();
    stepped
        .run(move |draft| whole.iter().try_for_each(|(to, batch)| draft.append_batch(*to, batch).map(drop)))
        .unwrap();
    assert!(stepped.store.status().tail_bytes > 30_000);
    stepped.close();

    let stepped = Stepped::open(options(dir.path()));
    assert_eq!(stepped.store.status().tail_bytes, 0, "what was replayed lies on the disk");
    let scan = |wanted: u32| stepped.store.scan(0, &|partition| partition.0 < wanted, 1).unwrap().batches;
    // The batches of a commit share its memory, unless most of that would be kept for nothing.
    let held = |wanted: u32| scan(wanted).iter().map(|batch| batch.bytes.held()).collect::<Vec<_>>();
    let shared = held(3);
    assert!(shared.len() == 3 && shared.iter().all(|held| *held == shared[0] && (30_000..32_000).contains(held)));
    assert_eq!(held(2), shared[..2], "two of three are most of it");
    assert_eq!(held(1), [scan(1)[0].bytes.len()]);
    assert_eq!(scan(3)[1].bytes, scan(2)[1].bytes);
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

#[test]
fn a_refused_operation_leaves_nothing_and_is_applied_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    let seq = |outcome: &Outcome| outcome.lock().unwrap().clone().unwrap().unwrap().seq;
    // Two of these fit into a commit, but only one begins below the draft's bound with room for itself left.
    let outcomes: Vec<Outcome> = (0..3u8)
        .map(|n| {
            let batch = batch(1, 100_000, 0);
            store.queue(move |draft| {
                draft.append_record(P, None, None, Some(&[n]), &[])?;
                draft.put(Space::Device, b"n", &[n])?;
                draft.append_batch(P, &batch)?;
                draft.append_record(P, None, None, Some(&[n]), &[])?;
                Ok(())
            })
        })
        .collect();
    store.engine.step_writer(true);
    assert_eq!(outcomes.iter().map(seq).collect::<Vec<_>>(), [2, 2, 3]);
    assert_eq!(store.store.get(Space::Device, b"n"), Some(vec![2]));
    let end = read_all(&store.store, 1, 1 << 20).last().unwrap().1;
    assert_eq!(end, store.store.head(P).unwrap().high_watermark);
    assert_eq!(end, 9);
}

#[test]
fn records_are_gathered_by_partition_and_by_who_stamped_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    store.create(2);
    for n in 0..6i64 {
        let timestamp = (n >= 3).then_some(n);
        let partition = PartitionId(1 + (n % 2) as u32);
        store.queue(move |draft| {
            let offset = draft.append_record(partition, timestamp, Some(b"k"), None, &[(b"h", Some(b"v"))])?;
            assert_eq!(offset, n / 2);
            Ok(())
        });
    }
    store.engine.step_writer(true);
    // Records 0, 2 | 4 and 1 | 3, 5.
    assert_eq!(read_all(&store.store, 1, 1), [(0, 2), (2, 3)]);
    assert_eq!(read_all(&store.store, 2, 1), [(0, 1), (1, 3)]);
    let scanned = store.store.scan(1, &|_| true, 1 << 20).unwrap();
    assert!(scanned.at_end);
    let stamped: Vec<_> = scanned.batches.iter().map(|b| (b.partition.0, b.base_offset, b.gateway_stamped)).collect();
    assert_eq!(stamped, [(1, 0, true), (1, 2, false), (2, 0, true), (2, 1, false)]);
}

#[test]
fn commits_wait_for_company_but_not_longer_than_the_window() {
    let dir = tempfile::tempdir().unwrap();
    let window = Duration::from_millis(10);
    let mut store = Stepped::open(StoreOptions { commit_window: window, ..options(dir.path()) });
    let count = std::sync::atomic::AtomicU8::new(0);
    // Another value each time: what changes nothing isn't written.
    let put = || {
        let value = [count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)];
        move |draft: &mut Draft<'_>| draft.put(Space::User, b"k", &value)
    };
    let told = |outcome: &Outcome| outcome.lock().unwrap().is_some();

    let first = store.queue(put());
    assert_eq!(store.engine.step_writer(false).committed, Some(1), "at once after a pause");
    assert!(told(&first));
    store.clock.advance_ms(4);
    let second = store.queue(put());
    let step = store.engine.step_writer(false);
    assert_eq!((step.committed, step.due_ms), (None, Some(1_010)));
    store.clock.advance_ms(6);
    assert_eq!(store.engine.step_writer(false).committed, Some(2));
    assert!(told(&second));

    // A lazy one rides along, or waits for its own time.
    let lazy = |store: &Stepped| {
        let outcome = Outcome::default();
        let op = Box::new(TestOp(put(), Arc::clone(&outcome)));
        smol::block_on(store.store.submit_lazy(op, Duration::from_millis(500))).unwrap();
        outcome
    };
    let rider = lazy(&store);
    store.clock.advance_ms(100);
    assert_eq!(store.engine.step_writer(false).committed, None);
    store.queue(put());
    assert_eq!(store.engine.step_writer(false).committed, Some(3));
    assert!(told(&rider));
    let alone = lazy(&store);
    store.clock.advance_ms(499);
    assert_eq!(store.engine.step_writer(false).committed, None);
    store.clock.advance_ms(1);
    assert_eq!(store.engine.step_writer(false).committed, Some(4));
    assert!(told(&alone));
}

#[test]
fn operations_see_earlier_ones_of_the_same_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.run(|draft| draft.put(Space::Group, b"a/1", b"old")).unwrap();
    store.queue(|draft| {
        draft.put(Space::Group, b"a/2", b"new")?;
        draft.delete(Space::Group, b"a/1")?;
        draft.create_partition(P)?;
        assert_eq!(draft.create_partition(P), Err(DraftError::Invalid));
        assert_eq!(draft.unused_partition(), PartitionId(2));
        assert_eq!(draft.append_batch(P, &batch(2, 1, 0))?, 0);
        Ok(())
    });
    let seen = store.run(|draft| {
        assert_eq!(draft.entries(Space::Group, b"a/"), [(b"a/2".to_vec(), b"new".to_vec())]);
        assert_eq!((draft.get(Space::Group, b"a/1"), draft.seq()), (None, 2));
        assert_eq!(draft.head(P).unwrap().high_watermark, 2);
        assert_eq!(draft.append_batch(PartitionId(9), &batch(1, 1, 0)), Err(DraftError::UnknownPartition));
        assert_eq!(draft.append_batch(P, b"junk"), Err(DraftError::Invalid));
        let twice = [batch(1, 1, 0), batch(1, 1, 0)].concat();
        assert_eq!(draft.append_batch(P, &twice), Err(DraftError::Invalid));
        assert_eq!(draft.put(Space::Head, b"k", b""), Err(DraftError::Invalid));
        assert_eq!(draft.put(Space::User, &[0; 1_025], b""), Err(DraftError::Invalid));
        assert_eq!(draft.put(Space::User, b"k", &vec![0; 600_000]), Err(DraftError::TooLarge));
        Ok(())
    });
    assert_eq!(seen.unwrap().advanced, [(P, 2)]);
    // One that changes nothing makes no commit, but is told with what is durable.
    assert_eq!(store.run(|_| Ok(())).unwrap().seq, 2);
    // Dropped: gone with all its records, its id never used again.
    store.run(|draft| draft.drop_partition(P)).unwrap();
    assert!(matches!(store.store.read(P, 0, 1), Err(ReadError::UnknownPartition)));
    assert!(store.store.scan(1, &|_| true, 1 << 20).unwrap().batches.is_empty());
    drop(store);
    let mut store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.head(P), None);
    store
        .run(|draft| {
            assert_eq!(draft.create_partition(P), Err(DraftError::Invalid));
            Ok(())
        })
        .unwrap();
}

#[test]
fn records_are_found_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    for (records, timestamp) in [(3, 1_000), (3, 3_000), (3, 2_000), (2, 3_001)] {
        store.append(1, batch(records, 10, timestamp));
    }
    let at = |timestamp| store.store.offset_for_time(P, timestamp).unwrap();
    assert_eq!(
        [0, 1_001, 1_003, 3_002, 3_003].map(at),
        [Some((0, 1_000)), Some((1, 1_001)), Some((3, 3_000)), Some((5, 3_002)), None]
    );
    assert_eq!(store.store.max_timestamp(P).unwrap(), Some((5, 3_002)));
    store.run(|draft| draft.set_log_start(P, 4)).unwrap();
    let at = |timestamp| store.store.offset_for_time(P, timestamp).unwrap();
    assert_eq!(at(0), Some((4, 3_001)));
    assert_eq!(store.store.scan_start(P, 4).unwrap(), 3);
    assert_eq!(store.store.scan_start(P, 0).unwrap(), 3);
    assert_eq!(store.store.scan_start(P, 100).unwrap(), 7);
}

#[test]
fn what_is_urgent_or_unchanged_waits_for_no_window() {
    struct AtOnce;
    impl Operation for AtOnce {
        fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
            draft.put(Space::User, b"alarm", b"!").unwrap();
            Ok(())
        }

        fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {}

        fn commits_at_once(&self) -> bool {
            true
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let window = Duration::from_secs(10);
    let (segment_bytes, max_bytes) = (Some(4 * SEGMENT), Some(32 * SEGMENT));
    let options = StoreOptions { commit_window: window, segment_bytes, max_bytes, ..options(dir.path()) };
    let mut store = Stepped::open(options);
    let told = |outcome: &Outcome| outcome.lock().unwrap().is_some();
    store.run(|draft| draft.put(Space::User, b"k", b"1")).unwrap();
    // The same once more: nothing to write, nothing to wait for.
    let same = store.queue(|draft| draft.put(Space::User, b"k", b"1"));
    assert_eq!(
        store.engine.step_writer(false),
        WriterStep { short_bytes: 256 << 10, told: 1, ..WriterStep::default() }
    );
    assert!(told(&same));
    // Behind something that waits, it waits too: it is only then that what it saw is durable.
    let other = store.queue(|draft| draft.put(Space::User, b"k", b"2"));
    let same = store.queue(|draft| draft.put(Space::User, b"k", b"2"));
    let step = store.engine.step_writer(false);
    assert_eq!((step.committed, step.due_ms, step.riders_only), (None, Some(11_000), false));
    assert!(!told(&other) && !told(&same));
    store.store.try_submit(Box::new(AtOnce)).unwrap();
    assert_eq!(store.engine.step_writer(false).committed, Some(2));
    assert!(told(&other) && told(&same));
    // Enough closes the window early.
    let fill = |store: &Stepped, n: u8| {
        store.queue(move |draft| draft.put(Space::User, &[n], &vec![n; 60_000]));
    };
    (0..4).for_each(|n| fill(&store, n));
    let step = store.engine.step_writer(false);
    assert!(step.committed.is_none() && step.short_bytes < 30_000, "{step:?}");
    fill(&store, 4);
    assert_eq!(store.engine.step_writer(false).committed, Some(3));
}

#[test]
fn gathered_batches_are_compressed_and_read_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(StoreOptions { compression: Compression::Lz4, ..options(dir.path()) });
    store.create(1);
    store.create(2);
    store
        .run(|draft| {
            for n in 0..200u32 {
                let value = format!("{{\"sensor\":\"pump-{}\",\"celsius\":{n}.5}}", n % 7);
                draft.append_record(P, Some(i64::from(n)), Some(b"key"), Some(value.as_bytes()), &[])?;
            }
            draft.append_record(PartitionId(2), Some(1), None, Some(b"small"), &[]).map(drop)
        })
        .unwrap();
    let compression = |partition: u32| {
        let read = store.store.read(PartitionId(partition), 0, 1).unwrap();
        let (view, _) = BatchView::parse(&read.bytes).unwrap();
        assert!(view.crc_matches());
        let payload = crate::record::decompress(&view, &crate::record::VerifyLimits::default()).unwrap();
        let records: Vec<_> = crate::record::records(&view, &payload).map(|record| record.unwrap().timestamp).collect();
        (view.attributes().0 & 7, records.len(), read.bytes.len())
    };
    let (codec, records, bytes) = compression(1);
    assert_eq!((codec, records), (Compression::Lz4 as i16, 200));
    assert!(bytes < 3_000, "{bytes}");
    assert_eq!(compression(2).0, 0, "not worth it");
    assert_eq!(store.store.offset_for_time(P, 150).unwrap(), Some((150, 150)));
}
