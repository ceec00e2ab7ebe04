//! The head of an answer.

/// The beginning of an answer: status, fields, and the empty line. Names and values are the gateway's own, or a token's characters.
#[must_use]
pub fn head(status: u16, fields: &[(&str, &str)]) -> String {
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields {
        // A value that could begin a field of its own is not sent.
        if !value.bytes().any(|byte| byte.is_ascii_control()) {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    out.push_str("\r\n");
    out
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_begins_a_field() {
        let head = head(200, &[("A", "b"), ("C", "d\r\nE: f")]);
        assert_eq!(head, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
    }
}
