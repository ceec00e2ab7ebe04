//! The primitives of Kafka's wire format: a bounds-checked reader, the writers, and the trait that ties a Rust type to
//! its bytes.
//!
//! Two layouts exist (KIP-482): the old one (lengths as i16/i32, −1 for null) and the *flexible* one (lengths as
//! unsigned varint plus one, 0 for null, and a section of tagged fields at the end of every structure). [`Layout`] says
//! which is spoken.
//!
//! Invariants:
//! - Nothing is allocated on the word of a peer: an array's count is checked against `remaining / smallest element` and
//!   against the message's element budget *before* its memory is reserved. Strings and blobs are slices of the input.
//! - Every read is checked; no input panics.

use core::fmt;

use crate::limits;

/// A topic id, a cluster id and the like, in network order.
pub type Uuid = [u8; 16];

/// Why bytes are not the message they should be. The connection they came on is out of step: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The message ends within a field.
    Truncated,
    /// Bytes are left over after the last field.
    Trailing(usize),
    /// A length or a count is negative where null is not allowed, or below −1.
    NegativeLength(i32),
    /// A varint has more than 32 bits.
    Varint,
    /// An array claims more elements than the rest of the message can hold.
    Count(usize),
    /// The message has more array elements in all than [`limits::KAFKA_ELEMENTS_MAX`] or the reader's own budget.
    Elements,
    /// A string isn't UTF-8.
    Utf8,
    /// The field of this name is null in a version where it may not be.
    Null(&'static str),
    /// This message has no such version here.
    Version(i16),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated => write!(f, "message ends within a field"),
            DecodeError::Trailing(n) => write!(f, "{n} bytes left over after the message"),
            DecodeError::NegativeLength(n) => write!(f, "length {n} is negative"),
            DecodeError::Varint => write!(f, "varint exceeds 32 bits"),
            DecodeError::Count(n) => write!(f, "array of {n} elements does not fit into the message"),
            DecodeError::Elements => write!(f, "message has too many array elements"),
            DecodeError::Utf8 => write!(f, "string is not UTF-8"),
            DecodeError::Null(field) => write!(f, "field {field} may not be null in this version"),
            DecodeError::Version(v) => write!(f, "version {v} of the message is not known"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a value can't be put on the wire: a mistake of the caller, not of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// A string over 32,767 bytes in the old layout, or anything over `i32::MAX`.
    TooLong(usize),
    /// The field of this name is null, and this version has no null for it.
    Null(&'static str),
    /// This message has no such version here.
    Version(i16),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::TooLong(n) => write!(f, "{n} bytes or elements are too long for their field"),
            EncodeError::Null(field) => write!(f, "field {field} may not be null in this version"),
            EncodeError::Version(v) => write!(f, "version {v} of the message is not known"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Which version of a message is spoken, and whether that version is flexible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub version: i16,
    pub flexible: bool,
}

/// What a message looks like, for tools that walk it (the oracle and the fuzzers in `tests/` generate messages from
/// it).
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    Bool,
    Int8,
    Int16,
    Int32,
    Int64,
    Uuid,
    String,
    Bytes,
    Nullable(&'static Shape),
    Array(&'static Shape),
    Struct(&'static [FieldShape]),
}

/// One field of a [`Shape::Struct`].
#[derive(Debug, Clone, Copy)]
pub struct FieldShape {
    pub name: &'static str,
    pub shape: Shape,
    /// Whether the field is on the wire in this version.
    pub present: fn(i16) -> bool,
    /// Whether null is allowed in this version; of use only with [`Shape::Nullable`].
    pub nullable: fn(i16) -> bool,
    /// The tag, if the field lives in the tagged section.
    pub tag: Option<u32>,
}

/// A type that has a form on the wire.
pub trait Wire<'a>: Sized {
    const SHAPE: Shape;

    /// Fewest bytes a value takes, at least 1: what bounds the count of an array.
    fn min_size(layout: Layout) -> usize;

    /// Takes a value off the reader.
    ///
    /// # Errors
    /// Any [`DecodeError`]; the reader's place is then of no use.
    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError>;

    /// Appends the value.
    ///
    /// # Errors
    /// Any [`EncodeError`]; a part of the value may then have been appended.
    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError>;
}

/// Reads from a message in memory; what it yields borrows from that memory.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    elements_left: usize,
}

impl<'a> Reader<'a> {
    /// A reader whose message may have [`limits::KAFKA_ELEMENTS_MAX`] array elements in all.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader::with_budget(bytes, limits::KAFKA_ELEMENTS_MAX)
    }

    /// A reader whose message may have `elements` array elements in all, over all its arrays.
    pub fn with_budget(bytes: &'a [u8], elements: usize) -> Reader<'a> {
        Reader { bytes, elements_left: elements }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Asserts that the message is at its end.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] if it isn't.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.bytes.len())) }
    }

    /// Takes the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// An unsigned varint of at most 32 bits, low group first.
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0u32, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let group = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Varint);
            }
            value |= group << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length in front of a string (i16 or compact); `None` is null.
    fn string_length(&mut self, layout: Layout) -> Result<Option<usize>, DecodeError> {
        if layout.flexible { self.compact_length() } else { self.i16().and_then(|n| signed_length(i32::from(n))) }
    }

    /// A length in front of a blob, or the count of an array (i32 or compact); `None` is null.
    fn long_length(&mut self, layout: Layout) -> Result<Option<usize>, DecodeError> {
        if layout.flexible { self.compact_length() } else { self.i32().and_then(signed_length) }
    }

    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(self.uvarint()?.checked_sub(1).map(|n| n as usize))
    }

    /// The elements of an array whose count has been read: the one place where decoding allocates.
    fn elements<T: Wire<'a>>(&mut self, count: usize, layout: Layout) -> Result<Vec<T>, DecodeError> {
        if count > self.remaining() / T::min_size(layout).max(1) {
            return Err(DecodeError::Count(count));
        }
        self.elements_left = self.elements_left.checked_sub(count).ok_or(DecodeError::Elements)?;
        let mut elements = Vec::with_capacity(count);
        for _ in 0..count {
            elements.push(T::read(self, layout)?);
        }
        Ok(elements)
    }

    /// Walks a tagged section; `field` reads the tags it knows and answers whether it knew this one.
    ///
    /// Unknown tags are skipped, as KIP-482 demands. A known one must fill its size exactly.
    pub fn tagged(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let mut value = Reader::with_budget(self.take(size)?, self.elements_left);
            if field(tag, &mut value)? {
                value.finish()?;
                self.elements_left = value.elements_left;
            }
        }
        Ok(())
    }
}

