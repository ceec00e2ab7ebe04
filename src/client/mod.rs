//! The native client for programs with std, on smol: what the command line uses.
//!
//! | piece | what it does |
//! |---|---|
//! | [`Address`] | where a gateway listens: TCP or a Unix socket |
//! | [`Connection`] | requests, one after the other: topics, offsets, fetch, status, uplinks |
//! | [`Consumer`] | a topic's records as they come, of all its partitions, resuming where it was |
//! | [`Publisher`] | records on their way in: [`crate::device::Session`] with a connection that is made anew when it breaks |
//!
//! Each has one owner and one connection: there is no hidden dispatcher, and what isn't awaited isn't read.
//!
//! Invariants: no lock is held across an await; every buffer is bounded by a credit, a window or a frame limit.

mod address;
mod connection;
mod consumer;
mod error;
mod membership;
mod publisher;
mod requests;

pub use address::{Address, Login};
pub use connection::{Connection, Gateway};
pub use consumer::{ConsumeOptions, Consumer, OwnedRecord};
pub use error::ClientError;
pub use publisher::{Progress, Publisher, PublisherOptions};
pub use requests::{FetchOptions, Fetched, PartitionOffsets, TopicInfo};
