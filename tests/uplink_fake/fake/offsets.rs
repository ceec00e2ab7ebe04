//! Committed offsets of groups, and those that wait for their transaction's end (KIP-447 for `require_stable`).

use std::collections::BTreeMap;

use super::transactions::Place;

/// An offset and its metadata.
pub type Committed = (i64, String);

#[derive(Default)]
pub struct Group {
    pub committed: BTreeMap<Place, Committed>,
    /// By producer id.
    pending: BTreeMap<i64, BTreeMap<Place, Committed>>,
}

impl Group {
    pub fn hold(&mut self, producer: i64, place: Place, committed: Committed) {
        self.pending.entry(producer).or_default().insert(place, committed);
    }

    pub fn mark(&mut self, producer: i64, commit: bool) {
        let held = self.pending.remove(&producer).unwrap_or_default();
        if commit {
            self.committed.extend(held);
        }
    }

    /// All that it has offsets of, committed or not.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.committed.keys().chain(self.pending.values().flat_map(BTreeMap::keys))
    }

    /// An offset of −1: none. An error where a transaction may yet move it.
    pub fn fetch(&self, place: &Place, require_stable: bool) -> Result<Committed, i16> {
        if require_stable && self.pending.values().any(|held| held.contains_key(place)) {
            return Err(88);
        }
        Ok(self.committed.get(place).cloned().unwrap_or((-1, String::new())))
    }
}
