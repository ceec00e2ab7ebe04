//! Batches taken apart and put together again, where they can't stay as they are. Pure; every damaged batch is an error.

use super::origins::Origins;
use crate::record::{BatchBuilder, BatchError, BatchView, Compression, VerifyLimits, append_records_where};

/// A batch ready for a producer's header, how many records it has, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Recoded {
    pub(in crate::uplink) bytes: Vec<u8>,
    pub(in crate::uplink) records: u32,
    pub(in crate::uplink) origins: Origins,
}

/// A piece of a batch that was cut to size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Piece {
    Fits(Recoded),
    /// A single record, which is too large even alone.
    TooLarge(Recoded),
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

/// The records whose place in the batch `keep` wants, as a batch of their own; `None` if it wants none.
///
/// # Errors
/// What is wrong with the batch.
pub(in crate::uplink) fn filter(
    batch: &[u8],
    origins: &Origins,
    compression: Compression,
    keep: impl Fn(u32) -> bool,
) -> Result<Option<Recoded>, BatchError> {
    let mut builder = BatchBuilder::new();
    let (view, _) = BatchView::parse(batch)?;
    let mut at = 0;
    append_records_where(&view, &stored_limits(), &mut builder, |_| {
        at += 1;
        keep(at - 1)
    })?;
    let records = builder.record_count();
    let origins = origins.filter(keep);
    Ok((records > 0).then(|| Recoded { bytes: builder.finish(compression), records, origins }))
}

/// Two batches of about half the records each.
///
/// # Errors
/// [`SplitError::OneRecord`], or what is wrong with the batch.
pub(in crate::uplink) fn halve(
    batch: &[u8],
    origins: &Origins,
    compression: Compression,
) -> Result<[Recoded; 2], SplitError> {
    let (view, _) = BatchView::parse(batch)?;
    let half = view.record_count() / 2;
    let first = filter(batch, origins, compression, |at| at < half)?;
    let second = filter(batch, origins, compression, |at| at >= half)?;
    match (first, second) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err(SplitError::OneRecord(batch.len())),
    }
}

/// The batch in pieces of at most `bytes_max` each, in order, with the records that are larger than that in between.
///
/// # Errors
/// What is wrong with the batch.
pub(in crate::uplink) fn split_to_fit(
    batch: Recoded,
    bytes_max: usize,
    compression: Compression,
) -> Result<Vec<Piece>, BatchError> {
    let mut pieces = Vec::new();
    let mut waiting = vec![batch];
    while let Some(next) = waiting.pop() {
        if next.bytes.len() <= bytes_max {
            pieces.push(Piece::Fits(next));
            continue;
        }
        match halve(&next.bytes, &next.origins, compression) {
            Ok([first, second]) => waiting.extend([second, first]),
            // Another codec may yet help; then it is no larger than upstream takes.
            Err(SplitError::OneRecord(_)) => match filter(&next.bytes, &next.origins, compression, |_| true)? {
                Some(again) if again.bytes.len() <= bytes_max => pieces.push(Piece::Fits(again)),
                _ => pieces.push(Piece::TooLarge(next)),
            },
            Err(SplitError::Damaged(error)) => return Err(error),
        }
    }
    Ok(pieces)
}

#[cfg(test)]
pub(in crate::uplink) mod tests {
    use super::*;
    use crate::record::{NO_HEADERS, RecordRef, decompress, records};
    use crate::store::PartitionId;

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

    /// A batch with offsets of partition 1, from 100 on.
    fn recoded(values: &[&str], compression: Compression) -> Recoded {
        let records = values.len() as u32;
        let origins = Origins::run(PartitionId(1), 100, records);
        Recoded { bytes: batch_of(values, 100, compression), records, origins }
    }

    fn offsets(recoded: &Recoded) -> Vec<i64> {
        recoded.origins.iter().map(|(_, offset)| offset).collect()
    }

    #[test]
    fn pieces_fit_keep_order_and_lose_nothing() {
        let noise = |n: usize| -> String {
            let mut seed = fastrand::Rng::with_seed(n as u64);
            (0..900).map(|_| seed.alphanumeric()).collect()
        };
        let values: Vec<String> =
            (0..37).map(|i| if i % 9 == 4 { noise(i) } else { format!("value-{i}-{}", "x".repeat(i)) }).collect();
        let refs: Vec<&str> = values.iter().map(String::as_str).collect();
        for compression in Compression::ALL {
            let pieces = split_to_fit(recoded(&refs, compression), 300, compression).unwrap();
            let mut together = Vec::new();
            for piece in &pieces {
                let (Piece::Fits(part) | Piece::TooLarge(part)) = piece;
                together.extend(values_of(&part.bytes).into_iter().zip(offsets(part)));
                match piece {
                    Piece::Fits(part) => assert!(part.bytes.len() <= 300),
                    Piece::TooLarge(part) => assert_eq!((part.records, (offsets(part)[0] - 100) % 9), (1, 4)),
                }
            }
            let expected: Vec<(String, i64)> = values.iter().cloned().zip(100..).collect();
            assert_eq!(together, expected);
            assert_eq!(pieces.iter().filter(|piece| matches!(piece, Piece::TooLarge(_))).count(), 4);
        }
    }

    #[test]
    fn a_record_that_another_codec_makes_fit_is_not_too_large() {
        let long = "x".repeat(1_000);
        let pieces = split_to_fit(recoded(&[&long], Compression::None), 300, Compression::Gzip).unwrap();
        assert!(matches!(pieces.as_slice(), [Piece::Fits(_)]));
    }

    #[test]
    fn a_record_can_not_be_cut_and_damage_is_told() {
        let mut one = recoded(&["only"], Compression::None);
        let halved = |one: &Recoded| halve(&one.bytes, &one.origins, Compression::None);
        assert_eq!(halved(&one), Err(SplitError::OneRecord(one.bytes.len())));
        *one.bytes.last_mut().unwrap() ^= 1;
        assert!(matches!(halved(&one), Err(SplitError::Damaged(BatchError::Crc { .. }))));
        assert!(matches!(split_to_fit(one, 10, Compression::None), Err(BatchError::Crc { .. })));
    }
}
