//! MQTT topics to Kafka's and back, by rules. Pure.
//!
//! The first rule whose filter matches a message's topic says which Kafka topic it goes to, and with what key and headers. Without a rule
//! it goes to the topic that is called as the first level, with the client's id as key. The whole MQTT topic is always kept with the record
//! (the listener's header `mqtt.topic`), so a rule may throw levels away.
//!
//! Back: a record that came by MQTT says its topic itself; any other gets one by [`topic_of`].
//!
//! Templates: `{1}`, `{2}` … are the levels that the filter's `+` stand for, `{#}` what its `#` stands for (slashes become dots in a
//! Kafka topic), `{client}` the client's id, `{topic}` the whole topic.

use crate::config::MqttRule;
use crate::mqtt::topic;

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The Kafka topic; a name that Kafka takes, but for its length.
    pub topic: String,
    pub key: String,
    pub headers: Vec<(String, String)>,
}

/// The rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    filter: String,
    topic: Template,
    key: Template,
    headers: Vec<(String, Template)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What the n-th `+` stands for, from 0.
    Level(usize),
    Rest,
    Client,
    Topic,
}

/// What the wildcards of a filter stand for in a topic that it matches.
struct Captures<'a> {
    levels: Vec<&'a str>,
    rest: &'a str,
    client: &'a str,
    topic: &'a str,
}

impl Rules {
    /// Reads rules.
    ///
    /// # Errors
    /// A text that names the rule, what is wrong with it and what is allowed.
    pub fn parse(rules: &[MqttRule]) -> Result<Self, String> {
        let rule = |(at, text): (usize, &MqttRule)| {
            Rule::parse(text).map_err(|why| format!("rule {} (filter {:?}): {why}", at + 1, text.filter))
        };
        Ok(Self { rules: rules.iter().enumerate().map(rule).collect::<Result<_, _>>()? })
    }

    /// Where a message of `client` to `topic` goes.
    pub fn map(&self, topic: &str, client: &str) -> Mapped {
        let rule = self.rules.iter().find_map(|rule| Some((rule, Captures::of(&rule.filter, topic, client)?)));
        match rule {
            Some((rule, captures)) => Mapped {
                topic: kafka_name(&rule.topic.render(&captures)),
                key: rule.key.render(&captures),
                headers: rule.headers.iter().map(|(name, value)| (name.clone(), value.render(&captures))).collect(),
            },
            None => Mapped { topic: first_level(topic), key: client.to_owned(), headers: Vec::new() },
        }
    }

    /// Whether a rule may name this Kafka topic.
    pub(super) fn may_write(&self, kafka_topic: &str) -> bool {
        self.rules.iter().any(|rule| rule.topic.may_be(kafka_topic))
    }

    /// Whether records of a Kafka topic may be messages that `filter` matches: what it is worth to read.
    pub fn may_hold(&self, filter: &str, kafka_topic: &str) -> bool {
        let by_rule = |rule: &Rule| rule.topic.may_be(kafka_topic) && overlaps(&rule.filter, filter);
        let first = filter.split('/').next().unwrap_or_default();
        let by_level = matches!(first, "+" | "#") || first_level(first) == kafka_topic;
        by_level || overlaps(&format!("{}/#", topic_of(kafka_topic)), filter) || self.rules.iter().any(by_rule)
    }
}

/// The MQTT topic of a record that doesn't say its own: the Kafka topic with its dots as slashes, so that `plant.temperature` is found by
/// `plant/#`.
pub fn topic_of(kafka_topic: &str) -> String {
    kafka_topic.replace('.', "/")
}

/// The Kafka topic of a message without a rule. A topic that begins with a slash has an empty first level, which is called `_`.
fn first_level(topic: &str) -> String {
    let level = topic.split('/').next().unwrap_or_default();
    kafka_name(if level.is_empty() { "_" } else { level })
}

/// A name that Kafka takes: slashes become dots, whatever else it doesn't know `_`.
fn kafka_name(text: &str) -> String {
    let allowed = |c: char| match c {
        '/' => '.',
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') => c,
        _ => '_',
    };
    text.chars().map(allowed).collect()
}

