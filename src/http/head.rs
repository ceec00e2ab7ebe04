//! The head of a request: its line and its fields (RFC 9112, sections 2 to 6).
//!
//! Invariants: what is taken has one meaning only, for whoever stands before this one: lines end by CR LF, no field goes on in the
//! next line, no space stands before a colon, there is one Host and at most one length. A head is bounded in bytes and fields, and
//! nothing is copied.

use std::fmt;

/// Longest head, its empty line included, bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Longest target (path and query), bytes.
pub const TARGET_BYTES_MAX: usize = 1024;
/// Most fields.
pub const FIELDS_MAX: usize = 64;

const METHOD_BYTES_MAX: usize = 16;
const LINE_END: &[u8] = b"\r\n";

/// A head that has come whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// As it was sent: methods are told apart by case.
    pub method: &'a str,
    /// Path and query; begins with `/`, printable ASCII.
    pub target: &'a str,
    /// HTTP/1.1; else 1.0.
    pub is_1_1: bool,
    /// Bytes that it took, the empty line behind it and one before it included.
    pub len: usize,
    /// The lines of the fields.
    lines: &'a [u8],
}

/// Why bytes are no head that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Longer than [`HEAD_BYTES_MAX`], or of more than [`FIELDS_MAX`] fields.
    TooLarge,
    /// Longer than [`TARGET_BYTES_MAX`].
    TargetTooLong,
    /// Another version than 1.0 and 1.1.
    Version,
    /// Anything else, in words.
    Malformed(&'static str),
}

impl HeadError {
    /// The status to answer with.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TooLarge => 431,
            Self::TargetTooLong => 414,
            Self::Version => 505,
            Self::Malformed(_) => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => {
                write!(f, "the head is longer than {HEAD_BYTES_MAX} bytes, or has over {FIELDS_MAX} fields")
            }
            Self::TargetTooLong => write!(f, "the address is longer than {TARGET_BYTES_MAX} bytes"),
            Self::Version => f.write_str("only HTTP/1.0 and HTTP/1.1 are spoken"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl<'a> Head<'a> {
    /// Reads the head that `bytes` begin with; `None`: there is more to come.
    ///
    /// # Errors
    /// [`HeadError`], as soon as it is certain.
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, HeadError> {
        // One empty line before it is passed over (RFC 9112, section 2.2).
        let begun = bytes.strip_prefix(LINE_END).unwrap_or(bytes);
        let Some((line, behind)) = split_line(begun) else {
            check_beginning(begun)?;
            return incomplete(begun);
        };
        let (method, target, is_1_1) = request_line(line)?;
        let end = if behind.starts_with(LINE_END) { Some(0) } else { find(behind, b"\r\n\r\n").map(|at| at + 2) };
        let Some(end) = end else { return incomplete(begun) };
        let lines = behind.get(..end).unwrap_or_default();
        let len = bytes.len() - behind.len() + end + LINE_END.len();
        if len > HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        let head = Self { method, target, is_1_1, len, lines };
        head.check()?;
        Ok(Some(head))
    }

    /// All fields: names as sent, values without the space around them.
    pub fn all(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.lines;
        std::iter::from_fn(move || {
            let (line, behind) = split_line(rest)?;
            rest = behind;
            field(line)
        })
    }

    /// The values of the fields of this name, whatever its case.
    pub fn fields<'n>(self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.all().filter(move |(other, _)| other.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields(name).next()
    }

    /// The same, where it is a text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(self.field(name)?).ok()
    }

