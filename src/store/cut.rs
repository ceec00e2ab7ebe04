//! Gives a store whose newest segment is damaged an end again, without giving any offset twice.
//!
//! What is intact of the segment N (see `salvage`) is applied to the state as of its first commit. Then two files are made: N+1, an
//! active segment whose snapshot is that state, in which every partition goes on behind the last offset that could have been
//! acknowledged in N; and a copy of what was saved of N, as rewrites make them. N+1 gets its name first: from then on the offsets that
//! were lost are given up for good. Only then the copy takes N's name; a crash in between is one in the midst of a rewrite, which whoever
//! opens the store finishes. Where the segment before the newest is the damaged one, and wasn't sealed, only the copy is made.
//!
//! The state as of N's first commit is N's own snapshot, else that of N-1 with N-1's commits, else nothing, if N is the first.
//!
//! Invariants: nothing is applied that doesn't pass its checksum; of a commit that isn't whole, what makes and drops topics
//! isn't applied; every offset that was given and is lost is in the ledger.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunks::Room;
use super::clock::Clock;
use super::cold::{ColdChanges, ColdFile, SpaceChanges};
use super::copy::{self, STEP_BYTES};
use super::directory::{MARKS_MAX, SegmentRow};
use super::disk::{Disk, OpenMode};
use super::epoch_time::EpochTime;
use super::error::OpenError;
use super::format::{CommitHeader, Entry, StreamWriter, u32_at};
use super::heads::Marks;
use super::index::SegmentIndex;
use super::intervals::Intervals;
use super::ledger;
use super::open::claim;
use super::overlay::OverlayDisk;
use super::recovery::{self, Base, io_error, segment_error};
use super::ring::{REWRITE_NEW, Ring, SPARE_NEW, segment_id};
use super::salvage::{Remains, Salvage};
use super::segment::{Activation, Seal, SegmentFile};
use super::status::{LossEntry, LossReason};
use super::types::{BootEpoch, CommitSeq, EpochRow, PartitionId, Removed, Space, Stamp};
use super::view::{META_NEXT_PARTITION, META_REWRITE, View, encode_epoch};

const CACHE_BYTES: usize = 1 << 20;
/// Records that a byte of a file may stand for, at most: one has seven bytes at least, and a byte of a batch unpacks to 32 KiB (runs of
/// zstd), which is 4,682.
const RECORDS_A_BYTE: u64 = 8_192;
/// Fewest bytes of a commit.
const COMMIT_BYTES_MIN: u64 = 60;
/// Boot epochs and partitions that may have begun in what was lost.
const ORDINALS_GIVEN_UP: u32 = 10_000;

/// What became of a damaged newest segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutReport {
    /// The file.
    pub file: PathBuf,
    /// Commits of which all, and of which a part, was there still.
    pub whole: u64,
    pub parts: u64,
    /// Commits before the last one that was found, of which nothing was there.
    pub missing: u64,
    /// Offsets that held records, and are lost.
    pub lost: Vec<(PartitionId, Range<i64>)>,
    /// Offsets that may have held records behind the last one found, and are never given: from here to the next offset.
    pub given_up: Vec<(PartitionId, Range<i64>)>,
}

/// Mends a store that doesn't open since this file of it is damaged; `None` if that isn't to be mended so. Blocks.
///
/// # Errors
/// If the state as of the segment's beginning can't be had, or the filesystem refuses.
pub(super) fn mend(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    clock: &dyn Clock,
    file: &Path,
) -> Result<Option<CutReport>, OpenError> {
    let _claim = claim(dir, &**disk)?;
    let id = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(segment_id);
    let Some(damaged) = id(file) else { return Ok(None) };
    let names = disk.list(dir).map_err(|error| io_error(dir, error))?;
    let newest = names.iter().filter_map(|entry| id(Path::new(&entry.name))).max();
    if newest.is_none_or(|newest| newest != damaged && newest != damaged + 1) {
        return Ok(None);
    }
    let over: Arc<dyn Disk> = Arc::new(OverlayDisk::new(Arc::clone(disk)));
    let ring = Ring::new(over, dir.to_path_buf(), 0, CACHE_BYTES, CACHE_BYTES);
    let mut cut = Cut::begin(&ring, disk, clock, damaged)?;
    let behind = (newest != Some(damaged)).then(|| Behind::read(&ring, damaged + 1)).transpose()?;
    cut.next_commit = behind.as_ref().map_or(cut.next_commit, |behind| behind.first_commit);
    cut.save()?;
    cut.copy.close(&cut.base.view.active_marks, cut.next_commit - 1)?;
    match &behind {
        Some(behind) => cut.lose_up_to(behind),
        None => {
            cut.give_up();
            cut.go_on()?;
        }
    }
    let (new, old) = (dir.join(REWRITE_NEW), ring.path(damaged));
    disk.rename(&new, &old).and_then(|()| disk.sync_dir(dir)).map_err(|error| io_error(&old, error))?;
    Ok(Some(cut.report))
}

