//! JSON (RFC 8259): objects and arrays built in order, and types that serde describes, written and read.
//!
//! Our own in place of serde_json, whose code for our types alone takes 0.2 MB of the binary: it reads a struct from an array too, and
//! makes the whole of its reading anew for each type.

mod read;
mod scan;
mod write;

pub use read::{from_slice, from_str};
pub use scan::{DEPTH_MAX, Error};
pub use write::to_string;

/// An object under construction.
#[derive(Debug)]
pub struct JsonObject(String);

impl Default for JsonObject {
    fn default() -> JsonObject {
        JsonObject::new()
    }
}

impl JsonObject {
    #[must_use]
    pub fn new() -> JsonObject {
        JsonObject("{".to_owned())
    }

    pub fn text(&mut self, key: &str, value: &str) -> &mut JsonObject {
        self.raw(key, &string(value))
    }

    pub fn number(&mut self, key: &str, value: impl Into<i128>) -> &mut JsonObject {
        self.raw(key, &value.into().to_string())
    }

    /// A figure with a fraction; what JSON can't say (not a number, infinite) becomes `null`.
    pub fn fraction(&mut self, key: &str, value: f64) -> &mut JsonObject {
        let text = if value.is_finite() { value.to_string() } else { "null".to_owned() };
        self.raw(key, &text)
    }

    pub fn boolean(&mut self, key: &str, value: bool) -> &mut JsonObject {
        self.raw(key, if value { "true" } else { "false" })
    }

    pub fn null(&mut self, key: &str) -> &mut JsonObject {
        self.raw(key, "null")
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, key: &str, json: &str) -> &mut JsonObject {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&string(key));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// The whole object, on one line.
    #[must_use]
    pub fn finish(&self) -> String {
        format!("{}}}", self.0)
    }
}

/// An array of values that are JSON already.
#[must_use]
pub fn array(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// A string with its quotes, escaped.
#[must_use]
pub fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What makes `before` to `now`, as a merge patch (RFC 7396); `None` if nothing does. Both are JSON as [`to_string`] writes it, without
/// space between. What is no object is replaced whole, arrays too; `null` stands for what is missing.
#[must_use]
pub fn merge_patch(before: &str, now: &str) -> Option<String> {
    if before == now {
        return None;
    }
    let (Some(before), Some(fields)) = (members(before), members(now)) else { return Some(now.to_owned()) };
    let mut changes = Vec::new();
    for (key, value) in &fields {
        let earlier = before.iter().find(|(other, _)| other == key).map(|(_, value)| *value);
        if let Some(change) = merge_patch(earlier.unwrap_or_default(), value) {
            changes.push(format!("{key}:{change}"));
        }
    }
    let gone = before.iter().filter(|(key, _)| !fields.iter().any(|(other, _)| other == key));
    changes.extend(gone.map(|(key, _)| format!("{key}:null")));
    Some(format!("{{{}}}", changes.join(",")))
}

/// The members of an object that is written without space: keys with their quotes, values as they stand; `None` if it is none. What
/// the values are is not looked at.
#[must_use]
pub fn members(json: &str) -> Option<Vec<(&str, &str)>> {
    let inside = json.strip_prefix('{')?.strip_suffix('}')?;
    let mut fields = Vec::new();
    let (mut begin, mut colon) = (0, None);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    // Only ASCII decides, so every place is the beginning of a character.
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b':' if depth == 0 && colon.is_none() => colon = Some(at),
            b',' if depth == 0 => {
                let colon = colon.take()?;
                fields.push((inside.get(begin..colon)?, inside.get(colon + 1..at)?));
                begin = at + 1;
            }
            _ => {}
        }
    }
    if let Some(colon) = colon {
        fields.push((inside.get(begin..colon)?, inside.get(colon + 1..)?));
    }
    Some(fields)
}

#[cfg(test)]
mod serde_tests;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn objects_are_written_in_order() {
        let mut object = JsonObject::new();
        object.text("a", "x\"y\n\u{1}é").number("b", -3).boolean("c", true).null("d").fraction("e", 0.5);
        object.fraction("f", f64::NAN).raw("g", &array([string("1"), "2".to_owned()]));
        assert_eq!(object.finish(), r#"{"a":"x\"y\n\u0001é","b":-3,"c":true,"d":null,"e":0.5,"f":null,"g":["1",2]}"#);
        assert_eq!(JsonObject::new().finish(), "{}");
    }

    fn applied(target: Value, patch: Value) -> Value {
        let Value::Object(patch) = patch else { return patch };
        let mut target = if let Value::Object(target) = target { target } else { serde_json::Map::new() };
        for (key, value) in patch {
            if value.is_null() {
                target.remove(&key);
            } else {
                let before = target.remove(&key).unwrap_or_default();
                target.insert(key, applied(before, value));
            }
        }
        Value::Object(target)
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0_u8..4).prop_map(Value::from),
            "[a\\\\\"{}:,\\[é]{0,3}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = "[ab\"\\\\:]{0,2}";
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_patch_makes_one_to_the_other(before in anything(), now in anything()) {
            match merge_patch(&before.to_string(), &now.to_string()) {
                None => prop_assert_eq!(before, now),
                Some(patch) => prop_assert_eq!(applied(before, serde_json::from_str(&patch).unwrap()), now),
            }
        }

        #[test]
        fn no_text_makes_it_panic(before in "\\PC{0,20}", now in "[{}\\[\\]\":,a\\\\]{0,12}") {
            let _ = merge_patch(&before, &now);
            let _ = merge_patch(&now, &now.replace('a', ""));
        }
    }

    #[test]
    fn a_patch_says_what_changed_and_no_more() {
        let patch = |before, now| merge_patch(before, now);
        assert_eq!(
            patch(r#"{"a":1,"b":{"c":[1],"d":2},"e":0}"#, r#"{"a":1,"b":{"c":[1],"d":3}}"#).unwrap(),
            r#"{"b":{"d":3},"e":null}"#
        );
        assert_eq!(patch("", r#"{"a":1}"#).unwrap(), r#"{"a":1}"#);
        assert_eq!(patch(r#"{"a":1}"#, r#"{"a":1}"#), None);
    }
}
