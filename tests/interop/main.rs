//! Brooklet with other people's programs: kcat against its Kafka port, its uplink into a real Apache Kafka, its downlink out of it;
//! and all of these, OpenSSL and mosquitto by TLS.
//!
//! `scripts/interop.sh` brings up what is needed and runs these. On their own (`cargo test`) those whose peer is missing
//! say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it fails"
)]

#[path = "../common/mod.rs"]
mod common;
mod downlink;
mod kcat;
mod letters;
mod tls;
mod uplink;
