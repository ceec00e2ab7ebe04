//! Batches taken apart and put together again, where they can't stay as they are. Pure; every damaged batch is an error.

use crate::record::{BatchBuilder, BatchError, BatchView, Compression, RecordRef, VerifyLimits, append_records_where};

/// A batch ready for a producer's header, and how many records it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Recoded {
    pub(in crate::uplink) bytes: Vec<u8>,
    pub(in crate::uplink) records: u32,
}

/// Why a batch can't be cut to size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum SplitError {
    /// It is a single record, of that many bytes as a batch.
    OneRecord(usize),
    /// It is damaged.
    Damaged(BatchError),
}

impl From<BatchError> for SplitError {
    fn from(error: BatchError) -> Self {
        Self::Damaged(error)
    }
}

/// Limits for batches from the own store: verified when they came in, perhaps under a larger `max.message.bytes`.
pub(in crate::uplink) fn stored_limits() -> VerifyLimits {
    VerifyLimits { batch_bytes_max: crate::limits::BATCH_BYTES_MAX, ..VerifyLimits::default() }
}

/// Takes the records out of `builder`; `None` if there are none.
pub(in crate::uplink) fn finish(builder: &mut BatchBuilder, compression: Compression) -> Option<Recoded> {
    let records = builder.record_count();
    (records > 0).then(|| Recoded { bytes: builder.finish(compression), records })
}

/// The records that `keep` wants, as a batch of their own; `None` if it wants none.
///
/// # Errors
/// What is wrong with the batch.
pub(in crate::uplink) fn filter(
    batch: &[u8],
    compression: Compression,
    keep: impl FnMut(&RecordRef<'_>) -> bool,
) -> Result<Option<Recoded>, BatchError> {
    let mut builder = BatchBuilder::new();
    let (view, _) = BatchView::parse(batch)?;
    append_records_where(&view, &stored_limits(), &mut builder, keep)?;
    Ok(finish(&mut builder, compression))
}

/// Two batches of about half the records each.
///
/// # Errors
/// [`SplitError::OneRecord`], or what is wrong with the batch.
pub(in crate::uplink) fn halve(batch: &[u8], compression: Compression) -> Result<[Recoded; 2], SplitError> {
    let (view, _) = BatchView::parse(batch)?;
    let half = view.record_count() / 2;
    let mut at = 0;
    let first = filter(batch, compression, |_| {
        at += 1;
        at <= half
    })?;
    let mut at = 0;
    let second = filter(batch, compression, |_| {
        at += 1;
        at > half
    })?;
    match (first, second) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err(SplitError::OneRecord(batch.len())),
    }
}

/// The batch in pieces of at most `bytes_max` each, in order.
///
/// # Errors
/// As [`halve`].
pub(in crate::uplink) fn split_to_fit(
    batch: Vec<u8>,
    records: u32,
    bytes_max: usize,
    compression: Compression,
) -> Result<Vec<Recoded>, SplitError> {
    let mut fitting = Vec::new();
    let mut waiting = vec![Recoded { bytes: batch, records }];
    while let Some(next) = waiting.pop() {
        if next.bytes.len() <= bytes_max {
            fitting.push(next);
        } else {
            let [first, second] = halve(&next.bytes, compression)?;
            waiting.extend([second, first]);
        }
    }
    Ok(fitting)
}

#[cfg(test)]
pub(in crate::uplink) mod tests {
    use super::*;
    use crate::record::{NO_HEADERS, decompress, records};

    /// A batch of these values, keyed by themselves, with their number as timestamp, from `base_offset` on.
    pub(in crate::uplink) fn batch_of(values: &[&str], base_offset: i64, compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for (at, value) in values.iter().enumerate() {
            builder.push(at as i64, Some(value.as_bytes()), Some(value.as_bytes()), NO_HEADERS).unwrap();
        }
        let mut batch = builder.finish(compression);
        crate::record::header::set_base_offset(&mut batch, base_offset);
        batch
    }

    /// The values of a batch, in order.
    pub(in crate::uplink) fn values_of(batch: &[u8]) -> Vec<String> {
        let (view, rest) = BatchView::parse(batch).unwrap();
        assert!(rest.is_empty() && view.crc_matches());
        let payload = decompress(&view, &stored_limits()).unwrap();
        let text = |r: RecordRef<'_>| String::from_utf8(r.value.unwrap().to_vec()).unwrap();
        records(&view, &payload).map(|r| text(r.unwrap())).collect()
    }

    #[test]
    fn pieces_fit_keep_order_and_lose_nothing() {
        let values: Vec<String> = (0..37).map(|i| format!("value-{i}-{}", "x".repeat(i))).collect();
        let refs: Vec<&str> = values.iter().map(String::as_str).collect();
        for compression in Compression::ALL {
            let pieces = split_to_fit(batch_of(&refs, 100, compression), 37, 300, compression).unwrap();
            assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.bytes.len() <= 300));
            assert_eq!(pieces.iter().map(|piece| piece.records).sum::<u32>(), 37);
            let together: Vec<String> = pieces.iter().flat_map(|piece| values_of(&piece.bytes)).collect();
            assert_eq!(together, values);
        }
    }

    #[test]
    fn a_record_can_not_be_cut_and_damage_is_told() {
        let mut one = batch_of(&["only"], 0, Compression::None);
        assert_eq!(halve(&one, Compression::None), Err(SplitError::OneRecord(one.len())));
        *one.last_mut().unwrap() ^= 1;
        assert!(matches!(halve(&one, Compression::None), Err(SplitError::Damaged(BatchError::Crc { .. }))));
    }
}
