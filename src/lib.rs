//! Brooklet: the event broker that lives at the edge.
//!
//! The file tree is the architecture; ARCHITECTURE.md tells it in words. Imports point down this list only:
//!
//! | floor | rooms |
//! |---|---|
//! | 7 | `cli` (the binary) |
//! | 6 | [`gateway`]: wiring |
//! | 5 | [`listen`], [`uplink`]: sessions; [`source`]: the gateway's own telemetry; [`client`]: native client for programs with std |
//! | 3 | [`broker`]: topics, partitions, produce, fetch, dedup; protocol-neutral |
//! | 2 | [`store`]: the only code that names redb |
//! | 1 | [`frame`], [`kafka`], [`mqtt`], [`http`], [`websocket`], [`sasl`]: codecs; [`device`]: the no_std client; [`tls`] |
//! | 0 | [`record`], [`limits`], [`config`], [`base64`], [`calendar`], [`channel`], [`current`], [`executor`], [`metrics`], [`json`], [`oneshot`], [`secret`], [`shutdown`] |
//!
//! Without the feature `gateway` the crate is `no_std` without alloc, and holds [`frame`] and [`device`] only.
#![cfg_attr(not(feature = "gateway"), no_std)]

#[cfg(feature = "gateway")]
extern crate alloc;

pub mod device;
pub mod frame;

#[cfg(feature = "gateway")]
pub mod base64;
#[cfg(feature = "gateway")]
pub mod broker;
#[cfg(feature = "gateway")]
pub mod calendar;
#[cfg(feature = "gateway")]
pub mod channel;
#[cfg(feature = "gateway")]
pub mod cli;
#[cfg(feature = "gateway")]
pub mod client;
#[cfg(feature = "gateway")]
pub mod config;
#[cfg(feature = "gateway")]
pub mod current;
#[cfg(feature = "gateway")]
pub mod executor;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "gateway")]
pub mod http;
#[cfg(feature = "gateway")]
pub mod human;
#[cfg(feature = "gateway")]
pub mod json;
#[cfg(feature = "gateway")]
pub mod kafka;
#[cfg(feature = "gateway")]
pub mod limits;
#[cfg(feature = "gateway")]
pub mod listen;
#[cfg(feature = "gateway")]
pub mod metrics;
#[cfg(feature = "gateway")]
pub mod mqtt;
#[cfg(feature = "gateway")]
pub mod oneshot;
#[cfg(feature = "gateway")]
pub mod recent_log;
#[cfg(feature = "gateway")]
pub mod record;
#[cfg(feature = "gateway")]
pub mod sasl;
#[cfg(feature = "gateway")]
pub mod secret;
#[cfg(feature = "gateway")]
pub mod shutdown;
#[cfg(feature = "gateway")]
pub mod source;
#[cfg(feature = "gateway")]
pub mod store;
#[cfg(feature = "gateway")]
pub mod tls;
#[cfg(feature = "gateway")]
pub mod uplink;
#[cfg(feature = "gateway")]
pub mod websocket;
