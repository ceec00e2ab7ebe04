//! Assignments to configuration: finds each one's key in the table, reads it into its place, and keeps for every key
//! what holds and where it came from. Finds all errors in one go; also those of values that a later layer covers.

use std::collections::BTreeMap;

use super::{
    change::TakesEffect,
    downlink::DownlinkConfig,
    error::{ConfigError, Origin},
    file::Assignment,
    keys::{DOWNLINK, GLOBAL, Key, RESERVED, TOPIC, UPLINK},
    labels,
    pattern::is_name_char,
    reading::quoted,
    suggest::nearest,
    topics::TopicSettings,
    types::Config,
    uplink::UplinkConfig,
    value::Raw,
};
use crate::limits::{LABEL_NAME_BYTES_MAX, TOPIC_NAME_BYTES_MAX, UPLINK_NAME_BYTES_MAX};

/// What holds for one key, and why.
#[derive(Clone, PartialEq)]
pub struct Effective {
    /// The key as TOML: `topic."a.b".retention.ms`.
    pub key: String,
    /// The value as TOML, in its canonical spelling. Secrets are here in the clear: show [`Effective::shown`].
    pub(super) value: String,
    pub origin: Origin,
    pub secret: bool,
    /// When a change of it takes effect.
    pub takes: TakesEffect,
    pub doc: &'static str,
}

impl Effective {
    /// The value for people's eyes: secrets are masked.
    #[must_use]
    pub fn shown(&self) -> &str {
        if self.secret { "\"***\"" } else { &self.value }
    }
}

impl std::fmt::Debug for Effective {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.shown(), self.origin)
    }
}

/// What came of the assignments. `config` is whole only if there are no errors.
pub(super) struct Resolved {
    pub(super) config: Config,
    pub(super) effective: Vec<Effective>,
    pub(super) errors: Vec<ConfigError>,
}

/// Reads the defaults of a scope. They are the table's own and read without error (a test holds that).
pub(super) fn read_defaults<T>(scope: &[Key<T>], into: &mut T) {
    for key in scope {
        if let Some(default) = key.default {
            let read = key.kind.read(&Raw::Text(default.to_owned()), into);
            debug_assert!(read.is_ok(), "{}: {read:?}", key.name);
        }
    }
}

/// Reads the assignments, lowest layer first, over the defaults.
pub(super) fn resolve(assignments: &[Assignment]) -> Resolved {
    let mut sorted = Sorted::default();
    for assignment in assignments {
        sorted.sort(assignment);
    }
    let Sorted { global, labels, topic_defaults, topics, uplinks, downlinks, mut errors, .. } = sorted;
    let mut config = Config::blank();
    let mut effective = Vec::new();
    let mut settle = Settle { effective: &mut effective, errors: &mut errors };

    settle.whole("", GLOBAL, &global, &mut config);
    for (name, raw, origin) in labels {
        let read = config.gateway.labels.read(name, raw);
        settle.settled(
            format!("{LABELS}.{}", bare_or_quoted(name)),
            read,
            (raw, origin),
            (false, TakesEffect::AtOnce, labels::DOC),
        );
    }
    settle.whole("topic.", TOPIC, &topic_defaults, &mut config.topics.defaults);
    for (name, found) in topics {
        let mut settings: TopicSettings = config.topics.defaults.clone();
        settle.overrides(&format!("topic.{}.", bare_or_quoted(&name)), TOPIC, &found, &mut settings);
        config.topics.by_name.insert(name, settings);
    }
    for (name, found) in uplinks {
        let mut uplink = UplinkConfig::blank();
        settle.link("uplink", &name, UPLINK, &found, &mut uplink);
        config.uplinks.insert(name, uplink);
    }
    for (name, found) in downlinks {
        let mut downlink = DownlinkConfig::blank();
        settle.link("downlink", &name, DOWNLINK, &found, &mut downlink);
        config.downlinks.insert(name, downlink);
    }
    Resolved { config, effective, errors }
}

/// The table of the gateway's labels.
const LABELS: &str = "gateway.labels";

