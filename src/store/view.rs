//! The committed view: everything that reads see, moved forward by one commit at a time.
//!
//! The writer and recovery go through the same function, [`View::apply`], which takes a commit as the bytes that are on
//! disk. So what is rebuilt after a crash can't differ from what was there before.
//!
//! Invariants: only the writer changes a view (under its lock); offsets of a partition never descend; `segments` are
//! ascending, each covers the ids from behind the one before up to its own, the last one is the active one; each of the
//! others has a row in `Space::Segment` once the active one has its first commit.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::chunks::{Location, Stream};
use super::directory::{MARKS_MAX, SegmentRow, encode_beginnings};
use super::epoch_time::{Corrections, EpochTime};
use super::format::{self, CommitHeader, Entry, EntryReader, Made, Malformed, Stamps};
use super::formats::{FINALIZE_AFTER_MS, FORMAT_GIVEN_UP, FORMAT_NEW, FormatRow, FormatStatus};
use super::heads::{Mark, Marks, Partition, head_key, head_partition};
use super::index::{BatchRef, SegmentIndex};
use super::producers;
use super::ring::Segment;
use super::state::State;
use super::tail::Tail;
use super::types::{BootEpoch, CommitSeq, Committed, EpochRow, PartitionId, ScannedBatch, Space, Stamp};
use crate::record::{BatchView, SharedBytes};

/// Row of `Space::Meta`: the lowest partition id never used, u32 little-endian.
pub(super) const META_NEXT_PARTITION: &[u8] = b"next-partition";
/// Row of `Space::Meta`: all segments up to this id are evicted, u32 little-endian.
pub(super) const META_EVICTED: &[u8] = b"evicted-through";
/// Row of `Space::Meta`: the account of what is written (`flash.rs`).
pub(super) const META_FLASH: &[u8] = b"flash";

/// Row of `Space::Meta`: a rewrite that is declared and may not be swapped in yet (see `rewrite`).
pub(super) const META_REWRITE: &[u8] = b"rewrite";
/// Row of `Space::Meta`: bytes ever written by rewrites, and what of the day's budget is used up, u64 little-endian each.
pub(super) const META_REWRITTEN: &[u8] = b"rewritten";

/// The committed view.
#[derive(Debug)]
pub(super) struct View {
    pub state: State,
    pub partitions: BTreeMap<PartitionId, Partition>,
    /// Shared, so that a reader takes the whole list along without holding the view.
    pub segments: Arc<VecDeque<Arc<Segment>>>,
    pub active_index: SegmentIndex,
    pub active_marks: Marks,
    pub tail: Tail,
    /// 0 if nothing was ever committed.
    pub last_commit: CommitSeq,
    /// Epoch and moment of the last commit.
    pub last_stamp: Option<(u32, Stamp)>,
    /// By how much provisional timestamps are wrong.
    pub corrections: Arc<Corrections>,
    /// The format of the newest segment; 0 if there is none.
    pub written_format: u32,
    /// Partitions whose head row is out of date.
    touched: BTreeSet<PartitionId>,
    /// The last of `segments` is being written: the active index is its own.
    has_active: bool,
}

/// Which parts of a commit still need applying, when it is met again at recovery.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Per space, the last commit that its rows already contain.
    spaces: BTreeMap<Space, CommitSeq>,
}

impl Known {
    pub(super) fn set(&mut self, space: Space, through: CommitSeq) {
        self.spaces.insert(space, through);
    }

    fn has(&self, space: Space, seq: CommitSeq) -> bool {
        self.spaces.get(&space).is_some_and(|&through| seq <= through)
    }
}

impl View {
    /// Before the first commit, without a tail.
    pub(super) fn new() -> Self {
        Self {
            state: State::default(),
            partitions: BTreeMap::new(),
            segments: Arc::default(),
            active_index: SegmentIndex::default(),
            active_marks: Marks::default(),
            tail: Tail::new(0, 1),
            last_commit: 0,
            last_stamp: None,
            corrections: Arc::default(),
            written_format: 0,
            touched: BTreeSet::new(),
            has_active: false,
        }
    }

    /// From now on commits come into the tail.
    pub(super) fn begin_tail(&mut self, bytes_max: usize) {
        self.tail = Tail::new(bytes_max, self.last_commit + 1);
    }

    /// The segment being written; `None` before the first commit.
    pub(super) fn active(&self) -> Option<&Arc<Segment>> {
        self.segments.back()
    }

    pub(super) fn is_active(&self, segment: &Segment) -> bool {
        self.active().is_some_and(|active| active.id == segment.id)
    }

    /// The segment after one, which may have gone meanwhile.
    pub(super) fn segment_after(&self, id: u32) -> Option<&Arc<Segment>> {
        self.segments.get(self.segments.partition_point(|segment| segment.id <= id))
    }

