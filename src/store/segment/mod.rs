//! One segment file: a redb database with the tables of a stretch of commits. The only file that speaks redb.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | see the `META_` constants; there once the segment is activated |
//! | `state` | space number, chunk | CRC-32C and rows of the space as of the segment's first commit, cut in chunks |
//! | `begin` | partition | a block of beginnings (see `directory`), then its CRC-32C
//! | `l` and a commit in hexadecimal | commit, chunk | the chunks of the commits' streams, from that one on: see `log_parts` |
//! | `index` | partition, base offset | a block of the index, then its CRC-32C; there once sealed |
//! | `summary` | partition | what the segment holds of it, then its CRC-32C; there once sealed |
//! | `aborted` | partition, first offset | reserved for aborted transactions; empty |
//!
//! Life: blank → activated (one transaction writes `meta`, `state`, `begin` and the first commit) → sealed (one last transaction
//! writes `index` and `summary`, then redb closes the file cleanly) → read-only until it goes.
//!
//! Invariants: no read transaction outlives a call. redb may panic on a damaged file: each call into it is guarded.

mod look;
mod opening;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use redb::{Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, TableDefinition};

use super::backend::Usage;
use super::chunks::{Room, Stream, cut_plain};
use super::disk::DiskFile;
use super::format::{StreamWriter, u32_at, u64_at};
use super::formats::{FORMAT_MIN, FORMAT_NEW};
use super::index::SegmentIndex;
use super::log_parts::{self, LogParts};
use super::once::OnceFile;
use super::redb_call::{self, fail, guarded};
use super::ring::lock;
use super::state::State;
use super::types::{CommitSeq, Space};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const STATE: TableDefinition<(u8, u32), &[u8]> = TableDefinition::new("state");
const BEGIN: TableDefinition<u32, &[u8]> = TableDefinition::new("begin");
const INDEX: TableDefinition<(u32, i64), &[u8]> = TableDefinition::new("index");
const SUMMARY: TableDefinition<u32, &[u8]> = TableDefinition::new("summary");
const ABORTED: TableDefinition<(u32, i64), &[u8]> = TableDefinition::new("aborted");

/// Format version u32, least reader version u32, segment id u64, first commit u64, incarnation 16 bytes.
const META_ACTIVATED: &str = "activated";
/// Numbers of the spaces in `state`, a byte each.
const META_HOT: &str = "hot";
/// Numbers of the spaces that were in `state.redb` instead.
const META_COLD: &str = "cold";
/// Only in a copy of sealed segments: the first segment whose place it takes, u32.
const META_COPY: &str = "copy";
/// Last commit u64, then the time marks; there once sealed.
const META_SEALED: &str = "sealed";

const ACTIVATED_BYTES: usize = 40;

/// Why a call on a segment failed.
#[derive(Debug)]
pub(super) enum SegmentError {
    /// The medium or the filesystem refused.
    Io(io::Error),
    /// The content contradicts itself.
    Damaged(String),
    /// A later version wrote it; the least one that can read it.
    TooNew(u32),
    /// A version wrote it that is no longer read; its number.
    TooOld(u32),
    /// It was not closed cleanly, so it can't be opened just for reading.
    Unclean,
    /// The filesystem has no room for it; nothing was touched.
    NoRoom,
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Damaged(what) => f.write_str(what),
            Self::TooNew(needs) => write!(f, "it needs a reader of format version {needs}"),
            Self::TooOld(version) => write!(f, "it has format version {version}, which is no longer read"),
            Self::Unclean => f.write_str("it was not closed cleanly"),
            Self::NoRoom => f.write_str("the filesystem is full"),
        }
    }
}

impl SegmentError {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// What the first commit of a segment brings along.
#[derive(Clone, Debug)]
pub(super) struct Activation {
    /// In which it is written; who reads that, reads it.
    pub format: u32,
    pub incarnation: [u8; 16],
    pub id: u64,
    pub first_commit: CommitSeq,
    pub hot: Vec<Space>,
    pub cold: Vec<Space>,
    /// Blocks of beginnings, to be written; empty when it was read.
    pub begin: Vec<(u32, Vec<u8>)>,
}

/// What sealing adds, besides the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seal {
    pub last_commit: CommitSeq,
    /// Encoded time marks; see `marks`.
    pub marks: Vec<u8>,
}

/// An open segment file.
pub(super) struct SegmentFile {
    db: Db,
    pub(super) file: Arc<dyn DiskFile>,
    usage: Arc<Usage>,
    /// Keeps what is read, while it is replayed.
    once: Option<Arc<OnceFile>>,
    parts: Mutex<LogParts>,
}

enum Db {
    Write(Database),
    Read(ReadOnlyDatabase),
    Closed,
}

impl Drop for SegmentFile {
    /// Where redb has panicked before, it may panic again.
    fn drop(&mut self) {
        if let Db::Write(db) = std::mem::replace(&mut self.db, Db::Closed)
            && let Err(error) = redb_call::close(db)
        {
            log::warn!("closing {:?}: {error}", self.file);
        }
    }
}

