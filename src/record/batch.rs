//! A zero-copy view over exactly one batch.
//!
//! | bytes | field | in the CRC |
//! |---|---|---|
//! | 0..8 | baseOffset | no |
//! | 8..12 | batchLength: bytes that follow it | no |
//! | 12..16 | partitionLeaderEpoch | no |
//! | 16 | magic: 2 | no |
//! | 17..21 | crc: CRC-32C of byte 21 to the end | no |
//! | 21..23 | attributes | yes |
//! | 23..27 | lastOffsetDelta | yes |
//! | 27..35 | baseTimestamp, ms since 1970 | yes |
//! | 35..43 | maxTimestamp, ms since 1970 | yes |
//! | 43..51 | producerId | yes |
//! | 51..53 | producerEpoch | yes |
//! | 53..57 | baseSequence | yes |
//! | 57..61 | recordCount | yes |
//! | 61.. | records, compressed as the attributes say | yes |
//!
//! All integers are big-endian (KIP-98).

use std::ops::Range;

use super::{Attributes, BatchError};

/// Bytes of a batch's header; no batch is shorter.
pub const HEADER_BYTES: usize = 61;

pub(super) mod field {
    use std::ops::Range;

    pub(in crate::record) const BASE_OFFSET: Range<usize> = 0..8;
    pub(in crate::record) const LENGTH: Range<usize> = 8..12;
    pub(in crate::record) const LEADER_EPOCH: Range<usize> = 12..16;
    pub(in crate::record) const MAGIC: Range<usize> = 16..17;
    pub(in crate::record) const CRC: Range<usize> = 17..21;
    pub(in crate::record) const ATTRIBUTES: Range<usize> = 21..23;
    pub(in crate::record) const LAST_OFFSET_DELTA: Range<usize> = 23..27;
    pub(in crate::record) const BASE_TIMESTAMP: Range<usize> = 27..35;
    pub(in crate::record) const MAX_TIMESTAMP: Range<usize> = 35..43;
    pub(in crate::record) const PRODUCER_ID: Range<usize> = 43..51;
    pub(in crate::record) const PRODUCER_EPOCH: Range<usize> = 51..53;
    pub(in crate::record) const BASE_SEQUENCE: Range<usize> = 53..57;
    pub(in crate::record) const RECORD_COUNT: Range<usize> = 57..61;
    /// The first byte under the CRC.
    pub(in crate::record) const CRC_FROM: usize = ATTRIBUTES.start;
    /// The first byte that batchLength counts.
    pub(in crate::record) const LENGTH_FROM: usize = LENGTH.end;
}

/// One whole batch of version 2.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    /// At least [`HEADER_BYTES`], as many as batchLength says.
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Takes the first batch of `bytes`, and gives what follows it. Checks the structure only (magic, length, counts that
    /// aren't negative, offsets that don't overflow), neither checksum nor records: for these see [`verify`](super::verify()).
    pub fn parse(bytes: &'a [u8]) -> Result<(BatchView<'a>, &'a [u8]), BatchError> {
        // The magic stands at the same place in every format, so that an old client gets the right answer.
        let magic = i8::from_be_bytes(array(bytes.get(field::MAGIC).ok_or(BatchError::Truncated)?, 0..1));
        if magic != 2 {
            return Err(BatchError::Magic(magic));
        }
        let length = i32::from_be_bytes(array(bytes, field::LENGTH));
        let length = usize::try_from(length).map_err(|_| BatchError::Malformed("its length is negative"))?;
        let length = length.saturating_add(field::LENGTH_FROM);
        if length < HEADER_BYTES {
            return Err(BatchError::Malformed("its length is less than that of a header"));
        }
        let (bytes, rest) = bytes.split_at_checked(length).ok_or(BatchError::Truncated)?;
        let view = BatchView { bytes };
        if view.record_count_raw() < 0 {
            return Err(BatchError::Malformed("its record count is negative"));
        }
        if view.last_offset_delta() < 0 {
            return Err(BatchError::Malformed("its last offset delta is negative"));
        }
        // Room for the next offset too.
        if view.base_offset().checked_add(i64::from(view.last_offset_delta()) + 1).is_none() {
            return Err(BatchError::Malformed("its offsets overflow"));
        }
        Ok((view, rest))
    }

    /// The whole batch.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The offset of the first record.
    pub fn base_offset(&self) -> i64 {
        i64::from_be_bytes(array(self.bytes, field::BASE_OFFSET))
    }

    /// The epoch of the leader that appended the batch; -1: not appended yet.
    pub fn leader_epoch(&self) -> i32 {
        i32::from_be_bytes(array(self.bytes, field::LEADER_EPOCH))
    }

    /// The stored checksum.
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(array(self.bytes, field::CRC))
    }

    /// The attributes.
    pub fn attributes(&self) -> Attributes {
        Attributes(i16::from_be_bytes(array(self.bytes, field::ATTRIBUTES)))
    }

    /// The last offset less the base offset; never negative.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(array(self.bytes, field::LAST_OFFSET_DELTA))
    }

    /// What the records' timestamp deltas count from, ms since 1970.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(array(self.bytes, field::BASE_TIMESTAMP))
    }

    /// The largest timestamp as its producer says, or the time of the append; ms since 1970.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(array(self.bytes, field::MAX_TIMESTAMP))
    }

    /// The idempotent producer's id; -1: none.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(array(self.bytes, field::PRODUCER_ID))
    }

    /// The idempotent producer's epoch; -1: none.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(array(self.bytes, field::PRODUCER_EPOCH))
    }

    /// The sequence of the first record; -1: none.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(array(self.bytes, field::BASE_SEQUENCE))
    }

    /// How many records the header claims.
    pub fn record_count(&self) -> u32 {
        self.record_count_raw() as u32
    }

    /// The records, as they are: compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    /// The offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.last_offset_delta())
    }

    /// The offset after the last one.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Whether the bytes are those that were checksummed.
    pub fn crc_matches(&self) -> bool {
        self.check_crc().is_ok()
    }

    pub(super) fn check_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.crc(), compute_crc(self.bytes));
        if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    fn record_count_raw(&self) -> i32 {
        i32::from_be_bytes(array(self.bytes, field::RECORD_COUNT))
    }
}

/// The checksum that belongs to `batch`.
pub(super) fn compute_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(field::CRC_FROM..).unwrap_or_default())
}

/// A field as an array. Zeros if it isn't there, which no caller here meets: they hold whole headers.
fn array<const N: usize>(bytes: &[u8], field: Range<usize>) -> [u8; N] {
    bytes.get(field).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}
