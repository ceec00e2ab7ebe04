//! Consumer groups against a gateway as a process: Kafka members by hand, native ones by the command line.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../common/mod.rs"]
mod common;

mod cli;
mod kafka;
