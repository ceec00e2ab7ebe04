//! Evictions, the loss ledger, retention, and a store that refuses instead.

use super::*;

const P: PartitionId = PartitionId(1);

fn put_position(store: &mut Stepped, reader: &str, position: Intervals) {
    let key = cursor_key(reader, P);
    store.run(move |draft| draft.put(Space::Cursor, &key, &position.encode())).unwrap();
}

#[test]
fn what_a_follower_missed_is_in_the_ledger_and_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    store.store.follow("uplink/a", P);
    store.store.follow("uplink/b", P);
    for n in 0..160 {
        store.append(1, batch(4, 10_000, n));
        if n == 50 {
            put_position(&mut store, "uplink/b", Intervals::up_to(150));
        }
        store.settle();
    }
    let head = store.store.head(P).unwrap();
    assert!(head.log_start > 150, "{head:?}");
    let losses = store.store.losses();
    let lost = |reader: &str| -> Vec<_> { losses.iter().filter(|l| l.reader == reader).collect() };
    let (a, b) = (lost("uplink/a"), lost("uplink/b"));
    assert_eq!((a.len(), a[0].first_offset, a[0].last_offset), (1, 0, head.log_start - 1), "{a:?}");
    assert_eq!((a[0].records, a[0].reason), (head.log_start as u64, LossReason::Evicted));
    assert_eq!((b[0].first_offset, b[0].records), (150, head.log_start as u64 - 150));
    let per_record = a[0].bytes / a[0].records;
    assert!((9_000..12_000).contains(&per_record), "{per_record}");

    // Deleting is a loss too, of another kind; what was read isn't.
    put_position(&mut store, "uplink/a", Intervals::up_to(head.log_start + 10));
    store.run(move |draft| draft.set_log_start(P, head.log_start + 12)).unwrap();
    let losses = store.store.losses();
    let last = losses.iter().rfind(|l| l.reader == "uplink/a").unwrap();
    assert_eq!((last.first_offset, last.records, last.reason), (head.log_start + 10, 2, LossReason::Deleted));
    drop(store);
    let store = Stepped::open(options(dir.path()));
    assert_eq!(store.store.losses(), losses);
    assert_eq!(store.store.head(P).unwrap().log_start, head.log_start + 12);
}

#[test]
fn a_full_store_may_refuse_instead() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = || StoreOptions { on_full: OnFull::Refuse, ..options(dir.path()) };
    let mut store = Stepped::open(refuse());
    store.create(1);
    let mut end = 0;
    for n in 0.. {
        assert!(n < 200, "never full: {:?}", store.store.status());
        let bytes = batch(4, 10_000, n);
        let refused = Arc::new(Mutex::new(false));
        let told = Arc::clone(&refused);
        let appended = store.run(move |draft| match draft.append_batch(P, &bytes) {
            Err(DraftError::StoreFull) => {
                *told.lock().unwrap() = true;
                Ok(())
            }
            other => other.map(drop),
        });
        appended.unwrap();
        store.settle();
        assert!(store.store.status().disk_bytes <= 8 * SEGMENT);
        if *refused.lock().unwrap() {
            break;
        }
        end += 4;
    }
    assert_eq!((store.store.status().evictions, store.store.head(P).unwrap().log_start), (0, 0));
    // State still goes through, and so does what makes room.
    put_position(&mut store, "r", Intervals::up_to(end));
    store.run(move |draft| draft.set_log_start(P, end - 8)).unwrap();
    store.settle();
    assert!(store.store.status().evictions > 0);
    assert_eq!(store.append(1, batch(1, 10, 0)), end);
}

