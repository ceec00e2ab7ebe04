//! Why a batch isn't taken, split by what the caller does next.

use std::fmt;
use std::io;

use super::Compression;

/// Why a batch isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The input ends before the batch does. At the end of a fetch response: normal; elsewhere: damaged.
    Truncated,
    /// Not record batch version 2. The magic byte that stood there.
    Magic(i8),
    /// The checksum doesn't fit the bytes: damaged on the way or on disk.
    Crc { stored: u32, computed: u32 },
    /// A codec id that Kafka doesn't know.
    UnknownCompression(u8),
    /// The payload isn't what its codec writes.
    Decompress(Compression),
    /// Larger than allowed, compressed or decompressed. Bytes.
    TooLarge { bytes: u64, bytes_max: u64 },
    /// Header and records contradict each other or themselves.
    Malformed(&'static str),
    /// A control batch where only data may come.
    Control,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Truncated => f.write_str("the record batch is cut off"),
            BatchError::Magic(magic) => write!(f, "message format {magic} is not spoken, only record batch version 2"),
            BatchError::Crc { stored, computed } => {
                write!(f, "the record batch is damaged: its CRC-32C says {stored:08x}, its bytes {computed:08x}")
            }
            BatchError::UnknownCompression(id) => write!(f, "compression {id} is unknown"),
            BatchError::Decompress(compression) => write!(f, "the records are not valid {compression} data"),
            BatchError::TooLarge { bytes, bytes_max } => {
                write!(f, "the record batch is too large: {bytes} bytes where {bytes_max} are allowed")
            }
            BatchError::Malformed(what) => write!(f, "the record batch is malformed: {what}"),
            BatchError::Control => f.write_str("a control batch where only data may come"),
        }
    }
}

impl std::error::Error for BatchError {}

/// Decoders are `Read`, so their errors travel inside `io::Error`.
impl From<BatchError> for io::Error {
    fn from(error: BatchError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl BatchError {
    pub(super) const SHORT: BatchError = BatchError::Malformed("its records end too early");
    pub(super) const OVERLONG: BatchError = BatchError::Malformed("a varint has too many bits");

    /// The error that a decoder wrapped, or that the payload isn't valid for its codec.
    pub(super) fn from_read(error: &io::Error, compression: Compression) -> BatchError {
        error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<BatchError>())
            .copied()
            .unwrap_or(BatchError::Decompress(compression))
    }
}
