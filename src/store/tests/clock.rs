//! Time in the whole store: a machine that boots in 1970, learns the time, jumps ahead ten years, comes back.

use super::super::clock::WALL_FLOOR_MS;
use super::*;
use crate::record::{VerifyLimits, decompress, header, records};

const P: PartitionId = PartitionId(1);
const DAY: i64 = 86_400_000;
const TEN_YEARS: i64 = 3_652 * DAY;
/// When this happens.
const NOW: i64 = WALL_FLOOR_MS + 100 * DAY;

/// Appends a record without timestamp, one with its own, and a batch that the gateway stamps; each in its partition.
fn append(store: &mut Stepped, device_ms: i64) {
    store
        .run(move |draft| {
            draft.append_record(P, None, None, Some(b"by the gateway"), &[])?;
            draft.append_record(PartitionId(2), Some(device_ms), None, Some(b"by the device"), &[])?;
            let mut batch = batch(2, 10, 5);
            header::set_log_append_time(&mut batch, draft.now().wall_ms);
            draft.append_batch(PartitionId(3), &batch).map(drop)
        })
        .unwrap();
}

/// Timestamps of the records of a partition, by a read; the same by a scan.
fn times(store: &Store, partition: u32) -> Vec<i64> {
    let of_bytes = |mut bytes: &[u8]| {
        let mut found = Vec::new();
        while let Ok((view, rest)) = BatchView::parse(bytes) {
            assert!(view.crc_matches());
            let payload = decompress(&view, &VerifyLimits::default()).unwrap();
            let times: Vec<i64> = records(&view, &payload).map(|record| record.unwrap().timestamp).collect();
            assert_eq!(times.iter().max(), Some(&view.max_timestamp()));
            found.extend(times);
            bytes = rest;
        }
        found
    };
    let id = PartitionId(partition);
    let read = of_bytes(&store.read(id, store.head(id).unwrap().log_start, 1 << 20).unwrap().bytes);
    let scanned = store.scan(0, &|partition| partition == id, 1 << 20).unwrap();
    assert_eq!(scanned.batches.iter().flat_map(|batch| of_bytes(&batch.bytes)).collect::<Vec<_>>(), read);
    read
}

fn provisional(store: &Store) -> usize {
    store.scan(0, &|_| true, 1 << 20).unwrap().batches.iter().filter(|batch| batch.provisional).count()
}

/// A day as people read it, counted from `NOW`.
fn day(ms: i64) -> String {
    format!("{:+.3} d", (ms - NOW) as f64 / DAY as f64)
}

struct Diary(String);

impl Diary {
    fn note(&mut self, store: &Stepped, what: &str) {
        let now = store.store.now();
        let head = store.store.head(P).unwrap();
        let (of_gateway, appended) = (times(&store.store, 1), times(&store.store, 3));
        let shown: Vec<String> = of_gateway.iter().map(|ms| day(*ms)).collect();
        assert_eq!(of_gateway.last(), appended.last(), "by whichever way it was stamped");
        self.0.push_str(&format!(
            "{what}\n  it is {}, trusted {}; kept from {}; stamps {}\n",
            day(now.wall_ms),
            now.wall_trusted,
            head.log_start,
            shown.join(", ")
        ));
    }
}

fn reopen(store: Stepped, dir: &Path, wall_ms: i64, trusted: bool) -> Stepped {
    drop(store);
    let clock = Arc::new(ManualClock::new(3_000, 0));
    clock.set_wall(wall_ms, trusted);
    let store = Stepped::open_on(options(dir), Arc::new(RealDisk::new()), clock);
    store.store.set_retention(P, Retention { ms: Some(7 * DAY as u64), ..Retention::default() });
    store
}

/// Lets time pass as maintenance sees it: a look every so often.
fn pass(store: &mut Stepped, ms: u64) {
    let step = if ms > DAY as u64 { 600_000 } else { 60_000 };
    for _ in 0..ms / step {
        store.clock.advance_ms(step);
        store.settle();
    }
}

