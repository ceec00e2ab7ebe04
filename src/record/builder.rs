//! Builds batches, record by record, in one buffer that is used again for the next.
//!
//! Records are written once, where they will stay: after the room for the header. An uncompressed batch is therefore
//! finished by filling in the header, and costs no copy with [`BatchBuilder::seal`].

use super::batch::{HEADER_BYTES, field};
use super::codec::{self, Saving};
use super::header;
use super::varint;
use super::{BatchError, Compression};

/// Most bytes of a batch under construction: its length field has 31 bits.
const BYTES_MAX: usize = i32::MAX as usize;

/// Fewer bytes of records aren't compressed: nothing is to be gained, and gzip and Zstandard would set up 300 KB for it.
const COMPRESS_BYTES_MIN: usize = 128;

/// An idempotent producer's place in its sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// -1: not idempotent.
    pub id: i64,
    /// -1: not idempotent.
    pub epoch: i16,
    /// The sequence of the batch's first record; -1: not idempotent.
    pub base_sequence: i32,
}

impl Producer {
    /// Not idempotent.
    pub const NONE: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };
}

/// For records without headers.
pub const NO_HEADERS: std::iter::Empty<(&'static [u8], Option<&'static [u8]>)> = std::iter::empty();

/// A batch under construction. Empty again after each batch it gives.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// Empty, or room for the header and then the records.
    buffer: Vec<u8>,
    count: i32,
    /// The first record's timestamp. Meaningless while empty.
    base_timestamp: i64,
    max_timestamp: i64,
    saves: Saving,
}

/// Where a builder stood; see [`BatchBuilder::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    bytes: usize,
    count: i32,
    max_timestamp: i64,
}

impl BatchBuilder {
    /// An empty builder, which owns no memory yet.
    pub const fn new() -> BatchBuilder {
        BatchBuilder { buffer: Vec::new(), count: 0, base_timestamp: 0, max_timestamp: 0, saves: Saving::Bytes }
    }

    /// What compression is to save first, from now on; bytes unless said.
    pub fn save_first(&mut self, saves: Saving) {
        self.saves = saves;
    }

    /// Adds a record. `timestamp_ms` since 1970; key, value and the headers' values may be null.
    ///
    /// # Errors
    /// Nothing is added then. [`BatchError::TooLarge`] beyond 2 GiB, [`BatchError::Malformed`] if the timestamp is further
    /// from the first record's than 64 bits reach.
    pub fn push<'h>(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) -> Result<(), BatchError> {
        let body = self.body(timestamp_ms, key, value, headers.clone())?;
        let size = self.size_with_body(body.bytes);
        if size > BYTES_MAX || self.count == i32::MAX {
            return Err(BatchError::TooLarge { bytes: size as u64, bytes_max: BYTES_MAX as u64 });
        }
        if self.is_empty() {
            self.buffer.clear();
            self.buffer.resize(HEADER_BYTES, 0);
            self.base_timestamp = timestamp_ms;
            self.max_timestamp = timestamp_ms;
        }
        let out = &mut self.buffer;
        varint::put(body.bytes as i64, out);
        out.push(0); // a record's own attributes: none are defined
        varint::put(body.timestamp_delta, out);
        varint::put(i64::from(self.count), out);
        put_bytes(key, out);
        put_bytes(value, out);
        varint::put(body.header_count as i64, out);
        for (name, value) in headers {
            put_bytes(Some(name), out);
            put_bytes(value, out);
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        Ok(())
    }

    /// The size of the batch, uncompressed, if this record were added to it. Bytes.
    ///
    /// # Errors
    /// As [`push`](BatchBuilder::push).
    pub fn size_with<'h>(
        &self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> Result<usize, BatchError> {
        Ok(self.size_with_body(self.body(timestamp_ms, key, value, headers)?.bytes))
    }

    /// The size of the batch so far, uncompressed, header included. Bytes; 0 while empty.
    pub fn size(&self) -> usize {
        if self.is_empty() { 0 } else { self.buffer.len() }
    }

    /// Whether no record was added yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records added so far.
    pub fn record_count(&self) -> u32 {
        self.count as u32
    }

    /// The largest timestamp so far; none while empty.
    pub fn max_timestamp(&self) -> Option<i64> {
        (!self.is_empty()).then_some(self.max_timestamp)
    }

