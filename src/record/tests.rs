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
fn what_saves_time_is_the_same_to_read() {
    let records = telemetry(2_000);
    let mut builder = BatchBuilder::new();
    builder.save_first(Saving::Time);
    for (timestamp, key, value, _) in &records {
        builder.push(*timestamp, key.as_deref(), value.as_deref(), NO_HEADERS).unwrap();
    }
    let quick = builder.finish(Compression::Gzip);
    let plain: Vec<Owned> = records.into_iter().map(|(time, key, value, _)| (time, key, value, Vec::new())).collect();
    assert_eq!(read(&quick), plain);
    assert!(quick.len() > build(&plain, Compression::Gzip).len());
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

/// Three records, written out by hand from the specification: with a header; with null key and value and an earlier
/// timestamp; with empty key, value and header name, and a null header value.
const GOLDEN: &str = "0000000000000000 00000055 ffffffff 02 1b5d65ff 0000 00000002 0000018bcfe56800 0000018bcfe5692c \
    ffffffffffffffff ffff ffffffff 00000003 \
    24 00 00 00 026b 0832312e35 02 08756e6974 0243 \
    0c 00 09 02 01 01 00 \
    12 00 d804 04 00 00 02 00 01";

fn golden_records() -> Vec<Owned> {
    let base = 1_700_000_000_000;
    vec![
        (base, Some(b"k".to_vec()), Some(b"21.5".to_vec()), vec![(b"unit".to_vec(), Some(b"C".to_vec()))]),
        (base - 5, None, None, vec![]),
        (base + 300, Some(vec![]), Some(vec![]), vec![(vec![], None)]),
    ]
}

fn golden() -> Vec<u8> {
    let digits: Vec<u8> = GOLDEN.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn golden_bytes() {
    assert_eq!(build(&golden_records(), Compression::None), golden());
    assert_eq!(read(&golden()), golden_records());
    let batch = golden();
    let (view, _) = BatchView::parse(&batch).unwrap();
    assert_eq!((view.base_offset(), view.next_offset(), view.leader_epoch()), (0, 3, -1));
    assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (-1, -1, -1));
    assert_eq!((view.base_timestamp(), view.max_timestamp()), (1_700_000_000_000, 1_700_000_000_300));
    let facts = verify(&view, &VerifyLimits::default()).unwrap();
    assert_eq!((facts.record_count, facts.decompressed_bytes), (3, 36));
    assert_eq!((facts.min_timestamp, facts.max_timestamp), (1_699_999_999_995, 1_700_000_000_300));
    assert!(facts.has_null_key);
}

#[test]
fn one_builder_gives_many_batches() {
    let mut builder = BatchBuilder::new();
    assert_eq!(builder.size(), 0);
    assert!(builder.finish(Compression::Lz4).is_empty());
    assert!(builder.seal(Producer::NONE).is_empty());
    for timestamp in [7, -3, i64::MAX] {
        builder.push(timestamp, None, Some(b"v"), NO_HEADERS).unwrap();
        let sealed = builder.seal(Producer::NONE).to_vec();
        assert_eq!(sealed.len(), builder.size());
        assert_eq!(builder.max_timestamp(), Some(timestamp));
        // Not worth compressing.
        assert_eq!(builder.finish(Compression::Zstd), sealed);
        assert!(builder.is_empty() && builder.max_timestamp().is_none());
        assert_eq!(read(&sealed), vec![(timestamp, None, Some(b"v".to_vec()), vec![])]);
    }
    let producer = Producer { id: 4_000, epoch: 7, base_sequence: i32::MAX };
    builder.push(1, None, None, NO_HEADERS).unwrap();
    let mut out = b"before".to_vec();
    builder.finish_into(Compression::Gzip, producer, &mut out);
    let (view, _) = BatchView::parse(&out[6..]).unwrap();
    assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (4_000, 7, i32::MAX));
    assert!(view.crc_matches());
}

