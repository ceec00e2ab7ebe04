//! Room on the filesystem: what others take of it, and what is claimed beforehand.

use super::super::sim::SimDisk;
use super::*;

const DIR: &str = "/store";
const BOUND: u64 = 8 * SEGMENT;

/// Appends a batch of 100 KB; the error of the draft or the commit, in words.
fn append(store: &mut Stepped) -> Result<(), String> {
    let said = Arc::new(Mutex::new(None));
    let told = Arc::clone(&said);
    let committed = store.run(move |draft| {
        *told.lock().unwrap() = draft.append_batch(PartitionId(1), &batch(10, 10_000, 0)).err();
        Ok(())
    });
    committed.map_err(|error| error.to_string())?;
    let said = said.lock().unwrap().map(|error| error.to_string());
    said.map_or(Ok(()), Err)
}

fn open(disk: &SimDisk, preallocate: bool) -> Stepped {
    let options = StoreOptions { max_bytes: Some(BOUND), preallocate, ..options(Path::new(DIR)) };
    Stepped::open_on(options, Arc::new(disk.clone()), Arc::default())
}

fn filled(disk: &SimDisk, batches: usize) -> Stepped {
    let mut store = open(disk, false);
    store.create(1);
    for _ in 0..batches {
        append(&mut store).unwrap();
        store.settle();
    }
    store
}

/// How many batches are taken until it refuses.
fn until_refused(store: &mut Stepped) -> usize {
    for taken in 0..1_000 {
        if let Err(error) = append(store) {
            assert!(error.contains("the filesystem is full, though the store is within its bound"), "{error}");
            return taken;
        }
        let _full = store.engine.step_evictor();
    }
    panic!("it never refuses");
}

#[test]
fn what_nobody_has_forwarded_stays_when_others_fill_the_disk() {
    let disk = SimDisk::new(1);
    let mut store = filled(&disk, 30);
    store.store.follow("up", PartitionId(1));
    disk.set_capacity(disk.allocated() + SEGMENT / 2);
    let taken = until_refused(&mut store);
    assert!(taken < 10, "{taken}");
    assert!(append(&mut store).is_err());
    let end = 300 + 10 * taken as i64;
    assert_eq!(read_all(&store.store, 1, 1), (0..end / 10).map(|n| (10 * n, 10 * n + 10)).collect::<Vec<_>>());
    assert_eq!((store.store.status().evictions, store.store.status().poisoned), (0, None));
    // State still changes, as long as there is any room at all.
    store.run(|draft| draft.put(Space::User, b"k", b"v")).unwrap();
    let refused = |store: &Stepped| store.store.status().refused;
    assert!(refused(&store).unwrap().contains("the filesystem is full"));

    disk.set_capacity(u64::MAX);
    assert_eq!(refused(&store), None, "it is seen before anybody tries");
    append(&mut store).unwrap();
    disk.set_capacity(disk.allocated());
    assert_eq!(refused(&store), None, "nobody was refused since");
    assert_eq!(read_all(&store.store, 1, 1).last(), Some(&(end, end + 10)));
}

#[test]
fn what_was_forwarded_makes_room_when_others_fill_the_disk() {
    let disk = SimDisk::new(2);
    let mut store = filled(&disk, 30);
    store.store.follow("up", PartitionId(1));
    disk.set_capacity(disk.allocated() + SEGMENT / 2);
    // Half of it is upstream.
    let mut position = Intervals::default();
    position.insert(0..150).unwrap();
    let value = position.encode();
    store.run(move |draft| draft.put(Space::Cursor, &cursor_key("up", PartitionId(1)), &value)).unwrap();
    until_refused(&mut store);
    let head = store.store.head(PartitionId(1)).unwrap();
    assert!(head.log_start > 0 && head.log_start <= 150, "{head:?}");
    assert!(store.store.losses().is_empty(), "{:?}", store.store.losses());
}

#[test]
fn claimed_room_is_there_when_others_have_taken_the_rest() {
    let disk = SimDisk::new(3);
    let mut store = open(&disk, true);
    let claimed = disk.allocated();
    assert!((BOUND - 3 * SEGMENT..=BOUND).contains(&claimed), "{claimed}");
    let status = store.store.status();
    assert!(status.disk_bytes >= claimed && status.reserve_bytes > 0 && status.reserve_failure.is_none());
    store.create(1);
    disk.set_capacity(disk.allocated() + 64 * 1_024);
    // Twice through the bound.
    for _ in 0..160 {
        append(&mut store).unwrap();
        store.settle();
    }
    assert!(store.store.status().evictions > 0);
    assert!(disk.allocated_max() <= BOUND, "{}", disk.allocated_max());
}

#[test]
fn a_claim_outlives_the_process_and_ends_with_the_setting() {
    let disk = SimDisk::new(4);
    drop(open(&disk, true));
    let claimed = disk.allocated();
    let disk = disk.power_cut(1);
    assert_eq!(disk.allocated(), claimed);
    let mut store = open(&disk, true);
    assert_eq!(disk.allocated(), claimed);
    store.create(1);
    append(&mut store).unwrap();
    store.settle();
    store.close();
    let store = open(&disk, false);
    assert_eq!(store.store.status().reserve_bytes, 0);
    assert!(disk.allocated() < 2 * SEGMENT, "{}", disk.allocated());
}

#[test]
fn a_disk_too_small_for_the_claim_is_told() {
    let disk = SimDisk::with_capacity(5, 4 * SEGMENT);
    let mut store = open(&disk, true);
    let status = store.store.status();
    assert!(status.reserve_bytes > 0 && status.reserve_failure.is_some(), "{status:?}");
    store.create(1);
    append(&mut store).unwrap();
    disk.set_capacity(u64::MAX);
    store.settle();
    assert_eq!(store.store.status().reserve_failure, None);
}