/// A value whose key is known.
struct Found<'a> {
    name: &'static str,
    raw: &'a Raw,
    origin: &'a Origin,
}

/// What was found of an uplink or a downlink.
#[derive(Default)]
struct FoundLink<'a> {
    named_at: Option<&'a Origin>,
    values: Vec<Found<'a>>,
}

/// Assignments sorted to the tables they belong to, in layer order.
#[derive(Default)]
struct Sorted<'a> {
    global: Vec<Found<'a>>,
    /// Names are anybody's.
    labels: Vec<(&'a str, &'a Raw, &'a Origin)>,
    topic_defaults: Vec<Found<'a>>,
    topics: BTreeMap<String, Vec<Found<'a>>>,
    uplinks: BTreeMap<String, FoundLink<'a>>,
    downlinks: BTreeMap<String, FoundLink<'a>>,
    errors: Vec<ConfigError>,
    /// Reserved sections already told of.
    reserved_told: Vec<(usize, Origin)>,
}

impl<'a> Sorted<'a> {
    fn sort(&mut self, assignment: &'a Assignment) {
        let Assignment { path, raw, origin } = assignment;
        let joined = path.join(".");
        if let Some(index) = reserved(path) {
            return self.refuse_reserved(index, &joined, origin);
        }
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        match (parts.as_slice(), raw) {
            (_, Some(raw)) if GLOBAL.iter().any(|key| key.name == joined) => {
                self.global.extend(GLOBAL.iter().find(|key| key.name == joined).map(|key| Found {
                    name: key.name,
                    raw,
                    origin,
                }));
            }
            (["gateway", "labels", name], Some(raw)) => self.labels.push((name, raw, origin)),
            (["gateway", "labels", rest @ ..], raw) => {
                if raw.is_some() || !rest.is_empty() {
                    self.refuse_labels(rest, &joined, origin);
                }
            }
            (["topic", ..], Some(raw)) => self.sort_topic(joined.trim_start_matches("topic."), raw, origin),
            ([kind @ ("uplink" | "downlink"), name, rest @ ..], raw) => {
                self.sort_link(kind, name, &rest.join("."), raw.as_ref(), origin);
            }
            (_, None) if is_section(&joined) => {}
            _ => self.refuse_unknown(&joined, origin),
        }
    }

    /// A default for all topics, or a topic's name (which may hold dots) and a key.
    fn sort_topic(&mut self, rest: &str, raw: &'a Raw, origin: &'a Origin) {
        if let Some(key) = TOPIC.iter().find(|key| key.name == rest) {
            return self.topic_defaults.push(Found { name: key.name, raw, origin });
        }
        let split = TOPIC.iter().find_map(|key| {
            let name = rest.strip_suffix(key.name)?.strip_suffix('.')?;
            Some((name, key.name))
        });
        let Some((topic, name)) = split else { return self.refuse_unknown(&format!("topic.{rest}"), origin) };
        if topic == "defaults" {
            let problem = format!("what holds for all topics stands in [topic] itself: topic.{name}");
            return self.errors.push(ConfigError::at(origin, &format!("topic.{rest}"), problem));
        }
        let legal = topic.len() <= TOPIC_NAME_BYTES_MAX && topic.chars().all(is_name_char) && !topic.is_empty();
        if !legal || topic == "." || topic == ".." {
            let problem = format!("a topic's name has 1 to {TOPIC_NAME_BYTES_MAX} letters, digits, '.', '_' or '-'");
            return self.errors.push(ConfigError::at(origin, &format!("topic.{rest}"), problem));
        }
        self.topics.entry(topic.to_owned()).or_default().push(Found { name, raw, origin });
    }

