//! The listeners: sessions that turn a protocol's frames into calls of the broker and back; nothing else.
//!
//! Invariants: whatever a peer sends, the worst that happens is the end of its own connection. Connections, frames,
//! memory and time are bounded: [`accept`] and [`places`] hold connections to their number, [`handshake`] those that begin by
//! TLS to theirs, [`budget`] all of them together to their memory, each session its peer to its time. One listener does not know
//! another.

pub mod accept;
pub mod arrival;
pub mod auth;
pub mod budget;
pub mod handshake;
pub mod http;
pub mod kafka;
pub mod mqtt;
pub mod native;
pub mod places;
pub mod stream;
mod watch;
pub mod websocket;