fn signed_length(length: i32) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        n => usize::try_from(n).map(Some).map_err(|_| DecodeError::NegativeLength(n)),
    }
}

/// Appends an unsigned varint.
pub fn write_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends one tagged field: tag, size, value.
pub fn write_tagged<'a>(out: &mut Vec<u8>, tag: u32, value: &impl Wire<'a>, layout: Layout) -> Result<(), EncodeError> {
    write_uvarint(out, tag);
    let start = out.len();
    value.write(out, layout)?;
    let end = out.len();
    let size = u32::try_from(end - start).map_err(|_| EncodeError::TooLong(end - start))?;
    // The size stands in front of the value but is known after it: appended, then turned to the front.
    write_uvarint(out, size);
    let size_bytes = out.len() - end;
    if let Some(field) = out.get_mut(start..) {
        field.rotate_right(size_bytes);
    }
    Ok(())
}

/// Appends the length of a string: i16, or a varint plus one.
fn write_string_length(out: &mut Vec<u8>, length: usize, layout: Layout) -> Result<(), EncodeError> {
    if layout.flexible {
        return write_compact_length(out, length);
    }
    let length = i16::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

/// Appends the length of a blob or the count of an array: i32, or a varint plus one.
pub(super) fn write_long_length(out: &mut Vec<u8>, length: usize, layout: Layout) -> Result<(), EncodeError> {
    if layout.flexible {
        return write_compact_length(out, length);
    }
    let length = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
    out.extend_from_slice(&length.to_be_bytes());
    Ok(())
}

fn write_compact_length(out: &mut Vec<u8>, length: usize) -> Result<(), EncodeError> {
    let length = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
    write_uvarint(out, length.unsigned_abs() + 1);
    Ok(())
}

macro_rules! integers {
    ($($int:ty => $shape:ident),+ $(,)?) => {$(
        impl<'a> Wire<'a> for $int {
            const SHAPE: Shape = Shape::$shape;

            fn min_size(_: Layout) -> usize {
                size_of::<$int>()
            }

            fn read(reader: &mut Reader<'a>, _: Layout) -> Result<Self, DecodeError> {
                reader.array().map(<$int>::from_be_bytes)
            }

            fn write(&self, out: &mut Vec<u8>, _: Layout) -> Result<(), EncodeError> {
                out.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }
        }
    )+};
}

integers!(i8 => Int8, i16 => Int16, i32 => Int32, i64 => Int64);

impl<'a> Wire<'a> for bool {
    const SHAPE: Shape = Shape::Bool;

    fn min_size(_: Layout) -> usize {
        1
    }

    fn read(reader: &mut Reader<'a>, _: Layout) -> Result<Self, DecodeError> {
        reader.array().map(|[byte]| byte != 0)
    }

    fn write(&self, out: &mut Vec<u8>, _: Layout) -> Result<(), EncodeError> {
        out.push(u8::from(*self));
        Ok(())
    }
}

impl<'a> Wire<'a> for Uuid {
    const SHAPE: Shape = Shape::Uuid;

    fn min_size(_: Layout) -> usize {
        16
    }

    fn read(reader: &mut Reader<'a>, _: Layout) -> Result<Self, DecodeError> {
        reader.array()
    }

    fn write(&self, out: &mut Vec<u8>, _: Layout) -> Result<(), EncodeError> {
        out.extend_from_slice(self);
        Ok(())
    }
}

impl<'a> Wire<'a> for Option<&'a str> {
    const SHAPE: Shape = Shape::Nullable(&Shape::String);

    fn min_size(layout: Layout) -> usize {
        if layout.flexible { 1 } else { 2 }
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        let Some(length) = reader.string_length(layout)? else { return Ok(None) };
        let bytes = reader.take(length)?;
        core::str::from_utf8(bytes).map(Some).map_err(|_| DecodeError::Utf8)
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        match self {
            Some(text) => text.write(out, layout)?,
            None if layout.flexible => out.push(0),
            None => out.extend_from_slice(&(-1i16).to_be_bytes()),
        }
        Ok(())
    }
}

