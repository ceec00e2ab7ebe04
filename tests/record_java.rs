//! Record batches as Apache Kafka's own producer classes write them (`tests/record_batches`, written by
//! `MemoryRecordsBuilder` of kafka-clients 4.3.1, each codec at its default level).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

use brooklet::record::{
    BatchBuilder, BatchView, Compression, Producer, VerifyLimits, append_records, decompress, header, records, verify,
};

const BATCHES: [(Compression, &[u8]); 5] = [
    (Compression::None, include_bytes!("record_batches/kafka-4.3.1-none.bin")),
    (Compression::Gzip, include_bytes!("record_batches/kafka-4.3.1-gzip.bin")),
    (Compression::Snappy, include_bytes!("record_batches/kafka-4.3.1-snappy.bin")),
    (Compression::Lz4, include_bytes!("record_batches/kafka-4.3.1-lz4.bin")),
    (Compression::Zstd, include_bytes!("record_batches/kafka-4.3.1-zstd.bin")),
];
const RECORDS: i64 = 60;

#[test]
fn every_codec_of_java_is_read() {
    for (compression, batch) in BATCHES {
        let (view, rest) = BatchView::parse(batch).unwrap();
        assert!(rest.is_empty());
        assert_eq!(view.attributes().compression(), Ok(compression));
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (4_711, 3, 1_000));
        let facts = verify(&view, &VerifyLimits::default()).unwrap();
        assert_eq!(i64::from(facts.record_count), RECORDS);
        assert_eq!(facts.max_timestamp, view.max_timestamp());

        let payload = decompress(&view, &VerifyLimits::default()).unwrap();
        let records: Vec<_> = records(&view, &payload).map(Result::unwrap).collect();
        assert_eq!(records.len() as i64, RECORDS);
        for (index, record) in (0..).zip(records) {
            assert_eq!(record.offset, index);
            assert_eq!(record.timestamp, 1_700_000_000_000 + (index * 37) % 1_000);
            let key = (index % 5 != 0).then(|| format!("key-{}", index % 7));
            assert_eq!(record.key, key.as_deref().map(str::as_bytes));
            let value = format!("{{\"celsius\":{}.{},\"seq\":{index}}}", 20 + index % 7, index % 10);
            assert_eq!(record.value, (index % 9 != 0).then_some(value.as_bytes()));
            let expected: &[(&[u8], Option<&[u8]>)] =
                if index % 3 == 0 { &[(b"unit", Some(b"C")), (b"unit", None)] } else { &[] };
            assert_eq!(record.headers.collect::<Vec<_>>(), expected);
        }
    }
}

/// Our encoding of the same records is the same to the byte.
#[test]
fn records_are_encoded_as_java_does() {
    let java = BATCHES[0].1;
    for (compression, batch) in BATCHES {
        let mut builder = BatchBuilder::new();
        let (view, _) = BatchView::parse(batch).unwrap();
        append_records(&view, &VerifyLimits::default(), &mut builder).unwrap();
        let producer = Producer { id: 4_711, epoch: 3, base_sequence: 1_000 };
        assert_eq!(builder.finish_with(Compression::None, producer), java, "{compression}");
    }
}

#[test]
fn forwarding_leaves_the_payload() {
    for (_, batch) in BATCHES {
        let mut forwarded = batch.to_vec();
        let producer = Producer { id: 1, epoch: 0, base_sequence: 0 };
        header::rewrite_for_forward(&mut forwarded, producer, false).unwrap();
        let (view, _) = BatchView::parse(&forwarded).unwrap();
        assert!(view.crc_matches());
        assert_eq!(view.payload(), &batch[61..]);
    }
}
