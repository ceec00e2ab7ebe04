//! Which gateway a command speaks to, and the first words with it.
//!
//! `--broker ADDR` names it. Else, where a store's directory (`--data`, or the configured one) holds the socket of a
//! running gateway, that is used: local administration needs no port. Else the configured native address of this
//! machine, which is 127.0.0.1:9790 unless told otherwise.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::{error::CliError, parse::Parsed, password, spec::Opt};
use crate::{
    client::{Address, ClientError, Connection, Login},
    config::{Config, HostPort, Layers, LinkTlsConfig, host_port, nearest},
    frame::ErrorCode,
    gateway::{SOCKET_NAME, status::GatewayStatus},
};

/// Who asks: requests publish nothing, so many may share it.
const CLIENT_ID: &str = "brooklet-cli";
/// Most topics that are named when none is near to what was asked for.
const NAMED_MAX: usize = 8;

const TLS_CA: Opt =
    Opt::value("tls-ca", "FILE", "With --broker: by TLS, if the gateway's certificate is one of this CA");
const TLS_CERT: Opt = Opt::value("tls-cert", "FILE", "Certificate to show to a gateway that asks for one");
const TLS_KEY: Opt = Opt::value("tls-key", "FILE", "Its private key");

/// Those of them that are about TLS.
pub const TLS: &[Opt] = &[TLS_CA, TLS_CERT, TLS_KEY];

/// The options of every command that speaks to a gateway.
pub const OPTIONS: &[Opt] = &[
    Opt::value("broker", "ADDR", "Gateway to speak to, HOST:PORT of its native listener").short('b'),
    Opt::value("data", "DIR", "Data directory of a gateway on this machine, to speak to by its socket").short('d'),
    Opt::value("user", "NAME", "User to be, where the gateway asks; the password is asked for, or in --password-file"),
    Opt::value("password-file", "FILE", "File whose first line is that user's password, which only its owner may read"),
    TLS_CA,
    TLS_CERT,
    TLS_KEY,
];

/// The same without a user: for commands that are for the local socket.
pub const PLACE: &[Opt] = &[
    Opt::value("broker", "ADDR", "Gateway to speak to, HOST:PORT of its native listener").short('b'),
    Opt::value("data", "DIR", "Data directory of a gateway on this machine, to speak to by its socket").short('d'),
];

/// What those options said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    pub broker: Option<HostPort>,
    pub data: Option<PathBuf>,
    /// Who to be there.
    pub user: Option<String>,
    /// Where that user's password is; `None`: it is asked for.
    pub password: Option<PathBuf>,
    /// How `broker` is spoken to.
    pub tls: LinkTlsConfig,
}

/// What [`TLS`] says.
///
/// # Errors
/// [`CliError::Usage`]: one without the others that it takes, or without `--broker`.
pub fn parse_tls(args: &mut Parsed, has_broker: bool) -> Result<LinkTlsConfig, CliError> {
    let (ca, cert, key) = (args.path("tls-ca"), args.path("tls-cert"), args.path("tls-key"));
    let tls = LinkTlsConfig { enabled: ca.is_some(), ca, cert, key, ..LinkTlsConfig::default() };
    if tls != LinkTlsConfig::default() && (!has_broker || !tls.enabled) {
        return Err(args.usage("--tls-cert and --tls-key take --tls-ca, and that takes --broker"));
    }
    if tls.cert.is_some() != tls.key.is_some() {
        return Err(args.usage("--tls-cert and --tls-key take each other"));
    }
    Ok(tls)
}

/// A gateway that is named by its address.
pub fn by_network(address: &HostPort, tls: &LinkTlsConfig) -> Address {
    match tls.enabled {
        true => Address::Tls(address.to_string(), Box::new(tls.clone())),
        false => Address::Tcp(address.to_string()),
    }
}

impl Target {
    /// # Errors
    /// [`CliError::Usage`]: not an address, both options, or a password of nobody.
    pub fn parse(args: &mut Parsed) -> Result<Target, CliError> {
        let (user, password) = (args.text("user")?, args.path("password-file"));
        if user.is_none() && password.is_some() {
            return Err(args.usage("--password-file is of a --user"));
        }
        let place = Self::parse_place(args)?;
        Ok(Target { user, password, tls: parse_tls(args, place.broker.is_some())?, ..place })
    }

    /// What [`PLACE`] says.
    ///
    /// # Errors
    /// [`CliError::Usage`]: not an address, or both options.
    pub fn parse_place(args: &mut Parsed) -> Result<Target, CliError> {
        let target = Target { broker: args.read("broker", host_port)?, data: args.path("data"), ..Target::default() };
        if target.broker.is_some() && target.data.is_some() {
            return Err(args.usage("--broker and --data name two gateways; give one of them"));
        }
        Ok(target)
    }

    /// Where to connect, given what is on this machine now.
    ///
    /// # Errors
    /// `--data` names a directory in which no gateway runs; or there is no password.
    pub fn address(&self) -> Result<Address, CliError> {
        let place = self.place()?;
        let Some(user) = &self.user else { return Ok(place) };
        let password = password::read(user, self.password.as_deref(), false)?;
        Ok(Address::As(Box::new(place), Login { user: user.clone(), password }))
    }

