//! One group as a state machine: `step(event, now)` without clocks, sockets or futures. It follows the classic protocol
//! of Apache Kafka 4.x (KIP-62, 345, 394, 814) in states, answers and codes.
//!
//! ```text
//! Empty ──join──► Preparing ──all joined, or time is up──► Completing ──the leader's assignment is durable──► Stable
//!   ▲                 ▲  │                                    │                                                  │
//!   └──nobody is left─┼──┘                                    │                                                  │
//!                     └────────── somebody joins, leaves or lapses ──────────────────────────────────────────────┘
//! ```
//!
//! Invariants: every token is answered once; within a generation each assignment is given to one member only; nobody
//! sees an assignment that isn't durable; a member of another generation than the current one changes nothing.

use super::member::Member;
use super::types::{
    Answer, Claim, Effect, Event, GroupError, JoinRefused, Joined, JoinedMember, Membership, Opaque, Token,
};

/// Bounds and times of groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How long a group that was empty waits for more members before its first generation, ms.
    pub(super) initial_delay_ms: u64,
    /// How long a new member may wait for its first generation, ms.
    pub(super) new_member_ms: u64,
    /// Most members, and most ids given out for a first join.
    pub(super) members_max: usize,
    /// Most bytes of metadata and assignments of all members.
    pub(super) bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

/// The time in which members join the next generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinPhase {
    pub(super) due: u64,
    /// The group was empty before: it waits for members to gather, however many have come.
    pub(super) initial: Option<Gathering>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Gathering {
    /// How much longer it may be drawn out, ms.
    pub(super) left_ms: u64,
    /// Somebody has come since it was last drawn out.
    pub(super) has_grown: bool,
}

/// One group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) rules: Rules,
    pub(super) state: State,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    /// In the order of their coming.
    pub(super) members: Vec<Member>,
    /// Ids given out, not yet joined with, and when each lapses.
    pub(super) promised: Vec<(String, u64)>,
    pub(super) join: Option<JoinPhase>,
    /// When those who have not asked for their assignment are out.
    pub(super) sync_due: Option<u64>,
    /// The leader's assignment on its way to the disk, with the number of the save.
    pub(super) saving: Option<(u64, Vec<(String, Opaque)>)>,
    pub(super) saves: u64,
}

