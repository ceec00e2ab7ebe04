//! The simulator itself, and a bare redb database on it: what redb acknowledged survives, in new and in recycled files,
//! and not on a disk that lies.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::store::backend::{Backend, PAGE_BYTES, PAGE_ORDER_MAX, recycle};

use super::*;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("t");
const DIR: &str = "/d";
const CAP: u64 = 2 << 20;

fn disk() -> SimDisk {
    let disk = SimDisk::new(0);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// The value of a commit: recognisable, of varying length.
fn value(commit: u64) -> Vec<u8> {
    let len = 1 + Rng::with_seed(commit).usize(0..30_000);
    vec![commit as u8; len]
}

fn database(backend: Backend) -> Result<Database, redb::DatabaseError> {
    Database::builder().set_cache_size(256 << 10).create_with_backend(backend)
}

#[expect(clippy::disallowed_methods, reason = "the process may end where this does")]
fn commit(db: &Database, commit: u64) {
    let txn = db.begin_write().unwrap();
    txn.open_table(TABLE).unwrap().insert(commit, &value(commit)[..]).unwrap();
    // Deletes as well, so that pages are reused.
    if commit >= 20 {
        txn.open_table(TABLE).unwrap().remove(commit - 20).unwrap();
    }
    txn.commit().unwrap();
}

/// How many commits a database holds, having checked that they are whole.
fn check(disk: &SimDisk) -> Result<u64, String> {
    let file = disk.open(&path("db"), OpenMode::ReadWrite).map_err(|error| error.to_string())?;
    let db = Backend::open(file, PAGE_ORDER_MAX)
        .map_err(|error| error.to_string())
        .map(database)?
        .map_err(|error| error.to_string())?;
    let read = db.begin_read().map_err(|error| error.to_string())?;
    let Ok(table) = read.open_table(TABLE) else { return Ok(0) };
    let mut next = None;
    for entry in table.iter().map_err(|error| error.to_string())? {
        let (key, bytes) = entry.map_err(|error| error.to_string())?;
        if next.is_some_and(|next| next != key.value()) || bytes.value() != value(key.value()) {
            return Err(format!("commit {} is damaged", key.value()));
        }
        next = Some(key.value() + 1);
    }
    Ok(next.unwrap_or(0))
}

/// Runs a database through `commits`, and cuts the power before every sync and at some writes, several ways each, once
/// more inside recovery. Returns the number of cuts and what went wrong.
fn run(disk: &SimDisk, backend: Backend, commits: u64) -> (u64, Vec<String>) {
    let (mut cuts, mut wrong) = (0, Vec::new());
    let db = database(backend).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.watch(0.1);
    for number in 0..commits {
        commit(&db, number);
        for (way, moment) in disk.take_moments().iter().enumerate() {
            for seed in 0..3 {
                let seed = number * 1_000 + way as u64 * 10 + seed;
                let after = moment.power_cut(seed);
                cuts += 1;
                after.watch(0.05);
                let held = std::panic::catch_unwind(|| check(&after)).unwrap_or_else(|_| Err("panic".into()));
                if !held.as_ref().is_ok_and(|held| (number..=number + 1).contains(held)) {
                    wrong.push(format!("seed {seed} at commit {number}, {:?}: {held:?}", moment.at));
                }
                let inside = after.take_moments();
                if let Some(moment) = Rng::with_seed(seed).choice(&inside) {
                    cuts += 1;
                    let again = moment.power_cut(seed);
                    let held = std::panic::catch_unwind(|| check(&again)).unwrap_or_else(|_| Err("panic".into()));
                    if !held.as_ref().is_ok_and(|held| (number..=number + 1).contains(held)) {
                        wrong.push(format!("seed {seed} at commit {number}, inside recovery: {held:?}"));
                    }
                }
            }
        }
    }
    (cuts, wrong)
}

#[test]
fn redb_keeps_what_it_acknowledged_in_a_new_file() {
    let disk = disk();
    let file = disk.open(&path("db"), OpenMode::CreateNew).unwrap();
    let (cuts, wrong) = run(&disk, Backend::create(file).unwrap(), 60);
    assert!(cuts > 300, "only {cuts} cuts");
    assert!(wrong.is_empty(), "{} of {cuts}: {wrong:#?}", wrong.len());
}

#[test]
fn redb_keeps_what_it_acknowledged_in_a_recycled_file() {
    let disk = disk();
    let file = disk.open(&path("db"), OpenMode::CreateNew).unwrap();
    let db = database(Backend::create(Arc::clone(&file)).unwrap()).unwrap();
    (1_000..1_060).for_each(|number| commit(&db, number));
    drop(db);
    recycle(&*file, CAP).unwrap();
    let (cuts, wrong) = run(&disk, Backend::create(file).unwrap(), 60);
    assert!(cuts > 300, "only {cuts} cuts");
    assert!(wrong.is_empty(), "{} of {cuts}: {wrong:#?}", wrong.len());
}

/// The planted fault: if this passed with nothing wrong, the simulator would not bite.
#[test]
fn a_disk_that_lies_is_found_out() {
    let disk = disk();
    let file = disk.open(&path("db"), OpenMode::CreateNew).unwrap();
    let backend = Backend::create(file).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.lie_about(OpKind::Sync);
    let (cuts, wrong) = run(&disk, backend, 20);
    assert!(wrong.len() as u64 > cuts / 4, "only {} of {cuts} cuts did harm", wrong.len());
}

/// Power cut while a file is blanked or a database is created in it: never a database with old content.
#[test]
fn a_file_half_recycled_is_the_old_database_or_none() {
    let disk = disk();
    let file = disk.open(&path("db"), OpenMode::CreateNew).unwrap();
    let db = database(Backend::create(Arc::clone(&file)).unwrap()).unwrap();
    (0..30).for_each(|number| commit(&db, number));
    drop(db);
    disk.sync_dir(Path::new(DIR)).unwrap();
    disk.watch(1.0);
    recycle(&*file, CAP).unwrap();
    let recycling = disk.take_moments();
    drop(database(Backend::create(file).unwrap()).unwrap());
    let creating = disk.take_moments();
    for (moment, old) in recycling.iter().map(|moment| (moment, 30)).chain(creating.iter().map(|moment| (moment, 0))) {
        for seed in 0..20 {
            let after = moment.power_cut(seed);
            let held = check(&after);
            assert!(held.is_err() || held == Ok(old), "seed {seed}, {:?}: {held:?}", moment.at);
            let file = after.open(&path("db"), OpenMode::ReadWrite).unwrap();
            recycle(&*file, CAP).unwrap();
            drop(database(Backend::create(file).unwrap()).unwrap());
            assert_eq!(check(&after), Ok(0), "seed {seed}: recycling again is always possible");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let disk = disk();
        let file = disk.open(&path("db"), OpenMode::CreateNew).unwrap();
        let db = database(Backend::create(file).unwrap()).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        disk.watch(0.2);
        (0..25).for_each(|number| commit(&db, number));
        let moments = disk.take_moments();
        let last = moments.last().unwrap();
        let after = last.power_cut(7);
        let file = after.open(&path("db"), OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        (moments.len(), last.op, disk.counters(), crc32c::crc32c(&bytes))
    };
    assert_eq!(run(), run());
}

#[test]
fn room_is_counted_while_somebody_holds_an_unlinked_file() {
    let disk = SimDisk::with_capacity(0, 10 * PAGE_BYTES);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    let file = disk.open(&path("a"), OpenMode::CreateNew).unwrap();
    file.write_at(0, &[1; 8 * PAGE_BYTES as usize]).unwrap();
    disk.remove(&path("a")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert_eq!(disk.allocated(), 8 * PAGE_BYTES);
    let other = disk.open(&path("b"), OpenMode::CreateNew).unwrap();
    let full = other.write_at(0, &[1; 3 * PAGE_BYTES as usize]).unwrap_err();
    assert_eq!((full.kind(), other.len().unwrap()), (io::ErrorKind::StorageFull, 0));
    drop(file);
    assert_eq!(disk.space(Path::new(DIR)).unwrap(), Space { total: 10 * PAGE_BYTES, free: 10 * PAGE_BYTES });
    other.write_at(0, &[1; 3 * PAGE_BYTES as usize]).unwrap();
    assert_eq!((disk.allocated(), disk.allocated_max()), (3 * PAGE_BYTES, 8 * PAGE_BYTES));
}

#[test]
fn faults_strike_once_where_they_were_planned() {
    let disk = disk();
    let file = disk.open(&path("a"), OpenMode::CreateNew).unwrap();
    disk.fail(Fault { kind: OpKind::Write, after: 1, errno: Errno::IO });
    disk.fail(Fault { kind: OpKind::Sync, after: 0, errno: Errno::IO });
    file.write_at(0, &[1]).unwrap();
    assert!(file.write_at(0, &[2]).is_err());
    file.write_at(1, &[3]).unwrap();
    assert!(file.sync_data().is_err());
    file.sync_data().unwrap();
    let mut out = [0; 2];
    file.read_at(0, &mut out).unwrap();
    assert_eq!(out, [1, 3]);
}

#[test]
fn a_claim_ends_with_its_guard() {
    let disk = disk();
    let held = disk.lock(Path::new(DIR)).unwrap();
    assert_eq!(disk.lock(Path::new(DIR)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(disk.kill(0).lock(Path::new(DIR)).is_ok(), "the dead hold nothing");
    drop(held);
    disk.lock(Path::new(DIR)).unwrap();
}
