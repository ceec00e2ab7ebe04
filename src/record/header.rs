//! Patches of a batch's header in place. Each says what it does about the CRC.
//!
//! The batches handed in are whole ones: built here, or parsed before. A slice shorter than a header is left as it is.

use std::ops::Range;

use super::batch::{BatchView, compute_crc, field};
use super::{Attributes, BatchError, Producer};

/// Sets the offset of the first record. Outside the CRC.
pub fn set_base_offset(batch: &mut [u8], offset: i64) {
    put(batch, field::BASE_OFFSET, offset.to_be_bytes());
}

/// Sets the epoch of the leader that appends the batch. Outside the CRC.
pub fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    put(batch, field::LEADER_EPOCH, epoch.to_be_bytes());
}

/// Makes the time of the append the timestamp of every record. **Recomputes the CRC**: for verified batches only.
pub fn set_log_append_time(batch: &mut [u8], timestamp_ms: i64) {
    let attributes = attributes(batch) | Attributes::LOG_APPEND_TIME;
    put(batch, field::ATTRIBUTES, attributes.to_be_bytes());
    put(batch, field::MAX_TIMESTAMP, timestamp_ms.to_be_bytes());
    reseal(batch);
}

/// Sets the largest timestamp, where a producer left it out (see [`BatchFacts`](super::BatchFacts)). **Recomputes the CRC**:
/// for verified batches only.
pub fn set_max_timestamp(batch: &mut [u8], timestamp_ms: i64) {
    put(batch, field::MAX_TIMESTAMP, timestamp_ms.to_be_bytes());
    reseal(batch);
}

/// Moves all timestamps by `delta_ms`, without touching the records: they count from the base timestamp. Verifies the old
/// CRC first, then writes the new one.
///
/// # Errors
/// [`BatchError::Crc`] if the batch is damaged, [`BatchError::Malformed`] if a timestamp would overflow. Nothing is changed
/// then.
pub fn shift_timestamps(batch: &mut [u8], delta_ms: i64) -> Result<(), BatchError> {
    let view = undamaged(batch)?;
    let overflow = BatchError::Malformed("its timestamps overflow");
    let base = view.base_timestamp().checked_add(delta_ms).ok_or(overflow)?;
    let max = view.max_timestamp().checked_add(delta_ms).ok_or(overflow)?;
    put(batch, field::BASE_TIMESTAMP, base.to_be_bytes());
    put(batch, field::MAX_TIMESTAMP, max.to_be_bytes());
    reseal(batch);
    Ok(())
}

/// Moves the timestamps that the gateway set by `delta_ms`: all of them, or with
/// [`LogAppendTime`](super::TimestampType) the time of the append only, as the rest is its producer's. Verifies the old CRC
/// first, then writes the new one.
///
/// # Errors
/// As [`shift_timestamps`].
pub fn correct_stamps(batch: &mut [u8], delta_ms: i64) -> Result<(), BatchError> {
    let view = undamaged(batch)?;
    if view.attributes().timestamp_type() != super::TimestampType::LogAppendTime {
        return shift_timestamps(batch, delta_ms);
    }
    let max = view.max_timestamp().checked_add(delta_ms);
    let max = max.ok_or(BatchError::Malformed("its timestamps overflow"))?;
    set_max_timestamp(batch, max);
    Ok(())
}

/// Makes a stored batch one that a producer sends to another cluster: base offset 0, no leader epoch, this producer, and no
/// marks that only a broker may set. The records stay as they are. Verifies the old CRC first, then writes the new one.
///
/// A batch with [`LogAppendTime`](super::TimestampType) gets its producers' timestamps back; its `maxTimestamp` stays the
/// time of the append, which the receiving broker corrects.
///
/// # Errors
/// [`BatchError::Crc`] if the batch is damaged; [`BatchError::Control`] if it holds transaction markers, which would
/// turn into data. Nothing is changed then.
pub fn rewrite_for_forward(batch: &mut [u8], producer: Producer, transactional: bool) -> Result<(), BatchError> {
    let view = undamaged(batch)?;
    if view.attributes().is_control() {
        return Err(BatchError::Control);
    }
    let mut attributes = view.attributes().0 & Attributes::COMPRESSION;
    if transactional {
        attributes |= Attributes::TRANSACTIONAL;
    }
    set_base_offset(batch, 0);
    set_leader_epoch(batch, -1);
    put(batch, field::ATTRIBUTES, attributes.to_be_bytes());
    set_producer(batch, producer);
    reseal(batch);
    Ok(())
}

pub(super) fn set_producer(batch: &mut [u8], producer: Producer) {
    put(batch, field::PRODUCER_ID, producer.id.to_be_bytes());
    put(batch, field::PRODUCER_EPOCH, producer.epoch.to_be_bytes());
    put(batch, field::BASE_SEQUENCE, producer.base_sequence.to_be_bytes());
}

/// Writes the CRC that belongs to the bytes as they are.
pub(super) fn reseal(batch: &mut [u8]) {
    let crc = compute_crc(batch);
    put(batch, field::CRC, crc.to_be_bytes());
}

pub(super) fn put<const N: usize>(batch: &mut [u8], field: Range<usize>, bytes: [u8; N]) {
    debug_assert_eq!(field.len(), N);
    if let Some(slot) = batch.get_mut(field) {
        slot.copy_from_slice(&bytes);
    }
}

/// Exactly one batch, its CRC verified.
fn undamaged(batch: &[u8]) -> Result<BatchView<'_>, BatchError> {
    let (view, rest) = BatchView::parse(batch)?;
    if !rest.is_empty() {
        return Err(BatchError::Malformed("other bytes follow it"));
    }
    view.check_crc()?;
    Ok(view)
}

fn attributes(batch: &[u8]) -> i16 {
    batch.get(field::ATTRIBUTES).and_then(<[u8]>::first_chunk).map_or(0, |bytes| i16::from_be_bytes(*bytes))
}
