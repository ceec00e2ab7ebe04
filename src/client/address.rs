//! Where a gateway listens, and a stream to it. TLS will be one more kind of stream here.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite, FutureExt};
use smol::Timer;
use smol::net::TcpStream;
use smol::net::unix::UnixStream;

use super::ClientError;
use crate::secret::Secret;

/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`, or anything with a slash.
    Unix(PathBuf),
    /// The same, as a user of it.
    As(Box<Address>, Login),
}

/// A user and a password, for a gateway that asks for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password. It goes over the connection as it is.
    pub password: Secret,
}

impl FromStr for Address {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        if let Some(path) = text.strip_prefix("unix:").or_else(|| text.contains('/').then_some(text)) {
            return Ok(Self::Unix(path.into()));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(text.to_owned())),
            _ => Err(ClientError::Address(text.to_owned())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::As(address, _) => address.fmt(f),
        }
    }
}

impl Address {
    /// The token that its gateway is shown: a message of PLAIN.
    pub(super) fn token(&self) -> Option<Secret> {
        match self {
            Self::As(_, Login { user, password }) => {
                Some(Secret::new([b"\0", user.as_bytes(), b"\0", password.expose()].concat()))
            }
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// Connects, in ten seconds at most.
    pub(super) async fn connect(&self) -> Result<Stream, ClientError> {
        let place = if let Self::As(place, _) = self { place } else { self };
        let connected = async {
            match place {
                Self::Tcp(address) => {
                    let stream = TcpStream::connect(address.as_str()).await?;
                    // Acknowledgements are small and awaited.
                    stream.set_nodelay(true)?;
                    Ok(Stream::Tcp(stream))
                }
                Self::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
                // No login has a login.
                Self::As(..) => Err(std::io::ErrorKind::InvalidInput.into()),
            }
        };
        let too_late = async {
            Timer::after(CONNECT_MAX).await;
            Err(std::io::ErrorKind::TimedOut.into())
        };
        connected.or(too_late).await.map_err(|error| ClientError::Connect(self.clone(), error))
    }
}

/// A stream to a gateway. Clones are the same stream: one may read while another writes.
#[derive(Debug, Clone)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_close(cx),
            Self::Unix(stream) => Pin::new(stream).poll_close(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        assert_eq!("127.0.0.1:9790".parse::<Address>().unwrap(), Address::Tcp("127.0.0.1:9790".into()));
        assert_eq!("[::1]:9790".parse::<Address>().unwrap().to_string(), "[::1]:9790");
        assert_eq!("unix:s.sock".parse::<Address>().unwrap(), Address::Unix("s.sock".into()));
        assert_eq!("data/admin.sock".parse::<Address>().unwrap().to_string(), "unix:data/admin.sock");
        for wrong in ["", "localhost", ":9790", "host:port", "host:70000"] {
            assert!(wrong.parse::<Address>().is_err(), "{wrong}");
        }
    }
}
