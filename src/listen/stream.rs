//! What sessions of all protocols do with a connection: both directions, time limits, and writing what others have put in line.

use std::io;
use std::time::Duration;

use async_channel::Receiver;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};

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

/// Writes frames in the order they come, each within `frame_time`, until there are no more or one can't be written; `broken` tells that
/// this is over.
pub(super) async fn write(
    mut stream: impl Stream,
    frames: &Receiver<Vec<u8>>,
    frame_time: Duration,
    broken: &Shutdown,
) {
    while let Ok(frame) = frames.recv().await {
        if let Err(error) = within(frame_time, stream.write_all(&frame)).await {
            count_slow(&error);
            break;
        }
    }
    frames.close();
    broken.begin();
    // What could not be sent cannot be reported either.
    let _ = stream.close().await;
}
