//! What members of the group do, drawn from the seed: they join, process what they were assigned, commit, leave, and fall
//! over. Their time is the simulated clock's.

use brooklet::broker::groups::{Claim, GroupError, JoinGroup, Joined, Membership, Opaque, SyncGroup};
use brooklet::broker::{Broker, CommittedOffset};
use brooklet::store::PartitionId;

use crate::check::{CREW, READERS};
use crate::crew::CrewEvent;
use crate::gateway::Gateway;
use crate::model::Event;
use crate::tasks::{Answer, Asked};

const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 5_000;
const PROTOCOL: &str = "deal";
/// Rounds in which all that is stored is processed, or it never will be.
const ROUNDS_MAX: usize = 200;

/// A member's place, as it was told.
pub struct Place {
    pub id: String,
    pub generation: i32,
    pub share: Vec<PartitionId>,
}

/// Why there is none, and the id to come again with.
pub struct NoPlace {
    pub error: GroupError,
    pub id: String,
}

impl Gateway {
    /// A member does something.
    pub fn member_act(&mut self) {
        let member = self.rng.usize(0..self.members_busy.len());
        if self.members_busy[member] {
            return;
        }
        match (self.model.crew.members[member].generation, self.rng.u8(0..20)) {
            (None, _) | (_, 0) => self.join(member),
            (_, 1) => self.leave(member),
            // Without a word.
            (_, 2) => self.note(Event::Crew(CrewEvent::Out { member, id: String::new() })),
            (_, 3..8) => self.beat(member),
            _ => self.work(member, Some(10)),
        }
    }

    /// Members go on, without new records and without falling over, until everything stored is processed and committed.
    ///
    /// # Errors
    /// What never is.
    pub fn finish_work(&mut self) -> Result<(), String> {
        // Whatever became of topics meanwhile: they share what there is now.
        self.settle();
        self.join(0);
        for _ in 0..ROUNDS_MAX {
            self.settle();
            for member in 0..self.members_busy.len() {
                match self.model.crew.members[member].generation {
                    _ if self.members_busy[member] => {}
                    None => self.join(member),
                    Some(_) => {
                        self.beat(member);
                        self.work(member, None);
                    }
                }
            }
            self.settle();
            if self.left_over().is_none() {
                return Ok(());
            }
        }
        Err(format!("never processed and committed: {:?}; {:?}", self.left_over(), self.model.crew))
    }

    /// A partition that isn't committed to its end.
    fn left_over(&self) -> Option<(PartitionId, i64, Option<i64>)> {
        let topics = self.model.topics.iter().filter(|(_, topic)| topic.is_usable());
        let partitions =
            topics.flat_map(|(id, topic)| (0..).zip(&topic.partitions).map(move |(index, p)| (id, index, p)));
        let mut ends = partitions.filter_map(|(id, index, partition)| {
            let end = self.broker.head(*partition).ok()?.high_watermark;
            let committed = self.model.offsets.get(&(CREW, *id, index)).and_then(|register| register.known);
            (committed.unwrap_or(0) != end).then_some((*partition, end, committed))
        });
        ends.next()
    }

    fn join(&mut self, member: usize) {
        self.members_busy[member] = true;
        let (broker, id) = (self.broker.clone(), self.model.crew.members[member].id.clone());
        let place = async move { Answer::Place(place(&broker, id).await) };
        self.tasks.spawn(&self.disk, Asked::Place { member }, place);
        self.listen();
    }

    fn leave(&mut self, member: usize) {
        let claim = self.claim(member);
        let outcome = self.broker.leave_group(READERS[CREW as usize], vec![claim]);
        let outcome = outcome.and_then(|mut outcomes| outcomes.remove(0));
        if !matches!(outcome, Ok(()) | Err(GroupError::UnknownMember)) {
            self.wrong.push(format!("member {member} leaves: {outcome:?}"));
        }
        self.note(Event::Crew(CrewEvent::Out { member, id: String::new() }));
        self.listen();
    }

    fn beat(&mut self, member: usize) {
        let Some(membership) = self.membership(member) else { return };
        let outcome = self.broker.heartbeat_group(READERS[CREW as usize], membership);
        if let Err(error) = outcome {
            self.member_out(member, &error);
        }
        self.listen();
    }

    /// It processes some of its records, at most so many a partition or all there are, and commits.
    fn work(&mut self, member: usize, most: Option<i64>) {
        for partition in self.model.crew.members[member].share.clone() {
            let Some((topic, index)) = self.broker.topic_of(partition) else { continue };
            let Ok(head) = self.broker.head(partition) else { continue };
            let committed = || self.broker.committed_offset(READERS[CREW as usize], &topic, index).map(|c| c.offset);
            let place = self.model.crew.members[member].places.get(&partition).copied();
            let from = place.or_else(committed).unwrap_or(0).max(head.log_start);
            if from > head.high_watermark {
                self.wrong.push(format!("{partition:?}: committed {from}, beyond the end {}", head.high_watermark));
            }
            let to = most.map_or(head.high_watermark, |most| head.high_watermark.min(from + self.rng.i64(1..=most)));
            let key = (CREW, topic.id, index);
            let asked = self.model.offsets.get(&key).and_then(|register| register.last().copied());
            // At the end what was deleted unread is stepped over as well.
            if from >= to && (most.is_some() || asked == Some(to)) {
                continue;
            }
            self.note(Event::Crew(CrewEvent::Processed { member, partition, from, to }));
            self.commit_work(member, key, to);
        }
    }