    fn place(&self) -> Result<Address, CliError> {
        if let Some(address) = &self.broker {
            return Ok(by_network(address, &self.tls));
        }
        if let Some(dir) = &self.data {
            let socket = dir.join(SOCKET_NAME);
            let none = || CliError::failed(dir.display(), "no gateway runs on this data directory (no socket there)");
            return if socket.exists() { Ok(Address::Unix(socket)) } else { Err(none()) };
        }
        // A refused configuration is `check`'s and `serve`'s to tell; here it leaves the defaults, and where the gateway is.
        let config = match Config::load(&Layers::system()) {
            Ok(loaded) => loaded.config,
            Err(refused) => Config { data_dir: refused.data_dir, ..Config::default() },
        };
        Ok(of_this_machine(&config))
    }

    /// Connects for requests.
    ///
    /// # Errors
    /// There is no gateway, or it cannot be reached.
    pub async fn connect(&self) -> Result<Connection, CliError> {
        Ok(connect(&self.address()?).await?)
    }
}

/// Connects for requests.
///
/// # Errors
/// The gateway cannot be reached, or is none.
pub async fn connect(address: &Address) -> Result<Connection, ClientError> {
    Connection::open(address, CLIENT_ID).await
}

/// What the gateway tells of itself.
///
/// # Errors
/// The request's, or it told something else.
pub async fn status(connection: &mut Connection) -> Result<GatewayStatus, CliError> {
    GatewayStatus::parse(&connection.status().await?).map_err(CliError::Failed)
}

/// Why a request about a topic failed; where there is no such topic, with those that may have been meant.
pub async fn topic_error(connection: &mut Connection, topic: &str, error: ClientError) -> CliError {
    if !matches!(error, ClientError::Refused(ErrorCode::UnknownTopic, _)) {
        return error.into();
    }
    let Ok(topics) = connection.topics().await else { return error.into() };
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    CliError::Failed(no_such_topic(topic, &names))
}

/// That there is no such topic, with the names that may have been meant.
pub(super) fn no_such_topic(topic: &str, names: &[&str]) -> String {
    let lower = topic.to_lowercase();
    let mut meant: Vec<&str> = names.iter().filter(|name| name.to_lowercase().contains(&lower)).copied().collect();
    if let Some(near) = nearest(topic, names.iter().copied()).filter(|near| !meant.contains(near)) {
        meant.insert(0, near);
    }
    meant.truncate(NAMED_MAX);
    match (meant.as_slice(), names) {
        ([], []) => format!("there is no topic {topic}, nor any other yet"),
        ([], names) if names.len() <= NAMED_MAX => format!("there is no topic {topic}; there are {}", names.join(", ")),
        ([], names) => format!("there is no topic {topic}; `brooklet topic list` shows the {} there are", names.len()),
        (meant, _) => format!("there is no topic {topic}; did you mean {}?", meant.join(" or ")),
    }
}

fn of_this_machine(config: &Config) -> Address {
    let socket = config.data_dir.join(SOCKET_NAME);
    // One that a killed gateway has left, or another user's, answers to nobody.
    if answers(&socket) {
        return Address::Unix(socket);
    }
    let mut address = config.listen.native.addr;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Address::Tcp(address.to_string())
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        CliError::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_socket_is_preferred_where_data_names_a_running_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let target = Target { data: Some(dir.path().to_owned()), ..Target::default() };
        assert!(matches!(target.address(), Err(CliError::Failed(_))));
        std::fs::write(dir.path().join(SOCKET_NAME), "").unwrap();
        assert_eq!(target.address().unwrap(), Address::Unix(dir.path().join(SOCKET_NAME)));
        let named = Target { broker: host_port("g:1").ok(), ..Target::default() };
        assert_eq!(named.address().unwrap().to_string(), "g:1");
    }

    #[test]
    fn without_options_it_is_the_configured_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        config.listen.native.addr = "0.0.0.0:7".parse().unwrap();
        assert_eq!(of_this_machine(&config), Address::Tcp("127.0.0.1:7".to_owned()));
        let socket = dir.path().join(SOCKET_NAME);
        let listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(of_this_machine(&config), Address::Unix(socket.clone()));
        drop(listener);
        config.listen.native.addr = "[::]:7".parse().unwrap();
        assert!(socket.exists(), "left by a gateway that was killed");
        assert_eq!(of_this_machine(&config), Address::Tcp("[::1]:7".to_owned()));
    }

    #[test]
    fn topics_that_may_have_been_meant_are_named() {
        for (topic, names, said) in [
            ("t", &[][..], "there is no topic t, nor any other yet"),
            ("xyz", &["a", "b"], "there is no topic xyz; there are a, b"),
            ("temperatur", &["temperature", "b"], "there is no topic temperatur; did you mean temperature?"),
            ("Temp", &["a.temp", "b.temp", "c"], "there is no topic Temp; did you mean a.temp or b.temp?"),
        ] {
            assert_eq!(no_such_topic(topic, names), said);
        }
        assert!(no_such_topic("xyz", &["a"; 9]).contains("the 9 there are"));
    }
}