#[test]
fn timestamps_too_far_apart_are_refused_and_leave_the_builder_as_it_was() {
    let mut builder = BatchBuilder::new();
    builder.push(i64::MIN, None, None, NO_HEADERS).unwrap();
    let size = builder.size();
    assert!(builder.push(0, None, None, NO_HEADERS).is_err());
    assert_eq!((builder.size(), builder.record_count()), (size, 1));
    builder.push(-1, None, None, NO_HEADERS).unwrap();
    let batch = builder.finish(Compression::None);
    assert_eq!(read(&batch).iter().map(|record| record.0).collect::<Vec<_>>(), [i64::MIN, -1]);
}

#[test]
fn patches_outside_the_crc() {
    let mut batch = golden();
    header::set_base_offset(&mut batch, 1 << 40);
    header::set_leader_epoch(&mut batch, 17);
    let (view, _) = BatchView::parse(&batch).unwrap();
    assert_eq!((view.base_offset(), view.leader_epoch(), view.next_offset()), (1 << 40, 17, (1 << 40) + 3));
    assert!(view.crc_matches());
    header::set_base_offset(&mut [1, 2, 3], 5);
}

#[test]
fn log_append_time_holds_for_every_record() {
    let mut batch = golden();
    header::set_log_append_time(&mut batch, 42);
    let (view, _) = BatchView::parse(&batch).unwrap();
    assert_eq!(view.attributes().timestamp_type(), TimestampType::LogAppendTime);
    let facts = verify(&view, &VerifyLimits::default()).unwrap();
    assert_eq!((facts.min_timestamp, facts.max_timestamp), (42, 42));
    assert!(read(&batch).iter().all(|record| record.0 == 42));
}

#[test]
fn forwarding_keeps_the_records_and_refuses_damage() {
    let producer = Producer { id: 9, epoch: 2, base_sequence: 100 };
    let records = telemetry(100);
    for compression in Compression::ALL {
        let original = build(&records, compression);
        let mut batch = original.clone();
        header::set_base_offset(&mut batch, 500);
        header::set_leader_epoch(&mut batch, 3);
        // As a broker may have left it: delete horizon set.
        batch[22] |= 0x40;
        header::reseal(&mut batch);
        header::rewrite_for_forward(&mut batch, producer, true).unwrap();
        let (view, _) = BatchView::parse(&batch).unwrap();
        assert_eq!(view.payload(), &original[HEADER_BYTES..]);
        assert_eq!(view.attributes(), Attributes(compression as i16 | 0x10));
        assert_eq!((view.base_offset(), view.leader_epoch()), (0, -1));
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (9, 2, 100));
        verify(&view, &VerifyLimits::default()).unwrap();

        let mut damaged = original.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let before = damaged.clone();
        assert!(matches!(header::rewrite_for_forward(&mut damaged, producer, false), Err(BatchError::Crc { .. })));
        assert!(matches!(header::shift_timestamps(&mut damaged, 1), Err(BatchError::Crc { .. })));
        assert_eq!(damaged, before);
    }
}

#[test]
fn control_batches_are_not_data() {
    let mut batch = golden();
    batch[22] |= 0x20;
    header::reseal(&mut batch);
    let (view, _) = BatchView::parse(&batch).unwrap();
    let strict = VerifyLimits::default();
    assert_eq!(verify(&view, &strict), Err(BatchError::Control));
    assert!(verify(&view, &VerifyLimits { control_allowed: true, ..strict }).is_ok());
    assert_eq!(append_records(&view, &strict, &mut BatchBuilder::new()), Err(BatchError::Control));
    assert_eq!(header::rewrite_for_forward(&mut batch, Producer::NONE, false), Err(BatchError::Control));
}

#[test]
fn timestamps_shift_together() {
    let mut batch = build(&golden_records(), Compression::None);
    header::shift_timestamps(&mut batch, -1_000).unwrap();
    let shifted: Vec<i64> = read(&batch).iter().map(|record| record.0).collect();
    assert_eq!(shifted, golden_records().iter().map(|record| record.0 - 1_000).collect::<Vec<_>>());
    let (view, _) = BatchView::parse(&batch).unwrap();
    assert_eq!(verify(&view, &VerifyLimits::default()).unwrap().max_timestamp, view.max_timestamp());
    let before = batch.clone();
    assert!(matches!(header::shift_timestamps(&mut batch, i64::MAX), Err(BatchError::Malformed(_))));
    assert_eq!(batch, before);
    // Exactly one batch.
    batch.push(0);
    assert!(matches!(header::shift_timestamps(&mut batch, 1), Err(BatchError::Malformed(_))));
}

