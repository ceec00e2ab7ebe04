//! Joining a group: new members, members that come again, and static members that come back under a new id.

use super::group::{Group, State, refuse_join};
use super::member::{Joining, Member, protocols_bytes};
use super::types::{Answer, Effect, GroupError, JoinGroup, Opaque, Token};

impl Group {
    pub(super) fn join(&mut self, token: Token, fresh_id: String, join: JoinGroup, now: u64, out: &mut Vec<Effect>) {
        let asked = join.claim.member_id.clone();
        if !self.has_room_for(&asked) {
            return refuse_join(token, GroupError::TooMany, String::new(), out);
        }
        if !self.supports(&join) {
            return refuse_join(token, GroupError::InconsistentProtocol, asked, out);
        }
        if asked.is_empty() {
            return self.join_anew(token, fresh_id, join, now, out);
        }
        if let Some(index) = self.promised.iter().position(|(id, _)| *id == asked) {
            if join.claim.instance_id.is_some() {
                // Ids are promised to dynamic members only.
                return refuse_join(token, GroupError::UnknownMember, asked, out);
            }
            self.promised.remove(index);
            return self.add(token, asked, join, now, out);
        }
        if let Err(error) = self.find(&join.claim) {
            return refuse_join(token, error, asked, out);
        }
        match self.members.iter().position(|member| member.id == asked) {
            Some(index) => self.join_again(index, token, join, now, out),
            None => refuse_join(token, GroupError::UnknownMember, asked, out),
        }
    }

    fn join_anew(&mut self, token: Token, fresh_id: String, join: JoinGroup, now: u64, out: &mut Vec<Effect>) {
        let namesake = self.members.iter().position(|member| member.has_instance(&join.claim));
        match namesake {
            Some(index) => self.replace(index, token, fresh_id, join, now, out),
            None if join.id_first && join.claim.instance_id.is_none() => {
                self.promised.push((fresh_id.clone(), now.saturating_add(join.session_ms)));
                refuse_join(token, GroupError::MemberIdRequired, fresh_id, out);
            }
            None => self.add(token, fresh_id, join, now, out),
        }
    }

    /// A member that the group doesn't have yet.
    fn add(&mut self, token: Token, id: String, join: JoinGroup, now: u64, out: &mut Vec<Effect>) {
        if self.bytes().saturating_add(protocols_bytes(&join.protocols)) > self.rules.bytes_max {
            return refuse_join(token, self.too_large(), String::new(), out);
        }
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type);
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        if let Some(gathering) = self.join.as_mut().and_then(|phase| phase.initial.as_mut()) {
            gathering.has_grown = true;
        }
        self.members.push(Member {
            id,
            instance_id: join.claim.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            session_ms: join.session_ms,
            rebalance_ms: join.rebalance_ms,
            protocols: join.protocols,
            assignment: Opaque::from([]),
            joining: Some(Joining { token, can_skip: join.can_skip, after_save: None }),
            syncing: None,
            lapses_at: now.saturating_add(self.rules.new_member_ms),
            is_new: true,
            has_synced: false,
            is_restored: false,
        });
        self.rebalance(now, out);
    }

    /// A member that the group has.
    fn join_again(&mut self, index: usize, token: Token, join: JoinGroup, now: u64, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(index) else { return };
        let leads = self.leader.as_ref() == Some(&member.id);
        let unchanged = member.protocols == join.protocols;
        let answer_lost = match self.state {
            // It has not got the answer of this generation, or not believed it.
            State::Completing => unchanged,
            // A leader that joins again wants to assign anew.
            State::Stable => unchanged && !leads,
            State::Preparing => false,
            State::Empty => return refuse_join(token, GroupError::UnknownMember, join.claim.member_id, out),
        };
        if answer_lost {
            member.heard_of(now);
            self.wait_to_join(index, token, join.can_skip, None, out);
            let assigned = self.state == State::Stable;
            return self.answer_join(index, assigned, out);
        }
        if !self.update(index, token, join, None, out) {
            return;
        }
        self.rebalance(now, out);
    }

    /// A static member has come back: it takes the place of the one that bore its name, with its assignment.
    fn replace(&mut self, index: usize, token: Token, id: String, join: JoinGroup, now: u64, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(index) else { return };
        let (joining, syncing) = (member.joining.take(), member.syncing.take());
        let old_id = std::mem::replace(&mut member.id, id.clone());
        member.client_id.clone_from(&join.client_id);
        member.client_host.clone_from(&join.client_host);
        if let Some(joining) = joining {
            refuse_join(joining.token, GroupError::Fenced, old_id.clone(), out);
        }
        if let Some(token) = syncing {
            out.push(Effect::Answer(token, Answer::Synced(Err(GroupError::Fenced))));
        }
        if self.leader.as_ref() == Some(&old_id) {
            self.leader = Some(id);
        }
        let save = self.saves + 1;
        if !self.update(index, token, join, Some(save), out) {
            return;
        }
        if let Some(member) = self.members.get_mut(index) {
            member.heard_of(now);
        }
        if self.state == State::Stable && self.elect_protocol() == self.protocol {
            // Nothing changes for the others: told when its new id is durable, as the old one would fence it.
            self.saves = save;
            return out.push(Effect::Save { number: save });
        }
        self.rebalance(now, out);
    }

    /// What a member says now, and that it waits. Whether there is room for it.
    fn update(
        &mut self,
        index: usize,
        token: Token,
        join: JoinGroup,
        after_save: Option<u64>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let total = self.bytes();
        let too_large = self.too_large();
        let bytes_max = self.rules.bytes_max;
        let Some(member) = self.members.get_mut(index) else { return false };
        let after = total - protocols_bytes(&member.protocols) + protocols_bytes(&join.protocols);
        if after > bytes_max {
            refuse_join(token, too_large, member.id.clone(), out);
            return false;
        }
        member.protocols = join.protocols;
        (member.session_ms, member.rebalance_ms) = (join.session_ms, join.rebalance_ms);
        self.wait_to_join(index, token, join.can_skip, after_save, out);
        true
    }

    /// The member at `index` waits; who waited in its place before doesn't any more.
    fn wait_to_join(
        &mut self,
        index: usize,
        token: Token,
        can_skip: bool,
        after_save: Option<u64>,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(index) else { return };
        if let Some(before) = member.joining.replace(Joining { token, can_skip, after_save }) {
            refuse_join(before.token, GroupError::Rebalancing, member.id.clone(), out);
        }
    }

    fn has_room_for(&self, id: &str) -> bool {
        let known = self.members.iter().any(|member| member.id == id) || self.promised.iter().any(|(p, _)| p == id);
        known || self.members.len() + self.promised.len() < self.rules.members_max
    }

    /// Whether who joins can do what all members can.
    fn supports(&self, join: &JoinGroup) -> bool {
        if self.members.is_empty() {
            return !join.protocol_type.is_empty() && !join.protocols.is_empty();
        }
        let is_common = |name: &str| self.members.iter().all(|member| member.supports(name));
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| is_common(name))
    }
}
