//! Record batches, and the codecs below: damage with a checksum that fits, bombs, claims.

use std::io::Write;

use brooklet::record::{BatchBuilder, BatchView, Compression, HEADER_BYTES, NO_HEADERS, VerifyLimits, verify};
use fastrand::Rng;

use crate::allocations::peak_of;
use crate::batches::{forged, medium, read_all_ways, reseal, small};
use crate::harness::{Make, Target};
use crate::mutate::{bytes, mutate, number};

/// What verifying may hold, whatever a batch claims; see ARCHITECTURE: a zstd frame's window in a ring that grows by doubling.
const VERIFY_BYTES_MAX: usize = 18_000_000;
/// The same for all other codecs.
const VERIFY_OTHERS_BYTES_MAX: usize = 256 * 1024;

pub(crate) fn targets() -> [Target; 6] {
    let codec = |name, quick, make: Make| Target {
        name,
        quick,
        memory: |_| usize::MAX,
        corpus: crate::corpus(name),
        make,
        run: Box::new(run),
    };
    let of = |compression| move |rng: &mut Rng| make(rng, compression);
    [
        codec("record-plain", 2_000, Box::new(of(Compression::None))),
        codec("record-gzip", 800, Box::new(of(Compression::Gzip))),
        codec("record-snappy", 1_000, Box::new(of(Compression::Snappy))),
        codec("record-lz4", 1_000, Box::new(of(Compression::Lz4))),
        codec("record-zstd", 400, Box::new(of(Compression::Zstd))),
        codec("record-bomb", 30, Box::new(bomb)),
    ]
}

fn make(rng: &mut Rng, compression: Compression) -> Vec<u8> {
    let batch = match rng.u8(..4) {
        0 => small(compression),
        1 => medium(compression),
        _ => any_batch(rng, compression),
    };
    match rng.u8(..6) {
        // The header too: its CRC is seldom right then.
        0 => mutate(rng, batch, &[], 4),
        1 => forged(compression, &bytes(rng, 400)),
        _ => {
            let payload = batch[HEADER_BYTES..].to_vec();
            let mut damaged = batch[..HEADER_BYTES].to_vec();
            damaged.extend(mutate(rng, payload, &batch, 6));
            if rng.u8(..5) == 0 {
                let at = rng.usize(21..HEADER_BYTES);
                damaged[at] = number(rng) as u8;
            }
            reseal(&mut damaged);
            damaged
        }
    }
}

fn any_batch(rng: &mut Rng, compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for _ in 0..rng.usize(1..20) {
        let (key, value) = (bytes(rng, 30), bytes(rng, 300).repeat(rng.usize(1..6)));
        let time = rng.i64(0..1 << 41);
        builder.push(time, rng.bool().then_some(&key[..]), Some(&value), NO_HEADERS).unwrap();
    }
    builder.finish(compression)
}

/// Much of one thing, by each codec and as few bytes as it takes; at times many members or frames of it.
fn bomb(rng: &mut Rng) -> Vec<u8> {
    let zeros = vec![rng.u8(..2); rng.usize(1..3_000_000)];
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some(&zeros), NO_HEADERS).unwrap();
    let plain = builder.finish(Compression::None)[HEADER_BYTES..].to_vec();
    let compression = *rng.choice(&Compression::ALL[1..]).unwrap();
    let compressed = match compression {
        Compression::Zstd => zstd::encode_all(&plain[..], rng.i32(1..20)).unwrap(),
        Compression::Gzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            gzip.write_all(&plain).unwrap();
            gzip.finish().unwrap()
        }
        _ => {
            builder.push(0, None, Some(&zeros), NO_HEADERS).unwrap();
            builder.finish(compression)[HEADER_BYTES..].to_vec()
        }
    };
    let times = *rng.choice(&[1, 1, 2, 50]).unwrap();
    let payload = compressed.repeat(times.min(900_000 / compressed.len().max(1)).max(1));
    forged(compression, &mutate(rng, payload, &[], 2))
}

fn run(batch: &[u8]) {
    // Small, so that a case is quick: what it bounds is bounded at any size.
    let limits = VerifyLimits { decompressed_bytes_max: 8 << 20, ..VerifyLimits::default() };
    if let Ok((view, _)) = BatchView::parse(batch) {
        let (_, held) = peak_of(|| verify(&view, &limits));
        let is_zstd = view.attributes().compression() == Ok(Compression::Zstd);
        let allowed = if is_zstd { VERIFY_BYTES_MAX } else { VERIFY_OTHERS_BYTES_MAX };
        // Raw snappy is decompressed as one block, at most 22 times its size.
        let allowed = allowed + 23 * batch.len();
        assert!(held <= allowed, "verifying held {held} bytes; {allowed} are allowed");
    }
    let (_, held) = peak_of(|| read_all_ways(batch, &limits));
    // What is decompressed, once more plain, and growing by doubling.
    let allowed = VERIFY_BYTES_MAX + 6 * (8 << 20) + 30 * batch.len();
    assert!(held <= allowed, "reading held {held} bytes; {allowed} are allowed");
}
