//! The keyed state: one ordered map per space, in memory, which is the truth while the store is open.
//!
//! What makes it durable is elsewhere: puts and deletes are entries of commits, and the state as of a segment's first
//! commit is in that segment (the spaces that fit, see [`State::hot_spaces`]) or in `state.redb` (the others).
//!
//! Encoded for a snapshot, a space is its rows by key: key length u16, value length u32, key, value; little-endian.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::format::{Malformed, u32_at};
use super::types::Space;

/// Bytes that a row is counted with besides its key and value: what it costs in a snapshot.
pub(super) const ROW_BYTES: u64 = 6;
/// Longest key.
pub(super) const KEY_BYTES_MAX: usize = 1_024;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// All spaces.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    spaces: BTreeMap<Space, SpaceState>,
}

#[derive(Clone, Debug, Default)]
struct SpaceState {
    rows: Rows,
    bytes: u64,
    /// Keys changed since `state.redb` was last told; only of cold spaces.
    dirty: Option<BTreeSet<Vec<u8>>>,
    /// What those rows had when they were changed, at most.
    dirty_bytes: u64,
}

/// A change of one row: key, and its value or nothing.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

impl State {
    pub(super) fn get(&self, space: Space, key: &[u8]) -> Option<&[u8]> {
        self.spaces.get(&space)?.rows.get(key).map(Vec::as_slice)
    }

