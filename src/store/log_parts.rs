//! The log of a segment in parts: redb tables that each take a stretch of commits.
//!
//! A commit rewrites the path from the root of its tree to the leaf at the right edge. A part ends before its tree grows
//! a second level of branches, so that the path is one page above the leaf, however large the segment.
//!
//! A part is called `l` and the number of its first commit in hexadecimal. Parts don't overlap; a commit lies in the last
//! part that doesn't begin behind it.
//!
//! Invariant: there are at most [`PARTS_MAX`] parts, whose definitions fit into one page of redb's tree of tables; the
//! last one takes all that is left.

use redb::{TableDefinition, TableHandle};

use super::chunks::Stream;
use super::types::CommitSeq;

/// What fills a part: its root is one page, with 36 bytes for each leaf below it.
const PART_BYTES: usize = 104 * LEAF_BYTES;
const LEAF_BYTES: usize = 4_096;
const PARTS_MAX: usize = 32;

/// The parts of a segment, and how far the last one is filled.
#[derive(Debug, Default)]
pub(super) struct LogParts {
    /// First commits, ascending.
    starts: Vec<CommitSeq>,
    /// Leaves of the last part in use, in bytes, about; `None` if it isn't known, as after opening.
    filled: Option<usize>,
}

impl LogParts {
    /// The parts among the tables of a segment.
    pub(super) fn among(tables: impl Iterator<Item = impl TableHandle>) -> Self {
        let mut starts: Vec<CommitSeq> = tables.filter_map(|table| start(table.name())).collect();
        starts.sort_unstable();
        Self { starts, filled: None }
    }

    /// Whether the next commit begins a part.
    pub(super) fn is_full(&self) -> bool {
        self.starts.is_empty()
            || (self.starts.len() < PARTS_MAX && self.filled.is_none_or(|filled| filled >= PART_BYTES))
    }

    /// The part that the next commit goes to.
    pub(super) fn next(&self, seq: CommitSeq) -> CommitSeq {
        match self.starts.last() {
            Some(last) if !self.is_full() => *last,
            _ => seq,
        }
    }

    /// Notes that a commit was stored in [`LogParts::next`].
    pub(super) fn stored(&mut self, seq: CommitSeq, stream: &Stream) {
        if self.is_full() {
            self.starts.push(seq);
            self.filled = Some(0);
        }
        // A large chunk has pages of its own, which count as one leaf.
        let leaf = |chunk: &[u8]| if chunk.len() > LEAF_BYTES / 2 { LEAF_BYTES } else { chunk.len() };
        let bytes: usize = stream.chunks().map(leaf).sum();
        self.filled = self.filled.map(|filled| filled.saturating_add(bytes));
    }

    /// The parts that hold commits from `from` on, ascending.
    pub(super) fn from(&self, from: CommitSeq) -> &[CommitSeq] {
        let first = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        self.starts.get(first..).unwrap_or_default()
    }

    /// The part that holds a commit, if any does.
    pub(super) fn of(&self, seq: CommitSeq) -> Option<CommitSeq> {
        let after = self.starts.partition_point(|start| *start <= seq);
        self.starts.get(after.checked_sub(1)?).copied()
    }
}

/// The name of a part's table.
pub(super) fn name(start: CommitSeq) -> String {
    format!("l{start:x}")
}

/// Its definition.
pub(super) fn table(name: &str) -> TableDefinition<'_, (u64, u32), &'static [u8]> {
    TableDefinition::new(name)
}

fn start(name: &str) -> Option<CommitSeq> {
    let start = CommitSeq::from_str_radix(name.strip_prefix('l')?, 16).ok()?;
    (self::name(start) == name).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::super::chunks::Room;
    use super::super::format::tests::stream;
    use super::*;

    #[test]
    fn parts_end_when_they_are_full_and_are_few() {
        let mut parts = LogParts::default();
        let (large, _) = stream(&[65_472], Room::default());
        assert!(parts.is_full() && parts.of(1).is_none() && parts.from(0).is_empty());
        for seq in 7..100_000 {
            let next = parts.next(seq);
            assert_eq!(next == seq, parts.is_full(), "commit {seq}");
            parts.stored(seq, &large);
            assert_eq!(parts.of(seq), Some(next));
        }
        assert_eq!(parts.starts.len(), PARTS_MAX);
        let leaves = large.chunk_ends.len() as u64;
        let second = parts.starts[1];
        assert!((104 / leaves..=104).contains(&(second - 7)), "{second}");
        assert_eq!((parts.of(6), parts.of(second - 1), parts.of(second)), (None, Some(7), Some(second)));
        assert_eq!(parts.from(second + 1)[0], second);
        assert_eq!(parts.from(0).len(), PARTS_MAX);
    }

    #[test]
    fn opened_parts_are_found_by_their_names_and_not_gone_on_with() {
        let names = [name(0x1f), name(7), "log".to_owned(), "l01".to_owned(), "meta".to_owned()];
        let mut parts = LogParts { starts: names.iter().filter_map(|name| start(name)).collect(), filled: None };
        parts.starts.sort_unstable();
        assert_eq!(parts.starts, [7, 0x1f]);
        assert!(parts.is_full(), "how far the last one is filled isn't known");
        assert_eq!(parts.next(40), 40);
        assert_eq!(table(&name(40)).name(), "l28");
    }
}
