//! TOML text to assignments: every leaf with its path and its line.

use std::{path::Path, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::{
    error::{ConfigError, Origin},
    value::Raw,
};

/// One `path = value`, from wherever.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assignment {
    /// Parts as written: a quoted part may hold dots.
    pub path: Vec<String>,
    /// `None`: a table with nothing in it, which still names an uplink or a section.
    pub raw: Option<Raw>,
    pub origin: Origin,
}

/// Reads a whole file's text. Never panics, whatever the text.
///
/// # Errors
/// Every syntax error, with its line.
pub(super) fn parse(path: &Arc<Path>, text: &str) -> Result<Vec<Assignment>, Vec<ConfigError>> {
    let at = |offset: usize| Origin::File { path: Arc::clone(path), line: line_of(text, offset) };
    let (table, mut errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        return Err(errors
            .iter()
            .map(|error| ConfigError {
                origin: Some(at(error.span().map_or(0, |span| span.start))),
                key: None,
                value: None,
                problem: error.message().trim().replace('\n', "; "),
            })
            .collect());
    }
    let mut out = Vec::new();
    flatten(table.get_ref(), &mut Vec::new(), &at, &mut out);
    Ok(out)
}

/// Depth is bounded by the parser, which refuses deeper nesting.
fn flatten(table: &DeTable<'_>, path: &mut Vec<String>, at: &dyn Fn(usize) -> Origin, out: &mut Vec<Assignment>) {
    for (key, value) in table {
        path.push(key.get_ref().clone().into_owned());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => flatten(inner, path, at, out),
            DeValue::Table(_) => {
                out.push(Assignment { path: path.clone(), raw: None, origin: at(key.span().start) });
            }
            leaf => {
                let origin = at(key.span().start);
                out.push(Assignment { path: path.clone(), raw: Some(raw(leaf)), origin });
            }
        }
        path.pop();
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number beyond 64 bits"), Raw::Integer),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Float(_) => Raw::Other("a number with a point"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(fields) => {
            Raw::Table(fields.iter().map(|(name, value)| (name.get_ref().to_string(), raw(value.get_ref()))).collect())
        }
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Assignment>, Vec<ConfigError>> {
        parse(&Arc::from(Path::new("x.toml")), text)
    }

    #[test]
    fn leaves_know_their_lines() {
        let found = read("data_dir = \"x\"\n\n[topic.\"a.b\"]\nretention.ms = 0x10\n[uplink.c]\n").unwrap();
        let shown: Vec<_> = found.iter().map(|a| (a.path.join("/"), a.raw.clone(), a.origin.to_string())).collect();
        assert_eq!(
            shown,
            [
                ("data_dir".to_owned(), Some(Raw::Text("x".to_owned())), "x.toml:1".to_owned()),
                ("topic/a.b/retention/ms".to_owned(), Some(Raw::Integer(16)), "x.toml:4".to_owned()),
                ("uplink/c".to_owned(), None, "x.toml:5".to_owned()),
            ]
        );
    }

    #[test]
    fn syntax_errors_know_their_lines() {
        let errors = read("a = 1\nb = \n\nc = [1,\n").unwrap_err();
        assert_eq!(errors[0].origin.as_ref().unwrap().to_string(), "x.toml:2");
        assert!(!errors[0].problem.is_empty());
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        assert!(read(&format!("a = {}", "[".repeat(100_000))).is_err());
        let _ = read(&format!("{} = 1", vec!["a"; 10_000].join(".")));
    }
}
