//! `listen.http`: where the gateway shows how it is, and to whom.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::{
    tls::{ClientAuth, ListenTlsConfig},
    words::words,
};

/// Where it listens unless it is told.
pub const HTTP_ADDR_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9791);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpListenConfig {
    pub enabled: bool,
    /// `None`: [`HTTP_ADDR_DEFAULT`], if nobody else listens there.
    pub addr: Option<SocketAddr>,
    pub tls: ListenTlsConfig,
    pub max_connections: usize,
    /// Its first line is the token that whoever reads must show.
    pub token_file: Option<PathBuf>,
    pub anonymous: HttpAnonymous,
    /// Names by which browsers may call it where no token is asked for, beside addresses and `localhost`.
    pub names: Vec<String>,
}

words! {
    /// Who may read without a token.
    #[derive(Default)]
    pub enum HttpAnonymous {
        /// Who is on this machine, if there is no token.
        #[default]
        Auto = "auto",
        /// Everybody.
        Read = "read",
    }
}

impl HttpListenConfig {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addr.unwrap_or(HTTP_ADDR_DEFAULT)
    }

    /// Keys of addresses that others than this machine reach, where nothing says who may read.
    pub(super) fn open_addresses(&self) -> Vec<&'static str> {
        if !self.enabled || self.token_file.is_some() || self.anonymous == HttpAnonymous::Read {
            return Vec::new();
        }
        let is_far = |addr: SocketAddr| !addr.ip().to_canonical().is_loopback();
        // A certificate that must be shown says who somebody is.
        let certain = self.tls.asks_clients() && self.tls.client_auth != ClientAuth::Optional;
        let own = is_far(self.address()) && !(self.tls.takes_listener() && certain);
        let of_tls = self.tls.addr.is_some_and(|addr| is_far(addr) && self.tls.is_on() && !certain);
        [(own, "listen.http.addr"), (of_tls, "listen.http.tls.addr")]
            .into_iter()
            .filter_map(|(is_open, key)| is_open.then_some(key))
            .collect()
    }
}
