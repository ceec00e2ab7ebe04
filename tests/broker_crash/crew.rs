//! A group of consumers, as its members know it: what they were told of their membership, and what they processed.
//!
//! Invariant: an offset is only ever committed once everything before it was processed, by whichever member. So nothing
//! is left out if the offset that is found after a crash is one that a member asked for.

use std::collections::BTreeMap;

use brooklet::store::{Intervals, PartitionId};

use crate::harness::{Verdict, ensure};

/// What members ask for and are told.
#[derive(Clone, Debug)]
pub enum CrewEvent {
    /// It has an assignment, which is durable.
    Assigned { member: usize, id: String, generation: i32, share: Vec<PartitionId> },
    /// It is out; with `id` it may come again.
    Out { member: usize, id: String },
    /// These offsets have had their effect outside of the gateway.
    Processed { member: usize, partition: PartitionId, from: i64, to: i64 },
}

/// One member.
#[derive(Clone, Debug, Default)]
pub struct Member {
    pub id: String,
    /// `None` while it is out.
    pub generation: Option<i32>,
    pub share: Vec<PartitionId>,
    /// Up to where it has processed, since it was assigned.
    pub places: BTreeMap<PartitionId, i64>,
}

/// The group.
#[derive(Clone, Debug, Default)]
pub struct Crew {
    pub members: Vec<Member>,
    /// The newest generation that a member was told an assignment of.
    pub generation: i32,
    pub processed: BTreeMap<PartitionId, Intervals>,
}

impl Crew {
    /// Takes what happened.
    ///
    /// # Errors
    /// If it should not have.
    pub fn take(&mut self, event: &CrewEvent) -> Verdict {
        match event {
            CrewEvent::Assigned { member, id, generation, share } => {
                ensure!(*generation >= self.generation, "generation {generation} after {}", self.generation);
                self.generation = *generation;
                for (other, known) in self.members.iter().enumerate().filter(|(other, _)| other != member) {
                    let same = known.generation == Some(*generation);
                    let twice = share.iter().find(|partition| same && known.share.contains(partition));
                    ensure!(twice.is_none(), "members {member} and {other} of {generation} have {twice:?}");
                }
                let (share, places) = (share.clone(), BTreeMap::new());
                self.members[*member] = Member { id: id.clone(), generation: Some(*generation), share, places };
            }
            CrewEvent::Out { member, id } => {
                self.members[*member] = Member { id: id.clone(), ..Member::default() };
            }
            CrewEvent::Processed { member, partition, from, to } => {
                self.members[*member].places.insert(*partition, *to);
                let processed = self.processed.entry(*partition).or_default();
                processed.insert(*from..*to).map_err(|_| "too many gaps in what was processed")?;
            }
        }
        Ok(())
    }
}
