//! What follows from what upstream and the own store know of the past: what became of the last transaction, and whether the two
//! histories are one. Pure.
//!
//! A store has *diverged* where upstream has records of this uplink that it never held: it lost its tail, was restored from a
//! backup, or is one of two copies. A boot epoch has a random id, so the last common point of a partition is the end, in one of the
//! two histories, of the latest epoch that both know. What lies behind it here is forwarded, under a new lineage: nothing is skipped.
//!
//! Invariant: no position is put beyond an offset that upstream is known to have from this very history.

use std::collections::BTreeMap;

use super::cursor::{Epoch, Value, Witness};
use super::local::{Local, Mark, Place};
use crate::store::PartitionId;

/// What the witness says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The pending transaction is committed.
    Committed,
    /// The last one known to be committed was the last: the pending one is aborted.
    Aborted,
    /// Nothing, it has expired: the cursors at this place tell.
    LookAt(Place),
    /// Nothing that is known here: all cursors must be looked through.
    LookThrough,
}

/// What became of the last transaction, by the witness.
pub(super) fn said(local: &Local, witness: Option<&Witness>) -> Said {
    let pending = local.pending.as_ref().map(|pending| pending.mark);
    let Some(witness) = witness else {
        return pending.or(local.last).map_or(Said::LookThrough, |mark| Said::LookAt(mark.place));
    };
    let is = |mark: Option<Mark>| {
        mark.is_some_and(|mark| mark.number == witness.number && witness.of == Some((local.lineage, mark.epoch)))
    };
    match (is(pending), is(local.last)) {
        (true, _) => Said::Committed,
        (_, true) => Said::Aborted,
        _ => Said::LookThrough,
    }
}

/// A partition of the own store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) partition: PartitionId,
    /// The first offset that is not known to be forwarded.
    pub(super) position: i64,
    /// The boot epochs that wrote it, the latest first, each with the offset where it ends.
    pub(super) epochs: Vec<(u64, i64)>,
}

/// What was found in the topic of cursors: the latest of each key, for partitions that exist here; and of all others only who wrote
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) cursors: Vec<(Held, Value)>,
    /// The highest number of any transaction.
    pub(super) number: u64,
    /// Cursors of histories whose topics don't exist here.
    pub(super) foreign: bool,
}

/// Where the uplink stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Where each partition goes on; those not listed stay where they are.
    pub(super) positions: BTreeMap<PartitionId, i64>,
    /// What the histories have to do with each other, if they are not one.
    pub(super) diverged: Option<Divergence>,
    /// No number up to this one is used again.
    pub(super) number: u64,
}

/// How the own history differs from what was forwarded, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::uplink) struct Divergence {
    /// By partition: the last common point, and where upstream had come to.
    pub(in crate::uplink) partitions: Vec<(PartitionId, i64, i64)>,
    /// Upstream knows this uplink from another store.
    pub(in crate::uplink) another_store: bool,
    /// Upstream has lost what it had committed.
    pub(in crate::uplink) upstream_lost: bool,
}

/// Judges what was found by looking through all cursors.
pub(super) fn judge(local: &Local, looked: &Looked) -> Standing {
    let mut standing =
        Standing { positions: BTreeMap::new(), diverged: None, number: local.number().max(looked.number) };
    let mut divergence =
        Divergence { another_store: looked.foreign && looked.cursors.is_empty(), ..Default::default() };
    // Of what upstream still knows, the own positions are no less true than the cursors.
    let lost = local.last.is_some_and(|last| looked.number < last.number);
    for (held, cursor) in &looked.cursors {
        let common = common_point(cursor.next, &cursor.epochs, &held.epochs);
        let position = if common < cursor.next {
            divergence.partitions.push((held.partition, common.max(held.position), cursor.next));
            // What is known to be forwarded was forwarded out of this very store.
            common.max(held.position)
        } else if lost && cursor.next < held.position && cursor.lineage == local.lineage {
            divergence.upstream_lost = true;
            divergence.partitions.push((held.partition, cursor.next, cursor.next));
            cursor.next
        } else {
            cursor.next.max(held.position)
        };
        if position != held.position {
            standing.positions.insert(held.partition, position);
        }
    }
    standing.diverged = (divergence != Divergence::default()).then_some(divergence);
    standing
}

