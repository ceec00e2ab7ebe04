//! Where the records of a batch for upstream come from. Pure.
//!
//! Invariant: as many offsets as the batch has records, in their order; so whoever is told that the third record is at fault
//! knows which one that is here.

use crate::store::PartitionId;

/// Runs of offsets, in the order of the batch's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Origins(Vec<Run>);

/// Offsets in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    partition: PartitionId,
    first: i64,
    count: u32,
}

impl Origins {
    /// The `count` offsets from `first` on.
    pub(in crate::uplink) fn run(partition: PartitionId, first: i64, count: u32) -> Self {
        Self(vec![Run { partition, first, count }])
    }

    pub(in crate::uplink) fn push(&mut self, partition: PartitionId, offset: i64) {
        match self.0.last_mut() {
            Some(last) if last.partition == partition && last.first + i64::from(last.count) == offset => {
                last.count += 1;
            }
            _ => self.0.push(Run { partition, first: offset, count: 1 }),
        }
    }

    /// Memory that is held.
    pub(in crate::uplink) fn bytes(&self) -> usize {
        self.0.len() * size_of::<Run>()
    }

    /// All of them.
    pub(in crate::uplink) fn iter(&self) -> impl Iterator<Item = (PartitionId, i64)> {
        self.0.iter().flat_map(|run| (0..i64::from(run.count)).map(|at| (run.partition, run.first + at)))
    }

    /// Those whose place in the batch `keep` wants.
    pub(in crate::uplink) fn filter(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Self::default();
        for (_, (partition, offset)) in (0..).zip(self.iter()).filter(|(at, _)| keep(*at)) {
            kept.push(partition, offset);
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_offsets_belong_together() {
        let (one, two) = (PartitionId(1), PartitionId(2));
        let mut origins = Origins::run(one, 5, 3);
        origins.push(one, 8);
        origins.push(two, 9);
        origins.push(one, 9);
        let all = [(one, 5), (one, 6), (one, 7), (one, 8), (two, 9), (one, 9)];
        assert_eq!((origins.iter().collect::<Vec<_>>(), origins.0.len()), (all.to_vec(), 3));
        assert_eq!(origins.filter(|at| at % 2 == 0).iter().collect::<Vec<_>>(), [(one, 5), (one, 7), (two, 9)]);
    }
}
