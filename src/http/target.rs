//! The target of a request: its path, and the parameters of its query.

/// What stands before the query.
#[must_use]
pub fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// A parameter of the query, decoded; `None` if it isn't there or its escapes make no sense.
#[must_use]
pub fn parameter(target: &str, name: &str) -> Option<Vec<u8>> {
    let (_, query) = target.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))?.1;
    decode(value)
}

/// Undoes `%41` and `+`.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                (digit(bytes.next()?)? << 4) | digit(bytes.next()?)?
            }
            other => other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        assert_eq!(path("/a?token=b"), "/a");
        assert_eq!(path("/"), "/");
        let token = |target| parameter(target, "token").map(|value| String::from_utf8(value).unwrap());
        assert_eq!(token("/?x=1&token=a%2Fb+c%3d&token=d").as_deref(), Some("a/b c="));
        assert_eq!(token("/?token="), Some(String::new()));
        for none in ["/", "/?token", "/?tokens=1", "/?token=%", "/?token=%4", "/?token=%zz", "/token=1"] {
            assert_eq!(token(none), None, "{none}");
        }
    }
}
