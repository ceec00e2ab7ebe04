//! The rules of `listen.mqtt.map`: a list of tables, of which each has parts of its own.

use super::{listen::MqttRule, reading::quoted, value::Raw};

/// Reads rules; gives them back as TOML as well. `None` if that is not what they are: the key says what is allowed.
pub(super) fn read(raw: &Raw) -> Option<(Vec<MqttRule>, String)> {
    let items = match raw {
        Raw::Text(text) if text.is_empty() => &[],
        Raw::List(items) => items.as_slice(),
        _ => return None,
    };
    let rules: Vec<MqttRule> = items.iter().map(rule).collect::<Option<_>>()?;
    let shown = rules.iter().map(shown).collect::<Vec<_>>().join(", ");
    Some((rules, format!("[{shown}]")))
}

fn rule(raw: &Raw) -> Option<MqttRule> {
    let Raw::Table(fields) = raw else { return None };
    let mut rule = MqttRule::default();
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("filter", Raw::Text(text)) => rule.filter = text.clone(),
            ("topic", Raw::Text(text)) => rule.topic = text.clone(),
            ("key", Raw::Text(text)) => rule.key = Some(text.clone()),
            ("headers", Raw::Table(headers)) => {
                for (name, value) in headers {
                    let Raw::Text(text) = value else { return None };
                    rule.headers.push((name.clone(), text.clone()));
                }
            }
            _ => return None,
        }
    }
    Some(rule).filter(|rule| !rule.filter.is_empty() && !rule.topic.is_empty())
}

/// A rule as an inline table of TOML.
fn shown(rule: &MqttRule) -> String {
    let mut shown = format!("{{ filter = {}, topic = {}", quoted(&rule.filter), quoted(&rule.topic));
    if let Some(key) = &rule.key {
        shown.push_str(&format!(", key = {}", quoted(key)));
    }
    if !rule.headers.is_empty() {
        let headers: Vec<_> = rule.headers.iter().map(|(k, v)| format!("{} = {}", quoted(k), quoted(v))).collect();
        shown.push_str(&format!(", headers = {{ {} }}", headers.join(", ")));
    }
    shown + " }"
}

#[cfg(test)]
mod tests {
    use super::super::tests::load_text;
    use super::*;

    #[test]
    fn rules_are_read_and_shown_as_they_are_written() {
        let text = "[{ filter = \"a/+\", topic = \"t\", key = \"{1}\", headers = { \"h\" = \"{client}\" } }, { filter = \"b\", topic = \"u\" }]";
        let loaded = load_text(&format!("listen.mqtt.map = {text}")).unwrap();
        let rules = &loaded.config.listen.mqtt.map;
        assert_eq!((rules.len(), rules[0].key.as_deref(), rules[1].topic.as_str()), (2, Some("{1}"), "u"));
        let effective = loaded.effective.iter().find(|effective| effective.key == "listen.mqtt.map").unwrap();
        assert_eq!(effective.shown(), text);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let table = |fields: &[(&str, &str)]| {
            Raw::Table(fields.iter().map(|(name, text)| ((*name).to_owned(), Raw::Text((*text).to_owned()))).collect())
        };
        let bad = [
            Raw::Text("x".to_owned()),
            Raw::List(vec![Raw::Integer(1)]),
            Raw::List(vec![table(&[("filter", "a")])]),
            Raw::List(vec![table(&[("filter", "a"), ("topic", "t"), ("colour", "red")])]),
        ];
        for raw in bad {
            assert_eq!(read(&raw), None, "{raw:?}");
        }
    }
}
