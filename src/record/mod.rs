//! The Kafka record batch, version 2: the one unit that flows through the house.
//!
//! What a Kafka client sends is stored as it came and leaves as it is, compressed payload untouched. This room reads
//! ([`BatchView`], [`records`]), checks ([`verify`]), builds ([`BatchBuilder`]) and patches ([`header`]) batches. It knows
//! bytes only: no I/O, no clock, no topic.
//!
//! Invariants:
//! - Nothing panics on any input, and nothing is allocated because a peer claims it: every claimed count or size is
//!   held against the bytes that are there, and decompression is bounded absolutely and by ratio ([`VerifyLimits`]).
//! - A damaged batch never gets a fresh checksum: whatever recomputes a CRC either verifies the old one first or says so.
//! - What [`verify`] accepts, an Apache Kafka broker accepts too (so LZ4 with linked blocks is refused here already,
//!   where its producer can be told, and not weeks later at the centre).
//!
//! Absent: message formats 0 and 1 (gone from Kafka since 4.0).

mod aborted;
mod attributes;
mod batch;
mod builder;
mod codec;
mod error;
pub mod header;
pub mod provenance;
mod recompress;
mod records;
mod reencode;
mod shared;
#[cfg(test)]
mod tests;
mod varint;
mod verify;
mod walk;

pub use self::aborted::Aborted;
pub use self::attributes::{Attributes, Compression, TimestampType, UnknownCompression};
pub use self::batch::{BatchView, HEADER_BYTES};
pub use self::builder::{BatchBuilder, Mark, NO_HEADERS, Producer};
pub use self::codec::Saving;
pub use self::error::BatchError;
pub use self::recompress::recompress;
pub use self::records::{Headers, RecordIter, RecordRef, decompress, records};
pub use self::reencode::{append_records, append_records_where, append_records_with};
pub use self::shared::SharedBytes;
pub use self::verify::{BatchFacts, VerifyLimits, find_by_timestamp, verify};
