//! TLS over a socket, asynchronously: a stream whose clones are the same connection, so that one task reads while another writes.
//!
//! rustls holds the state and does no I/O. It stands behind a lock that is taken for one step (encrypting or decrypting what is at
//! hand) and never over a wait: each clone has a handle to the socket of its own, on which it waits by itself.
//!
//! Invariants: a write is done when its bytes are with the kernel, so nothing has to be flushed, and who is too slow to take them is
//! noticed by whoever writes; a connection on which nothing comes holds rustls's state and no buffer of ours; the end of the socket
//! without a farewell (close_notify) is an end like any other, since every protocol above has lengths of its own.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use rustls::Connection;

use super::certificate::Certificate;
use super::words::explained;

/// A stream over the socket `S`, of which it needs as many handles as there are clones of the stream.
pub struct TlsStream<S> {
    connection: Arc<Mutex<Connection>>,
    socket: S,
    /// Bytes of the write under way that are encrypted, but not all with the kernel.
    taken: usize,
}

impl<S: Clone> Clone for TlsStream<S> {
    fn clone(&self) -> Self {
        Self { connection: Arc::clone(&self.connection), socket: self.socket.clone(), taken: 0 }
    }
}

impl<S: fmt::Debug> fmt::Debug for TlsStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl<S> TlsStream<S> {
    /// The socket below.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The certificate that the other side has proved to have, if it showed one.
    pub fn peer_certificate(&self) -> Option<Certificate> {
        let connection = self.connection();
        let first = connection.peer_certificates().and_then(<[_]>::first);
        first.and_then(|der| Certificate::parse(der))
    }

    /// Whether an earlier session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.connection().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// A panic elsewhere would have left rustls's state half changed: it reports that itself, by errors.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        lock(&self.connection)
    }
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Shakes hands over `socket`.
    ///
    /// # Errors
    /// The socket's, or what is wrong with the other side or its certificate, in words for people. The other side has been told by
    /// then, as far as it listens.
    pub async fn handshake(connection: Connection, socket: S) -> io::Result<Self> {
        let mut stream = Self { connection: Arc::new(Mutex::new(connection)), socket, taken: 0 };
        poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { connection, socket, .. } = self;
        let mut connection = lock(connection);
        loop {
            match send(&mut connection, socket, cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            if !connection.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            match receive(&mut connection, socket, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { connection, socket, .. } = self.get_mut();
        let mut connection = lock(connection);
        loop {
            match connection.reader().read(buf) {
                Ok(read) => return Poll::Ready(Ok(read)),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(0)),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
            let received = receive(&mut connection, socket, cx);
            // What came may have to be answered (a change of keys). If the socket is full this side is woken when it isn't any more.
            if connection.wants_write()
                && let Poll::Ready(Err(error)) = send(&mut connection, socket, cx)
            {
                return Poll::Ready(Err(error));
            }
            match received {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { connection, socket, taken } = self.get_mut();
        let mut connection = lock(connection);
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        loop {
            match send(&mut connection, socket, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            if *taken > 0 || bytes == 0 {
                return Poll::Ready(Ok(std::mem::take(taken).min(bytes)));
            }
            *taken = connection.writer().write_vectored(bufs)?;
            if *taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { connection, socket, .. } = self.get_mut();
        match send(&mut lock(connection), socket, cx) {
            Poll::Ready(Ok(())) => Pin::new(socket).poll_flush(cx),
            other => other,
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { connection, socket, .. } = self.get_mut();
        let sent = {
            let mut connection = lock(connection);
            // Once: later calls do nothing.
            connection.send_close_notify();
            send(&mut connection, socket, cx)
        };
        match sent {
            Poll::Ready(_) => Pin::new(socket).poll_close(cx),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Takes what the socket has at the moment; 0 is its end.
fn receive(
    connection: &mut Connection,
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let read = match connection.read_tls(&mut Now { socket, cx }) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
        Err(error) => return Poll::Ready(Err(error)),
    };
    if let Err(error) = connection.process_new_packets() {
        // The other side is told why, if it takes that at once.
        let _ = send(connection, socket, cx);
        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, explained(&error))));
    }
    Poll::Ready(Ok(read))
}

/// Gives the socket all that is encrypted.
fn send(
    connection: &mut Connection,
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while connection.wants_write() {
        match connection.write_tls(&mut Now { socket, cx }) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    Poll::Ready(Ok(()))
}

/// A socket as rustls wants it: what would have to wait is `WouldBlock`, and the task is woken later.
struct Now<'a, 'w, S> {
    socket: &'a mut S,
    cx: &'a mut Context<'w>,
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl<S: AsyncRead + Unpin> Read for Now<'_, '_, S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_read(self.cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> Write for Now<'_, '_, S> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
