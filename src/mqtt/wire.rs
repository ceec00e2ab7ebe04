//! The primitives of MQTT's wire format: integers in network order, variable byte integers, length-prefixed strings and binary
//! data (MQTT 5.0, section 1.5).
//!
//! Invariants: every read is checked against what is there; nothing is allocated when reading; what a string must not hold
//! (U+0000, bytes that aren't UTF-8) is refused.

use alloc::vec::Vec;
use core::fmt;

use super::reason::ReasonCode;

/// Largest variable byte integer, and so the largest remaining length of a packet (section 1.5.5).
pub const VARINT_MAX: u32 = 268_435_455;
/// Longest string or binary value, bytes.
pub const FIELD_BYTES_MAX: usize = 65_535;

/// Why bytes are not the packet they should be. The connection they came on is out of step: close it, in 5.0 after a DISCONNECT with
/// [`DecodeError::reason`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The packet ends within a field.
    Truncated,
    /// Bytes are left over after the last field.
    Trailing(usize),
    /// A string isn't UTF-8, or holds U+0000.
    Utf8,
    /// A variable byte integer has more than four bytes.
    Varint,
    /// What the standard calls a malformed packet: what is wrong with it.
    Malformed(&'static str),
    /// What the standard calls a protocol error.
    Protocol(&'static str),
    /// The client speaks a version of MQTT that is not spoken here.
    Version(u8),
}

impl DecodeError {
    /// What 5.0 calls it on the wire.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Protocol(_) => ReasonCode::PROTOCOL_ERROR,
            Self::Version(_) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            _ => ReasonCode::MALFORMED_PACKET,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "packet ends within a field"),
            Self::Trailing(n) => write!(f, "{n} bytes left over after the packet"),
            Self::Utf8 => write!(f, "string is not UTF-8, or holds U+0000"),
            Self::Varint => write!(f, "variable byte integer exceeds four bytes"),
            Self::Malformed(what) | Self::Protocol(what) => f.write_str(what),
            Self::Version(level) => write!(f, "protocol level {level} is not spoken, only 3, 4 (3.1.1) and 5"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A value is too long for its field: a mistake of the caller, not of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes are too long for their field", self.0)
    }
}

impl core::error::Error for TooLong {}

/// Takes values off the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What isn't read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether all is read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// As many bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A byte that says yes or no.
    ///
    /// # Errors
    /// [`DecodeError`]; anything but 0 and 1 is a protocol error.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Protocol("a property that is 0 or 1 is neither")),
        }
    }

    /// A two byte integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A four byte integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::Varint`]; also for one that takes more bytes than it needs (1.5.5).
    pub fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return if byte == 0 && shift > 0 { Err(DecodeError::Varint) } else { Ok(value) };
            }
        }
        Err(DecodeError::Varint)
    }

    /// Binary data with its length before it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A string with its length before it.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        let text = core::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::Utf8)?;
        if text.as_bytes().contains(&0) { Err(DecodeError::Utf8) } else { Ok(text) }
    }

    /// The end must be here.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Appends a variable byte integer; beyond [`VARINT_MAX`] it is an error.
///
/// # Errors
/// [`TooLong`].
pub fn put_varint(out: &mut Vec<u8>, value: usize) -> Result<(), TooLong> {
    let mut rest = u32::try_from(value).ok().filter(|v| *v <= VARINT_MAX).ok_or(TooLong(value))?;
    loop {
        let low = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return Ok(());
        }
        out.push(low | 0x80);
    }
}

/// Bytes that [`put_varint`] takes.
pub fn varint_bytes(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Appends binary data, or the bytes of a string, with their length before them.
///
/// # Errors
/// [`TooLong`], beyond [`FIELD_BYTES_MAX`].
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), TooLong> {
    let length = u16::try_from(bytes.len()).map_err(|_| TooLong(bytes.len()))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_go_both_ways_at_every_length() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, VARINT_MAX as usize] {
            let mut out = Vec::new();
            put_varint(&mut out, value).unwrap();
            assert_eq!(out.len(), varint_bytes(value), "{value}");
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Ok(value as u32));
            assert!(reader.is_empty());
        }
        assert_eq!(put_varint(&mut Vec::new(), VARINT_MAX as usize + 1), Err(TooLong(268_435_456)));
    }

    #[test]
    fn varints_that_are_too_long_are_refused() {
        for bytes in [&[0x80, 0x80, 0x80, 0x80, 0x01][..], &[0x80, 0x00], &[0xff, 0xff, 0xff, 0xff]] {
            assert_eq!(Reader::new(bytes).varint(), Err(DecodeError::Varint), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[0x80]).varint(), Err(DecodeError::Truncated));
    }

    #[test]
    fn strings_are_checked() {
        assert_eq!(Reader::new(b"\0\x03a\0b").string(), Err(DecodeError::Utf8));
        assert_eq!(Reader::new(b"\0\x03\xed\xa0\x80").string(), Err(DecodeError::Utf8), "a surrogate");
        assert_eq!(Reader::new(b"\0\x05abc").string(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(b"\0\x02hiX").string(), Ok("hi"));
    }
}
