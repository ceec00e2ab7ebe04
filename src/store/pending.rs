//! The changes of the open commit, how to undo those of one operation, and their form as a stream.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::chunks::{CHUNK_BYTES, Room, Stream};
use super::format::{CommitHeader, ENTRY_HEADER_BYTES, Made, Removal, Stamps, StreamWriter};
use super::heads::add_removed;
use super::status::{LossEntry, LossReason};
use super::types::{Operation, PartitionId, Removed, Space};
use super::view::View;
use crate::record::{BatchBuilder, BatchError, Compression, Mark, Producer, SharedBytes};

/// A gathered batch is closed before it outgrows one chunk.
const GATHER_BYTES_MAX: usize = CHUNK_BYTES[0] - ENTRY_HEADER_BYTES;
/// Smaller batches aren't compressed: what they would save is less than what a page rounds up.
const COMPRESS_BYTES_MIN: usize = 512;

/// Changed rows; `None` is deleted.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The open commit.
#[derive(Default)]
pub(super) struct Pending {
    /// Who is told of the outcome, in order.
    pub ops: Vec<Box<dyn Operation>>,
    partitions: BTreeMap<PartitionId, PendingPartition>,
    state: BTreeMap<Space, Rows>,
    /// Rows of producers as the batches of this commit make them: no entry of it, see `producers.rs`.
    producers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// By how much the state grows.
    pub state_growth: i64,
    /// About the length of the stream.
    pub bytes: usize,
    /// What is lost by it, for the one who tells of losses.
    pub losses: Vec<LossEntry>,
    undo: Undo,
}

/// What the operation being applied found where it made changes.
#[derive(Default)]
struct Undo {
    partitions: BTreeMap<PartitionId, Option<Saved>>,
    rows: Vec<SavedRow>,
    /// Producers' rows, each as it was.
    producers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    state_growth: i64,
    bytes: usize,
    losses: usize,
}

struct SavedRow {
    space: Space,
    key: Vec<u8>,
    /// The change that was there, if any.
    before: Option<Option<Vec<u8>>>,
}

struct Saved {
    flags: Flags,
    log_start: i64,
    next_offset: i64,
    removed: Vec<(LossReason, Removed)>,
    batches: usize,
    /// Where the last batch stood, if it was still gathering.
    gathered: Option<Mark>,
}

/// The changes of a partition.
#[derive(Debug, Default)]
pub(super) struct PendingPartition {
    pub flags: Flags,
    pub log_start: i64,
    pub next_offset: i64,
    /// What this commit takes away, by reason, ascending.
    pub removed: Vec<(LossReason, Removed)>,
    batches: Vec<PendingBatch>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    pub created: bool,
    pub dropped: bool,
}

#[derive(Debug)]
enum PendingBatch {
    /// As it came: the stream gets it with its base offset and leader epoch.
    Whole { bytes: SharedBytes, base_offset: i64, stamps: Stamps },
    /// Put together out of single records; the last of a partition still takes some.
    Gathered { builder: BatchBuilder, base_offset: i64, stamps: Stamps },
}

