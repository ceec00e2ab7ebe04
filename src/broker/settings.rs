//! All settings of a topic as they are shown: those that decide something, and Kafka's others that are kept.

use super::Broker;
use super::kept::{KEPT, Kept};
use super::topic::{Topic, TopicConfig};

/// The type of a setting's value, as Kafka tells it to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    Text,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number with a fraction.
    Double,
    /// Texts with commas between them.
    List,
}

/// A setting of a topic, and where its value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Whether it was set on the topic; else the gateway's value holds.
    pub is_set: bool,
    /// What the gateway gives topics of this name.
    pub given: String,
    /// The value of a gateway that says nothing.
    pub default: String,
    /// The type of the value.
    pub kind: ValueKind,
    /// What it decides, in a sentence.
    pub about: &'static str,
}

/// Type and meaning of each of [`TopicConfig::KEYS`].
const ABOUT: [(&str, ValueKind, &str); TopicConfig::KEYS.len()] = {
    use ValueKind::{Boolean, Int, Long, Text};
    [
        (
            "brooklet.forward",
            Text,
            "Whether uplinks follow it by any pattern (always), or only if they name it (named).",
        ),
        ("brooklet.key", Text, "The key of native records that bring none: client-id or none."),
        ("brooklet.on.full", Text, "At the store's bound: evict-oldest, or refuse what is new."),
        ("brooklet.priority", Int, "0 to 9: what has a higher one is kept longer."),
        ("brooklet.reserve", Long, "Bytes of the newest records that are never evicted."),
        ("brooklet.retention.unforwarded", Text, "Whether retention waits for uplinks: keep or delete."),
        ("brooklet.urgent", Boolean, "Whether its records are committed at once, whatever the medium's pace."),
        ("compression.type", Text, "The codec that batches of Kafka producers are kept in; producer: as they come."),
        ("max.message.bytes", Int, "Largest batch that is taken."),
        ("message.timestamp.after.max.ms", Long, "How far a record may be ahead of a trusted clock."),
        ("message.timestamp.before.max.ms", Long, "How far a record may be behind a trusted clock."),
        ("message.timestamp.type", Text, "Whose time records carry: the producer's or the gateway's."),
        (
            "retention.bytes",
            Long,
            "Beyond this size of a partition its oldest records go; -1: only by the store's bound.",
        ),
        ("retention.ms", Long, "Records older than this go; -1: only by the store's bound."),
    ]
};

impl Broker {
    /// All settings of `topic`, by name.
    pub fn settings(&self, topic: &Topic) -> Vec<Setting> {
        let defaults = &self.shared.options().defaults;
        let given = defaults.effective(&topic.name, &[]).unwrap_or_else(|_| defaults.config.clone());
        let default = TopicConfig::default();
        let is_set = |name: &str| topic.overrides.iter().any(|(key, _)| key == name);
        let own = ABOUT.into_iter().filter_map(|(name, kind, about)| {
            Some(Setting {
                name,
                value: topic.config.get(name)?,
                is_set: is_set(name),
                given: given.get(name)?,
                default: default.get(name)?,
                kind,
                about,
            })
        });
        let kept = KEPT.iter().map(|&Kept { name, default, kind, why, .. }| {
            let set = topic.overrides.iter().rev().find(|(key, _)| key == name);
            Setting {
                name,
                value: set.map_or(default, |(_, value)| value).to_owned(),
                is_set: set.is_some(),
                given: default.to_owned(),
                default: default.to_owned(),
                kind,
                about: why,
            }
        });
        let mut all: Vec<Setting> = own.chain(kept).collect();
        all.sort_unstable_by_key(|setting| setting.name);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_type_and_a_meaning() {
        assert_eq!(ABOUT.map(|(name, ..)| name), TopicConfig::KEYS);
        assert!(ABOUT.iter().all(|(.., about)| about.ends_with('.')));
    }
}