impl Group {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: Vec::new(),
            promised: Vec::new(),
            join: None,
            sync_due: None,
            saving: None,
            saves: 0,
        }
    }

    /// What `event` at `now` (monotonic, ms) leads to.
    pub(super) fn step(&mut self, event: Event, now: u64) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Join { token, fresh_id, join } => self.join(token, fresh_id, join, now, &mut out),
            Event::Sync { token, sync } => self.sync(token, sync, now, &mut out),
            Event::Heartbeat { token, membership } => {
                let answer = self.heartbeat(&membership, now);
                out.push(Effect::Answer(token, Answer::Done(answer)));
            }
            Event::Leave { token, members } => self.leave(token, &members, now, &mut out),
            Event::Commit { token, membership } => {
                let answer = self.commit(membership.as_ref(), now);
                out.push(Effect::Answer(token, Answer::Done(answer)));
            }
            Event::Saved { number, ok } => self.saved(number, ok, now, &mut out),
            Event::Tick => self.tick(now, &mut out),
        }
        out
    }

    /// When [`Event::Tick`] is due, if nothing else happens.
    pub(super) fn due(&self) -> Option<u64> {
        let lapses = self.members.iter().filter_map(Member::lapse);
        let promised = self.promised.iter().map(|(_, lapses_at)| *lapses_at);
        let join = self.join.map(|join| join.due);
        lapses.chain(promised).chain(join).chain(self.sync_due).min()
    }

    /// Nobody is there or on the way.
    pub(super) fn is_deserted(&self) -> bool {
        self.state == State::Empty && self.members.is_empty() && self.promised.is_empty()
    }

    fn heartbeat(&mut self, membership: &Membership, now: u64) -> Result<(), GroupError> {
        let generation = self.generation;
        let state = self.state;
        let member = self.find(&membership.claim)?;
        if membership.generation != generation {
            return Err(GroupError::OldGeneration);
        }
        member.heard_of(now);
        match state {
            State::Empty => Err(GroupError::UnknownMember),
            State::Preparing => Err(GroupError::Rebalancing),
            State::Completing | State::Stable => Ok(()),
        }
    }

    /// Whether offsets may be committed.
    fn commit(&mut self, membership: Option<&Membership>, now: u64) -> Result<(), GroupError> {
        let by_member =
            membership.filter(|m| m.generation >= 0 || !m.claim.member_id.is_empty() || m.claim.instance_id.is_some());
        let Some(membership) = by_member else {
            // Who assigns partitions to itself, or an administrator: only while nobody else is at work here.
            return if self.state == State::Empty { Ok(()) } else { Err(GroupError::UnknownMember) };
        };
        let (generation, state) = (self.generation, self.state);
        let member = self.find(&membership.claim)?;
        if membership.generation != generation {
            return Err(GroupError::OldGeneration);
        }
        member.heard_of(now);
        // Its own partitions of this generation are not known to it yet.
        if state == State::Completing { Err(GroupError::Rebalancing) } else { Ok(()) }
    }

    /// The member that `claim` speaks for.
    pub(super) fn find(&mut self, claim: &Claim) -> Result<&mut Member, GroupError> {
        if claim.instance_id.is_some() {
            let member = self.members.iter_mut().find(|member| member.has_instance(claim));
            let member = member.ok_or(GroupError::UnknownMember)?;
            return match member.id == claim.member_id {
                true => Ok(member),
                // Which of the two is the newer one isn't known: being fenced ends a client, this lets it join anew.
                false if member.is_restored => Err(GroupError::UnknownMember),
                false => Err(GroupError::Fenced),
            };
        }
        self.members.iter_mut().find(|member| member.id == claim.member_id).ok_or(GroupError::UnknownMember)
    }

    /// Members must join again: a new generation begins.
    pub(super) fn prepare(&mut self, now: u64, out: &mut Vec<Effect>) {
        if self.state == State::Completing {
            for member in &mut self.members {
                member.assignment = Opaque::from([]);
            }
            self.fail_syncs(&GroupError::Rebalancing, now, out);
        }
        self.saving = None;
        self.sync_due = None;
        let was_empty = self.state == State::Empty;
        self.state = State::Preparing;
        if was_empty {
            let delay = self.rules.initial_delay_ms;
            let left_ms = self.rebalance_ms().saturating_sub(delay);
            let initial = Some(Gathering { left_ms, has_grown: false });
            self.join = Some(JoinPhase { due: now.saturating_add(delay), initial });
        } else {
            self.join = Some(JoinPhase { due: now.saturating_add(self.rebalance_ms()), initial: None });
            self.complete_if_all_joined(now, out);
        }
    }

    /// Somebody has come, gone or joined again.
    pub(super) fn rebalance(&mut self, now: u64, out: &mut Vec<Effect>) {
        match self.state {
            State::Preparing => self.complete_if_all_joined(now, out),
            _ => self.prepare(now, out),
        }
    }

    pub(super) fn complete_if_all_joined(&mut self, now: u64, out: &mut Vec<Effect>) {
        let gathers = self.join.is_none_or(|join| join.initial.is_some());
        let all_joined = self.promised.is_empty() && self.members.iter().all(|member| member.joining.is_some());
        if self.state == State::Preparing && !gathers && all_joined {
            self.complete_join(now, out);
        }
    }

    /// The next generation: of those who have joined, and of static members, who may be restarting just now.
    pub(super) fn complete_join(&mut self, now: u64, out: &mut Vec<Effect>) {
        self.join = None;
        while let Some(absent) = self.members.iter().position(|m| m.joining.is_none() && m.instance_id.is_none()) {
            self.remove(absent, out);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Static members only, and none has come back: their sessions decide.
            self.join = Some(JoinPhase { due: now.saturating_add(self.rebalance_ms()), initial: None });
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            (self.state, self.protocol, self.leader) = (State::Empty, None, None);
            out.push(Effect::SaveLazily);
            return;
        }
        self.state = State::Completing;
        self.protocol = self.elect_protocol();
        self.sync_due = Some(now.saturating_add(self.rebalance_ms()));
        for member in &mut self.members {
            member.heard_of(now);
            member.is_new = false;
            member.has_synced = false;
        }
        for index in 0..self.members.len() {
            self.answer_join(index, false, out);
        }
    }

    /// Tells the member at `index`, if it waits, of the generation as it is. `assigned`: the assignment stands.
    pub(super) fn answer_join(&mut self, index: usize, assigned: bool, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(index) else { return };
        let Some(joining) = member.joining.take() else { return };
        let member_id = member.id.clone();
        let leads = self.leader.as_deref() == Some(&member_id);
        let skip_assignment = leads && assigned && joining.can_skip;
        // A leader that can't be told to leave the assignment as it is must take itself for a follower.
        let leader = if leads && assigned && !joining.can_skip { String::new() } else { self.leader() };
        let members = if leads && (!assigned || joining.can_skip) { self.for_leader() } else { Vec::new() };
        let joined = Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            leader,
            member_id,
            skip_assignment,
            members,
        };
        out.push(Effect::Answer(joining.token, Answer::Joined(Ok(joined))));
    }

    fn for_leader(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let one = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(one).collect()
    }

    fn leader(&self) -> String {
        self.leader.clone().unwrap_or_default()
    }

    /// The leader stays if it has joined; else the first that has. Whether there is one.
    fn elect_leader(&mut self) -> bool {
        let joined = |member: &&Member| member.joining.is_some();
        let stays = self.members.iter().filter(joined).any(|member| Some(&member.id) == self.leader.as_ref());
        if !stays {
            let first = self.members.iter().find(joined).map(|member| member.id.clone());
            if first.is_none() {
                return false;
            }
            self.leader = first;
        }
        true
    }

    /// Of what all can do, what most prefer; of equals, the one named first by the oldest member.
    pub(super) fn elect_protocol(&self) -> Option<String> {
        let is_common = |name: &str| self.members.iter().all(|member| member.supports(name));
        let candidates: Vec<&str> = self
            .members
            .first()?
            .protocols
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| is_common(name))
            .collect();
        let votes_for = |candidate: &str| {
            let vote = |m: &Member| m.protocols.iter().map(|(name, _)| name.clone()).find(|name| is_common(name));
            self.members.iter().filter(|member| vote(member).as_deref() == Some(candidate)).count()
        };
        let mut best: Option<(&str, usize)> = None;
        for candidate in candidates {
            let votes = votes_for(candidate);
            if best.is_none_or(|(_, most)| votes > most) {
                best = Some((candidate, votes));
            }
        }
        best.map(|(name, _)| name.to_owned())
    }

    /// Takes a member out. What it waits for is refused.
    pub(super) fn remove(&mut self, index: usize, out: &mut Vec<Effect>) {
        if index >= self.members.len() {
            return;
        }
        let member = self.members.remove(index);
        if let Some(joining) = member.joining {
            refuse_join(joining.token, GroupError::UnknownMember, String::new(), out);
        }
        if let Some(token) = member.syncing {
            out.push(Effect::Answer(token, Answer::Synced(Err(GroupError::UnknownMember))));
        }
        if self.leader.as_ref() == Some(&member.id) {
            self.leader = self.members.first().map(|member| member.id.clone());
        }
    }

    /// Refuses all who wait for their assignment.
    pub(super) fn fail_syncs(&mut self, error: &GroupError, now: u64, out: &mut Vec<Effect>) {
        for member in &mut self.members {
            if let Some(token) = member.syncing.take() {
                member.heard_of(now);
                out.push(Effect::Answer(token, Answer::Synced(Err(error.clone()))));
            }
        }
    }

    /// The longest that a member may take to join again, ms.
    pub(super) fn rebalance_ms(&self) -> u64 {
        self.members.iter().map(|member| member.rebalance_ms).max().unwrap_or(0)
    }

    pub(super) fn bytes(&self) -> usize {
        self.members.iter().map(Member::bytes).sum()
    }

    pub(super) fn too_large(&self) -> GroupError {
        GroupError::TooLarge(format!("a group's members have at most {} bytes together", self.rules.bytes_max))
    }
}

pub(super) fn refuse_join(token: Token, error: GroupError, member_id: String, out: &mut Vec<Effect>) {
    out.push(Effect::Answer(token, Answer::Joined(Err(JoinRefused { error, member_id }))));
}
