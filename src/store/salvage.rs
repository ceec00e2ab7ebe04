//! What lies in a segment that redb can't read any more: its log's chunks, found page by page, and the entries in them that are intact.
//!
//! Whatever page is damaged, the others are as they were: a leaf of the log tells by its keys which chunks of which commits it holds,
//! and each entry has a checksum of its own. redb's trees aren't needed, so damage to one of their branches, to the header or to a table
//! that isn't the log's loses nothing here. Of a leaf that was written again an older copy may lie somewhere: chunks never change, so
//! it says the same; where two differ (a commit that a crash took back, and the one that got its number), the one that is whole and
//! of the later epoch counts.
//!
//! Invariants: only what passes its own checksum is taken; a page that can't be read is one that is damaged; memory is a commit's, and
//! 24 bytes a chunk.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Range;
use std::sync::Arc;

use super::backend::{PAGE_BYTES, PAGE_ORDER_MAX};
use super::chunks::CHUNK_BYTES;
use super::disk::DiskFile;
use super::format::{self, CommitHeader, Intact, u32_at, u64_at};
use super::pages::Leaf;
use super::types::CommitSeq;

/// Bytes of a key in the log: commit u64, chunk u32.
const KEY_BYTES: usize = 12;
/// Chunks that a commit may have, far above all that do.
const CHUNKS_MAX: u32 = 1 << 16;
/// Ways in which a commit's chunks are put together, where there are several.
const WAYS_MAX: usize = 64;

/// Where the copies of a chunk lie in the file: offset, length.
type Copies = Vec<(u64, u32)>;

/// The chunks of a log, by commit.
#[derive(Debug)]
pub(super) struct Salvage {
    file: Arc<dyn DiskFile>,
    chunks: Peekable<btree_map::IntoIter<(CommitSeq, u32), Copies>>,
}

/// What is left of a commit.
#[derive(Debug)]
pub(super) struct Remains {
    pub seq: CommitSeq,
    /// Runs of bytes, each without a gap.
    pub runs: Vec<Vec<u8>>,
    /// All of it is there.
    pub whole: bool,
}

impl Salvage {
    /// Looks for the chunks of these commits.
    ///
    /// # Errors
    /// If the file's length can't be told.
    pub(super) fn new(file: Arc<dyn DiskFile>, commits: Range<CommitSeq>) -> std::io::Result<Self> {
        let len = file.len()?;
        let mut chunks: BTreeMap<(CommitSeq, u32), Copies> = BTreeMap::new();
        let mut page = Vec::new();
        for offset in (PAGE_BYTES..len).step_by(PAGE_BYTES as usize) {
            read_leaf(&*file, offset, len, &mut page);
            let Some(leaf) = Leaf::parse(&page, Some(KEY_BYTES)) else { continue };
            let mut last = None;
            for (key, value) in leaf.pairs() {
                let key = (u64_at(key, 0), u32_at(key, 8));
                let bytes = value.len();
                let fits = commits.contains(&key.0) && key.1 < CHUNKS_MAX && (1..=CHUNK_BYTES[0]).contains(&bytes);
                if !fits || last.is_some_and(|last| last >= key) {
                    break;
                }
                last = Some(key);
                let at = value.as_ptr().addr() - page.as_ptr().addr();
                chunks.entry(key).or_default().push((offset + at as u64, bytes as u32));
            }
        }
        Ok(Self { file, chunks: chunks.into_iter().peekable() })
    }

    /// The ways to put the next commit together: of each chunk one copy; `None` where there is none.
    fn commit(&mut self, seq: CommitSeq) -> Vec<Vec<Option<Vec<u8>>>> {
        let mut ways: Vec<Vec<Option<Vec<u8>>>> = vec![Vec::new()];
        while let Some(((_, chunk), copies)) = self.chunks.next_if(|((at, _), _)| *at == seq) {
            let mut contents: Vec<Vec<u8>> = Vec::new();
            for (offset, bytes) in copies {
                let mut content = vec![0; bytes as usize];
                if self.file.read_at(offset, &mut content).is_ok() && !contents.contains(&content) {
                    contents.push(content);
                }
            }
            for way in &mut ways {
                way.resize(chunk as usize, None);
            }
            if ways.len() * contents.len() > WAYS_MAX {
                contents.truncate(1);
            }
            let with = |content: &Vec<u8>| {
                let more = |way: &Vec<Option<Vec<u8>>>| [way.as_slice(), &[Some(content.clone())]].concat();
                ways.iter().map(more).collect::<Vec<_>>()
            };
            if !contents.is_empty() {
                ways = contents.iter().flat_map(with).collect();
            }
        }
        ways
    }
}

impl Iterator for Salvage {
    type Item = Remains;

    fn next(&mut self) -> Option<Remains> {
        let seq = self.chunks.peek()?.0.0;
        let remains = |chunks: Vec<Option<Vec<u8>>>| {
            let mut runs: Vec<Vec<u8>> = vec![Vec::new()];
            for chunk in chunks {
                match (chunk, runs.last_mut()) {
                    (Some(chunk), Some(run)) => run.extend_from_slice(&chunk),
                    (None, Some(run)) if run.is_empty() => {}
                    _ => runs.push(Vec::new()),
                }
            }
            let whole = matches!(runs.as_slice(), [run] if is_whole(seq, run));
            Remains { seq, runs, whole }
        };
        self.commit(seq).into_iter().map(remains).max_by_key(Remains::worth)
    }
}

impl Remains {
    /// Its header, if that is intact.
    pub(super) fn header(&self) -> Option<CommitHeader> {
        self.entries().find_map(|entry| entry.header).filter(|header| header.seq == self.seq)
    }

    /// Its entries that are intact, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Intact<'_>> {
        self.runs.iter().flat_map(|run| format::intact(run))
    }

    fn worth(&self) -> (bool, u32, usize) {
        (self.whole, self.header().map_or(0, |header| header.epoch_ordinal), self.entries().count())
    }
}

fn is_whole(seq: CommitSeq, run: &[u8]) -> bool {
    let parsed = format::parse_stream(run);
    parsed.is_ok_and(|(header, mut entries)| header.seq == seq && entries.all(|entry| entry.is_ok()))
}

/// Reads what may be a leaf there, as much of it as there is. A page that can't be read gives zeroes.
fn read_leaf(file: &dyn DiskFile, offset: u64, len: u64, out: &mut Vec<u8>) {
    out.clear();
    let mut wanted = PAGE_BYTES;
    while (out.len() as u64) < wanted {
        let from = out.len();
        let at = offset + from as u64;
        let bytes = PAGE_BYTES.min(len.saturating_sub(at)) as usize;
        out.resize(from + bytes, 0);
        if bytes == 0 {
            return;
        }
        if let Some(page) = out.get_mut(from..)
            && file.read_at(at, page).is_err()
        {
            page.fill(0);
        }
        if from == 0 {
            let pairs = (u32_at(out, 0) >> 16) as usize;
            let end = if out.first() == Some(&1) && pairs > 0 { u64::from(u32_at(out, 4 * pairs)) } else { 0 };
            wanted = end.clamp(PAGE_BYTES, PAGE_BYTES << PAGE_ORDER_MAX);
        }
    }
}
