//! From an address to a [`Connection`] whose versions are negotiated. The place where TLS comes in, and SASL: above what is metered.
//!
//! A name that can't be resolved at the moment is taken for what it was last: resolvers fail more often than brokers move.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::executor::Executor;
use futures_lite::FutureExt;
use smol::net::{SocketAddr, TcpStream};

use super::super::options::UplinkOptions;
use super::connection::{Connection, Line, LinkError, Transport};
use super::login;
use super::meter::{Meter, Metered};
use super::proxy;
use super::pulse::Pulse;
use super::token::Tokens;
use super::versions::Versions;
use crate::calendar::format_time;
use crate::config::{HostPort, LinkSaslConfig, SaslMechanism};
use crate::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::kafka::error_code::{ErrorCode, Shown};
use crate::kafka::header::read_response;
use crate::metrics::METRICS;
use crate::sasl::client::Credentials;
use crate::secret::Secret;
use crate::tls::{self, ClientTls, TlsStream};

/// Names whose addresses are remembered.
const NAMES_MAX: usize = 256;

/// How brokers are called.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Dialer {
    /// Runs the connections.
    executor: Arc<Executor>,
    client_id: String,
    /// For resolving, connecting and the first answer together.
    connect_timeout: Duration,
    /// How long nothing may move while an answer is awaited.
    request_timeout: Duration,
    meter: Arc<Meter>,
    proxy: Option<HostPort>,
    proxy_auth: Option<PathBuf>,
    tls: Option<Secure>,
    sasl: Arc<LinkSaslConfig>,
    tokens: Arc<Tokens>,
    token_tls: Option<Secure>,
    /// What names were last.
    known: Arc<Mutex<HashMap<HostPort, Vec<SocketAddr>>>>,
}

/// What a [`Dialer`] is told.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Calling {
    pub(in crate::uplink) client_id: String,
    /// For resolving, connecting and the first answer together.
    pub(in crate::uplink) connect_timeout: Duration,
    /// How long nothing may move while an answer is awaited.
    pub(in crate::uplink) request_timeout: Duration,
    pub(in crate::uplink) proxy: Option<HostPort>,
    pub(in crate::uplink) proxy_auth: Option<PathBuf>,
    pub(in crate::uplink) tls: Option<Secure>,
    /// Towards the server that gives tokens.
    pub(in crate::uplink) token_tls: Option<Secure>,
    pub(in crate::uplink) sasl: LinkSaslConfig,
}

/// How brokers are called by TLS.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Secure {
    pub(in crate::uplink) held: Arc<ClientTls>,
    /// The name that certificates must be for. `None`: the host that is called.
    pub(in crate::uplink) server_name: Option<String>,
}

impl Secure {
    /// As it is held in `held`; `None` without TLS.
    pub(in crate::uplink) fn of(server_name: Option<String>, held: &Option<Arc<ClientTls>>) -> Option<Self> {
        Some(Self { held: Arc::clone(held.as_ref()?), server_name })
    }
}

impl Dialer {
    /// Calls brokers as `options` say; `meter` counts what goes over all connections.
    pub(in crate::uplink) fn new(executor: &Arc<Executor>, options: &UplinkOptions, meter: &Arc<Meter>) -> Self {
        let config = &options.config;
        let calling = Calling {
            client_id: options.client_id(),
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
            proxy: config.link.proxy.clone(),
            proxy_auth: config.link.proxy_auth.clone(),
            tls: Secure::of(config.tls.server_name.clone(), &options.tls.brokers),
            token_tls: Secure::of(None, &options.tls.tokens),
            sasl: config.sasl.clone(),
        };
        Self::calling(executor, calling, meter)
    }

    /// As [`Dialer::new`], for whoever is no uplink.
    pub(in crate::uplink) fn calling(executor: &Arc<Executor>, calling: Calling, meter: &Arc<Meter>) -> Self {
        let Calling { client_id, connect_timeout, request_timeout, proxy, proxy_auth, tls, token_tls, sasl } = calling;
        Self {
            executor: Arc::clone(executor),
            client_id,
            connect_timeout,
            request_timeout,
            meter: Arc::clone(meter),
            proxy,
            proxy_auth,
            tls,
            sasl: Arc::new(sasl),
            tokens: Arc::default(),
            token_tls,
            known: Arc::default(),
        }
    }

    /// What runs beside the caller.
    pub(in crate::uplink) fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The same, to be kept.
    pub(super) fn shared_executor(&self) -> Arc<Executor> {
        Arc::clone(&self.executor)
    }

    /// For the answer to each request.
    pub(in crate::uplink) fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// What counts the bytes.
    pub(in crate::uplink) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// What another gateway is shown by the native protocol, as it stands in its file now.
    ///
    /// # Errors
    /// [`LinkError`]: the file can't be used, or the mechanism.
    pub(in crate::uplink) fn token(&self) -> Result<Option<Secret>, LinkError> {
        login::token(&self.sasl)
    }

