//! Topics: found, listed, made, changed and deleted.

use std::sync::Arc;

use super::granted::right::{Delete, Describe};
use super::{Access, Granted, Right};
use crate::broker::rights::{Denied, Operation, Resource};
use crate::broker::{NewTopic, Setting, SettingsChange, Topic, TopicError, TopicId};
use crate::store::PartitionId;

impl Access {
    /// The topic of this name, to be used by the right `R`. Rights are looked at first: who has none doesn't learn whether it is there.
    ///
    /// # Errors
    /// [`TopicError::Denied`] or `Unknown`.
    pub fn topic<R: Right>(&self, name: &str) -> Result<Granted<R>, TopicError> {
        self.allow(R::OPERATION, Resource::topic(name))?;
        self.broker().topic(name).map(Granted::new).ok_or_else(|| TopicError::Unknown(name.to_owned()))
    }

    /// A topic that was found before, to be used once more.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn again<R: Right>(&self, topic: &Arc<Topic>) -> Result<Granted<R>, Denied> {
        self.allow(R::OPERATION, Resource::topic(&topic.name))?;
        Ok(Granted::new(Arc::clone(topic)))
    }

    /// The topic of this identity. Who may not see it doesn't learn its name.
    ///
    /// # Errors
    /// [`TopicError::Denied`] or `Unknown`.
    pub fn topic_by_id<R: Right>(&self, id: TopicId) -> Result<Granted<R>, TopicError> {
        let topic = self.broker().topic_by_id(id).ok_or_else(|| TopicError::Unknown(format!("of the id {id}")))?;
        self.again(&topic).map_err(|mut denied| {
            if !self.may(Operation::Describe, Resource::topic(&topic.name)) {
                denied.name = id.to_string();
            }
            denied.into()
        })
    }

    /// The topic that a partition of the store belongs to, and its index in it; `None` if the caller may not use it so.
    pub fn topic_of<R: Right>(&self, partition: PartitionId) -> Option<(Granted<R>, i32)> {
        let (topic, index) = self.broker().topic_of(partition)?;
        Some((self.again(&topic).ok()?, index))
    }

    /// Number of partitions of a topic, 0 if it is not there: for the leader of a group, which hands out to others what they may read.
    pub fn partitions_of(&self, name: &str) -> u32 {
        self.broker().topic(name).map_or(0, |topic| topic.partition_count())
    }

    /// All topics that the caller may use by the right `R`, ordered by name; the others aren't told of.
    pub fn topics<R: Right>(&self) -> Vec<Granted<R>> {
        let topics = self.broker().topics().into_iter();
        topics.filter(|topic| self.may(R::OPERATION, Resource::topic(&topic.name))).map(Granted::new).collect()
    }

    /// The topic of this name, to be used by the right `R`; created with the broker's defaults if there is none, that is configured, and the
    /// caller may.
    ///
    /// # Errors
    /// [`TopicError::Denied`], else as [`crate::broker::Broker::topic_or_create`].
    pub async fn topic_or_create<R: Right>(&self, name: &str) -> Result<Granted<R>, TopicError> {
        match self.topic(name) {
            Err(TopicError::Unknown(_)) if self.broker().options().auto_create => {
                self.allow_create(name)?;
                self.broker().topic_or_create(name).await.map(Granted::new)
            }
            found => found,
        }
    }

    /// Creates a topic; it is durable when this returns.
    ///
    /// # Errors
    /// [`TopicError::Denied`], else as [`crate::broker::Broker::create_topic`].
    pub async fn create_topic(&self, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        self.allow_create(&new.name)?;
        self.broker().create_topic(new).await
    }

    /// As [`crate::broker::Broker::check_new_topic`].
    ///
    /// # Errors
    /// As [`Access::create_topic`].
    pub fn check_new_topic(&self, new: &NewTopic) -> Result<Topic, TopicError> {
        self.allow_create(&new.name)?;
        self.broker().check_new_topic(new)
    }

    /// Topics are created by whoever may create any, or this one.
    fn allow_create(&self, name: &str) -> Result<(), Denied> {
        if self.may(Operation::Create, Resource::CLUSTER) {
            return Ok(());
        }
        self.allow(Operation::Create, Resource::topic(name))
    }

    /// Raises the number of a topic's partitions to `count`.
    ///
    /// # Errors
    /// [`TopicError::Denied`], else as [`crate::broker::Broker::add_partitions`].
    pub async fn add_partitions(&self, name: &str, count: u32) -> Result<Arc<Topic>, TopicError> {
        self.allow(Operation::Alter, Resource::topic(name))?;
        self.broker().add_partitions(name, count).await
    }

    /// As [`crate::broker::Broker::check_partitions`].
    ///
    /// # Errors
    /// As there.
    pub fn check_partitions(&self, topic: &Granted<super::right::Alter>, count: u32) -> Result<(), TopicError> {
        self.broker().check_partitions(topic, count)
    }

    /// Deletes a topic that was found, and all its records.
    ///
    /// # Errors
    /// As [`crate::broker::Broker::delete_topic_as_found`].
    pub async fn delete_topic(&self, topic: &Granted<Delete>) -> Result<(), TopicError> {
        self.broker().delete_topic_as_found(topic.topic()).await
    }

    /// Changes the settings of a topic, all or none.
    ///
    /// # Errors
    /// [`TopicError::Denied`], else as [`crate::broker::Broker::change_settings`].
    pub async fn change_settings(&self, name: &str, change: SettingsChange) -> Result<Arc<Topic>, TopicError> {
        self.allow(Operation::AlterConfigs, Resource::topic(name))?;
        self.broker().change_settings(name, change).await
    }

    /// Whether [`Access::change_settings`] would go well now. Changes nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn check_settings(&self, name: &str, change: SettingsChange) -> Result<(), TopicError> {
        self.allow(Operation::AlterConfigs, Resource::topic(name))?;
        self.broker().check_settings(name, change).await
    }

    /// All settings of the topic of this name.
    ///
    /// # Errors
    /// [`TopicError::Denied`] or `Unknown`.
    pub fn settings(&self, name: &str) -> Result<Vec<Setting>, TopicError> {
        self.allow(Operation::DescribeConfigs, Resource::topic(name))?;
        let topic = self.broker().topic(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        Ok(self.broker().settings(&topic))
    }

    /// All settings that a topic has, or would have.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn settings_of(&self, topic: &Topic) -> Result<Vec<Setting>, Denied> {
        self.allow(Operation::DescribeConfigs, Resource::topic(&topic.name))?;
        Ok(self.broker().settings(topic))
    }

    /// What all records of a partition take on disk, bytes; `None` if it is not there.
    pub fn partition_bytes(&self, topic: &Granted<Describe>, index: i32) -> Option<u64> {
        self.broker().store().partition_bytes(topic.partition(index)?)
    }
}
