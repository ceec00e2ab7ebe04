//! One value: from what a file, variable or flag holds to a checked, typed value in its place.
//!
//! A [`Kind`] carries the reader, the allowed range **and** the typed setter, so that what is parsed, what is allowed
//! and where it goes can't disagree.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    link::WeekWindow,
    pattern::{TopicPattern, TopicTemplate, is_name_char},
    rules,
    types::{DiskBudget, HostPort, MqttRule},
    units::{format_duration, format_size, parse_duration, parse_size},
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

/// A value and its canonical spelling as TOML, or what is allowed.
type Read<V> = Result<(V, String), String>;

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

    fn must(&self) -> String {
        format!("must be {}", self.allowed())
    }

    fn text<'a>(&self, raw: &'a Raw) -> Result<&'a str, String> {
        match raw {
            Raw::Text(text) => Ok(text),
            _ => Err(self.must()),
        }
    }

    fn within<V: PartialOrd>(&self, value: V, min: V, max: V) -> Result<V, String> {
        if value < min || value > max { Err(self.must()) } else { Ok(value) }
    }

    fn boolean(&self, raw: &Raw) -> Read<bool> {
        let value = match raw {
            Raw::Boolean(value) => *value,
            // Variables and flags have no types.
            Raw::Text(text) => text.parse().map_err(|_| self.must())?,
            _ => return Err(self.must()),
        };
        Ok((value, value.to_string()))
    }

    fn count(&self, raw: &Raw, min: u64, max: u64) -> Read<u64> {
        let value = bare_number(raw).ok_or_else(|| self.must())?;
        self.within(value, min, max).map(|value| (value, value.to_string()))
    }

    fn size(&self, raw: &Raw, min: u64, max: u64) -> Read<u64> {
        let value = match bare_number(raw) {
            Some(bytes) => bytes,
            None => parse_size(self.text(raw)?)?,
        };
        let shown = |text: String| match text.strip_suffix('B') {
            // Whole bytes are a plain number.
            Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => number.to_owned(),
            _ => quoted(&text),
        };
        self.within(value, min, max).map(|value| (value, shown(format_size(value))))
    }

    fn duration(&self, raw: &Raw, min: Duration, max: Duration) -> Read<Duration> {
        let value = parse_duration(self.text(raw)?)?;
        self.within(value, min, max).map(|value| (value, quoted(&format_duration(value))))
    }

    /// `2GB/day`; "/d" will do.
    fn size_a_day(&self, raw: &Raw, min: u64, max: u64) -> Read<u64> {
        let text = self.text(raw)?.trim();
        let size = text.strip_suffix("/day").or_else(|| text.strip_suffix("/d")).ok_or_else(|| self.must())?;
        let value = self.within(parse_size(size).map_err(|_| self.must())?, min, max)?;
        Ok((value, quoted(&format!("{}/day", format_size(value)))))
    }

    fn duration_or_ms(&self, raw: &Raw, min: Duration, max: Duration) -> Read<Duration> {
        match bare_number(raw) {
            Some(ms) => {
                let value = self.within(Duration::from_millis(ms), min, max)?;
                Ok((value, quoted(&format_duration(value))))
            }
            None => self.duration(raw, min, max),
        }
    }

    fn name(&self, raw: &Raw, max: usize) -> Read<String> {
        let text = self.text(raw)?;
        // "." and ".." are legal characters but would be directories wherever a name becomes a path (as in Kafka).
        let fits = !text.is_empty() && text.len() <= max && text.chars().all(is_name_char);
        if !fits || text == "." || text == ".." {
            return Err(self.must());
        }
        Ok((text.to_owned(), quoted(text)))
    }

    fn path(&self, raw: &Raw) -> Read<PathBuf> {
        let text = self.text(raw)?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.must());
        }
        Ok((PathBuf::from(text), quoted(text)))
    }

    fn address(&self, raw: &Raw) -> Read<SocketAddr> {
        let value = address(self.text(raw)?).ok_or_else(|| self.must())?;
        Ok((value, quoted(&value.to_string())))
    }

    fn host_port(&self, raw: &Raw) -> Read<HostPort> {
        let value = host_port(self.text(raw)?)?;
        let shown = quoted(&value.to_string());
        Ok((value, shown))
    }

    fn template(&self, raw: &Raw) -> Read<TopicTemplate> {
        let value = TopicTemplate::parse(self.text(raw)?)?;
        let shown = quoted(&value.to_string());
        Ok((value, shown))
    }

    fn windows(&self, raw: &Raw, word: &str) -> Read<Vec<WeekWindow>> {
        if matches!(raw, Raw::Text(text) if text == word) {
            return Ok((Vec::new(), quoted(word)));
        }
        self.list(raw, true, |text| WeekWindow::parse(text).ok_or_else(|| self.must()))
    }

    /// A list; from a variable or flag, separated by commas.
    fn list<V: std::fmt::Display>(
        &self,
        raw: &Raw,
        required: bool,
        read: impl Fn(&str) -> Result<V, String>,
    ) -> Read<Vec<V>> {
        let items = self.items(raw)?;
        if required && items.is_empty() {
            return Err(self.must());
        }
        let values = items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        Ok((values, in_brackets(shown.iter().map(String::as_str))))
    }

    /// What a list holds; from a variable or flag, separated by commas.
    fn items<'a>(&self, raw: &'a Raw) -> Result<Vec<&'a str>, String> {
        match raw {
            Raw::Text(text) => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
            Raw::List(items) => items.iter().map(|item| self.text(item)).collect(),
            _ => Err(self.must()),
        }
    }

    fn budget(&self, raw: &Raw, min: u64, max: u64) -> Read<DiskBudget> {
        if let Raw::Text(word) = raw {
            if word == "auto" {
                return Ok((DiskBudget::Auto, quoted("auto")));
            }
            if let Some(share) = word.strip_suffix('%') {
                let share = share.trim().parse::<u8>().ok().filter(|share| (1..=95).contains(share));
                let share = share.ok_or_else(|| self.must())?;
                return Ok((DiskBudget::Percent(share), quoted(&format!("{share}%"))));
            }
        }
        self.size(raw, min, max).map(|(bytes, shown)| (DiskBudget::Bytes(bytes), shown))
    }

    fn choose(&self, raw: &Raw, choice: &Choice<T>, into: &mut T) -> Result<String, String> {
        let word = self.text(raw)?;
        if let Some((_, why)) = choice.refused.iter().find(|(refused, _)| *refused == word) {
            return Err(format!("not available in this version: {why}; allowed: {}", self.allowed()));
        }
        if !(choice.set)(into, word) {
            return Err(self.must());
        }
        Ok(quoted(word))
    }
}

