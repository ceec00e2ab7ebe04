//! Bytes of a commit: a stream of entries, cut into chunks that fill redb's pages.
//!
//! Format version 2. All numbers are little-endian. A commit is one stream of entries, back to back; the first is the
//! commit's header. Each entry is a 28-byte store header and its payload:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | CRC-32C of everything behind it: the rest of this header, then the payload |
//! | 4 | 4 | payload length |
//! | 8 | 1 | kind ([`Kind`]) |
//! | 9 | 1 | flags: bit 0 gateway-stamped (batch), bit 1 wall clock trusted (commit header), bits 2 and 3: the time wasn't known then, put together here (batch) |
//! | 10 | 1 | space number (put, delete), else 0 |
//! | 11 | 1 | 0 |
//! | 12 | 4 | partition (batch, partition entries), else 0 |
//! | 16 | 4 | boot epoch ordinal |
//! | 20 | 8 | monotonic append time, milliseconds |
//!
//! Payloads: commit header = commit number u64, epoch id u64, wall time ms i64, entries behind it u32, length of the
//! whole stream u32 · batch = a record batch v2 · put = key length u16, key, value · delete = key · partition created,
//! dropped = nothing · removed = reason u8, then per partition, ascending, as LEB128 numbers: its id less the one
//! before, log start, records, bytes.
//!
//! Order in a stream: created partitions, batches by partition and offset, puts and deletes by space and key, removed
//! by reason, dropped partitions. So it can be replayed from front to back.
//!
//! The stream is stored in chunks: see [`super::chunks`].

mod intact;

use super::chunks::{Room, Stream, cut};
use super::intervals::{put_leb128, take_leb128};
use super::status::LossReason;
use super::types::{CommitSeq, PartitionId, Removed, Space, Stamp};
use crate::record::header;

pub(super) use intact::{Intact, intact};

/// Bytes of an entry before its payload.
pub(super) const ENTRY_HEADER_BYTES: usize = 28;
/// Bytes of the commit header's payload.
const COMMIT_PAYLOAD_BYTES: usize = 32;
const FLAG_GATEWAY_STAMPED: u8 = 1;
const FLAG_WALL_TRUSTED: u8 = 2;
const FLAG_PROVISIONAL: u8 = 4;
/// The batch was put together here out of single records.
const FLAG_GATHERED: u8 = 8;

/// What an entry is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Commit = 0,
    Batch = 1,
    Put = 2,
    Delete = 3,
    PartitionCreated = 4,
    PartitionDropped = 5,
    Removed = 6,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Commit,
            1 => Self::Batch,
            2 => Self::Put,
            3 => Self::Delete,
            4 => Self::PartitionCreated,
            5 => Self::PartitionDropped,
            6 => Self::Removed,
            _ => return None,
        })
    }
}

/// The header of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitHeader {
    pub seq: CommitSeq,
    pub epoch_ordinal: u32,
    pub epoch_id: u64,
    pub stamp: Stamp,
}

/// Whose time a batch's records bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamps {
    Producer,
    Gateway,
    /// The gateway's, before it knew the time: see `epoch_time`.
    Provisional,
}

/// How a batch came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub stamps: Stamps,
    /// Put together here out of single records.
    pub gathered: bool,
}

/// An entry of a stream, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Batch {
        partition: PartitionId,
        made: Made,
        epoch: u32,
        bytes: &'a [u8],
    },
    Put {
        space: Space,
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        space: Space,
        key: &'a [u8],
    },
    PartitionCreated(PartitionId),
    PartitionDropped(PartitionId),
    /// What went from the partitions in `rows`; see [`removals`].
    Removed {
        reason: LossReason,
        rows: &'a [u8],
    },
}

/// That records were taken away from a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    pub partition: PartitionId,
    /// Where it begins from then on; as before if what went lay behind.
    pub log_start: i64,
    pub what: Removed,
}

/// The rows of [`Entry::Removed`].
pub(super) fn removals(rows: &[u8]) -> impl Iterator<Item = Result<Removal, Malformed>> {
    let (mut rows, mut before) = (rows, 0u32);
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let removal = take_removal(&mut rows, before);
        match &removal {
            Some(removal) => before = removal.partition.0,
            None => rows = &[],
        }
        Some(removal.ok_or("a removal is malformed"))
    })
}

fn take_removal(rows: &mut &[u8], before: u32) -> Option<Removal> {
    let mut number = || take_leb128(rows).ok();
    let partition = before.checked_add(number()?.try_into().ok()?)?;
    let log_start = i64::try_from(number()?).ok()?;
    let what = Removed { records: number()?, bytes: number()? };
    Some(Removal { partition: PartitionId(partition), log_start, what })
}

