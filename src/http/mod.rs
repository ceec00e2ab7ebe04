//! HTTP/1.1, as far as a gateway that only shows itself needs it: the head of a request, and that of an answer.
//!
//! Invariants: bytes ↔ values; no I/O, no clock, never panics; nothing is allocated because a peer claims a size.

pub mod answer;
pub mod head;
pub mod target;

pub use head::{Head, HeadError};
