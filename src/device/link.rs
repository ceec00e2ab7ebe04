//! Drives a session over a blocking stream.

use core::fmt;

use embedded_io::{Read, ReadReady, Write};

use super::{Event, Identity, Session, SessionError, Storage};
use crate::frame::{Decoder, Next};

/// A session and the buffer for what comes in.
#[derive(Debug)]
pub struct Link<I, S, B> {
    session: Session<I, S, B>,
    decoder: Decoder<B>,
}

/// The connection is of no use any more; see [`SessionError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkError<E, T> {
    /// As the session says.
    Session(SessionError<E>),
    /// The stream failed.
    Stream(T),
    /// The gateway closed the stream.
    Closed,
}

impl<E: fmt::Debug, T: fmt::Debug> fmt::Display for LinkError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(error) => error.fmt(f),
            Self::Stream(error) => write!(f, "the connection failed: {error:?}"),
            Self::Closed => f.write_str("the gateway closed the connection"),
        }
    }
}

impl<E: fmt::Debug, T: fmt::Debug> core::error::Error for LinkError<E, T> {}

impl<I: Identity, S: Storage, B: AsRef<[u8]> + AsMut<[u8]>> Link<I, S, B> {
    /// Takes answers as large as `receive`; 192 bytes hold every answer that a session needs.
    pub fn new(session: Session<I, S, B>, receive: B) -> Self {
        Self { session, decoder: Decoder::new(receive, usize::MAX) }
    }

    /// The session: to publish.
    pub fn session_mut(&mut self) -> &mut Session<I, S, B> {
        &mut self.session
    }

    /// The session.
    pub fn session(&self) -> &Session<I, S, B> {
        &self.session
    }

    /// A new stream is connected.
    pub fn connected(&mut self, now_ms: u64) {
        self.decoder.clear();
        self.session.connected(self.decoder.limit(), now_ms);
    }

    /// Sends all there is to send, takes what has come in without waiting for more, and returns the first event in it.
    /// Call it again until it has none, then when something was published, something has come in, or some ten ms later.
    pub fn pump<T: Read + ReadReady + Write>(
        &mut self,
        stream: &mut T,
        now_ms: u64,
    ) -> Result<Option<Event>, LinkError<S::Error, T::Error>> {
        self.send(stream, now_ms)?;
        loop {
            if let Some(event) = self.session.take_event() {
                return Ok(Some(event));
            }
            match self.decoder.next().map_err(|error| LinkError::Session(SessionError::Frame(error)))? {
                Next::Frame(body) => {
                    if let Some(event) = self.session.handle(body, now_ms).map_err(LinkError::Session)? {
                        return Ok(Some(event));
                    }
                }
                Next::Need(_) if !stream.read_ready().map_err(LinkError::Stream)? => break,
                Next::Need(_) => match stream.read(self.decoder.space()).map_err(LinkError::Stream)? {
                    0 => return Err(LinkError::Closed),
                    length => self.decoder.received(length),
                },
            }
        }
        self.send(stream, now_ms)?;
        Ok(self.session.take_event())
    }

    fn send<T: Write>(&mut self, stream: &mut T, now_ms: u64) -> Result<(), LinkError<S::Error, T::Error>> {
        let mut sent = false;
        while let Some(frame) = self.session.transmit(now_ms).map_err(LinkError::Session)? {
            stream.write_all(frame).map_err(LinkError::Stream)?;
            sent = true;
        }
        if sent { stream.flush().map_err(LinkError::Stream) } else { Ok(()) }
    }
}
