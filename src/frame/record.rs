//! Native records, and lists of them read and written in place.
//!
//! A record is:
//!
//! | field | when | encoding |
//! |---|---|---|
//! | flags | always | one byte: 1 timestamp, 2 key, 4 null value, 8 headers, 16 offsets skipped; others 0 |
//! | offsets skipped | flag 16; in what the gateway sends only | varint: the record's offset is the previous one + 1 + this |
//! | timestamp | flag 1 | zigzag varint, ms since the previous timestamp in the list; the first since the list's base |
//! | key | flag 2 | varint length, bytes |
//! | value | unless flag 4 | varint length, bytes |
//! | headers | flag 8 | varint count; each: varint length, key bytes; varint 0 (null) or 1 + length, value bytes |
//!
//! A list is records one after the other up to the end of its frame. Its base is known from elsewhere: for a publish
//! the gateway time of the Welcome and no offsets, for what the gateway sends time 0 and the message's first offset.
//!
//! Invariants: a [`Records`] was walked to its end when it was made, so iterating it can't fail; nothing is allocated,
//! and no count is believed.

use super::{
    DecodeError,
    wire::{NoRoom, Reader, Short, Writer},
};

const TIMESTAMP: u8 = 1;
const KEY: u8 = 2;
const NULL_VALUE: u8 = 4;
const HEADERS: u8 = 8;
const SKIPPED: u8 = 16;
const KNOWN: u8 = TIMESTAMP | KEY | NULL_VALUE | HEADERS | SKIPPED;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The offset in its partition. In a publish it has no meaning (the list counts from its base).
    pub offset: i64,
    /// Milliseconds since 1970 (UTC); `None` in a publish lets the gateway stamp the record.
    pub timestamp: Option<i64>,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// A record of nothing but a value, which the gateway will stamp.
    pub fn of(value: &'a [u8]) -> Self {
        Self { offset: 0, timestamp: None, key: None, value: Some(value), headers: Headers::NONE }
    }

    /// The same with a timestamp, ms since 1970 (UTC).
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same with a key.
    pub fn keyed(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// The same with headers.
    pub fn with(mut self, headers: Headers<'a>) -> Self {
        self.headers = headers;
        self
    }
}

/// A record's headers: an iterator over (key, value or null). Either pairs of the caller's, or read in place.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a> {
    kind: HeadersKind<'a>,
}

#[derive(Debug, Clone, Copy)]
enum HeadersKind<'a> {
    Pairs(&'a [(&'a [u8], Option<&'a [u8]>)]),
    Encoded { left: usize, reader: Reader<'a> },
}

impl<'a> Headers<'a> {
    /// No headers.
    pub const NONE: Headers<'static> = Headers { kind: HeadersKind::Pairs(&[]) };

    /// The caller's own pairs.
    pub fn of(pairs: &'a [(&'a [u8], Option<&'a [u8]>)]) -> Self {
        Self { kind: HeadersKind::Pairs(pairs) }
    }

    /// Reads the headers' section, validating it whole.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        // The count may claim anything: the walk ends with the input, as each header takes two bytes at least.
        let left = usize::try_from(reader.varint()?).map_err(|_| DecodeError::Malformed)?;
        let headers = Self { kind: HeadersKind::Encoded { left, reader: *reader } };
        for _ in 0..left {
            reader.bytes()?;
            reader.optional_bytes()?;
        }
        Ok(headers)
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.kind {
            HeadersKind::Pairs(pairs) => {
                let (first, rest) = pairs.split_first()?;
                *pairs = rest;
                Some(*first)
            }
            HeadersKind::Encoded { left, reader } => {
                *left = left.checked_sub(1)?;
                // Validated when the record was read.
                Some((reader.bytes().ok()?, reader.optional_bytes().ok()?))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.kind {
            HeadersKind::Pairs(pairs) => pairs.len(),
            HeadersKind::Encoded { left, .. } => *left,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        Iterator::eq(*self, *other)
    }
}

impl Eq for Headers<'_> {}

/// Where a list counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Base {
    /// What the first timestamp is counted from, ms since 1970 (UTC).
    pub timestamp: i64,
    /// The offset of the first record, unless it says that it skips some.
    pub offset: i64,
}

/// A list of records as it stands in a frame; validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Records<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Records<'a> {
    /// A list of none.
    pub const EMPTY: Records<'static> = Records { bytes: &[], count: 0 };

    /// Walks the list to its end. Malformed input is an error here and nowhere later.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut cursor = Base::default();
        let mut count = 0;
        while !reader.rest().is_empty() {
            read(&mut reader, &mut cursor)?;
            count += 1;
        }
        Ok(Self { bytes, count })
    }

    /// Records in the list.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The list as it stands in the frame.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, offsets and timestamps counted from `base`.
    pub fn iter(&self, base: Base) -> RecordIter<'a> {
        RecordIter { reader: Reader::new(self.bytes), cursor: base, left: self.count }
    }
}

