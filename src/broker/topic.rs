//! A topic as the broker knows it: name, UUID for life, partitions, configuration. Values only; changes go through
//! [`super::catalog`].
//!
//! Invariants: a UUID and a [`PartitionId`] are never used again, so a topic deleted and made again is another topic.

use std::fmt;

use super::kept;
use crate::limits;
use crate::record::Compression;
use crate::store::{OnFull, PartitionId};

/// The setting that keeps a topic from uplinks that don't name it, and its value then.
pub const FORWARD_KEY: &str = "brooklet.forward";
pub const FORWARD_NAMED: &str = "named";
/// What is kept of the topic that tells of losses, unless it is configured by name.
const LOSSES_BYTES: u64 = 4 << 20;

/// A topic's identity for life (RFC 9562 version 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// A fresh random identity.
    pub fn random() -> Self {
        let mut bytes = [0u8; 16];
        if getrandom::fill(&mut bytes).is_err() {
            // The kernel's generator is ready long before we start; this keeps identities distinct if it is not.
            for byte in &mut bytes {
                *byte = fastrand::u8(..);
            }
        }
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One topic as of now. Immutable: a change makes a new value, so a reader holds a consistent picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Identity for life.
    pub id: TopicId,
    /// Name, checked by [`validate_name`].
    pub name: String,
    /// Partition `i` of the topic is `partitions[i]` of the store.
    pub partitions: Vec<PartitionId>,
    /// What was set, over the broker's defaults.
    pub overrides: Vec<(String, String)>,
    /// Effective configuration.
    pub config: TopicConfig,
}

impl Topic {
    /// The store's partition for index `index`, as it comes from the wire.
    pub fn partition(&self, index: i32) -> Option<PartitionId> {
        self.partitions.get(usize::try_from(index).ok()?).copied()
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// Whether the topic is Brooklet's own: uplinks do not follow these unless named.
    pub fn is_internal(&self) -> bool {
        limits::is_internal_topic(&self.name)
    }
}

/// What decides the key of a native record that has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDefault {
    /// The publishing client's id, so order per device holds and the centre knows the device.
    ClientId,
    /// No key; the client's partition is still chosen by its id.
    None,
}

/// Whose time a record carries (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The gateway's, at append.
    LogAppendTime,
}

