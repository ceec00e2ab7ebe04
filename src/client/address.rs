//! Where a gateway listens, and a stream to it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_lite::FutureExt;
use smol::Timer;
use smol::net::TcpStream;
use smol::net::unix::UnixStream;

use super::ClientError;
use crate::config::LinkTlsConfig;
use crate::secret::Secret;
use crate::tls::{self, CertClock, CertTime, Socket, TlsStream};

/// How long making a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`.
    Tcp(String),
    /// `unix:PATH`, or anything with a slash.
    Unix(PathBuf),
    /// `HOST:PORT`, by TLS.
    Tls(String, Box<LinkTlsConfig>),
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
            Self::Tcp(address) | Self::Tls(address, _) => f.write_str(address),
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
            Self::Tcp(_) | Self::Tls(..) | Self::Unix(_) => None,
        }
    }

    /// Connects, in ten seconds at most.
    pub(super) async fn connect(&self) -> Result<Stream, ClientError> {
        let place = if let Self::As(place, _) = self { place } else { self };
        let connected = async {
            match place {
                Self::Tcp(address) | Self::Tls(address, _) => {
                    let stream = TcpStream::connect(address.as_str()).await?;
                    // Acknowledgements are small and awaited.
                    stream.set_nodelay(true)?;
                    match place {
                        Self::Tls(_, config) => encrypt(stream, address, config).await,
                        _ => Ok(Stream::Tcp(Box::new(stream))),
                    }
                }
                Self::Unix(path) => UnixStream::connect(path).await.map(|stream| Stream::Unix(Box::new(stream))),
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
pub(super) type Stream = Socket;

/// A stream whose other end has proved to be `address`.
async fn encrypt(stream: TcpStream, address: &str, config: &LinkTlsConfig) -> io::Result<Stream> {
    // Who runs a command has a clock that is right, or wants to know that it isn't.
    let clock = CertClock::new(|| CertTime { ms: unix_ms(), trusted: true });
    let held = tls::client(&format!("TLS to {address}"), config, &clock);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let connection = tls::connection(&held, config.server_name.as_deref().unwrap_or(host)).map_err(io::Error::other)?;
    Ok(Socket::Tls(Box::new(TlsStream::handshake(connection, stream).await?)))
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
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