/// Puts a stream together.
#[derive(Debug)]
pub(super) struct StreamWriter {
    header: CommitHeader,
    bytes: Vec<u8>,
    /// Where each entry starts.
    starts: Vec<usize>,
}

impl StreamWriter {
    /// Begins a commit. `capacity` is a guess of the stream's length.
    pub(super) fn new(header: CommitHeader, capacity: usize) -> Self {
        let mut writer = Self { header, bytes: Vec::with_capacity(capacity + 256), starts: Vec::new() };
        writer.entry(Kind::Commit, 0, 0, 0, &[&[0; COMMIT_PAYLOAD_BYTES]]);
        writer
    }

    /// Adds a batch as it is; returns the position of its entry and the entry's length.
    pub(super) fn batch(&mut self, partition: PartitionId, made: Made, batch: &[u8]) -> (usize, usize) {
        let at = self.bytes.len();
        self.entry(Kind::Batch, flags_of(made), 0, partition.0, &[batch]);
        (at, self.bytes.len() - at)
    }

    /// Adds a new batch, with this base offset and the commit's epoch as leader epoch.
    pub(super) fn append(&mut self, partition: PartitionId, made: Made, batch: &[u8], base_offset: i64) {
        let at = self.begin(Kind::Batch, flags_of(made), 0, partition.0);
        self.bytes.extend_from_slice(batch);
        if let Some(batch) = self.bytes.get_mut(at + ENTRY_HEADER_BYTES..) {
            header::set_base_offset(batch, base_offset);
            header::set_leader_epoch(batch, self.header.epoch_ordinal as i32);
        }
        self.end(at);
    }

    pub(super) fn put(&mut self, space: Space, key: &[u8], value: &[u8]) {
        self.entry(Kind::Put, 0, space.number(), 0, &[&(key.len() as u16).to_le_bytes(), key, value]);
    }

    pub(super) fn delete(&mut self, space: Space, key: &[u8]) {
        self.entry(Kind::Delete, 0, space.number(), 0, &[key]);
    }

    pub(super) fn partition_created(&mut self, partition: PartitionId) {
        self.entry(Kind::PartitionCreated, 0, 0, partition.0, &[]);
    }

    pub(super) fn partition_dropped(&mut self, partition: PartitionId) {
        self.entry(Kind::PartitionDropped, 0, 0, partition.0, &[]);
    }

    /// Says what went for a reason; by partition, ascending.
    pub(super) fn removed(&mut self, reason: LossReason, removals: &[Removal]) {
        let mut payload = vec![reason.number()];
        let mut before = 0;
        for removal in removals {
            put_leb128(&mut payload, (removal.partition.0 - before).into());
            put_leb128(&mut payload, removal.log_start as u64);
            put_leb128(&mut payload, removal.what.records);
            put_leb128(&mut payload, removal.what.bytes);
            before = removal.partition.0;
        }
        self.entry(Kind::Removed, 0, 0, 0, &[&payload]);
    }

    /// As [`StreamWriter::removed`], of the rows of another commit.
    pub(super) fn removed_as(&mut self, reason: LossReason, rows: &[u8]) {
        self.entry(Kind::Removed, 0, 0, 0, &[&[reason.number()], rows]);
    }

    /// Completes the header and cuts the chunks, for a log whose last page has this much room.
    pub(super) fn finish(mut self, room: Room) -> Stream {
        let header = self.header;
        let mut payload = Vec::with_capacity(COMMIT_PAYLOAD_BYTES);
        payload.extend_from_slice(&header.seq.to_le_bytes());
        payload.extend_from_slice(&header.epoch_id.to_le_bytes());
        payload.extend_from_slice(&header.stamp.wall_ms.to_le_bytes());
        payload.extend_from_slice(&(self.starts.len() as u32 - 1).to_le_bytes());
        payload.extend_from_slice(&(self.bytes.len() as u32).to_le_bytes());
        let entries = std::mem::take(&mut self.bytes);
        let flags = if header.stamp.wall_trusted { FLAG_WALL_TRUSTED } else { 0 };
        self.bytes = Vec::with_capacity(ENTRY_HEADER_BYTES + COMMIT_PAYLOAD_BYTES);
        self.entry(Kind::Commit, flags, 0, 0, &[&payload]);
        let head = std::mem::replace(&mut self.bytes, entries);
        self.starts.pop();
        if let Some(place) = self.bytes.get_mut(..head.len()) {
            place.copy_from_slice(&head);
        }
        let chunk_ends = cut(&self.starts, self.bytes.len(), room);
        Stream { bytes: self.bytes.into(), chunk_ends }
    }

