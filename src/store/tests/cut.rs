//! A damaged newest segment: what is intact of it is kept, and no offset is given twice.

use std::collections::BTreeMap;

use super::super::disk::OpenMode;
use super::super::pages::Leaf;
use super::super::repair::{RepairReport, repair};
use super::super::ring::segment_name;
use super::super::sim::SimDisk;
use super::*;

const DIR: &str = "/store";
const PAGE: u64 = 4_096;
const PARTITIONS: [u32; 3] = [1, 2, 3];
const READER: &str = "uplink/a";

/// A store with several segments on a disk, closed or killed, and what is in it.
struct Scene {
    disk: SimDisk,
    newest: u32,
    /// Batches as they are served, by partition and base offset.
    batches: BTreeMap<(u32, i64), Vec<u8>>,
    ends: BTreeMap<u32, i64>,
}

fn options_here() -> StoreOptions {
    StoreOptions { segment_bytes: Some(512 << 10), ..options(Path::new(DIR)) }
}

fn open(disk: &SimDisk) -> Stepped {
    Stepped::open_on(options_here(), Arc::new(disk.clone()), Arc::default())
}

fn served(store: &Store, partition: u32) -> BTreeMap<(u32, i64), Vec<u8>> {
    let id = PartitionId(partition);
    // One whose creation is lost with all of its batches is unknown.
    let Some(head) = store.head(id) else { return BTreeMap::new() };
    let (mut at, mut all) = (head.log_start, BTreeMap::new());
    loop {
        let read = store.read(id, at, 1).unwrap();
        if read.bytes.is_empty() && read.next_offset <= at {
            return all;
        }
        let mut rest = &read.bytes[..];
        while !rest.is_empty() {
            let (batch, behind) = BatchView::parse(rest).unwrap();
            all.insert((partition, batch.base_offset()), batch.bytes().to_vec());
            rest = behind;
        }
        at = read.next_offset;
        if at >= read.head.high_watermark {
            return all;
        }
    }
}