    /// Whether a field that lists tokens (`Connection`, `Upgrade`, `Accept-Encoding`) names this one, whatever its case; what stands
    /// behind a semicolon is passed over.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.fields(name).flat_map(|value| value.split(|byte| *byte == b',')).any(|listed| {
            let listed = listed.split(|byte| *byte == b';').next().unwrap_or_default();
            listed.trim_ascii().eq_ignore_ascii_case(token.as_bytes())
        })
    }

    /// The value of a cookie.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a [u8]> {
        let pairs = self.fields("cookie").flat_map(|value| value.split(|byte| *byte == b';'));
        let mut pairs = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        pairs.next()
    }

    /// Whether a body follows.
    #[must_use]
    pub fn has_body(&self) -> bool {
        let sized = self.field("content-length").is_some_and(|length| length != b"0");
        sized || self.field("transfer-encoding").is_some()
    }

    /// What no field can check alone.
    fn check(&self) -> Result<(), HeadError> {
        let mut rest = self.lines;
        let mut count = 0;
        while let Some((line, behind)) = split_line(rest) {
            rest = behind;
            count += 1;
            if field(line).is_none() {
                return Err(HeadError::Malformed("a field of the head is not NAME: VALUE on one line"));
            }
        }
        if count > FIELDS_MAX {
            return Err(HeadError::TooLarge);
        }
        let hosts = self.fields("host").count();
        if hosts > 1 || hosts == 0 && self.is_1_1 {
            return Err(HeadError::Malformed("there must be one Host"));
        }
        let lengths = self.fields("content-length").count();
        if lengths > 1 || lengths == 1 && self.field("transfer-encoding").is_some() {
            return Err(HeadError::Malformed("there is more than one length of the body"));
        }
        Ok(())
    }
}

/// Nothing is wrong yet, unless it is too long already.
fn incomplete<T>(begun: &[u8]) -> Result<Option<T>, HeadError> {
    if begun.len() >= HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// What speaks something else is told so by its first bytes: a handshake of TLS, a frame of Kafka.
fn check_beginning(begun: &[u8]) -> Result<(), HeadError> {
    if begun.len() > METHOD_BYTES_MAX + TARGET_BYTES_MAX + 16 {
        return Err(HeadError::TargetTooLong);
    }
    match begun.first() {
        Some(0x16) => Err(HeadError::Malformed("this is TLS; here HTTP is spoken in the clear")),
        Some(byte) if !byte.is_ascii_alphabetic() && *byte != b'\r' => Err(HeadError::Malformed("this is not HTTP")),
        _ => Ok(()),
    }
}

fn request_line(line: &[u8]) -> Result<(&str, &str, bool), HeadError> {
    const NO_LINE: HeadError = HeadError::Malformed("the first line is not METHOD /PATH HTTP/1.1");
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NO_LINE);
    };
    if method.is_empty() || method.len() > METHOD_BYTES_MAX || !method.iter().all(|byte| is_token(*byte)) {
        return Err(NO_LINE);
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(HeadError::TargetTooLong);
    }
    if target.first() != Some(&b'/') || !target.iter().all(u8::is_ascii_graphic) || target.contains(&b'#') {
        return Err(HeadError::Malformed("the address must be a path, such as /metrics"));
    }
    let is_1_1 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        other if other.starts_with(b"HTTP/") => return Err(HeadError::Version),
        _ => return Err(NO_LINE),
    };
    // Both are ASCII.
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| NO_LINE);
    Ok((text(method)?, text(target)?, is_1_1))
}