impl fmt::Debug for SegmentFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SegmentFile").field(&self.file).finish()
    }
}

impl SegmentFile {
    /// Bytes of the file in use: it is full when these reach the segment size. A recycled file occupies more.
    pub(super) fn used_bytes(&self) -> u64 {
        self.usage.bytes()
    }

    /// Closes the file so that it can be opened just for reading.
    pub(super) fn close(mut self) -> Result<(), SegmentError> {
        match std::mem::replace(&mut self.db, Db::Closed) {
            Db::Write(db) => redb_call::close(db),
            Db::Read(db) => guarded(|| db.close().map_err(fail)),
            Db::Closed => Ok(()),
        }
    }

    /// Checks every page against redb's checksums: whether all were right. Repairs what it can.
    pub(super) fn check_pages(&mut self) -> Result<bool, SegmentError> {
        let Db::Write(db) = &mut self.db else { return Err(read_only()) };
        guarded(|| db.check_integrity().map_err(fail))
    }

    /// Activates a blank segment: `meta`, the hot spaces of `state`, and the first commit, in one durable transaction.
    pub(super) fn activate(&self, activation: &Activation, state: &State, stream: &Stream) -> Result<(), SegmentError> {
        self.write(|txn| {
            let mut meta = txn.open_table(META).map_err(fail)?;
            meta.insert(META_ACTIVATED, activation.encode().as_slice()).map_err(fail)?;
            meta.insert(META_HOT, numbers(&activation.hot).as_slice()).map_err(fail)?;
            meta.insert(META_COLD, numbers(&activation.cold).as_slice()).map_err(fail)?;
            let mut table = txn.open_table(STATE).map_err(fail)?;
            for &space in &activation.hot {
                let rows = state.encode(space);
                let bytes = [&crc32c::crc32c(&rows).to_le_bytes()[..], &rows].concat();
                for (chunk, bytes) in (0..).zip(cut_plain(&bytes)) {
                    table.insert((space.number(), chunk), bytes).map_err(fail)?;
                }
            }
            write_beginnings(txn, activation)?;
            self.insert_stream(txn, activation.first_commit, stream)
        })?;
        lock(&self.parts).stored(activation.first_commit, stream);
        Ok(())
    }

    /// As [`SegmentFile::activate`], of a copy of sealed segments: without state or a first commit. It covers the segments
    /// from `covers_from` on, and commits may be missing in it.
    pub(super) fn activate_copy(&self, activation: &Activation, covers_from: u32) -> Result<(), SegmentError> {
        self.write(|txn| {
            let mut meta = txn.open_table(META).map_err(fail)?;
            meta.insert(META_ACTIVATED, activation.encode().as_slice()).map_err(fail)?;
            meta.insert(META_HOT, &[][..]).map_err(fail)?;
            meta.insert(META_COLD, &[][..]).map_err(fail)?;
            meta.insert(META_COPY, covers_from.to_le_bytes().as_slice()).map_err(fail)?;
            write_beginnings(txn, activation)
        })
    }

    /// Whether it is a copy of sealed segments, in which commits may be missing.
    pub(super) fn is_copy(&self) -> Result<bool, SegmentError> {
        self.read(|txn| {
            let Some(meta) = table_if_any(txn.open_table(META))? else { return Ok(false) };
            Ok(meta.get(META_COPY).map_err(fail)?.is_some())
        })
    }

    /// Appends commits in one durable transaction, each cut to the `room` that the one before left. Gives each to `placed`
    /// as it is stored.
    pub(super) fn append_all(
        &self,
        commits: Vec<(CommitSeq, StreamWriter)>,
        room: &mut Room,
        mut placed: impl FnMut(CommitSeq, &Stream),
    ) -> Result<(), SegmentError> {
        self.write(|txn| {
            for (seq, writer) in commits {
                if self.begins_part() {
                    *room = Room::default();
                }
                let stream = writer.finish(*room);
                self.insert_stream(txn, seq, &stream)?;
                lock(&self.parts).stored(seq, &stream);
                *room = room.after(&stream.chunk_ends);
                placed(seq, &stream);
            }
            Ok(())
        })
    }

    /// Appends a commit, durably. Commits come in the order of their numbers.
    pub(super) fn append(&self, seq: CommitSeq, stream: &Stream) -> Result<(), SegmentError> {
        self.write(|txn| self.insert_stream(txn, seq, stream))?;
        lock(&self.parts).stored(seq, stream);
        Ok(())
    }

    /// As [`SegmentFile::append`], but nothing is synced.
    #[cfg(debug_assertions)]
    pub(super) fn append_without_sync(&self, seq: CommitSeq, stream: &Stream) -> Result<(), SegmentError> {
        let Db::Write(db) = &self.db else { return Err(read_only()) };
        redb_call::transaction(db, Durability::None, |txn| self.insert_stream(txn, seq, stream))?;
        lock(&self.parts).stored(seq, stream);
        Ok(())
    }