/// Whether there is a topic that both filters match.
fn overlaps(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some("#"), _) | (_, Some("#")) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

impl Rule {
    fn parse(text: &MqttRule) -> Result<Self, String> {
        if !topic::is_filter(&text.filter) || text.filter.starts_with('$') {
            return Err("filter must be an MQTT topic filter that does not begin with $".to_owned());
        }
        let template =
            |what: &str, raw: &str| Template::parse(raw, &text.filter).map_err(|why| format!("{what}: {why}"));
        let topic = template("topic", &text.topic)?;
        if topic.parts.is_empty() {
            return Err("topic: must not be empty".to_owned());
        }
        let headers = text.headers.iter().map(|(name, raw)| Ok((name.clone(), template("headers", raw)?)));
        Ok(Self {
            filter: text.filter.clone(),
            topic,
            key: template("key", text.key.as_deref().unwrap_or("{client}"))?,
            headers: headers.collect::<Result<_, String>>()?,
        })
    }
}

impl Template {
    fn parse(text: &str, filter: &str) -> Result<Self, String> {
        let levels = filter.split('/').filter(|level| *level == "+").count();
        let rest = filter.ends_with('#');
        let mut parts = Vec::new();
        let mut left = text;
        while let Some((before, behind)) = left.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or_else(|| format!("{text:?} has a {{ without its }}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match (name, name.parse::<usize>()) {
                ("client", _) => Part::Client,
                ("topic", _) => Part::Topic,
                ("#", _) if rest => Part::Rest,
                (_, Ok(number @ 1..)) if number <= levels => Part::Level(number - 1),
                _ => {
                    let known =
                        format!("{{client}}, {{topic}}, {{1}} to {{{levels}}} for the filter's +, {{#}} for its #");
                    return Err(format!("{text:?} has {{{name}}}, which this filter does not give; there are {known}"));
                }
            });
            left = after;
        }
        if !left.is_empty() {
            parts.push(Part::Text(left.to_owned()));
        }
        Ok(Self { parts })
    }

    fn render(&self, captures: &Captures<'_>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Level(at) => captures.levels.get(*at).copied().unwrap_or_default().to_owned(),
            Part::Rest => captures.rest.to_owned(),
            Part::Client => captures.client.to_owned(),
            Part::Topic => captures.topic.to_owned(),
        };
        self.parts.iter().map(part).collect()
    }

    /// Whether this Kafka topic can come of it: its texts are there in their order, from the start and to the end.
    fn may_be(&self, kafka_topic: &str) -> bool {
        let mut left = kafka_topic;
        let mut open = false;
        for part in &self.parts {
            let Part::Text(text) = part else {
                open = true;
                continue;
            };
            let text = kafka_name(text);
            let found = if open { left.find(&text) } else { left.starts_with(&text).then_some(0) };
            let Some(at) = found else { return false };
            left = left.get(at + text.len()..).unwrap_or_default();
            open = false;
        }
        // A text at the end may stand there more than once.
        let ends = matches!(self.parts.last(), Some(Part::Text(text)) if kafka_topic.ends_with(&kafka_name(text)));
        open || left.is_empty() || ends && self.parts.len() > 1
    }
}

