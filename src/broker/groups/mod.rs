//! Consumer groups of the classic protocol: who is a member, who assigns, who has what, and how far they have come.
//!
//! | file | job |
//! |---|---|
//! | [`types`] | what is asked and answered |
//! | [`group`], `joining`, `syncing`, `leaving` | one group as a pure state machine |
//! | `member`, `saved` | a member; a group as it lies in the store |
//! | `registry` | all groups, and who waits for an answer |
//! | `driving` | time, saves, and what is forgotten |
//! | [`report`] | groups as administrators read them |
//! | [`assignors`] | who gets what, where the gateway leads on behalf of a native member |
//!
//! Where it differs from Kafka: an empty group waits 100 ms for members to gather, not 3 s
//! (`group.initial_rebalance_delay`); offsets age by the time that the gateway was powered; a group's members are
//! bounded in number and bytes.

pub mod assignors;
mod driving;
mod group;
mod joining;
mod leaving;
mod member;
mod registry;
pub mod report;
mod saved;
mod syncing;
mod types;

#[cfg(test)]
mod tests;

use super::Broker;
use super::call::call;
use super::error::OffsetError;
use super::offsets;
use super::topic::TopicId;
use crate::limits;
use crate::store::Space;
use driving::Which;
pub(super) use registry::Groups;
use types::{Answer, Event};
pub use types::{
    Claim, GroupError, JoinGroup, JoinRefused, Joined, JoinedMember, Membership, Opaque, SyncGroup, Synced,
};

/// A group, as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub name: String,
    /// "Empty", "PreparingRebalance", "CompletingRebalance" or "Stable".
    pub state: &'static str,
    /// "consumer" mostly; "" if it never had members.
    pub protocol_type: String,
    /// The way of assignment, while there is one.
    pub protocol: String,
    /// Counts its memberships.
    pub generation: i32,
    /// How many members it has.
    pub member_count: usize,
    /// Its members, in the order of their coming, where they were asked for.
    pub members: Vec<MemberDescription>,
}

/// A member, as administrators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its name, if it is static.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where it comes from.
    pub client_host: String,
    /// What it told the leader, for the protocol chosen.
    pub metadata: Opaque,
    /// What it got.
    pub assignment: Opaque,
}

impl Broker {
    /// Joins a group; resolves with its next generation, which may take as long as the members' rebalance time-out.
    ///
    /// # Errors
    /// Why not, and the id to go on with.
    pub async fn join_group(&self, name: &str, join: JoinGroup) -> Result<Joined, JoinRefused> {
        let asked = join.claim.member_id.clone();
        let refused = |error| JoinRefused { error, member_id: asked.clone() };
        check_name(name).and_then(|()| check_join(&join)).map_err(refused)?;
        let is_new = asked.is_empty();
        let fresh_id = {
            let prefix = join.claim.instance_id.as_deref().unwrap_or(&join.client_id);
            let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= limits::CLIENT_ID_BYTES_MAX;
            let prefix: String = prefix.char_indices().take_while(fits).map(|(_, c)| c).collect();
            format!("{prefix}-{}", TopicId::random())
        };
        let event = |token| Event::Join { token, fresh_id, join };
        let answer = self.shared.groups.ask(name, is_new, event).map_err(refused)?;
        match answer.await {
            Some(Answer::Joined(joined)) => joined,
            _ => Err(refused(GroupError::NotAvailable)),
        }
    }

