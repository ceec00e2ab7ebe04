//! What partitions are worth when room is needed.

use std::collections::HashMap;

use super::options::OnFull;
use super::types::PartitionId;

/// The class of a partition, as its topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The topic: its partitions share the reserve.
    pub topic: [u8; 16],
    /// 0 to 9; what has a lower one goes first.
    pub priority: u8,
    /// Bytes of the topic's newest records that are never evicted.
    pub reserve: u64,
    /// `Refuse`: nothing of it is evicted; appends to it are refused where the rest can't make room.
    pub on_full: OnFull,
}

impl Class {
    fn refuses(&self) -> bool {
        self.on_full == OnFull::Refuse
    }
}

/// The classes of all partitions of which somebody has said one.
///
/// Invariant: `refusing` counts those that refuse when full, since the writer asks at each commit whether there is any.
#[derive(Debug, Default)]
pub(super) struct Classes {
    of: HashMap<PartitionId, Class>,
    refusing: usize,
}

impl Classes {
    pub(super) fn insert(&mut self, partition: PartitionId, class: Class) {
        let before = self.of.insert(partition, class);
        self.refusing -= before.map_or(0, |before| usize::from(before.refuses()));
        self.refusing += usize::from(class.refuses());
    }

    /// Forgets the partitions that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(PartitionId) -> bool) {
        self.of.retain(|id, _| keep(*id));
        self.refusing = self.of.values().filter(|class| class.refuses()).count();
    }

    pub(super) fn get(&self, partition: PartitionId) -> Option<&Class> {
        self.of.get(&partition)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PartitionId, &Class)> {
        self.of.iter().map(|(&id, class)| (id, class))
    }

    /// Whether any partition refuses when full.
    pub(super) fn any_refuses(&self) -> bool {
        self.refusing > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_refuse_are_counted_through_every_change() {
        let class = |on_full| Class { topic: [0; 16], priority: 5, reserve: 0, on_full };
        let (evict, refuse) = (class(OnFull::EvictOldest), class(OnFull::Refuse));
        let mut classes = Classes::default();
        classes.insert(PartitionId(1), evict);
        assert!(!classes.any_refuses());
        classes.insert(PartitionId(1), refuse);
        classes.insert(PartitionId(1), refuse);
        classes.insert(PartitionId(2), refuse);
        classes.insert(PartitionId(1), evict);
        assert!(classes.any_refuses(), "partition 2 still does");
        classes.retain(|id| id != PartitionId(2));
        assert!(!classes.any_refuses());
        assert_eq!((classes.get(PartitionId(1)), classes.get(PartitionId(2))), (Some(&evict), None));
    }
}
