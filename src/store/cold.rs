//! `state.redb`: the spaces of the keyed state that are too large for a segment's snapshot.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `applied` | the last commit whose changes it has, u64 little-endian |
//! | `meta` | `spaces` | numbers of the spaces it holds, a byte each |
//! | `meta` | `version` | format version u32, least reader version u32, incarnation 16 bytes |
//! | `rows` | space number, key | value, then its CRC-32C |
//!
//! Written once a roll, in one transaction, by the sealer; closed in between. No segment goes whose changes it lacks.

use std::path::PathBuf;
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::backend::{Backend, PAGE_ORDER_ANY};
use super::disk::{Disk, DiskFile, OpenMode};
use super::format::u64_at;
use super::redb_call::{self, fail, guarded};
use super::segment::{SegmentError, check_version};
use super::state::{Change, State};
use super::types::{CommitSeq, Space};

/// The file's name.
pub(super) const STATE_FILE: &str = "state.redb";

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ROWS: TableDefinition<(u8, &[u8]), &[u8]> = TableDefinition::new("rows");
const APPLIED: &str = "applied";
const SPACES: &str = "spaces";
const VERSION: &str = "version";

const CACHE_BYTES: usize = 1 << 20;

/// What a roll leaves for `state.redb` to learn.
#[derive(Debug)]
pub(super) struct ColdChanges {
    /// In which the file is written from now on.
    pub format: u32,
    /// The state as of this commit.
    pub through: CommitSeq,
    pub spaces: Vec<SpaceChanges>,
}

/// The changes of a space.
#[derive(Debug)]
pub(super) struct SpaceChanges {
    pub space: Space,
    /// These are all its rows.
    pub whole: bool,
    pub rows: Vec<Change>,
}

/// The file.
#[derive(Debug)]
pub(super) struct ColdFile {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    incarnation: [u8; 16],
}

impl ColdFile {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, incarnation: [u8; 16]) -> Self {
        Self { disk, dir, incarnation }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(STATE_FILE)
    }

    /// Makes changes durable.
    pub(super) fn apply(&self, changes: &ColdChanges) -> Result<(), SegmentError> {
        let (file, existed) = self.open_or_create()?;
        let whole = Arc::clone(&file);
        let backend = if existed { Backend::open(whole, PAGE_ORDER_ANY) } else { Backend::create(whole) };
        let db = database(backend.map_err(SegmentError::Io)?)?;
        redb_call::with(db, |db| redb_call::transaction(db, Durability::Immediate, |txn| self.write(txn, changes)))?;
        if !existed {
            self.disk.sync_dir(&self.dir).map_err(SegmentError::Io)?;
        }
        Ok(())
    }

    fn open_or_create(&self) -> Result<(Arc<dyn DiskFile>, bool), SegmentError> {
        let path = self.path();
        match self.disk.open(&path, OpenMode::ReadWrite) {
            // A crash while it was made leaves a file without a database, which no segment relies on yet.
            Ok(file) => {
                let existed = Backend::open(Arc::clone(&file), PAGE_ORDER_ANY).is_ok();
                Ok((file, existed))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = self.disk.open(&path, OpenMode::CreateNew).map_err(SegmentError::Io)?;
                Ok((file, false))
            }
            Err(error) => Err(SegmentError::Io(error)),
        }
    }

    fn write(&self, txn: &redb::WriteTransaction, changes: &ColdChanges) -> Result<(), SegmentError> {
        let mut meta = txn.open_table(META).map_err(fail)?;
        let mut rows = txn.open_table(ROWS).map_err(fail)?;
        let mut spaces = meta.get(SPACES).map_err(fail)?.map_or(Vec::new(), |raw| raw.value().to_vec());
        for change in &changes.spaces {
            let number = change.space.number();
            if !spaces.contains(&number) {
                spaces.push(number);
            }
            if change.whole {
                rows.retain_in::<(u8, &[u8]), _>((number, &[][..])..(number + 1, &[][..]), |_, _| false)
                    .map_err(fail)?;
            }
            for (key, value) in &change.rows {
                let key = (number, key.as_slice());
                match value {
                    Some(value) => {
                        let row = [value.as_slice(), &crc32c::crc32c(value).to_le_bytes()].concat();
                        rows.insert(key, row.as_slice()).map_err(fail)?;
                    }
                    None => {
                        rows.remove(key).map_err(fail)?;
                    }
                }
            }
        }
        let version = [&changes.format.to_le_bytes()[..], &changes.format.to_le_bytes(), &self.incarnation].concat();
        meta.insert(VERSION, version.as_slice()).map_err(fail)?;
        meta.insert(SPACES, spaces.as_slice()).map_err(fail)?;
        meta.insert(APPLIED, changes.through.to_le_bytes().as_slice()).map_err(fail)?;
        Ok(())
    }

    /// Fills these of the spaces that the file holds. Returns which they were and the commit they are as of; `None` if
    /// there is no such file, or nothing in it.
    pub(super) fn load(
        &self,
        wanted: &[Space],
        state: &mut State,
    ) -> Result<Option<(Vec<Space>, CommitSeq)>, SegmentError> {
        let file = match self.disk.open(&self.path(), OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SegmentError::Io(error)),
        };
        file.drop_cache().map_err(SegmentError::Io)?;
        let Ok(backend) = Backend::open(file, PAGE_ORDER_ANY) else { return Ok(None) };
        let db = database(backend)?;
        redb_call::with(db, |db| self.read(db, wanted, state))
    }

    fn read(
        &self,
        db: &Database,
        wanted: &[Space],
        state: &mut State,
    ) -> Result<Option<(Vec<Space>, CommitSeq)>, SegmentError> {
        let txn = db.begin_read().map_err(fail)?;
        let meta = match txn.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let row = |name| -> Result<Vec<u8>, SegmentError> {
            Ok(meta.get(name).map_err(fail)?.map_or(Vec::new(), |raw| raw.value().to_vec()))
        };
        let version = row(VERSION)?;
        check_version(&version)?;
        if version.get(8..) != Some(&self.incarnation[..]) {
            return Err(SegmentError::damaged("it belongs to another store"));
        }
        let held = row(SPACES)?;
        let rows = txn.open_table(ROWS).map_err(fail)?;
        let mut loaded = Vec::new();
        for &space in wanted.iter().filter(|space| held.contains(&space.number())) {
            let number = space.number();
            for row in rows.range::<(u8, &[u8])>((number, &[][..])..(number + 1, &[][..])).map_err(fail)? {
                let (key, value) = row.map_err(fail)?;
                let (value, crc) =
                    value.value().split_last_chunk().ok_or(DAMAGED_ROW).map_err(SegmentError::damaged)?;
                if crc32c::crc32c(value) != u32::from_le_bytes(*crc) {
                    return Err(SegmentError::damaged(DAMAGED_ROW));
                }
                state.set(space, key.value().1.to_vec(), Some(value.to_vec()));
            }
            loaded.push(space);
        }
        Ok(Some((loaded, u64_at(&row(APPLIED)?, 0))))
    }

    /// Bytes that the file occupies.
    pub(super) fn allocated(&self) -> u64 {
        let file = self.disk.open(&self.path(), OpenMode::Read);
        file.and_then(|file| file.allocated()).unwrap_or(0)
    }
}

