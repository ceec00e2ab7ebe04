//! Hostile record batches: cut off, with flipped bits, with bombs and huge claims. None may panic, none may pass, and
//! none may make the gateway allocate what it merely claims.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "fuzz/allocations.rs"]
mod allocations;
#[path = "fuzz/batches.rs"]
mod batches;

use std::io::Write;
use std::time::{Duration, Instant};

use allocations::peak_of;
use batches::{forged, medium, reseal, small};
use brooklet::record::{
    BatchBuilder, BatchError, BatchFacts, BatchView, Compression, HEADER_BYTES, NO_HEADERS, VerifyLimits, decompress,
    verify,
};
use proptest::prelude::*;

fn check(batch: &[u8]) -> Result<BatchFacts, BatchError> {
    let (view, _) = BatchView::parse(batch)?;
    verify(&view, &VerifyLimits::default())
}

/// Reads a batch in every way, within the limits of a gateway.
fn read_all_ways(batch: &[u8]) {
    batches::read_all_ways(batch, &VerifyLimits::default());
}

#[test]
fn cut_off_anywhere() {
    for compression in Compression::ALL {
        let batch = small(compression);
        assert!(check(&batch).is_ok());
        for length in 0..batch.len() {
            assert_eq!(check(&batch[..length]), Err(BatchError::Truncated), "{compression} {length}");
            // The same with a length and a CRC that fit: only the records can tell.
            if length >= HEADER_BYTES {
                let mut cut = batch[..length].to_vec();
                reseal(&mut cut);
                assert!(check(&cut).is_err(), "{compression} {length}");
                read_all_ways(&cut);
            }
        }
    }
}

#[test]
fn any_bit_flipped() {
    for compression in Compression::ALL {
        let batch = small(compression);
        for bit in 0..batch.len() * 8 {
            let mut flipped = batch.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            read_all_ways(&flipped);
            // Base offset and leader epoch are the log's, outside the CRC.
            let checked = !(0..8).contains(&(bit / 8)) && !(12..16).contains(&(bit / 8));
            assert!(!checked || check(&flipped).is_err(), "{compression}: bit {bit} passes");
            // With a CRC that fits, so that the damage reaches codecs and records.
            reseal(&mut flipped);
            read_all_ways(&flipped);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_payload(compression in 0_i8..5, payload in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_all_ways(&forged(Compression::ALL[compression as usize], &payload));
    }

    /// Random damage to compressed data gets further into the codecs than random data does.
    #[test]
    fn any_damage(compression in 0_usize..5, damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut batch = medium(Compression::ALL[compression]);
        for (at, byte) in damage {
            let at = HEADER_BYTES + at.index(batch.len() - HEADER_BYTES);
            batch[at] = byte;
        }
        reseal(&mut batch);
        read_all_ways(&batch);
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_all_ways(&bytes);
    }
}

#[test]
fn huge_claims_allocate_nothing() {
    let gib = 1_u32 << 30;
    let claims: Vec<(&str, Vec<u8>)> = vec![
        ("raw snappy of 4 GiB", forged(Compression::Snappy, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0])),
        ("raw snappy of 1 MiB in 4 bytes", forged(Compression::Snappy, &[0x80, 0x80, 0x40, 0])),
        ("framed snappy with a block of 1 GiB", {
            let mut payload = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            payload.extend_from_slice(&gib.to_be_bytes());
            forged(Compression::Snappy, &payload)
        }),
        ("zstd with a window of 1 GiB", forged(Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 1, 0, 0])),
        ("zstd with a window of 8 MiB", forged(Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 13 << 3, 1, 0, 0])),
        ("zstd with a window of 128 MiB", forged(Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3, 1, 0, 0])),
        ("zstd with a content of 100 MB", {
            forged(Compression::Zstd, &[0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0x00, 0xe1, 0xf5, 0x05, 1, 0, 0])
        }),
        ("lz4 with blocks of 4 MiB", {
            let mut payload = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
            payload.extend_from_slice(&[4, 0, 0, 0, 0x1f, 0, 1, 0]);
            forged(Compression::Lz4, &payload)
        }),
        ("a record of 2 GiB", forged(Compression::None, &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0])),
        ("two billion records", {
            let mut batch = small(Compression::None);
            batch[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
            batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
            reseal(&mut batch);
            batch
        }),
    ];
    for (claim, batch) in claims {
        let (verdict, peak) = peak_of(|| check(&batch));
        assert!(verdict.is_err(), "{claim}");
        // Zstandard's decoding tables are the largest part.
        assert!(peak < 64 * 1024, "{claim}: {peak} bytes");
        let (_, peak) = peak_of(|| read_all_ways(&batch));
        assert!(peak < 128 * 1024, "{claim}: {peak} bytes");
    }
}

