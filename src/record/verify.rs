//! Checks a batch whole, so that none can fail only at its last reader.
//!
//! The records come in a stream out of the decompressor and are walked through, never gathered: memory is what the
//! codec needs for its window plus one small buffer, whatever the batch decompresses to.

use std::ops::ControlFlow;

use super::walk::walk;
use super::{BatchError, BatchView, TimestampType};
use crate::limits;

/// What a batch may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyLimits {
    /// Largest batch, header included, as sent. Bytes.
    pub batch_bytes_max: usize,
    /// Largest size the records may decompress to. Bytes.
    pub decompressed_bytes_max: u64,
    /// Largest ratio of decompressed to compressed size. Doesn't bind what stays within `batch_bytes_max` decompressed, for
    /// that might have come uncompressed.
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
        let by_ratio = self.ratio_max.saturating_mul(compressed_bytes as u64);
        by_ratio.max(self.batch_bytes_max as u64).min(self.decompressed_bytes_max)
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
    /// Bytes of the largest record, uncompressed.
    pub largest_record: u64,
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
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    let (mut has_null_key, mut largest_record) = (false, 0);
    let decompressed_bytes = walk(view, limits, &mut |index, record| {
        if i64::from(record.offset_delta) != i64::from(index) {
            return Err(BatchError::Malformed("its offset deltas aren't 0, 1, 2 and so on"));
        }
        // With LogAppendTime nobody reads it now, but a forwarder that clears the bit will.
        let timestamp = record.create_time(view)?;
        min = min.min(timestamp);
        max = max.max(timestamp);
        has_null_key |= record.has_null_key;
        largest_record = largest_record.max(record.bytes);
        Ok(ControlFlow::Continue(()))
    })?;
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        (min, max) = (view.max_timestamp(), view.max_timestamp());
    }
    let (record_count, min_timestamp, max_timestamp) = (count, min, max);
    Ok(BatchFacts { record_count, min_timestamp, max_timestamp, decompressed_bytes, has_null_key, largest_record })
}

/// The first record whose timestamp `matches`: its offset and timestamp (ms since 1970). For lookups by time in a verified
/// batch; in a stream, as [`verify`].
pub fn find_by_timestamp(
    view: &BatchView<'_>,
    limits: &VerifyLimits,
    mut matches: impl FnMut(i64) -> bool,
) -> Result<Option<(i64, i64)>, BatchError> {
    let append_time = view.attributes().timestamp_type() == TimestampType::LogAppendTime;
    let mut found = None;
    walk(view, limits, &mut |_, record| {
        let timestamp = if append_time { view.max_timestamp() } else { record.create_time(view)? };
        if !matches(timestamp) {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some((view.base_offset().saturating_add(i64::from(record.offset_delta)), timestamp));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}