/// The segment behind the damaged one, which is whole.
struct Behind {
    first_commit: CommitSeq,
    /// Where partitions go on in it.
    begins: Vec<(PartitionId, i64)>,
}

impl Behind {
    fn read(ring: &Ring, id: u32) -> Result<Self, OpenError> {
        let path = ring.path(id);
        let read = ring.open_replay(&path, false).and_then(|file| Ok((file.activation()?, file.beginnings()?)));
        let (activation, begins) = read.map_err(|error| segment_error(&path, error))?;
        let activation = activation.ok_or_else(|| OpenError::Damaged {
            file: path.clone(),
            what: "it is blank, though the segment before it is in use".to_owned(),
        })?;
        Ok(Self { first_commit: activation.first_commit, begins })
    }
}

struct Cut<'a> {
    disk: &'a Arc<dyn Disk>,
    clock: &'a dyn Clock,
    dir: PathBuf,
    id: u32,
    base: Base,
    /// Bytes of the damaged file.
    file_bytes: u64,
    salvage: Salvage,
    copy: NewCopy,
    /// The first commit behind all that were or may have been in it.
    next_commit: CommitSeq,
    report: CutReport,
}

impl<'a> Cut<'a> {
    fn begin(ring: &Ring, disk: &'a Arc<dyn Disk>, clock: &'a dyn Clock, id: u32) -> Result<Self, OpenError> {
        let path = ring.path(id);
        let io = |error| io_error(&path, error);
        // By its own snapshot, if that can be had, and if it isn't needed to know of the one before.
        let own = recovery::before_segment(ring, id, true).ok();
        let file = disk.open(&path, OpenMode::Read).map_err(io)?;
        file.drop_cache().map_err(io)?;
        let file_bytes = file.len().map_err(io)?;
        let found = |base: &Base| {
            let range = base.first_commit..base.first_commit + file_bytes / COMMIT_BYTES_MIN + 1;
            Salvage::new(Arc::clone(&file), range).map_err(io)
        };
        let knows_before = |base: &Base| -> Result<bool, OpenError> {
            let first = found(base)?.next().filter(|remains| remains.seq == base.first_commit);
            Ok(id == 1 || first.is_some_and(|remains| remains.whole))
        };
        let base = match own {
            Some(base) if knows_before(&base)? => base,
            own => match (recovery::before_segment(ring, id, false), own) {
                (Ok(base), _) => base,
                (Err(_), Some(base)) => base,
                (Err(error), None) => return Err(error),
            },
        };
        let mut base = base;
        if let Some(unsealed) = base.unsealed.take() {
            let sealed = SegmentFile::open_write(&**disk, &unsealed.path, CACHE_BYTES).and_then(|before| {
                let seal = Seal { last_commit: base.first_commit - 1, marks: unsealed.marks.encode() };
                before.seal(&unsealed.index, &seal)?;
                before.close()
            });
            sealed.map_err(|error| segment_error(&unsealed.path, error))?;
        }
        let salvage = found(&base)?;
        let copy = NewCopy::begin(disk, &ring.dir, id, &base)?;
        let next_commit = base.first_commit + file_bytes / COMMIT_BYTES_MIN + 1;
        let report = CutReport { file: path, ..CutReport::default() };
        Ok(Self { disk, clock, dir: ring.dir.clone(), id, base, file_bytes, salvage, copy, next_commit, report })
    }