/// One value of zeros, compressed by the tool that does it best.
fn bomb(compression: Compression, megabytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some(&vec![0; megabytes * 1_000_000]), NO_HEADERS).unwrap();
    if compression != Compression::Zstd {
        return builder.finish(compression);
    }
    let plain = builder.finish(Compression::None);
    let mut batch = plain[..HEADER_BYTES].to_vec();
    batch.extend_from_slice(&zstd::encode_all(&plain[HEADER_BYTES..], 19).unwrap());
    batch[22] = compression as u8;
    reseal(&mut batch);
    batch
}

#[test]
fn bombs_are_stopped_within_bounded_memory() {
    let no_ratio = VerifyLimits { ratio_max: u64::MAX, ..VerifyLimits::default() };
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let batch = bomb(compression, 100);
        let view = BatchView::parse(&batch).unwrap().0;
        let limits = VerifyLimits { batch_bytes_max: batch.len(), ..no_ratio };
        let start = Instant::now();
        let (verdict, peak) = peak_of(|| verify(&view, &limits));
        let ratio = 100_000_000 / batch.len();
        println!("{compression}: {} bytes, ratio {ratio}, held {peak} bytes, {:?}", batch.len(), start.elapsed());
        assert!(matches!(verdict, Err(BatchError::TooLarge { .. })), "{compression}: {verdict:?}");
        // Zstandard's window, in a ring that grows by doubling.
        let held_max = if compression == Compression::Zstd { 18_000_000 } else { 256_000 };
        assert!(peak < held_max, "{compression}: {peak} bytes");
    }
}

#[test]
fn the_ratio_is_bounded() {
    let batch = bomb(Compression::Zstd, 10);
    let view = BatchView::parse(&batch).unwrap().0;
    let ratio = 10_000_000 / view.payload().len() as u64;
    assert!(ratio > 5_000, "{ratio}");
    assert!(matches!(check(&batch), Err(BatchError::TooLarge { .. })));
    assert!(verify(&view, &VerifyLimits { ratio_max: ratio + 1, ..VerifyLimits::default() }).is_ok());
    assert!(matches!(decompress(&view, &VerifyLimits::default()), Err(BatchError::TooLarge { .. })));
}

/// Values are walked through, not gathered: a batch that decompresses to 20 MB is verified in some kilobytes.
#[test]
fn verification_streams() {
    for compression in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        let batch = bomb(compression, 20);
        let limits = VerifyLimits { batch_bytes_max: batch.len(), ..VerifyLimits::default() };
        let (facts, peak) = peak_of(|| verify(&BatchView::parse(&batch).unwrap().0, &limits).unwrap());
        assert_eq!(facts.record_count, 1);
        assert!(facts.decompressed_bytes > 20_000_000);
        assert!(peak < 256_000, "{compression}: {peak} bytes");
    }
}

/// Many tiny pieces cost tables and buffers anew: time is bounded too.
#[test]
fn many_tiny_frames_are_quick() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"").unwrap();
    let pieces = [
        (Compression::Gzip, gzip.finish().unwrap()),
        (Compression::Zstd, zstd::encode_all(&b""[..], 1).unwrap()),
        (Compression::Lz4, vec![0, 0, 0, 0x80]),
        (Compression::Snappy, vec![0, 0, 0, 1, 0]),
    ];
    for (compression, piece) in pieces {
        let head: &[u8] = match compression {
            Compression::Snappy => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01",
            Compression::Lz4 => &[0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82],
            _ => b"",
        };
        let batch = forged(compression, &[head, &piece.repeat(1_000_000 / piece.len())].concat());
        let start = Instant::now();
        let verdict = check(&batch);
        println!("{compression}: {:?}", start.elapsed());
        assert!(verdict.is_err(), "{compression}");
        assert!(start.elapsed() < Duration::from_secs(5), "{compression}");
    }
}
