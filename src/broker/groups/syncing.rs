//! The assignment of a generation: handed in by the leader, stored, then handed out.

use super::group::{Group, State};
use super::member::Member;
use super::types::{Answer, Effect, GroupError, Opaque, SyncGroup, Synced, Token};

impl Group {
    pub(super) fn sync(&mut self, token: Token, sync: SyncGroup, now: u64, out: &mut Vec<Effect>) {
        let refused = self.check_sync(&sync).err();
        if let Some(error) = refused {
            return out.push(Effect::Answer(token, Answer::Synced(Err(error))));
        }
        let Some(index) = self.members.iter().position(|m| m.id == sync.membership.claim.member_id) else { return };
        let Some(member) = self.members.get_mut(index) else { return };
        member.has_synced = true;
        let leads = self.leader.as_ref() == Some(&member.id);
        if self.state == State::Stable {
            member.heard_of(now);
            let assignment = Opaque::clone(&member.assignment);
            let synced = self.synced(assignment);
            out.push(Effect::Answer(token, Answer::Synced(Ok(synced))));
        } else {
            if let Some(before) = member.syncing.replace(token) {
                out.push(Effect::Answer(before, Answer::Synced(Err(GroupError::Rebalancing))));
            }
            if leads && self.saving.is_none() {
                self.save(index, sync.assignments, out);
            }
        }
        if self.members.iter().all(|member| member.has_synced) {
            self.sync_due = None;
        }
    }

    fn check_sync(&mut self, sync: &SyncGroup) -> Result<(), GroupError> {
        self.find(&sync.membership.claim)?;
        if sync.membership.generation != self.generation {
            return Err(GroupError::OldGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::Preparing => Err(GroupError::Rebalancing),
            State::Completing | State::Stable => Ok(()),
        }
    }

    /// The leader at `index` has assigned: that is stored first.
    fn save(&mut self, index: usize, assignments: Vec<(String, Opaque)>, out: &mut Vec<Effect>) {
        let bytes: usize = assignments.iter().map(|(_, bytes)| bytes.len()).sum();
        if self.bytes().saturating_add(bytes) > self.rules.bytes_max {
            let token = self.members.get_mut(index).and_then(|member| member.syncing.take());
            let error = self.too_large();
            out.extend(token.map(|token| Effect::Answer(token, Answer::Synced(Err(error)))));
            return;
        }
        self.saves += 1;
        self.saving = Some((self.saves, assignments));
        out.push(Effect::Save { number: self.saves });
    }

    /// What `member` has once all that is being saved is durable.
    pub(super) fn assignment_to_be(&self, member: &Member) -> Opaque {
        let Some((_, assignments)) = &self.saving else { return Opaque::clone(&member.assignment) };
        let found = assignments.iter().find(|(id, _)| *id == member.id);
        found.map_or_else(|| Opaque::from([]), |(_, bytes)| Opaque::clone(bytes))
    }

    pub(super) fn saved(&mut self, number: u64, ok: bool, now: u64, out: &mut Vec<Effect>) {
        if self.state == State::Completing && self.saving.as_ref().is_some_and(|(saving, _)| *saving == number) {
            return self.assigned(ok, now, out);
        }
        if self.state != State::Stable {
            return;
        }
        // Static members that came back.
        for index in 0..self.members.len() {
            let waits = self.members.get(index).and_then(|m| m.joining?.after_save).is_some_and(|save| save <= number);
            if !waits {
                continue;
            }
            if ok {
                self.answer_join(index, true, out);
                self.members.iter_mut().skip(index).take(1).for_each(|member| member.heard_of(now));
            } else if let Some(member) = self.members.get_mut(index)
                && let Some(joining) = member.joining.take()
            {
                member.heard_of(now);
                super::group::refuse_join(joining.token, GroupError::NotAvailable, member.id.clone(), out);
            }
        }
    }

    /// The leader's assignment is durable, or could not be stored.
    fn assigned(&mut self, ok: bool, now: u64, out: &mut Vec<Effect>) {
        if !ok {
            self.fail_syncs(&GroupError::NotAvailable, now, out);
            return self.prepare(now, out);
        }
        let assignments: Vec<Opaque> = self.members.iter().map(|member| self.assignment_to_be(member)).collect();
        self.saving = None;
        self.state = State::Stable;
        for (index, assignment) in assignments.into_iter().enumerate() {
            let synced = self.synced(Opaque::clone(&assignment));
            let Some(member) = self.members.get_mut(index) else { continue };
            member.assignment = assignment;
            member.heard_of(now);
            if let Some(token) = member.syncing.take() {
                out.push(Effect::Answer(token, Answer::Synced(Ok(synced))));
            }
        }
    }

    fn synced(&self, assignment: Opaque) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: self.protocol.clone().unwrap_or_default(),
            assignment,
        }
    }
}
