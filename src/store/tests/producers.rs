//! Rows of producers follow from the batches: against a model, over commits of many operations, operations that are undone,
//! rolls, evictions, and reopenings with and without a clean end.

use std::collections::BTreeMap;

use super::*;
use crate::record::Producer;

/// A producer's batch of `records` records, of `bytes` bytes more or less.
fn batch_of(id: i64, epoch: i16, base_sequence: i32, records: i32, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(1, None, Some(&vec![7; bytes / records as usize]), NO_HEADERS).unwrap();
    }
    builder.finish_with(Compression::None, Producer { id, epoch, base_sequence })
}

/// Epoch and batches (first and last sequence, offset) by partition and producer.
type Model = BTreeMap<(u32, i64), (i16, Vec<(i32, i32, i64)>)>;

fn rows(store: &Store) -> Model {
    let entries = store.entries(Space::Producer, &[]).into_iter();
    let one = |(key, row): (Vec<u8>, Vec<u8>)| {
        let state = ProducerState::decode(&row).unwrap();
        let batches = state.batches.iter().map(|b| (b.first_sequence, b.last_sequence, b.base_offset)).collect();
        let partition = u32::from_be_bytes(key[..4].try_into().unwrap());
        ((partition, i64::from_be_bytes(key[4..].try_into().unwrap())), (state.epoch, batches))
    };
    entries.map(one).collect()
}

struct World {
    rng: fastrand::Rng,
    model: Model,
    next_offset: BTreeMap<u32, i64>,
    producers: i64,
}

impl World {
    /// Queues one operation and does to the model what it will do to the store.
    fn queue(&mut self, store: &Stepped) -> Outcome {
        let partition = *self.rng.choice(self.next_offset.keys().collect::<Vec<_>>()).unwrap();
        let id = self.rng.i64(0..self.producers);
        let key = producer_key(PartitionId(partition), id);
        if self.rng.u8(..) < 30 {
            self.model.remove(&(partition, id));
            return store.queue(move |draft| draft.delete(Space::Producer, &key));
        }
        let (epoch, sequence) = match self.model.get(&(partition, id)) {
            Some((epoch, batches)) if self.rng.u8(..) < 230 => {
                (*epoch, batches.last().unwrap().1.wrapping_add(1) & i32::MAX)
            }
            Some((epoch, _)) => (epoch + 1, 0),
            None => (0, self.rng.i32(0..)),
        };
        let records = self.rng.i32(1..5);
        let bytes = if self.rng.u8(..) < 40 { 60_000 } else { 100 };
        let next = self.next_offset.get_mut(&partition).unwrap();
        // The second one may find the commit full: then the first is undone with it, and both come again.
        let batches = [
            (sequence, *next, records, 100),
            (advance_sequence(sequence, records as u32), *next + i64::from(records), 1, bytes),
        ];
        *next += i64::from(records) + 1;
        let state = self.model.entry((partition, id)).or_default();
        if state.0 != epoch {
            *state = (epoch, Vec::new());
        }
        for (first, offset, records, _) in batches {
            state.1.push((first, advance_sequence(first, records as u32 - 1), offset));
        }
        let surplus = state.1.len().saturating_sub(5);
        state.1.drain(..surplus);
        let batches = batches.map(|(first, _, records, bytes)| batch_of(id, epoch, first, records, bytes));
        store.queue(move |draft| {
            for batch in &batches {
                draft.append_batch(PartitionId(partition), batch)?;
            }
            Ok(())
        })
    }

    fn run(&mut self, dir: &Path, rounds: usize) {
        let mut store = Stepped::open(options(dir));
        for partition in 0..3 {
            store.create(partition);
            self.next_offset.insert(partition, 0);
        }
        for round in 0..rounds {
            let told: Vec<Outcome> = (0..self.rng.usize(1..8)).map(|_| self.queue(&store)).collect();
            while told.iter().any(|outcome| outcome.lock().unwrap().is_none()) {
                store.engine.step_writer(true);
                if self.rng.u8(..) < 60 {
                    store.settle();
                }
            }
            for outcome in told {
                outcome.lock().unwrap().take().unwrap().unwrap();
            }
            assert_eq!(rows(&store.store), self.model, "round {round}");
            if self.rng.u8(..) < 25 {
                let before = store.store.entries(Space::Producer, &[]);
                if self.rng.bool() {
                    store.close()
                } else {
                    drop(store)
                }
                store = Stepped::open(options(dir));
                assert_eq!(store.store.entries(Space::Producer, &[]), before, "round {round}, reopened");
            }
            store.settle();
        }
        assert!(store.store.status().evictions > 0 || store.store.status().first_commit > 1, "the ring went round");
    }
}

#[test]
fn rows_are_the_same_however_the_store_was_left() {
    for (seed, producers) in [(1, 5), (2, 40), (3, 5)] {
        let dir = tempfile::tempdir().unwrap();
        let rng = fastrand::Rng::with_seed(seed);
        let mut world = World { rng, model: Model::new(), next_offset: BTreeMap::new(), producers };
        world.run(dir.path(), 180);
    }
}

/// So many producers that their space is too large for a snapshot and lives in its own file.
#[test]
fn rows_in_a_cold_space_are_rebuilt_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let rng = fastrand::Rng::with_seed(4);
    let mut world = World { rng, model: Model::new(), next_offset: BTreeMap::new(), producers: 2_000 };
    world.run(dir.path(), 350);
    assert!(dir.path().join("state.redb").exists());
}

/// An entry of the commit comes behind its batches: a batch that is appended behind a deletion must not be undone by it.
#[test]
fn a_batch_behind_a_deletion_in_one_commit_stays_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    store.append(1, batch_of(7, 0, 0, 2, 10));
    let key = producer_key(PartitionId(1), 7);
    store
        .run(move |draft| {
            draft.delete(Space::Producer, &key)?;
            assert_eq!(draft.get(Space::Producer, &key), None);
            draft.append_batch(PartitionId(1), &batch_of(7, 0, 50, 1, 10))?;
            assert!(draft.get(Space::Producer, &key).is_some() && draft.entries(Space::Producer, &[]).len() == 1);
            Ok(())
        })
        .unwrap();
    let one = Model::from([((1, 7), (0, vec![(50, 50, 2)]))]);
    assert_eq!(rows(&store.store), one);
    drop(store);
    let store = Stepped::open(options(dir.path()));
    assert_eq!(rows(&store.store), one);
}
