//! SASL: who somebody is, as messages that client and server exchange within another protocol.
//!
//! | file | what it is |
//! |---|---|
//! | `scram` | the messages of SCRAM (RFC 5802, with SHA-256 and SHA-512: RFC 7677) |
//! | [`server`] | the server's side of SCRAM, and the message of PLAIN (RFC 4616) |
//! | [`client`] | the client's side of SCRAM, PLAIN and OAUTHBEARER (RFC 7628) |
//!
//! Invariants: no I/O, no clock, no randomness (nonces are given); no input panics; a message longer than [`MESSAGE_BYTES_MAX`] is not
//! looked at; a peer that asks for more rounds than are allowed, or is content with fewer, is refused
//! before any is done.
//!
//! As Kafka does, names and passwords are taken as they are in UTF-8, without SASLprep (RFC 4013), and channels are not bound.

pub mod client;
mod scram;
pub mod server;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::secret::ScramHash;

/// Longest message of any mechanism, bytes. Tokens of OAuth are the longest.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Longest nonce of one side, bytes.
pub const NONCE_BYTES_MAX: usize = 256;
/// Longest password, bytes.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// A mechanism of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// The password in the clear (RFC 4616).
    Plain,
    /// Proof of the password, both ways (RFC 5802).
    Scram(ScramHash),
    /// A token from elsewhere (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Plain, Self::Scram(ScramHash::Sha256), Self::Scram(ScramHash::Sha512), Self::OAuthBearer];

    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram(hash) => hash.mechanism(),
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// The mechanism of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Whether who reads the exchange can be its client afterwards.
    #[must_use]
    pub const fn shows_secret(self) -> bool {
        matches!(self, Self::Plain | Self::OAuthBearer)
    }
}

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SaslError {
    /// The peer's message is not one of the mechanism.
    Malformed(&'static str),
    /// The peer wants something that is not to be had here.
    Unsupported(&'static str),
    /// Name and password don't fit. Which of them is wrong is not told.
    Refused,
    /// Client: the server says no, in its words.
    ServerSays(String),
    /// Client: the server could not show that it knows the password: it is not the one it claims to be.
    NotTheServer,
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) | Self::Unsupported(what) => f.write_str(what),
            Self::Refused => f.write_str("user or password is wrong"),
            Self::ServerSays(text) => write!(f, "the server says {text:?}"),
            Self::NotTheServer => {
                f.write_str("the server does not know the password: it is not the one it claims to be")
            }
        }
    }
}

impl std::error::Error for SaslError {}

/// Whether a text can be a user's password: 1 to [`PASSWORD_BYTES_MAX`] bytes of UTF-8 without NUL, which PLAIN could not carry.
///
/// # Errors
/// A text that says so.
pub fn check_password(password: &[u8]) -> Result<(), String> {
    let fits = !password.is_empty() && password.len() <= PASSWORD_BYTES_MAX;
    if fits && std::str::from_utf8(password).is_ok_and(|text| !text.contains('\0')) {
        return Ok(());
    }
    Err(format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes of UTF-8, none of them NUL"))
}
