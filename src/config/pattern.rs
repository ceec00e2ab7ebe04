//! Topic patterns (`*`, `sensor-?`, `plant.*`) and the template of a topic's name at the centre.

use std::fmt;

use super::labels::{Labels, is_label_name};

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

/// How a local topic is called at the centre: text with the placeholders `{topic}`, `{gateway}` and `{label.NAME}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate(String);

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Topic,
    Gateway,
    Label(&'a str),
}

impl TopicTemplate {
    /// The same name at the centre.
    #[must_use]
    pub fn same_name() -> TopicTemplate {
        TopicTemplate("{topic}".to_owned())
    }

    /// Whether there are labels of these names is not known here.
    ///
    /// # Errors
    /// An unknown placeholder, an unclosed brace, or a character that topic names can't have.
    pub fn parse(text: &str) -> Result<TopicTemplate, String> {
        const ALLOWED: &str =
            "a topic template is a topic name in which {topic}, {gateway} and {label.NAME} are replaced";
        let fits = |part: Part<'_>| match part {
            Part::Text(text) => text.chars().all(is_name_char),
            Part::Label(name) => is_label_name(name),
            Part::Topic | Part::Gateway => true,
        };
        if text.is_empty() || !parts(text).all(fits) {
            return Err(ALLOWED.to_owned());
        }
        Ok(TopicTemplate(text.to_owned()))
    }

    /// The name at the centre. May be longer than a topic name can be: the centre's answer tells. A label that there is none of
    /// is empty text; a checked configuration has none such.
    #[must_use]
    pub fn render(&self, topic: &str, gateway: &str, labels: &Labels) -> String {
        let text = |part| match part {
            Part::Text(text) => text,
            Part::Topic => topic,
            Part::Gateway => gateway,
            Part::Label(name) => labels.get(name).unwrap_or_default(),
        };
        parts(&self.0).map(text).collect()
    }

    /// The labels that it asks for.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        parts(&self.0).filter_map(|part| if let Part::Label(name) = part { Some(name) } else { None })
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

/// The pieces of a template. A brace that begins no placeholder is text.
fn parts(template: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = template;
    std::iter::from_fn(move || {
        let (part, after) = match placeholder(rest) {
            Some(found) => found,
            None => {
                let first = rest.chars().next()?;
                let end = rest.get(first.len_utf8()..)?.find('{').map_or(rest.len(), |at| at + first.len_utf8());
                let (text, after) = rest.split_at(end);
                (Part::Text(text), after)
            }
        };
        rest = after;
        Some(part)
    })
}

/// The placeholder that `text` begins with, and what follows it.
fn placeholder(text: &str) -> Option<(Part<'_>, &str)> {
    let (name, after) = text.strip_prefix('{')?.split_once('}')?;
    let part = match name {
        "topic" => Part::Topic,
        "gateway" => Part::Gateway,
        _ => Part::Label(name.strip_prefix("label.")?),
    };
    Some((part, after))
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
        let labels = Labels::of([("site", "berlin"), ("line-2", "b.7")]);
        let render = |template: &str| TopicTemplate::parse(template).unwrap().render("temp", "gw-1", &labels);
        assert_eq!(render("edge.{gateway}.{topic}"), "edge.gw-1.temp");
        assert_eq!(render("{label.site}.{topic}-{label.line-2}"), "berlin.temp-b.7");
        assert_eq!(render("{topic}{topic}"), "temptemp");
        let template = TopicTemplate::parse("{label.site}.all.{label.x}").unwrap();
        assert_eq!((template.labels().collect::<Vec<_>>(), template.merges_topics()), (vec!["site", "x"], true));
        assert!(!TopicTemplate::same_name().merges_topics());
        for bad in ["", "{tpoic}", "{topic", "a b", "}", "{label.}", "{label.a b}", "{label.{topic}}", "{{topic}}", "ä"]
        {
            assert!(TopicTemplate::parse(bad).is_err(), "{bad}");
        }
    }
}
