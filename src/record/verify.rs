//! Checks a batch whole, so that none can fail only at its last reader.
//!
//! The records come in a stream out of the decompressor and are walked through, never gathered: memory is what the
//! codec needs for its window plus one small buffer, whatever the batch decompresses to.

use std::io::{self, BufRead, BufReader};

use super::codec;
use super::records::{OVERLONG, SHORT};
use super::varint;
use super::{BatchError, BatchView, Compression, TimestampType};
use crate::limits;

/// Bytes that stand between decompressor and check.
const STREAM_BUFFER_BYTES: usize = 4 * 1024;

/// What a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyLimits {
    /// Largest batch, header included, as sent. Bytes.
    pub batch_bytes_max: usize,
    /// Largest size the records may decompress to. Bytes.
    pub decompressed_bytes_max: u64,
    /// Largest ratio of decompressed to compressed size.
    pub ratio_max: u64,
    /// Whether transaction markers may come. From producers they may not.
    pub control_allowed: bool,
}

impl Default for VerifyLimits {
    fn default() -> VerifyLimits {
        VerifyLimits {
            batch_bytes_max: limits::BATCH_BYTES_DEFAULT,
            decompressed_bytes_max: limits::BATCH_DECOMPRESSED_BYTES_MAX,
            ratio_max: limits::DECOMPRESSION_RATIO_MAX,
            control_allowed: false,
        }
    }
}

impl VerifyLimits {
    /// What `compressed_bytes` may decompress to.
    pub(super) fn decompressed_bytes_max(&self, compressed_bytes: usize) -> u64 {
        self.decompressed_bytes_max.min(self.ratio_max.saturating_mul(compressed_bytes as u64))
    }
}

/// What a verified batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchFacts {
    /// At least 1.
    pub record_count: u32,
    /// The records' smallest timestamp, ms since 1970 (with LogAppendTime: the append's).
    pub min_timestamp: i64,
    /// The records' largest timestamp, ms since 1970 (with LogAppendTime: the append's).
    ///
    /// The header may say otherwise: some clients (Sarama) leave `maxTimestamp` at -1, and Kafka's broker corrects it. Whoever
    /// takes a batch from a producer compares and calls [`set_max_timestamp`](super::header::set_max_timestamp).
    pub max_timestamp: i64,
    /// Size of the records decompressed, bytes.
    pub decompressed_bytes: u64,
    /// Whether a record without key is among them: a compacted topic can't take it.
    pub has_null_key: bool,
}

/// Checks everything about a batch that a producer sends: size, CRC, then every record: count, offset deltas of exactly 0 to
/// n-1, timestamps that don't overflow, lengths that fit each other, nothing after the last one, and what it decompresses to.
pub fn verify(view: &BatchView<'_>, limits: &VerifyLimits) -> Result<BatchFacts, BatchError> {
    if view.bytes().len() > limits.batch_bytes_max {
        return Err(BatchError::TooLarge {
            bytes: view.bytes().len() as u64,
            bytes_max: limits.batch_bytes_max as u64,
        });
    }
    view.check_crc()?;
    let attributes = view.attributes();
    let compression = attributes.compression().map_err(BatchError::UnknownCompression)?;
    if attributes.is_control() && !limits.control_allowed {
        return Err(BatchError::Control);
    }
    let count = view.record_count();
    if count == 0 {
        return Err(BatchError::Malformed("it has no records"));
    }
    if i64::from(view.last_offset_delta()) != i64::from(count) - 1 {
        return Err(BatchError::Malformed("its last offset delta isn't its record count less one"));
    }
    let payload = view.payload();
    if compression == Compression::None {
        return Walk::new(payload, compression).all(view);
    }
    let decoder = codec::decoder(compression, payload, limits.decompressed_bytes_max(payload.len()))?;
    Walk::new(BufReader::with_capacity(STREAM_BUFFER_BYTES, decoder), compression).all(view)
}

/// Walks through records in a stream. An uncompressed payload is its own buffer, so that skipping costs nothing.
struct Walk<R> {
    source: R,
    compression: Compression,
    /// Bytes taken so far.
    position: u64,
}

impl<R: BufRead> Walk<R> {
    fn new(source: R, compression: Compression) -> Walk<R> {
        Walk { source, compression, position: 0 }
    }

