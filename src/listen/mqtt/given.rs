//! What shares have given to a client and is not sent yet.
//!
//! Invariant: bounded in number and in bytes; who has no room is given nothing.

use std::sync::Arc;

use super::delivery::Outgoing;
use super::share::At;
use super::shares::Shared;

/// Messages that may wait, and bytes of them.
const COUNT_MAX: usize = 64;
const BYTES_MAX: usize = 16 * 1024;

/// One message.
pub(super) struct Given {
    pub(super) share: Arc<Shared>,
    pub(super) at: At,
    pub(super) outgoing: Outgoing,
}

/// See the module.
#[derive(Default)]
pub(super) struct GivenQueue {
    waiting: Vec<Given>,
    bytes: usize,
}

impl GivenQueue {
    /// Whether it takes one more, of whatever size.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < COUNT_MAX && self.bytes < BYTES_MAX
    }

    pub(super) fn push(&mut self, share: Arc<Shared>, at: At, outgoing: Outgoing) {
        self.bytes += outgoing.message.bytes();
        self.waiting.push(Given { share, at, outgoing });
    }

    /// All of it, in its order.
    pub(super) fn take(&mut self) -> Vec<Given> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}
