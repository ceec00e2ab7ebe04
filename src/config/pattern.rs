//! Topic patterns (`*`, `sensor-?`, `plant.*`) and the template of a topic's name at the centre.

use std::fmt;

/// A glob over topic names: `*` stands for any run of characters, `?` for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPattern(String);

impl TopicPattern {
    /// # Errors
    /// A pattern that no topic name could match: empty, too long, or with a character that topic names can't have.
    pub fn parse(text: &str) -> Result<TopicPattern, String> {
        if text.is_empty() || text.len() > crate::limits::TOPIC_NAME_BYTES_MAX {
            return Err("a topic pattern has 1 to 249 characters".to_owned());
        }
        match text.chars().find(|c| !(is_name_char(*c) || matches!(c, '*' | '?'))) {
            Some(bad) => {
                Err(format!("'{bad}' can't be in a topic pattern: letters, digits, '.', '_', '-', '*' and '?' can"))
            }
            None => Ok(TopicPattern(text.to_owned())),
        }
    }

    /// Whether the whole name matches. Takes at most name × pattern steps.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where to resume when the last star must take one character more.
        let mut resume: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    resume = Some((p + 1, n));
                    p += 1;
                }
                Some(&c) if c == b'?' || Some(&c) == name.get(n) => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((after_star, taken)) = resume else { return false };
                    resume = Some((after_star, taken + 1));
                    p = after_star;
                    n = taken + 1;
                }
            }
        }
        pattern.get(p..).unwrap_or_default().iter().all(|&c| c == b'*')
    }

    /// Whether the pattern asks for internal topics in so many words.
    #[must_use]
    pub fn names_internal(&self) -> bool {
        self.0.starts_with("__") || self.0.starts_with("brooklet.")
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a local topic is called at the centre: text with the placeholders `{topic}` and `{gateway}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(String);

impl TopicTemplate {
    /// The same name at the centre.
    #[must_use]
    pub fn same_name() -> TopicTemplate {
        TopicTemplate("{topic}".to_owned())
    }

    /// # Errors
    /// An unknown placeholder, an unclosed brace, or a character that topic names can't have.
    pub fn parse(text: &str) -> Result<TopicTemplate, String> {
        const ALLOWED: &str = "a topic template is a topic name in which {topic} and {gateway} are replaced";
        let plain = text.replace("{topic}", "t").replace("{gateway}", "g");
        if plain.is_empty() || !plain.chars().all(is_name_char) {
            return Err(ALLOWED.to_owned());
        }
        Ok(TopicTemplate(text.to_owned()))
    }

    /// The name at the centre. May be longer than a topic name can be: the centre's answer tells.
    #[must_use]
    pub fn render(&self, topic: &str, gateway: &str) -> String {
        // One pass, so that a gateway called "{topic}" (it can't be) would not be replaced again.
        let mut out = String::with_capacity(self.0.len() + topic.len());
        let mut rest = self.0.as_str();
        while let Some(open) = rest.find('{') {
            let (before, from_brace) = rest.split_at(open);
            out.push_str(before);
            if let Some(after) = from_brace.strip_prefix("{topic}") {
                out.push_str(topic);
                rest = after;
            } else if let Some(after) = from_brace.strip_prefix("{gateway}") {
                out.push_str(gateway);
                rest = after;
            } else {
                break;
            }
        }
        out.push_str(rest);
        out
    }

    /// Whether two local topics could end in one topic at the centre.
    #[must_use]
    pub fn merges_topics(&self) -> bool {
        !self.0.contains("{topic}")
    }
}

impl fmt::Display for TopicTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character may stand in a topic name (as in Kafka), a gateway's id or a client id.
#[must_use]
pub fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_whole_names() {
        let matches = |pattern: &str, name: &str| TopicPattern::parse(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("*", "a"),
            ("a*c", "abbc"),
            ("a*c", "ac"),
            ("?-1", "x-1"),
            ("*.temp", "plant.7.temp"),
            ("a*b*c", "aXbXbXc"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("a?", "a"), ("*.temp", "plant.temps"), ("a*b*c", "aXcXb")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(TopicPattern::parse("a b").is_err());
        assert!(TopicPattern::parse("").is_err());
    }

    #[test]
    fn templates_render() {
        let template = TopicTemplate::parse("edge.{gateway}.{topic}").unwrap();
        assert_eq!(template.render("temp", "gw-1"), "edge.gw-1.temp");
        assert!(!template.merges_topics());
        assert!(TopicTemplate::parse("all").unwrap().merges_topics());
        for bad in ["", "{tpoic}", "{topic", "a b"] {
            assert!(TopicTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
