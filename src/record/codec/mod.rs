//! The codecs of Kafka's payloads. Decoders are streams ([`Read`]) over the payload; encoders append to a buffer.
//!
//! Each file says what its decoder may allocate. All of them read a payload to its last byte: what follows the
//! compressed data, or a stream cut off, is an error.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::{self, Read};

use super::{BatchError, Compression};

/// What a compressor is to save first. Only gzip has the choice: its level 1 takes a sixth of level 6's time for a quarter to two fifths more bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saving {
    /// Bytes.
    #[default]
    Bytes,
    /// The processor's time.
    Time,
}

/// A stream of the decompressed payload, at most `bytes_max` of it.
pub(super) fn decoder<'a>(
    compression: Compression,
    payload: &'a [u8],
    bytes_max: u64,
) -> Result<Box<dyn Read + 'a>, BatchError> {
    Ok(match compression {
        Compression::None => Box::new(payload),
        Compression::Gzip => Box::new(Bounded::new(gzip::decoder(payload), bytes_max)),
        Compression::Snappy => Box::new(Bounded::new(snappy::Decoder::new(payload, bytes_max), bytes_max)),
        Compression::Lz4 => Box::new(Bounded::new(lz4::Decoder::new(payload)?, bytes_max)),
        Compression::Zstd => Box::new(Bounded::new(zstd::Decoder::new(payload), bytes_max)),
    })
}

/// Appends `records`, compressed, to `out`. `None`: the codec failed, and what it appended is void. None is known to, but
/// who builds a batch can go on without compression, and shouldn't go on with half a payload.
pub(super) fn compress(compression: Compression, saves: Saving, records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match compression {
        Compression::None => {
            out.extend_from_slice(records);
            Some(())
        }
        Compression::Gzip => gzip::compress(records, saves, out),
        Compression::Snappy => snappy::compress(records, out),
        Compression::Lz4 => lz4::compress(records, out),
        Compression::Zstd => zstd::compress(records, out),
    }
}

/// After so many decompressed bytes, some tenths of a millisecond of work, other threads have their turn: without that a scheduler lets one
/// that wakes up wait for three.
const TURN_BYTES: u64 = 128 * 1024;

fn give_turn() {
    #[cfg(test)]
    tests::TURNS.with(|turns| turns.set(turns.get() + 1));
    std::thread::yield_now();
}

/// Fails as soon as more comes than may.
struct Bounded<R> {
    inner: R,
    bytes: u64,
    bytes_max: u64,
}

impl<R: Read> Bounded<R> {
    fn new(inner: R, bytes_max: u64) -> Bounded<R> {
        Bounded { inner, bytes: 0, bytes_max }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Whoever reads all at once asks for more and more.
        let most = out.len().min(TURN_BYTES as usize);
        let count = self.inner.read(out.get_mut(..most).unwrap_or_default())?;
        let turn = self.bytes / TURN_BYTES;
        self.bytes += count as u64;
        if self.bytes / TURN_BYTES > turn {
            give_turn();
        }
        if self.bytes > self.bytes_max {
            return Err(BatchError::TooLarge { bytes: self.bytes, bytes_max: self.bytes_max }.into());
        }
        Ok(count)
    }
}

/// Takes the first `count` bytes.
fn split<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// Takes the first `N` bytes.
fn split_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    split(bytes, N).and_then(<[u8]>::first_chunk).copied()
}

/// Hands out what is left of a decoded block.
fn drain(block: &[u8], at: &mut usize, out: &mut [u8]) -> usize {
    let left = block.get(*at..).unwrap_or_default();
    let count = left.len().min(out.len());
    if let (Some(to), Some(from)) = (out.get_mut(..count), left.get(..count)) {
        to.copy_from_slice(from);
    }
    *at += count;
    count
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::record::{BatchBuilder, BatchView, Compression, NO_HEADERS, VerifyLimits, decompress, verify};

    thread_local! {
        /// How often this thread has let others go on.
        pub(super) static TURNS: Cell<usize> = const { Cell::new(0) };
    }

    fn turns(work: impl FnOnce()) -> usize {
        let before = TURNS.get();
        work();
        TURNS.get() - before
    }

    #[test]
    fn whoever_unpacks_much_gives_others_their_turn_all_along() {
        const BYTES: usize = 4 << 20;
        let value: Vec<u8> = (0..BYTES).map(|at| (at / 7 * at) as u8).collect();
        for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let mut builder = BatchBuilder::new();
            builder.push(1, None, Some(&value), NO_HEADERS).unwrap();
            let batch = builder.finish(compression);
            let (view, _) = BatchView::parse(&batch).unwrap();
            let limits = VerifyLimits::default();
            let expected = BYTES / 131_072;
            let checked = turns(|| assert!(verify(&view, &limits).is_ok()));
            let unpacked = turns(|| assert!(decompress(&view, &limits).unwrap().len() > BYTES));
            assert_eq!([checked, unpacked], [expected; 2], "{compression:?}");
        }
    }
}