    /// Applies what is intact, and copies its batches.
    fn save(&mut self) -> Result<(), OpenError> {
        let (mut last, mut stamp) = (self.base.first_commit - 1, Stamp::default());
        while let Some(remains) = self.salvage.next() {
            let Some(header) = self.header(&remains, stamp) else { continue };
            stamp = header.stamp;
            self.report.missing += remains.seq - last - 1;
            last = remains.seq;
            let count = if remains.whole { &mut self.report.whole } else { &mut self.report.parts };
            *count += 1;
            self.apply(&remains, header)?;
        }
        Ok(())
    }

    /// The header of a commit, made up from its first entry where it is lost; `None` where nothing is left.
    fn header(&self, remains: &Remains, before: Stamp) -> Option<CommitHeader> {
        let made_up = || {
            let first = remains.entries().find(|entry| entry.entry.is_some())?;
            let epochs = self.base.view.epochs();
            let epoch = epochs.iter().find(|row| row.epoch.ordinal == first.epoch)?.epoch;
            let stamp = Stamp { mono_ms: first.mono_ms, wall_ms: before.wall_ms, wall_trusted: false };
            Some(CommitHeader { seq: remains.seq, epoch_ordinal: epoch.ordinal, epoch_id: epoch.id, stamp })
        };
        remains.header().or_else(made_up)
    }

    fn apply(&mut self, remains: &Remains, header: CommitHeader) -> Result<(), OpenError> {
        let seq = remains.seq;
        let (mut writer, mut batches) = (StreamWriter::new(header, 0), StreamWriter::new(header, 0));
        let mut next: BTreeMap<PartitionId, i64> = BTreeMap::new();
        let mut gaps: Vec<(PartitionId, Range<i64>)> = Vec::new();
        let mut copied = 0;
        for entry in remains.entries().filter_map(|intact| intact.entry) {
            match entry {
                Entry::Batch { partition, made, bytes, .. } => {
                    let head = self.base.view.partitions.get(&partition).map(|head| head.next_offset);
                    let expected = next.get(&partition).copied().or(head).unwrap_or(0);
                    let Some((base, end)) = copy::offsets(bytes).filter(|(base, _)| *base >= expected) else {
                        continue;
                    };
                    if head.is_none() && !next.contains_key(&partition) {
                        // Nothing lies behind a partition's end, so it is its beginning that is lost.
                        writer.partition_created(partition);
                    }
                    if base > expected {
                        gaps.push((partition, expected..base));
                    }
                    next.insert(partition, end);
                    writer.batch(partition, made, bytes);
                    batches.batch(partition, made, bytes);
                    copied += bytes.len();
                }
                Entry::Put { space, key, value } if remains.whole || space != Space::Topic => {
                    writer.put(space, key, value);
                }
                Entry::Delete { space, key } if remains.whole || space != Space::Topic => writer.delete(space, key),
                Entry::PartitionCreated(partition) if remains.whole => {
                    next.entry(partition).or_insert(0);
                    writer.partition_created(partition);
                }
                Entry::PartitionDropped(partition) if remains.whole => writer.partition_dropped(partition),
                Entry::Removed { reason, rows } => writer.removed_as(reason, rows),
                _ => {}
            }
        }
        let path = &self.report.file;
        let stream = writer.finish(Room::default());
        let applied = self.base.view.apply(seq, &stream, &self.base.known);
        applied.map_err(|what| OpenError::Damaged { file: path.clone(), what: what.to_owned() })?;
        for (partition, range) in gaps {
            self.lose(partition, range);
        }
        self.copy.add(seq, batches, copied)
    }

    /// Enters into books and ledger that offsets which held records are lost.
    fn lose(&mut self, partition: PartitionId, range: Range<i64>) {
        let records = range.end.abs_diff(range.start);
        if let Some(head) = self.base.view.partitions.get_mut(&partition) {
            let log_start = if head.log_start >= range.start { range.end } else { head.log_start };
            head.remove(LossReason::Quarantined, log_start, Removed { records, bytes: 0 });
        }
        self.enter(partition, &range, records);
        self.report.lost.push((partition, range));
    }

    /// What the segment behind doesn't go on from is lost. It is in the books once the store is open.
    fn lose_up_to(&mut self, behind: &Behind) {
        for (partition, begin) in &behind.begins {
            let end = self.base.view.partitions.get(partition).map(|head| head.next_offset);
            if let Some(end) = end.filter(|end| end < begin) {
                self.report.lost.push((*partition, end..*begin));
            }
        }
    }