    /// The segment that holds a commit.
    pub(super) fn segment_of_commit(&self, seq: CommitSeq) -> Option<&Arc<Segment>> {
        let behind = self.segments.partition_point(|segment| segment.first_commit <= seq);
        self.segments.get(behind.checked_sub(1)?)
    }

    /// Makes a segment the active one; the index of the one before stays with it until it is sealed.
    pub(super) fn activate(&mut self, segment: Arc<Segment>) {
        let index = std::mem::take(&mut self.active_index);
        let marks = std::mem::take(&mut self.active_marks);
        if let Some(before) = self.segments.back()
            && self.has_active
        {
            before.set_unsealed(index, marks);
        }
        self.has_active = true;
        Arc::make_mut(&mut self.segments).push_back(segment);
    }

    /// Puts the sealed segments before those that are there.
    pub(super) fn prepend(&mut self, sealed: Vec<Arc<Segment>>) {
        let segments = Arc::make_mut(&mut self.segments);
        sealed.into_iter().rev().for_each(|segment| segments.push_front(segment));
    }

    /// The row that the active segment will have in the directory; `next` is the first commit of the one after it.
    pub(super) fn active_row(&self, next: CommitSeq) -> Option<SegmentRow> {
        let active = self.active().filter(|_| self.has_active)?;
        Some(SegmentRow {
            id: active.id,
            covers_from: active.covers_from,
            first_commit: active.first_commit,
            last_commit: next.saturating_sub(1),
            totals: self.active_index.totals(),
            occupied_bytes: active.allocated(),
            marks: self.active_marks.coarse(MARKS_MAX),
        })
    }

    /// The row of a sealed segment.
    pub(super) fn row(&self, id: u32) -> Option<SegmentRow> {
        let key = SegmentRow::key(id);
        SegmentRow::decode(&key, self.state.get(Space::Segment, &key)?).ok()
    }

