//! The ways out of a group: leaving, silence, not joining or not asking for the assignment in time.

use super::group::{Gathering, Group, JoinPhase, State};
use super::types::{Answer, Claim, Effect, GroupError, Token};

impl Group {
    pub(super) fn leave(&mut self, token: Token, claims: &[Claim], now: u64, out: &mut Vec<Effect>) {
        let before = self.members.len();
        let mut outcomes = Vec::with_capacity(claims.len());
        for claim in claims {
            outcomes.push(self.leave_one(claim, out));
        }
        out.push(Effect::Answer(token, Answer::Left(outcomes)));
        if self.members.len() < before {
            self.departed(now, out);
        } else {
            self.complete_if_all_joined(now, out);
        }
    }

    fn leave_one(&mut self, claim: &Claim, out: &mut Vec<Effect>) -> Result<(), GroupError> {
        if claim.instance_id.is_none()
            && let Some(index) = self.promised.iter().position(|(id, _)| *id == claim.member_id)
        {
            self.promised.remove(index);
            return Ok(());
        }
        // An administrator takes a static member out by its name alone.
        let by_name = claim.member_id.is_empty() && claim.instance_id.is_some();
        if !by_name {
            self.find(claim)?;
        }
        let is_it = |member: &super::member::Member| match by_name {
            true => member.has_instance(claim),
            false => member.id == claim.member_id,
        };
        let index = self.members.iter().position(is_it).ok_or(GroupError::UnknownMember)?;
        self.remove(index, out);
        Ok(())
    }

    /// Members have gone.
    fn departed(&mut self, now: u64, out: &mut Vec<Effect>) {
        match self.state {
            State::Stable | State::Completing => self.prepare(now, out),
            State::Preparing => self.complete_if_all_joined(now, out),
            State::Empty => {}
        }
    }

    /// Does all that is due at `now`.
    pub(super) fn tick(&mut self, now: u64, out: &mut Vec<Effect>) {
        let promised = self.promised.len();
        self.promised.retain(|(_, lapses_at)| *lapses_at > now);
        if self.promised.len() < promised {
            self.complete_if_all_joined(now, out);
        }
        let members = self.members.len();
        while let Some(index) = self.members.iter().position(|m| m.lapse().is_some_and(|at| at <= now)) {
            self.remove(index, out);
        }
        if self.members.len() < members {
            self.departed(now, out);
        }
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync_due = None;
            let members = self.members.len();
            while let Some(index) = self.members.iter().position(|member| !member.has_synced) {
                self.remove(index, out);
            }
            if self.members.len() < members {
                self.departed(now, out);
            }
        }
        if let Some(phase) = self.join.filter(|phase| phase.due <= now) {
            self.join_phase_over(phase, now, out);
        }
    }

    fn join_phase_over(&mut self, phase: JoinPhase, now: u64, out: &mut Vec<Effect>) {
        match phase.initial {
            // More may be on their way: drawn out once more, within the rebalance time-out.
            Some(Gathering { left_ms, has_grown: true }) if left_ms > 0 => {
                let longer = self.rules.initial_delay_ms.min(left_ms);
                let initial = Some(Gathering { left_ms: left_ms - longer, has_grown: false });
                self.join = Some(JoinPhase { due: now.saturating_add(longer), initial });
            }
            _ => self.complete_join(now, out),
        }
    }
}
