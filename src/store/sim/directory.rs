//! One simulated directory: which names lead to which files, now and after a power cut.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use fastrand::Rng;

/// Number of a file; never used twice.
pub(super) type InodeId = u64;

type Names = BTreeMap<OsString, InodeId>;

#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    current: Names,
    durable: Names,
    /// What has not been synced, in order.
    pending: Vec<Change>,
}

/// Each happens as a whole or not at all, and those of one file in their order, as in every journalling filesystem. A
/// file has one name at most.
#[derive(Clone, Debug)]
enum Change {
    Create { name: OsString, file: InodeId },
    Remove { file: InodeId },
    Rename { to: OsString, file: InodeId },
}

impl Directory {
    pub(super) fn find(&self, name: &OsStr) -> Option<InodeId> {
        self.current.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = (&OsString, InodeId)> {
        self.current.iter().map(|(name, file)| (name, *file))
    }

    /// Every file that may still be found here after a power cut.
    pub(super) fn reachable(&self) -> impl Iterator<Item = InodeId> {
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Create { file, .. } | Change::Rename { file, .. } => Some(*file),
            Change::Remove { .. } => None,
        });
        self.current.values().chain(self.durable.values()).copied().chain(pending)
    }

    pub(super) fn create(&mut self, name: OsString, file: InodeId) {
        self.change(Change::Create { name, file });
    }

    pub(super) fn remove(&mut self, file: InodeId) {
        self.change(Change::Remove { file });
    }

    pub(super) fn rename(&mut self, file: InodeId, to: OsString) {
        self.change(Change::Rename { to, file });
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.current);
        self.pending.clear();
    }

    /// The directory after a power cut: the pending changes up to some moment, or, on a filesystem that doesn't keep
    /// their order, any of them.
    pub(super) fn power_cut(&self, rng: &mut Rng) -> Self {
        let in_order = rng.bool();
        let kept = rng.usize(0..=self.pending.len());
        let mut names = self.durable.clone();
        for (number, change) in self.pending.iter().enumerate() {
            if if in_order { number < kept } else { rng.bool() } {
                apply(&mut names, change);
            }
        }
        Self { current: names.clone(), durable: names, pending: Vec::new() }
    }
}

fn apply(names: &mut Names, change: &Change) {
    match change {
        Change::Create { name, file } => {
            names.insert(name.clone(), *file);
        }
        Change::Remove { file } => names.retain(|_, named| named != file),
        Change::Rename { to, file } => {
            names.retain(|_, named| named != file);
            names.insert(to.clone(), *file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_safe_only_once_synced() {
        let mut dir = Directory::default();
        dir.create("a".into(), 1);
        dir.sync();
        dir.create("b".into(), 2);
        dir.rename(1, "c".into());
        dir.remove(2);
        assert_eq!(dir.names().map(|(name, _)| name.to_str().unwrap()).collect::<Vec<_>>(), ["c"]);

        let outcomes: BTreeSet<String> = (0..200)
            .map(|seed| {
                let after = dir.power_cut(&mut Rng::with_seed(seed));
                after.names().map(|(name, _)| name.to_str().unwrap()).collect()
            })
            .collect();
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["a", "ab", "bc", "c"]);

        dir.sync();
        for seed in 0..20 {
            assert_eq!(dir.power_cut(&mut Rng::with_seed(seed)).find(OsStr::new("c")), Some(1));
        }
    }
}