impl Scene {
    /// `old`: commits before the newest segment; `new`: in it.
    fn new(old: bool, new: usize, closed: bool) -> Self {
        let disk = SimDisk::new(3);
        let mut store = open(&disk);
        PARTITIONS.iter().for_each(|partition| store.create(*partition));
        let mut rng = fastrand::Rng::with_seed(new as u64);
        let mut append = |store: &mut Stepped, bytes: usize| {
            let partition = PARTITIONS[rng.usize(..3)];
            let base = store.append(partition, batch(rng.usize(1..5), bytes, 7));
            store.settle();
            store
                .run(move |draft| {
                    let key = cursor_key(READER, PartitionId(partition));
                    draft.put(Space::Cursor, &key, &Intervals::up_to(base).encode())
                })
                .unwrap();
        };
        while old && store.store.status().segments < 3 {
            append(&mut store, 3_000);
        }
        for n in 0..new {
            append(&mut store, if n % 7 == 3 { 6_000 } else { 150 });
        }
        let (mut batches, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for partition in PARTITIONS {
            batches.append(&mut served(&store.store, partition));
            ends.insert(partition, store.store.head(PartitionId(partition)).unwrap().high_watermark);
        }
        let newest = store.store.shared().view().active().unwrap().id;
        if closed {
            store.close();
        } else {
            drop(store);
        }
        Self { disk: disk.kill(1), newest, batches, ends }
    }

    fn path(&self) -> std::path::PathBuf {
        Path::new(DIR).join(segment_name(self.newest))
    }

    fn content(disk: &SimDisk, path: &Path) -> Vec<u8> {
        let file = disk.open(path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// Spoils a page of the newest segment, repairs, and looks at what there is then.
    fn spoil(&self, page: u64) -> (SimDisk, RepairReport) {
        let disk = self.disk.kill(page);
        let mut rng = fastrand::Rng::with_seed(page);
        for at in page * PAGE..(page + 1) * PAGE {
            disk.flip(&self.path(), at, rng.u8(1..)).unwrap();
        }
        let spoilt = Self::content(&disk, &self.path());
        let on: Arc<dyn Disk> = Arc::new(disk.clone());
        let done = repair(Path::new(DIR), &on, &mut |_, _| {}).unwrap_or_else(|error| panic!("page {page}: {error}"));
        assert_eq!(done.after.findings, [], "page {page}");
        self.check(&disk, &spoilt, page);
        (disk, done)
    }

    /// Whether a leaf of the log holds a batch in one piece still, with the header in front of it. (What is left over behind the end of a
    /// leaf, or of one whose beginning is gone, belongs to no commit.)
    fn is_intact(partition: u32, batch: &[u8], spoilt: &[u8]) -> bool {
        let headed = |value: &[u8]| {
            let mut places = (28..value.len()).filter(|at| value[*at..].starts_with(batch));
            let of = |at: usize| (&value[at - 24..at - 20], &value[at - 16..at - 12]);
            places.any(|at| of(at) == (&(batch.len() as u32).to_le_bytes(), &partition.to_le_bytes()))
        };
        let leaves =
            (1..spoilt.len() / PAGE as usize).filter_map(|n| Leaf::parse(&spoilt[n * PAGE as usize..], Some(12)));
        leaves.flat_map(Leaf::pairs).any(|(_, value)| headed(value))
    }

    fn check(&self, disk: &SimDisk, spoilt: &[u8], page: u64) {
        let mut store = open(disk);
        let cut = store.store.shared().view().partitions.values().any(|partition| partition.given_up > 0);
        assert_eq!(store.store.status().format.written, if cut { FORMAT_NEW } else { FORMAT_OLD }, "page {page}");
        for partition in PARTITIONS {
            let (id, end) = (PartitionId(partition), self.ends[&partition]);
            let found = served(&store.store, partition);
            for (at, batch) in &found {
                assert_eq!(self.batches.get(at), Some(batch), "page {page}, {at:?}: what is served was written");
            }
            let own: Vec<LossEntry> = store.store.removals().into_iter().filter(|row| row.partition == id).collect();
            for ((_, base), batch) in self.batches.range((partition, 0)..(partition + 1, 0)) {
                if found.contains_key(&(partition, *base)) {
                    continue;
                }
                assert!(
                    !Self::is_intact(partition, batch, spoilt),
                    "page {page}: {base} of {partition} is intact, and gone"
                );
                let told = store.store.head(id).is_none()
                    || own.iter().any(|row| (row.first_offset..=row.last_offset).contains(base));
                assert!(told, "page {page}: {base} of {partition} is gone without a word: {own:?}");
            }
            if store.store.head(id).is_none() {
                continue;
            }
            assert!(store.append(partition, batch(1, 10, 7)) >= end, "page {page}: an offset is given again");
            let accounts = store.store.accounts(id).unwrap();
            let removed: u64 = accounts.removed.iter().map(|(_, what)| what.records).sum();
            assert_eq!(accounts.accepted.records, accounts.retained.records + removed);
            assert!(accounts.accepted.records <= end as u64 + 1, "what was given up was never accepted");
        }
        store.close();
    }
}

fn every_page(scene: &Scene) -> usize {
    let pages = Scene::content(&scene.disk, &scene.path()).len() as u64 / PAGE;
    let cuts = |page| scene.spoil(page).1.cuts.len();
    (0..pages).map(cuts).sum()
}

#[test]
fn whichever_page_of_a_closed_newest_segment_is_damaged_the_others_are_kept() {
    assert!(every_page(&Scene::new(true, 25, true)) > 10);
}

#[test]
fn whichever_page_is_damaged_after_a_crash_the_others_are_kept() {
    every_page(&Scene::new(true, 25, false));
}

#[test]
fn the_first_segment_needs_none_before_it() {
    assert!(every_page(&Scene::new(false, 20, true)) > 5);
}

#[test]
fn a_crash_in_the_midst_of_cutting_gives_no_offset_again() {
    let scene = Scene::new(true, 12, true);
    let pages = Scene::content(&scene.disk, &scene.path()).len() as u64 / PAGE;
    let mut cut = 0;
    for page in 0..pages {
        let disk = scene.disk.kill(page);
        let mut rng = fastrand::Rng::with_seed(page);
        for at in page * PAGE..(page + 1) * PAGE {
            disk.flip(&scene.path(), at, rng.u8(1..)).unwrap();
        }
        let spoilt = Scene::content(&disk, &scene.path());
        disk.watch(0.0);
        let on: Arc<dyn Disk> = Arc::new(disk.clone());
        if repair(Path::new(DIR), &on, &mut |_, _| {}).unwrap().cuts.is_empty() {
            continue;
        }
        cut += 1;
        for (number, moment) in disk.unwatch().into_iter().enumerate() {
            let disk = moment.power_cut(number as u64);
            let on: Arc<dyn Disk> = Arc::new(disk.clone());
            let done = repair(Path::new(DIR), &on, &mut |_, _| {})
                .unwrap_or_else(|error| panic!("page {page}, moment {number} ({:?}): {error}", moment.at));
            assert_eq!(done.after.findings, [], "page {page}, moment {number}");
            scene.check(&disk, &spoilt, page);
        }
        if cut == 3 {
            break;
        }
    }
    assert!(cut > 0);
}

#[test]
fn readers_and_the_ledger_know_of_the_gap() {
    let scene = Scene::new(true, 25, true);
    let pages = Scene::content(&scene.disk, &scene.path()).len() as u64 / PAGE;
    let found =
        (1..pages).map(|page| scene.spoil(page)).find(|(_, done)| done.cuts.iter().any(|cut| !cut.lost.is_empty()));
    let (disk, done) = found.expect("some page holds batches with others behind them");
    let (partition, range) = done.cuts[0].lost[0].clone();
    let store = open(&disk);
    let of = |rows: Vec<LossEntry>| -> Vec<LossEntry> {
        rows.into_iter().filter(|row| row.partition == partition && row.first_offset <= range.start).collect()
    };
    let own = of(store.store.removals());
    assert!(own.iter().any(|row| row.reason == LossReason::Quarantined && row.records > 0), "{own:?}");
    // A reader meets what follows the gap.
    let read = store.store.read(partition, range.start, 1).unwrap();
    assert!(read.next_offset > range.end);
    let given_up = done.cuts[0].given_up.iter().find(|(other, _)| *other == partition).unwrap().1.clone();
    let read = store.store.read(partition, given_up.start, 1).unwrap();
    assert!(read.next_offset > given_up.start);
    let follower =
        store.store.losses().into_iter().find(|row| row.reader == READER && row.last_offset == given_up.end - 1);
    assert!(follower.is_some(), "{:?}", store.store.losses());
    // Opening a damaged store says what can be done.
    let disk = scene.disk.kill(1);
    (0..PAGE).for_each(|at| disk.flip(&scene.path(), at, 0x55).unwrap());
    let opened = Store::open(options_here(), Arc::new(disk), Arc::new(ManualClock::default()));
    let said = opened.map(drop).unwrap_err().to_string();
    assert!(said.contains("fsck --repair") && said.contains("export"), "{said}");
}