    /// Lets every partition go on behind what may have been lost at its end, and whatever else has a number.
    fn give_up(&mut self) {
        let offsets = self.file_bytes.saturating_mul(RECORDS_A_BYTE);
        for (partition, range) in self.base.view.give_up_offsets(offsets) {
            self.enter(partition, &range, 0);
            self.report.given_up.push((partition, range));
        }
        let state = &mut self.base.view.state;
        if let Some(raw) = state.get(Space::Meta, META_NEXT_PARTITION) {
            let next = u32_at(raw, 0).saturating_add(ORDINALS_GIVEN_UP);
            state.set(Space::Meta, META_NEXT_PARTITION.to_vec(), Some(next.to_le_bytes().to_vec()));
        }
    }

    /// Enters a range of offsets into the ledger: the partition's own, and that of each reader that has a position in it.
    fn enter(&mut self, partition: PartitionId, range: &Range<i64>, records: u64) {
        let state = &mut self.base.view.state;
        let mut lost = vec![(String::new(), (range.start, range.end - 1, records))];
        for (key, value) in state.range(Space::Cursor, &[]) {
            if let Some(reader) = key.strip_suffix(&ledger::key_prefix("", partition)[..])
                && let Ok(reader) = std::str::from_utf8(reader)
                && let Ok(position) = Intervals::decode(value)
                && let Some((first, last, missing)) = ledger::lost(&position, range.clone())
            {
                lost.push((reader.to_owned(), (first, last, missing.min(records))));
            }
        }
        let wall_ms = self.clock.wall_ms();
        for (reader, (first_offset, last_offset, records)) in lost {
            let entry = LossEntry {
                reader,
                partition,
                first_offset,
                last_offset,
                records,
                bytes: 0,
                reason: LossReason::Quarantined,
                wall_ms,
                appended_from_ms: 0,
                appended_to_ms: wall_ms,
            };
            let prefix = ledger::key_prefix(&entry.reader, partition);
            let rows: Vec<LossEntry> =
                state.range(Space::Ledger, &prefix).filter_map(|(key, value)| ledger::decode(key, value)).collect();
            let (gone, put) = ledger::add(&rows, entry);
            gone.into_iter().for_each(|key| state.set(Space::Ledger, key, None));
            put.iter().for_each(|row| state.set(Space::Ledger, ledger::key(row), Some(ledger::value(row))));
        }
    }

    /// Makes the segment in which the store goes on, and gives it its name.
    fn go_on(&mut self) -> Result<(), OpenError> {
        let (id, seq) = (self.id + 1, self.next_commit);
        let row = SegmentRow {
            id: self.id,
            covers_from: self.id,
            first_commit: self.base.first_commit,
            last_commit: seq - 1,
            totals: self.copy.index.totals(),
            occupied_bytes: self.copy.occupied,
            marks: self.base.view.active_marks.coarse(MARKS_MAX),
        };
        let view = &mut self.base.view;
        view.state.set(Space::Segment, SegmentRow::key(self.id).to_vec(), Some(row.encode()));
        // Whoever opens the store finishes it.
        let note = [self.id.to_le_bytes(), self.id.to_le_bytes()].concat();
        view.state.set(Space::Meta, META_REWRITE.to_vec(), Some(note));
        let header = begin_epoch(view, seq, self.clock)?;
        view.refresh_heads();
        let cold = view.state.cold_spaces();
        let hot: Vec<Space> =
            Space::ALL.into_iter().filter(|space| view.state.len(*space) > 0 && !cold.contains(space)).collect();
        let path = self.dir.join(SPARE_NEW);
        if !cold.is_empty() {
            let whole = |&space: &Space| {
                let rows = view.state.range(space, &[]).map(|(key, value)| (key.to_vec(), Some(value.to_vec())));
                SpaceChanges { space, whole: true, rows: rows.collect() }
            };
            let changes =
                ColdChanges { format: view.next_format(), through: seq - 1, spaces: cold.iter().map(whole).collect() };
            let file = ColdFile::new(Arc::clone(self.disk), self.dir.clone(), self.base.incarnation);
            file.apply(&changes).map_err(|error| segment_error(&path, error))?;
        }
        let begin = view.beginnings();
        let activation = Activation {
            format: view.next_format(),
            incarnation: self.base.incarnation,
            id: id.into(),
            first_commit: seq,
            hot,
            cold,
            begin,
        };
        let stream = StreamWriter::new(header, 0).finish(Room::default());
        let made = blank(self.disk, &path)?;
        made.activate(&activation, &view.state, &stream)
            .and_then(|()| made.close())
            .map_err(|error| segment_error(&path, error))?;
        let name = self.dir.join(super::ring::segment_name(id));
        let named = self.disk.rename(&path, &name).and_then(|()| self.disk.sync_dir(&self.dir));
        named.map_err(|error| io_error(&name, error))
    }
}

