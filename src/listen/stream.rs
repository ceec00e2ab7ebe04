//! What sessions of all protocols do with a connection: both directions, time limits, and writing what others have put in line.

use std::io;
use std::net::Shutdown as Half;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_channel::Receiver;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt, FutureExt};
use smol::net::TcpStream;
use smol::net::unix::UnixStream;

use crate::shutdown::Shutdown;
use crate::tls::TlsStream;

/// Both directions of a connection.
pub trait Stream: AsyncRead + AsyncWrite + Clone + Unpin + Send + 'static {}
impl<S: AsyncRead + AsyncWrite + Clone + Unpin + Send + 'static> Stream for S {}

/// A connection of any kind that clients come by. Clones are the same connection.
///
/// One type for all, so that each session is compiled once.
#[derive(Clone, Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Tls(TlsStream<TcpStream>),
    Unix(UnixStream),
}

impl Socket {
    /// Ends both directions at once: whoever reads or writes is woken.
    pub(super) fn cut(&self) {
        // If it has ended already, nobody waits.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Half::Both),
            Self::Tls(stream) => stream.socket().shutdown(Half::Both),
            Self::Unix(stream) => stream.shutdown(Half::Both),
        };
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_close(cx),
            Self::Tls(stream) => Pin::new(stream).poll_close(cx),
            Self::Unix(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}

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

/// Writes frames in the order they come, each within `frame_time`, until there are no more or one can't be written; `broken` tells that
/// this is over.
pub(super) async fn write(
    mut stream: impl Stream,
    frames: &Receiver<Vec<u8>>,
    frame_time: Duration,
    broken: &Shutdown,
) {
    while let Ok(frame) = frames.recv().await {
        if within(frame_time, stream.write_all(&frame)).await.is_err() {
            break;
        }
    }
    frames.close();
    broken.begin();
    // What could not be sent cannot be reported either.
    let _ = stream.close().await;
}