/// Iterates a [`Records`].
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    reader: Reader<'a>,
    cursor: Base,
    left: usize,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.left = self.left.checked_sub(1)?;
        read(&mut self.reader, &mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordIter<'_> {}

/// Reads one record; `cursor` holds the last timestamp and the next offset.
fn read<'a>(reader: &mut Reader<'a>, cursor: &mut Base) -> Result<Record<'a>, DecodeError> {
    let flags = reader.byte()?;
    if flags & !KNOWN != 0 {
        return Err(DecodeError::Malformed);
    }
    if flags & SKIPPED != 0 {
        // A sum beyond 63 bits can only come from a hostile peer, and then wraps instead of stopping us.
        cursor.offset = cursor.offset.wrapping_add(reader.varint()? as i64);
    }
    let mut timestamp = None;
    if flags & TIMESTAMP != 0 {
        cursor.timestamp = cursor.timestamp.wrapping_add(reader.zigzag()?);
        timestamp = Some(cursor.timestamp);
    }
    let key = if flags & KEY != 0 { Some(reader.bytes()?) } else { None };
    let value = if flags & NULL_VALUE == 0 { Some(reader.bytes()?) } else { None };
    let headers = if flags & HEADERS != 0 { Headers::read(reader)? } else { Headers::NONE };
    let offset = cursor.offset;
    cursor.offset = cursor.offset.wrapping_add(1);
    Ok(Record { offset, timestamp, key, value, headers })
}

/// Writes a list into a buffer, record by record.
#[derive(Debug)]
pub struct RecordsWriter<'b> {
    writer: Writer<'b>,
    cursor: Base,
    with_offsets: bool,
    count: usize,
}

impl<'b> RecordsWriter<'b> {
    /// A list for a publish: offsets aren't written; timestamps count from `base_timestamp`.
    pub fn for_publish(buffer: &'b mut [u8], base_timestamp: i64) -> Self {
        Self::over(Writer::new(buffer), Base { timestamp: base_timestamp, offset: 0 }, false)
    }

    /// A list for [`super::RecordSet`]: its `base_offset` is `base_offset`, gaps in the offsets are kept.
    pub fn for_fetch(buffer: &'b mut [u8], base_offset: i64) -> Self {
        Self::over(Writer::new(buffer), Base { timestamp: 0, offset: base_offset }, true)
    }

    /// Continues behind what `writer` has written.
    pub(super) fn over(writer: Writer<'b>, cursor: Base, with_offsets: bool) -> Self {
        Self { writer, cursor, with_offsets, count: 0 }
    }

    /// Appends one record. Without room the list stays as it was. In a list with offsets they must rise.
    pub fn push(&mut self, record: &Record<'_>) -> Result<(), NoRoom> {
        let before = self.writer.len();
        match write(&mut self.writer, self.cursor, self.with_offsets, record) {
            Ok(cursor) => {
                self.cursor = cursor;
                self.count += 1;
                Ok(())
            }
            Err(NoRoom) => {
                self.writer.truncate(before);
                Err(NoRoom)
            }
        }
    }

