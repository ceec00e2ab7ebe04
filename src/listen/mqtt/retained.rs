//! Retained messages: the last one of each topic that was published with RETAIN. They lie in rows of their own, because the log they came by
//! may be evicted; a row is written in the commit of its record.
//!
//! Invariant: bounded in number and in bytes; what would pass the bounds is refused before it is stored. The bounds are held against
//! what was accepted, so publishes under way count; once it is known what became of one, its topic is counted anew, by what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::Message;
use crate::broker::{Lobby, RowChange};
use crate::mqtt::topic;

/// Rows of retained messages: this byte, then the topic.
const ROW: u8 = b'r';
/// The first byte of a row's value.
const FORMAT: u8 = 1;

/// Which topics have a retained message, and what it takes.
#[derive(Debug)]
pub(super) struct Retained {
    sizes: Mutex<Sizes>,
    /// Topics that are to be counted anew.
    settled: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug, Default)]
struct Sizes {
    by_topic: BTreeMap<String, usize>,
    bytes: usize,
}

impl Retained {
    /// What the store has.
    pub(super) fn load(broker: &Lobby) -> Self {
        let mut sizes = Sizes::default();
        for (key, value) in broker.rows(&[ROW]) {
            if let Some(topic) = key.get(1..).and_then(|topic| std::str::from_utf8(topic).ok()) {
                sizes.set(topic, value.len());
            }
        }
        Self { sizes: Mutex::new(sizes), settled: Arc::default() }
    }

    /// The row that retains `message`, or (without payload) forgets what is retained for its topic; `None` if there is no room within
    /// so many messages and bytes.
    pub(super) fn row(
        &self,
        broker: &Lobby,
        message: &Message,
        (count_max, bytes_max): (usize, usize),
    ) -> Option<RowChange> {
        let key = key(&message.topic);
        let mut sizes = self.recounted(broker);
        if message.payload.is_empty() {
            sizes.remove(&message.topic);
            return Some((key, None));
        }
        // Serializing owned values into a growing vector has nothing that can fail.
        let value = postcard::to_extend(message, vec![FORMAT]).unwrap_or_default();
        let old = sizes.by_topic.get(&message.topic).copied();
        let count = sizes.by_topic.len() + usize::from(old.is_none());
        if count > count_max || sizes.bytes - old.unwrap_or(0) + value.len() > bytes_max {
            return None;
        }
        sizes.set(&message.topic, value.len());
        Some((key, Some(value)))
    }

    /// What is retained for topics that `pattern` matches, by topic. Those whose time has passed are left out.
    pub(super) fn matching(&self, broker: &Lobby, pattern: &str, now_ms: i64) -> Vec<Message> {
        // Of the store, not of what is counted here: what was refused after it was counted stays as it was.
        let rows = broker.rows(&[ROW]).into_iter();
        let matching = rows.filter(|(key, _)| {
            let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
            name.is_some_and(|name| topic::matches(pattern, name))
        });
        // By the row's own topic: that it is in the value as well is nothing to rely on.
        let messages = matching.filter_map(|(key, value)| {
            let topic = String::from_utf8(key.get(1..)?.to_vec()).ok()?;
            Some(Message { topic, ..decode(&value)? })
        });
        messages.filter(|message| message.left_s(now_ms) != Some(0)).collect()
    }

    /// What is retained for a topic.
    pub(super) fn get(&self, broker: &Lobby, topic: &str) -> Option<Message> {
        Some(Message { topic: topic.to_owned(), ..decode(&broker.row(&key(topic))?)? })
    }

    /// How many there are, and their bytes.
    pub(super) fn counts(&self, broker: &Lobby) -> (usize, usize) {
        let sizes = self.recounted(broker);
        (sizes.by_topic.len(), sizes.bytes)
    }

    /// What is dropped once it is known what became of a message for `topic`.
    pub(super) fn counted(&self, topic: &str) -> Counted {
        Counted { settled: Arc::clone(&self.settled), topic: topic.to_owned() }
    }

    /// The sizes, after topics whose messages are settled were counted anew.
    fn recounted(&self, broker: &Lobby) -> MutexGuard<'_, Sizes> {
        let settled = std::mem::take(&mut *self.settled.lock().unwrap_or_else(PoisonError::into_inner));
        let mut sizes = self.sizes();
        for topic in settled {
            match broker.row(&key(&topic)) {
                Some(value) => sizes.set(&topic, value.len()),
                None => sizes.remove(&topic),
            }
        }
        sizes
    }

    /// A panic elsewhere leaves at worst a count that is off.
    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has its topic counted anew when it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    settled: Arc<Mutex<BTreeSet<String>>>,
    topic: String,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let topic = std::mem::take(&mut self.topic);
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(topic);
    }
}

fn key(topic: &str) -> Vec<u8> {
    [&[ROW], topic.as_bytes()].concat()
}

fn decode(value: &[u8]) -> Option<Message> {
    match value.split_first()? {
        (&FORMAT, body) => postcard::from_bytes(body).ok(),
        _ => None,
    }
}

impl Sizes {
    fn set(&mut self, topic: &str, bytes: usize) {
        let old = self.by_topic.insert(topic.to_owned(), bytes).unwrap_or(0);
        self.bytes = self.bytes + bytes - old;
    }

    fn remove(&mut self, topic: &str) {
        self.bytes -= self.by_topic.remove(topic).unwrap_or(0);
    }
}
