//! How a value is read: what a file, variable or flag holds, to a checked value and its canonical spelling.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    link::WeekWindow,
    pattern::{TopicTemplate, is_name_char},
    store::DiskBudget,
    types::HostPort,
    units::{format_duration, format_size, parse_duration, parse_size},
    value::{Choice, Kind, Raw},
};

/// A value and its canonical spelling as TOML, or what is allowed.
pub(super) type Read<V> = Result<(V, String), String>;

impl<T> Kind<T> {
    pub(super) fn text<'a>(&self, raw: &'a Raw) -> Result<&'a str, String> {
        match raw {
            Raw::Text(text) => Ok(text),
            _ => Err(self.must()),
        }
    }

    fn within<V: PartialOrd>(&self, value: V, min: V, max: V) -> Result<V, String> {
        if value < min || value > max { Err(self.must()) } else { Ok(value) }
    }

    pub(super) fn boolean(&self, raw: &Raw) -> Read<bool> {
        let value = match raw {
            Raw::Boolean(value) => *value,
            // Variables and flags have no types.
            Raw::Text(text) => text.parse().map_err(|_| self.must())?,
            _ => return Err(self.must()),
        };
        Ok((value, value.to_string()))
    }

    pub(super) fn count(&self, raw: &Raw, min: u64, max: u64) -> Read<u64> {
        let value = bare_number(raw).ok_or_else(|| self.must())?;
        self.within(value, min, max).map(|value| (value, value.to_string()))
    }

    pub(super) fn size(&self, raw: &Raw, min: u64, max: u64) -> Read<u64> {
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

    pub(super) fn duration(&self, raw: &Raw, min: Duration, max: Duration) -> Read<Duration> {
        let value = parse_duration(self.text(raw)?)?;
        self.within(value, min, max).map(|value| (value, quoted(&format_duration(value))))
    }

    /// `2GB/day`; "/d" will do.
    pub(super) fn size_a_day(&self, raw: &Raw, min: u64, max: u64) -> Read<u64> {
        let text = self.text(raw)?.trim();
        let size = text.strip_suffix("/day").or_else(|| text.strip_suffix("/d")).ok_or_else(|| self.must())?;
        let value = self.within(parse_size(size).map_err(|_| self.must())?, min, max)?;
        Ok((value, quoted(&format!("{}/day", format_size(value)))))
    }

    pub(super) fn duration_or_ms(&self, raw: &Raw, min: Duration, max: Duration) -> Read<Duration> {
        match bare_number(raw) {
            Some(ms) => {
                let value = self.within(Duration::from_millis(ms), min, max)?;
                Ok((value, quoted(&format_duration(value))))
            }
            None => self.duration(raw, min, max),
        }
    }

    pub(super) fn name(&self, raw: &Raw, max: usize) -> Read<String> {
        let text = self.text(raw)?;
        // "." and ".." are legal characters but would be directories wherever a name becomes a path (as in Kafka).
        let fits = !text.is_empty() && text.len() <= max && text.chars().all(is_name_char);
        if !fits || text == "." || text == ".." {
            return Err(self.must());
        }
        Ok((text.to_owned(), quoted(text)))
    }

    pub(super) fn path(&self, raw: &Raw) -> Read<PathBuf> {
        let text = self.text(raw)?;
        if text.is_empty() || text.contains('\0') {
            return Err(self.must());
        }
        Ok((PathBuf::from(text), quoted(text)))
    }

    pub(super) fn address(&self, raw: &Raw) -> Read<SocketAddr> {
        let value = address(self.text(raw)?).ok_or_else(|| self.must())?;
        Ok((value, quoted(&value.to_string())))
    }

    pub(super) fn host_port(&self, raw: &Raw) -> Read<HostPort> {
        let value = host_port(self.text(raw)?)?;
        let shown = quoted(&value.to_string());
        Ok((value, shown))
    }

    pub(super) fn template(&self, raw: &Raw) -> Read<TopicTemplate> {
        let value = TopicTemplate::parse(self.text(raw)?)?;
        let shown = quoted(&value.to_string());
        Ok((value, shown))
    }

    pub(super) fn windows(&self, raw: &Raw, word: &str) -> Read<Vec<WeekWindow>> {
        if matches!(raw, Raw::Text(text) if text == word) {
            return Ok((Vec::new(), quoted(word)));
        }
        self.list(raw, true, |text| WeekWindow::parse(text).ok_or_else(|| self.must()))
    }

    /// A list; from a variable or flag, separated by commas.
    pub(super) fn list<V: std::fmt::Display>(
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
    pub(super) fn items<'a>(&self, raw: &'a Raw) -> Result<Vec<&'a str>, String> {
        match raw {
            Raw::Text(text) => Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()),
            Raw::List(items) => items.iter().map(|item| self.text(item)).collect(),
            _ => Err(self.must()),
        }
    }

    pub(super) fn budget(&self, raw: &Raw, min: u64, max: u64) -> Read<DiskBudget> {
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

    pub(super) fn choose(&self, raw: &Raw, choice: &Choice<T>, into: &mut T) -> Result<String, String> {
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
pub(super) fn or_word<V>(raw: &Raw, word: &str, read: impl FnOnce() -> Read<V>) -> Read<Option<V>> {
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
pub(super) fn in_brackets<'a>(items: impl Iterator<Item = &'a str>) -> String {
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
