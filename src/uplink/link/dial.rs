//! From an address to a [`Connection`] whose versions are negotiated. The place where TLS and SASL come in.

use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt;
use smol::Executor;
use smol::net::{SocketAddr, TcpStream};

use super::connection::{Connection, LinkError, Transport};
use super::versions::Versions;
use crate::config::HostPort;
use crate::kafka::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::kafka::error_code::{ErrorCode, Shown};
use crate::kafka::header::read_response;
use crate::metrics::METRICS;

/// How brokers are called.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct Dialer {
    /// Runs the connections.
    pub(in crate::uplink) executor: Arc<Executor<'static>>,
    pub(in crate::uplink) client_id: String,
    /// For resolving, connecting and the first answer together.
    pub(in crate::uplink) connect_timeout: Duration,
    /// For the answer to each request.
    pub(in crate::uplink) request_timeout: Duration,
}

impl Dialer {
    /// Connects and asks for versions.
    ///
    /// # Errors
    /// [`LinkError`], which says how far it came.
    pub(in crate::uplink) async fn dial(&self, address: &HostPort) -> Result<(Connection, Versions), LinkError> {
        let attempt = async {
            let candidates = resolve(address).await?;
            let stream = connect(address, &candidates, self.request_timeout).await?;
            let (peer, client_id) = (address.to_string(), self.client_id.clone());
            let connection = Connection::over(&self.executor, stream, peer, client_id, self.request_timeout);
            let versions = negotiate(&connection).await?;
            Ok((connection, versions))
        };
        let expired = async {
            smol::Timer::after(self.connect_timeout).await;
            Err(LinkError::new(format_args!("{address}: no connection within {:?}", self.connect_timeout)))
        };
        let dialled = attempt.or(expired).await?;
        METRICS.uplink_connects.add(1);
        Ok(dialled)
    }
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

/// The first of the candidates that answers.
///
/// # Errors
/// [`LinkError`] of the last one tried.
pub(in crate::uplink) async fn connect(
    address: &HostPort,
    candidates: &[SocketAddr],
    silence_max: Duration,
) -> Result<Box<dyn Transport>, LinkError> {
    let mut last = None;
    for candidate in candidates {
        match TcpStream::connect(candidate).await {
            Ok(stream) => {
                prepare(&stream, silence_max);
                return Ok(Box::new(stream));
            }
            Err(error) => last = Some(LinkError::new(format_args!("{address}: {error}"))),
        }
    }
    Err(last.unwrap_or_else(|| LinkError::new(format_args!("{address}: has no address"))))
}

/// Best effort: a connection without these works too, only finds out later that the link is dead.
fn prepare(stream: &TcpStream, silence_max: Duration) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        use rustix::net::sockopt;
        // Unacknowledged for that long means dead, however slow the link is that acknowledges something.
        let _ = sockopt::set_tcp_user_timeout(stream, u32::try_from(silence_max.as_millis()).unwrap_or(u32::MAX));
        let _ = sockopt::set_socket_keepalive(stream, true);
        let _ = sockopt::set_tcp_keepidle(stream, silence_max);
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
        return Ok(Versions::new(&response.api_keys));
    }
    Err(LinkError::new("the broker speaks no known version of ApiVersions"))
}