/// A boot epoch for the commit with which the store goes on, behind all that may have begun in what was lost.
fn begin_epoch(view: &mut View, seq: CommitSeq, clock: &dyn Clock) -> Result<CommitHeader, OpenError> {
    let rows = view.epochs();
    let stamp = Stamp { mono_ms: clock.mono_ms(), wall_ms: clock.wall_ms(), wall_trusted: false };
    let ordinal = rows.last().map_or(0, |row| row.epoch.ordinal).saturating_add(ORDINALS_GIVEN_UP);
    let mut id = [0; 8];
    let io = |error: getrandom::Error| io_error(Path::new("getrandom"), io::Error::other(error.to_string()));
    getrandom::fill(&mut id).map_err(io)?;
    let epoch = BootEpoch { ordinal, id: u64::from_le_bytes(id) };
    let time = EpochTime::begin(&rows, view.last_stamp, stamp.mono_ms, stamp.wall_ms);
    let (key, value) = encode_epoch(&EpochRow { epoch, first_commit: seq, time });
    view.state.set(Space::Epoch, key, Some(value));
    Ok(CommitHeader { seq, epoch_ordinal: epoch.ordinal, epoch_id: epoch.id, stamp })
}

/// A blank segment under this name, whatever was there.
fn blank(disk: &Arc<dyn Disk>, path: &Path) -> Result<SegmentFile, OpenError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(path, error)),
        _ => {}
    }
    let file = disk.open(path, OpenMode::CreateNew).map_err(|error| io_error(path, error))?;
    SegmentFile::create(file, CACHE_BYTES).map_err(|error| segment_error(path, error))
}

/// The copy of what was saved.
struct NewCopy {
    path: PathBuf,
    file: Option<SegmentFile>,
    index: SegmentIndex,
    room: Room,
    waiting: Vec<(CommitSeq, StreamWriter)>,
    waiting_bytes: usize,
    occupied: u64,
}

impl NewCopy {
    fn begin(disk: &Arc<dyn Disk>, dir: &Path, id: u32, base: &Base) -> Result<Self, OpenError> {
        let path = dir.join(REWRITE_NEW);
        let file = blank(disk, &path)?;
        let activation = Activation {
            format: base.view.next_format(),
            incarnation: base.incarnation,
            id: id.into(),
            first_commit: base.first_commit,
            hot: Vec::new(),
            cold: Vec::new(),
            begin: base.view.beginnings(),
        };
        file.activate_copy(&activation, id).map_err(|error| segment_error(&path, error))?;
        Ok(Self {
            path,
            file: Some(file),
            index: SegmentIndex::default(),
            room: Room::default(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            occupied: 0,
        })
    }

    fn add(&mut self, seq: CommitSeq, batches: StreamWriter, bytes: usize) -> Result<(), OpenError> {
        if bytes > 0 {
            self.waiting.push((seq, batches));
            self.waiting_bytes += bytes;
        }
        if self.waiting_bytes >= STEP_BYTES { self.store() } else { Ok(()) }
    }

    fn store(&mut self) -> Result<(), OpenError> {
        self.waiting_bytes = 0;
        let commits = std::mem::take(&mut self.waiting);
        let (Some(file), false) = (&self.file, commits.is_empty()) else { return Ok(()) };
        copy::append(file, &mut self.index, &mut self.room, commits).map_err(|error| segment_error(&self.path, error))
    }

    /// Seals and closes it; it is synced then.
    fn close(&mut self, marks: &Marks, last_commit: CommitSeq) -> Result<(), OpenError> {
        self.store()?;
        let Some(file) = self.file.take() else { return Ok(()) };
        self.occupied = file.file.allocated().map_err(|error| io_error(&self.path, error))?;
        let seal = Seal { last_commit, marks: marks.encode() };
        file.seal(&self.index, &seal).and_then(|()| file.close()).map_err(|error| segment_error(&self.path, error))
    }
}
