//! The text of JSON (RFC 8259) piece by piece: what is common to all types that are read from it, so that it is in the binary once.
//!
//! - Every string that is taken is whole: escapes resolved, no control characters, surrogates in pairs.
//! - What is passed over is checked as what is taken; it nests [`DEPTH_MAX`] deep at most.

use std::borrow::Cow;
use std::fmt;

/// How deep a value nests that nothing asks for.
pub const DEPTH_MAX: u32 = 64;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<str>);

impl Error {
    pub(super) fn new(what: &dyn fmt::Display) -> Self {
        Self(what.to_string().into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Natural(u64),
    Negative(i64),
    /// With a fraction or an exponent, or beyond 64 bits; finite.
    Fraction(f64),
}

/// A text and the place in it.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next character that is no space, which stays; 0 at the end.
    pub(super) fn peek(&mut self) -> u8 {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.byte().unwrap_or(0)
    }

    /// Passes over `wanted`, if that is next.
    pub(super) fn takes(&mut self, wanted: u8) -> bool {
        let is_next = self.peek() == wanted;
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        if self.takes(wanted) { Ok(()) } else { Err(self.expected(&format_args!("'{}'", char::from(wanted)))) }
    }

    /// The error that `what` is not here.
    pub(super) fn expected(&self, what: &dyn fmt::Display) -> Error {
        Error::new(&format_args!("expected {what} at byte {}", self.at))
    }

    /// That nothing follows.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        self.peek();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected(&"the end")) }
    }

    /// Passes over `word`, if it is next.
    pub(super) fn word(&mut self, word: &str) -> bool {
        self.peek();
        let is_next = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += if is_next { word.len() } else { 0 };
        is_next
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Error> {
        let is_true = self.word("true");
        if is_true || self.word("false") { Ok(is_true) } else { Err(self.expected(&"true or false")) }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, Error> {
        if !self.takes(b'"') {
            return Err(self.expected(&"a string"));
        }
        let mut whole = Cow::Borrowed("");
        loop {
            let begin = self.at;
            while self.byte().is_some_and(|byte| !matches!(byte, b'"' | b'\\' | ..0x20)) {
                self.at += 1;
            }
            // Only ASCII ends a piece, so both ends are between characters.
            let piece = self.text.get(begin..self.at).unwrap_or_default();
            if whole.is_empty() {
                whole = Cow::Borrowed(piece)
            } else {
                whole.to_mut().push_str(piece)
            }
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => whole.to_mut().push(self.escaped()?),
                _ => return Err(self.expected(&"the end of a string")),
            }
        }
        self.at += 1;
        Ok(whole)
    }

    /// What the escape here stands for.
    fn escaped(&mut self) -> Result<char, Error> {
        self.at += 1;
        let letter = self.byte();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.expected(&"an escape")),
        })
    }

    /// A character of four digits, or of two times four where it is beyond 16 bits.
    fn unicode(&mut self) -> Result<char, Error> {
        let mut units = [self.digits()?, 0];
        if matches!(units, [0xd800..0xdc00, _]) && self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u"))
        {
            self.at += 2;
            units[1] = self.digits()?;
        }
        let is_pair = units[1] != 0;
        let mut characters = char::decode_utf16(units).take(if is_pair { 2 } else { 1 });
        match (characters.next(), characters.next()) {
            (Some(Ok(character)), None) => Ok(character),
            _ => Err(self.expected(&"the other half of a character")),
        }
    }

    fn digits(&mut self) -> Result<u16, Error> {
        let digits = self.text.get(self.at..self.at + 4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.expected(&"four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    /// Passes over digits; whether there were any.
    fn decimals(&mut self) -> bool {
        let begin = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at > begin
    }

    pub(super) fn number(&mut self) -> Result<Number, Error> {
        let is_negative = self.takes(b'-');
        let begin = self.at - usize::from(is_negative);
        let (first, begins_with_zero) = (self.at, self.byte() == Some(b'0'));
        let mut is_number = self.decimals() && (!begins_with_zero || self.at == first + 1);
        let whole = self.at;
        if self.byte() == Some(b'.') {
            self.at += 1;
            is_number &= self.decimals();
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            is_number &= self.decimals();
        }
        let text = self.text.get(begin..self.at).filter(|_| is_number).unwrap_or_default();
        let natural = if self.at == whole { text.parse().map(Number::Natural).ok() } else { None };
        let integer = if self.at == whole { text.parse().map(Number::Negative).ok() } else { None };
        let fraction = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(Number::Fraction);
        natural.or(integer).or_else(fraction).ok_or_else(|| self.expected(&"a number"))
    }

    /// Passes over a value, whatever it is.
    pub(super) fn skip(&mut self, depth: u32) -> Result<(), Error> {
        if depth == DEPTH_MAX {
            return Err(self.expected(&"less depth"));
        }
        match self.peek() {
            b'"' => self.string().map(drop),
            b't' | b'f' => self.boolean().map(drop),
            b'n' if self.word("null") => Ok(()),
            open @ (b'{' | b'[') => {
                self.at += 1;
                // '[' and ']' are two apart, as '{' and '}' are.
                let mut is_first = true;
                while self.more(&mut is_first, open + 2)? {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':')?;
                    }
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            _ => self.number().map(drop),
        }
    }

    /// Whether another member comes before `close`; passes over the comma or over `close`.
    pub(super) fn more(&mut self, is_first: &mut bool, close: u8) -> Result<bool, Error> {
        let was_first = std::mem::take(is_first);
        if self.takes(close) {
            return Ok(false);
        }
        if !was_first {
            self.expect(b',')?;
            if self.peek() == close {
                return Err(self.expected(&"a value"));
            }
        }
        Ok(true)
    }
}
