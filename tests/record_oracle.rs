//! Record batches against an independent implementation (`kafka-protocol`, with the C libraries of LZ4 and Zstandard):
//! what either writes, the other reads to the same records, with every codec.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

use brooklet::record::{
    BatchBuilder, BatchError, BatchView, Compression, HEADER_BYTES, Producer, VerifyLimits, decompress, header,
    records, verify,
};
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as TheirCompression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

/// Header names are unique: their model of headers is a map.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn theirs(compression: Compression) -> TheirCompression {
    match compression {
        Compression::None => TheirCompression::None,
        Compression::Gzip => TheirCompression::Gzip,
        Compression::Snappy => TheirCompression::Snappy,
        Compression::Lz4 => TheirCompression::Lz4,
        Compression::Zstd => TheirCompression::Zstd,
    }
}

fn we_write(plain: &[Plain], compression: Compression, producer: Producer) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for record in plain {
        let headers = record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref()));
        builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), headers).unwrap();
    }
    builder.finish_with(compression, producer)
}

fn they_read(batch: &[u8]) -> Vec<Plain> {
    let set = RecordBatchDecoder::decode(&mut Bytes::copy_from_slice(batch)).unwrap();
    set.records
        .into_iter()
        .enumerate()
        .map(|(index, record)| {
            assert_eq!(record.offset, index as i64);
            assert_eq!(record.timestamp_type, TimestampType::Creation);
            let headers = record.headers.into_iter();
            Plain {
                timestamp: record.timestamp,
                key: record.key.map(|key| key.to_vec()),
                value: record.value.map(|value| value.to_vec()),
                headers: headers.map(|(name, value)| (name.to_string(), value.map(|value| value.to_vec()))).collect(),
            }
        })
        .collect()
}

fn they_write(plain: &[Plain], compression: Compression) -> Vec<u8> {
    let record = |(index, record): (usize, &Plain)| Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 77,
        producer_epoch: 3,
        timestamp_type: TimestampType::Creation,
        offset: index as i64,
        sequence: 1_000 + index as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (StrBytes::from_string(name.clone()), value.clone().map(Bytes::from)))
            .collect(),
    };
    let records: Vec<Record> = plain.iter().enumerate().map(record).collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: theirs(compression) };
    RecordBatchEncoder::encode(&mut batch, &records, &options).unwrap();
    batch.to_vec()
}