    /// Asks for a member's assignment, as the leader hands in everyone's; resolves when the leader has, durably.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn sync_group(&self, name: &str, sync: SyncGroup) -> Result<Synced, GroupError> {
        check_name(name)?;
        let answer = self.shared.groups.ask(name, false, |token| Event::Sync { token, sync })?;
        match answer.await {
            Some(Answer::Synced(synced)) => synced,
            _ => Err(GroupError::NotAvailable),
        }
    }

    /// Says that a member lives.
    ///
    /// # Errors
    /// [`GroupError::Rebalancing`] when it must join again; see [`GroupError`].
    pub fn heartbeat_group(&self, name: &str, membership: Membership) -> Result<(), GroupError> {
        check_name(name)?;
        let answer = self.shared.groups.ask(name, false, |token| Event::Heartbeat { token, membership })?;
        match answer.take() {
            Some(Answer::Done(done)) => done,
            _ => Err(GroupError::NotAvailable),
        }
    }

    /// Members go; by its name alone a static one is taken out by an administrator. An outcome each.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub fn leave_group(&self, name: &str, members: Vec<Claim>) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        check_name(name)?;
        let answer = self.shared.groups.ask(name, false, |token| Event::Leave { token, members })?;
        match answer.take() {
            Some(Answer::Left(outcomes)) => Ok(outcomes),
            _ => Err(GroupError::NotAvailable),
        }
    }

    /// All groups, by name, without their members.
    pub fn groups(&self) -> Vec<GroupDescription> {
        self.shared.groups.lock().groups.iter().map(|(name, entry)| describe(name, &entry.group, false)).collect()
    }

    /// A group with its members.
    pub fn group(&self, name: &str) -> Option<GroupDescription> {
        self.shared.groups.lock().groups.get(name).map(|entry| describe(name, &entry.group, true))
    }

    /// Deletes a group and its offsets.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], [`GroupError::NotEmpty`], or [`GroupError::NotAvailable`] when the store does not
    /// take it.
    pub async fn delete_group(&self, name: &str) -> Result<(), GroupError> {
        check_name(name)?;
        let is_deserted = self.shared.groups.lock().is_deserted(name).ok_or(GroupError::UnknownGroup)?;
        if !is_deserted {
            return Err(GroupError::NotEmpty);
        }
        match self.forget_group(name, Which::Deserted).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(GroupError::NotEmpty),
            Err(error) => {
                log::warn!("group {name} could not be deleted: {error}");
                Err(GroupError::NotAvailable)
            }
        }
    }

    /// Deletes committed offsets of a group. Who is at work there isn't asked: the caller knows what members read.
    ///
    /// # Errors
    /// [`OffsetError::Group`] when there is no such group, or the store's.
    pub async fn delete_offsets(&self, name: &str, partitions: Vec<(TopicId, i32)>) -> Result<(), OffsetError> {
        check_name(name)?;
        if !self.shared.groups.lock().groups.contains_key(name) {
            return Err(GroupError::UnknownGroup.into());
        }
        let keys: Vec<_> = partitions.into_iter().map(|(topic, index)| offsets::key(name, topic, index)).collect();
        let apply =
            move |draft: &mut crate::store::Draft<'_>| keys.iter().try_for_each(|key| draft.delete(Space::Group, key));
        call(&self.shared.store, apply, |()| {}).await?;
        Ok(())
    }
}

fn describe(name: &str, group: &group::Group, with_members: bool) -> GroupDescription {
    let protocol = group.protocol.clone().unwrap_or_default();
    let one = |member: &member::Member| MemberDescription {
        member_id: member.id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        metadata: member.metadata(&protocol),
        assignment: Opaque::clone(&member.assignment),
    };
    GroupDescription {
        name: name.to_owned(),
        state: group.state.name(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        generation: group.generation,
        member_count: group.members.len(),
        members: if with_members { group.members.iter().map(one).collect() } else { Vec::new() },
        protocol,
    }
}

pub(super) fn check_name(name: &str) -> Result<(), GroupError> {
    let fits = (1..=limits::READER_NAME_BYTES_MAX).contains(&name.len());
    if fits { Ok(()) } else { Err(GroupError::InvalidName) }
}

fn check_join(join: &JoinGroup) -> Result<(), GroupError> {
    let (min, max) = (limits::GROUP_SESSION_MS_MIN, limits::GROUP_SESSION_MS_MAX);
    if !(min..=max).contains(&join.session_ms) {
        let text = format!("a session time-out of {} ms is outside {min} to {max} ms", join.session_ms);
        return Err(GroupError::InvalidSession(text));
    }
    if join.claim.instance_id.as_ref().is_some_and(|name| name.is_empty() || name.len() > limits::READER_NAME_BYTES_MAX)
    {
        let max = limits::READER_NAME_BYTES_MAX;
        return Err(GroupError::TooLarge(format!("the name of a static member has 1 to {max} bytes")));
    }
    if join.protocols.len() > limits::GROUP_PROTOCOLS_MAX {
        let max = limits::GROUP_PROTOCOLS_MAX;
        return Err(GroupError::TooLarge(format!("a member has at most {max} ways of assignment")));
    }
    Ok(())
}
