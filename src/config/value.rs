//! One value: from what a file, variable or flag holds to a checked, typed value in its place.
//!
//! A [`Kind`] carries the reader, the allowed range **and** the typed setter, so that what is parsed, what is allowed
//! and where it goes can't disagree.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    link::WeekWindow,
    listen::MqttRule,
    pattern::{TopicPattern, TopicTemplate},
    reading::{Read, host_port, in_brackets, or_word, quoted},
    rules,
    store::DiskBudget,
    types::HostPort,
    units::{format_duration, format_size},
};

/// A value as it was found. Variables and flags always hold [`Raw::Text`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Raw>),
    /// A table in a list.
    Table(Vec<(String, Raw)>),
    /// What no key takes: a float, a date; as its TOML type's name.
    Other(&'static str),
}

/// What a key of the scope `T` takes and where it goes.
pub(super) enum Kind<T: 'static> {
    Boolean(fn(&mut T, bool)),
    Count {
        min: u64,
        max: u64,
        set: fn(&mut T, u64),
    },
    CountOr {
        word: &'static str,
        min: u64,
        max: u64,
        set: fn(&mut T, Option<u64>),
    },
    Size {
        min: u64,
        max: u64,
        set: fn(&mut T, u64),
    },
    SizeOr {
        word: &'static str,
        min: u64,
        max: u64,
        set: fn(&mut T, Option<u64>),
    },
    Duration {
        min: Duration,
        max: Duration,
        set: fn(&mut T, Duration),
    },
    /// Takes a bare number as milliseconds (Kafka's way), and -1 as the word.
    DurationOr {
        word: &'static str,
        min: Duration,
        max: Duration,
        set: fn(&mut T, Option<Duration>),
    },
    /// A size per day: `2GB/day`.
    SizeADayOr {
        word: &'static str,
        min: u64,
        max: u64,
        set: fn(&mut T, Option<u64>),
    },
    Budget {
        min: u64,
        max: u64,
        set: fn(&mut T, DiskBudget),
    },
    Choice(Choice<T>),
    Name {
        max: usize,
        set: fn(&mut T, String),
    },
    NameOr {
        word: &'static str,
        max: usize,
        set: fn(&mut T, Option<String>),
    },
    Path(fn(&mut T, PathBuf)),
    Address(fn(&mut T, SocketAddr)),
    HostPortOr {
        word: &'static str,
        set: fn(&mut T, Option<HostPort>),
    },
    HostPorts(fn(&mut T, Vec<HostPort>)),
    Patterns(fn(&mut T, Vec<TopicPattern>)),
    Template(fn(&mut T, TopicTemplate)),
    Templates(fn(&mut T, Vec<TopicTemplate>)),
    MqttRules(fn(&mut T, Vec<MqttRule>)),
    /// A text with a grammar of its own.
    Special(Special<T>),
    /// A list of texts with a grammar of their own.
    SpecialList(SpecialList<T>),
    /// A list of times; empty for `word`.
    Windows {
        word: &'static str,
        set: fn(&mut T, Vec<WeekWindow>),
    },
}

/// Words, numbers and functions without state: copied whatever `T` is.
macro_rules! copies {
    ($($name:ident),+) => {$(
        impl<T> Copy for $name<T> {}
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }
    )+};
}
copies!(Kind, Special, SpecialList, Choice);

/// A text whose type reads it.
pub(super) struct Special<T: 'static> {
    /// What may stand there, for people.
    pub allowed: &'static str,
    /// Puts the value into its place and gives back its canonical spelling; `None` if it is not allowed.
    pub set: fn(&mut T, &str) -> Option<String>,
}

/// A list of texts whose type reads them.
pub(super) struct SpecialList<T: 'static> {
    /// What may stand there, for people.
    pub allowed: &'static str,
    /// Puts the values into their place and gives back their canonical spelling; `None` if one is not allowed.
    pub set: fn(&mut T, &[&str]) -> Option<Vec<String>>,
}

/// One of some words.
pub(super) struct Choice<T: 'static> {
    pub words: &'static [&'static str],
    /// Words known from elsewhere that this version refuses, each with what to say.
    pub refused: &'static [(&'static str, &'static str)],
    /// Whether the word was one of `words`.
    pub set: fn(&mut T, &str) -> bool,
}

