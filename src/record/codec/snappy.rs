//! snappy in the two forms that Kafka clients send: framed in blocks as the Java library does (xerial), or one raw block as
//! librdkafka does. Read by magic; written framed, as Java writes.
//!
//! | bytes | framed form |
//! |---|---|
//! | 0..8 | magic: 0x82 `SNAPPY` 0x00 |
//! | 8..12 | version: 1 |
//! | 12..16 | lowest compatible version: 1 |
//! | then | blocks: length (4 bytes, big-endian), raw snappy |
//!
//! The decoder holds one decompressed block. What a block claims to decompress to is held against what that many
//! compressed bytes can yield at most, and against the bound of the payload, before it is allocated.

use std::io::{self, Read};

use snap::raw;

use super::super::{BatchError, Compression};
use super::{drain, split, split_array};

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const VERSION: i32 = 1;
/// What Java's library takes for a block.
const BLOCK_BYTES: usize = 32 * 1024;
/// Most bytes that one compressed byte yields: a copy of 64 bytes takes three.
const YIELD_MAX: usize = 22;

pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    at: usize,
    /// What may still be decompressed.
    bytes_left: u64,
    bytes_max: u64,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(payload: &'a [u8], bytes_max: u64) -> Decoder<'a> {
        let mut rest = payload;
        let framed = is_framed(&mut rest);
        let rest = if framed { rest } else { payload };
        Decoder { rest, framed, block: Vec::new(), at: 0, bytes_left: bytes_max, bytes_max }
    }

    fn next_block(&mut self) -> Result<(), BatchError> {
        const INVALID: BatchError = BatchError::Decompress(Compression::Snappy);
        let compressed = if self.framed {
            let length = u32::from_be_bytes(split_array(&mut self.rest).ok_or(INVALID)?);
            split(&mut self.rest, length as usize).ok_or(INVALID)?
        } else {
            std::mem::take(&mut self.rest)
        };
        let claimed = raw::decompress_len(compressed).map_err(|_| INVALID)?;
        if claimed > compressed.len().saturating_mul(YIELD_MAX) {
            return Err(INVALID);
        }
        let over = BatchError::TooLarge { bytes: claimed as u64, bytes_max: self.bytes_max };
        self.bytes_left = self.bytes_left.checked_sub(claimed as u64).ok_or(over)?;
        self.at = 0;
        self.block.clear();
        self.block.resize(claimed, 0);
        let count = raw::Decoder::new().decompress(compressed, &mut self.block).map_err(|_| INVALID)?;
        self.block.truncate(count);
        Ok(())
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() && !self.rest.is_empty() {
            self.next_block()?;
        }
        Ok(drain(&self.block, &mut self.at, out))
    }
}

/// Takes the header of the framed form. A future version is still this form as long as it is compatible with ours.
fn is_framed(rest: &mut &[u8]) -> bool {
    split_array(rest) == Some(MAGIC)
        && split_array::<4>(rest).is_some()
        && split_array(rest).is_some_and(|compatible| i32::from_be_bytes(compatible) <= VERSION)
}

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = raw::Encoder::new();
    let mut block = vec![0; raw::max_compress_len(records.len().min(BLOCK_BYTES))];
    for chunk in records.chunks(BLOCK_BYTES) {
        let count = encoder.compress(chunk, &mut block).ok()?;
        out.extend_from_slice(&(count as u32).to_be_bytes());
        out.extend_from_slice(block.get(..count)?);
    }
    Some(())
}
