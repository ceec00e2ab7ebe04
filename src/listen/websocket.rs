//! A connection by WebSocket, as a stream like any other: what a client sends in binary messages is read, what is written goes out in them.
//!
//! What the protocol wants of both directions (PONG, CLOSE) waits behind a lock that all clones share, and goes out between two frames: with
//! the next write, or by whoever reads.
//!
//! Invariants: the lock is held for a step, never over a wait; what waits to be sent is bounded (a header, one PONG, one CLOSE), whatever
//! the client sends; a connection on which nothing comes holds no buffer; a client that sends nothing but PINGs is silent for the
//! protocol above.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::stream::{Stream, within};
use crate::http::{Head, HeadError, head};
use crate::tls::Socket;
use crate::websocket::frame::{Decoder, put_close, put_header, put_pong};
use crate::websocket::handshake::{self, Offer, Refusal};

/// Reads without data, one after the other, until others have their turn.
const READS_AT_A_TIME: usize = 32;
/// Bytes that are read of a request at a time.
const READ_BYTES: usize = 1024;
/// The code of an end that nobody is to blame for (section 7.4.1).
const NORMAL: u16 = 1000;

/// A connection that has shaken hands. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct WebSocket {
    shared: Arc<Mutex<Shared>>,
    socket: Socket,
}

#[derive(Debug, Default)]
struct Shared {
    decoder: Decoder,
    /// What came behind the request.
    early: Vec<u8>,
    /// A PONG that is owed.
    pong: Option<Vec<u8>>,
    /// A CLOSE that is to be sent.
    close: Option<Vec<u8>>,
    /// Bytes that go out before anything else: control frames, and the header of the message under way.
    out: Vec<u8>,
    /// Bytes of the message under way that are still to be written.
    left: usize,
    /// CLOSE has been queued: no message follows.
    is_closing: bool,
    /// Nothing is read any more.
    is_over: bool,
}

/// Shakes hands with a client, within `time`.
///
/// # Errors
/// The socket's, or what is wrong with the request; the client has been told by then.
pub async fn accept(mut socket: Socket, offer: &Offer<'_>, time: Duration) -> io::Result<WebSocket> {
    let shaking = async {
        let mut bytes = Vec::new();
        let (answer, len) = loop {
            match Head::parse(&bytes) {
                Ok(Some(head)) => break (handshake::accept(&head, offer), head.len),
                Ok(None) => read_more(&mut socket, &mut bytes).await?,
                Err(error) => break (Err(refusal(error)), 0),
            }
        };
        match answer {
            Ok(answer) => {
                socket.write_all(answer.as_bytes()).await?;
                Ok(bytes.split_off(len))
            }
            Err(refusal) => {
                socket.write_all(handshake::refused(refusal).as_bytes()).await?;
                socket.close().await?;
                Err(io::Error::new(io::ErrorKind::InvalidData, format!("no WebSocket: {}", refusal.text)))
            }
        }
    };
    let early = within(time, shaking).await?;
    Ok(WebSocket { shared: Arc::new(Mutex::new(Shared { early, ..Shared::default() })), socket })
}