const DAMAGED_ROW: &str = "a row of the state fails its checksum";

fn database(backend: Backend) -> Result<Database, SegmentError> {
    guarded(|| Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(fail))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    fn changes(through: CommitSeq, space: Space, whole: bool, rows: &[(&str, Option<&str>)]) -> ColdChanges {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let rows = rows.iter().map(|(key, value)| (bytes(key), value.map(bytes))).collect();
        ColdChanges { format: 2, through, spaces: vec![SpaceChanges { space, whole, rows }] }
    }

    #[test]
    fn changes_come_back_with_the_commit_they_are_as_of() {
        let dir = tempfile::tempdir().unwrap();
        let cold = ColdFile::new(Arc::new(RealDisk::new()), dir.path().to_path_buf(), [7; 16]);
        let mut state = State::default();
        assert_eq!(cold.load(&Space::ALL, &mut state).unwrap(), None);
        cold.apply(&changes(5, Space::Device, true, &[("a", Some("1")), ("b", Some("2"))])).unwrap();
        cold.apply(&changes(9, Space::Device, false, &[("a", None), ("c", Some(""))])).unwrap();
        cold.apply(&changes(9, Space::User, true, &[("x", Some("y"))])).unwrap();
        let loaded = cold.load(&[Space::Topic, Space::Device], &mut state).unwrap();
        assert_eq!(loaded, Some((vec![Space::Device], 9)));
        let rows: Vec<_> = state.range(Space::Device, &[]).collect();
        assert_eq!(rows, [(&b"b"[..], &b"2"[..]), (b"c", b"")]);
        assert_eq!(state.len(Space::User), 0);

        cold.apply(&changes(12, Space::Device, true, &[("z", Some("9"))])).unwrap();
        let mut state = State::default();
        cold.load(&Space::ALL, &mut state).unwrap();
        assert_eq!((state.len(Space::Device), state.len(Space::User)), (1, 1));
        assert!(cold.allocated() > 0);

        let other = ColdFile::new(Arc::new(RealDisk::new()), dir.path().to_path_buf(), [8; 16]);
        assert!(matches!(other.load(&Space::ALL, &mut state), Err(SegmentError::Damaged(_))));
    }
}
