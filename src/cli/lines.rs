//! Lines of standard input as records: read within a bound, taken apart in place.

use std::{fmt, io};

use futures_lite::{AsyncRead, AsyncReadExt};

use super::when;

/// Reads lines of at most so many bytes; a longer one is passed over and takes no more memory.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    /// What was read; `taken` of it is used up, `filled` of it is there.
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    line: Vec<u8>,
    bytes_max: usize,
}

/// Read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// What is wrong with a line. Lines are counted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum BadLine {
    TooLong,
    NoTime,
    NoKey,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadLine::TooLong => "the line is longer than a record may be",
            BadLine::NoTime => "the line does not begin with a time and a space (--timestamps)",
            BadLine::NoKey => "the line has no key separator (--key-separator)",
        })
    }
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, bytes_max: usize) -> Lines<R> {
        Lines { reader, buffer: vec![0; BUFFER_BYTES], taken: 0, filled: 0, line: Vec::new(), bytes_max }
    }

    /// The next line without its end; `None` at the end of the input. The last one needs no line end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Result<&[u8], BadLine>>> {
        self.line.clear();
        let (mut began, mut too_long) = (false, false);
        loop {
            if self.taken == self.filled {
                self.taken = 0;
                self.filled = self.reader.read(&mut self.buffer).await?;
            }
            let available = self.buffer.get(self.taken..self.filled).unwrap_or_default();
            if available.is_empty() && !began {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let piece = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            too_long |= self.line.len() + piece.len() > self.bytes_max;
            if !too_long {
                self.line.extend_from_slice(piece);
            }
            let at_end = available.is_empty() || end.is_some();
            self.taken += piece.len() + usize::from(end.is_some());
            began = true;
            if at_end {
                return Ok(Some(if too_long { Err(BadLine::TooLong) } else { Ok(&self.line) }));
            }
        }
    }
}

/// How lines are taken apart: `[TIME SPACE] [KEY SEPARATOR] VALUE`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout<'a> {
    pub timestamps: bool,
    /// Not empty.
    pub key_separator: Option<&'a [u8]>,
}

/// A line's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    /// Unix ms.
    pub time: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
}

impl Layout<'_> {
    pub(super) fn split<'l>(&self, line: &'l [u8]) -> Result<Parts<'l>, BadLine> {
        let mut rest = line;
        let mut time = None;
        if self.timestamps {
            let (first, behind) = cut(rest, b" ").ok_or(BadLine::NoTime)?;
            time = Some(parse_time(first).ok_or(BadLine::NoTime)?);
            rest = behind;
        }
        let Some(separator) = self.key_separator else { return Ok(Parts { time, key: None, value: rest }) };
        let (key, value) = cut(rest, separator).ok_or(BadLine::NoKey)?;
        Ok(Parts { time, key: Some(key), value })
    }
}

/// What lies before and behind the first `separator`.
fn cut<'l>(line: &'l [u8], separator: &[u8]) -> Option<(&'l [u8], &'l [u8])> {
    let at = line.windows(separator.len()).position(|window| window == separator)?;
    Some((line.get(..at)?, line.get(at + separator.len()..)?))
}

/// Unix ms, or RFC 3339.
fn parse_time(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { when::parse_rfc3339(text) }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::block_on;

    use super::*;

    fn lines(input: &[u8], buffer: usize) -> Vec<Result<Vec<u8>, BadLine>> {
        let mut lines = Lines { buffer: vec![0; buffer], ..Lines::new(input, 4) };
        let mut all = Vec::new();
        while let Some(line) = block_on(lines.next()).unwrap() {
            all.push(line.map(<[u8]>::to_vec));
        }
        all
    }

    #[test]
    fn lines_come_whole_and_within_their_bound() {
        for buffer in 1..12 {
            assert_eq!(lines(b"", buffer), []);
            assert_eq!(lines(b"\n", buffer), [Ok(vec![])]);
            let expected = [Ok(b"ab".to_vec()), Ok(vec![]), Err(BadLine::TooLong), Ok(b"wxyz".to_vec())];
            assert_eq!(lines(b"ab\n\nabcdefgh\nwxyz", buffer), expected);
        }
    }

    #[test]
    fn a_line_has_time_key_and_value() {
        let layout = Layout { timestamps: true, key_separator: Some(b"::") };
        let parts = Parts { time: Some(1_500), key: Some(b"k"), value: b"v::w" };
        assert_eq!(layout.split(b"1500 k::v::w"), Ok(parts));
        assert_eq!(layout.split(b"1970-01-01T00:00:01.5Z k::v::w"), Ok(parts));
        assert_eq!(layout.split(b"1500 k:v"), Err(BadLine::NoKey));
        for wrong in [&b""[..], b"1500", b"15m k::v", b"-1 k::v", b" k::v", b"\xff k::v", b"99999999999999999999 k::v"]
        {
            assert_eq!(layout.split(wrong), Err(BadLine::NoTime), "{wrong:?}");
        }
        let plain = Layout { timestamps: false, key_separator: None };
        assert_eq!(plain.split(b"1 k::v"), Ok(Parts { time: None, key: None, value: b"1 k::v" }));
    }
}
