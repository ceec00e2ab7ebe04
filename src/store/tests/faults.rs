//! A medium that fails: the store stops, tells everyone, and nothing acknowledged is lost.

use super::*;

#[cfg(debug_assertions)]
#[test]
fn a_failed_commit_stops_the_store_and_no_offset_is_used_twice() {
    use super::super::sim::{Fault, OpKind, SimDisk};

    let faults = [(OpKind::Write, 0), (OpKind::Write, 4), (OpKind::Sync, 0), (OpKind::Write, 9), (OpKind::Sync, 3)];
    for (kind, after) in faults {
        let disk = SimDisk::new(after);
        let options = || options(Path::new("/store"));
        let mut store = Stepped::open_on(options(), Arc::new(disk.clone()), Arc::default());
        store.create(1);
        store.append(1, batch(5, 100, 0));
        disk.fail(Fault { kind, after, errno: rustix::io::Errno::IO });
        let (mut acknowledged, mut offered) = (5, 5);
        let error = loop {
            offered += 3;
            let outcome = store.run(|draft| draft.append_batch(PartitionId(1), &batch(3, 50, 0)).map(drop));
            match outcome {
                Ok(committed) => acknowledged = committed.advanced[0].1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, StoreError::Poisoned(_)), "{error}");
        // Readers see what was acknowledged, and no more.
        assert_eq!(store.store.head(PartitionId(1)).unwrap().high_watermark, acknowledged);
        assert!(store.store.status().poisoned.is_some());
        assert!(matches!(
            store.store.try_submit(Box::new(TestOp(|_: &mut Draft<'_>| Ok(()), Outcome::default()))),
            Err(TrySubmitError::Closed(_))
        ));
        drop(store);

        // The last one may be there or not; whatever comes next stands behind all that was acknowledged.
        let mut store = Stepped::open_on(options(), Arc::new(disk.kill(after)), Arc::default());
        let end = store.store.head(PartitionId(1)).unwrap().high_watermark;
        assert!(end == acknowledged || end == offered, "{acknowledged} {end} {offered}");
        assert_eq!(store.append(1, batch(1, 1, 0)), end);
        assert_eq!(read_all(&store.store, 1, 1).last(), Some(&(end, end + 1)));
    }
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Stepped::open(options(dir.path()));
    let again = Store::open(options(dir.path()), Arc::new(RealDisk::new()), Arc::new(ManualClock::default()));
    let error = again.map(drop).unwrap_err();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().ends_with("is in use by another process"));
    store.close();
    Stepped::open(options(dir.path()));
}

#[test]
fn too_small_a_budget_is_refused_with_the_figures() {
    let dir = tempfile::tempdir().unwrap();
    let small = StoreOptions { max_bytes: Some(3 << 20), ..StoreOptions::new(dir.path()) };
    let opened = Store::open(small, Arc::new(RealDisk::new()), Arc::new(ManualClock::default()));
    assert!(matches!(opened, Err(OpenError::Options(text)) if text.contains("3145728")));
}
