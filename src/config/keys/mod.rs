//! The one table of keys. Parsing, suggestions for unknown keys, `brooklet check` and the reference
//! (`brooklet check --reference`) all derive from it, so they can't disagree.
//!
//! Four scopes: the file itself, `[topic]` with `[topic.NAME]`, `[uplink.NAME]`, `[downlink.NAME]`. Defaults are written as a user
//! would write them and take the same way as a user's values. Each says when a change of it takes effect ([`TakesEffect`]); a
//! key that says nothing waits for a restart.
//!
//! A file a scope: `global`, `topic`, `uplink`, `downlink`; what several have is in `tls` and `auth`.

/// A choice whose words are the enum's own.
macro_rules! choice {
    ($words:ty, |$target:ident| $place:expr) => {
        choice!($words, refused: &[], |$target| $place)
    };
    ($words:ty, refused: $refused:expr, |$target:ident| $place:expr) => {
        $crate::config::value::Kind::Choice($crate::config::value::Choice {
            words: <$words>::WORDS,
            refused: $refused,
            set: |$target, word| <$words>::from_word(word).map(|value| $place = value).is_some(),
        })
    };
}

mod auth;
mod downlink;
mod global;
mod http;
mod link;
mod security;
mod tls;
mod topic;
mod uplink;

use std::time::Duration;

use super::{change::TakesEffect, value::Kind};
pub(super) use downlink::DOWNLINK;
pub(super) use global::GLOBAL;
pub(super) use topic::TOPIC;
pub(super) use uplink::UPLINK;

/// One key of the scope `T`.
pub(in crate::config) struct Key<T: 'static> {
    /// Dotted; within a scope's table where the scope has one.
    pub name: &'static str,
    /// As TOML would have it between quotes. `None`: must be set.
    pub default: Option<&'static str>,
    pub kind: Kind<T>,
    /// Never shown: masked in `check`, in errors and in Debug.
    pub secret: bool,
    /// When a change takes effect.
    pub takes: TakesEffect,
    /// One line for the reference.
    pub doc: &'static str,
}

impl<T> Copy for Key<T> {}
impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

/// How many keys there are in all of `parts`.
#[expect(clippy::indexing_slicing, reason = "at compile time: beyond the end it does not build")]
const fn count<T>(parts: &[&[Key<T>]]) -> usize {
    let (mut keys, mut part) = (0, 0);
    while part < parts.len() {
        keys += parts[part].len();
        part += 1;
    }
    keys
}

/// The `N` keys of all of `parts`, one behind the other.
#[expect(clippy::indexing_slicing, reason = "at compile time: beyond the end it does not build")]
const fn joined<T, const N: usize>(parts: &[&[Key<T>]]) -> [Key<T>; N] {
    let mut all = [parts[0][0]; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut index = 0;
        while index < parts[part].len() {
            all[at] = parts[part][index];
            (at, index) = (at + 1, index + 1);
        }
        part += 1;
    }
    all
}

/// A key with a default, which is no secret.
const fn key<T>(name: &'static str, default: &'static str, kind: Kind<T>, doc: &'static str) -> Key<T> {
    Key { name, default: Some(default), kind, secret: false, takes: TakesEffect::Restart, doc }
}

/// A key without a default, which is no secret.
const fn required<T>(name: &'static str, kind: Kind<T>, doc: &'static str) -> Key<T> {
    Key { name, default: None, kind, secret: false, takes: TakesEffect::Restart, doc }
}

/// As [`key`]; a reload applies it.
const fn live<T>(name: &'static str, default: &'static str, kind: Kind<T>, doc: &'static str) -> Key<T> {
    Key { takes: TakesEffect::AtOnce, ..key(name, default, kind, doc) }
}

/// As [`key`]; a reload applies it to connections that come from then on.
const fn for_new<T>(name: &'static str, default: &'static str, kind: Kind<T>, doc: &'static str) -> Key<T> {
    Key { takes: TakesEffect::NewConnections, ..key(name, default, kind, doc) }
}

/// As [`key`]; the next start takes an adoption first.
const fn adopted<T>(name: &'static str, default: &'static str, kind: Kind<T>, doc: &'static str) -> Key<T> {
    Key { takes: TakesEffect::Adoption, ..key(name, default, kind, doc) }
}

/// The same keys, all of which a reload applies.
#[expect(clippy::indexing_slicing, reason = "at compile time: beyond the end it does not build")]
const fn all_live<T, const N: usize>(mut keys: [Key<T>; N]) -> [Key<T>; N] {
    let mut at = 0;
    while at < N {
        keys[at].takes = TakesEffect::AtOnce;
        at += 1;
    }
    keys
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const MS_10: Duration = Duration::from_millis(10);
const MINUTE: Duration = Duration::from_secs(60);
const YEARS_100: Duration = Duration::from_secs(86_400 * 36_500);

/// Sections that have their place but not their meaning yet. They are refused, never silently ignored: a `[tls]` that
/// does nothing would be a listener in the clear. `*` stands for one part of the path.
pub(super) static RESERVED: &[(&[&str], &str)] = &[
    (&["tls"], "TLS"),
    (&["auth"], "authentication"),
    (&["user"], "authentication"),
    (&["acl"], "authorisation"),
    (&["quota"], "quotas"),
    (&["listen", "serial"], "the serial listener"),
    (&["streams"], "stream processing"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check_scope<T>(scope: &[Key<T>]) {
        for (index, key) in scope.iter().enumerate() {
            assert!(key.doc.ends_with('.') && key.doc.len() < 110, "{}: one line, ended", key.name);
            assert!(!scope[..index].iter().any(|other| other.name == key.name), "{} twice", key.name);
            // A variable's `__` stands for a dot, so no part of a key may hold it.
            assert!(!key.name.contains("__"), "{}", key.name);
        }
    }

    #[test]
    fn keys_are_described_and_unique() {
        check_scope(GLOBAL);
        check_scope(TOPIC);
        check_scope(UPLINK);
        check_scope(DOWNLINK);
    }

    /// `[topic]` holds defaults and topics alike: no key may read as a topic's name plus another key.
    #[test]
    fn a_topic_key_is_never_a_name_and_a_key() {
        for key in TOPIC {
            for other in TOPIC {
                assert!(!key.name.ends_with(&format!(".{}", other.name)), "{} {}", key.name, other.name);
            }
        }
    }
}
