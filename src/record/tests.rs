//! The room as a whole: what the builder makes, the others read.

use super::*;

type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

fn build(records: &[Owned], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (timestamp, key, value, headers) in records {
        let headers = headers.iter().map(|(name, value)| (name.as_slice(), value.as_deref()));
        let size = builder.size_with(*timestamp, key.as_deref(), value.as_deref(), headers.clone()).unwrap();
        builder.push(*timestamp, key.as_deref(), value.as_deref(), headers).unwrap();
        assert_eq!(builder.size(), size);
    }
    builder.finish(compression)
}

fn read(batch: &[u8]) -> Vec<Owned> {
    let (view, rest) = BatchView::parse(batch).unwrap();
    assert!(rest.is_empty());
    let payload = decompress(&view, &VerifyLimits::default()).unwrap();
    records(&view, &payload)
        .enumerate()
        .map(|(index, record)| {
            let record = record.unwrap();
            assert_eq!(record.offset, view.base_offset() + index as i64);
            let headers = record.headers.map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
            (record.timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers)
        })
        .collect()
}

fn telemetry(count: usize) -> Vec<Owned> {
    (0..count)
        .map(|index| {
            let value = format!("{{\"sensor\":\"boiler-{}\",\"celsius\":{}.5}}", index % 4, 60 + index % 7);
            let headers = vec![(b"unit".to_vec(), Some(b"C".to_vec())), (b"unit".to_vec(), None)];
            (
                1_700_000_000_000 + (index as i64 * 37) % 1_000,
                Some(b"device".to_vec()),
                Some(value.into_bytes()),
                headers,
            )
        })
        .collect()
}

#[test]
fn every_codec_round_trips() {
    let records = telemetry(2_000);
    let plain = build(&records, Compression::None);
    for compression in Compression::ALL {
        let batch = build(&records, compression);
        let (view, _) = BatchView::parse(&batch).unwrap();
        assert_eq!(view.attributes().compression(), Ok(compression));
        assert!(compression == Compression::None || batch.len() < plain.len() / 3, "{compression}: {}", batch.len());
        let facts = verify(&view, &VerifyLimits::default()).unwrap();
        assert_eq!(facts.record_count, 2_000);
        assert_eq!(facts.max_timestamp, view.max_timestamp());
        assert_eq!(facts.decompressed_bytes, (plain.len() - HEADER_BYTES) as u64);
        assert_eq!(read(&batch), records);
    }
}
