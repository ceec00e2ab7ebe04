//! WebSocket (RFC 6455), the server's side: the handshake and frames, as bytes ↔ values. No I/O, no clock.
//!
//! What is carried is a stream of bytes: where a message or a frame ends means nothing to what is spoken inside (MQTT 5.0, section 6), so
//! nothing is gathered, and no size that a client claims is believed or refused.

pub mod frame;
pub mod handshake;
