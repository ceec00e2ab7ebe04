//! Puts the payload of a batch into another codec, and leaves all else of it as it is: producer, epoch and sequence,
//! timestamps, offsets, marks. So a batch stays one batch, and a resend of it is still recognised.

use super::batch::field;
use super::{Attributes, BatchError, BatchView, Compression, HEADER_BYTES, VerifyLimits, codec, decompress, header};

/// The batch with its records compressed by `to`; `None` where it is so already. Compressed records that come out no
/// smaller stay uncompressed. What it decompresses to is held in memory: `limits` bounds it.
///
/// The batch is taken for verified, but for its CRC, which is checked here because the new one would hide damage.
///
/// # Errors
/// [`BatchError::Crc`] if it is damaged; what its codec says, or [`BatchError::TooLarge`] beyond `limits`.
pub fn recompress(view: &BatchView<'_>, to: Compression, limits: &VerifyLimits) -> Result<Option<Vec<u8>>, BatchError> {
    let before = view.attributes().compression().map_err(BatchError::UnknownCompression)?;
    if before == to {
        return Ok(None);
    }
    view.check_crc()?;
    let payload = decompress(view, limits)?;
    let mut batch = view.bytes().get(..HEADER_BYTES).unwrap_or_default().to_vec();
    let mut used = Compression::None;
    if to != Compression::None {
        let compressed = codec::compress(to, codec::Saving::Bytes, &payload, &mut batch).is_some();
        if compressed && batch.len() - HEADER_BYTES < payload.len() {
            used = to;
        } else {
            batch.truncate(HEADER_BYTES);
        }
    }
    if used == Compression::None {
        if before == Compression::None {
            return Ok(None);
        }
        batch.extend_from_slice(&payload);
    }
    let length = batch.len().saturating_sub(field::LENGTH_FROM) as i32;
    header::put(&mut batch, field::LENGTH, length.to_be_bytes());
    let attributes = (view.attributes().0 & !Attributes::COMPRESSION) | used as i16;
    header::put(&mut batch, field::ATTRIBUTES, attributes.to_be_bytes());
    header::reseal(&mut batch);
    Ok(Some(batch))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, NO_HEADERS, Producer, records, verify};

    fn batch(codec: Compression, values: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for i in 0..values {
            let value = format!("{{\"sensor\":\"boiler-{}\",\"value\":{i}}}", i % 7);
            builder.push(1_700_000_000_000 + i as i64, Some(b"key"), Some(value.as_bytes()), NO_HEADERS).unwrap();
        }
        let producer = Producer { id: 77, epoch: 3, base_sequence: 41 };
        builder.finish_with(codec, producer)
    }

    fn content(view: &BatchView<'_>) -> Vec<(i64, i64, Vec<u8>)> {
        let payload = decompress(view, &VerifyLimits::default()).unwrap();
        let all = records(view, &payload).map(|r| r.map(|r| (r.offset, r.timestamp, r.value.unwrap().to_vec())));
        all.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn every_codec_to_every_other_keeps_all_but_the_payload() {
        for from in Compression::ALL {
            for to in Compression::ALL {
                let before = batch(from, 200);
                let (view, _) = BatchView::parse(&before).unwrap();
                let again = recompress(&view, to, &VerifyLimits::default()).unwrap();
                assert_eq!(again.is_none(), from == to);
                let Some(after) = again else { continue };
                let (changed, rest) = BatchView::parse(&after).unwrap();
                assert!(rest.is_empty());
                assert_eq!(changed.attributes().compression(), Ok(to));
                assert_eq!(verify(&changed, &VerifyLimits::default()).unwrap().record_count, 200);
                assert_eq!(content(&changed), content(&view));
                assert_eq!(
                    (changed.producer_id(), changed.producer_epoch(), changed.base_sequence()),
                    (77, 3, 41),
                    "{from} to {to}"
                );
                assert_eq!(
                    (changed.base_timestamp(), changed.max_timestamp(), changed.last_offset_delta()),
                    (view.base_timestamp(), view.max_timestamp(), view.last_offset_delta())
                );
            }
        }
    }

    #[test]
    fn what_does_not_compress_stays_and_damage_gets_no_fresh_checksum() {
        let small = batch(Compression::None, 1);
        let (view, _) = BatchView::parse(&small).unwrap();
        assert_eq!(recompress(&view, Compression::Gzip, &VerifyLimits::default()), Ok(None));

        let mut damaged = batch(Compression::Gzip, 200);
        let last = damaged.len() - 9;
        damaged[last] ^= 1;
        let (view, _) = BatchView::parse(&damaged).unwrap();
        let refused = recompress(&view, Compression::Lz4, &VerifyLimits::default());
        assert!(matches!(refused, Err(BatchError::Crc { .. })), "{refused:?}");
    }

    #[test]
    fn what_decompresses_to_more_than_allowed_is_refused() {
        let mut builder = BatchBuilder::new();
        builder.push(1, None, Some(&vec![0; 200_000]), NO_HEADERS).unwrap();
        let zeros = builder.finish(Compression::Gzip);
        let (view, _) = BatchView::parse(&zeros).unwrap();
        let limits =
            VerifyLimits { batch_bytes_max: 1_000, decompressed_bytes_max: 100_000, ..VerifyLimits::default() };
        assert!(recompress(&view, Compression::Lz4, &limits).is_err());
    }
}
