//! `[topic]` and `[topic.NAME]`: what topics are created with, and what holds for them.

use std::{collections::BTreeMap, time::Duration};

use super::{store::OnFull, words::words};

#[derive(Clone, Debug, PartialEq)]
pub struct TopicsConfig {
    pub auto_create: bool,
    /// Of topics without a table of their own.
    pub defaults: TopicSettings,
    /// Whole settings (defaults applied) of the topics that have a `[topic.NAME]` table.
    pub by_name: BTreeMap<String, TopicSettings>,
}

impl TopicsConfig {
    /// The settings with which a topic of this name is created.
    #[must_use]
    pub fn of(&self, name: &str) -> &TopicSettings {
        self.by_name.get(name).unwrap_or(&self.defaults)
    }

    /// What the configuration reserves: the topics that it names. A default for all others counts when they are created.
    #[must_use]
    pub fn reserve_sum(&self) -> u64 {
        let named = self.by_name.values().map(|topic| topic.reserve);
        named.fold(self.defaults.reserve, u64::saturating_add)
    }
}

/// Settings of one topic. Names as in Kafka's topic configuration where Kafka has them.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicSettings {
    pub partitions: u32,
    /// `retention.ms`. `None`: until space is needed.
    pub retention: Option<Duration>,
    /// `retention.bytes`, per partition. `None`: until space is needed.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`: largest batch.
    pub max_message_bytes: usize,
    /// `compression.type`.
    pub compression: TopicCompression,
    /// `message.timestamp.before.max.ms`. `None`: records may be of any age.
    pub timestamp_before_max: Option<Duration>,
    /// `message.timestamp.after.max.ms`. `None`: records may be any time ahead.
    pub timestamp_after_max: Option<Duration>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    pub key: DefaultKey,
    /// 0 to 9; what has a higher one is kept longer when room is needed.
    pub priority: u8,
    /// Bytes of a topic's newest records that are never evicted.
    pub reserve: u64,
    /// When room is needed: may its records go, or are new ones refused?
    pub on_full: OnFull,
    /// Whether retention removes what an uplink has not forwarded.
    pub unforwarded: Unforwarded,
    /// Whether records are committed at once, whatever the commit window and the flash budget.
    pub urgent: bool,
    /// Which uplinks follow it.
    pub forward: Forward,
}

words! {
    /// `forward` of a topic.
    pub enum Forward {
        /// Those of which a pattern matches its name.
        Always = "always",
        /// Those that have its whole name in `topics`. A downlink sets this on its topics.
        Named = "named",
    }
}

words! {
    /// `retention.unforwarded` of a topic.
    pub enum Unforwarded {
        /// What an uplink has still to forward outlives `retention.ms` and `retention.bytes`.
        Keep = "keep",
        /// It goes with the rest, into the loss ledger.
        Delete = "delete",
    }
}

words! {
    /// `compression.type` of a topic.
    pub enum TopicCompression {
        /// Batches are stored as the producer compressed them.
        Producer = "producer",
        Uncompressed = "uncompressed",
        Gzip = "gzip",
        Snappy = "snappy",
        Lz4 = "lz4",
        Zstd = "zstd",
    }
}

words! {
    /// `message.timestamp.type` of a topic.
    pub enum TimestampType {
        CreateTime = "CreateTime",
        LogAppendTime = "LogAppendTime",
    }
}

words! {
    /// The key of a native record that brings none.
    pub enum DefaultKey {
        /// The client's id: order per device holds across partitions, and the centre knows the device.
        ClientId = "client-id",
        /// None: such records go to partitions in turn.
        None = "none",
    }
}