    /// `kind` is `uplink` or `downlink`.
    fn sort_link(&mut self, kind: &str, name: &str, rest: &str, raw: Option<&'a Raw>, origin: &'a Origin) {
        let full = format!("{kind}.{name}{}{rest}", if rest.is_empty() { "" } else { "." });
        let key = link_keys(kind).find(|key| *key == rest);
        if rest.is_empty() && raw.is_some() {
            let problem = format!("{kind}s are tables: [{kind}.{name}] with bootstrap = [\"HOST:PORT\"]");
            return self.errors.push(ConfigError::at(origin, &full, problem));
        }
        if key.is_none() && !rest.is_empty() {
            return self.refuse_unknown(&full, origin);
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || name.len() > UPLINK_NAME_BYTES_MAX || !name.chars().all(legal) {
            let article = if kind == "uplink" { "an" } else { "a" };
            let problem =
                format!("{article} {kind}'s name has 1 to {UPLINK_NAME_BYTES_MAX} letters, digits, '_' or '-'");
            return self.errors.push(ConfigError::at(origin, &full, problem));
        }
        let links = if kind == "uplink" { &mut self.uplinks } else { &mut self.downlinks };
        let entry = links.entry(name.to_owned()).or_default();
        entry.named_at.get_or_insert(origin);
        if let (Some(name), Some(raw)) = (key, raw) {
            entry.values.push(Found { name, raw, origin });
        }
    }

    fn refuse_reserved(&mut self, index: usize, joined: &str, origin: &Origin) {
        // One error a section and file, not one a key in it.
        let same_place = |told: &Origin| match (told, origin) {
            (Origin::File { path: a, .. }, Origin::File { path: b, .. }) => a == b,
            _ => false,
        };
        if self.reserved_told.iter().any(|(told, at)| *told == index && same_place(at)) {
            return;
        }
        self.reserved_told.push((index, origin.clone()));
        let what = RESERVED.get(index).map_or("this", |(_, what)| what);
        let problem = format!("{what} is not available in this version; remove the section");
        self.errors.push(ConfigError::at(origin, joined, problem));
    }

    fn refuse_labels(&mut self, below: &[&str], joined: &str, origin: &Origin) {
        let problem = match below {
            [] => format!("labels are a table: [{LABELS}] with NAME = \"VALUE\""),
            [_] => "must be a text".to_owned(),
            _ => format!("a label's name has 1 to {LABEL_NAME_BYTES_MAX} letters, digits, '_' or '-'"),
        };
        self.errors.push(ConfigError::at(origin, joined, problem));
    }

    fn refuse_unknown(&mut self, joined: &str, origin: &Origin) {
        let problem = match suggestion(joined) {
            Some(meant) => format!("unknown key; did you mean {meant}?"),
            None if is_section(joined) => "is a section, not a key".to_owned(),
            None => "unknown key; `brooklet check --reference` lists all".to_owned(),
        };
        self.errors.push(ConfigError::at(origin, joined, problem));
    }
}

/// Reads what was found into its place.
struct Settle<'s> {
    effective: &'s mut Vec<Effective>,
    errors: &'s mut Vec<ConfigError>,
}

impl Settle<'_> {
    /// Every key of an uplink or downlink; what has no default must have been found.
    fn link<T>(&mut self, kind: &str, name: &str, scope: &'static [Key<T>], found: &FoundLink<'_>, into: &mut T) {
        self.whole(&format!("{kind}.{}.", bare_or_quoted(name)), scope, &found.values, into);
        let Some(origin) = found.named_at else { return };
        let is_found = |key: &Key<T>| found.values.iter().any(|found| found.name == key.name);
        for key in scope.iter().filter(|key| key.default.is_none() && !is_found(key)) {
            let what = if key.name == "bootstrap" { "the Kafka brokers to ask first" } else { "what to bring" };
            let problem = format!("must be set: {what}");
            self.errors.push(ConfigError::at(origin, &format!("{kind}.{name}.{}", key.name), problem));
        }
    }

    /// Every key of the scope: its default, then what was found.
    fn whole<T>(&mut self, prefix: &str, scope: &'static [Key<T>], found: &[Found<'_>], into: &mut T) {
        for key in scope {
            if let Some(default) = key.default {
                self.read(prefix, key, &Raw::Text(default.to_owned()), &Origin::Default, into);
            }
        }
        self.overrides(prefix, scope, found, into);
    }

    /// Only what was found.
    fn overrides<T>(&mut self, prefix: &str, scope: &'static [Key<T>], found: &[Found<'_>], into: &mut T) {
        for Found { name, raw, origin } in found {
            if let Some(key) = scope.iter().find(|key| key.name == *name) {
                self.read(prefix, key, raw, origin, into);
            }
        }
    }

    fn read<T>(&mut self, prefix: &str, key: &'static Key<T>, raw: &Raw, origin: &Origin, into: &mut T) {
        let full = format!("{prefix}{}", key.name);
        let read = key.kind.read(raw, into);
        self.settled(full, read, (raw, origin), (key.secret, key.takes, key.doc));
    }

    /// What came of reading a value: its canonical spelling, or what is allowed.
    fn settled(
        &mut self,
        full: String,
        read: Result<String, String>,
        (raw, origin): (&Raw, &Origin),
        (secret, takes, doc): (bool, TakesEffect, &'static str),
    ) {
        match read {
            Ok(value) => {
                let now = Effective { key: full, value, origin: origin.clone(), secret, takes, doc };
                match self.effective.iter_mut().find(|before| before.key == now.key) {
                    Some(before) => *before = now,
                    None => self.effective.push(now),
                }
            }
            Err(problem) => {
                let value = (!secret).then(|| shown(raw));
                self.errors.push(ConfigError { origin: Some(origin.clone()), key: Some(full), value, problem });
            }
        }
    }
}

