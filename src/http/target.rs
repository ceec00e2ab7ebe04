//! The target of a request: its path, and the parameters of its query.

use std::net::IpAddr;

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

/// The name in a `Host` field: without the port, the last dot, and differences of case.
#[must_use]
pub fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a name of [`host_name`] is an address, or this machine's own: nobody can let it lead elsewhere. Any other name a stranger may let
/// point to a gateway's address once his page has been loaded under it (DNS rebinding), and a browser takes the two for one site.
#[must_use]
pub fn is_certain(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
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
