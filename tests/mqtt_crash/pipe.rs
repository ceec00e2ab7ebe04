//! A connection in memory: its one end is a stream of the gateway's, the other a client's.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures_lite::{AsyncRead, AsyncWrite};

use crate::peers::Link;

#[derive(Clone, Default)]
pub struct Pipe {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    to_gateway: VecDeque<u8>,
    to_client: Vec<u8>,
    client_gone: bool,
    gateway_gone: bool,
    reader: Option<Waker>,
}

impl Inner {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Pipe {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Bytes that the gateway has not read.
    pub fn unread(&self) -> usize {
        self.inner().to_gateway.len()
    }

    /// The client's side is gone.
    pub fn cut(&self) {
        let mut inner = self.inner();
        inner.client_gone = true;
        inner.wake();
    }
}

impl Link for Pipe {
    fn send(&mut self, bytes: &[u8]) {
        let mut inner = self.inner();
        inner.to_gateway.extend(bytes);
        inner.wake();
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> bool {
        let mut inner = self.inner();
        into.append(&mut inner.to_client);
        !inner.gateway_gone
    }
}

impl AsyncRead for Pipe {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        if inner.to_gateway.is_empty() && !inner.client_gone {
            inner.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = into.len().min(inner.to_gateway.len());
        for (into, byte) in into.iter_mut().zip(inner.to_gateway.drain(..count)) {
            *into = byte;
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.inner();
        if inner.client_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        inner.to_client.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().gateway_gone = true;
        Poll::Ready(Ok(()))
    }
}
