//! Settings as Kafka's configurations: types, sources and synonyms of topics' and the broker's.

use std::path::Path;

use super::NODE_ID;
use crate::broker::{BrokerOptions, Setting, ValueKind};
use crate::limits;

/// `resource_type` of a topic and of a broker.
pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// `config_source`: set on the topic, by the gateway's configuration, or by nobody.
const SOURCE_TOPIC: i8 = 1;
const SOURCE_STATIC: i8 = 4;
const SOURCE_DEFAULT: i8 = 5;

/// One configuration, as it is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) source: i8,
    pub(super) config_type: i8,
    pub(super) read_only: bool,
    pub(super) about: &'static str,
    /// The name and the values it could have had, first the one that holds: name, value, source.
    pub(super) synonyms: Vec<(&'static str, String, i8)>,
}

/// All configurations of a topic.
pub(super) fn of_topic(settings: Vec<Setting>) -> Vec<Entry> {
    settings.into_iter().map(entry).collect()
}

fn entry(setting: Setting) -> Entry {
    let given_source = if setting.given == setting.default { SOURCE_DEFAULT } else { SOURCE_STATIC };
    let mut synonyms = Vec::new();
    if setting.is_set {
        synonyms.push((setting.name, setting.value.clone(), SOURCE_TOPIC));
    }
    synonyms.push((synonym(setting.name), setting.given, given_source));
    Entry {
        name: setting.name,
        source: if setting.is_set { SOURCE_TOPIC } else { given_source },
        value: setting.value,
        config_type: config_type(setting.kind),
        read_only: false,
        about: setting.about,
        synonyms,
    }
}

/// `config_type` on the wire.
fn config_type(kind: ValueKind) -> i8 {
    match kind {
        ValueKind::Boolean => 1,
        ValueKind::Text => 2,
        ValueKind::Int => 3,
        ValueKind::Long => 5,
        ValueKind::Double => 6,
        ValueKind::List => 7,
    }
}

