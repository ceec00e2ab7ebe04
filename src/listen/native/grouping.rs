//! Consumer groups: a native client's member, which the gateway plays in Kafka's consumer protocol on its behalf, leading
//! included; and what is told about groups.
//!
//! Invariants: a client that goes while it waits leaves no member behind; an assignment is answered only when it is
//! durable.

use super::errors::{of_group, of_offset};
use super::requests::{Call, Failure, Told, no_partition};
use crate::broker::groups::report::{GroupPartition, GroupReport, GroupSummary, MemberReport};
use crate::broker::groups::{
    Claim, GroupDescription, GroupError, JoinGroup, Joined, MemberDescription, Membership, Opaque, SyncGroup, assignors,
};
use crate::broker::{Access, CommittedOffset, right};
use crate::frame::group_message::{GroupJoined, write_share};
use crate::frame::wire::Writer;
use crate::frame::{ErrorCode, GatewayMessage, GroupAction, GroupCommit, GroupJoin, GroupMember, Groups};
use crate::json;
use crate::kafka::consumer_protocol::{Assignment, PROTOCOL_TYPE, Subscription, TopicPartitions};
use std::collections::{BTreeMap, BTreeSet};

/// The ways of assignment offered, the preferred first: every Kafka client can do one of them.
const RANGE: &str = "range";
const ROUND_ROBIN: &str = "roundrobin";
/// How often a member that is told to join again does so before its client is.
const ATTEMPTS_MAX: usize = 8;
/// Bytes that a partition takes in a share, at most.
const SHARE_BYTES: usize = 5;

/// The member that a client speaks for.
pub(super) fn membership(member: &GroupMember<'_>) -> Membership {
    let claim = Claim { member_id: member.member.to_owned(), instance_id: member.instance.map(str::to_owned) };
    Membership { claim, generation: member.generation }
}

fn refused(error: &GroupError) -> Failure {
    Failure::new(of_group(error), error)
}

/// Serves GroupJoin.
pub(super) fn join(
    call: Call,
    client: (String, String),
    topic: String,
    join: &GroupJoin<'_>,
) -> impl Future<Output = Told> + use<> {
    let group = join.member.group.to_owned();
    let subscription = Subscription { topics: vec![topic.as_str()], ..Default::default() };
    // A topic's name always fits.
    let metadata = Opaque::from(subscription.encode().unwrap_or_default());
    let wanted = JoinGroup {
        claim: membership(&join.member).claim,
        client_id: client.0,
        client_host: client.1,
        session_ms: u64::from(join.session_ms),
        rebalance_ms: u64::from(join.rebalance_ms),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        protocols: [RANGE, ROUND_ROBIN].map(|name| (name.to_owned(), Opaque::clone(&metadata))).to_vec(),
        id_first: true,
        can_skip: true,
    };
    async move {
        if let Err(failure) = call.topic::<right::Read>(&topic) {
            return Ok(Err(failure));
        }
        let mut member = Playing { access: call.access.clone(), group, wanted, done: false };
        let (joined, assignment) = match member.play().await {
            Ok(outcome) => outcome,
            Err(error) => return Ok(Err(refused(&error))),
        };
        let partitions = match Assignment::decode(&assignment) {
            Ok(assignment) => of_topic(&assignment, &topic),
            Err(error) => {
                let text = format!("the group's leader has assigned what is no assignment of consumers: {error}");
                return Ok(Err(Failure::new(ErrorCode::Unsupported, text)));
            }
        };
        let mut share = vec![0; SHARE_BYTES * partitions.len()];
        let mut writer = Writer::new(&mut share);
        // There is room for all of them.
        let _ = write_share(&mut writer, partitions);
        let told = GroupJoined {
            id: call.id,
            member: &joined.member_id,
            generation: joined.generation,
            share: writer.written(),
        };
        call.outbox.send(GatewayMessage::GroupJoined(told)).await.map(Ok)
    }
}

/// The partitions of one topic in an assignment, ascending.
fn of_topic(assignment: &Assignment<'_>, topic: &str) -> BTreeSet<u32> {
    let shares = assignment.assigned_partitions.iter().filter(|share| share.topic == topic);
    shares.flat_map(|share| &share.partitions).filter_map(|index| u32::try_from(*index).ok()).collect()
}

