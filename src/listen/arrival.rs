//! How a connection came: from where, to where, and what it showed on the way. Sessions take it as it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::tls::Certificate;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub from: Origin,
    /// The address that it came in on, if by the network.
    pub at: Option<SocketAddr>,
    /// Whether nobody between can read it: by TLS, or because it did not leave this machine's kernel.
    pub is_private: bool,
    /// By TLS.
    pub is_tls: bool,
    /// By TLS: the certificate that the client has proved to have.
    pub certificate: Option<Box<Certificate>>,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The network, this machine's own included.
    Network(SocketAddr),
    /// The local socket: a user of this machine.
    LocalUser(u32),
}

impl Arrival {
    /// By TCP in the clear.
    #[must_use]
    pub fn by_network(peer: SocketAddr, at: Option<SocketAddr>) -> Self {
        let is_private = peer.ip().to_canonical().is_loopback();
        Self { from: Origin::Network(peer), at, is_private, is_tls: false, certificate: None }
    }

    /// The same connection, after a handshake of TLS in which the client may have shown a certificate.
    #[must_use]
    pub fn with_tls(self, certificate: Option<Certificate>) -> Self {
        Self { is_private: true, is_tls: true, certificate: certificate.map(Box::new), ..self }
    }

    /// By the local socket.
    #[must_use]
    pub fn of_local_user(user: u32) -> Self {
        Self { from: Origin::LocalUser(user), at: None, is_private: true, is_tls: false, certificate: None }
    }

    /// The address of the client, if it came by the network.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self.from {
            Origin::Network(peer) => Some(peer.ip().to_canonical()),
            Origin::LocalUser(_) => None,
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.certificate {
            Some(certificate) => write!(f, "{} ({})", self.from, certificate.names.subject),
            None => self.from.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(peer) => peer.fmt(f),
            Self::LocalUser(user) => write!(f, "local user {user}"),
        }
    }
}
