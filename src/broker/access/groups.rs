//! Groups and what they have committed.

use std::collections::HashSet;

use super::granted::right::Describe;
use super::{Access, Granted};
use crate::broker::groups::{
    Claim, GroupDescription, GroupError, JoinGroup, JoinRefused, Joined, Membership, SyncGroup, Synced,
};
use crate::broker::rights::{Denied, Operation, Resource};
use crate::broker::{CommittedOffset, OffsetError, TopicId};

impl Access {
    fn allow_group(&self, operation: Operation, name: &str) -> Result<(), GroupError> {
        Ok(self.allow(operation, Resource::group(name))?)
    }

    /// As [`crate::broker::Broker::join_group`].
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`].
    pub async fn join_group(&self, name: &str, join: JoinGroup) -> Result<Joined, JoinRefused> {
        let refused = |error| JoinRefused { error, member_id: join.claim.member_id.clone() };
        self.allow_group(Operation::Read, name).map_err(refused)?;
        self.broker().join_group(name, join).await
    }

    /// As [`crate::broker::Broker::sync_group`].
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`].
    pub async fn sync_group(&self, name: &str, sync: SyncGroup) -> Result<Synced, GroupError> {
        self.allow_group(Operation::Read, name)?;
        self.broker().sync_group(name, sync).await
    }

    /// As [`crate::broker::Broker::heartbeat_group`].
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`].
    pub fn heartbeat_group(&self, name: &str, membership: Membership) -> Result<(), GroupError> {
        self.allow_group(Operation::Read, name)?;
        self.broker().heartbeat_group(name, membership)
    }

    /// As [`crate::broker::Broker::leave_group`].
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`].
    pub fn leave_group(&self, name: &str, members: Vec<Claim>) -> Result<Vec<Result<(), GroupError>>, GroupError> {
        self.allow_group(Operation::Read, name)?;
        self.broker().leave_group(name, members)
    }

    /// All groups that the caller may see, by name, without their members.
    pub fn groups(&self) -> Vec<GroupDescription> {
        let mut groups = self.broker().groups();
        if !self.may(Operation::Describe, Resource::CLUSTER) {
            groups.retain(|group| self.may(Operation::Describe, Resource::group(&group.name)));
        }
        groups
    }

    /// A group with its members.
    ///
    /// # Errors
    /// [`GroupError::Denied`] or `UnknownGroup`.
    pub fn group(&self, name: &str) -> Result<GroupDescription, GroupError> {
        self.allow_group(Operation::Describe, name)?;
        self.broker().group(name).ok_or(GroupError::UnknownGroup)
    }

    /// As [`crate::broker::Broker::delete_group`].
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`].
    pub async fn delete_group(&self, name: &str) -> Result<(), GroupError> {
        self.allow_group(Operation::Delete, name)?;
        self.broker().delete_group(name).await
    }

    /// A group whose offsets are about to be deleted.
    ///
    /// # Errors
    /// [`GroupError::Denied`] or `UnknownGroup`.
    pub fn group_to_clear(&self, name: &str) -> Result<GroupDescription, GroupError> {
        self.allow_group(Operation::Delete, name)?;
        self.broker().group(name).ok_or(GroupError::UnknownGroup)
    }

    /// As [`crate::broker::Broker::delete_offsets`].
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`]: for the group, or a topic that the caller may not read.
    pub async fn delete_offsets(&self, name: &str, partitions: Vec<(TopicId, i32)>) -> Result<(), OffsetError> {
        self.allow_group(Operation::Delete, name)?;
        self.allow_reading(partitions.iter().map(|(topic, _)| *topic))?;
        self.broker().delete_offsets(name, partitions).await
    }

    /// As [`crate::broker::Broker::commit_group_offsets`]; `None`: as nobody's member.
    ///
    /// # Errors
    /// As there, or [`GroupError::Denied`]: for the group, or a topic that the caller may not read.
    pub async fn commit_offsets(
        &self,
        group: &str,
        membership: Option<Membership>,
        offsets: Vec<(TopicId, i32, CommittedOffset)>,
    ) -> Result<(), OffsetError> {
        self.allow_group(Operation::Read, group)?;
        self.allow_reading(offsets.iter().map(|(topic, ..)| *topic))?;
        self.broker().commit_group_offsets(group, membership, offsets).await
    }

    /// Each topic once.
    fn allow_reading(&self, topics: impl Iterator<Item = TopicId>) -> Result<(), GroupError> {
        let topics: HashSet<TopicId> = topics.collect();
        for topic in topics.into_iter().filter_map(|id| self.broker().topic_by_id(id)) {
            self.allow(Operation::Read, Resource::topic(&topic.name))?;
        }
        Ok(())
    }

    /// Whether the caller may see a group, and what it has committed.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn allow_see_group(&self, group: &str) -> Result<(), Denied> {
        self.allow(Operation::Describe, Resource::group(group))
    }

    /// All that a group has committed in topics that are there and that the caller may see, by topic and partition.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn committed_offsets(&self, group: &str) -> Result<Vec<(String, i32, CommittedOffset)>, Denied> {
        self.allow_see_group(group)?;
        let seen = |(id, index, committed)| {
            let topic = self.broker().topic_by_id(id)?;
            self.may(Operation::Describe, Resource::topic(&topic.name)).then(|| (topic.name.clone(), index, committed))
        };
        Ok(self.broker().committed_offsets(group).into_iter().filter_map(seen).collect())
    }

    /// What a group has committed for a partition, if anything.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn committed_offset(
        &self,
        group: &str,
        topic: &Granted<Describe>,
        partition: i32,
    ) -> Result<Option<CommittedOffset>, Denied> {
        self.allow_see_group(group)?;
        Ok(self.broker().committed_offset(group, topic, partition))
    }
}
