//! The catalogue of topics: what there is, and the operations that change it.
//!
//! Invariants: the durable truth is `Space::Topic` of the store, changed only by operations on its writer, so two
//! creations of one name cannot both succeed; what readers see here is published after the commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde::{Deserialize, Serialize};

use super::topic::{Topic, TopicConfig, TopicId};
use crate::limits::{DEAD_LETTER_TOPIC, LOSSES_TOPIC};
use crate::store::{PartitionId, Space, Store};

/// The first byte of every value in `Space::Topic`.
const TOPIC_FORMAT: u8 = 1;

/// A topic as it lies in `Space::Topic`, keyed by its name: format byte, then this in postcard.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: [u8; 16],
    partitions: Vec<u32>,
    overrides: Vec<(String, String)>,
}

/// The value of `topic` in `Space::Topic`.
pub(super) fn encode(topic: &Topic) -> Vec<u8> {
    let stored = Stored {
        id: topic.id.0,
        partitions: topic.partitions.iter().map(|p| p.0).collect(),
        overrides: topic.overrides.clone(),
    };
    // Serializing owned values into a growing vector has nothing that can fail.
    postcard::to_extend(&stored, vec![TOPIC_FORMAT]).unwrap_or_default()
}

/// The topic that lies under `key` as `value`; `None` if these are not a topic's.
pub(super) fn decode(key: &[u8], value: &[u8], defaults: &Defaults) -> Option<Topic> {
    let (format, body) = value.split_first()?;
    if *format != TOPIC_FORMAT {
        return None;
    }
    let stored: Stored = postcard::from_bytes(body).ok()?;
    let name = String::from_utf8(key.to_vec()).ok()?;
    let overrides = stored.overrides;
    // Settings that were allowed once and are not any more fall back to the defaults.
    let config = defaults.effective(&name, &overrides).unwrap_or_else(|_| defaults.config.clone());
    Some(Topic {
        id: TopicId(stored.id),
        name,
        partitions: stored.partitions.into_iter().map(PartitionId).collect(),
        overrides,
        config,
    })
}

/// What a topic has unless it says otherwise: the gateway's configuration.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// For every topic.
    pub config: TopicConfig,
    /// For a topic of this name, over `config`.
    pub by_name: BTreeMap<String, Vec<(String, String)>>,
    /// `retention.bytes` of the dead-letter topic, which the broker sets by the size of its store.
    pub dead_letter_bytes: Option<u64>,
}

impl Defaults {
    /// The configuration of a topic `name` that set `overrides`.
    ///
    /// # Errors
    /// The text of the first setting that is not allowed.
    pub fn effective(&self, name: &str, overrides: &[(String, String)]) -> Result<TopicConfig, String> {
        let named = self.by_name.get(name).map(Vec::as_slice).unwrap_or_default();
        let base = match name {
            LOSSES_TOPIC => TopicConfig::of_losses(),
            DEAD_LETTER_TOPIC => TopicConfig::of_dead_letters(self.dead_letter_bytes),
            _ => self.config.clone(),
        };
        base.with(named.iter().chain(overrides).map(|(k, v)| (k.as_str(), v.as_str())))
    }
}

/// The topics in the rows of `Space::Topic`, by name: for those who look at a store without a broker.
///
/// # Errors
/// A text that names a topic that cannot be read.
pub fn stored_topics(rows: &[(Vec<u8>, Vec<u8>)], defaults: &Defaults) -> Result<Vec<Topic>, String> {
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
        decode(key, value, defaults).ok_or_else(|| {
            let name = String::from_utf8_lossy(key);
            format!("the entry of topic {name:?} cannot be read; a newer version may have written it")
        })
    };
    rows.iter().map(read).collect()
}

/// The topics as of the last commit, by name, id and partition.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    inner: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    by_partition: HashMap<PartitionId, (Arc<Topic>, i32)>,
}

impl Catalog {
    /// The catalogue as the store has it.
    ///
    /// # Errors
    /// A text that names a topic that cannot be read.
    pub(super) fn load(store: &Store, defaults: &Defaults) -> Result<Self, String> {
        let catalog = Self::default();
        for topic in stored_topics(&store.entries(Space::Topic, &[]), defaults)? {
            catalog.publish(Arc::new(topic));
        }
        Ok(catalog)
    }

    /// Makes `topic` what readers see under its name and id.
    pub(super) fn publish(&self, topic: Arc<Topic>) {
        let mut maps = self.write();
        for (index, partition) in topic.partitions.iter().enumerate() {
            maps.by_partition.insert(*partition, (Arc::clone(&topic), index as i32));
        }
        maps.by_id.insert(topic.id, Arc::clone(&topic));
        maps.by_name.insert(topic.name.clone(), topic);
    }

    /// Takes `topic` out of what readers see.
    pub(super) fn remove(&self, topic: &Topic) {
        let mut maps = self.write();
        maps.by_id.remove(&topic.id);
        for partition in &topic.partitions {
            maps.by_partition.remove(partition);
        }
        if maps.by_name.get(&topic.name).is_some_and(|current| current.id == topic.id) {
            maps.by_name.remove(&topic.name);
        }
    }

    pub(super) fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        self.read().by_name.get(name).cloned()
    }

    pub(super) fn by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The topic a partition belongs to, and its index in it.
    pub(super) fn by_partition(&self, partition: PartitionId) -> Option<(Arc<Topic>, i32)> {
        self.read().by_partition.get(&partition).cloned()
    }

    /// All topics, ordered by name.
    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.read().by_name.values().cloned().collect()
    }

    /// Number of topics and of partitions.
    pub(super) fn counts(&self) -> (usize, usize) {
        let maps = self.read();
        (maps.by_name.len(), maps.by_partition.len())
    }

    fn read(&self) -> RwLockReadGuard<'_, Maps> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Maps> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_reads_back_as_it_was_stored() {
        let mut defaults = Defaults::default();
        defaults.by_name.insert("t".to_owned(), vec![("retention.bytes".to_owned(), "7".to_owned())]);
        let overrides = vec![("retention.ms".to_owned(), "5".to_owned())];
        let topic = Topic {
            id: TopicId::random(),
            name: "t".to_owned(),
            partitions: vec![PartitionId(3), PartitionId(9)],
            config: defaults.effective("t", &overrides).unwrap(),
            overrides,
        };
        let value = encode(&topic);
        assert_eq!(decode(b"t", &value, &defaults), Some(topic.clone()));
        assert_eq!((topic.config.retention_ms, topic.config.retention_bytes), (Some(5), Some(7)));
        for cut in 0..value.len() {
            assert_eq!(decode(b"t", &value[..cut], &defaults), None);
        }
    }

    #[test]
    fn a_name_made_again_is_another_topic() {
        let catalog = Catalog::default();
        let make = |p| {
            Arc::new(Topic {
                id: TopicId::random(),
                name: "t".to_owned(),
                partitions: vec![PartitionId(p)],
                overrides: Vec::new(),
                config: TopicConfig::default(),
            })
        };
        let (old, new) = (make(1), make(2));
        catalog.publish(Arc::clone(&old));
        catalog.publish(Arc::clone(&new));
        catalog.remove(&old);
        assert_eq!(catalog.by_name("t").unwrap().id, new.id);
        assert!(catalog.by_id(old.id).is_none());
        assert!(catalog.by_partition(PartitionId(1)).is_none());
        assert_eq!(catalog.counts(), (1, 1));
    }
}
