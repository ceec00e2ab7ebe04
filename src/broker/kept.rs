//! Settings of Kafka's topics that decide nothing here: taken, kept and shown, so that tools and frameworks that set
//! them work unchanged.
//!
//! Invariant: a value is taken only where what it asks for holds, or where it tunes something that Brooklet does not have.
//! What would promise more than is done is refused with the reason.

use super::settings::ValueKind;

/// Which values are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// The default only: nothing else is done here.
    Default,
    /// `true` and `false`.
    Either,
    /// Whole numbers from here on.
    From(i64),
    /// Numbers from 0 to 1.
    Ratio,
}

/// A setting that decides nothing here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Its name in Kafka.
    pub(super) name: &'static str,
    /// Its value unless set; Kafka's.
    pub(super) default: &'static str,
    /// The type of its value.
    pub(super) kind: ValueKind,
    /// Why it decides nothing, or why only one value is taken.
    pub(super) why: &'static str,
    allowed: Allowed,
}

const fn kept(name: &'static str, default: &'static str, kind: ValueKind, allowed: Allowed, why: &'static str) -> Kept {
    Kept { name, default, kind, why, allowed }
}

const NO_COMPACTION: &str = "compaction is not available in this version";
const COMPACTION: &str = "Concerns compaction, which this version does not have.";
const SEGMENTS: &str = "All topics share the store's segments; their size is the gateway's setting.";
const SYNCED: &str = "Every commit is synced before it is acknowledged, which is more often than asked for.";
const ALONE: &str = "there is one broker, which holds the only replica";
const TIERED: &str = "there is no tiered storage";

/// All of them, by name.
pub(super) const KEPT: &[Kept] = {
    use Allowed::{Default, Either, From, Ratio};
    use ValueKind::{Boolean, Double, Int, List, Long};
    &[
        kept("cleanup.policy", "delete", List, Default, NO_COMPACTION),
        kept("delete.retention.ms", "86400000", Long, From(0), COMPACTION),
        kept("file.delete.delay.ms", "60000", Long, From(0), SEGMENTS),
        kept("flush.messages", "9223372036854775807", Long, From(1), SYNCED),
        kept("flush.ms", "9223372036854775807", Long, From(0), SYNCED),
        kept("follower.replication.throttled.replicas", "", List, Default, ALONE),
        kept("index.interval.bytes", "4096", Int, From(0), SEGMENTS),
        kept("leader.replication.throttled.replicas", "", List, Default, ALONE),
        kept("local.retention.bytes", "-2", Long, Default, TIERED),
        kept("local.retention.ms", "-2", Long, Default, TIERED),
        kept("max.compaction.lag.ms", "9223372036854775807", Long, From(1), COMPACTION),
        kept("min.cleanable.dirty.ratio", "0.5", Double, Ratio, COMPACTION),
        kept("min.compaction.lag.ms", "0", Long, From(0), COMPACTION),
        kept("min.insync.replicas", "1", Int, Default, ALONE),
        kept("preallocate", "false", Boolean, Either, SEGMENTS),
        kept("remote.storage.enable", "false", Boolean, Default, TIERED),
        kept("segment.bytes", "1073741824", Int, From(1), SEGMENTS),
        kept("segment.index.bytes", "10485760", Int, From(4), SEGMENTS),
        kept("segment.jitter.ms", "0", Long, From(0), SEGMENTS),
        kept("segment.ms", "604800000", Long, From(1), SEGMENTS),
        kept("unclean.leader.election.enable", "false", Boolean, Either, "There is one broker, and no election."),
    ]
};

/// Settings that are refused whatever the value, and why.
const REFUSED: &[(&str, &str)] = &[
    ("compression.gzip.level", "each codec has one level here; leave it out"),
    ("compression.lz4.level", "each codec has one level here; leave it out"),
    ("compression.zstd.level", "each codec has one level here; leave it out"),
    ("message.downconversion.enable", "gone since Kafka 4.0; leave it out"),
    ("message.format.version", "gone since Kafka 4.0; leave it out"),
    (
        "message.timestamp.difference.max.ms",
        "gone since Kafka 4.0; use message.timestamp.before.max.ms and message.timestamp.after.max.ms",
    ),
    ("remote.log.copy.disable", TIERED),
    ("remote.log.delete.on.disable", TIERED),
];

/// Whether `key` may be set to `value`.
///
/// # Errors
/// A text that names the key, and what is allowed or why it is not there.
pub(super) fn check(key: &str, value: &str) -> Result<(), String> {
    if let Some((_, why)) = REFUSED.iter().find(|(name, _)| *name == key) {
        return Err(format!("{key}: {why}"));
    }
    let Some(kept) = KEPT.iter().find(|kept| kept.name == key) else {
        let own = super::topic::TopicConfig::KEYS.join(", ");
        return Err(format!("{key}: not a topic configuration; what decides something here: {own}"));
    };
    let whole_max = if kept.kind == ValueKind::Int { i64::from(i32::MAX) } else { i64::MAX };
    match kept.allowed {
        Allowed::Default if value == kept.default => Ok(()),
        Allowed::Default => Err(format!("{key}={value}: it may only be {:?}: {}", kept.default, kept.why)),
        Allowed::Either if matches!(value, "true" | "false") => Ok(()),
        Allowed::Either => Err(format!("{key}={value}: one of true, false")),
        Allowed::From(least) => match value.parse::<i64>() {
            Ok(number) if (least..=whole_max).contains(&number) => Ok(()),
            _ => Err(format!("{key}={value}: a whole number from {least} to {whole_max}")),
        },
        Allowed::Ratio => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => Err(format!("{key}={value}: a number from 0 to 1")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_order_and_their_defaults_are_allowed() {
        assert!(KEPT.is_sorted_by_key(|kept| kept.name));
        for kept in KEPT {
            check(kept.name, kept.default).expect(kept.name);
            assert!(!super::super::topic::TopicConfig::KEYS.contains(&kept.name), "{} twice", kept.name);
        }
    }

    #[test]
    fn what_would_promise_more_is_refused_with_the_reason() {
        for (key, value, said) in [
            ("cleanup.policy", "compact", "only be \"delete\": compaction"),
            ("cleanup.policy", "compact,delete", "only be \"delete\": compaction"),
            ("min.insync.replicas", "2", "one broker"),
            ("remote.storage.enable", "true", "no tiered storage"),
            ("segment.bytes", "0", "from 1 to 2147483647"),
            ("segment.bytes", "3000000000", "from 1 to 2147483647"),
            ("segment.ms", "soon", "a whole number"),
            ("min.cleanable.dirty.ratio", "NaN", "from 0 to 1"),
            ("preallocate", "yes", "true, false"),
            ("message.timestamp.difference.max.ms", "1", "gone since Kafka 4.0"),
            ("segment.byte", "1", "not a topic configuration"),
        ] {
            let text = check(key, value).expect_err(key);
            assert!(text.contains(said) && text.contains(key), "{text}");
        }
        check("segment.bytes", "52428800").expect("Kafka Streams sets it");
    }
}
