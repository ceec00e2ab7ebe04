//! Topic administration: create, alter, delete. Each is one operation on the store's writer.

use std::sync::Arc;

use super::call::call;
use super::catalog;
use super::error::TopicError;
use super::topic::{self, Topic, TopicId};
use super::{Broker, Shared, offsets, producers, reserves};
use crate::limits;
use crate::metrics::METRICS;
use crate::store::{Draft, DraftError, PartitionId, Space};

/// A topic to be created.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name, by Kafka's rule ([`topic::validate_name`]).
    pub name: String,
    /// Number of partitions; the broker's default when `None`.
    pub partitions: Option<u32>,
    /// Configurations over the broker's defaults.
    pub configs: Vec<(String, String)>,
    /// Its identity, which no other topic ever had; a random one when `None`.
    pub id: Option<TopicId>,
}

impl Broker {
    /// Checks `new` and gives the topic as it would be, without creating it.
    ///
    /// # Errors
    /// [`TopicError::Exists`], `Invalid` or `TooMany`, each with a text that says what is allowed.
    pub fn check_new_topic(&self, new: &NewTopic) -> Result<Topic, TopicError> {
        topic::validate_name(&new.name).map_err(TopicError::Invalid)?;
        let shared = &self.shared;
        if shared.catalog.by_name(&new.name).is_some() {
            return Err(TopicError::Exists(new.name.clone()));
        }
        let options = &shared.options();
        let by_name = options.partitions_by_name.get(&new.name).copied();
        let count = new.partitions.or(by_name).unwrap_or(options.partitions);
        let (topics, partitions) = shared.catalog.counts();
        if count == 0 {
            return Err(TopicError::Invalid("a topic has at least 1 partition".to_owned()));
        }
        if topics >= limits::TOPICS_MAX || partitions + count as usize > limits::PARTITIONS_MAX {
            return Err(too_many());
        }
        let config = shared.options().defaults.effective(&new.name, &new.configs).map_err(TopicError::Invalid)?;
        Ok(Topic {
            id: new.id.unwrap_or_else(TopicId::random),
            name: new.name.clone(),
            // Numbers are given by the writer; these stand for the count only.
            partitions: vec![PartitionId(u32::MAX); count as usize],
            overrides: new.configs.clone(),
            config,
        })
    }

    /// Creates a topic; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Broker::check_new_topic`], or the store's.
    pub async fn create_topic(&self, new: NewTopic) -> Result<Arc<Topic>, TopicError> {
        let wanted = self.check_new_topic(&new)?;
        let (shared, publish) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        call(
            &self.shared.store,
            move |draft| match reserves::check(draft, &shared, &wanted) {
                Ok(()) => create(draft, &wanted),
                Err(error) => Ok(Err(error)),
            },
            move |created| {
                if let Ok(topic) = created {
                    publish.publish_topic(Arc::clone(topic));
                }
            },
        )
        .await?
    }