    fn commit_work(&mut self, member: usize, key: crate::model::OffsetKey, offset: i64) {
        let (ticket, membership) = (self.ticket(), self.membership(member));
        self.note(Event::OffsetAsked { ticket, key, offset });
        let broker = self.broker.clone();
        let commit = async move {
            let committed = CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
            let offsets = vec![(key.1, key.2, committed)];
            Answer::Offset(broker.commit_group_offsets(READERS[key.0 as usize], membership, offsets).await)
        };
        self.tasks.spawn(&self.disk, Asked::Work { ticket, key, member }, commit);
        self.listen();
    }

    fn claim(&self, member: usize) -> Claim {
        Claim { member_id: self.model.crew.members[member].id.clone(), instance_id: None }
    }

    fn membership(&self, member: usize) -> Option<Membership> {
        let generation = self.model.crew.members[member].generation?;
        Some(Membership { claim: self.claim(member), generation })
    }

    /// Its place is gone, or the group moves on: it comes again.
    pub fn member_out(&mut self, member: usize, error: &GroupError) {
        let id = match error {
            GroupError::Rebalancing | GroupError::OldGeneration => self.model.crew.members[member].id.clone(),
            GroupError::UnknownMember => String::new(),
            other => {
                self.failed(&format!("member {member}: {other}"));
                String::new()
            }
        };
        self.note(Event::Crew(CrewEvent::Out { member, id }));
    }

    /// What came of joining.
    pub fn place_answered(&mut self, member: usize, result: Result<Place, NoPlace>) -> Option<Event> {
        self.members_busy[member] = false;
        match result {
            Ok(Place { id, generation, share }) => {
                Some(Event::Crew(CrewEvent::Assigned { member, id, generation, share }))
            }
            Err(NoPlace { error, id }) => {
                let id = if error == GroupError::UnknownMember { String::new() } else { id };
                if !matches!(error, GroupError::UnknownMember | GroupError::Rebalancing | GroupError::OldGeneration) {
                    self.failed(&format!("member {member} joins: {error}"));
                }
                Some(Event::Crew(CrewEvent::Out { member, id }))
            }
        }
    }
}

/// Joins and, as the leader, deals out all partitions that there are.
async fn place(broker: &Broker, id: String) -> Result<Place, NoPlace> {
    let group = READERS[CREW as usize];
    let joined = loop_join(broker, group, id).await?;
    let membership = Membership {
        claim: Claim { member_id: joined.member_id.clone(), instance_id: None },
        generation: joined.generation,
    };
    let assignments = if joined.leader == joined.member_id { deal(broker, &joined) } else { Vec::new() };
    let sync = SyncGroup { membership, protocol_type: None, protocol: None, assignments };
    let (id, generation) = (joined.member_id, joined.generation);
    match broker.sync_group(group, sync).await {
        Ok(synced) => {
            let each = synced.assignment.as_chunks::<4>().0.iter();
            let share = each.map(|bytes| PartitionId(u32::from_be_bytes(*bytes))).collect();
            Ok(Place { id, generation, share })
        }
        Err(error) => Err(NoPlace { error, id }),
    }
}

/// A new member gets its id first. What it subscribes to is all there is: where that has changed, the group rebalances.
async fn loop_join(broker: &Broker, group: &str, mut id: String) -> Result<Joined, NoPlace> {
    loop {
        let join = JoinGroup {
            claim: Claim { member_id: id, instance_id: None },
            client_id: "crew".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_ms: SESSION_MS,
            rebalance_ms: REBALANCE_MS,
            protocol_type: "consumer".to_owned(),
            protocols: vec![(PROTOCOL.to_owned(), bytes(&partitions(broker)).into())],
            id_first: true,
            can_skip: false,
        };
        match broker.join_group(group, join).await {
            Ok(joined) => return Ok(joined),
            Err(refused) if refused.error == GroupError::MemberIdRequired => id = refused.member_id,
            Err(refused) => return Err(NoPlace { error: refused.error, id: refused.member_id }),
        }
    }
}

fn deal(broker: &Broker, joined: &Joined) -> Vec<(String, Opaque)> {
    let (all, count) = (partitions(broker), joined.members.len());
    let share = |at: usize| -> Vec<PartitionId> { all.iter().copied().skip(at).step_by(count).collect() };
    let each = joined.members.iter().enumerate();
    each.map(|(at, member)| (member.member_id.clone(), bytes(&share(at)).into())).collect()
}

/// All of clients' topics.
fn partitions(broker: &Broker) -> Vec<PartitionId> {
    let topics = broker.topics();
    let of_clients = topics.iter().filter(|topic| !topic.is_internal());
    let mut partitions: Vec<_> = of_clients.flat_map(|topic| topic.partitions.clone()).collect();
    partitions.sort_unstable();
    partitions
}

/// A share, as members tell it each other.
pub fn bytes(share: &[PartitionId]) -> Vec<u8> {
    share.iter().flat_map(|partition| partition.0.to_be_bytes()).collect()
}
