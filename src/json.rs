//! A small JSON writer: objects and arrays built in order, strings escaped by RFC 8259.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_in_order() {
        let mut object = JsonObject::new();
        object.text("a", "x\"y\n\u{1}é").number("b", -3).boolean("c", true).null("d").fraction("e", 0.5);
        object.fraction("f", f64::NAN).raw("g", &array([string("1"), "2".to_owned()]));
        assert_eq!(object.finish(), r#"{"a":"x\"y\n\u0001é","b":-3,"c":true,"d":null,"e":0.5,"f":null,"g":["1",2]}"#);
        assert_eq!(JsonObject::new().finish(), "{}");
    }
}