#[test]
fn retention_goes_by_the_age_of_the_append_and_by_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    store.create(2);
    for n in 0..30 {
        // Timestamps from the future: they don't matter.
        store.append(1, batch(2, 12_000, i64::MAX / 2 + n));
        store.append(2, batch(2, 12_000, 0));
        store.clock.advance_ms(120_000);
        store.settle();
    }
    store.store.set_retention(P, Retention { ms: Some(600_000), ..Retention::default() });
    store.store.set_retention(PartitionId(2), Retention { bytes: Some(100_000), ..Retention::default() });
    store.clock.advance_ms(60_000);
    store.settle();
    let start = store.store.head(P).unwrap().log_start;
    // 30 appends at 0, 2, … 58 minutes; it is minute 61 now.
    assert_eq!(start, 52, "what is older than ten minutes is gone");
    let start = store.store.head(PartitionId(2)).unwrap().log_start;
    assert_eq!(start, 52, "four batches of 24,000 and some bytes fit");
    // Nobody wants the first segments any more.
    assert!(store.store.status().evictions > 0, "{:?}", store.store.status());
    assert_eq!(read_all(&store.store, 1, 1)[0], (52, 54));

    // A wall clock that nobody believes deletes nothing after a reboot; one that is a little later, and believed, does.
    let wall = store.store.now().wall_ms;
    for (trusted, start) in [(false, 52), (true, 60)] {
        drop(store);
        let clock = Arc::new(ManualClock::new(5, 0));
        clock.set_wall(wall + 1_200_000, trusted);
        store = Stepped::open_on(options(dir.path()), Arc::new(RealDisk::new()), clock);
        store.store.set_retention(P, Retention { ms: Some(600_000), ..Retention::default() });
        store.settle();
        assert_eq!(store.store.head(P).unwrap().log_start, start);
    }
}

#[test]
fn retention_waits_for_those_who_follow_unless_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    store.store.follow("uplink/a", P);
    for n in 0..10 {
        store.append(1, batch(2, 1_000, n));
        store.settle();
    }
    put_position(&mut store, "uplink/a", Intervals::up_to(7));
    let retention = Retention { bytes: Some(2_500), ..Retention::default() };
    let starts = [(false, 7, 0), (true, 18, 11)];
    for (expire_unforwarded, start, lost) in starts {
        store.store.set_retention(P, Retention { expire_unforwarded, ..retention });
        store.clock.advance_ms(60_000);
        store.settle();
        assert_eq!(store.store.head(P).unwrap().log_start, start, "{expire_unforwarded}");
        let losses: Vec<_> = store.store.losses().iter().map(|loss| (loss.records, loss.reason)).collect();
        assert_eq!(losses.iter().map(|loss| loss.0).sum::<u64>(), lost);
        assert!(losses.iter().all(|loss| loss.1 == LossReason::Expired));
    }
}

#[test]
fn large_spaces_live_in_a_file_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    let key = |n: u32| format!("device-{n:05}").into_bytes();
    // 32 KiB is what a snapshot may hold here; this is four times as much.
    for n in 0..1_000u32 {
        let key = key(n);
        store.run(move |draft| draft.put(Space::Device, &key, &[n as u8; 120])).unwrap();
    }
    for round in 0..60u32 {
        store.append(1, batch(4, 10_000, 0));
        let (changed, gone) = (key(round), key(500 + round));
        store
            .run(move |draft| {
                draft.put(Space::Device, &changed, b"changed")?;
                draft.delete(Space::Device, &gone)
            })
            .unwrap();
        if round % 7 != 0 {
            store.settle();
        }
        if round % 10 == 9 {
            let expected = store.store.entries(Space::Device, &[]);
            drop(store);
            store = Stepped::open(options(dir.path()));
            assert!(store.store.entries(Space::Device, &[]) == expected, "round {round}");
        }
    }
    assert!(dir.path().join("state.redb").exists());
    let rows = store.store.entries(Space::Device, &[]);
    assert_eq!(rows.len(), 940);
    assert_eq!(rows.iter().filter(|(_, value)| value == b"changed").count(), 60);
    // The state has a bound too: a 16th of the budget.
    let large = vec![0; 200_000];
    let mut refused = 0;
    for n in 0..5u8 {
        let large = large.clone();
        let put = Arc::new(Mutex::new(Ok(())));
        let told = Arc::clone(&put);
        store
            .run(move |draft| {
                draft.check_bytes(large.len() + 1)?;
                *told.lock().unwrap() = draft.put(Space::User, &[n + 1], &large);
                Ok(())
            })
            .unwrap();
        refused += i32::from(*put.lock().unwrap() == Err(DraftError::StateFull));
    }
    assert_eq!(refused, 3, "{:?}", store.store.status());
}