#[test]
fn a_max_timestamp_left_out_is_found_and_set() {
    let mut batch = golden();
    header::set_max_timestamp(&mut batch, -1);
    let facts = verify(&BatchView::parse(&batch).unwrap().0, &VerifyLimits::default()).unwrap();
    assert_eq!(facts.max_timestamp, 1_700_000_000_300);
    header::set_max_timestamp(&mut batch, facts.max_timestamp);
    assert_eq!(batch, golden());
}

#[test]
fn records_are_found_by_time() {
    let limits = VerifyLimits::default();
    let base = 1_700_000_000_000;
    for compression in Compression::ALL {
        let mut batch = build(&[golden_records(), golden_records()].concat(), compression);
        header::set_base_offset(&mut batch, 50);
        let view = BatchView::parse(&batch).unwrap().0;
        let find = |from: i64| find_by_timestamp(&view, &limits, |timestamp| timestamp >= from);
        assert_eq!(find(0), Ok(Some((50, base))));
        assert_eq!(find(base + 1), Ok(Some((52, base + 300))));
        assert_eq!(find(base + 301), Ok(None));
        let mut batch = batch.clone();
        header::set_log_append_time(&mut batch, 7);
        let view = BatchView::parse(&batch).unwrap().0;
        assert_eq!(find_by_timestamp(&view, &limits, |timestamp| timestamp == 7), Ok(Some((50, 7))));
    }
}

#[test]
fn records_move_into_another_batch() {
    let (first, second) = (telemetry(20), golden_records());
    let limits = VerifyLimits::default();
    let mut builder = BatchBuilder::new();
    for batch in [build(&first, Compression::Zstd), build(&second, Compression::None)] {
        append_records(&BatchView::parse(&batch).unwrap().0, &limits, &mut builder).unwrap();
    }
    let merged = builder.finish(Compression::Lz4);
    assert_eq!(read(&merged), [first.clone(), second.clone()].concat());
    let view = BatchView::parse(&merged).unwrap().0;
    let kept = append_records_where(&view, &limits, &mut builder, |record| record.key.is_none());
    assert_eq!(kept, Ok(1));
    assert_eq!(read(&builder.finish(Compression::None)), [second[1].clone()]);
}

#[test]
fn a_failed_move_leaves_the_builder_as_it_was() {
    let mut builder = BatchBuilder::new();
    builder.push(5, Some(b"k"), None, NO_HEADERS).unwrap();
    let expected = builder.seal(Producer::NONE).to_vec();
    let mut batch = golden();
    // The last record's header count, with a fresh CRC.
    let at = batch.len() - 3;
    batch[at] = 4;
    header::reseal(&mut batch);
    let view = BatchView::parse(&batch).unwrap().0;
    for mut builder in [builder, BatchBuilder::new()] {
        let empty = builder.is_empty();
        assert!(append_records(&view, &VerifyLimits::default(), &mut builder).is_err());
        assert_eq!(builder.is_empty(), empty);
        assert_eq!(builder.finish(Compression::None), if empty { vec![] } else { expected.clone() });
    }
}

#[test]
fn structure_is_checked_first() {
    let batch = golden();
    let with = |at: usize, bytes: &[u8]| {
        let mut batch = batch.clone();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        BatchView::parse(&batch).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(16, &[1]), BatchError::Magic(1));
    assert_eq!(with(8, &86_i32.to_be_bytes()), BatchError::Truncated);
    assert_eq!(with(8, &i32::MAX.to_be_bytes()), BatchError::Truncated);
    assert!(matches!(with(8, &48_i32.to_be_bytes()), BatchError::Malformed(_)));
    assert!(matches!(with(8, &(-1_i32).to_be_bytes()), BatchError::Malformed(_)));
    assert!(matches!(with(57, &(-1_i32).to_be_bytes()), BatchError::Malformed(_)));
    assert!(matches!(with(23, &(-1_i32).to_be_bytes()), BatchError::Malformed(_)));
    assert!(matches!(with(0, &(i64::MAX - 2).to_be_bytes()), BatchError::Malformed(_)));
    for length in 0..batch.len() {
        assert_eq!(BatchView::parse(&batch[..length]).map(|_| ()), Err(BatchError::Truncated), "{length}");
    }
    let two = [batch.clone(), batch.clone()].concat();
    assert_eq!(BatchView::parse(&two).unwrap().1, batch);
}

