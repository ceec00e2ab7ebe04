//! A damaged `state.redb`: it begins anew, the records stay, and nothing that lets somebody in or finds a record is given up.

use super::super::disk::OpenMode;
use super::super::renew::{STATE_BAD, renew_state};
use super::super::repair::repair;
use super::super::sim::SimDisk;
use super::*;

const DIR: &str = "/store";
const PAGE: u64 = 4_096;
const TOPIC: u32 = 1;

fn options_here() -> StoreOptions {
    StoreOptions { segment_bytes: Some(512 << 10), ..options(Path::new(DIR)) }
}

fn state_file() -> std::path::PathBuf {
    Path::new(DIR).join("state.redb")
}

fn key(n: u32) -> Vec<u8> {
    format!("row-{n:05}").into_bytes()
}

fn length(disk: &SimDisk) -> u64 {
    disk.open(&state_file(), OpenMode::Read).unwrap().len().unwrap()
}

/// Every record of the partition: the base offsets of its batches.
fn bases(store: &Store) -> Vec<i64> {
    let (id, mut at, mut all) = (PartitionId(TOPIC), 0, Vec::new());
    loop {
        let read = store.read(id, at, 1 << 20).unwrap();
        let mut rest = &read.bytes[..];
        while !rest.is_empty() {
            let (batch, behind) = BatchView::parse(rest).unwrap();
            all.push(batch.base_offset());
            rest = behind;
        }
        at = read.next_offset;
        if at >= read.head.high_watermark {
            return all;
        }
    }
}

/// A store of which a space is in `state.redb`, and the rows of it that were written since the newest segment began.
struct Scene {
    disk: SimDisk,
    bases: Vec<i64>,
    since: u32,
}

impl Scene {
    fn new(space: Space, closed: bool) -> Self {
        let disk = SimDisk::new(9);
        let mut store = Stepped::open_on(options_here(), Arc::new(disk.clone()), Arc::default());
        store.create(TOPIC);
        for n in 0..300u32 {
            store.run(move |draft| draft.put(space, &key(n), &[n as u8; 120])).unwrap();
        }
        while store.store.status().segments < 4 {
            store.append(TOPIC, batch(3, 2_000, 7));
            store.settle();
        }
        for n in 300..305u32 {
            store.run(move |draft| draft.put(space, &key(n), b"since")).unwrap();
        }
        store.append(TOPIC, batch(1, 100, 7));
        let bases = bases(&store.store);
        if closed {
            store.close();
        } else {
            drop(store);
        }
        assert!(length(&disk) > 4 * PAGE);
        Self { disk: disk.kill(1), bases, since: 5 }
    }

    fn open(disk: &SimDisk) -> Result<(), OpenError> {
        Store::open(options_here(), Arc::new(disk.clone()), Arc::new(ManualClock::default())).map(drop)
    }

    /// What there is of it after the file began anew: all records, and of the space what came since, over more rolls and a restart.
    fn check(&self, disk: &SimDisk, space: Space) {
        let mut store = Stepped::open_on(options_here(), Arc::new(disk.clone()), Arc::default());
        assert_eq!(bases(&store.store), self.bases);
        let rows = |store: &Store| store.entries(space, b"row-").len() as u32;
        assert_eq!(rows(&store.store), self.since);
        store.run(move |draft| draft.put(space, &key(900), b"new")).unwrap();
        let segments = store.store.shared().view().active().unwrap().id;
        while store.store.shared().view().active().unwrap().id < segments + 2 {
            store.append(TOPIC, batch(3, 2_000, 7));
            store.settle();
        }
        store.close();
        let store = Stepped::open_on(options_here(), Arc::new(disk.clone()), Arc::default());
        assert_eq!(rows(&store.store), self.since + 1);
        drop(store);
    }
}

fn renew(disk: &SimDisk) -> Vec<&'static str> {
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    renew_state(Path::new(DIR), &on, &state_file()).unwrap().unwrap().given_up
}

#[test]
fn whatever_is_damaged_of_it_the_records_stay_and_it_begins_anew() {
    for closed in [true, false] {
        let scene = Scene::new(Space::Mqtt, closed);
        let pages = length(&scene.disk) / PAGE;
        let mut damaged = 0;
        for page in 0..pages {
            let disk = scene.disk.kill(page);
            (page * PAGE..(page + 1) * PAGE).for_each(|at| disk.flip(&state_file(), at, 0x55).unwrap());
            let Err(error) = Scene::open(&disk) else { continue };
            let OpenError::Damaged { file, .. } = &error else { panic!("page {page}: {error}") };
            assert_eq!(*file, state_file());
            assert!(error.to_string().contains("fsck --repair"), "{error}");
            damaged += 1;
            assert_eq!(renew(&disk).len(), 1);
            scene.check(&disk, Space::Mqtt);
            assert!(disk.list(Path::new(DIR)).unwrap().iter().any(|entry| entry.name == STATE_BAD));
        }
        assert!(damaged > 3, "{damaged} of {pages}");
        // One that is gone is damaged, too.
        let disk = scene.disk.kill(1);
        disk.remove(&state_file()).unwrap();
        assert!(matches!(Scene::open(&disk), Err(OpenError::Damaged { .. })));
        renew(&disk);
        scene.check(&disk, Space::Mqtt);
    }
}