/// Puts what was read into its place.
fn put<T, V>(set: fn(&mut T, V), into: &mut T, read: Read<V>) -> Result<String, String> {
    let (value, shown) = read?;
    set(into, value);
    Ok(shown)
}

/// A string as a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A number without unit, written as a number or as text.
fn bare_number(raw: &Raw) -> Option<u64> {
    match raw {
        Raw::Integer(value) => u64::try_from(*value).ok(),
        Raw::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// `None` where the value is the word (or -1, Kafka's "no limit"), else what `read` makes of it.
fn or_word<V>(raw: &Raw, word: &str, read: impl FnOnce() -> Read<V>) -> Read<Option<V>> {
    let is_word = match raw {
        Raw::Text(text) => text == word || (word == "unlimited" && text == "-1"),
        Raw::Integer(number) => word == "unlimited" && *number == -1,
        _ => false,
    };
    if is_word {
        return Ok((None, quoted(word)));
    }
    read().map(|(value, shown)| (Some(value), shown))
}

/// A list as TOML.
fn in_brackets<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.map(quoted).collect::<Vec<_>>().join(", "))
}

/// An address to listen on: no name to resolve, save `localhost`.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().ok()
}

/// Reads `host:port`, `1.2.3.4:9092`, `[::1]:9092`.
///
/// # Errors
/// What is allowed, for people.
pub fn host_port(text: &str) -> Result<HostPort, String> {
    let wrong = || "must be a host and a port, such as \"kafka.example:9092\" or \"[2001:db8::1]:9092\"".to_owned();
    let (host, port) = text.trim().rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let host = v6.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?.to_string();
        return Ok(HostPort { host, port });
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // 253: the longest name that DNS can resolve.
    if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
        return Err(wrong());
    }
    Ok(HostPort { host: host.to_owned(), port })
}

/// Declares an enum whose variants are written as words, so that the words in the key table are the enum's own.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// Every word, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The variant of this word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// How it is written.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}
pub(super) use words;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, host, port) in
            [("a:1", "a", 1), ("[::1]:9092", "::1", 9092), (" 10.0.0.1:65535 ", "10.0.0.1", 65535)]
        {
            assert_eq!(host_port(text), Ok(HostPort { host: host.to_owned(), port }), "{text}");
        }
        for text in ["", "a", "a:", ":1", "a:0", "a:65536", "::1:9092", "[::1:9092", "a b:1", "http://a:1", "[a]:1"] {
            assert!(host_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listening_addresses_are_never_resolved() {
        assert_eq!(address("localhost:9092"), "127.0.0.1:9092".parse().ok());
        assert_eq!(address("[::]:9092"), "[::]:9092".parse().ok());
        assert_eq!(address("gateway.lan:9092"), None);
        assert_eq!(address("9092"), None);
    }

    #[test]
    fn strings_are_escaped_as_toml() {
        assert_eq!(quoted("a\"b\\c\u{1}\n"), "\"a\\\"b\\\\c\\u0001\\n\"");
    }
}