async fn read_more(socket: &mut Socket, bytes: &mut Vec<u8>) -> io::Result<()> {
    let had = bytes.len();
    bytes.resize((had + READ_BYTES).min(head::HEAD_BYTES_MAX + 1), 0);
    let read = socket.read(bytes.get_mut(had..).unwrap_or_default()).await?;
    bytes.truncate(had + read);
    if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn refusal(error: HeadError) -> Refusal {
    Refusal { status: error.status(), text: "this is no request of HTTP/1.1 that is served here" }
}

impl Shared {
    /// Puts control frames that are owed in line. Only between two messages.
    fn queue_control(&mut self) {
        if self.left > 0 || self.is_closing {
            return;
        }
        if let Some(payload) = self.pong.take() {
            put_pong(&mut self.out, &payload);
        }
        if let Some(payload) = self.close.take() {
            put_close(&mut self.out, &payload);
            self.is_closing = true;
        }
    }

    /// Sends what is in line, and up to `message` bytes behind it; how many of those.
    fn send(&mut self, socket: &mut Socket, cx: &mut Context<'_>, message: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.out.is_empty() && message.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let both = [IoSlice::new(&self.out), IoSlice::new(message)];
            let sent = match Pin::new(&mut *socket).poll_write_vectored(cx, &both) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => sent,
                other => return other,
            };
            let of_message = sent.saturating_sub(self.out.len());
            self.out.drain(..sent.min(self.out.len()));
            if self.out.is_empty() {
                // A connection that waits holds no buffer.
                self.out = Vec::new();
            }
            if of_message > 0 || message.is_empty() && self.out.is_empty() {
                return Poll::Ready(Ok(of_message));
            }
        }
    }

    /// Sends control frames that are owed, as far as the socket takes them: what it does not, it takes at the next look.
    fn send_control(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> io::Result<()> {
        self.queue_control();
        if self.left > 0 {
            return Ok(());
        }
        match self.send(socket, cx, &[]) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Undoes the frames in `bytes`; how many bytes of data are at their front now.
    fn decode(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.decoder.decode(bytes) {
            Ok(decoded) => {
                self.pong = decoded.ping.or_else(|| self.pong.take());
                if let Some(payload) = decoded.close {
                    self.close = Some(payload);
                    self.is_over = true;
                }
                Ok(decoded.data)
            }
            Err(violation) => {
                self.close = Some(violation.code.to_be_bytes().to_vec());
                self.is_over = true;
                Err(io::Error::new(io::ErrorKind::InvalidData, violation))
            }
        }
    }

    /// What came behind the request, as far as there is room.
    fn early(&mut self, buf: &mut [u8]) -> usize {
        let count = self.early.len().min(buf.len());
        for (slot, byte) in buf.iter_mut().zip(self.early.drain(..count)) {
            *slot = byte;
        }
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        count
    }
}

/// A panic elsewhere can't leave it half changed.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AsyncRead for WebSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { shared, socket } = self.get_mut();
        let mut shared = lock(shared);
        for _ in 0..READS_AT_A_TIME {
            shared.send_control(socket, cx)?;
            if shared.is_over || buf.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let mut came = shared.early(buf);
            if came == 0 {
                came = match Pin::new(&mut *socket).poll_read(cx, buf) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(0)),
                    Poll::Ready(Ok(came)) => came,
                    other => return other,
                };
            }
            let decoded = shared.decode(buf.get_mut(..came).unwrap_or_default());
            if let Err(error) = decoded {
                shared.send_control(socket, cx)?;
                return Poll::Ready(Err(error));
            }
            match decoded {
                Ok(0) => {}
                other => return Poll::Ready(other),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for WebSocket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { shared, socket } = self.get_mut();
        let mut shared = lock(shared);
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if shared.left == 0 {
            shared.queue_control();
            if shared.is_closing {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            put_header(&mut shared.out, buf.len());
            shared.left = buf.len();
        }
        let message = buf.get(..shared.left).unwrap_or(buf);
        let sent = shared.send(socket, cx, message);
        if let Poll::Ready(Ok(sent)) = &sent {
            shared.left -= sent;
        }
        sent
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { shared, socket } = self.get_mut();
        let mut shared = lock(shared);
        shared.close.get_or_insert_with(|| NORMAL.to_be_bytes().to_vec());
        // A client that takes nothing goes without.
        shared.send_control(socket, cx)?;
        drop(shared);
        Pin::new(socket).poll_close(cx)
    }
}

/// A connection with or without frames around: one type, so that what is spoken over it is compiled once.
#[derive(Clone, Debug)]
pub enum Carrier {
    Plain(Socket),
    WebSocket(WebSocket),
}

const _: fn() = || {
    fn is_stream<S: Stream>() {}
    is_stream::<Carrier>();
};

impl AsyncRead for Carrier {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::WebSocket(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::WebSocket(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::WebSocket(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_close(cx),
            Self::WebSocket(socket) => Pin::new(socket).poll_close(cx),
        }
    }
}