/// The effective configuration of a topic. Names are those Kafka users know; see [`TopicConfig::KEYS`].
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `retention.ms`: how long records are kept at least logically; `None` (−1) is for ever, within `store.max_bytes`.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`, a partition; `None` (−1) is no bound of its own.
    pub retention_bytes: Option<u64>,
    /// `max.message.bytes`: largest batch accepted, 64 B to 8 MiB.
    pub max_message_bytes: usize,
    /// `compression.type`: the codec that batches of Kafka producers are kept in; `None` (`producer`) as they come.
    pub compression: Option<Compression>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: by how much a record may be older than the gateway's clock says; `None` for any.
    pub timestamp_before_max_ms: Option<u64>,
    /// `message.timestamp.after.max.ms`: by how much a record may be ahead of it; `None` for any.
    pub timestamp_after_max_ms: Option<u64>,
    /// `brooklet.key`: the key of native records without one.
    pub key: KeyDefault,
    /// `brooklet.priority`: 0 to 9; what has a higher one is kept longer when room is needed.
    pub priority: u8,
    /// `brooklet.reserve`: bytes of the topic's newest records that are never evicted, all its partitions together.
    pub reserve: u64,
    /// `brooklet.on.full`: whether its oldest records may be evicted, or new ones are refused.
    pub on_full: OnFull,
    /// `brooklet.retention.unforwarded`: whether retention removes what an uplink has not forwarded (`delete`), or
    /// leaves it until it is forwarded (`keep`).
    pub expire_unforwarded: bool,
    /// `brooklet.urgent`: records are committed at once, whatever the commit window and the flash budget.
    pub urgent: bool,
    /// `brooklet.forward`: whether uplinks follow the topic by any pattern (`always`) or only where its whole name stands
    /// in `topics` (`named`), as is the rule for what came down from a cluster.
    pub forward_named_only: bool,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention_ms: None,
            retention_bytes: None,
            max_message_bytes: limits::BATCH_BYTES_DEFAULT,
            compression: None,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: None,
            timestamp_after_max_ms: None,
            key: KeyDefault::ClientId,
            priority: limits::PRIORITY_DEFAULT,
            reserve: 0,
            on_full: OnFull::EvictOldest,
            expire_unforwarded: false,
            urgent: false,
            forward_named_only: false,
        }
    }
}

impl TopicConfig {
    /// Of the topic that tells of losses, unless it is configured by name: it outlives what it tells of, and is small.
    pub(super) fn of_losses() -> Self {
        Self {
            priority: limits::PRIORITY_MAX,
            retention_bytes: Some(LOSSES_BYTES),
            expire_unforwarded: true,
            ..Self::default()
        }
    }

    /// Of the topic of records that were refused upstream, unless it is configured by name: it takes any record that came
    /// in, and the oldest go beyond `bytes`.
    pub(super) fn of_dead_letters(bytes: Option<u64>) -> Self {
        Self {
            priority: limits::PRIORITY_MAX,
            retention_bytes: bytes,
            max_message_bytes: limits::BATCH_BYTES_MAX,
            expire_unforwarded: true,
            ..Self::default()
        }
    }

    /// Every configuration a topic has, in the order they are described.
    pub const KEYS: [&'static str; 14] = [
        "brooklet.forward",
        "brooklet.key",
        "brooklet.on.full",
        "brooklet.priority",
        "brooklet.reserve",
        "brooklet.retention.unforwarded",
        "brooklet.urgent",
        "compression.type",
        "max.message.bytes",
        "message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms",
        "message.timestamp.type",
        "retention.bytes",
        "retention.ms",
    ];

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// A text that names the key, the value and what is allowed, for the one who set it.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "retention.ms" => self.retention_ms = parse_unbounded(key, value)?,
            "retention.bytes" => self.retention_bytes = parse_unbounded(key, value)?,
            "max.message.bytes" => {
                let bytes = value.parse::<usize>().ok().filter(|n| (64..=limits::BATCH_BYTES_MAX).contains(n));
                self.max_message_bytes = bytes.ok_or_else(|| {
                    format!("{key}={value}: a number of bytes from 64 to {}", limits::BATCH_BYTES_MAX)
                })?;
            }
            // As they come they also pass through an uplink untouched.
            "compression.type" if value == "producer" => self.compression = None,
            "compression.type" => {
                let codec = Some(value).filter(|name| *name != "none").and_then(|name| name.parse().ok());
                self.compression =
                    Some(codec.ok_or_else(|| {
                        format!("{key}={value}: one of producer, uncompressed, gzip, snappy, lz4, zstd")
                    })?);
            }
            "message.timestamp.before.max.ms" => self.timestamp_before_max_ms = parse_span(key, value)?,
            "message.timestamp.after.max.ms" => self.timestamp_after_max_ms = parse_span(key, value)?,
            "message.timestamp.type" => {
                self.timestamp_type = match value {
                    "CreateTime" => TimestampType::CreateTime,
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    _ => return Err(format!("{key}={value}: one of CreateTime, LogAppendTime")),
                };
            }
            "brooklet.key" => {
                self.key = match value {
                    "client-id" => KeyDefault::ClientId,
                    "none" => KeyDefault::None,
                    _ => return Err(format!("{key}={value}: one of client-id, none")),
                };
            }
            "brooklet.priority" => {
                let priority = value.parse().ok().filter(|n| *n <= limits::PRIORITY_MAX);
                self.priority =
                    priority.ok_or_else(|| format!("{key}={value}: a number from 0 to {}", limits::PRIORITY_MAX))?;
            }
            "brooklet.reserve" => {
                let bytes = value.parse::<i64>().ok().filter(|n| *n >= 0);
                let bytes = bytes.ok_or_else(|| format!("{key}={value}: a number of bytes, 0 for none"))?;
                self.reserve = bytes.unsigned_abs();
            }
            "brooklet.on.full" => {
                self.on_full = match value {
                    "evict-oldest" => OnFull::EvictOldest,
                    "refuse" => OnFull::Refuse,
                    _ => return Err(format!("{key}={value}: one of evict-oldest, refuse")),
                };
            }
            "brooklet.retention.unforwarded" => {
                self.expire_unforwarded = match value {
                    "keep" => false,
                    "delete" => true,
                    _ => return Err(format!("{key}={value}: one of keep, delete")),
                };
            }
            FORWARD_KEY => {
                self.forward_named_only = match value {
                    "always" => false,
                    FORWARD_NAMED => true,
                    _ => return Err(format!("{key}={value}: one of always, named")),
                };
            }
            "brooklet.urgent" => {
                self.urgent = value.parse().map_err(|_| format!("{key}={value}: one of true, false"))?;
            }
            _ => kept::check(key, value)?,
        }
        Ok(())
    }

    /// The value of `key` as text, as it would be set.
    pub fn get(&self, key: &str) -> Option<String> {
        let unbounded = |n: Option<u64>| n.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let span = |n: Option<u64>| n.map_or_else(|| i64::MAX.to_string(), |n| n.to_string());
        Some(match key {
            "retention.ms" => unbounded(self.retention_ms),
            "retention.bytes" => unbounded(self.retention_bytes),
            "max.message.bytes" => self.max_message_bytes.to_string(),
            "compression.type" => match self.compression {
                None => "producer".to_owned(),
                Some(Compression::None) => "uncompressed".to_owned(),
                Some(codec) => codec.name().to_owned(),
            },
            "message.timestamp.before.max.ms" => span(self.timestamp_before_max_ms),
            "message.timestamp.after.max.ms" => span(self.timestamp_after_max_ms),
            "message.timestamp.type" => match self.timestamp_type {
                TimestampType::CreateTime => "CreateTime".to_owned(),
                TimestampType::LogAppendTime => "LogAppendTime".to_owned(),
            },
            "brooklet.key" => match self.key {
                KeyDefault::ClientId => "client-id".to_owned(),
                KeyDefault::None => "none".to_owned(),
            },
            "brooklet.priority" => self.priority.to_string(),
            "brooklet.reserve" => self.reserve.to_string(),
            "brooklet.on.full" => match self.on_full {
                OnFull::EvictOldest => "evict-oldest".to_owned(),
                OnFull::Refuse => "refuse".to_owned(),
            },
            "brooklet.retention.unforwarded" => if self.expire_unforwarded { "delete" } else { "keep" }.to_owned(),
            "brooklet.urgent" => self.urgent.to_string(),
            FORWARD_KEY => if self.forward_named_only { FORWARD_NAMED } else { "always" }.to_owned(),
            _ => return None,
        })
    }

    /// These defaults with `overrides` set on top.
    ///
    /// # Errors
    /// As [`TopicConfig::set`], for the first that fails.
    pub fn with<'a>(&self, overrides: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut config = self.clone();
        for (key, value) in overrides {
            config.set(key, value)?;
        }
        Ok(config)
    }
}

fn parse_unbounded(key: &str, value: &str) -> Result<Option<u64>, String> {
    match value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(n) if n >= 0 => Ok(Some(n.unsigned_abs())),
        _ => Err(format!("{key}={value}: a whole number from 0, or -1 for no bound")),
    }
}

/// A span of time as Kafka writes it: whoever wants none of it bounded sets the largest number.
fn parse_span(key: &str, value: &str) -> Result<Option<u64>, String> {
    match value.parse::<i64>() {
        Ok(i64::MAX) => Ok(None),
        Ok(n) if n >= 0 => Ok(Some(n.unsigned_abs())),
        _ => Err(format!("{key}={value}: milliseconds from 0; {} for no bound", i64::MAX)),
    }
}

/// Checks a topic's name by Kafka's rule: 1 to 249 of `a-z A-Z 0-9 . _ -`, and not `.` or `..`.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn validate_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a topic's name cannot be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("a topic's name cannot be {name:?}"));
    }
    if name.len() > limits::TOPIC_NAME_BYTES_MAX {
        return Err(format!(
            "a topic's name has at most {} characters; this one has {}",
            limits::TOPIC_NAME_BYTES_MAX,
            name.len()
        ));
    }
    match name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
        Some(bad) => Err(format!("a topic's name has only a-z A-Z 0-9 . _ -; {name:?} has {bad:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described_and_reads_back() {
        let config = TopicConfig::default();
        for key in TopicConfig::KEYS {
            let value = config.get(key).expect(key);
            let mut again = TopicConfig::default();
            again.set(key, &value).expect(key);
            assert_eq!(again, config, "{key}={value}");
        }
    }

    #[test]
    fn wrong_values_name_key_and_remedy() {
        let mut config = TopicConfig::default();
        for (key, value) in [
            ("retention.ms", "-2"),
            ("retention.bytes", "1GiB"),
            ("max.message.bytes", "0"),
            ("max.message.bytes", "99999999999"),
            ("compression.type", "none"),
            ("compression.type", "brotli"),
            ("message.timestamp.after.max.ms", "-1"),
            ("message.timestamp.difference.max.ms", "1"),
            ("min.insync.replicas", "2"),
            ("message.timestamp.type", "now"),
            ("cleanup.policy", "compact"),
            ("brooklet.key", "x"),
            ("brooklet.priority", "10"),
            ("brooklet.reserve", "-1"),
            ("brooklet.reserve", "1MiB"),
            ("brooklet.on.full", "drop"),
            ("brooklet.retention.unforwarded", "true"),
            ("brooklet.urgent", "yes"),
            ("brooklet.forward", "never"),
            ("no.such.thing", "1"),
        ] {
            let text = config.set(key, value).expect_err(key);
            assert!(text.contains(key), "{text}");
        }
        assert_eq!(config, TopicConfig::default());
    }

    #[test]
    fn names_follow_kafkas_rule() {
        for good in ["a", "plant.1_x-Y", &"n".repeat(249)] {
            validate_name(good).expect(good);
        }
        for bad in ["", ".", "..", "a b", "ä", "a/b", &"n".repeat(250)] {
            assert!(validate_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn identities_are_version_four() {
        let (a, b) = (TopicId::random(), TopicId::random());
        assert_ne!(a, b);
        let text = a.to_string();
        assert_eq!(text.len(), 36);
        assert_eq!(&text[14..15], "4");
    }
}