    /// Whether the next commit begins a leaf of its own, whatever the one before left.
    pub(super) fn begins_part(&self) -> bool {
        lock(&self.parts).is_full()
    }

    fn insert_stream(&self, txn: &redb::WriteTransaction, seq: CommitSeq, stream: &Stream) -> Result<(), SegmentError> {
        let name = log_parts::name(lock(&self.parts).next(seq));
        let mut log = txn.open_table(log_parts::table(&name)).map_err(fail)?;
        for (chunk, bytes) in (0..).zip(stream.chunks()) {
            log.insert((seq, chunk), bytes).map_err(fail)?;
        }
        Ok(())
    }

    /// Seals the segment: index and summary, in one last durable transaction.
    pub(super) fn seal(&self, index: &SegmentIndex, seal: &Seal) -> Result<(), SegmentError> {
        self.write(|txn| {
            let mut blocks = txn.open_table(INDEX).map_err(fail)?;
            let mut summaries = txn.open_table(SUMMARY).map_err(fail)?;
            txn.open_table(ABORTED).map_err(fail)?;
            for (partition, index) in index.iter() {
                for (first_offset, packed) in index.blocks() {
                    blocks.insert((partition.0, first_offset), with_crc(packed).as_slice()).map_err(fail)?;
                }
                if let Some(summary) = index.summary() {
                    summaries.insert(partition.0, with_crc(&summary.encode()).as_slice()).map_err(fail)?;
                }
            }
            let sealed = [&seal.last_commit.to_le_bytes()[..], &seal.marks].concat();
            txn.open_table(META).map_err(fail)?.insert(META_SEALED, sealed.as_slice()).map_err(fail)?;
            Ok(())
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        let Db::Write(db) = &self.db else { return Err(read_only()) };
        redb_call::transaction(db, Durability::Immediate, change)
    }

    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, SegmentError>) -> Result<T, SegmentError> {
        guarded(|| {
            let txn = match &self.db {
                Db::Write(db) => db.begin_read(),
                Db::Read(db) => db.begin_read(),
                Db::Closed => return Err(SegmentError::Unclean),
            };
            read(&txn.map_err(fail)?)
        })
    }
}

impl Activation {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ACTIVATED_BYTES);
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&self.format.to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.first_commit.to_le_bytes());
        out.extend_from_slice(&self.incarnation);
        out
    }

    fn decode(raw: &[u8], hot: Vec<Space>, cold: Vec<Space>) -> Result<Self, SegmentError> {
        check_version(raw)?;
        let incarnation = raw.get(24..ACTIVATED_BYTES).and_then(|raw| raw.try_into().ok());
        let incarnation = incarnation.ok_or_else(|| SegmentError::damaged("its meta row is cut off"))?;
        Ok(Self {
            format: u32_at(raw, 0),
            incarnation,
            id: u64_at(raw, 8),
            first_commit: u64_at(raw, 16),
            hot,
            cold,
            begin: Vec::new(),
        })
    }
}

/// Checks the versions with which a file begins to tell of itself: its own u32, least reader u32.
pub(super) fn check_version(raw: &[u8]) -> Result<(), SegmentError> {
    match (u32_at(raw, 0), u32_at(raw, 4)) {
        _ if raw.len() < 8 => Err(SegmentError::damaged("its version is cut off")),
        (_, needs) if needs > FORMAT_NEW => Err(SegmentError::TooNew(needs)),
        (version, _) if version < FORMAT_MIN => Err(SegmentError::TooOld(version)),
        _ => Ok(()),
    }
}

fn write_beginnings(txn: &redb::WriteTransaction, activation: &Activation) -> Result<(), SegmentError> {
    let mut begin = txn.open_table(BEGIN).map_err(fail)?;
    for (first, packed) in &activation.begin {
        begin.insert(first, with_crc(packed).as_slice()).map_err(fail)?;
    }
    Ok(())
}

fn numbers(spaces: &[Space]) -> Vec<u8> {
    spaces.iter().map(|space| space.number()).collect()
}

fn with_crc(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32c::crc32c(bytes).to_le_bytes()].concat()
}

fn without_crc(bytes: &[u8]) -> Result<&[u8], SegmentError> {
    match bytes.split_last_chunk() {
        Some((bytes, crc)) if crc32c::crc32c(bytes) == u32::from_le_bytes(*crc) => Ok(bytes),
        _ => Err(SegmentError::damaged("a row of the index fails its checksum")),
    }
}

/// A table that was never written to doesn't exist.
fn table_if_any<T>(opened: Result<T, redb::TableError>) -> Result<Option<T>, SegmentError> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(fail(error)),
    }
}

fn read_only() -> SegmentError {
    SegmentError::Io(io::ErrorKind::ReadOnlyFilesystem.into())
}
