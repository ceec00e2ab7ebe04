//! TLS as uplinks, downlinks and the native client speak it: whom they trust, and the certificate that they show.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::ServerName;

use super::certificate::Certificate;
use super::clock::CertClock;
use super::engine::Connection;
use super::held::{Fresh, Held};
use super::verify::Verifier;
use super::{files, provider};
use crate::config::LinkTlsConfig;

/// A client's side of TLS.
pub type ClientTls = Held<ClientConfig>;

/// What a link has for TLS: towards its brokers, and towards where it gets its tokens.
#[derive(Clone, Debug, Default)]
pub struct LinkTls {
    pub brokers: Option<Arc<ClientTls>>,
    pub tokens: Option<Arc<ClientTls>>,
}

/// Brokers whose sessions are remembered.
const SESSIONS: usize = 32;

/// What `what` trusts and shows; its files are read at the first use.
pub fn client(what: &str, config: &LinkTlsConfig, clock: &CertClock) -> ClientTls {
    let files = [&config.ca, &config.cert, &config.key, &config.crl];
    let mut files: Vec<_> = files.into_iter().flatten().cloned().collect();
    if config.ca.is_none() {
        files.extend(files::system_bundle());
    }
    let (load_config, load_clock) = (config.clone(), clock.clone());
    Held::new(what.to_owned(), files, clock.clone(), Box::new(move || load(&load_config, &load_clock)))
}

fn load(config: &LinkTlsConfig, clock: &CertClock) -> Result<Fresh<ClientConfig>, String> {
    let roots = match &config.ca {
        Some(ca) => files::authorities(ca)?,
        None => files::bundle(&files::system_bundle()?)?,
    };
    let mut webpki = WebPkiServerVerifier::builder_with_provider(roots, provider());
    if let Some(crl) = &config.crl {
        webpki = webpki.with_crls(files::revocations(crl)?).only_check_end_entity_revocation();
    }
    let webpki: Arc<dyn ServerCertVerifier> = webpki.build().map_err(|error| error.to_string())?;
    let verifier = Arc::new(Verifier::<dyn ServerCertVerifier>::new(webpki, clock.clone()));
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(clock.clone()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut certificates = Vec::new();
    let mut client = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let chain = files::chain(cert)?;
            certificates.extend(chain.first().and_then(|der| Certificate::parse(der)));
            let builder = builder.with_client_auth_cert(chain, files::key(key)?);
            builder.map_err(|error| files::no_pair(cert, key, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    client.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Fresh { config: Arc::new(client), certificates })
}

/// A connection to `host`, whose certificate must be for it: a name or an address.
///
/// # Errors
/// A text that says what is wrong and what to do.
pub fn connection(tls: &ClientTls, host: &str) -> Result<Connection, String> {
    tls.look(false);
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate can be for: set tls.server_name"))?;
    let connection = UnbufferedClientConnection::new(tls.config()?, name).map_err(|error| error.to_string())?;
    Ok(Connection::Client(connection))
}
