//! The listeners: sessions that turn a protocol's frames into calls of the broker and back; nothing else.
//!
//! Invariants: whatever a peer sends, the worst that happens is the end of its own connection. Connections, frames,
//! memory and time are bounded: [`accept`] holds connections to their number, [`budget`] all of them together to
//! their memory, each session its peer to its time. One listener does not know another.

pub mod accept;
pub mod budget;
pub mod kafka;
pub mod mqtt;
pub mod native;
mod stream;
mod watch;
