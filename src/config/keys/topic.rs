//! Keys of a topic: `[topic]` for all, `[topic.NAME]` for one.

use std::time::Duration;

use super::super::{
    store::OnFull,
    topics::{DefaultKey, Forward, TimestampType, TopicCompression, TopicSettings, Unforwarded},
    value::Kind,
};
use super::{KIB, Key, MIB, SECOND, TIB, YEARS_100, live};
use crate::limits::{BATCH_BYTES_MAX, PARTITIONS_MAX, PRIORITY_MAX};

/// Keys of `[topic]` (for all topics) and of `[topic.NAME]` (for one).
pub(in crate::config) static TOPIC: &[Key<TopicSettings>] = &[
    live(
        "partitions",
        "1",
        Kind::Count { min: 1, max: PARTITIONS_MAX as u64, set: |t, v| t.partitions = v as u32 },
        "Partitions of a topic when it is created.",
    ),
    live(
        "retention.ms",
        "unlimited",
        Kind::DurationOr { word: "unlimited", min: SECOND, max: YEARS_100, set: |t, v| t.retention = v },
        "Records older than this may go; a number without unit is milliseconds. unlimited: until space is needed.",
    ),
    live(
        "retention.bytes",
        "unlimited",
        Kind::SizeOr { word: "unlimited", min: MIB, max: 16 * TIB, set: |t, v| t.retention_bytes = v },
        "Beyond this size of a partition its oldest records may go. unlimited: until space is needed.",
    ),
    live(
        "max.message.bytes",
        "1048588",
        Kind::Size { min: KIB, max: BATCH_BYTES_MAX as u64, set: |t, v| t.max_message_bytes = v as usize },
        "Largest record batch.",
    ),
    live(
        "compression.type",
        "producer",
        choice!(TopicCompression, |t| t.compression),
        "Codec that batches of Kafka producers are kept in; producer: as they come.",
    ),
    live(
        "message.timestamp.before.max.ms",
        "unlimited",
        Kind::DurationOr {
            word: "unlimited",
            min: Duration::ZERO,
            max: Duration::from_secs(86_400 * 36_500),
            set: |t, v| t.timestamp_before_max = v,
        },
        "Records older than this by a trusted clock are refused; a number without unit is milliseconds.",
    ),
    live(
        "message.timestamp.after.max.ms",
        "unlimited",
        Kind::DurationOr {
            word: "unlimited",
            min: Duration::ZERO,
            max: Duration::from_secs(86_400 * 36_500),
            set: |t, v| t.timestamp_after_max = v,
        },
        "Records further ahead of a trusted clock are refused; a number without unit is milliseconds.",
    ),
    live(
        "message.timestamp.type",
        "CreateTime",
        choice!(TimestampType, |t| t.timestamp_type),
        "Whether records keep their producer's time or get the gateway's.",
    ),
    live(
        "key",
        "client-id",
        choice!(DefaultKey, |t| t.key),
        "Key of native records that bring none: the client's id (order per device holds), or none.",
    ),
    live(
        "priority",
        "5",
        Kind::Count { min: 0, max: PRIORITY_MAX as u64, set: |t, v| t.priority = v as u8 },
        "When room is needed, what has a lower priority goes first.",
    ),
    live(
        "reserve",
        "0",
        Kind::Size { min: 0, max: 16 * TIB, set: |t, v| t.reserve = v },
        "This much of a topic's newest records is never evicted; all together at most 70% of store.max_bytes.",
    ),
    live(
        "on_full",
        "evict-oldest",
        choice!(OnFull, |t| t.on_full),
        "When room is needed: its oldest records may go, or they stay and new ones are refused.",
    ),
    live(
        "retention.unforwarded",
        "keep",
        choice!(Unforwarded, |t| t.unforwarded),
        "Whether retention removes what an uplink has not forwarded yet.",
    ),
    live(
        "urgent",
        "false",
        Kind::Boolean(|t, v| t.urgent = v),
        "Whether records are committed at once, whatever store.commit_window and store.flash_budget say.",
    ),
    live(
        "forward",
        "always",
        choice!(Forward, |t| t.forward),
        "Which uplinks follow it: those of which a pattern matches, or only those that name it in full.",
    ),
];