    /// The topic of this name; created with the broker's defaults if there is none and that is configured.
    ///
    /// # Errors
    /// [`TopicError::Unknown`] where topics are not created by use, else as [`Broker::create_topic`].
    pub async fn topic_or_create(&self, name: &str) -> Result<Arc<Topic>, TopicError> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        if !self.shared.options().auto_create {
            return Err(TopicError::Unknown(name.to_owned()));
        }
        match self.create_topic(NewTopic { name: name.to_owned(), ..NewTopic::default() }).await {
            // Somebody else was faster.
            Err(TopicError::Exists(_)) => self.topic(name).ok_or_else(|| TopicError::Unknown(name.to_owned())),
            other => other,
        }
    }

    /// Raises the number of a topic's partitions to `count`.
    ///
    /// # Errors
    /// [`TopicError::Invalid`] when `count` is not more than there are, `Unknown`, `TooMany`, or the store's.
    pub async fn add_partitions(&self, name: &str, count: u32) -> Result<Arc<Topic>, TopicError> {
        self.change_topic(name, move |shared, draft, topic| {
            if let Err(error) = check_partitions(shared, topic, count) {
                return Ok(Err(error));
            }
            let mut changed = topic.clone();
            changed.partitions.extend(create_partitions(draft, count - topic.partition_count())?);
            Ok(Ok(changed))
        })
        .await
    }

    /// Whether `topic`, as it is now, could have `count` partitions.
    ///
    /// # Errors
    /// [`TopicError::Invalid`] or `TooMany`, as [`Broker::add_partitions`].
    pub fn check_partitions(&self, topic: &Topic, count: u32) -> Result<(), TopicError> {
        check_partitions(&self.shared, topic, count)
    }

    /// Deletes a topic and all its records.
    ///
    /// # Errors
    /// [`TopicError::Unknown`], or the store's.
    pub async fn delete_topic(&self, name: &str) -> Result<(), TopicError> {
        let topic = self.topic(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        self.delete_topic_as_found(&topic).await
    }

    /// As [`Broker::delete_topic`], but only if the topic of this name is still the one that was found.
    ///
    /// # Errors
    /// As [`Broker::delete_topic`].
    pub async fn delete_topic_as_found(&self, topic: &Arc<Topic>) -> Result<(), TopicError> {
        let (topic, shared, publish) = (Arc::clone(topic), Arc::clone(&self.shared), Arc::clone(&self.shared));
        let deleted = call(
            &self.shared.store,
            move |draft| {
                // As it is now: partitions may have been added since it was found.
                let Some(topic) = current(draft, &shared, &topic) else {
                    return Ok(Err(TopicError::Unknown(topic.name.clone())));
                };
                draft.delete(Space::Topic, topic.name.as_bytes())?;
                draft.drop_topic(topic.id.0, &topic.name, &topic.partitions)?;
                forget(draft, &topic)?;
                Ok(Ok(topic))
            },
            move |result| {
                if let Ok(deleted) = result {
                    publish.withdraw_topic(deleted);
                }
            },
        );
        deleted.await?.map(drop)
    }

    /// Moves a partition's log start forward to `offset` (Kafka's DeleteRecords); −1 is the high watermark.
    ///
    /// # Errors
    /// [`TopicError::Invalid`] when `offset` is beyond the high watermark, or the store's.
    pub async fn delete_records(&self, partition: PartitionId, offset: i64) -> Result<i64, TopicError> {
        call(
            &self.shared.store,
            move |draft| {
                let Some(head) = draft.head(partition) else {
                    return Ok(Err(TopicError::Unknown("the partition".to_owned())));
                };
                let to = if offset == -1 { head.high_watermark } else { offset };
                if to < 0 || to > head.high_watermark {
                    return Ok(Err(TopicError::Invalid(format!(
                        "offset {to} is outside 0 to the high watermark {}",
                        head.high_watermark
                    ))));
                }
                if to > head.log_start {
                    draft.set_log_start(partition, to)?;
                }
                Ok(Ok(to.max(head.log_start)))
            },
            |_| {},
        )
        .await?
    }

    /// Runs `change` on the writer over the topic as it is then, and stores what it returns.
    pub(super) async fn change_topic(
        &self,
        name: &str,
        change: impl Fn(&Shared, &mut Draft<'_>, &Topic) -> Result<Result<Topic, TopicError>, DraftError> + Send + 'static,
    ) -> Result<Arc<Topic>, TopicError> {
        let topic = self.topic(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        let (shared, publish) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
        call(
            &self.shared.store,
            move |draft| {
                let Some(current) = current(draft, &shared, &topic) else {
                    return Ok(Err(TopicError::Unknown(topic.name.clone())));
                };
                let changed = match change(&shared, draft, &current)? {
                    Ok(changed) => changed,
                    Err(error) => return Ok(Err(error)),
                };
                draft.put(Space::Topic, changed.name.as_bytes(), &catalog::encode(&changed))?;
                Ok(Ok(Arc::new(changed)))
            },
            move |result| {
                if let Ok(topic) = result {
                    publish.publish_topic(Arc::clone(topic));
                }
            },
        )
        .await?
    }
}

/// On the writer: `topic` as it is after all earlier operations, if it is still there.
pub(super) fn current(draft: &Draft<'_>, shared: &Shared, topic: &Topic) -> Option<Topic> {
    let value = draft.get(Space::Topic, topic.name.as_bytes())?;
    catalog::decode(topic.name.as_bytes(), value, &shared.options().defaults).filter(|now| now.id == topic.id)
}

/// On the writer: deletes what is kept about a topic's partitions: positions of followers, offsets of readers, states of
/// producers. None of their numbers is ever used again, so nobody would.
fn forget(draft: &mut Draft<'_>, topic: &Topic) -> Result<(), DraftError> {
    let is_of_topic = |space: Space, key: &[u8]| match space {
        Space::Cursor => topic.partitions.iter().any(|p| key.ends_with(&p.0.to_be_bytes())),
        Space::Group => offsets::is_of(key, topic.id),
        _ => topic.partitions.iter().any(|p| producers::is_of(key, *p)),
    };
    for space in [Space::Cursor, Space::Group, Space::Producer] {
        for (key, _) in draft.entries(space, &[]) {
            if is_of_topic(space, &key) {
                draft.delete(space, &key)?;
            }
        }
    }
    Ok(())
}

/// On the writer: creates `wanted` with fresh partitions, unless its name was taken meanwhile.
fn create(draft: &mut Draft<'_>, wanted: &Topic) -> Result<Result<Arc<Topic>, TopicError>, DraftError> {
    if draft.get(Space::Topic, wanted.name.as_bytes()).is_some() {
        return Ok(Err(TopicError::Exists(wanted.name.clone())));
    }
    let mut topic = wanted.clone();
    topic.partitions = create_partitions(draft, wanted.partition_count())?;
    draft.put(Space::Topic, topic.name.as_bytes(), &catalog::encode(&topic))?;
    Ok(Ok(Arc::new(topic)))
}

fn check_partitions(shared: &Shared, topic: &Topic, count: u32) -> Result<(), TopicError> {
    let have = topic.partition_count();
    if count <= have {
        let text = format!("topic {} has {have} partitions; the number can only grow", topic.name);
        return Err(TopicError::Invalid(text));
    }
    if shared.catalog.counts().1 + (count - have) as usize > limits::PARTITIONS_MAX {
        return Err(too_many());
    }
    Ok(())
}

/// On the writer: an internal topic of one partition, which nobody has asked for; created if it isn't there.
///
/// # Errors
/// See [`DraftError`]; `Invalid` if its entry or its settings can't be read.
pub(super) fn internal_topic(
    draft: &mut Draft<'_>,
    shared: &Shared,
    name: &'static str,
) -> Result<Arc<Topic>, DraftError> {
    if let Some(row) = draft.get(Space::Topic, name.as_bytes()) {
        let there = catalog::decode(name.as_bytes(), row, &shared.options().defaults);
        return there.map(Arc::new).ok_or(DraftError::Invalid);
    }
    let config = shared.options().defaults.effective(name, &[]).map_err(|_| DraftError::Invalid)?;
    let wanted = Topic {
        id: TopicId::random(),
        name: name.to_owned(),
        partitions: vec![PartitionId(u32::MAX)],
        overrides: Vec::new(),
        config,
    };
    create(draft, &wanted)?.map_err(|_| DraftError::Invalid)
}

/// On the writer: `count` partitions with numbers never used before.
fn create_partitions(draft: &mut Draft<'_>, count: u32) -> Result<Vec<PartitionId>, DraftError> {
    let first = draft.unused_partition().0;
    let partitions: Vec<_> = (first..first.saturating_add(count)).map(PartitionId).collect();
    for partition in &partitions {
        draft.create_partition(*partition)?;
    }
    Ok(partitions)
}

fn too_many() -> TopicError {
    METRICS.kept_refused.add(1);
    TopicError::TooMany(format!(
        "at most {} topics and {} partitions; delete some first",
        limits::TOPICS_MAX,
        limits::PARTITIONS_MAX
    ))
}