    /// The rows whose key begins with `prefix`, by key.
    pub(super) fn range<'a>(
        &'a self,
        space: Space,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + 'a {
        let rows = self.spaces.get(&space).map(|space| &space.rows);
        rows.into_iter().flat_map(move |rows| {
            rows.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
                .take_while(move |(key, _)| key.starts_with(prefix))
                .map(|(key, value)| (key.as_slice(), value.as_slice()))
        })
    }

    /// Sets or removes a row.
    pub(super) fn set(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        let state = self.spaces.entry(space).or_default();
        if let Some(dirty) = &mut state.dirty {
            dirty.insert(key.clone());
            state.dirty_bytes += (key.len() + value.as_ref().map_or(0, Vec::len)) as u64;
        }
        let key_bytes = key.len() as u64 + ROW_BYTES;
        let old = match value {
            Some(value) => {
                state.bytes += key_bytes + value.len() as u64;
                state.rows.insert(key, value)
            }
            None => state.rows.remove(&key),
        };
        if let Some(old) = old {
            state.bytes = state.bytes.saturating_sub(key_bytes + old.len() as u64);
        }
    }

    /// Rows of a space.
    pub(super) fn len(&self, space: Space) -> usize {
        self.spaces.get(&space).map_or(0, |space| space.rows.len())
    }

    /// Bytes of all spaces, as they are counted in a snapshot.
    pub(super) fn bytes(&self) -> u64 {
        self.spaces.values().map(|space| space.bytes).sum()
    }

    /// Rows and bytes that `state.redb` is still to be told.
    pub(super) fn dirty(&self) -> (u64, u64) {
        let cold =
            self.spaces.values().filter_map(|state| Some((state.dirty.as_ref()?.len() as u64, state.dirty_bytes)));
        cold.fold((0, 0), |(rows, bytes), more| (rows + more.0, bytes + more.1))
    }

    /// The spaces that live in `state.redb`.
    pub(super) fn cold_spaces(&self) -> Vec<Space> {
        self.spaces.iter().filter(|(_, state)| state.dirty.is_some()).map(|(&space, _)| space).collect()
    }

    pub(super) fn is_cold(&self, space: Space) -> bool {
        self.spaces.get(&space).is_some_and(|space| space.dirty.is_some())
    }

    /// Says that `state.redb` holds a space, all its rows included.
    pub(super) fn set_cold(&mut self, space: Space) {
        self.spaces.entry(space).or_default().dirty = Some(BTreeSet::new());
    }

    /// The spaces that go into a snapshot of at most `bytes_max`: all that aren't cold, but for the largest if they
    /// don't fit. A space never warms up again: sizes near the bound would move it to and fro.
    pub(super) fn hot_spaces(&self, bytes_max: u64) -> Vec<Space> {
        let mut hot: Vec<(u64, Space)> = self
            .spaces
            .iter()
            .filter(|(_, state)| state.dirty.is_none())
            .map(|(&space, state)| (state.bytes, space))
            .collect();
        hot.sort_unstable();
        let mut total = 0;
        hot.into_iter()
            .take_while(|(bytes, _)| {
                total += bytes;
                total <= bytes_max
            })
            .map(|(_, space)| space)
            .collect()
    }

    /// Takes what `state.redb` must be told of a space: its changes if it is cold; else all of it, and it is from now.
    pub(super) fn take_changes(&mut self, space: Space) -> Vec<Change> {
        let state = self.spaces.entry(space).or_default();
        state.dirty_bytes = 0;
        match state.dirty.replace(BTreeSet::new()) {
            Some(dirty) => dirty
                .into_iter()
                .map(|key| {
                    let value = state.rows.get(&key).cloned();
                    (key, value)
                })
                .collect(),
            None => state.rows.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect(),
        }
    }

    /// Encodes a space for a snapshot.
    pub(super) fn encode(&self, space: Space) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in self.range(space, &[]) {
            out.extend_from_slice(&(key.len() as u16).to_le_bytes());
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        }
        out
    }

    /// Fills an empty space from its snapshot.
    pub(super) fn decode(&mut self, space: Space, mut bytes: &[u8]) -> Result<(), Malformed> {
        let short = "a snapshot of the state is cut off";
        while !bytes.is_empty() {
            let (header, rest) = bytes.split_at_checked(ROW_BYTES as usize).ok_or(short)?;
            let key_bytes = u32_at(header, 0) & 0xffff;
            let (key, rest) = rest.split_at_checked(key_bytes as usize).ok_or(short)?;
            let (value, rest) = rest.split_at_checked(u32_at(header, 2) as usize).ok_or(short)?;
            self.set(space, key.to_vec(), Some(value.to_vec()));
            bytes = rest;
        }
        // An empty space is in the snapshot too.
        self.spaces.entry(space).or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rows: &[(Space, &str, usize)]) -> State {
        let mut state = State::default();
        for (space, key, bytes) in rows {
            state.set(*space, key.as_bytes().to_vec(), Some(vec![7; *bytes]));
        }
        state
    }

    #[test]
    fn rows_are_set_found_by_prefix_and_counted() {
        let mut state =
            filled(&[(Space::Topic, "a1", 3), (Space::Topic, "a2", 4), (Space::Topic, "b", 5), (Space::User, "a", 1)]);
        assert_eq!(state.range(Space::Topic, b"a").map(|(key, _)| key.to_vec()).collect::<Vec<_>>(), [b"a1", b"a2"]);
        assert_eq!(state.bytes(), 4 * ROW_BYTES + 6 + 13);
        state.set(Space::Topic, b"b".to_vec(), Some(vec![]));
        state.set(Space::Topic, b"a1".to_vec(), None);
        state.set(Space::Topic, b"none".to_vec(), None);
        assert_eq!((state.bytes(), state.len(Space::Topic)), (3 * ROW_BYTES + 4 + 5, 2));
        assert_eq!(state.get(Space::Topic, b"b"), Some(&[][..]));
    }

    #[test]
    fn a_snapshot_comes_back() {
        let state = filled(&[(Space::Topic, "a1", 3), (Space::Topic, "a2", 70_000), (Space::Device, "", 0)]);
        let mut back = State::default();
        for space in Space::ALL {
            back.decode(space, &state.encode(space)).unwrap();
        }
        for space in Space::ALL {
            assert_eq!(back.range(space, &[]).collect::<Vec<_>>(), state.range(space, &[]).collect::<Vec<_>>());
        }
        assert_eq!(back.bytes(), state.bytes());
        let encoded = state.encode(Space::Topic);
        assert!(State::default().decode(Space::Topic, &encoded[..encoded.len() - 1]).is_err());
    }

    #[test]
    fn the_largest_spaces_turn_cold_and_report_changes_once() {
        let mut state = filled(&[(Space::Topic, "t", 100), (Space::Device, "d", 5_000), (Space::Cursor, "c", 300)]);
        assert_eq!(state.hot_spaces(1_000), [Space::Topic, Space::Cursor]);
        assert_eq!(state.hot_spaces(10_000).len(), 3);
        assert_eq!(state.take_changes(Space::Device).len(), 1, "all of it at first");
        assert_eq!(state.hot_spaces(10_000), [Space::Topic, Space::Cursor], "cold stays cold");
        assert_eq!((state.cold_spaces(), state.dirty()), (vec![Space::Device], (0, 0)));
        state.set(Space::Device, b"e".to_vec(), Some(vec![1]));
        state.set(Space::Device, b"d".to_vec(), None);
        assert_eq!(state.dirty(), (2, 3));
        assert_eq!(state.take_changes(Space::Device), [(b"d".to_vec(), None), (b"e".to_vec(), Some(vec![1]))]);
        assert_eq!(state.take_changes(Space::Device), []);
    }
}
