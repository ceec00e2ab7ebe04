//! Copies what survives of a run of sealed segments into one new file, commit by commit, keys kept.
//!
//! A copied commit has the number, epoch and time of the original, and those of its batches that survive; state entries
//! stay behind, for later snapshots contain them. A commit of which nothing survives leaves a gap in the numbers. Goes on
//! in steps of about [`STEP_BYTES`], each with a sync of its own, so that commits beside it never wait for long.
//!
//! Invariants: the originals are only read; each batch's checksum is verified as it is copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chunks::{Room, Stream};
use super::directory::encode_beginnings;
use super::format::{self, Entry, Stamps, StreamWriter};
use super::index::{BatchRef, SegmentIndex};
use super::read::Attempt;
use super::ring::Segment;
use super::segment::{Activation, Seal, SegmentError, SegmentFile};
use super::shared::Shared;
use super::types::{CommitSeq, PartitionId};
use crate::record::BatchView;

/// Bytes of batches that a step copies, about.
pub(super) const STEP_BYTES: usize = 1 << 20;

/// A copy that is being made.
pub(super) struct Copy {
    /// Ascending and adjacent.
    pub run: Vec<Arc<Segment>>,
    /// Where partitions begin in the copy; those that aren't named don't survive.
    starts: BTreeMap<PartitionId, i64>,
    file: SegmentFile,
    index: SegmentIndex,
    room: Room,
    /// Which of the run is being copied, and from which commit on.
    at: usize,
    next: CommitSeq,
    activated: bool,
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copy").field("file", &self.file).field("at", &self.at).finish_non_exhaustive()
    }
}

/// What a step brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    More,
    All,
}

impl Copy {
    /// Begins a copy of `run` into a blank file.
    pub(super) fn new(run: Vec<Arc<Segment>>, starts: BTreeMap<PartitionId, i64>, file: SegmentFile) -> Self {
        Self {
            run,
            starts,
            file,
            index: SegmentIndex::default(),
            room: Room::default(),
            at: 0,
            next: 0,
            activated: false,
        }
    }

    /// Bytes that the file occupies now.
    pub(super) fn allocated(&self) -> std::io::Result<u64> {
        self.file.file.allocated()
    }

    /// Copies the next commits.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<Copied, Attempt> {
        if !self.activated {
            self.activate(shared)?;
        }
        let Some(segment) = self.run.get(self.at).cloned() else { return Ok(Copied::All) };
        let (mut commits, mut bytes, mut ended) = (Vec::new(), 0, true);
        let (starts, mut next) = (&self.starts, self.next);
        shared.ring.with_file(&segment, |file| {
            file.commits(next, |seq, stream| {
                if bytes >= STEP_BYTES {
                    ended = false;
                    return Ok(false);
                }
                let survivors = survivors(&stream.bytes, starts);
                let survivors =
                    survivors.map_err(|what| SegmentError::damaged(format!("copying commit {seq}: {what}")))?;
                // What is only read counts as well, so that a step doesn't take long.
                bytes += stream.bytes.len() / 8;
                if let Some((writer, survived)) = survivors {
                    bytes += survived;
                    commits.push((seq, writer));
                }
                next = seq + 1;
                Ok(true)
            })
        })?;
        self.store(commits)?;
        self.next = next;
        if ended {
            (self.at, self.next) = (self.at + 1, 0);
        }
        Ok(if self.at < self.run.len() { Copied::More } else { Copied::All })
    }

    /// The first transaction: what every segment says of itself.
    fn activate(&mut self, shared: &Shared) -> Result<(), Attempt> {
        let (Some(first), Some(last)) = (self.run.first(), self.run.last()) else { return Err(Attempt::Again) };
        let beginnings = shared.ring.with_file(first, SegmentFile::beginnings)?;
        let known = beginnings.into_iter().filter(|(partition, _)| self.starts.contains_key(partition));
        let activation = Activation {
            format: shared.view().next_format(),
            incarnation: shared.incarnation,
            id: last.id.into(),
            first_commit: first.first_commit,
            hot: Vec::new(),
            cold: Vec::new(),
            begin: encode_beginnings(known),
        };
        self.file.activate_copy(&activation, first.covers_from)?;
        self.activated = true;
        Ok(())
    }

    fn store(&mut self, commits: Vec<(CommitSeq, StreamWriter)>) -> Result<(), SegmentError> {
        if commits.is_empty() { Ok(()) } else { append(&self.file, &mut self.index, &mut self.room, commits) }
    }

    /// Seals the copy and closes its file, which is synced then. Returns what it holds.
    pub(super) fn finish(self, seal: &Seal) -> Result<SegmentIndex, SegmentError> {
        self.file.seal(&self.index, seal)?;
        self.file.close()?;
        Ok(self.index)
    }
}

/// Appends commits to a copy, and enters their batches into its index.
pub(super) fn append(
    file: &SegmentFile,
    index: &mut SegmentIndex,
    room: &mut Room,
    commits: Vec<(CommitSeq, StreamWriter)>,
) -> Result<(), SegmentError> {
    let mut malformed = None;
    file.append_all(commits, room, |seq, stream| {
        if let Err(what) = note(index, seq, stream) {
            malformed = Some(what);
        }
    })?;
    malformed.map_or(Ok(()), |what| Err(SegmentError::damaged(what)))
}

/// Base offset of a batch, and the one behind it; `None` if it is malformed.
pub(super) fn offsets(batch: &[u8]) -> Option<(i64, i64)> {
    let (view, rest) = BatchView::parse(batch).ok()?;
    rest.is_empty().then(|| (view.base_offset(), view.next_offset()))
}

/// A commit with only the batches that survive, and their bytes; `None` if there are none.
fn survivors(
    bytes: &[u8],
    starts: &BTreeMap<PartitionId, i64>,
) -> Result<Option<(StreamWriter, usize)>, format::Malformed> {
    let (header, entries) = format::parse_stream(bytes)?;
    let mut writer = None;
    let mut survived = 0;
    for placed in entries {
        if let Entry::Batch { partition, made, bytes, .. } = placed?.entry
            && let Some(start) = starts.get(&partition)
        {
            let (batch, _) = BatchView::parse(bytes).map_err(|_| "a stored batch is malformed")?;
            if batch.next_offset() > *start {
                survived += bytes.len();
                writer.get_or_insert_with(|| StreamWriter::new(header, 0)).batch(partition, made, bytes);
            }
        }
    }
    Ok(writer.map(|writer| (writer, survived)))
}

/// Enters the batches of a copied commit into the index.
fn note(index: &mut SegmentIndex, seq: CommitSeq, stream: &Stream) -> Result<(), format::Malformed> {
    let (_, entries) = format::parse_stream(&stream.bytes)?;
    for placed in entries {
        let placed = placed?;
        if let Entry::Batch { partition, made, bytes, .. } = placed.entry {
            let (batch, _) = BatchView::parse(bytes).map_err(|_| "a stored batch is malformed")?;
            let location = stream.locate(seq, placed.position, placed.bytes);
            let (base_offset, next_offset) = (batch.base_offset(), batch.next_offset());
            index.push(
                partition,
                &BatchRef {
                    base_offset,
                    next_offset,
                    location,
                    max_timestamp: batch.max_timestamp(),
                    provisional: made.stamps == Stamps::Provisional,
                },
            );
        }
    }
    Ok(())
}
