//! TLS as listeners speak it: a certificate of our own, and clients' certificates if they are wanted.

use std::io;
use std::sync::Arc;

use futures_lite::{AsyncRead, AsyncWrite};
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, UnbufferedServerConnection, WebPkiClientVerifier};

use super::chosen::Chosen;
use super::clock::CertClock;
use super::engine::Connection;
use super::held::{Fresh, Held};
use super::stream::TlsStream;
use super::verify::Verifier;
use super::{files, provider};
use crate::calendar::format_time;
use crate::config::{ClientAuth, ListenTlsConfig};
use crate::limits::TLS_SESSIONS_MAX;

/// A listener's side of TLS.
pub type ServerTls = Held<ServerConfig>;

/// A client that comes back finds its session under one ticket; two (the default of rustls) would let half the cache lie idle.
const TICKETS: usize = 1;

/// What the listener `what` shows and wants. `alpn`: protocols that a client may ask for; one that asks for none is served too.
///
/// # Errors
/// A text that names the file, what is wrong and what to do.
pub fn server(
    what: &str,
    config: &ListenTlsConfig,
    alpn: &'static [&'static [u8]],
    clock: &CertClock,
) -> Result<ServerTls, String> {
    let files = [&config.cert, &config.key, &config.client_ca, &config.crl];
    let more = config.more.iter().flat_map(|(cert, key)| [cert, key]);
    let files = files.into_iter().flatten().chain(more).cloned().collect();
    let (load_config, load_clock) = (config.clone(), clock.clone());
    let load = move || load(&load_config, alpn, &load_clock);
    let held = Held::new(what.to_owned(), files, clock.clone(), Box::new(load));
    held.config().map_err(|why| format!("{what}: {why}"))?;
    Ok(held)
}

/// Shakes hands with a client that has connected by `socket`.
///
/// # Errors
/// As [`TlsStream::handshake`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(tls: &ServerTls, socket: S) -> io::Result<TlsStream<S>> {
    let config = tls.config().map_err(io::Error::other)?;
    let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
    let stream = TlsStream::handshake(Connection::Server(connection), socket).await?;
    // A session that is resumed is not verified again: it shall not outlive what it was begun with.
    match stream.peer_certificate().filter(|certificate| stream.is_resumed() && tls.has_expired(certificate)) {
        Some(certificate) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("its certificate has expired at {}: it needs a new one", format_time(certificate.not_after_ms)),
        )),
        None => Ok(stream),
    }
}

fn load(
    config: &ListenTlsConfig,
    alpn: &'static [&'static [u8]],
    clock: &CertClock,
) -> Result<Fresh<ServerConfig>, String> {
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
        return Err("cert and key must be set".to_owned());
    };
    let (chosen, certificates) = Chosen::read((cert, key), &config.more)?;
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(clock.clone()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = match verifier(config, clock)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(Arc::new(chosen));
    // With every reading a new one: what was revoked or distrusted since can't come back by an old session.
    server.session_storage = ServerSessionMemoryCache::new(TLS_SESSIONS_MAX);
    server.send_tls13_tickets = TICKETS;
    server.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Fresh { config: Arc::new(server), certificates })
}

/// Who looks at clients' certificates, if anyone does.
fn verifier(config: &ListenTlsConfig, clock: &CertClock) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let (Some(client_ca), true) = (&config.client_ca, config.asks_clients()) else { return Ok(None) };
    let mut builder = WebPkiClientVerifier::builder_with_provider(files::authorities(client_ca)?, provider());
    if let Some(crl) = &config.crl {
        // CAs between are seldom in a list of their own; a client's certificate must be in its issuer's.
        builder = builder.with_crls(files::revocations(crl)?).only_check_end_entity_revocation();
    }
    if config.client_auth == ClientAuth::Optional {
        builder = builder.allow_unauthenticated();
    }
    let webpki = builder.build().map_err(|error| format!("{}: {error}", client_ca.display()))?;
    Ok(Some(Arc::new(Verifier::<dyn ClientCertVerifier>::new(webpki, clock.clone()))))
}
