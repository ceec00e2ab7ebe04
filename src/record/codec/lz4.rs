//! LZ4 in its frame format (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>): one frame a payload.
//!
//! The subset is what Kafka's own decoder takes: version 01, independent blocks, no dictionary; a frame with linked blocks
//! would be refused by the central cluster. Checksums of header, blocks and content are verified where they are.
//! Written: 64 KiB independent blocks, no content checksum, for the batch has its CRC-32C.
//!
//! | bytes | frame |
//! |---|---|
//! | 0..4 | magic 0x184D2204, little-endian as all that follows |
//! | 4 | flags: version 01, independent, block checksums, content size, content checksum, reserved, dictionary |
//! | 5 | largest block: 4 to 7 in bits 4..=6 for 64 KiB, 256 KiB, 1 MiB, 4 MiB |
//! | then | content size, 8 bytes, if flagged |
//! | then | checksum of bytes 4 to here: second byte of its xxHash32 |
//! | then | blocks: length (top bit: stored uncompressed), data, checksum (4 bytes) if flagged |
//! | then | length 0, content checksum (4 bytes) if flagged |
//!
//! The decoder holds one decompressed block. Its memory is the frame's block size or what the compressed block can yield
//! at most, whichever is less.

use std::hash::Hasher;
use std::io::{self, Read};

use lz4_flex::block;
use twox_hash::XxHash32;

use super::super::{BatchError, Compression};
use super::{drain, split, split_array};

const MAGIC: u32 = 0x184D_2204;
const VERSION: u8 = 0x40;
const VERSION_MASK: u8 = 0xC0;
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const RESERVED: u8 = 0x02;
const DICTIONARY: u8 = 0x01;
/// In a block's length: the block is stored as it is.
const STORED: u32 = 0x8000_0000;
/// What is written: 64 KiB.
const BLOCK_SIZE_CODE: u8 = 4;
const BLOCK_BYTES: usize = 64 * 1024;
/// Most bytes that one compressed byte yields.
const YIELD_MAX: usize = 255;

const INVALID: BatchError = BatchError::Decompress(Compression::Lz4);

pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    flags: u8,
    block_bytes_max: usize,
    content_size: Option<u64>,
    content_bytes: u64,
    content_hash: XxHash32,
    /// A buffer as large as the largest block so far; the current block is its first `filled` bytes.
    block: Vec<u8>,
    filled: usize,
    at: usize,
    ended: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Result<Decoder<'a>, BatchError> {
        let mut rest = payload;
        if split_array(&mut rest).map(u32::from_le_bytes) != Some(MAGIC) {
            return Err(INVALID);
        }
        let descriptor = rest;
        let [flags, size_code] = split_array(&mut rest).ok_or(INVALID)?;
        if flags & VERSION_MASK != VERSION || flags & INDEPENDENT == 0 || flags & (RESERVED | DICTIONARY) != 0 {
            return Err(INVALID);
        }
        let block_bytes_max = match size_code {
            0x40 | 0x50 | 0x60 | 0x70 => 1 << (8 + 2 * (size_code >> 4)),
            _ => return Err(INVALID),
        };
        let content_size = match flags & CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from_le_bytes(split_array(&mut rest).ok_or(INVALID)?)),
        };
        let described = descriptor.get(..descriptor.len() - rest.len()).ok_or(INVALID)?;
        if split_array(&mut rest) != Some([header_checksum(described)]) {
            return Err(INVALID);
        }
        Ok(Decoder {
            rest,
            flags,
            block_bytes_max,
            content_size,
            content_bytes: 0,
            content_hash: XxHash32::with_seed(0),
            block: Vec::new(),
            filled: 0,
            at: 0,
            ended: false,
        })
    }

    fn next_block(&mut self) -> Result<(), BatchError> {
        let head = u32::from_le_bytes(split_array(&mut self.rest).ok_or(INVALID)?);
        if head == 0 {
            return self.end();
        }
        let length = (head & !STORED) as usize;
        if length > self.block_bytes_max {
            return Err(INVALID);
        }
        let data = split(&mut self.rest, length).ok_or(INVALID)?;
        if self.flags & BLOCK_CHECKSUM != 0 {
            let checksum = u32::from_le_bytes(split_array(&mut self.rest).ok_or(INVALID)?);
            if XxHash32::oneshot(0, data) != checksum {
                return Err(INVALID);
            }
        }
        let room = if head & STORED != 0 { length } else { self.block_bytes_max.min(length.saturating_mul(YIELD_MAX)) };
        if self.block.len() < room {
            self.block.resize(room, 0);
        }
        let target = self.block.get_mut(..room).ok_or(INVALID)?;
        self.filled = if head & STORED != 0 {
            target.copy_from_slice(data);
            length
        } else {
            block::decompress_into(data, target).map_err(|_| INVALID)?
        };
        self.at = 0;
        self.content_bytes += self.filled as u64;
        if self.flags & CONTENT_CHECKSUM != 0 {
            self.content_hash.write(self.block.get(..self.filled).unwrap_or_default());
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BatchError> {
        self.ended = true;
        if self.flags & CONTENT_CHECKSUM != 0 {
            let checksum = u32::from_le_bytes(split_array(&mut self.rest).ok_or(INVALID)?);
            if self.content_hash.finish() as u32 != checksum {
                return Err(INVALID);
            }
        }
        let sized = self.content_size.is_none_or(|size| size == self.content_bytes);
        if sized && self.rest.is_empty() { Ok(()) } else { Err(INVALID) }
    }

    fn current(&self) -> &[u8] {
        self.block.get(..self.filled).unwrap_or_default()
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.filled && !self.ended {
            self.next_block()?;
        }
        let mut at = self.at;
        let count = drain(self.current(), &mut at, out);
        self.at = at;
        Ok(count)
    }
}

fn header_checksum(described: &[u8]) -> u8 {
    (XxHash32::oneshot(0, described) >> 8) as u8
}

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let described = [VERSION | INDEPENDENT, BLOCK_SIZE_CODE << 4];
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&described);
    out.push(header_checksum(&described));
    let mut block = vec![0; block::get_maximum_output_size(records.len().min(BLOCK_BYTES))];
    for chunk in records.chunks(BLOCK_BYTES) {
        let compressed = block::compress_into(chunk, &mut block).ok().and_then(|count| block.get(..count));
        let (data, stored) = match compressed {
            Some(data) if data.len() < chunk.len() => (data, 0),
            _ => (chunk, STORED),
        };
        out.extend_from_slice(&(data.len() as u32 | stored).to_le_bytes());
        out.extend_from_slice(data);
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    Some(())
}