    /// Connects, asks for versions, and says who calls.
    ///
    /// # Errors
    /// [`LinkError`], which says how far it came.
    pub(in crate::uplink) async fn dial(&self, address: &HostPort) -> Result<(Connection, Versions), LinkError> {
        let attempt = async {
            let (stream, pulse) = self.open(address).await?;
            let (peer, client_id) = (address.to_string(), self.client_id.clone());
            let moving = (Arc::clone(&self.meter), pulse);
            let mut connection =
                Connection::over(&self.executor, stream, peer, client_id, self.request_timeout, moving);
            let versions = negotiate(&connection).await?;
            let lifetime = self.log_in(connection.line(), &versions).await?;
            if let Some(lifetime) = lifetime {
                let (dialer, line) = (self.clone(), connection.line().clone());
                connection.keep(login::keep(dialer, line, versions.clone(), lifetime));
            }
            Ok((connection, versions))
        };
        let dialled = attempt.or(self.expired(address)).await?;
        METRICS.uplink_connects.add(1);
        Ok(dialled)
    }

    /// Says who calls; how long that holds, if the broker says. Nothing is said where no mechanism is configured.
    ///
    /// # Errors
    /// [`LinkError`]: what is wrong, and what to do.
    pub(super) async fn log_in(&self, line: &Line, versions: &Versions) -> Result<Option<Duration>, LinkError> {
        let Some(mechanism) = self.sasl.mechanism else { return Ok(None) };
        let error = |why: String| LinkError::new(format_args!("{}: SASL: {why}", line.peer()));
        let credentials = match mechanism {
            SaslMechanism::OAuthBearer => {
                let token = Box::pin(self.bearer(&self.sasl)).await.map_err(error)?;
                Credentials::Bearer { token, extensions: self.sasl.extensions.clone() }
            }
            _ => login::credentials(mechanism, &self.sasl).map_err(error)?,
        };
        let outcome = login::authenticate(line, versions, mechanism, credentials).await;
        if outcome.is_err() {
            self.tokens.forget().await;
        }
        outcome
    }

    pub(super) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub(super) fn token_tls(&self) -> Option<&Secure> {
        self.token_tls.as_ref()
    }

    /// Connects, and no more.
    ///
    /// # Errors
    /// [`LinkError`], which says how far it came.
    pub(in crate::uplink) async fn knock(&self, address: &HostPort) -> Result<(), LinkError> {
        let attempt = async { self.reach(address).await.map(drop) };
        attempt.or(self.expired(address)).await
    }

    /// Connects and shakes hands; tells with whom. `None` without TLS.
    ///
    /// # Errors
    /// [`LinkError`]: what is wrong, and what to do.
    pub(in crate::uplink) async fn shake(&self, address: &HostPort) -> Result<Option<String>, LinkError> {
        let Some(secure) = &self.tls else { return Ok(None) };
        let attempt = async {
            let stream = encrypt(secure, self.reach(address).await?, address).await?;
            let shown = stream.peer_certificate().map_or_else(
                || "a certificate that can't be read".to_owned(),
                |shown| {
                    let until = format_time(shown.not_after_ms);
                    format!("{}, issued by {}, valid until {until}", shown.names.subject, shown.issuer)
                },
            );
            Ok(Some(format!("{address} is {shown}")))
        };
        attempt.or(self.expired(address)).await
    }

    /// Fails when the time for connecting is up.
    pub(in crate::uplink) async fn expired<T>(&self, address: &HostPort) -> Result<T, LinkError> {
        smol::Timer::after(self.connect_timeout).await;
        Err(LinkError::new(format_args!("{address}: no connection within {:?}", self.connect_timeout)))
    }

    /// What is spoken over with the broker; and what moves on it.
    pub(in crate::uplink) async fn open(&self, address: &HostPort) -> Result<(Box<dyn Transport>, Pulse), LinkError> {
        let stream = self.reach(address).await?;
        let pulse = Pulse::of(Some(stream.inner().clone()));
        match &self.tls {
            None => Ok((Box::new(stream), pulse)),
            Some(secure) => Ok((Box::new(encrypt(secure, stream, address).await?), pulse)),
        }
    }

    /// A stream to the broker, through the proxy if there is one.
    pub(super) async fn reach(&self, address: &HostPort) -> Result<Metered<TcpStream>, LinkError> {
        let door = self.proxy.as_ref().unwrap_or(address);
        let candidates = self.addresses(door).await?;
        let stream = self.connect(door, &candidates).await?;
        let mut stream = Metered::new(stream, Arc::clone(&self.meter));
        if let Some(proxy) = &self.proxy {
            proxy::tunnel(&mut stream, proxy, self.proxy_auth.as_deref(), address).await?;
        }
        Ok(stream)
    }

