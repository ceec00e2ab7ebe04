//! The client's side: proving who one is to a server, and having it prove itself where the mechanism does that.

use std::fmt;

use super::scram::{GS2_HEADER, ServerFirst, escaped, nonce, read_server_final};
use super::{MESSAGE_BYTES_MAX, NONCE_BYTES_MAX, SaslError};
use crate::base64;
use crate::secret::{ITERATIONS_MAX, ITERATIONS_MIN, ScramHash, Secret, same, xor};

/// What separates the parts of an OAUTHBEARER message.
const SEPARATOR: u8 = 1;

/// What a client proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Name and password, in the clear.
    Plain { user: String, password: Secret },
    /// Name and password, neither of which the server learns.
    Scram { hash: ScramHash, user: String, password: Secret },
    /// A token, and what else the server wants to know (RFC 7628's key-value pairs).
    Bearer { token: Secret, extensions: Vec<(String, String)> },
}

/// What to do next.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, and give [`Exchange::next`] what comes back.
    Send(Vec<u8>),
    /// It is done: the server takes the client for who it says it is.
    Done,
}

/// Messages of PLAIN and OAUTHBEARER are secrets.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Send(_) => "Send(…)",
            Self::Done => "Done",
        })
    }
}

/// An exchange under way.
pub struct Exchange(State);

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

enum State {
    /// One message, and the server's consent.
    Told,
    /// The token is sent; a server that refuses it says why, and wants one more message.
    BearerSent,
    BearerRefused(String),
    ScramFirst {
        hash: ScramHash,
        password: Secret,
        nonce: String,
        bare: String,
    },
    ScramFinal {
        signature: Vec<u8>,
    },
}

impl Exchange {
    /// Begins: the message to send first. `fresh` is randomness of printable ASCII without commas.
    ///
    /// # Errors
    /// [`SaslError`], if the credentials have no form in the mechanism.
    pub fn begin(credentials: Credentials, fresh: &str) -> Result<(Vec<u8>, Self), SaslError> {
        match credentials {
            Credentials::Plain { user, password } => {
                if user.contains('\0') || password.expose().contains(&0) {
                    return Err(SaslError::Unsupported("PLAIN can't carry a NUL"));
                }
                Ok(([b"\0", user.as_bytes(), b"\0", password.expose()].concat(), Self(State::Told)))
            }
            Credentials::Scram { hash, user, password } => {
                let nonce = nonce(fresh, NONCE_BYTES_MAX)?.to_owned();
                let bare = format!("n={},r={nonce}", escaped(&user));
                let first = format!("{GS2_HEADER}{bare}").into();
                Ok((first, Self(State::ScramFirst { hash, password, nonce, bare })))
            }
            Credentials::Bearer { token, extensions } => bearer(&token, &extensions),
        }
    }

    /// Takes the server's answer. With SCRAM this computes for as long as the server's iterations take: not for threads that
    /// others wait for.
    ///
    /// # Errors
    /// [`SaslError`]: the exchange is over.
    pub fn next(&mut self, answer: &[u8]) -> Result<Step, SaslError> {
        if answer.len() > MESSAGE_BYTES_MAX {
            return Err(SaslError::Malformed("the server's message is too long"));
        }
        match std::mem::replace(&mut self.0, State::Told) {
            State::Told => Ok(Step::Done),
            State::BearerSent if answer.is_empty() => Ok(Step::Done),
            State::BearerSent => {
                self.0 = State::BearerRefused(String::from_utf8_lossy(answer).into_owned());
                Ok(Step::Send(vec![SEPARATOR]))
            }
            State::BearerRefused(why) => Err(SaslError::ServerSays(why)),
            State::ScramFirst { hash, password, nonce, bare } => {
                let (message, signature) = prove(hash, &password, &nonce, &bare, answer)?;
                self.0 = State::ScramFinal { signature };
                Ok(Step::Send(message))
            }
            State::ScramFinal { signature } => {
                if same(&read_server_final(answer)?, &signature) {
                    Ok(Step::Done)
                } else {
                    Err(SaslError::NotTheServer)
                }
            }
        }
    }

    /// What the server has said about why it refuses, where the mechanism lets it say so before the end.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match &self.0 {
            State::BearerRefused(why) => Some(why),
            _ => None,
        }
    }
}

fn bearer(token: &Secret, extensions: &[(String, String)]) -> Result<(Vec<u8>, Exchange), SaslError> {
    let visible = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_graphic);
    let named = |(name, value): &(String, String)| {
        name.bytes().all(|b| b.is_ascii_alphabetic())
            && !matches!(name.as_str(), "" | "auth")
            && value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
    };
    if !visible(token.expose()) || !extensions.iter().all(named) {
        return Err(SaslError::Unsupported(
            "a token is printable ASCII without spaces, an extension letters and printable ASCII",
        ));
    }
    let mut message = [GS2_HEADER.as_bytes(), &[SEPARATOR], b"auth=Bearer ", token.expose(), &[SEPARATOR]].concat();
    for (name, value) in extensions {
        message.extend_from_slice(format!("{name}={value}\u{1}").as_bytes());
    }
    message.push(SEPARATOR);
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(SaslError::Unsupported("the token is too long"));
    }
    Ok((message, Exchange(State::BearerSent)))
}

/// The client's last message, and the signature that the server must answer with.
fn prove(
    hash: ScramHash,
    password: &Secret,
    own_nonce: &str,
    bare: &str,
    server_first: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), SaslError> {
    let first = ServerFirst::read(server_first)?;
    if !first.nonce.starts_with(own_nonce) || first.nonce.len() == own_nonce.len() {
        return Err(SaslError::Malformed("the server's nonce does not continue the client's"));
    }
    if first.iterations < ITERATIONS_MIN {
        return Err(SaslError::Unsupported(
            "the server salts passwords with fewer than 4096 iterations: too easily found out",
        ));
    }
    if first.iterations > ITERATIONS_MAX {
        return Err(SaslError::Unsupported("the server asks for more iterations than this client does"));
    }
    let without_proof = format!("c={},r={}", base64::encode(GS2_HEADER.as_bytes()), first.nonce);
    let signed = [bare.as_bytes(), b",", server_first, b",", without_proof.as_bytes()].concat();
    let salted = hash.salted(password.expose(), &first.salt, first.iterations);
    let client_key = hash.client_key(&salted);
    let signature = hash.hmac(&hash.digest(&client_key), &signed);
    let proof = base64::encode(&xor(&client_key, &signature));
    Ok((format!("{without_proof},p={proof}").into(), hash.hmac(&hash.server_key(&salted), &signed)))
}