impl<'a> Wire<'a> for &'a str {
    const SHAPE: Shape = Shape::String;

    fn min_size(layout: Layout) -> usize {
        Option::<&str>::min_size(layout)
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        Option::<&str>::read(reader, layout)?.ok_or(DecodeError::NegativeLength(-1))
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        write_string_length(out, self.len(), layout)?;
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }
}

impl<'a> Wire<'a> for Option<&'a [u8]> {
    const SHAPE: Shape = Shape::Nullable(&Shape::Bytes);

    fn min_size(layout: Layout) -> usize {
        if layout.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        reader.long_length(layout)?.map(|length| reader.take(length)).transpose()
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        match self {
            Some(bytes) => bytes.write(out, layout),
            None => {
                write_null(out, layout);
                Ok(())
            }
        }
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    const SHAPE: Shape = Shape::Bytes;

    fn min_size(layout: Layout) -> usize {
        Option::<&[u8]>::min_size(layout)
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        Option::<&[u8]>::read(reader, layout)?.ok_or(DecodeError::NegativeLength(-1))
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        write_long_length(out, self.len(), layout)?;
        out.extend_from_slice(self);
        Ok(())
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<Vec<T>> {
    const SHAPE: Shape = Shape::Nullable(&Shape::Array(&T::SHAPE));

    fn min_size(layout: Layout) -> usize {
        if layout.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        let count = reader.long_length(layout)?;
        count.map(|count| reader.elements(count, layout)).transpose()
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.write(out, layout),
            None => {
                write_null(out, layout);
                Ok(())
            }
        }
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    const SHAPE: Shape = Shape::Array(&T::SHAPE);

    fn min_size(layout: Layout) -> usize {
        Option::<Vec<T>>::min_size(layout)
    }

    fn read(reader: &mut Reader<'a>, layout: Layout) -> Result<Self, DecodeError> {
        Option::<Vec<T>>::read(reader, layout)?.ok_or(DecodeError::NegativeLength(-1))
    }

    fn write(&self, out: &mut Vec<u8>, layout: Layout) -> Result<(), EncodeError> {
        write_long_length(out, self.len(), layout)?;
        self.iter().try_for_each(|element| element.write(out, layout))
    }
}

/// The null of a blob or an array.
fn write_null(out: &mut Vec<u8>, layout: Layout) {
    if layout.flexible { out.push(0) } else { out.extend_from_slice(&(-1i32).to_be_bytes()) }
}
