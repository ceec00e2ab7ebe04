//! Zstandard (RFC 8878), of one or several frames.
//!
//! The decoder's memory is one block and what the frame's window holds of the content. A window of up to 8 MiB is taken as
//! it is claimed (RFC 8878, 3.1.1.1.2, recommends it to every decoder; levels up to 19 ask for no more), and nothing is
//! allocated before content fills it. Levels 20 to 22 claim up to 128 MiB whatever they compress: such frames are taken while
//! their content stays within 8 MiB.
//! A frame without checksum is fine, for the batch has its CRC-32C; one with a checksum is held to it.

use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress as encode};

use super::super::{BatchError, Compression};
use super::split;

/// Largest window that is taken whatever the content, bytes.
const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Largest window that is taken at all: that of level 22. Bytes.
const WINDOW_BYTES_CLAIMED_MAX: u64 = 128 * 1024 * 1024;
/// Most blocks under such a window; each holds 128 KiB at most.
const WIDE_BLOCKS_MAX: usize = (WINDOW_BYTES_MAX / (128 * 1024)) as usize;
/// Most frames of a payload, skippable ones included: each costs tables anew.
const FRAMES_MAX: u32 = 64;

const INVALID: BatchError = BatchError::Decompress(Compression::Zstd);

pub(super) struct Decoder<'a> {
    rest: &'a [u8],
    /// The frame that is being read.
    frame: Option<FrameDecoder>,
    /// What came out of it so far.
    frame_bytes: u64,
    /// Blocks that it may have.
    frame_blocks_max: usize,
    frames: u32,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Decoder<'a> {
        Decoder { rest: payload, frame: None, frame_bytes: 0, frame_blocks_max: 0, frames: 0 }
    }

    fn open_frame(&mut self) -> Result<(), BatchError> {
        self.frames += 1;
        if self.frames > FRAMES_MAX {
            return Err(INVALID);
        }
        let start = self.rest;
        let opened = match self.init(WINDOW_BYTES_MAX) {
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => {
                self.rest = start;
                self.frame_blocks_max = WIDE_BLOCKS_MAX;
                self.init(WINDOW_BYTES_CLAIMED_MAX)
            }
            opened => {
                self.frame_blocks_max = usize::MAX;
                opened
            }
        };
        match opened {
            Ok(()) => Ok(()),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                split(&mut self.rest, length as usize).map(drop).ok_or(INVALID)
            }
            Err(FrameDecoderError::WindowSizeTooBig { requested, max }) => {
                Err(BatchError::TooLarge { bytes: requested, bytes_max: max })
            }
            Err(_) => Err(INVALID),
        }
    }

    fn init(&mut self, window_bytes_max: u64) -> Result<(), FrameDecoderError> {
        // A fresh decoder for each frame: one that is used again would reserve the window that the header claims.
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(window_bytes_max);
        frame.init(&mut self.rest)?;
        self.frame = Some(frame);
        self.frame_bytes = 0;
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
            if frame.blocks_decoded() >= self.frame_blocks_max {
                return Err(BatchError::TooLarge { bytes: WINDOW_BYTES_MAX + 1, bytes_max: WINDOW_BYTES_MAX });
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

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The only level that the library has. It returns no errors, so all it could do is to panic.
    catch_unwind(AssertUnwindSafe(|| encode(records, out, CompressionLevel::Fastest))).ok()
}
