//! Zstandard (RFC 8878), of one or several frames.
//!
//! The decoder's memory is the frame's window and one block, whose sizes are bounded here before they are allocated; a
//! frame that wants a larger window is refused. 8 MiB is what RFC 8878 (3.1.1.1.2) recommends every decoder to support,
//! and the window of level 19; no Kafka client asks for more without a setting of its own.
//! A frame without checksum is fine, for the batch has its CRC-32C; one with a checksum is held to it.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress as encode};

use super::super::{BatchError, Compression};
use super::split;

/// Largest window, bytes.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most frames of a payload, skippable ones included: each costs tables anew.
const FRAMES_MAX: u32 = 64;

const INVALID: BatchError = BatchError::Decompress(Compression::Zstd);

pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    /// The frame that is being read.
    frame: Option<FrameDecoder>,
    /// What came out of it so far.
    frame_bytes: u64,
    frames: u32,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: payload, frame: None, frame_bytes: 0, frames: 0 }
    }

    fn open_frame(&mut self) -> Result<(), BatchError> {
        self.frames += 1;
        if self.frames > FRAMES_MAX {
            return Err(INVALID);
        }
        // A fresh decoder a frame: a reset one would reserve the window that the header claims.
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(WINDOW_BYTES_MAX);
        match frame.init(&mut self.rest) {
            Ok(()) => {
                self.frame = Some(frame);
                self.frame_bytes = 0;
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                split(&mut self.rest, length as usize).ok_or(INVALID)?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, max }) => {
                return Err(BatchError::TooLarge { bytes: requested, bytes_max: max });
            }
            Err(_) => return Err(INVALID),
        }
        Ok(())
    }

    fn read_some(&mut self, out: &mut [u8]) -> Result<usize, BatchError> {
        loop {
            let Some(frame) = &mut self.frame else {
                if self.rest.is_empty() {
                    return Ok(0);
                }
                self.open_frame()?;
                continue;
            };
            if frame.can_collect() > 0 {
                let count = frame.read(out).map_err(|_| INVALID)?;
                self.frame_bytes += count as u64;
                return Ok(count);
            }
            if frame.is_finished() {
                check_end(frame, self.frame_bytes)?;
                self.frame = None;
                continue;
            }
            frame.decode_blocks(&mut self.rest, BlockDecodingStrategy::UptoBlocks(1)).map_err(|_| INVALID)?;
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        // The library asserts some of what it reads from the frame: no frame may stop the process. Nothing of the decoder
        // is used after an error.
        let result = catch_unwind(AssertUnwindSafe(|| self.read_some(out)));
        Ok(result.unwrap_or(Err(INVALID))?)
    }
}

/// Holds the frame to what it says about itself, as the reference decoder does.
fn check_end(frame: &FrameDecoder, bytes: u64) -> Result<(), BatchError> {
    let checksum = frame.get_checksum_from_data();
    let intact = checksum.is_none() || checksum == frame.get_calculated_checksum();
    // 0: the header doesn't say.
    let sized = frame.content_size() == 0 || frame.content_size() == bytes;
    if intact && sized { Ok(()) } else { Err(INVALID) }
}

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) {
    encode(records, out, CompressionLevel::Fastest);
}
