//! What follows from what upstream has and the own store knows of the past. Pure.
//!
//! A store has *diverged* where upstream has records of this uplink that it never held: it lost its tail, was restored from a
//! backup, or is one of two copies. The last common point is found by boot epochs, as for transactions; what lies behind it here is
//! forwarded as another history, whose cursors upstream are its own.
//!
//! Invariant: no position is put beyond an offset that upstream has from this very history.

use std::collections::BTreeMap;

use super::places::Place;
use crate::store::PartitionId;
use crate::uplink::exactly::{Epoch, common_point};

/// A cursor upstream beside the own partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) partition: PartitionId,
    /// The first offset that is not known to be forwarded.
    pub(super) position: i64,
    /// The first that is still here.
    pub(super) log_start: i64,
    /// The boot epochs that wrote it, the latest first, each with the offset where it ends.
    pub(super) own: Vec<(u64, i64)>,
    /// Upstream: the first offset that is not there, and who wrote what lies before.
    pub(super) next: i64,
    pub(super) epochs: Vec<Epoch>,
}

/// Where the uplink stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Where the cursors are.
    pub(super) places: BTreeMap<PartitionId, Place>,
    /// These are forwarded further than was known here.
    pub(super) advanced: BTreeMap<PartitionId, i64>,
    /// Upstream has lost these from here on: they are forwarded again.
    pub(super) lost: Vec<(PartitionId, i64)>,
    /// By partition: the last common point, where it goes on here, and where upstream had come to.
    pub(super) diverged: Vec<(PartitionId, i64, i64)>,
}

/// Judges what upstream has told.
pub(super) fn judge(cursors: &[Held]) -> Standing {
    let mut standing = Standing::default();
    for held in cursors {
        let (partition, position) = (held.partition, held.position);
        let common = common_point(held.next, &held.epochs, &held.own);
        if common < held.next {
            // What is known to be forwarded was forwarded out of this very store.
            standing.diverged.push((partition, common.max(position), held.next));
            continue;
        }
        let epoch = held.epochs.first().map_or(0, |epoch| epoch.id);
        standing.places.insert(partition, Place { next: held.next, epoch });
        if held.next > position {
            standing.advanced.insert(partition, held.next);
        } else if held.next < position && position > held.log_start {
            // A position at the log start may stand there because what lay before was evicted.
            standing.lost.push((partition, held.next));
        }
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(1);

    fn held(position: i64, log_start: i64, own: &[(u64, i64)], next: i64, epochs: &[(u64, i64)]) -> Held {
        let epochs = epochs.iter().map(|(id, first)| Epoch { id: *id, first: *first }).collect();
        Held { partition: P, position, log_start, own: own.to_vec(), next, epochs }
    }

    #[test]
    fn one_history_goes_on_where_upstream_is() {
        let standing = judge(&[held(100, 0, &[(2, 180), (1, 90)], 150, &[(2, 90), (1, 0)])]);
        assert_eq!(standing.places[&P], Place { next: 150, epoch: 2 });
        assert_eq!((standing.advanced[&P], standing.lost.len(), standing.diverged.len()), (150, 0, 0));
        let same = judge(&[held(150, 0, &[(2, 150)], 150, &[(2, 0)])]);
        assert!(same.advanced.is_empty() && same.lost.is_empty() && same.diverged.is_empty());
        assert_eq!(judge(&[held(0, 0, &[], 0, &[])]).places[&P], Place { next: 0, epoch: 0 });
    }

    #[test]
    fn a_copy_goes_on_where_the_two_parted() {
        let own = [(4, 170), (2, 150), (1, 90)];
        let of = |position| judge(&[held(position, 0, &own, 200, &[(3, 150), (2, 90)])]).diverged;
        assert_eq!(of(100), [(P, 150, 200)]);
        assert_eq!(of(160), [(P, 160, 200)], "it has forwarded of its own what lies behind");
        assert!(judge(&[held(100, 0, &own, 200, &[(3, 150), (2, 90)])]).places.is_empty());
    }

    #[test]
    fn what_upstream_has_lost_is_forwarded_again_and_what_was_evicted_is_not() {
        let of = |position, log_start| judge(&[held(position, log_start, &[(2, 200)], 120, &[(2, 0)])]);
        assert_eq!(of(150, 0).lost, [(P, 120)]);
        assert_eq!(of(150, 140).lost, [(P, 120)]);
        assert!(of(150, 150).lost.is_empty() && of(150, 160).lost.is_empty());
    }
}
