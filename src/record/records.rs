//! The records of a batch, borrowed from its decompressed payload.
//!
//! | field of a record | encoding |
//! |---|---|
//! | length of what follows | varint |
//! | attributes | 1 byte, unused |
//! | timestamp delta | varint of 64 bits |
//! | offset delta | varint |
//! | key | varint length (-1: null), bytes |
//! | value | varint length (-1: null), bytes |
//! | headers | varint count; each: varint length, name, varint length (-1: null), value |

use std::borrow::Cow;
use std::io::Read;

use super::codec;
use super::varint;
use super::{BatchError, BatchView, Compression, TimestampType, VerifyLimits};

/// The payload of `view`, decompressed; borrowed if it isn't compressed. Allocates as it decompresses, never what the
/// batch claims, and never beyond `limits`.
pub fn decompress<'a>(view: &BatchView<'a>, limits: &VerifyLimits) -> Result<Cow<'a, [u8]>, BatchError> {
    let payload = view.payload();
    let compression = view.attributes().compression().map_err(BatchError::UnknownCompression)?;
    if compression == Compression::None {
        return Ok(Cow::Borrowed(payload));
    }
    let mut records = Vec::new();
    codec::decoder(compression, payload, limits.decompressed_bytes_max(payload.len()))?
        .read_to_end(&mut records)
        .map_err(|error| BatchError::from_read(&error, compression))?;
    Ok(Cow::Owned(records))
}

/// The records of `view` in its decompressed `payload`. Counts and lengths are held against the bytes that are there; the
/// iterator ends with the first error.
pub fn records<'a>(view: &BatchView<'_>, payload: &'a [u8]) -> RecordIter<'a> {
    let attributes = view.attributes();
    let append_time = attributes.timestamp_type() == TimestampType::LogAppendTime;
    RecordIter {
        rest: payload,
        remaining: view.record_count(),
        base_offset: view.base_offset(),
        base_timestamp: view.base_timestamp(),
        append_time: append_time.then(|| view.max_timestamp()),
        ended: false,
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub offset: i64,
    /// Ms since 1970: the producer's, or the time of the append, as the batch's attributes say.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

/// See [`records`].
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    remaining: u32,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    ended: bool,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.remaining == 0 {
            self.ended = true;
            return (!self.rest.is_empty()).then_some(Err(BatchError::Malformed("bytes follow its last record")));
        }
        self.remaining -= 1;
        let record = self.take();
        self.ended = record.is_err();
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A record takes at least seven bytes, so a claimed count can't make a collector allocate much.
        (0, Some((self.remaining as usize).min(self.rest.len() / RECORD_BYTES_MIN + 1)))
    }
}

/// Bytes of the smallest record: length, attributes, two deltas, two null lengths, header count.
const RECORD_BYTES_MIN: usize = 7;

impl<'a> RecordIter<'a> {
    fn take(&mut self) -> Result<RecordRef<'a>, BatchError> {
        let mut record = take_bytes(&mut self.rest)?.ok_or(BatchError::Malformed("a record's length is negative"))?;
        let _attributes = take_byte(&mut record)?;
        let timestamp_delta = take_i64(&mut record)?;
        let offset_delta = take_i32(&mut record)?;
        let key = take_bytes(&mut record)?;
        let value = take_bytes(&mut record)?;
        let headers = Headers::take(record)?;
        let timestamp = match self.append_time {
            Some(time) => time,
            None => self
                .base_timestamp
                .checked_add(timestamp_delta)
                .ok_or(BatchError::Malformed("a record's timestamp overflows"))?,
        };
        let offset = self
            .base_offset
            .checked_add(i64::from(offset_delta))
            .ok_or(BatchError::Malformed("a record's offset overflows"))?;
        Ok(RecordRef { offset, timestamp, key, value, headers })
    }
}

/// The headers of a record: names (UTF-8 by convention, any bytes in fact) and values, which may be null. In the order
/// they were sent; names may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// Checked from end to end before it got here.
    rest: &'a [u8],
    remaining: usize,
}

impl<'a> Headers<'a> {
    /// Takes all of `bytes`, the end of a record.
    fn take(mut bytes: &'a [u8]) -> Result<Headers<'a>, BatchError> {
        let count = take_i32(&mut bytes)?;
        let count = usize::try_from(count).map_err(|_| BatchError::Malformed("a record's header count is negative"))?;
        let headers = Headers { rest: bytes, remaining: count };
        for _ in 0..count {
            take_header(&mut bytes)?;
        }
        if bytes.is_empty() { Ok(headers) } else { Err(BatchError::Malformed("a record is longer than its fields")) }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        take_header(&mut self.rest).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.remaining, Some(self.remaining))
    }
}

impl ExactSizeIterator for Headers<'_> {}

fn take_header<'a>(bytes: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), BatchError> {
    let name = take_bytes(bytes)?.ok_or(BatchError::Malformed("a header has no name"))?;
    Ok((name, take_bytes(bytes)?))
}

/// A varint length and as many bytes; -1 stands for null.
fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    let length = take_i32(bytes)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| BatchError::Malformed("a length is negative"))?;
    let (taken, rest) = bytes.split_at_checked(length).ok_or(BatchError::SHORT)?;
    *bytes = rest;
    Ok(Some(taken))
}

fn take_byte(bytes: &mut &[u8]) -> Result<u8, BatchError> {
    let (&first, rest) = bytes.split_first().ok_or(BatchError::SHORT)?;
    *bytes = rest;
    Ok(first)
}

fn take_i32(bytes: &mut &[u8]) -> Result<i32, BatchError> {
    varint::take_i32(|| take_byte(bytes))?.ok_or(BatchError::OVERLONG)
}

fn take_i64(bytes: &mut &[u8]) -> Result<i64, BatchError> {
    varint::take_i64(|| take_byte(bytes))?.ok_or(BatchError::OVERLONG)
}
