//! Stretches on their way, and where each cursor upstream will be once they are there. Pure.
//!
//! Invariants: a cursor is moved from where the stretch before has put it; after anything but a good answer nothing more is sent
//! until upstream has told where its cursors are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::frame::{TierEpochs, TierMove};
use crate::store::PartitionId;
use crate::uplink::exactly::{Epoch, Tally};
use crate::uplink::sending::producer::PieceId;

/// Where a cursor is: its offset, and the latest boot epoch before it (0: none).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) next: i64,
    pub(super) epoch: u64,
}

/// A stretch that is not answered.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) id: u32,
    /// The topic upstream; there is one.
    pub(super) topic: Arc<str>,
    pub(super) partitions: Vec<PartitionId>,
    pub(super) pieces: Vec<PieceId>,
    pub(super) tally: Tally,
}

/// Which cursors are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsure {
    All,
    /// Those of stretches that were not answered well.
    Of(BTreeSet<PartitionId>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    places: BTreeMap<PartitionId, Place>,
    under_way: VecDeque<UnderWay>,
    unsure: Option<Unsure>,
}

impl Default for Places {
    fn default() -> Self {
        Self { places: BTreeMap::new(), under_way: VecDeque::new(), unsure: Some(Unsure::All) }
    }
}

impl Places {
    /// Which cursors must be asked for before anything more is sent.
    pub(super) fn unsure(&self) -> Option<&Unsure> {
        self.unsure.as_ref()
    }

    /// Nothing is believed any more.
    pub(super) fn doubt_all(&mut self) {
        self.unsure = Some(Unsure::All);
    }

    /// The cursors of these are to be asked for.
    pub(super) fn doubt(&mut self, partitions: &[PartitionId]) {
        match self.unsure.get_or_insert_with(|| Unsure::Of(BTreeSet::new())) {
            Unsure::All => {}
            Unsure::Of(doubted) => doubted.extend(partitions),
        }
    }

    /// The cursors that were asked for are here, or there are none (any more).
    pub(super) fn told(&mut self, places: BTreeMap<PartitionId, Place>) {
        match self.unsure.take() {
            Some(Unsure::Of(doubted)) => self.places.retain(|partition, _| !doubted.contains(partition)),
            _ => self.places.clear(),
        }
        self.places.extend(places);
    }

    /// What is unanswered.
    pub(super) fn under_way(&self) -> &VecDeque<UnderWay> {
        &self.under_way
    }

    pub(super) fn bytes(&self) -> usize {
        self.under_way.iter().map(|one| one.tally.bytes as usize).sum()
    }

    /// Whether a cursor is (or will be) behind this offset: what lies there must not be sent again.
    pub(super) fn is_beyond(&self, partition: PartitionId, offset: i64) -> bool {
        self.places.get(&partition).is_some_and(|place| place.next > offset)
    }

    /// The move of a partition's cursor to `next`, before which these epochs wrote (the latest first); `None` if it is there.
    pub(super) fn propose(&self, partition: PartitionId, next: i64, epochs: &[Epoch]) -> Option<(Proposed, Place)> {
        let from = self.places.get(&partition).copied();
        if from.is_some_and(|from| from.next >= next) {
            return None;
        }
        let known = from.map_or(0, |from| from.epoch);
        let since: TierEpochs =
            epochs.iter().take_while(|epoch| epoch.id != known).map(|epoch| (epoch.id, epoch.first)).collect();
        let epoch = since.first().map_or(known, |(id, _)| *id);
        let proposed = Proposed { from: from.map(|from| (from.next, from.epoch)), next, epochs: since };
        Some((proposed, Place { next, epoch }))
    }

    /// A stretch is on its way, which moves cursors there.
    pub(super) fn sent(&mut self, stretch: UnderWay, places: Vec<(PartitionId, Place)>) {
        self.places.extend(places);
        self.under_way.push_back(stretch);
    }

    /// A stretch was answered. Unless well, its cursors are doubted.
    pub(super) fn answered(&mut self, id: u32, well: bool) -> Option<UnderWay> {
        let at = self.under_way.iter().position(|one| one.id == id)?;
        let stretch = self.under_way.remove(at)?;
        if !well {
            self.doubt(&stretch.partitions);
        }
        Some(stretch)
    }
}

/// A [`TierMove`] without its partition's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposed {
    from: Option<(i64, u64)>,
    next: i64,
    epochs: TierEpochs,
}

impl Proposed {
    pub(super) fn of(self, topic: [u8; 16], partition: u32) -> TierMove {
        TierMove { topic, partition, from: self.from, next: self.next, epochs: self.epochs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: PartitionId = PartitionId(1);
    const Q: PartitionId = PartitionId(2);

    fn epochs(of: &[(u64, i64)]) -> Vec<Epoch> {
        of.iter().map(|(id, first)| Epoch { id: *id, first: *first }).collect()
    }

    fn stretch(id: u32, partition: PartitionId) -> UnderWay {
        let tally = Tally { bytes: 10, ..Tally::default() };
        UnderWay { id, topic: "t".into(), partitions: vec![partition], pieces: vec![], tally }
    }

    #[test]
    fn moves_follow_each_other_without_waiting_for_answers() {
        let mut places = Places::default();
        assert_eq!(places.unsure(), Some(&Unsure::All));
        places.told(BTreeMap::new());
        let (first, place) = places.propose(P, 10, &epochs(&[(7, 0)])).unwrap();
        let first = first.of([9; 16], 3);
        assert_eq!((first.from, first.next, first.epochs.as_slice()), (None, 10, &[(7, 0)][..]));
        places.sent(stretch(1, P), vec![(P, place)]);
        assert_eq!(places.propose(P, 10, &epochs(&[(7, 0)])), None, "it is there");
        let (second, place) = places.propose(P, 15, &epochs(&[(8, 12), (7, 0)])).unwrap();
        let second = second.of([9; 16], 3);
        assert_eq!((second.from, second.epochs.as_slice()), (Some((10, 7)), &[(8, 12)][..]), "only what is new");
        assert_eq!(place, Place { next: 15, epoch: 8 });
        places.sent(stretch(2, P), vec![(P, place)]);
        assert_eq!(places.bytes(), 20);
        assert!(places.answered(1, true).is_some() && places.answered(1, true).is_none());
        assert_eq!((places.unsure(), places.under_way().len()), (None, 1));
    }

    #[test]
    fn what_was_not_answered_well_is_asked_for_and_nothing_else_is_forgotten() {
        let mut places = Places::default();
        let at = |next| Place { next, epoch: 7 };
        places.told(BTreeMap::from([(P, at(5)), (Q, at(6))]));
        places.sent(stretch(1, P), vec![(P, at(9))]);
        places.answered(1, false);
        assert_eq!(places.unsure(), Some(&Unsure::Of(BTreeSet::from([P]))));
        places.told(BTreeMap::from([(P, at(5))]));
        let from = |places: &Places, p| places.propose(p, 20, &[]).unwrap().0.of([0; 16], 0).from;
        assert_eq!((from(&places, P), from(&places, Q)), (Some((5, 7)), Some((6, 7))));
        places.doubt_all();
        places.told(BTreeMap::new());
        assert_eq!(from(&places, Q), None, "upstream has forgotten it");
    }
}
