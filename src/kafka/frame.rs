//! Frames: every request and response stands behind its size, an i32 in network order that doesn't count itself.
//!
//! No I/O here: the caller owns the buffers. A size is refused as soon as its four bytes are there, before anything is
//! reserved for what it claims.

use core::fmt;

use crate::kafka::wire::EncodeError;

/// Bytes of the size in front of a frame.
pub const SIZE_BYTES: usize = 4;

/// Why a frame is not taken. The stream has no next frame to find: close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// The size is below 0 or over the limit, bytes.
    Size { claimed: i32, max: usize },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::Size { claimed, max } => write!(f, "frame of {claimed} bytes; 0 to {max} are allowed"),
        }
    }
}

impl std::error::Error for FrameError {}

/// The size of the frame that follows these four bytes, at most `max` bytes.
///
/// # Errors
/// [`FrameError::Size`].
pub fn size(prefix: [u8; SIZE_BYTES], max: usize) -> Result<usize, FrameError> {
    let claimed = i32::from_be_bytes(prefix);
    match usize::try_from(claimed) {
        Ok(size) if size <= max => Ok(size),
        _ => Err(FrameError::Size { claimed, max }),
    }
}

/// The first frame of what has been received so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split<'a> {
    /// The frame's content, without its size.
    pub frame: &'a [u8],
    /// What has been received after it.
    pub rest: &'a [u8],
}

/// Cuts the first frame off what has been received so far; `None` if more must arrive.
///
/// # Errors
/// [`FrameError::Size`].
pub fn split(received: &[u8], max: usize) -> Result<Option<Split<'_>>, FrameError> {
    let Some((prefix, rest)) = received.split_first_chunk::<SIZE_BYTES>() else { return Ok(None) };
    let parts = rest.split_at_checked(size(*prefix, max)?);
    Ok(parts.map(|(frame, rest)| Split { frame, rest }))
}

/// Appends a frame whose content `write` appends. On an error of `write`, `out` is as it was.
///
/// # Errors
/// Those of `write`, and [`EncodeError::TooLong`] if the content exceeds `i32::MAX` bytes.
pub fn write(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; SIZE_BYTES]);
    let written = write(out).and_then(|()| {
        let length = out.len() - start - SIZE_BYTES;
        let size = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
        if let Some(prefix) = out.get_mut(start..start + SIZE_BYTES) {
            prefix.copy_from_slice(&size.to_be_bytes());
        }
        Ok(())
    });
    written.inspect_err(|_| out.truncate(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut out = Vec::new();
        write(&mut out, |out| {
            out.extend_from_slice(b"one");
            Ok(())
        })
        .unwrap();
        write(&mut out, |_| Err(EncodeError::Null("x"))).unwrap_err();
        write(&mut out, |_| Ok(())).unwrap();
        let first = split(&out, 3).unwrap().unwrap();
        assert_eq!(first, Split { frame: b"one", rest: &[0, 0, 0, 0] });
        assert_eq!(split(first.rest, 3), Ok(Some(Split { frame: &[], rest: &[] })));
        for cut in 0..7 {
            assert_eq!(split(&out[..cut], 3), Ok(None));
        }
    }

    #[test]
    fn sizes_beyond_the_limit_are_refused_at_once() {
        assert_eq!(split(&[0, 0, 0, 4], 3), Err(FrameError::Size { claimed: 4, max: 3 }));
        assert_eq!(split(&[0xff; 4], 3), Err(FrameError::Size { claimed: -1, max: 3 }));
        assert_eq!(split(&[0x7f, 0xff, 0xff, 0xff, 0], usize::MAX), Ok(None));
    }
}