/// Up to where the history that a position upstream belongs to and the own one are the same; at most that position, `next`.
/// `epochs` wrote what lies before it, the latest first; the `own` ones are told with their ends.
pub(in crate::uplink) fn common_point(next: i64, epochs: &[Epoch], own: &[(u64, i64)]) -> i64 {
    let mut end = next;
    if end == 0 {
        return 0;
    }
    for Epoch { id, first } in epochs {
        if let Some((_, own_end)) = own.iter().find(|(own, _)| own == id) {
            return end.min(*own_end);
        }
        end = *first;
    }
    // Whatever they share lies further back than the position tells.
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { partition: 2, offset: 70 };
    const LINEAGE: [u8; 16] = [1; 16];

    fn mark(number: u64) -> Mark {
        Mark { number, epoch: 5, place: PLACE }
    }

    fn local(last: Option<u64>, pending: Option<u64>) -> Local {
        let pending = pending.map(|number| super::super::local::Pending {
            mark: mark(number),
            positions: vec![],
            letters: vec![],
        });
        Local { lineage: LINEAGE, last: last.map(mark), pending }
    }

    fn witness(number: u64, of: Option<([u8; 16], u64)>) -> Witness {
        Witness { partition: 2, number, of }
    }

    #[test]
    fn the_witness_tells_what_became_of_the_last_transaction() {
        let known = local(Some(7), Some(8));
        let says = |local: &Local, number| said(local, Some(&witness(number, Some((LINEAGE, 5)))));
        assert_eq!(says(&known, 8), Said::Committed);
        assert_eq!(says(&known, 7), Said::Aborted);
        assert_eq!([says(&known, 6), says(&known, 9), says(&known, 0)], [Said::LookThrough; 3]);
        for stranger in [None, Some(([2; 16], 5)), Some((LINEAGE, 6))] {
            assert_eq!(said(&known, Some(&witness(8, stranger))), Said::LookThrough);
        }
        assert_eq!(says(&local(None, None), 1), Said::LookThrough);
        assert_eq!(said(&known, None), Said::LookAt(PLACE));
        assert_eq!(said(&local(Some(7), None), None), Said::LookAt(PLACE));
        assert_eq!(said(&local(None, None), None), Said::LookThrough, "never a beginning");
    }

    fn held(position: i64, epochs: &[(u64, i64)]) -> Held {
        Held { partition: PartitionId(1), position, epochs: epochs.to_vec() }
    }

    fn cursor(next: i64, transaction: u64, epochs: &[(u64, i64)]) -> Value {
        let epochs = epochs.iter().map(|(id, first)| Epoch { id: *id, first: *first }).collect();
        Value { topic: "t".into(), next, lineage: LINEAGE, transaction, epochs }
    }

    fn judged(held: Held, cursor: Value) -> (i64, bool) {
        let stays = held.position;
        let looked = Looked { number: cursor.transaction, cursors: vec![(held, cursor)], foreign: false };
        let standing = judge(&local(Some(7), None), &looked);
        assert!(standing.number >= 7);
        (standing.positions.get(&PartitionId(1)).copied().unwrap_or(stays), standing.diverged.is_some())
    }

    #[test]
    fn histories_that_are_one_go_on_where_upstream_is() {
        assert_eq!(judged(held(100, &[(2, 180), (1, 90)]), cursor(150, 9, &[(2, 90), (1, 0)])), (150, false));
        assert_eq!(judged(held(150, &[(2, 150), (1, 90)]), cursor(150, 9, &[(2, 90), (1, 0)])), (150, false));
        assert_eq!(judged(held(0, &[]), cursor(0, 9, &[])), (0, false));
    }

    #[test]
    fn a_copy_goes_on_where_the_two_parted() {
        // The other one went on in its epoch 3 from 150 to 200; this one has its own epoch 4 from there.
        assert_eq!(
            judged(held(100, &[(4, 170), (2, 150), (1, 90)]), cursor(200, 9, &[(3, 150), (2, 90)])),
            (150, true)
        );
        // Copied while it ran.
        assert_eq!(judged(held(100, &[(4, 170), (2, 140), (1, 90)]), cursor(200, 9, &[(2, 90)])), (140, true));
        // It has forwarded of its own what lies behind.
        assert_eq!(judged(held(160, &[(4, 170), (2, 150)]), cursor(200, 9, &[(3, 150), (2, 90)])), (160, true));
    }

    #[test]
    fn a_lost_tail_is_forwarded_anew_from_where_it_was_lost() {
        assert_eq!(judged(held(100, &[(5, 140), (2, 130), (1, 90)]), cursor(150, 9, &[(2, 90), (1, 0)])), (130, true));
    }

    #[test]
    fn without_a_common_epoch_only_the_own_position_counts() {
        assert_eq!(judged(held(40, &[(9, 60)]), cursor(500, 9, &[(3, 400), (2, 90)])), (40, true));
        assert_eq!(judged(held(0, &[(9, 60)]), cursor(500, 9, &[])), (0, true));
    }

    #[test]
    fn what_upstream_has_lost_is_sent_again() {
        assert_eq!(judged(held(150, &[(2, 180)]), cursor(120, 6, &[(2, 90)])), (120, true));
    }

    #[test]
    fn a_fresh_store_of_a_known_gateway_is_told_apart_from_a_new_gateway() {
        let looked = Looked { cursors: vec![], number: 40, foreign: true };
        let standing = judge(&local(None, None), &looked);
        assert_eq!(standing.number, 40);
        assert!(standing.positions.is_empty() && standing.diverged.is_some_and(|diverged| diverged.another_store));
        assert_eq!(judge(&local(None, None), &Looked::default()).diverged, None);
    }
}
