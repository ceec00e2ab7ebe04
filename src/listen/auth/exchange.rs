//! One exchange of SASL with a client.

use super::{Guard, Refused};
use crate::broker::Principal;
use crate::listen::arrival::Arrival;
use crate::metrics::METRICS;
use crate::sasl::server::{ScramBegun, ScramChallenged, read_plain};
use crate::sasl::{Mechanism, SaslError};
use crate::secret::{ScramHash, Secret};

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;

/// What follows a client's message.
pub enum Answer {
    /// This is to be sent, and answered.
    More(Vec<u8>),
    /// The client is who it says; this is to be sent.
    Done(Principal, Vec<u8>),
}

/// An exchange under way.
pub struct Exchange(State);

enum State {
    Plain,
    Scram(ScramHash),
    Challenged(Box<ScramChallenged>),
    /// It has ended, well or not.
    Over,
}

impl Exchange {
    /// Begins by a mechanism that the listener offers.
    ///
    /// # Errors
    /// [`Refused::Method`] if it does not.
    pub fn begin(guard: &Guard, mechanism: Mechanism, arrival: &Arrival) -> Result<Self, Refused> {
        match mechanism {
            _ if !guard.mechanisms(arrival).contains(&mechanism) => Err(Refused::Method),
            Mechanism::Plain => Ok(Self(State::Plain)),
            Mechanism::Scram(hash) => Ok(Self(State::Scram(hash))),
            Mechanism::OAuthBearer => Err(Refused::Method),
        }
    }

    /// Takes a message of the client. A refusal comes late.
    ///
    /// # Errors
    /// [`Refused`], counted and told: the exchange is over.
    pub async fn step(&mut self, guard: &Guard, message: &[u8], arrival: &Arrival) -> Result<Answer, Refused> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Plain => match read_plain(message) {
                Ok((name, password)) => plain(guard, &name, &password, arrival).await,
                Err(error) => refused(guard, Refused::Sasl(error), None, arrival).await,
            },
            State::Scram(hash) => match self.challenge(guard, hash, message, arrival) {
                Ok(challenge) => Ok(Answer::More(challenge)),
                Err(why) => refused(guard, why, None, arrival).await,
            },
            State::Challenged(challenged) => {
                let name = challenged.name().to_owned();
                let finished = challenged.finish(message).map_err(Refused::Sasl);
                match finished.and_then(|last| Ok((last, Principal::new(&name).map_err(|_| Refused::Wrong)?))) {
                    Ok((last, principal)) => {
                        METRICS.authenticated.add(1);
                        Ok(Answer::Done(principal, last))
                    }
                    Err(why) => refused(guard, why, Some(&name), arrival).await,
                }
            }
            State::Over => {
                let why = Refused::Sasl(SaslError::Malformed("the exchange is over"));
                refused(guard, why, None, arrival).await
            }
        }
    }

    fn challenge(
        &mut self,
        guard: &Guard,
        hash: ScramHash,
        message: &[u8],
        arrival: &Arrival,
    ) -> Result<Vec<u8>, Refused> {
        guard.check_throttle(arrival)?;
        let begun = ScramBegun::read(message).map_err(Refused::Sasl)?;
        let verifier = guard.shared.lobby.verifier(hash, begun.name());
        let (challenge, challenged) = begun.challenge(verifier, &nonce()?).map_err(Refused::Sasl)?;
        self.0 = State::Challenged(Box::new(challenged));
        Ok(challenge)
    }
}

async fn plain(guard: &Guard, name: &str, password: &Secret, arrival: &Arrival) -> Result<Answer, Refused> {
    guard.password(name, password, arrival).await.map(|principal| Answer::Done(principal, Vec::new()))
}

async fn refused(guard: &Guard, why: Refused, name: Option<&str>, arrival: &Arrival) -> Result<Answer, Refused> {
    guard.refuse(&why, name, arrival).await;
    Err(why)
}

/// Without randomness nobody authenticates: a nonce that can be foreseen lets old proofs count again.
fn nonce() -> Result<String, Refused> {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| Refused::Sasl(SaslError::Unsupported("this gateway has no randomness")))?;
    Ok(crate::base64::encode(&bytes))
}
