//! The batch attributes: a bit field of 16 bits, and the values it carries.

use std::fmt;
use std::str::FromStr;

/// The attributes of a batch as they stand in its header.
///
/// | bits | meaning |
/// |---|---|
/// | 0..=2 | compression |
/// | 3 | timestamp type |
/// | 4 | part of a transaction |
/// | 5 | control batch (transaction markers, no data) |
/// | 6 | base timestamp holds the delete horizon (set by compaction) |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(super) const COMPRESSION: i16 = 0x07;
    pub(super) const LOG_APPEND_TIME: i16 = 0x08;
    pub(super) const TRANSACTIONAL: i16 = 0x10;
    pub(super) const CONTROL: i16 = 0x20;
    pub(super) const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the payload; the unknown id (5, 6 or 7) otherwise.
    pub fn compression(self) -> Result<Compression, u8> {
        match self.0 & Self::COMPRESSION {
            0 => Ok(Compression::None),
            1 => Ok(Compression::Gzip),
            2 => Ok(Compression::Snappy),
            3 => Ok(Compression::Lz4),
            4 => Ok(Compression::Zstd),
            unknown => Err(unknown as u8),
        }
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether the batch is part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds transaction markers instead of data.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the delete horizon that a compaction left there (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// What a record's timestamp means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's time, one per record.
    CreateTime,
    /// The broker's time of the append: one for the whole batch, in `maxTimestamp`.
    LogAppendTime,
}

/// How the records of a batch are compressed. Displayed and parsed as in Kafka's `compression.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Compression {
    /// Every codec, in the order of its id.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(name: &str) -> Result<Compression, UnknownCompression> {
        match name {
            // Kafka's topics know "uncompressed", its producers "none".
            "none" | "uncompressed" => Ok(Compression::None),
            "gzip" => Ok(Compression::Gzip),
            "snappy" => Ok(Compression::Snappy),
            "lz4" => Ok(Compression::Lz4),
            "zstd" => Ok(Compression::Zstd),
            _ => Err(UnknownCompression),
        }
    }
}

/// A text that names no codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCompression;

impl fmt::Display for UnknownCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a compression: one of none, gzip, snappy, lz4, zstd")
    }
}

impl std::error::Error for UnknownCompression {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().parse(), Ok(compression));
            assert_eq!(Attributes(compression as i16).compression(), Ok(compression));
        }
        assert_eq!("brotli".parse::<Compression>(), Err(UnknownCompression));
        assert_eq!(Attributes(0x7f | 0x07).compression(), Err(7));
    }

    #[test]
    fn bits_are_read() {
        let all = Attributes(0x78);
        assert_eq!(all.compression(), Ok(Compression::None));
        assert_eq!(all.timestamp_type(), TimestampType::LogAppendTime);
        assert!(all.is_transactional() && all.is_control() && all.has_delete_horizon());
        let none = Attributes(0x07);
        assert_eq!(none.timestamp_type(), TimestampType::CreateTime);
        assert!(!none.is_transactional() && !none.is_control() && !none.has_delete_horizon());
    }
}