/// A member that joins. Dropped before it has, it leaves.
struct Playing {
    access: Access,
    group: String,
    wanted: JoinGroup,
    done: bool,
}

impl Playing {
    /// Joins and syncs until the group agrees.
    async fn play(&mut self) -> Result<(Joined, Opaque), GroupError> {
        let mut last = GroupError::Rebalancing;
        for _ in 0..ATTEMPTS_MAX {
            match self.once().await {
                Ok(outcome) => {
                    self.done = true;
                    return Ok(outcome);
                }
                Err(GroupError::UnknownMember) if !self.wanted.claim.member_id.is_empty() => {
                    self.wanted.claim.member_id.clear();
                }
                Err(error @ (GroupError::Rebalancing | GroupError::OldGeneration | GroupError::MemberIdRequired)) => {
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn once(&mut self) -> Result<(Joined, Opaque), GroupError> {
        let joined = match self.access.join_group(&self.group, self.wanted.clone()).await {
            Ok(joined) => joined,
            Err(refused) => {
                if refused.error == GroupError::MemberIdRequired {
                    self.wanted.claim.member_id = refused.member_id;
                }
                return Err(refused.error);
            }
        };
        self.wanted.claim.member_id.clone_from(&joined.member_id);
        let leads = joined.leader == joined.member_id && !joined.skip_assignment;
        let assignments = if leads { assign(&self.access, &joined) } else { Vec::new() };
        let sync = SyncGroup {
            membership: Membership { claim: self.wanted.claim.clone(), generation: joined.generation },
            protocol_type: Some(joined.protocol_type.clone()),
            protocol: Some(joined.protocol.clone()),
            assignments,
        };
        let synced = self.access.sync_group(&self.group, sync).await?;
        Ok((joined, synced.assignment))
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let claim = &self.wanted.claim;
        // A static member's share waits for its next process.
        if !self.done && !claim.member_id.is_empty() && claim.instance_id.is_none() {
            // Whether it was a member by now is all the same.
            let _ = self.access.leave_group(&self.group, vec![claim.clone()]);
        }
    }
}

/// The leader's part: everyone's share. A member whose wishes can't be read gets nothing.
fn assign(access: &Access, joined: &Joined) -> Vec<(String, Opaque)> {
    let wishes: Vec<assignors::Wish<'_>> = joined
        .members
        .iter()
        .map(|member| assignors::Wish {
            member_id: &member.member_id,
            instance_id: member.instance_id.as_deref(),
            topics: Subscription::decode(&member.metadata).map(|wish| wish.topics).unwrap_or_default(),
        })
        .collect();
    // Also of topics that only others may see: the assignment is theirs.
    let count = |topic: &str| access.partitions_of(topic);
    let assigned = match joined.protocol.as_str() {
        ROUND_ROBIN => assignors::round_robin(&wishes, count),
        _ => assignors::range(&wishes, count),
    };
    let encode = |(member, topics): (&str, BTreeMap<&str, Vec<i32>>)| {
        let shares = topics.into_iter().map(|(topic, partitions)| TopicPartitions { topic, partitions });
        let assignment = Assignment { assigned_partitions: shares.collect(), user_data: None };
        // Names of topics that exist fit.
        (member.to_owned(), assignment.encode().unwrap_or_default().into())
    };
    assigned.into_iter().map(encode).collect()
}

/// Serves GroupBeat.
pub(super) fn beat(call: Call, member: &GroupMember<'_>) -> impl Future<Output = Told> + use<> {
    let outcome = call.access.heartbeat_group(member.group, membership(member));
    async move {
        match outcome {
            Ok(()) => call.done().await.map(Ok),
            Err(error) => Ok(Err(refused(&error))),
        }
    }
}

/// Serves GroupLeave. Who is no member has left.
pub(super) fn leave(call: Call, member: &GroupMember<'_>) -> impl Future<Output = Told> + use<> {
    let outcome = call.access.leave_group(member.group, vec![membership(member).claim]);
    async move {
        match outcome {
            Ok(_) | Err(GroupError::UnknownMember) => call.done().await.map(Ok),
            Err(error) => Ok(Err(refused(&error))),
        }
    }
}

/// Serves GroupCommit.
pub(super) fn commit(call: Call, topic: String, commit: &GroupCommit<'_>) -> impl Future<Output = Told> + use<> {
    let (group, membership) = (commit.member.group.to_owned(), membership(&commit.member));
    let offsets = commit.offsets.clone();
    async move {
        let topic = match call.topic::<right::Read>(&topic) {
            Ok(topic) => topic,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut entries = Vec::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let index = i32::try_from(partition).unwrap_or(i32::MAX);
            if topic.partition(index).is_none() {
                return Ok(Err(no_partition(&topic, index)));
            }
            entries.push((topic.id, index, CommittedOffset { offset, leader_epoch: -1, metadata: String::new() }));
        }
        match call.access.commit_offsets(&group, Some(membership), entries).await {
            Ok(()) => call.done().await.map(Ok),
            Err(error) => Ok(Err(Failure::new(of_offset(&error), error))),
        }
    }
}

/// Serves Groups.
pub(super) fn look(call: Call, groups: &Groups<'_>) -> impl Future<Output = Told> + use<> {
    let (action, name) = (groups.action, groups.name.to_owned());
    async move {
        let access = &call.access;
        let text = match action {
            GroupAction::List => json::to_string(&list(access)),
            GroupAction::Describe => match access.group(&name) {
                Ok(group) => json::to_string(&report(access, &group)),
                Err(error) => return Ok(Err(refused(&error))),
            },
            GroupAction::Delete => match access.delete_group(&name).await {
                Ok(()) => String::new(),
                Err(error) => return Ok(Err(refused(&error))),
            },
        };
        call.text(&text).await.map(Ok)
    }
}

fn list(access: &Access) -> Vec<GroupSummary> {
    let one = |group: GroupDescription| GroupSummary {
        name: group.name,
        state: group.state.to_owned(),
        protocol_type: group.protocol_type,
        members: group.member_count,
    };
    access.groups().into_iter().map(one).collect()
}

fn report(access: &Access, group: &GroupDescription) -> GroupReport {
    let mut partitions: BTreeMap<(String, i32), GroupPartition> = BTreeMap::new();
    // Who may see the group may see what it has committed.
    for (topic, index, committed) in access.committed_offsets(&group.name).unwrap_or_default() {
        let entry = partitions.entry((topic, index)).or_default();
        (entry.committed, entry.metadata) = (Some(committed.offset), committed.metadata);
    }
    let mut members = Vec::with_capacity(group.members.len());
    for member in &group.members {
        let shares = shares(group, member);
        for (topic, index) in &shares {
            let entry = partitions.entry((topic.clone(), *index)).or_default();
            entry.member = Some(member.member_id.clone());
        }
        members.push(MemberReport {
            id: member.member_id.clone(),
            instance: member.instance_id.clone(),
            client: member.client_id.clone(),
            host: member.client_host.clone(),
            partitions: shares.len(),
        });
    }
    let placed = |((topic, index), mut partition): ((String, i32), GroupPartition)| {
        let found = access.topic::<right::Describe>(&topic).ok();
        let head = found.and_then(|topic| access.head(&topic, topic.partition(index)?).ok());
        let (log_start, end) = head.map_or((0, 0), |head| (head.log_start, head.readable_end()));
        let lag = |committed: i64| u64::try_from(end.saturating_sub(committed.max(log_start))).unwrap_or(0);
        partition.lag = partition.committed.map(lag);
        (partition.topic, partition.partition) = (topic, u32::try_from(index).unwrap_or(0));
        (partition.log_start, partition.end) = (log_start, end);
        partition
    };
    GroupReport {
        name: group.name.clone(),
        state: group.state.to_owned(),
        protocol_type: group.protocol_type.clone(),
        protocol: group.protocol.clone(),
        generation: group.generation,
        members,
        partitions: partitions.into_iter().map(placed).collect(),
    }
}

/// What a member has got, if that can be read.
fn shares(group: &GroupDescription, member: &MemberDescription) -> Vec<(String, i32)> {
    if group.protocol_type != PROTOCOL_TYPE {
        return Vec::new();
    }
    let Ok(assignment) = Assignment::decode(&member.assignment) else { return Vec::new() };
    let all = assignment.assigned_partitions.iter();
    all.flat_map(|share| share.partitions.iter().map(|index| (share.topic.to_owned(), *index))).collect()
}
