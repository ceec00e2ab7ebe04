//! Walks through the records of a batch in a stream, and checks their structure on the way: lengths that fit each other,
//! varints, counts, nothing after the last one. Keys, values and headers are skipped.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use super::codec;
use super::varint;
use super::{BatchError, BatchView, Compression, VerifyLimits};

/// Bytes that stand between decompressor and walk.
const STREAM_BUFFER_BYTES: usize = 4 * 1024;

/// What matters of one record.
pub(super) struct WalkedRecord {
    pub(super) timestamp_delta: i64,
    pub(super) offset_delta: i32,
    pub(super) has_null_key: bool,
    /// As it lies in the batch, without the length before it.
    pub(super) bytes: u64,
}

impl WalkedRecord {
    /// The producer's timestamp, ms since 1970.
    pub(super) fn create_time(&self, view: &BatchView<'_>) -> Result<i64, BatchError> {
        let timestamp = view.base_timestamp().checked_add(self.timestamp_delta);
        timestamp.ok_or(BatchError::Malformed("a record's timestamp overflows"))
    }
}

/// Told of each record and its index.
type Each<'e> = &'e mut dyn FnMut(u32, &WalkedRecord) -> Result<ControlFlow<()>, BatchError>;

/// Goes from the first record of `view` to the last, or to where `each` breaks off. Bytes decompressed.
pub(super) fn walk(view: &BatchView<'_>, limits: &VerifyLimits, each: Each<'_>) -> Result<u64, BatchError> {
    let payload = view.payload();
    let compression = view.attributes().compression().map_err(BatchError::UnknownCompression)?;
    if compression == Compression::None {
        return Stream::new(payload, compression).all(view.record_count(), each);
    }
    let decoder = codec::decoder(compression, payload, limits.decompressed_bytes_max(payload.len()))?;
    let buffered = BufReader::with_capacity(STREAM_BUFFER_BYTES, decoder);
    Stream::new(buffered, compression).all(view.record_count(), each)
}

/// A stream of records. An uncompressed payload is its own buffer, so that skipping costs nothing.
struct Stream<R> {
    source: R,
    compression: Compression,
    /// Bytes taken so far.
    position: u64,
}

impl<R: BufRead> Stream<R> {
    fn new(source: R, compression: Compression) -> Stream<R> {
        Stream { source, compression, position: 0 }
    }

    /// Goes from the first record to the last, or to where `each` breaks off. Bytes decompressed.
    fn all(mut self, count: u32, each: Each<'_>) -> Result<u64, BatchError> {
        for index in 0..count {
            let record = self.record()?;
            if each(index, &record)?.is_break() {
                return Ok(self.position);
            }
        }
        if self.fill()?.is_empty() {
            Ok(self.position)
        } else {
            Err(BatchError::Malformed("bytes follow its last record"))
        }
    }

    fn record(&mut self) -> Result<WalkedRecord, BatchError> {
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
        Ok(WalkedRecord { timestamp_delta, offset_delta, has_null_key, bytes: length })
    }

    /// A varint length and as many bytes, all before `end`; whether it isn't null.
    fn skip_bytes(&mut self, end: u64) -> Result<bool, BatchError> {
        let length = self.take_i32(end)?;
        if length == -1 {
            return Ok(false);
        }
        let mut left = u64::try_from(length).map_err(|_| BatchError::Malformed("a length is negative"))?;
        if left > end.saturating_sub(self.position) {
            return Err(BatchError::SHORT);
        }
        while left > 0 {
            let available = self.fill()?.len() as u64;
            if available == 0 {
                return Err(BatchError::SHORT);
            }
            let step = available.min(left);
            self.consume(step);
            left -= step;
        }
        Ok(true)
    }

    fn take_i32(&mut self, end: u64) -> Result<i32, BatchError> {
        varint::take_i32(|| self.take_byte(end))?.ok_or(BatchError::OVERLONG)
    }

    fn take_i64(&mut self, end: u64) -> Result<i64, BatchError> {
        varint::take_i64(|| self.take_byte(end))?.ok_or(BatchError::OVERLONG)
    }

    fn take_byte(&mut self, end: u64) -> Result<u8, BatchError> {
        if self.position >= end {
            return Err(BatchError::SHORT);
        }
        let byte = *self.fill()?.first().ok_or(BatchError::SHORT)?;
        self.consume(1);
        Ok(byte)
    }

    fn fill(&mut self) -> Result<&[u8], BatchError> {
        let compression = self.compression;
        self.source.fill_buf().map_err(|error| BatchError::from_read(&error, compression))
    }

    fn consume(&mut self, bytes: u64) {
        self.source.consume(bytes as usize);
        self.position += bytes;
    }
}