impl<'a> Captures<'a> {
    /// `None` if the filter doesn't match.
    fn of(filter: &str, topic: &'a str, client: &'a str) -> Option<Self> {
        if !topic::matches(filter, topic) {
            return None;
        }
        let mut captures = Self { levels: Vec::new(), rest: "", client, topic };
        let mut left = Some(topic);
        for level in filter.split('/') {
            if level == "#" {
                captures.rest = left.unwrap_or_default();
                break;
            }
            let (here, behind) = match left.unwrap_or_default().split_once('/') {
                Some((here, behind)) => (here, Some(behind)),
                None => (left.unwrap_or_default(), None),
            };
            if level == "+" {
                captures.levels.push(here);
            }
            left = behind;
        }
        Some(captures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rule(filter: &str, topic: &str, key: Option<&str>, headers: &[(&str, &str)]) -> MqttRule {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        MqttRule { filter: filter.into(), topic: topic.into(), key: key.map(Into::into), headers }
    }

    fn rules() -> Rules {
        Rules::parse(&[
            rule("plant/+/telemetry/+", "telemetry", Some("{2}"), &[("site", "{1}")]),
            rule("fleet/+/#", "fleet.{1}", None, &[("rest", "{#}")]),
            rule("raw/#", "raw.{#}.by", Some("{client}/{topic}"), &[]),
        ])
        .unwrap()
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let mapped = rules().map("plant/north/telemetry/pump 7", "c1");
        assert_eq!((&*mapped.topic, &*mapped.key), ("telemetry", "pump 7"));
        assert_eq!(mapped.headers, [("site".to_owned(), "north".to_owned())]);
        let mapped = rules().map("fleet/truck/gps/lat", "c1");
        assert_eq!((&*mapped.topic, &*mapped.key), ("fleet.truck", "c1"));
        assert_eq!(mapped.headers, [("rest".to_owned(), "gps/lat".to_owned())]);
        let mapped = rules().map("raw/a/b", "c1");
        assert_eq!((&*mapped.topic, &*mapped.key), ("raw.a.b.by", "c1/raw/a/b"));
        assert_eq!(rules().map("raw", "c1").topic, "raw..by");
    }

    #[test]
    fn without_a_rule_the_first_level_is_the_topic() {
        for (topic, expected) in [("home/kitchen/t", "home"), ("home", "home"), ("/a", "_"), ("büro/x", "b_ro")] {
            let mapped = rules().map(topic, "dev-1");
            assert_eq!((&*mapped.topic, &*mapped.key), (expected, "dev-1"), "{topic}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_say_why() {
        let bad = [
            (rule("a/#/b", "t", None, &[]), "filter must be"),
            (rule("a/+", "t{2}", None, &[]), "{2}"),
            (rule("a/+", "t{#}", None, &[]), "{#}"),
            (rule("a/+", "t{1", None, &[]), "without its }"),
            (rule("a", "", None, &[]), "empty"),
            (rule("a/+", "t", Some("{x}"), &[]), "key:"),
        ];
        for (text, expected) in bad {
            let why = Rules::parse(&[text]).unwrap_err();
            assert!(why.contains(expected) && why.starts_with("rule 1"), "{why}");
        }
    }

    #[test]
    fn only_topics_that_may_hold_messages_are_read() {
        let rules = rules();
        let cases = [
            ("plant/+/telemetry/+", "telemetry", true),
            ("plant/south/status", "telemetry", false),
            ("plant/#", "telemetry", true),
            ("plant/#", "plant", true),
            ("plant/#", "plant.temperature", true),
            ("plant/#", "planted", false),
            ("plant/#", "home", false),
            ("fleet/truck/#", "fleet.car", true),
            ("home/+", "fleet.car", false),
            ("#", "anything", true),
            ("raw/x", "raw.x.by", true),
            ("raw/x", "raw.x.bye", false),
        ];
        for (filter, topic, expected) in cases {
            assert_eq!(rules.may_hold(filter, topic), expected, "{filter} in {topic}");
        }
    }

    proptest! {
        /// What a message is mapped to is always among what a subscriber that it matches reads.
        #[test]
        fn nothing_that_matches_is_missed(topic in "(plant|fleet|raw|x|é)(/(plant|telemetry|b|by|1)){0,4}", cut in 0usize..5, plus in 0usize..5) {
            let mut levels: Vec<&str> = topic.split('/').collect();
            if plus < levels.len() {
                levels[plus] = "+";
            }
            if cut < levels.len() {
                levels.truncate(cut);
                levels.push("#");
            }
            let filter = levels.join("/");
            prop_assert!(topic::matches(&filter, &topic));
            let mapped = rules().map(&topic, "c");
            prop_assert!(rules().may_hold(&filter, &mapped.topic), "{} in {}", filter, mapped.topic);
        }

        #[test]
        fn filters_overlap_where_a_topic_matches_both(topic in "[ab](/[ab]){0,3}", one in "[ab+](/[ab+]){0,3}(/#)?", other in "[ab+](/[ab+]){0,3}(/#)?") {
            if topic::matches(&one, &topic) && topic::matches(&other, &topic) {
                prop_assert!(overlaps(&one, &other) && overlaps(&other, &one));
            }
        }
    }
}