/// Name and value of a field; `None` if that isn't one.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    let name_fits = !name.is_empty() && name.iter().all(|byte| is_token(*byte));
    let value_fits = value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    (name_fits && value_fits).then(|| (name, value.trim_ascii()))
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The first line, and what comes behind its end.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find(bytes, LINE_END)?;
    Some((bytes.get(..end)?, bytes.get(end + LINE_END.len()..)?))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Option<Head<'_>>, HeadError> {
        Head::parse(text.as_bytes())
    }

    #[test]
    fn a_browsers_request_is_read() {
        let text = "\r\nGET /status.json?a=b HTTP/1.1\r\nHost: gw.local:9791\r\nX-Empty:\r\ncookie: a=1; brooklet=xyz;b=\r\n\
                    Accept-Encoding: br;q=1.0, GZip;q=0.8\r\nConnection: keep-alive\r\nConnection: Upgrade\r\n\r\nmore";
        let head = parse(text).unwrap().unwrap();
        assert_eq!((head.method, head.target, head.is_1_1), ("GET", "/status.json?a=b", true));
        assert_eq!(&text[head.len..], "more");
        assert_eq!(
            (head.text("HOST"), head.text("x-empty"), head.text("none")),
            (Some("gw.local:9791"), Some(""), None)
        );
        assert_eq!(
            (head.cookie("brooklet"), head.cookie("brook"), head.cookie("b")),
            (Some(&b"xyz"[..]), None, Some(&b""[..]))
        );
        assert!(head.has_token("accept-encoding", "gzip") && !head.has_token("accept-encoding", "zip"));
        assert!(head.has_token("connection", "upgrade") && head.has_token("connection", "keep-alive"));
        assert!(!head.has_body());
        assert_eq!(parse("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().len, 18);
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        let malformed = |text: &str| matches!(parse(text), Err(HeadError::Malformed(_)));
        for text in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "\0\0\0\u{1a}",
        ] {
            assert!(malformed(text), "{text:?} {:?}", parse(text));
        }
        assert_eq!(parse("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(HeadError::Version));
        let has_body = |field: &str| parse(&format!("GET / HTTP/1.0\r\n{field}\r\n\r\n")).unwrap().unwrap().has_body();
        assert!(
            has_body("Content-Length: 00") && has_body("Transfer-Encoding: chunked") && !has_body("Content-Length: 0")
        );
    }

    #[test]
    fn it_is_bounded() {
        let long = |n| format!("GET /{} HTTP/1.0\r\n\r\n", "x".repeat(n));
        assert!(parse(&long(TARGET_BYTES_MAX - 1)).unwrap().is_some());
        assert_eq!(parse(&long(TARGET_BYTES_MAX)), Err(HeadError::TargetTooLong));
        assert_eq!(parse(&format!("GET /{}", "x".repeat(2_000))), Err(HeadError::TargetTooLong));
        let fields = |n| format!("GET / HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(parse(&fields(FIELDS_MAX)).unwrap().is_some());
        assert_eq!(parse(&fields(FIELDS_MAX + 1)), Err(HeadError::TooLarge));
        let field = |n| format!("GET / HTTP/1.0\r\na: {}", "x".repeat(n));
        assert_eq!(parse(&field(100)), Ok(None));
        assert_eq!(parse(&field(HEAD_BYTES_MAX)), Err(HeadError::TooLarge));
        assert_eq!(parse(&format!("{}\r\n\r\n", field(HEAD_BYTES_MAX))), Err(HeadError::TooLarge));
    }

    proptest! {
        /// Whatever comes, in whatever pieces: no panic, and what was taken once is not changed by what comes behind.
        #[test]
        fn it_never_panics_and_only_waits_for_more(bytes in vec(any::<u8>(), 0..200), at in 0_usize..200) {
            let _ = Head::parse(&bytes);
            let mut text = b"GET /a HTTP/1.1\r\nHost: b\r\n".to_vec();
            text.extend(&bytes);
            let whole = Head::parse(&text);
            let part = Head::parse(&text[..at.min(text.len())]);
            match (part, whole) {
                (Ok(Some(part)), Ok(Some(whole))) => prop_assert_eq!((part.len, part.target), (whole.len, whole.target)),
                (Ok(Some(_)), other) => prop_assert!(false, "{:?}", other),
                (Err(part), other) => prop_assert_eq!(Err(part), other.map(|_| ())),
                (Ok(None), _) => {}
            }
        }

        /// What is written as a head is read as what was meant.
        #[test]
        fn what_is_written_is_read(
            target in "/[!-\"$-~]{0,40}",
            fields in vec(("[a-zA-Z0-9-]{1,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..8),
        ) {
            let mut text = format!("HEAD {target} HTTP/1.0\r\n");
            for (name, value) in &fields {
                text.push_str(&format!("x-{name}: \t{value} \r\n"));
            }
            text.push_str("\r\n");
            let head = Head::parse(text.as_bytes()).unwrap().unwrap();
            prop_assert_eq!((head.target, head.len), (target.as_str(), text.len()));
            let read: Vec<_> = head.all().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
            let meant: Vec<_> = fields.iter().map(|(name, value)| (format!("x-{name}").into_bytes(), value.clone().into_bytes())).collect();
            prop_assert_eq!(read, meant);
        }
    }
}
