//! The Kafka listener of a running gateway over TCP: administration, settings, and the fine print of produce, fetch and
//! lookups. Codes are those that Apache Kafka gives.
#![cfg(all(feature = "gateway", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "tests may stop where the program may not"
)]

mod admin;
mod client;
mod data;
mod quirks;
mod rights;
mod settings;