/// A record to be gathered.
pub(super) struct NewRecord<'a> {
    pub timestamp_ms: i64,
    pub stamps: Stamps,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl PendingPartition {
    pub(super) fn push_batch(&mut self, bytes: SharedBytes, stamps: Stamps, next_offset: i64) {
        self.batches.push(PendingBatch::Whole { bytes, base_offset: self.next_offset, stamps });
        self.next_offset = next_offset;
    }

    /// Adds a record to the gathering batch, or begins one; whether it began one.
    pub(super) fn push_record(&mut self, record: &NewRecord<'_>, next_offset: i64) -> Result<bool, BatchError> {
        let NewRecord { timestamp_ms, key, value, .. } = *record;
        let headers = || record.headers.iter().copied();
        if let Some(PendingBatch::Gathered { builder, stamps, .. }) = self.batches.last_mut()
            && *stamps == record.stamps
            && builder.size_with(timestamp_ms, key, value, headers()).is_ok_and(|size| size <= GATHER_BYTES_MAX)
        {
            builder.push(timestamp_ms, key, value, headers())?;
            self.next_offset = next_offset;
            return Ok(false);
        }
        let mut builder = BatchBuilder::new();
        builder.push(timestamp_ms, key, value, headers())?;
        let (base_offset, stamps) = (self.next_offset, record.stamps);
        self.batches.push(PendingBatch::Gathered { builder, base_offset, stamps });
        self.next_offset = next_offset;
        Ok(true)
    }

    /// Takes records away; the partition begins at `log_start` then.
    pub(super) fn remove(&mut self, reason: LossReason, log_start: i64, what: Removed) {
        add_removed(&mut self.removed, reason, what);
        self.log_start = log_start;
    }

    fn save(&self) -> Saved {
        let gathered = match self.batches.last() {
            Some(PendingBatch::Gathered { builder, .. }) => Some(builder.mark()),
            _ => None,
        };
        Saved {
            flags: self.flags,
            log_start: self.log_start,
            next_offset: self.next_offset,
            removed: self.removed.clone(),
            batches: self.batches.len(),
            gathered,
        }
    }

    fn restore(&mut self, saved: &Saved) {
        self.flags = saved.flags;
        self.log_start = saved.log_start;
        self.next_offset = saved.next_offset;
        self.removed.clone_from(&saved.removed);
        self.batches.truncate(saved.batches);
        if let (Some(PendingBatch::Gathered { builder, .. }), Some(mark)) = (self.batches.last_mut(), saved.gathered) {
            builder.rewind(mark);
        }
    }
}

impl Pending {
    /// Remembers how things stand before an operation.
    pub(super) fn begin_operation(&mut self) {
        self.undo =
            Undo { state_growth: self.state_growth, bytes: self.bytes, losses: self.losses.len(), ..Undo::default() };
    }

    /// Undoes what was changed since.
    pub(super) fn undo_operation(&mut self) {
        let undo = std::mem::take(&mut self.undo);
        for (id, saved) in undo.partitions {
            match (saved, self.partitions.get_mut(&id)) {
                (Some(saved), Some(partition)) => partition.restore(&saved),
                _ => drop(self.partitions.remove(&id)),
            }
        }
        // The first remembered of a row is the one to return to.
        for SavedRow { space, key, before } in undo.rows.into_iter().rev() {
            let rows = self.state.entry(space).or_default();
            match before {
                Some(before) => rows.insert(key, before),
                None => rows.remove(&key),
            };
        }
        for (key, before) in undo.producers.into_iter().rev() {
            match before {
                Some(before) => self.producers.insert(key, before),
                None => self.producers.remove(&key),
            };
        }
        self.state_growth = undo.state_growth;
        self.bytes = undo.bytes;
        self.losses.truncate(undo.losses);
    }

    pub(super) fn partition(&self, id: PartitionId) -> Option<&PendingPartition> {
        self.partitions.get(&id)
    }

    /// The pending side of a partition, to change it; as committed if there are no changes yet. `None` if there is no
    /// such partition.
    pub(super) fn partition_mut(&mut self, view: &View, id: PartitionId) -> Option<&mut PendingPartition> {
        let entry = self.partitions.entry(id);
        if let Entry::Vacant(_) = &entry
            && !view.partitions.contains_key(&id)
        {
            return None;
        }
        let undo = self.undo.partitions.entry(id);
        let partition = match entry {
            Entry::Occupied(entry) => {
                undo.or_insert_with(|| Some(entry.get().save()));
                entry.into_mut()
            }
            Entry::Vacant(entry) => {
                let head = view.partitions.get(&id)?;
                undo.or_insert(None);
                let (log_start, next_offset) = (head.log_start, head.next_offset);
                entry.insert(PendingPartition { log_start, next_offset, ..PendingPartition::default() })
            }
        };
        (!partition.flags.dropped).then_some(partition)
    }

