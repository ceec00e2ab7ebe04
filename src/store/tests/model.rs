//! A model property test: any sequence of operations, rolls, evictions and reopenings leaves what the model says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Append { partition: u32, records: usize, bytes: usize },
    Record { partition: u32, stamped: bool },
    Put { key: u8, bytes: usize },
    Delete { key: u8 },
    Trim { partition: u32, keep: i64 },
    Drop { partition: u32 },
    Commit,
    Maintain,
    Reopen { cleanly: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u32..3, 1usize..5, 0usize..25_000).prop_map(|(partition, records, bytes)| Step::Append { partition, records, bytes }),
        4 => (0u32..3, any::<bool>()).prop_map(|(partition, stamped)| Step::Record { partition, stamped }),
        2 => (any::<u8>(), 0usize..3_000).prop_map(|(key, bytes)| Step::Put { key, bytes }),
        1 => any::<u8>().prop_map(|key| Step::Delete { key }),
        1 => (0u32..3, 0i64..50).prop_map(|(partition, keep)| Step::Trim { partition, keep }),
        1 => (0u32..3).prop_map(|partition| Step::Drop { partition }),
        6 => Just(Step::Commit),
        4 => Just(Step::Maintain),
        2 => any::<bool>().prop_map(|cleanly| Step::Reopen { cleanly }),
    ]
}

#[derive(Default)]
struct Model {
    /// Slot → partition id, ends, and log start asked for.
    partitions: BTreeMap<u32, (PartitionId, i64, i64)>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    next_id: u32,
}

fn apply(store: &mut Stepped, model: &mut Model, step: &Step, stamp: i64) {
    let missing = |slot: &u32, model: &Model| !model.partitions.contains_key(slot);
    if let Step::Append { partition, .. } | Step::Record { partition, .. } = step
        && missing(partition, model)
    {
        let id = PartitionId(model.next_id);
        model.next_id += 1;
        model.partitions.insert(*partition, (id, 0, 0));
        store.queue(move |draft| {
            assert_eq!(draft.unused_partition(), id);
            draft.create_partition(id)
        });
    }
    match step.clone() {
        Step::Append { partition, records, bytes } => {
            let (id, end, _) = model.partitions.get_mut(&partition).unwrap();
            let (id, base) = (*id, std::mem::replace(end, *end + records as i64));
            let batch = batch(records, bytes, stamp);
            store.queue(move |draft| {
                assert_eq!(draft.append_batch(id, &batch)?, base);
                Ok(())
            });
        }
        Step::Record { partition, stamped } => {
            let (id, end, _) = model.partitions.get_mut(&partition).unwrap();
            let (id, base) = (*id, std::mem::replace(end, *end + 1));
            store.queue(move |draft| {
                assert_eq!(draft.append_record(id, (!stamped).then_some(stamp), None, Some(b"value"), &[])?, base);
                Ok(())
            });
        }
        Step::Put { key, bytes } => {
            let value = vec![stamp as u8; bytes];
            model.rows.insert(vec![key], value.clone());
            store.queue(move |draft| draft.put(Space::Device, &[key], &value));
        }
        Step::Delete { key } => {
            model.rows.remove(&vec![key]);
            store.queue(move |draft| draft.delete(Space::Device, &[key]));
        }
        Step::Trim { partition, keep } => {
            let Some((id, end, start)) = model.partitions.get_mut(&partition) else { return };
            let (id, to) = (*id, (*end - keep).max(0));
            *start = to.max(*start);
            store.queue(move |draft| draft.set_log_start(id, to));
        }
        Step::Drop { partition } => {
            let Some((id, ..)) = model.partitions.remove(&partition) else { return };
            store.queue(move |draft| draft.drop_partition(id));
        }
        Step::Commit | Step::Maintain | Step::Reopen { .. } => {}
    }
}

/// Compares all that readers see with the model.
fn compare(store: &Store, model: &Model) {
    let rows: BTreeMap<_, _> = store.entries(Space::Device, &[]).into_iter().collect();
    assert!(rows == model.rows);
    let mut ids: Vec<_> = model.partitions.values().map(|(id, ..)| *id).collect();
    ids.sort();
    assert_eq!(store.partitions(), ids);
    for &(id, end, start) in model.partitions.values() {
        let head = store.head(id).unwrap();
        assert!(head.high_watermark == end && head.log_start >= start, "{id}: {head:?}, {start}..{end}");
        let read = read_all(store, id.0, 40_000);
        assert!(read.windows(2).all(|pair| pair[0].1 == pair[1].0));
        if let (Some(first), Some(last)) = (read.first(), read.last()) {
            assert!(first.0 <= head.log_start && head.log_start < first.1 && last.1 == end);
        } else {
            assert_eq!(head.log_start, end);
        }
    }
    // The scan meets the same batches.
    let mut ends: BTreeMap<PartitionId, i64> = BTreeMap::new();
    let mut from = 0;
    loop {
        let chunk = store.scan(from, &|_| true, 50_000).unwrap();
        for batch in &chunk.batches {
            let end = ends.insert(batch.partition, batch.next_offset);
            assert!(end.is_none_or(|end| end == batch.base_offset));
            assert!(store.scan_start(batch.partition, batch.next_offset - 1).unwrap() == batch.commit);
        }
        assert!(chunk.next > from || chunk.at_end);
        from = chunk.next;
        if chunk.at_end {
            break;
        }
    }
    for &(id, end, _) in model.partitions.values() {
        assert_eq!(ends.get(&id).copied().unwrap_or(end), end);
    }
    let status = store.status();
    assert!(status.disk_bytes <= status.max_bytes && status.poisoned.is_none(), "{status:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_history_leaves_what_the_model_says(steps in prop::collection::vec(step(), 20..250)) {
        let dir = tempfile::tempdir().unwrap();
        let tiny = || StoreOptions {
            max_bytes: Some(5 << 20),
            segment_bytes: Some(512 << 10),
            tail_bytes_max: 50_000,
            state_bytes_max: Some(1 << 20),
            ..StoreOptions::new(dir.path())
        };
        let mut store = Stepped::open(tiny());
        let mut model = Model::default();
        for (stamp, step) in (1i64..).zip(&steps) {
            apply(&mut store, &mut model, step, stamp);
            store.clock.advance_ms(700);
            match step {
                Step::Commit => drop(store.engine.step_writer(true)),
                Step::Maintain => store.settle(),
                Step::Reopen { cleanly } => {
                    store.engine.step_writer(true);
                    if *cleanly {
                        store.close();
                    } else {
                        drop(store);
                    }
                    store = Stepped::open(tiny());
                    compare(&store.store, &model);
                }
                _ => {}
            }
        }
        store.engine.step_writer(true);
        compare(&store.store, &model);
    }
}
