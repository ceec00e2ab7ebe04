//! TLS: of a listener, and of an uplink or a downlink.

use std::{net::SocketAddr, path::PathBuf};

use super::words::words;

/// `listen.X.tls`: what a listener shows, and whom it lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenTlsConfig {
    /// Where TLS is spoken, beside what is in the clear at the listener's own address. `None`: there, in its place.
    pub addr: Option<SocketAddr>,
    /// The certificate and those between it and its CA. `None`: no TLS.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Certificates with their keys for clients that ask for another name.
    pub more: Vec<(PathBuf, PathBuf)>,
    /// The CAs of clients.
    pub client_ca: Option<PathBuf>,
    /// Lists of revoked certificates of clients.
    pub crl: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

impl ListenTlsConfig {
    /// Whether TLS is spoken at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.cert.is_some()
    }

    /// Whether the listener's own address speaks TLS and nothing else.
    #[must_use]
    pub fn takes_listener(&self) -> bool {
        self.is_on() && self.addr.is_none()
    }

    /// Whether clients are asked for a certificate.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.client_ca.is_some() && self.client_auth != ClientAuth::None
    }
}

words! {
    /// What a listener wants of clients.
    #[derive(Default)]
    pub enum ClientAuth {
        /// A certificate, if there is a `client_ca`.
        #[default]
        Auto = "auto",
        /// No certificate.
        None = "none",
        /// A certificate, if they have one.
        Optional = "optional",
        /// A certificate.
        Required = "required",
    }
}

/// `uplink.NAME.tls` and `downlink.NAME.tls`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkTlsConfig {
    pub enabled: bool,
    /// The CAs that brokers' certificates may come from. `None`: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to brokers which ask for one.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Lists of revoked certificates of brokers.
    pub crl: Option<PathBuf>,
    /// The name that brokers' certificates must be for. `None`: the host that was called.
    pub server_name: Option<String>,
}
