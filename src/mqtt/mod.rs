//! MQTT 3.1.1 and 5.0 (OASIS standards): bytes ↔ packets, for the server's and the client's side. No I/O, no clock, no sessions;
//! `core` and `alloc` only.
//!
//! | file | what it is |
//! |---|---|
//! | `packet` | where a packet ends in a stream, and which kinds there are |
//! | `connect`, `publish`, `subscribe`, `ack` | the packets |
//! | `property`, `reason` | what 5.0 adds to them |
//! | `topic` | names, filters, and what matches |
//! | `wire` | integers, strings |
//!
//! Invariants: decoding never panics and never allocates: everything is borrowed from the packet, lists and properties are checked
//! whole and then iterated in place; a length is believed only once the bytes are there.

mod ack;
mod connect;
mod packet;
mod property;
mod publish;
mod reason;
mod subscribe;
pub mod topic;
pub mod wire;

pub use ack::{Ack, Reason};
pub use connect::{ConnAck, Connect, Protocol, Will};
pub use packet::{First, FrameError, Packet, Split, split};
pub use property::{Place, Properties, PropertiesBuilder, Property};
pub use publish::{PacketId, Publish, Qos};
pub use reason::ReasonCode;
pub use subscribe::{
    FilterAck, Filters, RetainHandling, Subscribe, Subscription, Subscriptions, Unsubscribe, put_subscription,
};
pub use wire::{DecodeError, TooLong};

#[cfg(test)]
mod tests;