/// What a broker calls its value for topics that say nothing.
fn synonym(name: &'static str) -> &'static str {
    match name {
        "cleanup.policy" => "log.cleanup.policy",
        "delete.retention.ms" => "log.cleaner.delete.retention.ms",
        "file.delete.delay.ms" => "log.segment.delete.delay.ms",
        "flush.messages" => "log.flush.interval.messages",
        "flush.ms" => "log.flush.interval.ms",
        "index.interval.bytes" => "log.index.interval.bytes",
        "local.retention.bytes" => "log.local.retention.bytes",
        "local.retention.ms" => "log.local.retention.ms",
        "max.compaction.lag.ms" => "log.cleaner.max.compaction.lag.ms",
        "max.message.bytes" => "message.max.bytes",
        "message.timestamp.after.max.ms" => "log.message.timestamp.after.max.ms",
        "message.timestamp.before.max.ms" => "log.message.timestamp.before.max.ms",
        "message.timestamp.type" => "log.message.timestamp.type",
        "min.cleanable.dirty.ratio" => "log.cleaner.min.cleanable.ratio",
        "min.compaction.lag.ms" => "log.cleaner.min.compaction.lag.ms",
        "preallocate" => "log.preallocate",
        "retention.bytes" => "log.retention.bytes",
        "retention.ms" => "log.retention.ms",
        "segment.bytes" => "log.segment.bytes",
        "segment.index.bytes" => "log.index.size.max.bytes",
        "segment.jitter.ms" => "log.roll.jitter.ms",
        "segment.ms" => "log.roll.ms",
        other => other,
    }
}

/// The configurations of the broker that clients look at. They are in the gateway's configuration, so all are read only.
pub(super) fn of_broker((options, dir): (&BrokerOptions, &Path)) -> Vec<Entry> {
    let given = |name: &str| options.defaults.config.get(name).unwrap_or_default();
    let fixed = |name, value: String, kind: ValueKind, about| Entry {
        name,
        value: value.clone(),
        source: SOURCE_STATIC,
        config_type: config_type(kind),
        read_only: true,
        about,
        synonyms: vec![(name, value, SOURCE_STATIC)],
    };
    use ValueKind::{Boolean, Int, List, Long, Text};
    let dir = dir.to_string_lossy().into_owned();
    let expiry_ms = limits::PRODUCER_EXPIRY_MS.to_string();
    vec![
        fixed("auto.create.topics.enable", options.auto_create.to_string(), Boolean, "Whether use creates topics."),
        fixed("broker.id", NODE_ID.to_string(), Int, "The id of this broker, alone in its cluster."),
        fixed("compression.type", given("compression.type"), Text, "For topics that say nothing."),
        fixed("default.replication.factor", "1".to_owned(), Int, "There is one broker."),
        fixed("delete.topic.enable", "true".to_owned(), Boolean, "Whether topics can be deleted."),
        fixed(
            "group.initial.rebalance.delay.ms",
            options.initial_rebalance_delay.as_millis().to_string(),
            Int,
            "How long a new group waits for more members.",
        ),
        fixed(
            "group.max.session.timeout.ms",
            limits::GROUP_SESSION_MS_MAX.to_string(),
            Int,
            "Longest session of a group's member.",
        ),
        fixed(
            "group.min.session.timeout.ms",
            limits::GROUP_SESSION_MS_MIN.to_string(),
            Int,
            "Shortest session of a group's member.",
        ),
        fixed("log.cleanup.policy", "delete".to_owned(), List, "For topics that say nothing."),
        fixed("log.dirs", dir, Text, "The directory of the store."),
        fixed(
            "log.message.timestamp.after.max.ms",
            given("message.timestamp.after.max.ms"),
            Long,
            "For topics that say nothing.",
        ),
        fixed(
            "log.message.timestamp.before.max.ms",
            given("message.timestamp.before.max.ms"),
            Long,
            "For topics that say nothing.",
        ),
        fixed("log.message.timestamp.type", given("message.timestamp.type"), Text, "For topics that say nothing."),
        fixed("log.retention.bytes", given("retention.bytes"), Long, "For topics that say nothing."),
        fixed("log.retention.ms", given("retention.ms"), Long, "For topics that say nothing."),
        fixed("message.max.bytes", given("max.message.bytes"), Int, "For topics that say nothing."),
        fixed("min.insync.replicas", "1".to_owned(), Int, "There is one broker."),
        fixed("node.id", NODE_ID.to_string(), Int, "The id of this broker, alone in its cluster."),
        fixed("num.partitions", options.partitions.to_string(), Int, "For topics that say nothing."),
        fixed("offset.metadata.max.bytes", limits::OFFSET_METADATA_BYTES_MAX.to_string(), Int, "Longest note."),
        fixed(
            "offsets.retention.minutes",
            (options.offsets_retention.as_secs() / 60).to_string(),
            Int,
            "How long offsets of an unused group are kept.",
        ),
        fixed("producer.id.expiration.ms", expiry_ms, Int, "How long an unseen producer is remembered."),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_where_it_comes_from() {
        let setting = Setting {
            name: "retention.ms",
            value: "5".to_owned(),
            is_set: true,
            given: "7".to_owned(),
            default: "-1".to_owned(),
            kind: ValueKind::Long,
            about: "About.",
        };
        let set = entry(setting.clone());
        let synonyms =
            [("retention.ms", "5".to_owned(), SOURCE_TOPIC), ("log.retention.ms", "7".to_owned(), SOURCE_STATIC)];
        assert_eq!((set.source, set.config_type, set.synonyms.as_slice()), (SOURCE_TOPIC, 5, &synonyms[..]));
        let not_set = Setting { value: "7".to_owned(), is_set: false, ..setting };
        assert_eq!(entry(not_set.clone()).source, SOURCE_STATIC);
        let by_nobody = Setting { value: "-1".to_owned(), given: "-1".to_owned(), ..not_set };
        assert_eq!(entry(by_nobody).source, SOURCE_DEFAULT);
    }
}
