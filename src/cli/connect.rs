//! Which gateway a command speaks to.
//!
//! `--broker ADDR` names it. Else, where a store's directory (`--data`, or the default one) holds the socket of a
//! running gateway, that is used: local administration needs no port. Else 127.0.0.1:9790.

use std::path::{Path, PathBuf};

use super::{error::CliError, parse::Parsed, spec::Opt};
use crate::{
    config::{Config, HostPort, host_port},
    gateway::SOCKET_NAME,
};

/// The options of every command that speaks to a gateway.
pub const OPTIONS: &[Opt] = &[
    Opt::value("broker", "ADDR", "Gateway to speak to, HOST:PORT of its native listener").short('b'),
    Opt::value("data", "DIR", "Data directory of a gateway on this machine, to speak to by its socket").short('d'),
];

/// What those options said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub broker: Option<HostPort>,
    pub data: Option<PathBuf>,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Tcp(HostPort),
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => path.display().fmt(f),
        }
    }
}

impl Target {
    /// # Errors
    /// [`CliError::Usage`]: not an address, or both options.
    pub fn parse(args: &mut Parsed) -> Result<Target, CliError> {
        let target = Target { broker: args.read("broker", host_port)?, data: args.path("data") };
        if target.broker.is_some() && target.data.is_some() {
            return Err(args.usage("--broker and --data name two gateways; give one of them"));
        }
        Ok(target)
    }

    /// Where to connect, given what is on this machine now.
    ///
    /// # Errors
    /// `--data` names a directory in which no gateway runs.
    pub fn endpoint(&self) -> Result<Endpoint, CliError> {
        let socket_in = |dir: &Path| Some(dir.join(SOCKET_NAME)).filter(|socket| socket.exists());
        if let Some(address) = &self.broker {
            return Ok(Endpoint::Tcp(address.clone()));
        }
        if let Some(dir) = &self.data {
            let none = || CliError::failed(dir.display(), "no gateway runs on this data directory (no socket there)");
            return socket_in(dir).map(Endpoint::Unix).ok_or_else(none);
        }
        let defaults = Config::default();
        let address = defaults.listen.native.addr;
        let tcp = Endpoint::Tcp(HostPort { host: address.ip().to_string(), port: address.port() });
        Ok(socket_in(&defaults.data_dir).map_or(tcp, Endpoint::Unix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_preferred_where_data_names_a_running_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target { broker: None, data: Some(dir.path().to_owned()) };
        assert!(matches!(target.endpoint(), Err(CliError::Failed(_))));
        std::fs::write(dir.path().join(SOCKET_NAME), "").unwrap();
        assert_eq!(target.endpoint().unwrap(), Endpoint::Unix(dir.path().join(SOCKET_NAME)));
        let named = Target { broker: host_port("g:1").ok(), data: None };
        assert_eq!(named.endpoint().unwrap().to_string(), "g:1");
    }
}