    /// The addresses of a name, or those that it had last.
    async fn addresses(&self, address: &HostPort) -> Result<Vec<SocketAddr>, LinkError> {
        let late = async {
            smol::Timer::after(self.connect_timeout / 3).await;
            Err(LinkError::new(format_args!("{}: cannot be resolved: no answer", address.host)))
        };
        match resolve(address).or(late).await {
            Ok(found) => {
                let mut known = self.known();
                if known.len() < NAMES_MAX || known.contains_key(address) {
                    known.insert(address.clone(), found.clone());
                }
                Ok(found)
            }
            Err(error) => self.known().get(address).cloned().ok_or(error),
        }
    }

    /// The first of the candidates that answers; one that is silent leaves time for the next.
    async fn connect(&self, address: &HostPort, candidates: &[SocketAddr]) -> Result<TcpStream, LinkError> {
        let share = self.connect_timeout / (u32::try_from(candidates.len()).unwrap_or(u32::MAX).saturating_add(1));
        let mut last = None;
        for (index, candidate) in candidates.iter().enumerate() {
            let attempt = async { TcpStream::connect(candidate).await.map_err(|error| error.to_string()) };
            let late = async {
                if index + 1 == candidates.len() {
                    std::future::pending::<()>().await;
                }
                smol::Timer::after(share).await;
                Err("no answer".to_owned())
            };
            match attempt.or(late).await {
                Ok(stream) => {
                    prepare(&stream, self.request_timeout);
                    return Ok(stream);
                }
                Err(error) => last = Some(LinkError::new(format_args!("{address}: {error}"))),
            }
        }
        Err(last.unwrap_or_else(|| LinkError::new(format_args!("{address}: has no address"))))
    }

    /// A panic elsewhere can't leave it half changed: every change is one call.
    fn known(&self) -> MutexGuard<'_, HashMap<HostPort, Vec<SocketAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shakes hands with a broker.
pub(super) async fn encrypt(
    secure: &Secure,
    stream: Metered<TcpStream>,
    address: &HostPort,
) -> Result<TlsStream<Metered<TcpStream>>, LinkError> {
    let error = |what: &dyn fmt::Display| LinkError::new(format_args!("{address}: TLS: {what}"));
    let name = secure.server_name.as_deref().unwrap_or(&address.host);
    let connection = tls::connection(&secure.held, name).map_err(|why| error(&why))?;
    TlsStream::handshake(connection, stream).await.map_err(|why| match why.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            error(&"it closed the connection in the middle of the handshake: is this port one with TLS?")
        }
        _ => error(&why),
    })
}

/// The addresses of a broker.
///
/// # Errors
/// [`LinkError`], if the name has none.
pub(in crate::uplink) async fn resolve(address: &HostPort) -> Result<Vec<SocketAddr>, LinkError> {
    let found = smol::net::resolve((address.host.as_str(), address.port)).await;
    let found = found.map_err(|error| LinkError::new(format_args!("{}: cannot be resolved: {error}", address.host)))?;
    if found.is_empty() { Err(LinkError::new(format_args!("{}: has no address", address.host))) } else { Ok(found) }
}

/// Best effort: a connection without these works too, only finds out later that the link is dead.
fn prepare(stream: &TcpStream, silence_max: Duration) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        // Unacknowledged for that long means dead, however slow the link is that acknowledges something.
        let _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(silence_max.as_millis()).unwrap_or(u32::MAX));
        // TCP's own keepalive is on only while an answer is awaited: what is idle is asked something small now and then, or left alone.
    }
    #[cfg(not(target_os = "linux"))]
    let _ = silence_max;
}

/// Asks in version 3, which introduces the client, and in version 0 if the broker is older than that (KIP-511).
async fn negotiate(connection: &Connection) -> Result<Versions, LinkError> {
    let request =
        ApiVersionsRequest { client_software_name: "brooklet", client_software_version: env!("CARGO_PKG_VERSION") };
    for version in [3, 0] {
        let frame = connection.send(version, &request)?.frame().await?;
        // The code stands in the same place in all versions; with this one, the rest has the layout of version 0.
        let unsupported = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
        if unsupported && version != 0 {
            continue;
        }
        let peer = connection.peer();
        let (_, response) = read_response::<ApiVersionsResponse<'_>>(version, &frame)
            .map_err(|error| LinkError::new(format_args!("{peer} does not speak Kafka: {error}")))?;
        if response.error_code != 0 {
            return Err(LinkError::new(format_args!("{peer}: ApiVersions: {}", Shown(response.error_code))));
        }
        return Ok(Versions::new(&response.api_keys, &response.finalized_features));
    }
    Err(LinkError::new("the broker speaks no known version of ApiVersions"))
}