/// The keys of an uplink or a downlink.
fn link_keys(kind: &str) -> Box<dyn Iterator<Item = &'static str>> {
    match kind {
        "uplink" => Box::new(UPLINK.iter().map(|key| key.name)),
        _ => Box::new(DOWNLINK.iter().map(|key| key.name)),
    }
}

/// The reserved section a path lies in.
fn reserved(path: &[String]) -> Option<usize> {
    let inside = |pattern: &[&str]| {
        path.len() >= pattern.len() && pattern.iter().zip(path).all(|(want, part)| *want == "*" || want == part)
    };
    RESERVED.iter().position(|(pattern, _)| inside(pattern))
}

/// Whether keys lie below this path.
fn is_section(joined: &str) -> bool {
    let below = |name: &str| name.strip_prefix(joined).is_some_and(|rest| rest.starts_with('.'));
    matches!(joined, "uplink" | "downlink")
        || GLOBAL.iter().any(|key| below(key.name))
        || TOPIC.iter().any(|key| below(&format!("topic.{}", key.name)))
        || joined.strip_prefix("topic.").is_some_and(|name| name.chars().all(is_name_char))
}

/// The key that was probably meant, spelled whole.
fn suggestion(joined: &str) -> Option<String> {
    for kind in ["uplink", "downlink"] {
        let below = joined.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'));
        if let Some((name, rest)) = below.and_then(|rest| rest.split_once('.')) {
            let meant = nearest(rest, link_keys(kind))?;
            return Some(format!("{kind}.{name}.{meant}"));
        }
    }
    let mut topic_keys: Vec<String> = TOPIC.iter().map(|key| format!("topic.{}", key.name)).collect();
    if let Some(rest) = joined.strip_prefix("topic.") {
        // A topic of its own: where its name ends and the key begins is not known, so every dot is tried.
        let names = rest.char_indices().filter(|(_, c)| *c == '.').filter_map(|(dot, _)| rest.get(..dot)).take(8);
        topic_keys.extend(names.flat_map(|name| TOPIC.iter().map(move |key| format!("topic.{name}.{}", key.name))));
    }
    nearest(joined, GLOBAL.iter().map(|key| key.name).chain(topic_keys.iter().map(String::as_str))).map(str::to_owned)
}

/// A value as it was written, near enough.
fn shown(raw: &Raw) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let text = match raw {
        Raw::Text(text) => quoted(text),
        Raw::Integer(number) => number.to_string(),
        Raw::Boolean(value) => value.to_string(),
        Raw::List(items) => format!("[{}]", items.iter().take(8).map(shown).collect::<Vec<_>>().join(", ")),
        Raw::Table(_) => "(a table)".to_owned(),
        Raw::Other(what) => format!("({what})"),
    };
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    text.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

fn bare_or_quoted(part: &str) -> String {
    let bare = !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { part.to_owned() } else { quoted(part) }
}