fn we_read(batch: &[u8]) -> Vec<Plain> {
    let (view, rest) = BatchView::parse(batch).unwrap();
    assert!(rest.is_empty());
    let facts = verify(&view, &VerifyLimits::default()).unwrap();
    assert_eq!(facts.max_timestamp, view.max_timestamp());
    let payload = decompress(&view, &VerifyLimits::default()).unwrap();
    assert_eq!(facts.decompressed_bytes, payload.len() as u64);
    let plain = records(&view, &payload).map(|record| {
        let record = record.unwrap();
        let headers = record.headers;
        Plain {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    });
    plain.collect()
}

fn check(plain: &[Plain]) {
    for compression in Compression::ALL {
        let producer = Producer { id: 5, epoch: 1, base_sequence: 10 };
        assert_eq!(they_read(&we_write(plain, compression, producer)), plain, "ours, {compression}");
        let batch = they_write(plain, compression);
        assert_eq!(we_read(&batch), plain, "theirs, {compression}");
        let (view, _) = BatchView::parse(&batch).unwrap();
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (77, 3, 1_000));
        assert_eq!(view.attributes().compression(), Ok(compression));

        let mut forwarded = batch.clone();
        header::rewrite_for_forward(&mut forwarded, producer, false).unwrap();
        assert_eq!(they_read(&forwarded), plain, "forwarded, {compression}");
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || proptest::option::weighted(0.8, proptest::collection::vec(any::<u8>(), 0..200));
    // Repetitive as telemetry is, so that compression finds something.
    let repetitive = (0_u8..20, 0_usize..3_000)
        .prop_map(|(seed, length)| Some((0..length).map(|index| (index as u8 % 11).wrapping_mul(seed)).collect()));
    let value = prop_oneof![1 => bytes(), 2 => repetitive];
    let headers = proptest::collection::btree_map("[a-zé]{0,8}", bytes(), 0..4);
    (-10_000_i64..2_000_000_000_000, bytes(), value, headers).prop_map(|(timestamp, key, value, headers)| Plain {
        timestamp,
        key,
        value,
        headers: headers.into_iter().collect(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_directions_with_every_codec(plain in proptest::collection::vec(plain(), 1..40)) {
        check(&plain);
    }
}

/// Text with the entropy of real readings: a fixed pseudo-random walk.
fn telemetry(count: usize) -> Vec<Plain> {
    let (mut state, mut decicelsius) = (1_u64, 600_i64);
    let reading = |index: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        decicelsius += (state >> 60) as i64 - 8;
        let value = format!("{{\"celsius\":{}.{},\"seq\":{index}}}", decicelsius / 10, decicelsius.abs() % 10);
        Plain {
            timestamp: 1_700_000_000_000 + index as i64 * 250,
            key: Some(format!("device-{}", (state >> 40) % 16).into_bytes()),
            value: Some(value.into_bytes()),
            headers: vec![],
        }
    };
    (0..count).map(reading).collect()
}

#[test]
fn batches_of_many_blocks() {
    // Beyond the blocks of snappy (32 KiB), LZ4 (64 KiB) and Zstandard (128 KiB), and gzip's window.
    let mut plain = telemetry(12_000);
    plain[7].value = Some(vec![b'x'; 300_000]);
    check(&plain);
}

#[test]
fn sizes_are_near_those_of_the_c_libraries() {
    let plain = telemetry(2_000);
    let none = we_write(&plain, Compression::None, Producer::NONE).len();
    for compression in Compression::ALL {
        let (ours, theirs) =
            (we_write(&plain, compression, Producer::NONE).len(), they_write(&plain, compression).len());
        println!("{compression}: {none} bytes to {ours} here, {theirs} there");
        assert!(ours * 10 <= theirs * 16, "{compression}: {ours} bytes, the C library needs {theirs}");
    }
}

/// librdkafka and its kin send snappy without Java's framing.
#[test]
fn raw_snappy_is_read() {
    let plain = telemetry(3_000);
    let none = we_write(&plain, Compression::None, Producer::NONE);
    let raw = snap::raw::Encoder::new().compress_vec(&none[HEADER_BYTES..]).unwrap();
    assert_eq!(we_read(&recompressed(&none, Compression::Snappy, &raw)), plain);
}

#[test]
fn gzip_in_several_members_is_read() {
    let plain = telemetry(3_000);
    let none = we_write(&plain, Compression::None, Producer::NONE);
    let (first, second) = none[HEADER_BYTES..].split_at(30_000);
    let mut members = Vec::new();
    for part in [first, b"", second] {
        let mut encoder = flate2::write::GzEncoder::new(&mut members, flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, part).unwrap();
        encoder.finish().unwrap();
    }
    assert_eq!(we_read(&recompressed(&none, Compression::Gzip, &members)), plain);
}

#[test]
fn zstd_of_every_level_is_read() {
    let plain = telemetry(3_000);
    let none = we_write(&plain, Compression::None, Producer::NONE);
    for level in [-5, 1, 3, 9, 19, 22] {
        let frame = zstd::encode_all(&none[HEADER_BYTES..], level).unwrap();
        assert_eq!(we_read(&recompressed(&none, Compression::Zstd, &frame)), plain, "level {level}");
        // In two frames, with one to be skipped between them.
        let (first, second) = none[HEADER_BYTES..].split_at(30_000);
        let frames = [
            zstd::encode_all(first, level).unwrap(),
            vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3],
            zstd::bulk::compress(second, level).unwrap(),
        ]
        .concat();
        assert_eq!(we_read(&recompressed(&none, Compression::Zstd, &frames)), plain, "level {level}, frames");
    }
}

/// Kafka's own decoder refuses linked blocks, so a batch with them would be stuck on its way to the central cluster.
#[test]
fn lz4_with_independent_blocks_of_any_size_is_read_with_linked_ones_refused() {
    let none = we_write(&telemetry(5_000), Compression::None, Producer::NONE);
    for (linked, size) in
        [(false, lz4::BlockSize::Max64KB), (false, lz4::BlockSize::Max4MB), (true, lz4::BlockSize::Max64KB)]
    {
        let mode = if linked { lz4::BlockMode::Linked } else { lz4::BlockMode::Independent };
        let mut encoder = lz4::EncoderBuilder::new()
            .block_mode(mode)
            .block_size(size)
            .block_checksum(lz4::liblz4::BlockChecksum::BlockChecksumEnabled)
            .content_size((none.len() - HEADER_BYTES) as u64)
            .build(Vec::new())
            .unwrap();
        std::io::Write::write_all(&mut encoder, &none[HEADER_BYTES..]).unwrap();
        let (frame, result) = encoder.finish();
        result.unwrap();
        let batch = recompressed(&none, Compression::Lz4, &frame);
        let verdict = verify(&BatchView::parse(&batch).unwrap().0, &VerifyLimits::default());
        if linked {
            assert_eq!(verdict, Err(BatchError::Decompress(Compression::Lz4)));
        } else {
            assert_eq!(verdict.unwrap().record_count, 5_000);
        }
    }
}

/// The batch `none` with another payload.
fn recompressed(none: &[u8], compression: Compression, payload: &[u8]) -> Vec<u8> {
    let mut batch = none[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(payload);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[22] = compression as u8;
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}