#[test]
fn a_crash_while_it_begins_anew_leaves_what_can_begin_anew() {
    let scene = Scene::new(Space::Device, true);
    let disk = scene.disk.kill(1);
    (PAGE..length(&disk)).step_by(512).for_each(|at| disk.flip(&state_file(), at, 0x55).unwrap());
    assert!(Scene::open(&disk).is_err());
    disk.watch(0.5);
    renew(&disk);
    let moments = disk.unwatch();
    assert!(moments.len() > 4, "{}", moments.len());
    for (number, moment) in moments.into_iter().enumerate() {
        for cut in [true, false] {
            let disk = if cut { moment.power_cut(number as u64) } else { moment.kill(number as u64) };
            if let Err(error) = Scene::open(&disk) {
                assert!(
                    matches!(&error, OpenError::Damaged { file, .. } if *file == state_file()),
                    "{number}: {error}"
                );
                renew(&disk);
            }
            scene.check(&disk, Space::Device);
        }
    }
}

#[test]
fn on_a_full_filesystem_the_damaged_one_makes_room() {
    let scene = Scene::new(Space::Mqtt, true);
    let disk = scene.disk.kill(1);
    (PAGE..length(&disk)).step_by(512).for_each(|at| disk.flip(&state_file(), at, 0x55).unwrap());
    disk.set_capacity(disk.allocated());
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let renewed = renew_state(Path::new(DIR), &on, &state_file()).unwrap().unwrap();
    assert_eq!((renewed.kept, renewed.given_up.len()), (None, 1));
    assert!(disk.list(Path::new(DIR)).unwrap().iter().all(|entry| entry.name != STATE_BAD));
    disk.set_capacity(u64::MAX);
    scene.check(&disk, Space::Mqtt);
}

#[test]
fn a_repair_begins_it_anew_and_says_what_went() {
    let scene = Scene::new(Space::Group, true);
    let disk = scene.disk.kill(1);
    (PAGE..length(&disk)).step_by(512).for_each(|at| disk.flip(&state_file(), at, 0x55).unwrap());
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let done = repair(Path::new(DIR), &on, &mut |_, _| {}).unwrap();
    assert!(done.before.findings_total > 0 && done.after.findings.is_empty(), "{:?}", done.after);
    assert!(done.renewed.unwrap().given_up[0].starts_with("consumer groups"));
    scene.check(&disk, Space::Group);
}

/// "The disk never fills" holds for what is kept to be looked at, too.
#[test]
fn the_damaged_file_counts_and_makes_room() {
    let scene = Scene::new(Space::Mqtt, true);
    let disk = scene.disk.kill(1);
    (PAGE..length(&disk)).step_by(512).for_each(|at| disk.flip(&state_file(), at, 0x55).unwrap());
    renew(&disk);
    let kept = || disk.list(Path::new(DIR)).unwrap().into_iter().find(|entry| entry.name == STATE_BAD);
    let allocated = kept().unwrap().allocated;
    let store = Stepped::open_on(options_here(), Arc::new(disk.clone()), Arc::default());
    assert!(allocated > 0 && store.store.status().quarantined_bytes == allocated);
    let with = store.store.status().disk_bytes;
    assert!(store.store.shared().ring.remove_condemned().unwrap());
    assert_eq!((store.store.status().disk_bytes, kept().is_none()), (with - allocated, true));
    drop(store);
}

/// Without a rule that refuses somebody would be let in.
#[test]
fn rules_of_access_are_not_begun_anew() {
    let scene = Scene::new(Space::Acl, true);
    let disk = scene.disk.kill(1);
    (PAGE..length(&disk)).step_by(512).for_each(|at| disk.flip(&state_file(), at, 0x55).unwrap());
    let on: Arc<dyn Disk> = Arc::new(disk.clone());
    let error = repair(Path::new(DIR), &on, &mut |_, _| {}).unwrap_err().to_string();
    assert!(error.contains("held Acl") && error.contains("copy"), "{error}");
    assert!(Scene::open(&disk).is_err());
    let other = renew_state(Path::new(DIR), &on, &Path::new(DIR).join("0000000001.seg")).unwrap();
    assert_eq!(other, None, "only that file is");
}