    fn entry(&mut self, kind: Kind, flags: u8, space: u8, partition: u32, payload: &[&[u8]]) {
        let at = self.begin(kind, flags, space, partition);
        payload.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.end(at);
    }

    /// Begins an entry: its payload follows. Where it lies.
    fn begin(&mut self, kind: Kind, flags: u8, space: u8, partition: u32) -> usize {
        let at = self.bytes.len();
        self.starts.push(at);
        // Checksum and length are known at its end.
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(&[kind as u8, flags, space, 0]);
        self.bytes.extend_from_slice(&partition.to_le_bytes());
        self.bytes.extend_from_slice(&self.header.epoch_ordinal.to_le_bytes());
        self.bytes.extend_from_slice(&self.header.stamp.mono_ms.to_le_bytes());
        at
    }

    /// Completes the entry that began at `at`.
    fn end(&mut self, at: usize) {
        let length = (self.bytes.len() - at - ENTRY_HEADER_BYTES) as u32;
        self.patch(at + 4, length);
        let crc = crc32c::crc32c(self.bytes.get(at + 4..).unwrap_or_default());
        self.patch(at, crc);
    }

    fn patch(&mut self, at: usize, value: u32) {
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
}

fn flags_of(made: Made) -> u8 {
    let gathered = if made.gathered { FLAG_GATHERED } else { 0 };
    let stamps = match made.stamps {
        Stamps::Producer => 0,
        Stamps::Gateway => FLAG_GATEWAY_STAMPED,
        Stamps::Provisional => FLAG_GATEWAY_STAMPED | FLAG_PROVISIONAL,
    };
    stamps | gathered
}

/// Why bytes aren't a stream.
pub(super) type Malformed = &'static str;

/// Reads the header and checks the frame of a whole stream; entries are checked as they are read.
pub(super) fn parse_stream(bytes: &[u8]) -> Result<(CommitHeader, EntryReader<'_>), Malformed> {
    parse(bytes, Checksums::Verify)
}

/// As [`parse_stream`], of a stream that was put together just now: its checksums need no look.
pub(super) fn parse_own_stream(bytes: &[u8]) -> Result<(CommitHeader, EntryReader<'_>), Malformed> {
    parse(bytes, Checksums::Trust)
}

/// Bytes of the batches in a stream.
pub(super) fn batch_bytes(stream: &[u8]) -> usize {
    let of = |entry: Entry<'_>| if let Entry::Batch { bytes, .. } = entry { bytes.len() } else { 0 };
    parse_own_stream(stream)
        .map_or(0, |(_, entries)| entries.map_while(Result::ok).map(|placed| of(placed.entry)).sum())
}

/// Whether the checksums of entries are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksums {
    Verify,
    Trust,
}

fn parse(bytes: &[u8], checksums: Checksums) -> Result<(CommitHeader, EntryReader<'_>), Malformed> {
    let (raw, rest) = take_entry(bytes, checksums)?;
    let (header, entries_left, length) = commit_header(&raw)?;
    if length != bytes.len() {
        return Err("a commit's length differs from its header");
    }
    Ok((header, EntryReader { rest, position: bytes.len() - rest.len(), entries_left, checksums }))
}

fn commit_header(raw: &RawEntry<'_>) -> Result<(CommitHeader, u32, usize), Malformed> {
    if raw.kind != Kind::Commit || raw.payload.len() != COMMIT_PAYLOAD_BYTES {
        return Err("a commit does not begin with its header");
    }
    let header = CommitHeader {
        seq: u64_at(raw.payload, 0),
        epoch_ordinal: raw.epoch,
        epoch_id: u64_at(raw.payload, 8),
        stamp: Stamp {
            mono_ms: raw.mono_ms,
            wall_ms: u64_at(raw.payload, 16) as i64,
            wall_trusted: raw.flags & FLAG_WALL_TRUSTED != 0,
        },
    };
    Ok((header, u32_at(raw.payload, 24), u32_at(raw.payload, 28) as usize))
}

/// The entries of a stream behind its header.
#[derive(Debug)]
pub(super) struct EntryReader<'a> {
    rest: &'a [u8],
    position: usize,
    entries_left: u32,
    checksums: Checksums,
}

/// An entry and where it lies in the stream.
#[derive(Debug)]
pub(super) struct PlacedEntry<'a> {
    pub entry: Entry<'a>,
    pub position: usize,
    pub bytes: usize,
}

