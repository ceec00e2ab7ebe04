//! `[gateway.labels]`: what a gateway is known by besides its id, such as site or line. Names are the operator's own.
//!
//! Invariant: every name and every value is valid, and there are at most [`LABELS_MAX`].

use std::collections::BTreeMap;

use super::{reading::quoted, value::Raw};
use crate::limits::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX};

/// What stands in the reference, and in `check`.
pub(super) const DOC: &str = "Names of your own and what they say of this gateway, such as site = \"berlin\".";

/// See the module. By name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// These labels, which must be valid ones.
    #[must_use]
    pub fn of<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets a label; gives its value back as TOML.
    ///
    /// # Errors
    /// What is allowed, for people. Nothing was set.
    pub(super) fn read(&mut self, name: &str, raw: &Raw) -> Result<String, String> {
        if !is_label_name(name) {
            return Err(format!("a label's name has 1 to {LABEL_NAME_BYTES_MAX} letters, digits, '_' or '-'"));
        }
        let value = match raw {
            Raw::Text(text) => text.clone(),
            Raw::Integer(number) => number.to_string(),
            Raw::Boolean(value) => value.to_string(),
            _ => return Err("must be a text".to_owned()),
        };
        if value.is_empty() || value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
            return Err(format!("must be a text of 1 to {LABEL_VALUE_BYTES_MAX} bytes without control characters"));
        }
        if self.0.len() >= LABELS_MAX && !self.0.contains_key(name) {
            return Err(format!("there can be {LABELS_MAX} labels at most"));
        }
        let shown = quoted(&value);
        self.0.insert(name.to_owned(), value);
        Ok(shown)
    }
}

/// Whether a label may have this name.
pub(super) fn is_label_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=LABEL_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(legal)
}

#[cfg(test)]
mod tests {
    use super::super::tests::load_text;

    fn problems(text: &str) -> String {
        load_text(text).unwrap_err().to_string()
    }

    #[test]
    fn labels_are_read_shown_and_used() {
        let text = "[gateway.labels]\nsite = \"berlin\"\nline = 7\nnote = \"Halle 2, hinten\"\n[uplink.c]\nbootstrap = [\"k:1\"]\ntopic = \"{label.site}.{label.line}.{topic}\"";
        let loaded = load_text(text).unwrap();
        let labels = &loaded.config.gateway.labels;
        let all: Vec<_> = labels.iter().collect();
        assert_eq!(all, [("line", "7"), ("note", "Halle 2, hinten"), ("site", "berlin")]);
        assert_eq!(loaded.config.uplinks["c"].topic.render("t", "g", labels), "berlin.7.t");
        let shown =
            |key: &str| loaded.effective.iter().find(|effective| effective.key == key).unwrap().shown().to_owned();
        assert_eq!((shown("gateway.labels.site"), shown("gateway.labels.line")), ("\"berlin\"".into(), "\"7\"".into()));
        assert_eq!(load_text("[gateway.labels]").unwrap().config.gateway.labels.iter().count(), 0);
    }

    #[test]
    fn what_is_no_label_is_told() {
        let uplink = "[uplink.c]\nbootstrap = [\"k:1\"]\ntopic = \"{label.site}.{topic}\"\n[gateway.labels]\n";
        for (text, part) in [
            ("[gateway.labels]\n\"a b\" = \"x\"".to_owned(), "a label's name has 1 to 32"),
            ("[gateway.labels]\na.b = \"x\"".to_owned(), "a label's name has 1 to 32"),
            ("[gateway.labels]\na = \"\"".to_owned(), "1 to 128 bytes"),
            ("[gateway.labels]\na = \"x\\ny\"".to_owned(), "1 to 128 bytes"),
            ("[gateway.labels]\na = [\"x\"]".to_owned(), "must be a text"),
            ("gateway.labels = \"x\"".to_owned(), "labels are a table"),
            (format!("{uplink}place = \"x\""), "there is no label site: set gateway.labels.site"),
            (format!("{uplink}site = \"x y\""), "gateway.labels.site is \"x y\""),
        ] {
            let told = problems(&text);
            assert!(told.contains(part), "{text}: {told}");
        }
        let many: String = (0..17).map(|n| format!("l{n} = \"x\"\n")).collect();
        assert!(problems(&format!("[gateway.labels]\n{many}")).contains("16 labels at most"));
    }
}
