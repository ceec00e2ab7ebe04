//! The four messages of SCRAM (RFC 5802, section 7), as they are read and written.
//!
//! Invariant: nothing is read twice with two results: the parts that are signed are kept as they came.

use super::{MESSAGE_BYTES_MAX, NONCE_BYTES_MAX, SaslError};
use crate::base64;
use crate::secret::SALT_BYTES_MAX;

/// The header of a client that neither binds the channel nor acts for somebody else.
pub(super) const GS2_HEADER: &str = "n,,";

const MALFORMED: SaslError = SaslError::Malformed("the message is none of SCRAM");

/// `client-first-message`.
#[derive(PartialEq, Eq)]
pub(super) struct ClientFirst<'a> {
    /// What `c=` repeats in the last message.
    pub gs2_header: &'a str,
    pub name: String,
    pub nonce: &'a str,
    /// What is signed.
    pub bare: &'a str,
}

/// `server-first-message`.
#[derive(PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    pub nonce: &'a str,
    pub salt: Vec<u8>,
    pub iterations: u32,
}

/// `client-final-message`. Of its proof passwords can be found out by trying, so it is not shown.
#[derive(PartialEq, Eq)]
pub(super) struct ClientFinal<'a> {
    pub channel: Vec<u8>,
    pub nonce: &'a str,
    pub proof: Vec<u8>,
    /// What is signed.
    pub without_proof: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, SaslError> {
        let text = text(message)?;
        let mut parts = text.splitn(3, ',');
        let (flag, acts_for, bare) = (part(&mut parts)?, part(&mut parts)?, part(&mut parts)?);
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(SaslError::Unsupported("channels are not bound here")),
            _ => return Err(MALFORMED),
        }
        let gs2_header = text.get(..text.len() - bare.len()).ok_or(MALFORMED)?;
        if bare.starts_with("m=") {
            return Err(SaslError::Unsupported("a mandatory extension of SCRAM is not known here"));
        }
        let mut attributes = bare.split(',');
        let name = unescaped(attribute(&mut attributes, "n=")?)?;
        let nonce = nonce(attribute(&mut attributes, "r=")?, NONCE_BYTES_MAX)?;
        check_extensions(attributes)?;
        if !acts_for.is_empty() && unescaped(acts_for.strip_prefix("a=").ok_or(MALFORMED)?)? != name {
            return Err(SaslError::Unsupported("a user can't act for another one"));
        }
        Ok(Self { gs2_header, name, nonce, bare })
    }
}

impl<'a> ServerFirst<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, SaslError> {
        let text = text(message)?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(SaslError::ServerSays(error.to_owned()));
        }
        if text.starts_with("m=") {
            return Err(SaslError::Unsupported("the server wants an extension of SCRAM that is not known here"));
        }
        let mut attributes = text.split(',');
        let nonce = nonce(attribute(&mut attributes, "r=")?, 2 * NONCE_BYTES_MAX)?;
        let salt = base64::decode(attribute(&mut attributes, "s=")?).ok_or(MALFORMED)?;
        let iterations = attribute(&mut attributes, "i=")?;
        check_extensions(attributes)?;
        let digits = !iterations.starts_with('0') && iterations.bytes().all(|b| b.is_ascii_digit());
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX || !digits {
            return Err(MALFORMED);
        }
        // What is no u32 is too large for everyone.
        Ok(Self { nonce, salt, iterations: iterations.parse().unwrap_or(u32::MAX) })
    }
}

impl<'a> ClientFinal<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, SaslError> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(MALFORMED)?;
        let proof = base64::decode(proof).ok_or(MALFORMED)?;
        let mut attributes = without_proof.split(',');
        let channel = base64::decode(attribute(&mut attributes, "c=")?).ok_or(MALFORMED)?;
        let nonce = nonce(attribute(&mut attributes, "r=")?, 3 * NONCE_BYTES_MAX)?;
        check_extensions(attributes)?;
        Ok(Self { channel, nonce, proof, without_proof })
    }
}

/// The signature in `server-final-message`.
pub(super) fn read_server_final(message: &[u8]) -> Result<Vec<u8>, SaslError> {
    let text = text(message)?;
    if let Some(error) = text.strip_prefix("e=") {
        return Err(SaslError::ServerSays(error.to_owned()));
    }
    let mut attributes = text.split(',');
    let signature = base64::decode(attribute(&mut attributes, "v=")?).ok_or(MALFORMED)?;
    check_extensions(attributes)?;
    Ok(signature)
}

/// A name in which nothing separates attributes (`saslname`).
pub(super) fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn unescaped(name: &str) -> Result<String, SaslError> {
    let mut pieces = name.split('=');
    let mut plain = part(&mut pieces)?.to_owned();
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix("3D"), piece.strip_prefix("2C")) {
            (Some(rest), _) => ('=', rest),
            (_, Some(rest)) => (',', rest),
            _ => return Err(MALFORMED),
        };
        plain.push(letter);
        plain.push_str(rest);
    }
    if plain.is_empty() || plain.contains('\0') { Err(MALFORMED) } else { Ok(plain) }
}

/// Whether a text can be a nonce: printable ASCII without commas.
pub(super) fn nonce(text: &str, max: usize) -> Result<&str, SaslError> {
    let fits = (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b',');
    if fits { Ok(text) } else { Err(MALFORMED) }
}

fn text(message: &[u8]) -> Result<&str, SaslError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(SaslError::Malformed("the message is too long"));
    }
    std::str::from_utf8(message).map_err(|_| MALFORMED)
}

fn part<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<&'a str, SaslError> {
    parts.next().ok_or(MALFORMED)
}

fn attribute<'a>(parts: &mut impl Iterator<Item = &'a str>, name: &str) -> Result<&'a str, SaslError> {
    parts.next().and_then(|part| part.strip_prefix(name)).ok_or(MALFORMED)
}

/// Further attributes are passed over (section 5.1), if they have the form of such.
fn check_extensions<'a>(mut parts: impl Iterator<Item = &'a str>) -> Result<(), SaslError> {
    let known = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic()) && part.contains('=')
    };
    if parts.all(known) { Ok(()) } else { Err(MALFORMED) }
}
