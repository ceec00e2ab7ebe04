//! In which format a store is written: the one before's, until it is told otherwise.

use std::pin::pin;

use futures_lite::future::{block_on, poll_once};

use super::super::chunks::Room;
use super::super::format::{CommitHeader, StreamWriter};
use super::super::ring::segment_name;
use super::super::segment::{Activation, SegmentFile};
use super::super::state::State;
use super::*;

/// The format that the newest segment's file names.
fn in_file(store: &Store) -> u32 {
    let active = store.shared().view().active().cloned().unwrap();
    active.with_open(|file| file.activation().unwrap().unwrap().format).unwrap()
}

fn roll(store: &mut Stepped) {
    let before = store.store.shared().view().active().unwrap().id;
    while store.store.shared().view().active().unwrap().id == before {
        store.append(1, batch(5, 20_000, 7));
        store.settle();
    }
}

#[test]
fn the_version_before_can_read_it_until_it_is_finalized() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    roll(&mut store);
    let status = store.store.status().format;
    assert_eq!(
        (status.written, status.next, status.newest, in_file(&store.store)),
        (FORMAT_OLD, FORMAT_OLD, FORMAT_NEW, FORMAT_OLD)
    );
    {
        let handle = store.store.clone();
        let mut asked = pin!(handle.finalize());
        assert!(block_on(poll_once(&mut asked)).is_none());
        store.engine.step_writer(true);
        block_on(asked).unwrap();
    }
    let status = store.store.status().format;
    assert_eq!((status.written, status.next, in_file(&store.store)), (FORMAT_OLD, FORMAT_NEW, FORMAT_OLD));
    roll(&mut store);
    assert_eq!((store.store.status().format.written, in_file(&store.store)), (FORMAT_NEW, FORMAT_NEW));
    let all = read_all(&store.store, 1, 1);
    store.close();
    let store = Stepped::open(options(dir.path()));
    let status = store.store.status().format;
    assert_eq!((status.written, status.next), (FORMAT_NEW, FORMAT_NEW));
    assert_eq!(read_all(&store.store, 1, 1), all);
}

#[test]
fn a_stopped_store_is_looked_at_and_finalized() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    assert!(matches!(finalize(dir.path(), &disk), Err(OpenError::InUse(_))));
    store.close();
    assert_eq!(format_of(dir.path(), Arc::clone(&disk)).unwrap().next, FORMAT_OLD);
    assert_eq!(finalize(dir.path(), &disk).unwrap().next, FORMAT_NEW);
    assert_eq!(format_of(dir.path(), disk).unwrap().next, FORMAT_NEW);
}

#[test]
fn fourteen_days_of_running_finalize_it() {
    let (dir, day) = (tempfile::tempdir().unwrap(), 86_400_000);
    let mut store = Stepped::open(options(dir.path()));
    store.create(1);
    for _ in 0..13 {
        store.clock.advance_ms(day);
        store.append(1, batch(1, 10, 7));
    }
    let status = store.store.status().format;
    assert_eq!((status.next, status.healthy_ms / day), (FORMAT_OLD, 13));
    // A restart goes on counting; time in which it didn't run doesn't count.
    store.close();
    let clock = Arc::new(ManualClock::default());
    clock.advance_ms(100 * day);
    let mut store = Stepped::open_on(options(dir.path()), Arc::new(RealDisk::new()), Arc::clone(&clock));
    assert_eq!(store.store.status().format, FormatStatus { written: FORMAT_OLD, ..status });
    store.append(1, batch(1, 10, 7));
    assert_eq!(store.store.status().format.next, FORMAT_OLD);
    clock.advance_ms(day + 60_000);
    store.append(1, batch(1, 10, 7));
    assert_eq!(store.store.status().format.next, FORMAT_NEW);
}

#[test]
fn a_later_format_is_refused_with_the_versions_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let file =
        RealDisk::new().open(&dir.path().join(segment_name(1)), super::super::disk::OpenMode::CreateNew).unwrap();
    let later = SegmentFile::create(file, 1 << 20).unwrap();
    let activation = Activation {
        format: FORMAT_NEW + 1,
        incarnation: [7; 16],
        id: 1,
        first_commit: 1,
        hot: Vec::new(),
        cold: Vec::new(),
        begin: Vec::new(),
    };
    let header = CommitHeader { seq: 1, epoch_ordinal: 1, epoch_id: 1, stamp: Stamp::default() };
    let stream = StreamWriter::new(header, 0).finish(Room::default());
    later.activate(&activation, &State::default(), &stream).unwrap();
    later.close().unwrap();
    let opened = Store::open(options(dir.path()), Arc::new(RealDisk::new()), Arc::new(ManualClock::default()));
    let said = opened.map(drop).unwrap_err().to_string();
    let (needs, reads) = (format!("format {}", FORMAT_NEW + 1), format!("reads {FORMAT_MIN} to {FORMAT_NEW}"));
    assert!(said.contains(&needs) && said.contains(&reads) && said.contains("export"), "{said}");
}
