//! TLS over a socket, asynchronously: a stream whose clones are the same connection, so that one task reads while another writes.
//!
//! [`Engine`] holds the state and does no I/O. It stands behind a lock that is taken for one step (encrypting or decrypting what is at
//! hand) and never over a wait: each clone has a handle to the socket of its own, on which it waits by itself.
//!
//! Invariants: a write is done when its bytes are with the kernel, so nothing has to be flushed, and who is too slow to take them is
//! noticed by whoever writes; a connection on which nothing comes holds rustls's state and no buffer; the end of the socket
//! without a farewell (close_notify) is an end like any other, since every protocol above has lengths of its own.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWrite};
use rustls::Error;
use smol::lock::Semaphore;

use super::certificate::Certificate;
use super::engine::{Connection, Engine};
use super::words::explained;

/// A step of a handshake costs some tenths of a millisecond, more than anything else that is done on the threads of the sessions. One is made
/// at a time, so that what others wait for is not behind many.
static TURN: Semaphore = Semaphore::new(1);

/// Bytes that are read at a time, on the stack; where as many wait for the rest of their record, more at a time.
const READ_BYTES: usize = 4_096;

/// A stream over the socket `S`, of which it needs as many handles as there are clones of the stream.
pub struct TlsStream<S> {
    engine: Arc<Mutex<Engine>>,
    socket: S,
    /// Bytes of the write under way that are encrypted, but not all with the kernel.
    taken: usize,
}

impl<S: Clone> Clone for TlsStream<S> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine), socket: self.socket.clone(), taken: 0 }
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
        let engine = self.engine();
        let first = engine.state().peer_certificates().and_then(<[_]>::first);
        first.and_then(|der| Certificate::parse(der))
    }

    /// Whether an earlier session was resumed.
    pub fn is_resumed(&self) -> bool {
        self.engine().state().handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    /// A panic elsewhere would have left rustls's state half changed: it reports that itself, by errors.
    fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }
}

fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream<S> {
    /// Shakes hands over `socket`.
    ///
    /// # Errors
    /// The socket's, or what is wrong with the other side or its certificate, in words for people. The other side has been told by
    /// then, as far as it listens.
    pub async fn handshake(connection: Connection, socket: S) -> io::Result<Self> {
        let mut stream = Self { engine: Arc::new(Mutex::new(Engine::new(connection))), socket, taken: 0 };
        loop {
            let worked = {
                let _turn = TURN.acquire().await;
                stream.engine().process()
            };
            let is_over = poll_fn(|cx| stream.poll_step(cx, worked.is_err())).await;
            worked.map_err(in_words)?;
            if is_over? {
                return Ok(stream);
            }
        }
    }

    /// Sends what a step of the handshake has made, and waits for what the next one needs; true if it is over. The other side is told of
    /// what failed if it takes that at once.
    fn poll_step(&mut self, cx: &mut Context<'_>, has_failed: bool) -> Poll<io::Result<bool>> {
        let Self { engine, socket, .. } = self;
        let mut engine = lock(engine);
        match send(&mut engine, socket, cx) {
            _ if has_failed => return Poll::Ready(Ok(true)),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
        if !engine.state().is_handshaking() {
            return Poll::Ready(Ok(true));
        }
        receive(&mut engine, socket, cx).map(|read| match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(false),
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { engine, socket, .. } = self.get_mut();
        let mut engine = lock(engine);
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            let read = engine.read(buf);
            // What came may have to be answered (a change of keys, or what is wrong with it). If the socket is full this side is woken
            // when it isn't any more.
            let sent = send(&mut engine, socket, cx);
            if let Some(read) = read.map_err(in_words)? {
                return Poll::Ready(Ok(read));
            }
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(Err(error));
            }
            match receive(&mut engine, socket, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
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
        let Self { engine, socket, taken } = self.get_mut();
        let mut engine = lock(engine);
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        loop {
            match send(&mut engine, socket, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            if *taken > 0 || bytes == 0 {
                return Poll::Ready(Ok(std::mem::take(taken).min(bytes)));
            }
            *taken = engine.write(bufs).map_err(in_words)?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { engine, socket, .. } = self.get_mut();
        match send(&mut lock(engine), socket, cx) {
            Poll::Ready(Ok(())) => Pin::new(socket).poll_flush(cx),
            other => other,
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { engine, socket, .. } = self.get_mut();
        let sent = {
            let mut engine = lock(engine);
            // Once: later calls do nothing.
            engine.close();
            send(&mut engine, socket, cx)
        };
        match sent {
            Poll::Ready(_) => Pin::new(socket).poll_close(cx),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn in_words(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, explained(&error))
}

/// Takes what the socket has at the moment; 0 is its end.
fn receive(
    engine: &mut Engine,
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut socket = Pin::new(socket);
    if engine.pending() < READ_BYTES {
        // Whoever waits here, and that is nearly all connections nearly all the time, holds no buffer.
        let mut bytes = [0; READ_BYTES];
        let read = socket.as_mut().poll_read(cx, &mut bytes);
        if let Poll::Ready(Ok(read)) = read {
            engine.receive(bytes.get(..read).unwrap_or_default());
        }
        return read;
    }
    let read = engine.receive_by(|room| match socket.as_mut().poll_read(cx, room) {
        Poll::Ready(Ok(read)) => (read, Poll::Ready(Ok(read))),
        other => (0, other),
    });
    read.unwrap_or_else(|| {
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message of the handshake is too large")))
    })
}

/// Gives the socket all that is encrypted.
fn send(
    engine: &mut Engine,
    socket: &mut (impl AsyncRead + AsyncWrite + Unpin),
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !engine.outgoing().is_empty() {
        match Pin::new(&mut *socket).poll_write(cx, engine.outgoing()) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(sent)) => engine.has_sent(sent),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}
