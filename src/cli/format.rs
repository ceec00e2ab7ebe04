//! How `consume` and `export` print a record: a text with placeholders, as kcat has them.

use std::io::{self, Write};

use super::when;

/// The placeholders, for help.
pub const HELP: &str = "How a record is printed: %t topic, %p partition, %o offset, %T time, %U time in Unix ms, %k key,\n\
                        %v value, %h headers, %K %S bytes of key and value, %% percent; \\n \\t \\r \\0 \\\\\n\
                        (default '%v\\n')";

/// A record as it is printed.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: i64,
    /// Unix ms.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// A parsed format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Time,
    UnixMs,
    Key,
    Value,
    Headers,
    KeyBytes,
    ValueBytes,
}

impl Default for Format {
    /// A value a line.
    fn default() -> Format {
        Format(vec![Piece::Value, Piece::Text("\n".to_owned())])
    }
}

impl Format {
    /// # Errors
    /// Names the placeholder or escape that is not known.
    pub fn parse(text: &str) -> Result<Format, String> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '%' => match chars.next() {
                    Some('%') => {
                        literal.push('%');
                        continue;
                    }
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('T') => Piece::Time,
                    Some('U') => Piece::UnixMs,
                    Some('k') => Piece::Key,
                    Some('v') => Piece::Value,
                    Some('h') => Piece::Headers,
                    Some('K') => Piece::KeyBytes,
                    Some('S') => Piece::ValueBytes,
                    Some(other) => return Err(format!("%{other} is unknown: there are t p o T U k v h K S and %%")),
                    None => return Err("ends within a placeholder; %% prints a percent sign".to_owned()),
                },
                '\\' => {
                    literal.push(escape(chars.next())?);
                    continue;
                }
                c => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Format(pieces))
    }

    /// Writes one record. Keys and values are written as they are; missing ones are empty.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&self, record: &Printed<'_>, out: &mut impl Write) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.write_all(text.as_bytes())?,
                Piece::Topic => out.write_all(record.topic.as_bytes())?,
                Piece::Partition => write!(out, "{}", record.partition)?,
                Piece::Offset => write!(out, "{}", record.offset)?,
                Piece::Time => out.write_all(when::format_time(record.timestamp).as_bytes())?,
                Piece::UnixMs => write!(out, "{}", record.timestamp)?,
                Piece::Key => out.write_all(record.key.unwrap_or_default())?,
                Piece::Value => out.write_all(record.value.unwrap_or_default())?,
                Piece::Headers => write_headers(record.headers, out)?,
                Piece::KeyBytes => write_len(record.key, out)?,
                Piece::ValueBytes => write_len(record.value, out)?,
            }
        }
        Ok(())
    }
}

/// `a=1,b=2`.
fn write_headers(headers: &[(&[u8], Option<&[u8]>)], out: &mut impl Write) -> io::Result<()> {
    for (index, (key, value)) in headers.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(key)?;
        out.write_all(b"=")?;
        out.write_all(value.unwrap_or_default())?;
    }
    Ok(())
}

/// The length; -1 for what is missing, which tells it from what is empty.
fn write_len(bytes: Option<&[u8]>, out: &mut impl Write) -> io::Result<()> {
    match bytes {
        Some(bytes) => write!(out, "{}", bytes.len()),
        None => out.write_all(b"-1"),
    }
}

/// A text with its escapes replaced.
///
/// # Errors
/// Names the escape that is not known.
pub(super) fn unescape(text: &str) -> Result<String, String> {
    let mut chars = text.chars();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { escape(chars.next())? } else { c });
    }
    Ok(out)
}

fn escape(letter: Option<char>) -> Result<char, String> {
    match letter {
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('0') => Ok('\0'),
        Some('\\') => Ok('\\'),
        Some(other) => Err(format!("\\{other} is unknown: there are \\n \\t \\r \\0 and \\\\")),
        None => Err("ends within an escape; \\\\ prints a backslash".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(format: &str) -> String {
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"a", Some(b"1")), (b"b", None)];
        let record = Printed {
            topic: "temp",
            partition: 2,
            offset: 7,
            timestamp: 0,
            key: None,
            value: Some(b"21.5"),
            headers: &headers,
        };
        let mut out = Vec::new();
        Format::parse(format).unwrap().write(&record, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_are_replaced() {
        assert_eq!(print(r"%t %p %o %T %k %v\n"), "temp 2 7 1970-01-01T00:00:00.000Z  21.5\n");
        assert_eq!(print(r"%U|%h|%K|%S|100%%\t\\"), "0|a=1,b=|-1|4|100%\t\\");
        assert_eq!(print(""), "");
        assert_eq!(Format::default(), Format::parse("%v\\n").unwrap());
    }

    #[test]
    fn slips_are_named() {
        assert!(Format::parse("%x").unwrap_err().contains("%x"));
        assert!(Format::parse("%").is_err() && Format::parse("\\").is_err() && Format::parse("\\q").is_err());
    }
}