    fn all(mut self, view: &BatchView<'_>) -> Result<BatchFacts, BatchError> {
        let append_time = view.attributes().timestamp_type() == TimestampType::LogAppendTime;
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut has_null_key = false;
        for index in 0..view.record_count() {
            let record = self.record()?;
            if i64::from(record.offset_delta) != i64::from(index) {
                return Err(BatchError::Malformed("its offset deltas aren't 0, 1, 2 and so on"));
            }
            // With LogAppendTime nobody reads it now, but a forwarder that clears the bit will.
            let timestamp = view
                .base_timestamp()
                .checked_add(record.timestamp_delta)
                .ok_or(BatchError::Malformed("a record's timestamp overflows"))?;
            min = min.min(timestamp);
            max = max.max(timestamp);
            has_null_key |= record.has_null_key;
        }
        if !self.at_end()? {
            return Err(BatchError::Malformed("bytes follow its last record"));
        }
        if append_time {
            (min, max) = (view.max_timestamp(), view.max_timestamp());
        }
        Ok(BatchFacts {
            record_count: view.record_count(),
            min_timestamp: min,
            max_timestamp: max,
            decompressed_bytes: self.position,
            has_null_key,
        })
    }

    fn record(&mut self) -> Result<Walked, BatchError> {
        let length = self.take_i32(u64::MAX)?;
        let length = u64::try_from(length).map_err(|_| BatchError::Malformed("a record's length is negative"))?;
        let end = self.position.saturating_add(length);
        let _attributes = self.take_byte(end)?;
        let timestamp_delta = self.take_i64(end)?;
        let offset_delta = self.take_i32(end)?;
        let has_null_key = !self.skip_bytes(end)?;
        self.skip_bytes(end)?;
        let headers = self.take_i32(end)?;
        if headers < 0 {
            return Err(BatchError::Malformed("a record's header count is negative"));
        }
        for _ in 0..headers {
            if !self.skip_bytes(end)? {
                return Err(BatchError::Malformed("a header has no name"));
            }
            self.skip_bytes(end)?;
        }
        if self.position != end {
            return Err(BatchError::Malformed("a record is longer than its fields"));
        }
        Ok(Walked { timestamp_delta, offset_delta, has_null_key })
    }

    /// A varint length and as many bytes, all before `end`; whether it isn't null.
    fn skip_bytes(&mut self, end: u64) -> Result<bool, BatchError> {
        let length = self.take_i32(end)?;
        if length == -1 {
            return Ok(false);
        }
        let mut left = u64::try_from(length).map_err(|_| BatchError::Malformed("a length is negative"))?;
        if left > end.saturating_sub(self.position) {
            return Err(SHORT);
        }
        while left > 0 {
            let available = self.fill()?.len() as u64;
            if available == 0 {
                return Err(SHORT);
            }
            let step = available.min(left);
            self.consume(step);
            left -= step;
        }
        Ok(true)
    }

    fn take_i32(&mut self, end: u64) -> Result<i32, BatchError> {
        varint::take_i32(|| self.take_byte(end))?.ok_or(OVERLONG)
    }

    fn take_i64(&mut self, end: u64) -> Result<i64, BatchError> {
        varint::take_i64(|| self.take_byte(end))?.ok_or(OVERLONG)
    }

    fn take_byte(&mut self, end: u64) -> Result<u8, BatchError> {
        if self.position >= end {
            return Err(SHORT);
        }
        let byte = *self.fill()?.first().ok_or(SHORT)?;
        self.consume(1);
        Ok(byte)
    }

    fn at_end(&mut self) -> Result<bool, BatchError> {
        Ok(self.fill()?.is_empty())
    }

    fn fill(&mut self) -> Result<&[u8], BatchError> {
        let compression = self.compression;
        self.source.fill_buf().map_err(|error: io::Error| BatchError::from_read(&error, compression))
    }

    fn consume(&mut self, bytes: u64) {
        self.source.consume(bytes as usize);
        self.position += bytes;
    }
}

/// What matters of one record.
struct Walked {
    timestamp_delta: i64,
    offset_delta: i32,
    has_null_key: bool,
}