impl<'a> Iterator for EntryReader<'a> {
    type Item = Result<PlacedEntry<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.entries_left == 0 {
            return None;
        }
        let read = take_entry(self.rest, self.checksums).and_then(|(raw, rest)| {
            let left = self.entries_left.checked_sub(1).ok_or("a commit has more entries than its header says")?;
            Ok((raw.decode()?, rest, left))
        });
        Some(match read {
            Ok((entry, rest, left)) => {
                let (position, bytes) = (self.position, self.rest.len() - rest.len());
                *self = Self { rest, position: position + bytes, entries_left: left, ..*self };
                Ok(PlacedEntry { entry, position, bytes })
            }
            Err(error) => {
                *self = Self { rest: &[], entries_left: 0, ..*self };
                Err(error)
            }
        })
    }
}

/// Checks one whole entry, as read through an index, and returns the batch in it.
pub(super) fn parse_batch_entry(bytes: &[u8], partition: PartitionId) -> Result<&[u8], Malformed> {
    let (raw, rest) = take_entry(bytes, Checksums::Verify)?;
    match raw.decode()? {
        Entry::Batch { partition: found, bytes, .. } if found == partition && rest.is_empty() => Ok(bytes),
        _ => Err("the index points at something that is not the batch"),
    }
}

struct RawEntry<'a> {
    kind: Kind,
    flags: u8,
    space: u8,
    partition: u32,
    epoch: u32,
    mono_ms: u64,
    payload: &'a [u8],
}

impl<'a> RawEntry<'a> {
    fn decode(&self) -> Result<Entry<'a>, Malformed> {
        let partition = PartitionId(self.partition);
        let space = || Space::from_number(self.space).ok_or("an entry of an unknown space");
        Ok(match self.kind {
            Kind::Commit => return Err("a commit header inside a commit"),
            Kind::Batch => Entry::Batch {
                partition,
                made: Made {
                    stamps: match (self.flags & FLAG_GATEWAY_STAMPED, self.flags & FLAG_PROVISIONAL) {
                        (0, _) => Stamps::Producer,
                        (_, 0) => Stamps::Gateway,
                        _ => Stamps::Provisional,
                    },
                    gathered: self.flags & FLAG_GATHERED != 0,
                },
                epoch: self.epoch,
                bytes: self.payload,
            },
            Kind::Put => {
                let short = "a put is shorter than its key";
                let (length, rest) = self.payload.split_first_chunk().ok_or(short)?;
                let (key, value) = rest.split_at_checked(u16::from_le_bytes(*length).into()).ok_or(short)?;
                Entry::Put { space: space()?, key, value }
            }
            Kind::Delete => Entry::Delete { space: space()?, key: self.payload },
            Kind::PartitionCreated => Entry::PartitionCreated(partition),
            Kind::PartitionDropped => Entry::PartitionDropped(partition),
            Kind::Removed => {
                let (reason, rows) = self.payload.split_first().ok_or("a removal without a reason")?;
                let reason = LossReason::from_number(*reason).ok_or("a removal for an unknown reason")?;
                Entry::Removed { reason, rows }
            }
        })
    }
}

/// Takes one entry off the front and checks its CRC, if that is asked for.
fn take_entry(bytes: &[u8], checksums: Checksums) -> Result<(RawEntry<'_>, &[u8]), Malformed> {
    let short = "an entry is cut off";
    let (header, rest) = bytes.split_first_chunk::<ENTRY_HEADER_BYTES>().ok_or(short)?;
    let (payload, rest) = rest.split_at_checked(u32_at(header, 4) as usize).ok_or(short)?;
    let crc = || crc32c::crc32c_append(crc32c::crc32c(header.get(4..).unwrap_or_default()), payload);
    if checksums == Checksums::Verify && crc() != u32_at(header, 0) {
        return Err("an entry fails its checksum");
    }
    let [kind, flags, space, _] = u32_at(header, 8).to_le_bytes();
    let raw = RawEntry {
        kind: Kind::from_number(kind).ok_or("an entry of an unknown kind")?,
        flags,
        space,
        partition: u32_at(header, 12),
        epoch: u32_at(header, 16),
        mono_ms: u64_at(header, 20),
        payload,
    };
    Ok((raw, rest))
}

/// A number inside bytes whose length was checked; 0 beyond them.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |raw| u32::from_le_bytes(*raw))
}

/// A number inside bytes whose length was checked; 0 beyond them.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |raw| u64::from_le_bytes(*raw))
}

#[cfg(test)]
pub(super) mod tests;
