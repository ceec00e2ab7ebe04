//! What sessions of all protocols do with a connection: both directions, time limits, and writing what others have put in line.

use std::io;
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt, future};

use crate::channel::Receiver;
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;
pub use crate::tls::Socket;

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Clone + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Clone + Unpin + Send + 'static> Stream for S {}

/// `work`, or [`io::ErrorKind::TimedOut`] when it takes longer than `time`.
pub(super) async fn within<T, E: From<io::Error>>(
    time: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = async {
        smol::Timer::after(time).await;
        Err(io::Error::from(io::ErrorKind::TimedOut).into())
    };
    work.or(late).await
}

/// Counts the end of a connection, if it is for being too slow.
pub(super) fn count_slow(error: &io::Error) {
    METRICS.connections_too_slow.add(u64::from(error.kind() == io::ErrorKind::TimedOut));
}

/// Lets others have their turn, after so many steps of a peer that never pauses.
pub(super) struct Turns {
    at_a_time: u32,
    left: u32,
}

impl Turns {
    pub(super) fn new(at_a_time: u32) -> Self {
        Self { at_a_time, left: at_a_time }
    }

    /// A step has been done.
    pub(super) async fn next(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.left = self.at_a_time;
            future::yield_now().await;
        }
    }
}

/// Writes frames in the order they come, each within `frame_time`, until there are no more or one can't be written; `broken` tells that
/// this is over.
pub(super) async fn write(
    mut stream: impl Stream,
    frames: &Receiver<Vec<u8>>,
    frame_time: Duration,
    broken: &Shutdown,
) {
    while let Ok(frame) = frames.recv().await {
        // Boxed, so that a connection that waits has no room for it.
        if let Err(error) = Box::pin(within(frame_time, stream.write_all(&frame))).await {
            count_slow(&error);
            break;
        }
    }
    frames.close();
    broken.begin();
    // What could not be sent cannot be reported either.
    let _ = stream.close().await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    #[test]
    fn others_have_their_turn_after_some_steps() {
        let mut turns = Turns::new(3);
        let mut waits = || block_on(poll_once(pin!(turns.next()))).is_none();
        let waited: Vec<bool> = (0..7).map(|_| waits()).collect();
        assert_eq!(waited, [false, false, true, false, false, true, false]);
    }
}