    pub(super) fn create_partition(&mut self, id: PartitionId) {
        self.undo.partitions.entry(id).or_insert(None);
        let flags = Flags { created: true, ..Flags::default() };
        self.partitions.insert(id, PendingPartition { flags, ..PendingPartition::default() });
    }

    /// The changed rows of a space.
    pub(super) fn rows(&self, space: Space) -> Option<&Rows> {
        self.state.get(&space)
    }

    pub(super) fn set_row(&mut self, space: Space, key: &[u8], value: Option<&[u8]>) {
        let rows = self.state.entry(space).or_default();
        let before = rows.insert(key.to_vec(), value.map(<[u8]>::to_vec));
        self.undo.rows.push(SavedRow { space, key: key.to_vec(), before });
    }

    /// The producers' rows that follow from the batches of this commit.
    pub(super) fn producers(&self) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.producers
    }

    pub(super) fn set_producer(&mut self, key: &[u8], row: Vec<u8>) {
        let before = self.producers.insert(key.to_vec(), row);
        self.undo.producers.push((key.to_vec(), before));
    }

    /// Whether there is nothing to store.
    pub(super) fn is_unchanged(&self) -> bool {
        let untouched =
            |p: &PendingPartition| p.flags == Flags::default() && p.batches.is_empty() && p.removed.is_empty();
        self.state.values().all(BTreeMap::is_empty) && self.partitions.values().all(untouched)
    }

    /// What goes, by reason and by partition.
    fn removals(&self) -> BTreeMap<LossReason, Vec<Removal>> {
        let mut by_reason: BTreeMap<LossReason, Vec<Removal>> = BTreeMap::new();
        for (&partition, pending) in self.partitions.iter().filter(|(_, p)| !p.flags.dropped) {
            for &(reason, what) in &pending.removed {
                let removal = Removal { partition, log_start: pending.log_start, what };
                by_reason.entry(reason).or_default().push(removal);
            }
        }
        by_reason
    }

    /// Whether it drops a partition.
    pub(super) fn drops(&self) -> bool {
        self.partitions.values().any(|partition| partition.flags.dropped)
    }

    /// Its stream, in the order that can be replayed.
    pub(super) fn encode(&mut self, header: CommitHeader, room: Room, compression: Compression) -> Stream {
        let mut out = StreamWriter::new(header, self.bytes);
        let mut compress = Compress { codec: compression, buffer: Vec::new() };
        for (&id, _) in self.partitions.iter().filter(|(_, p)| p.flags.created) {
            out.partition_created(id);
        }
        for (&id, partition) in self.partitions.iter_mut().filter(|(_, p)| !p.flags.dropped) {
            for batch in &mut partition.batches {
                batch.write(id, &mut compress, &mut out);
            }
        }
        for (&space, rows) in &self.state {
            for (key, value) in rows {
                match value {
                    Some(value) => out.put(space, key, value),
                    None => out.delete(space, key),
                }
            }
        }
        for (reason, removals) in self.removals() {
            out.removed(reason, &removals);
        }
        for (&id, _) in self.partitions.iter().filter(|(_, p)| p.flags.dropped) {
            out.partition_dropped(id);
        }
        out.finish(room)
    }
}

/// How gathered batches are compressed: in one buffer, one after the other.
struct Compress {
    codec: Compression,
    buffer: Vec<u8>,
}

impl PendingBatch {
    fn write(&mut self, partition: PartitionId, compress: &mut Compress, out: &mut StreamWriter) {
        match self {
            Self::Whole { bytes, base_offset, stamps } => {
                out.append(partition, Made { stamps: *stamps, gathered: false }, bytes, *base_offset);
            }
            Self::Gathered { builder, base_offset, stamps } => {
                let bytes = if compress.codec == Compression::None || builder.size() < COMPRESS_BYTES_MIN {
                    builder.seal(Producer::NONE)
                } else {
                    compress.buffer.clear();
                    builder.finish_into(compress.codec, Producer::NONE, &mut compress.buffer);
                    &mut compress.buffer
                };
                out.append(partition, Made { stamps: *stamps, gathered: true }, bytes, *base_offset);
            }
        }
    }
}
