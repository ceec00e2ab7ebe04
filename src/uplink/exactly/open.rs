//! An open transaction: what belongs to it, and how far it is. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use super::question::{Ask, Role};
use super::trouble::Failure;
use crate::uplink::link::versions::Protocol;
use crate::uplink::sending::producer::LaneId;

/// A question's progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Asking {
    #[default]
    Due,
    Asked,
    Answered,
}

/// An open transaction.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) number: u64,
    pub(super) since: Instant,
    /// With the first protocol: the partitions that belong to it, or are to.
    pub(super) partitions: BTreeMap<LaneId, Asking>,
    pub(super) group: Asking,
    pub(super) witness: Asking,
    pub(super) phase: Phase,
}

/// How far it is.
#[derive(Debug)]
pub(super) enum Phase {
    Streaming,
    Draining,
    Recording(Asking),
    Ending(Asking),
}

impl Asking {
    pub(super) fn answered(&mut self, result: Result<(), Failure>) -> Result<(), Failure> {
        *self = if result.is_ok() { Self::Answered } else { Self::Due };
        result
    }
}

impl Open {
    /// The next question, and which coordinator answers it; `None`: the own store.
    pub(super) fn next(&self, protocol: Protocol) -> Option<(Ask, Option<Role>)> {
        match &self.phase {
            Phase::Recording(Asking::Due) => return Some((Ask::Record, None)),
            Phase::Ending(Asking::Due) => return Some((Ask::End { commit: true }, Some(Role::Transactions))),
            Phase::Recording(_) | Phase::Ending(_) => return None,
            Phase::Streaming | Phase::Draining => {}
        }
        let due = self.partitions.iter().filter(|(_, asking)| **asking == Asking::Due);
        let due: Vec<LaneId> = due.map(|(lane, _)| lane.clone()).collect();
        // One such question at a time: a coordinator that still writes down the one before refuses the next.
        let asked = self.partitions.values().any(|asking| *asking == Asking::Asked);
        if !due.is_empty() && !asked {
            return Some((Ask::Partitions(due), Some(Role::Transactions)));
        }
        let taken = protocol == Protocol::Second || self.group == Asking::Answered;
        if !taken {
            let turn = self.group == Asking::Due && !asked;
            return turn.then_some((Ask::Group, Some(Role::Transactions)));
        }
        (self.witness == Asking::Due).then_some((Ask::CommitWitness, Some(Role::Group)))
    }

    pub(super) fn asked(&mut self, ask: &Ask) {
        match ask {
            Ask::Partitions(lanes) => {
                for lane in lanes {
                    self.partitions.insert(lane.clone(), Asking::Asked);
                }
            }
            Ask::Group => self.group = Asking::Asked,
            Ask::CommitWitness => self.witness = Asking::Asked,
            Ask::Record => self.phase = Phase::Recording(Asking::Asked),
            Ask::End { .. } => self.phase = Phase::Ending(Asking::Asked),
            _ => {}
        }
    }

    /// These were not answered well.
    pub(super) fn due_again(&mut self, asked: &[LaneId]) {
        for lane in asked {
            self.partitions.insert(lane.clone(), Asking::Due);
        }
    }
}

impl Open {
    pub(super) fn new(number: u64, since: Instant) -> Self {
        Self {
            number,
            since,
            partitions: BTreeMap::new(),
            group: Asking::Due,
            witness: Asking::Due,
            phase: Phase::Streaming,
        }
    }
}
