//! Frames on their way out. Every side of a session puts whole frames here; one writes them, in the order they came.
//!
//! Invariant: bounded: a client that does not read what it asked for stops those who answer it, then its own requests.

use std::future::Future;

use crate::channel::{self, Receiver, Sender};
use crate::frame::{ErrorCode, GatewayMessage, gateway_message::Failed};

/// Frames that may wait to be written.
const FRAMES_MAX: usize = 16;

/// Where frames are put.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    sender: Sender<Vec<u8>>,
}

/// The connection is over: there is nobody to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone;

impl Outbox {
    pub(super) fn new() -> (Self, Receiver<Vec<u8>>) {
        let (sender, receiver) = channel::bounded(FRAMES_MAX);
        (Self { sender }, receiver)
    }

    /// Sends a message. It is encoded at once, so that what waits for room holds the frame only.
    pub(super) fn send(&self, message: GatewayMessage<'_>) -> impl Future<Output = Result<(), Gone>> + use<'_> {
        let mut frame = Vec::new();
        // Nothing that is sent comes near the largest frame: texts are cut, record sets fit the client's limit.
        let encoded = message.append_to(&mut frame);
        async move {
            encoded.map_err(|_| Gone)?;
            self.sender.send(frame).await.map_err(|_| Gone)
        }
    }

    /// Tells that the request `id` (0: the connection) failed.
    pub(super) fn fail(
        &self,
        id: u32,
        code: ErrorCode,
        text: &str,
    ) -> impl Future<Output = Result<(), Gone>> + use<'_> {
        self.send(GatewayMessage::Failed(Failed { id, code, text }))
    }
}