impl<T> Kind<T> {
    /// Reads the value into its place; gives it back as TOML, in its canonical spelling.
    ///
    /// # Errors
    /// What is allowed, for people. Nothing was set.
    pub(super) fn read(&self, raw: &Raw, into: &mut T) -> Result<String, String> {
        match self {
            Kind::Boolean(set) => put(*set, into, self.boolean(raw)),
            Kind::Count { min, max, set } => put(*set, into, self.count(raw, *min, *max)),
            Kind::CountOr { word, min, max, set } => {
                put(*set, into, or_word(raw, word, || self.count(raw, *min, *max)))
            }
            Kind::Size { min, max, set } => put(*set, into, self.size(raw, *min, *max)),
            Kind::SizeOr { word, min, max, set } => put(*set, into, or_word(raw, word, || self.size(raw, *min, *max))),
            Kind::Duration { min, max, set } => put(*set, into, self.duration(raw, *min, *max)),
            Kind::DurationOr { word, min, max, set } => {
                put(*set, into, or_word(raw, word, || self.duration_or_ms(raw, *min, *max)))
            }
            Kind::SizeADayOr { word, min, max, set } => {
                put(*set, into, or_word(raw, word, || self.size_a_day(raw, *min, *max)))
            }
            Kind::Budget { min, max, set } => put(*set, into, self.budget(raw, *min, *max)),
            Kind::Choice(choice) => self.choose(raw, choice, into),
            Kind::Name { max, set } => put(*set, into, self.name(raw, *max)),
            Kind::NameOr { word, max, set } => put(*set, into, or_word(raw, word, || self.name(raw, *max))),
            Kind::Path(set) => put(*set, into, self.path(raw)),
            Kind::Address(set) => put(*set, into, self.address(raw)),
            Kind::HostPortOr { word, set } => put(*set, into, or_word(raw, word, || self.host_port(raw))),
            Kind::HostPorts(set) => put(*set, into, self.list(raw, true, host_port)),
            Kind::Patterns(set) => put(*set, into, self.list(raw, false, TopicPattern::parse)),
            Kind::Template(set) => put(*set, into, self.template(raw)),
            Kind::Templates(set) => put(*set, into, self.list(raw, true, TopicTemplate::parse)),
            Kind::Special(special) => {
                (special.set)(into, self.text(raw)?).map(|shown| quoted(&shown)).ok_or_else(|| self.must())
            }
            Kind::SpecialList(list) => {
                let items = self.items(raw)?;
                let shown = (list.set)(into, &items).ok_or_else(|| self.must())?;
                Ok(in_brackets(shown.iter().map(String::as_str)))
            }
            Kind::Windows { word, set } => put(*set, into, self.windows(raw, word)),
            Kind::MqttRules(set) => put(*set, into, rules::read(raw).ok_or_else(|| self.must())),
        }
    }

    /// What the key takes, for people: "a size from 16MiB to 16TiB".
    pub(super) fn allowed(&self) -> String {
        match self {
            Kind::Boolean(_) => "true or false".to_owned(),
            Kind::Count { min, max, .. } => format!("a number from {min} to {max}"),
            Kind::CountOr { word, min, max, .. } => format!("\"{word}\" or a number from {min} to {max}"),
            Kind::Size { min, max, .. } => format!("a size from {} to {}", format_size(*min), format_size(*max)),
            Kind::SizeOr { word, min, max, .. } => {
                format!("\"{word}\" or a size from {} to {}", format_size(*min), format_size(*max))
            }
            Kind::Duration { min, max, .. } => {
                format!("a duration from {} to {}", format_duration(*min), format_duration(*max))
            }
            Kind::DurationOr { word, min, max, .. } => {
                format!("\"{word}\" or a duration from {} to {}", format_duration(*min), format_duration(*max))
            }
            Kind::SizeADayOr { word, min, max, .. } => {
                format!("\"{word}\" or a size a day from {}/day to {}/day", format_size(*min), format_size(*max))
            }
            Kind::Budget { min, max, .. } => {
                let (min, max) = (format_size(*min), format_size(*max));
                format!("\"auto\", a size from {min} to {max}, or a share of the filesystem from \"1%\" to \"95%\"")
            }
            Kind::Choice(choice) => {
                choice.words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")
            }
            Kind::Name { max, .. } => format!("1 to {max} letters, digits, '.', '_' or '-'"),
            Kind::NameOr { word, max, .. } => format!("\"{word}\" or 1 to {max} letters, digits, '.', '_' or '-'"),
            Kind::Path(_) => "a path".to_owned(),
            Kind::Address(_) => {
                "an address and a port, such as \"127.0.0.1:9092\", \"0.0.0.0:9092\" or \"[::]:9092\"".to_owned()
            }
            Kind::HostPortOr { word, .. } => format!("\"{word}\" or a host and a port, such as \"gateway.lan:9092\""),
            Kind::HostPorts(_) => "a list of hosts with port, such as [\"kafka-1:9092\", \"kafka-2:9092\"]".to_owned(),
            Kind::Patterns(_) => "a list of topic patterns, such as [\"sensor-*\", \"alarms\"]".to_owned(),
            Kind::Template(_) => "a topic name in which {topic}, {gateway} and {label.NAME} are replaced".to_owned(),
            Kind::Templates(_) => "a list of topic names, such as [\"commands\", \"config-{gateway}\"]".to_owned(),
            Kind::Special(special) => special.allowed.to_owned(),
            Kind::SpecialList(list) => list.allowed.to_owned(),
            Kind::Windows { word, .. } => {
                format!("\"{word}\" or a list of times, such as [\"Mon-Fri 22:00-06:00\", \"Sat Sun\"]")
            }
            Kind::MqttRules(_) => {
                "a list of tables, such as [{ filter = \"a/+\", topic = \"a\", key = \"{1}\", headers = { h = \"{client}\" } }]".to_owned()
            }
        }
    }

    pub(super) fn must(&self) -> String {
        format!("must be {}", self.allowed())
    }
}

/// Puts what was read into its place.
fn put<T, V>(set: fn(&mut T, V), into: &mut T, read: Read<V>) -> Result<String, String> {
    let (value, shown) = read?;
    set(into, value);
    Ok(shown)
}
