//! TLS, for listeners and for what the gateway calls itself (rustls, with ring for the cryptography).
//!
//! | file | job |
//! |---|---|
//! | [`engine`], [`stream`], [`socket`] | TLS without I/O; over a socket, reading and writing side by side; a connection of any kind |
//! | [`held`], [`server`], [`client`], [`files`] | from files to a configuration, and again when they change |
//! | [`verify`], [`clock`] | certificates, and the time by which they are judged |
//! | [`chosen`] | which of a listener's certificates a client is shown |
//! | [`certificate`], [`der`] | what a certificate says |
//! | [`issue`] | making certificates |
//! | [`words`] | what is wrong, for people |
//!
//! Invariants: certificates are always verified, there is no switch; no private key is in an error, a log or Debug; no roots are built
//! in: they are the operator's, or the system's.

mod certificate;
mod chosen;
mod client;
mod clock;
mod der;
mod engine;
mod files;
mod held;
pub mod issue;
mod server;
mod socket;
mod stream;
mod verify;
mod words;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use certificate::{Certificate, Names};
pub use client::{ClientTls, LinkTls, client, connection};
pub use clock::{CertClock, CertTime};
pub use engine::Connection;
pub use files::{chain_problem, key as private_key};
pub use held::{Report, WARN_DAYS, Watched};
pub use server::{ServerTls, accept, server};
pub use socket::Socket;
pub use stream::TlsStream;

/// One for all: it is a table of functions.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}