    /// Drops the records; keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.count = 0;
    }

    /// Drops the records, and memory beyond `bytes_max`: one large batch shouldn't be paid for ever.
    pub fn clear_and_shrink(&mut self, bytes_max: usize) {
        self.clear();
        self.buffer.shrink_to(bytes_max);
    }

    /// The batch of a producer that isn't idempotent; see [`finish_with`](BatchBuilder::finish_with).
    pub fn finish(&mut self, compression: Compression) -> Vec<u8> {
        self.finish_with(compression, Producer::NONE)
    }

    /// The batch: base offset 0, leader epoch -1, CRC set. Stays uncompressed where compression wouldn't make it
    /// smaller. No bytes at all without records.
    pub fn finish_with(&mut self, compression: Compression, producer: Producer) -> Vec<u8> {
        let mut batch = Vec::new();
        self.finish_into(compression, producer, &mut batch);
        batch
    }

    /// As [`finish_with`](BatchBuilder::finish_with), appended to `out`.
    pub fn finish_into(&mut self, compression: Compression, producer: Producer, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let start = out.len();
        let records = self.buffer.get(HEADER_BYTES..).unwrap_or_default();
        let mut used = Compression::None;
        if compression != Compression::None && records.len() >= COMPRESS_BYTES_MIN {
            out.resize(start + HEADER_BYTES, 0);
            let compressed = codec::compress(compression, self.saves, records, out).is_some();
            if compressed && out.len() - start < self.buffer.len() {
                used = compression;
            } else {
                out.truncate(start);
            }
        }
        if used == Compression::None {
            out.extend_from_slice(&self.buffer);
        }
        if let Some(batch) = out.get_mut(start..) {
            self.write_header(batch, used, producer);
        }
        self.clear();
    }

    /// The batch in the builder's own memory, uncompressed: for who copies or hashes it anyway. Call
    /// [`clear`](BatchBuilder::clear) before the next. No bytes at all without records.
    pub fn seal(&mut self, producer: Producer) -> &mut [u8] {
        if self.is_empty() {
            return &mut [];
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write_header(&mut buffer, Compression::None, producer);
        self.buffer = buffer;
        &mut self.buffer
    }

    /// Where the builder stands, to return to with [`rewind`](BatchBuilder::rewind).
    pub fn mark(&self) -> Mark {
        Mark { bytes: self.size(), count: self.count, max_timestamp: self.max_timestamp }
    }

    /// Drops the records added since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.buffer.truncate(mark.bytes);
        self.count = mark.count;
        self.max_timestamp = mark.max_timestamp;
    }

    fn write_header(&self, batch: &mut [u8], compression: Compression, producer: Producer) {
        header::set_base_offset(batch, 0);
        let length = batch.len().saturating_sub(field::LENGTH_FROM) as i32;
        header::put(batch, field::LENGTH, length.to_be_bytes());
        header::set_leader_epoch(batch, -1);
        header::put(batch, field::MAGIC, [2]);
        header::put(batch, field::ATTRIBUTES, (compression as i16).to_be_bytes());
        header::put(batch, field::LAST_OFFSET_DELTA, (self.count - 1).to_be_bytes());
        header::put(batch, field::BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        header::put(batch, field::MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        header::set_producer(batch, producer);
        header::put(batch, field::RECORD_COUNT, self.count.to_be_bytes());
        header::reseal(batch);
    }

    /// The measures of a record: its length prefix comes first, so they are needed before anything is written.
    fn body<'h>(
        &self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) -> Result<Body, BatchError> {
        let base = if self.is_empty() { timestamp_ms } else { self.base_timestamp };
        let timestamp_delta = timestamp_ms
            .checked_sub(base)
            .ok_or(BatchError::Malformed("a timestamp is too far from the first record's"))?;
        let mut header_count = 0_usize;
        let mut bytes = 1 + varint::size(timestamp_delta) + varint::size(i64::from(self.count));
        bytes += bytes_size(key) + bytes_size(value);
        for (name, value) in headers {
            header_count += 1;
            bytes += bytes_size(Some(name)) + bytes_size(value);
        }
        bytes += varint::size(header_count as i64);
        Ok(Body { bytes, timestamp_delta, header_count })
    }

    fn size_with_body(&self, body_bytes: usize) -> usize {
        self.size().max(HEADER_BYTES) + varint::size(body_bytes as i64) + body_bytes
    }
}

/// A record's measures.
struct Body {
    /// What the length prefix says.
    bytes: usize,
    timestamp_delta: i64,
    header_count: usize,
}

fn bytes_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len())
}

fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => varint::put(-1, out),
        Some(bytes) => {
            varint::put(bytes.len() as i64, out);
            out.extend_from_slice(bytes);
        }
    }
}