#[test]
fn boots_in_1970_learns_the_time_jumps_ahead_ten_years_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let hour = 3_600_000;
    let clock = Arc::new(ManualClock::new(3_000, NOW));
    let mut store = Stepped::open_on(options(dir.path()), Arc::new(RealDisk::new()), clock);
    (1..=3).for_each(|partition| store.create(partition));
    append(&mut store, 77);
    let mut diary = Diary(String::new());
    diary.note(&store, "the first day, the time is known");
    pass(&mut store, hour);
    append(&mut store, 78);

    let mut store = reopen(store, dir.path(), 3_000, false);
    append(&mut store, 79);
    diary.note(&store, "off for two days; boots at 1970: time goes on from when it was last known");
    assert_eq!(provisional(&store.store), 2);
    pass(&mut store, hour);
    append(&mut store, 80);

    store.clock.set_wall(NOW + 2 * DAY + 2 * hour as i64, true);
    store.settle();
    diary.note(&store, "learns the time: what was stamped is corrected");
    assert_eq!(provisional(&store.store), 0);
    let corrected = times(&store.store, 1);
    assert_eq!(times(&store.store, 2), [77, 78, 79, 80], "the devices' own times stay");
    let third = corrected[2];
    assert_eq!(store.store.offset_for_time(P, third).unwrap(), Some((2, third)));
    assert_eq!(store.store.offset_for_time(P, third + 1).unwrap(), Some((3, corrected[3])));
    assert_eq!(store.store.max_timestamp(P).unwrap(), Some((3, corrected[3])));
    assert_eq!(store.store.max_timestamp(PartitionId(2)).unwrap(), Some((3, 80)));

    pass(&mut store, hour);
    let line = store.clock.wall_ms();
    store.clock.set_wall(line + TEN_YEARS, true);
    store.settle();
    append(&mut store, 81);
    diary.note(&store, "jumps ahead ten years: not believed, time goes on");
    pass(&mut store, 300_000);
    store.clock.set_wall(line + 300_000, true);
    store.settle();
    append(&mut store, 82);
    diary.note(&store, "comes back");

    store.clock.set_wall(line + TEN_YEARS, true);
    pass(&mut store, hour);
    append(&mut store, 83);
    diary.note(&store, "jumps again, and stays for an hour: believed, but nothing gets old by it");
    let mut store = reopen(store, dir.path(), line + TEN_YEARS + 2 * hour as i64, true);
    store.settle();
    append(&mut store, 84);
    pass(&mut store, hour);
    diary.note(&store, "boots with that time");
    let mut store = reopen(store, dir.path(), line + DAY, true);
    store.settle();
    append(&mut store, 85);
    diary.note(&store, "boots with the right time");
    pass(&mut store, 7 * DAY as u64);
    append(&mut store, 86);
    diary.note(&store, "seven days later the first ones are old");
    println!("{}", diary.0);
    assert_eq!(diary.0, TRANSCRIPT);
}

const TRANSCRIPT: &str = "\
the first day, the time is known
  it is +0.000 d, trusted true; kept from 0; stamps +0.000 d
off for two days; boots at 1970: time goes on from when it was last known
  it is +0.042 d, trusted false; kept from 0; stamps +0.000 d, +0.042 d, +0.042 d
learns the time: what was stamped is corrected
  it is +2.083 d, trusted true; kept from 0; stamps +0.000 d, +0.042 d, +2.042 d, +2.083 d
jumps ahead ten years: not believed, time goes on
  it is +2.125 d, trusted false; kept from 0; stamps +0.000 d, +0.042 d, +2.042 d, +2.083 d, +2.125 d
comes back
  it is +2.128 d, trusted true; kept from 0; stamps +0.000 d, +0.042 d, +2.042 d, +2.083 d, +2.125 d, +2.128 d
jumps again, and stays for an hour: believed, but nothing gets old by it
  it is +3654.167 d, trusted true; kept from 0; stamps +0.000 d, +0.042 d, +2.042 d, +2.083 d, +2.125 d, +2.128 d, +3654.167 d
boots with that time
  it is +3654.250 d, trusted true; kept from 0; stamps +0.000 d, +0.042 d, +2.042 d, +2.083 d, +2.125 d, +2.128 d, +3654.167 d, +3654.208 d
boots with the right time
  it is +3.125 d, trusted true; kept from 0; stamps +0.000 d, +0.042 d, +2.042 d, +2.083 d, +2.125 d, +2.128 d, +3654.167 d, +3654.208 d, +3.125 d
seven days later the first ones are old
  it is +10.125 d, trusted true; kept from 7; stamps +3654.208 d, +3.125 d, +10.125 d
";

#[test]
fn corrections_survive_seals_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(3_000, 0));
    clock.set_wall(0, false);
    let mut store = Stepped::open_on(options(dir.path()), Arc::new(RealDisk::new()), clock);
    (1..=4).for_each(|partition| store.create(partition));
    append(&mut store, 5);
    // Rolls: the index of the first segment goes to its file.
    while store.store.status().segments < 3 {
        store.append(4, batch(1, 60_000, 9));
        store.settle();
    }
    assert_eq!(times(&store.store, 1), [WALL_FLOOR_MS], "never before this version was made");
    store.clock.set_wall(NOW, true);
    store.settle();
    for _ in 0..2 {
        assert_eq!(times(&store.store, 1), [NOW]);
        assert_eq!(times(&store.store, 3), [NOW; 2]);
        assert_eq!(store.store.offset_for_time(P, NOW).unwrap(), Some((0, NOW)));
        assert_eq!(store.store.max_timestamp(PartitionId(3)).unwrap(), Some((0, NOW)));
        assert_eq!(provisional(&store.store), 0);
        store = reopen(store, dir.path(), 0, false);
    }
}