    /// Records written.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes written, with what stood before the list in the same buffer.
    pub fn len(&self) -> usize {
        self.writer.len()
    }

    /// Whether no record is written yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The list.
    pub fn finish(self) -> Records<'b> {
        Records { count: self.count, bytes: self.writer.finish() }
    }

    pub(super) fn into_writer(self) -> Writer<'b> {
        self.writer
    }
}

fn write(writer: &mut Writer<'_>, mut cursor: Base, with_offsets: bool, record: &Record<'_>) -> Result<Base, NoRoom> {
    let skipped = if with_offsets { record.offset.wrapping_sub(cursor.offset) as u64 } else { 0 };
    let headers = record.headers;
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    writer.byte(
        flag(record.timestamp.is_some(), TIMESTAMP)
            | flag(record.key.is_some(), KEY)
            | flag(record.value.is_none(), NULL_VALUE)
            | flag(headers.len() > 0, HEADERS)
            | flag(skipped > 0, SKIPPED),
    )?;
    if skipped > 0 {
        writer.varint(skipped)?;
    }
    if let Some(timestamp) = record.timestamp {
        writer.zigzag(timestamp.wrapping_sub(cursor.timestamp))?;
        cursor.timestamp = timestamp;
    }
    if let Some(key) = record.key {
        writer.bytes(key)?;
    }
    if let Some(value) = record.value {
        writer.bytes(value)?;
    }
    if headers.len() > 0 {
        writer.varint(headers.len() as u64)?;
        for (key, value) in headers {
            writer.bytes(key)?;
            writer.optional_bytes(value)?;
        }
    }
    cursor.offset = cursor.offset.wrapping_add(skipped as i64).wrapping_add(1);
    Ok(cursor)
}

impl From<Short> for DecodeError {
    fn from(Short: Short) -> Self {
        DecodeError::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back_with_its_gaps_and_nulls() {
        let pairs: [(&[u8], Option<&[u8]>); 2] = [(b"unit", Some(b"C")), (b"bad", None)];
        let records = [
            Record { offset: 7, ..Record::of(b"21.5").at(1_700_000_000_000).keyed(b"t1").with(Headers::of(&pairs)) },
            Record { offset: 8, timestamp: None, key: Some(b""), value: None, headers: Headers::NONE },
            Record { offset: 20, ..Record::of(b"").at(1_699_999_999_000) },
        ];
        let mut buffer = [0; 128];
        let mut writer = RecordsWriter::for_fetch(&mut buffer, 5);
        for record in &records {
            writer.push(record).unwrap();
        }
        let list = Records::parse(writer.finish().bytes()).unwrap();
        assert_eq!(list.len(), 3);
        assert!(list.iter(Base { timestamp: 0, offset: 5 }).eq(records));
    }

    #[test]
    fn without_room_the_list_stays() {
        let mut buffer = [0; 10];
        let mut writer = RecordsWriter::for_publish(&mut buffer, 0);
        writer.push(&Record::of(b"abcd")).unwrap();
        assert_eq!(writer.push(&Record::of(b"efgh")), Err(NoRoom));
        writer.push(&Record::of(b"ef")).unwrap();
        let list = writer.finish();
        assert_eq!(Records::parse(list.bytes()), Ok(list));
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn hostile_lists_are_refused() {
        assert_eq!(Records::parse(&[0x20, 0]), Err(DecodeError::Malformed), "an unknown flag");
        assert_eq!(Records::parse(&[0, 5, 1]), Err(DecodeError::Malformed), "a value beyond the frame");
        assert_eq!(Records::parse(&[NULL_VALUE | HEADERS, 0xff, 0xff, 0xff, 0x7f]), Err(DecodeError::Malformed));
    }
}