/// A batch that says of itself what it likes, with a CRC that fits.
fn forged(compression: Compression, count: i32, payload: &[u8]) -> Vec<u8> {
    let mut batch = golden();
    batch.truncate(HEADER_BYTES);
    batch.extend_from_slice(payload);
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = compression as u8;
    batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    header::reseal(&mut batch);
    batch
}

#[test]
fn records_that_lie_are_refused() {
    let good = &golden()[HEADER_BYTES..];
    let (first, second) = (&good[..19], &good[19..26]);
    let limits = VerifyLimits::default();
    let lies: &[(&str, i32, Vec<u8>)] = &[
        ("fewer records than counted", 4, good.to_vec()),
        ("more records than counted", 2, good.to_vec()),
        ("no records", 1, vec![]),
        ("an offset delta that repeats", 2, [first, first].concat()),
        ("an offset delta that starts at 1", 1, second.to_vec()),
        ("a negative record length", 1, vec![0x03, 0, 0, 0, 1, 1, 0]),
        ("a record longer than its fields", 1, vec![0x0e, 0, 0, 0, 1, 1, 0, 0]),
        ("a record shorter than its fields", 1, vec![0x0a, 0, 0, 0, 1, 1, 0]),
        ("a key of length -2", 1, vec![0x0c, 0, 0, 0, 3, 1, 0]),
        ("a key of 2 GiB", 1, vec![0x14, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f, 1, 0]),
        ("a value that reaches into the next record", 2, [&[0x0c, 0, 0, 0, 1, 4, 0][..], second].concat()),
        ("a negative header count", 1, vec![0x0c, 0, 0, 0, 1, 1, 1]),
        ("a billion headers", 1, vec![0x14, 0, 0, 0, 1, 1, 0x80, 0xa8, 0xd6, 0xb9, 0x07]),
        ("a header without name", 1, vec![0x10, 0, 0, 0, 1, 1, 2, 1, 1]),
        ("an endless varint", 1, vec![0x80; 40]),
        ("a timestamp beyond the end of time", 1, {
            let mut record = vec![0x1e, 0];
            varint::put(i64::MAX, &mut record);
            record.extend_from_slice(&[0, 1, 1, 0]);
            record
        }),
    ];
    for compression in Compression::ALL {
        for (lie, count, payload) in lies {
            let mut compressed = Vec::new();
            codec::compress(compression, codec::Saving::Bytes, payload, &mut compressed).unwrap();
            let batch = forged(compression, *count, &compressed);
            let view = BatchView::parse(&batch).unwrap().0;
            let verdict = verify(&view, &limits);
            assert!(matches!(verdict, Err(BatchError::Malformed(_))), "{compression}, {lie}: {verdict:?}");
            let iterated: Result<Vec<_>, _> = records(&view, payload).collect();
            assert!(lie.contains("offset delta") || iterated.is_err(), "{lie}");
        }
        // The forger itself is sound.
        let mut compressed = Vec::new();
        codec::compress(compression, codec::Saving::Bytes, good, &mut compressed).unwrap();
        assert!(verify(&BatchView::parse(&forged(compression, 3, &compressed)).unwrap().0, &limits).is_ok());
    }
}

#[test]
fn a_batch_without_records_is_no_batch_to_ingest() {
    let mut batch = forged(Compression::None, 1, b"");
    batch[57..61].copy_from_slice(&0_i32.to_be_bytes());
    header::reseal(&mut batch);
    // Compaction leaves such batches behind: they parse, and have nothing to iterate.
    let view = BatchView::parse(&batch).unwrap().0;
    assert_eq!(records(&view, b"").count(), 0);
    assert!(matches!(verify(&view, &VerifyLimits::default()), Err(BatchError::Malformed(_))));
}
