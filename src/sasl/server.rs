//! The server's side: who the client claims to be, and whether it is.

use super::scram::{ClientFinal, ClientFirst, nonce};
use super::{MESSAGE_BYTES_MAX, NONCE_BYTES_MAX, SaslError};
use crate::base64;
use crate::secret::{ScramHash, Secret, Verifier};

/// An exchange by SCRAM that has begun: the client has said who it is.
#[derive(Debug)]
pub struct ScramBegun {
    name: String,
    gs2_header: String,
    bare: String,
    client_nonce: String,
}

impl ScramBegun {
    /// Reads the client's first message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(message: &[u8]) -> Result<Self, SaslError> {
        let first = ClientFirst::read(message)?;
        Ok(Self {
            gs2_header: first.gs2_header.to_owned(),
            bare: first.bare.to_owned(),
            client_nonce: first.nonce.to_owned(),
            name: first.name,
        })
    }

    /// Who the client claims to be.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's first message, by what is kept of that user's password; `nonce` is fresh randomness of printable ASCII without
    /// commas.
    ///
    /// # Errors
    /// [`SaslError::Malformed`] if `nonce` is none.
    pub fn challenge(self, verifier: Verifier, fresh: &str) -> Result<(Vec<u8>, ScramChallenged), SaslError> {
        let nonce = format!("{}{}", self.client_nonce, nonce(fresh, NONCE_BYTES_MAX)?);
        let salt = base64::encode(verifier.salt());
        let message = format!("r={nonce},s={salt},i={}", verifier.iterations());
        let signed = format!("{},{message},", self.bare);
        let Self { name, gs2_header, client_nonce, .. } = self;
        Ok((message.into(), ScramChallenged { name, verifier, nonce, client_nonce, gs2_header, signed }))
    }
}

/// An exchange by SCRAM that waits for the client's proof.
#[derive(Debug)]
pub struct ScramChallenged {
    name: String,
    verifier: Verifier,
    nonce: String,
    client_nonce: String,
    gs2_header: String,
    /// What is signed, but for the client's last message.
    signed: String,
}

impl ScramChallenged {
    /// Who the client claims to be.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hash function in use.
    #[must_use]
    pub fn hash(&self) -> ScramHash {
        self.verifier.hash()
    }

    /// Checks the client's proof: it is who it claims to be if this succeeds. The server's last message.
    ///
    /// # Errors
    /// What is wrong with the message, or [`SaslError::Refused`].
    pub fn finish(self, message: &[u8]) -> Result<Vec<u8>, SaslError> {
        let last = ClientFinal::read(message)?;
        // librdkafka before 2.6.1 puts its own part in front once more. It is signed as it came, so it proves as much.
        let is_ours =
            last.nonce == self.nonce || last.nonce.strip_prefix(self.client_nonce.as_str()) == Some(&self.nonce);
        if !is_ours || last.channel != self.gs2_header.as_bytes() {
            return Err(SaslError::Malformed("the message belongs to another exchange"));
        }
        let signed = [self.signed.as_bytes(), last.without_proof.as_bytes()].concat();
        if !self.verifier.proves(&signed, &last.proof) {
            return Err(SaslError::Refused);
        }
        Ok(format!("v={}", base64::encode(&self.verifier.server_signature(&signed))).into())
    }
}

/// The message of PLAIN (RFC 4616): a name and a password in the clear.
///
/// # Errors
/// [`SaslError`], if it is no such message, or the client wants to act for somebody else.
pub fn read_plain(message: &[u8]) -> Result<(String, Secret), SaslError> {
    const MALFORMED: SaslError = SaslError::Malformed("the message is none of PLAIN");
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(MALFORMED);
    }
    let text = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
    let mut parts = text.split('\0');
    let (Some(acts_for), Some(name), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(MALFORMED);
    };
    if name.is_empty() || password.is_empty() {
        return Err(MALFORMED);
    }
    if !acts_for.is_empty() && acts_for != name {
        return Err(SaslError::Unsupported("a user can't act for another one"));
    }
    Ok((name.to_owned(), Secret::new(password)))
}