    /// All rows of the directory, ascending.
    pub(super) fn rows(&self) -> impl DoubleEndedIterator<Item = Result<SegmentRow, Malformed>> {
        self.state
            .range(Space::Segment, &[])
            .map(|(key, value)| SegmentRow::decode(key, value))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Where all partitions stand now, for a segment that begins here.
    pub(super) fn beginnings(&self) -> Vec<(u32, Vec<u8>)> {
        encode_beginnings(self.partitions.iter().map(|(&id, partition)| (id, partition.next_offset)))
    }

    /// Applies a commit that is durable in the active segment, and tells what it changed for readers.
    pub(super) fn apply(&mut self, seq: CommitSeq, stream: &Stream, known: &Known) -> Result<Committed, Malformed> {
        self.apply_entries(seq, stream, known, format::parse_stream(&stream.bytes)?)
    }

    /// As [`View::apply`], of a commit that this writer has just made.
    pub(super) fn apply_own(&mut self, seq: CommitSeq, stream: &Stream) -> Result<Committed, Malformed> {
        self.apply_entries(seq, stream, &Known::default(), format::parse_own_stream(&stream.bytes)?)
    }

    fn apply_entries(
        &mut self,
        seq: CommitSeq,
        stream: &Stream,
        known: &Known,
        (header, entries): (CommitHeader, EntryReader<'_>),
    ) -> Result<Committed, Malformed> {
        if header.seq != seq {
            return Err("a commit bears the number of another");
        }
        self.active_marks.note(Mark { commit: seq, epoch: header.epoch_ordinal, stamp: header.stamp });
        self.last_stamp = Some((header.epoch_ordinal, header.stamp));
        // The tail keeps the commit as it is, unless it is mostly something else than batches.
        let keep = 2 * format::batch_bytes(&stream.bytes) >= stream.bytes.held();
        let mut changes =
            Changes { stamp: header.stamp, whole: keep.then(|| stream.bytes.clone()), ..Changes::default() };
        for placed in entries {
            let placed = placed?;
            let location = stream.locate(seq, placed.position, placed.bytes);
            self.apply_entry(placed.entry, location, known, &mut changes)?;
        }
        self.last_commit = seq;
        let head = |partition: &PartitionId| self.partitions.get(partition);
        let advanced = changes.advanced.iter().filter_map(|p| Some((*p, head(p)?.next_offset))).collect();
        let trimmed = changes.trimmed.iter().filter_map(|p| Some((*p, head(p)?.log_start))).collect();
        Ok(Committed { seq, advanced, trimmed })
    }

    fn apply_entry(
        &mut self,
        entry: Entry<'_>,
        location: Location,
        known: &Known,
        changes: &mut Changes,
    ) -> Result<(), Malformed> {
        let heads_known = known.has(Space::Head, location.commit);
        match entry {
            Entry::PartitionCreated(partition) if !heads_known => {
                self.partitions.entry(partition).or_default();
                self.touched.insert(partition);
            }
            Entry::PartitionDropped(partition) if !heads_known => {
                self.partitions.remove(&partition);
                self.touched.insert(partition);
            }
            Entry::Removed { reason, rows } if !heads_known => {
                for removal in format::removals(rows) {
                    let removal = removal?;
                    let Some(partition) = self.partitions.get_mut(&removal.partition) else { continue };
                    self.touched.insert(removal.partition);
                    if partition.remove(reason, removal.log_start, removal.what) {
                        changes.trimmed.insert(removal.partition);
                    }
                }
            }
            Entry::Batch { partition, made, epoch, bytes } => {
                let kept = changes.whole.as_ref().map_or_else(|| bytes.into(), |whole| whole.part(bytes));
                self.apply_batch(partition, made, epoch, kept, location, heads_known)?;
                if !known.has(Space::Producer, location.commit) {
                    self.note_producer(partition, bytes, location.commit, changes.stamp);
                }
                changes.advanced.insert(partition);
            }
            Entry::Put { space, key, value } if !known.has(space, location.commit) => {
                self.state.set(space, key.to_vec(), Some(value.to_vec()));
                self.epoch_changed(space);
            }
            Entry::Delete { space, key } if !known.has(space, location.commit) => {
                self.state.set(space, key.to_vec(), None);
                self.epoch_changed(space);
            }
            _ => {}
        }
        Ok(())
    }

    fn epoch_changed(&mut self, space: Space) {
        if space == Space::Epoch {
            self.load_corrections();
        }
    }

    /// Finds out by how much provisional timestamps are wrong, from the rows of the epochs.
    pub(super) fn load_corrections(&mut self) {
        self.corrections = Arc::new(Corrections::new(&self.epochs()));
    }

    fn apply_batch(
        &mut self,
        partition: PartitionId,
        made: Made,
        epoch: u32,
        bytes: SharedBytes,
        location: Location,
        head_known: bool,
    ) -> Result<(), Malformed> {
        let (view, rest) = BatchView::parse(&bytes).map_err(|_| "a stored batch is malformed")?;
        if !rest.is_empty() {
            return Err("a stored batch is followed by other bytes");
        }
        let (base_offset, next_offset) = (view.base_offset(), view.next_offset());
        let provisional = made.stamps == Stamps::Provisional;
        let max_timestamp = view.max_timestamp();
        let batch = BatchRef { base_offset, next_offset, location, max_timestamp, provisional };
        self.active_index.push(partition, &batch);
        if !head_known && let Some(head) = self.partitions.get_mut(&partition) {
            if base_offset < head.next_offset {
                return Err("a batch repeats offsets");
            }
            head.append(epoch, base_offset, next_offset, location.bytes);
            self.touched.insert(partition);
        }
        self.tail.push(ScannedBatch {
            commit: location.commit,
            partition,
            base_offset,
            next_offset,
            bytes,
            gateway_stamped: made.stamps != Stamps::Producer,
            gathered: made.gathered,
            provisional,
            epoch,
        });
        Ok(())
    }

    /// Brings the row of a batch's producer up to date: no entry of the commit does.
    fn note_producer(&mut self, partition: PartitionId, bytes: &[u8], commit: CommitSeq, stamp: Stamp) {
        let Ok((batch, _)) = BatchView::parse(bytes) else { return };
        let before = |key: &[u8]| self.state.get(Space::Producer, key);
        let row = producers::row_after(partition, &batch, batch.base_offset(), commit, stamp, before);
        if let Some((key, row)) = row {
            producers::set_row(&mut self.state, &key, row);
        }
    }

    /// Takes the segments that a commit declared evicted out of the ring.
    pub(super) fn take_evicted(&mut self) -> Vec<Arc<Segment>> {
        let through = self.evicted_through();
        let count = self.segments.iter().take_while(|segment| segment.id <= through).count();
        if count == 0 {
            return Vec::new();
        }
        Arc::make_mut(&mut self.segments).drain(..count).collect()
    }

    /// Takes the damaged segments that a commit has struck off the directory out of the ring.
    pub(super) fn take_quarantined(&mut self) -> Vec<Arc<Segment>> {
        let struck = |segment: &Arc<Segment>| {
            segment.is_damaged() && self.state.get(Space::Segment, &SegmentRow::key(segment.id)).is_none()
        };
        let taken: Vec<_> = self.segments.iter().filter(|segment| struck(segment)).cloned().collect();
        if !taken.is_empty() {
            let segments = Arc::make_mut(&mut self.segments);
            segments.retain(|segment| !taken.iter().any(|other| Arc::ptr_eq(other, segment)));
        }
        taken
    }

    /// Puts the rewritten form of a run, if there is one, in the place of its segments.
    pub(super) fn replace(&mut self, run: &[Arc<Segment>], new: Option<Arc<Segment>>) {
        let segments = Arc::make_mut(&mut self.segments);
        segments.retain(|segment| !run.iter().any(|old| Arc::ptr_eq(old, segment)));
        if let Some(new) = new {
            let at = segments.partition_point(|segment| segment.id < new.id);
            segments.insert(at, new);
        }
    }

    /// In which format the next file is to be written: the one that is allowed, or that what is in the state needs.
    pub(super) fn next_format(&self) -> u32 {
        let needs = self.partitions.values().any(|partition| partition.given_up > 0);
        let allowed = FormatRow::of(&self.state, FORMAT_NEW).allowed;
        if needs { allowed.max(FORMAT_GIVEN_UP) } else { allowed }
    }

    pub(super) fn format_status(&self) -> FormatStatus {
        let row = FormatRow::of(&self.state, FORMAT_NEW);
        FormatStatus {
            written: self.written_format,
            next: self.next_format(),
            newest: FORMAT_NEW,
            healthy_ms: row.healthy_ms,
            finalize_after_ms: FINALIZE_AFTER_MS,
        }
    }

    /// Lets all partitions go on so many offsets further. Returns which offsets nobody gets.
    pub(super) fn give_up_offsets(&mut self, offsets: u64) -> Vec<(PartitionId, std::ops::Range<i64>)> {
        self.touched.extend(self.partitions.keys());
        let give_up = |(&id, partition): (&PartitionId, &mut Partition)| {
            let from = partition.next_offset;
            partition.give_up(offsets);
            (id, from..partition.next_offset)
        };
        self.partitions.iter_mut().map(give_up).collect()
    }

    /// Takes out the segment that was replayed last, with its index and marks: only what it has brought about stays.
    pub(super) fn take_replayed(&mut self) -> (SegmentIndex, Marks) {
        self.segments = Arc::default();
        self.has_active = false;
        (std::mem::take(&mut self.active_index), std::mem::take(&mut self.active_marks))
    }

    /// The wall time of the oldest commit that is still there, by the time marks.
    pub(super) fn oldest_append_ms(&self) -> Option<i64> {
        let oldest = self.state.range(Space::Segment, &[]).next();
        let row = oldest.and_then(|(key, value)| SegmentRow::decode(key, value).ok());
        row.and_then(|row| row.marks.first_wall_ms()).or_else(|| self.active_marks.first_wall_ms())
    }

    /// All segments up to this id are evicted.
    pub(super) fn evicted_through(&self) -> u32 {
        self.state.get(Space::Meta, META_EVICTED).map_or(0, |raw| format::u32_at(raw, 0))
    }

    /// Brings the head rows up to date, for a snapshot.
    pub(super) fn refresh_heads(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            let row = self.partitions.get(&id).map(Partition::encode);
            self.state.set(Space::Head, head_key(id), row);
        }
    }

    /// Makes the partitions from the head rows of a snapshot.
    pub(super) fn load_heads(&mut self) -> Result<(), Malformed> {
        for (key, row) in self.state.range(Space::Head, &[]) {
            let malformed = "the row of a partition is malformed";
            let id = head_partition(key).ok_or(malformed)?;
            self.partitions.insert(id, Partition::decode(row).ok_or(malformed)?);
        }
        Ok(())
    }

    /// The boot-epoch table, ascending.
    pub(super) fn epochs(&self) -> Vec<EpochRow> {
        self.state.range(Space::Epoch, &[]).filter_map(|(key, value)| decode_epoch(key, value)).collect()
    }
}

#[derive(Default)]
struct Changes {
    /// The moment of the commit.
    stamp: Stamp,
    /// The commit, where the tail keeps it.
    whole: Option<SharedBytes>,
    advanced: BTreeSet<PartitionId>,
    trimmed: BTreeSet<PartitionId>,
}

/// A row of `Space::Epoch`: ordinal, big-endian → id u64, first commit u64, then age, basis, learned and highest (see
/// `epoch_time`), i64 each; little-endian.
pub(super) fn encode_epoch(row: &EpochRow) -> (Vec<u8>, Vec<u8>) {
    let value = [&row.epoch.id.to_le_bytes()[..], &row.first_commit.to_le_bytes(), &row.time.encode()].concat();
    (row.epoch.ordinal.to_be_bytes().to_vec(), value)
}

fn decode_epoch(key: &[u8], value: &[u8]) -> Option<EpochRow> {
    let ordinal = u32::from_be_bytes(key.try_into().ok()?);
    let epoch = BootEpoch { ordinal, id: format::u64_at(value, 0) };
    let time = EpochTime::decode(value.get(16..)?);
    Some(EpochRow { epoch, first_commit: format::u64_at(value, 8), time })
}

/// The rows of these entries.
pub(super) fn decode_epochs(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<EpochRow> {
    entries.iter().filter_map(|(key, value)| decode_epoch(key, value)).collect()
}
