//! Saying who one is to a broker: SASL, as a client, and again before what was said runs out (KIP-368).
//!
//! Invariants: secrets are read from their files at each exchange, so that they can change without a restart; no error has any of them;
//! salting a password never holds up the threads that forward; a server that should know the password must show that it does.

use std::path::Path;
use std::time::Duration;

use smol::{Task, Timer};

use super::connection::{Line, LinkError};
use super::dial::Dialer;
use super::versions::Versions;
use crate::base64;
use crate::config::{LinkSaslConfig, SaslMechanism};
use crate::executor;
use crate::kafka::api::ApiKey;
use crate::kafka::error_code::{ErrorCode, Shown};
use crate::kafka::header::read_response;
use crate::kafka::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use crate::kafka::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::sasl::client::{Credentials, Exchange, Step};
use crate::secret::{ScramHash, Secret, read_file};

/// Random bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// Messages of one exchange: no mechanism takes more.
const STEPS_MAX: usize = 4;

/// Authenticates on a connection; how long that holds, if the broker says.
///
/// # Errors
/// [`LinkError`]: what is wrong, and what to do.
pub(super) async fn authenticate(
    line: &Line,
    versions: &Versions,
    mechanism: SaslMechanism,
    credentials: Credentials,
) -> Result<Option<Duration>, LinkError> {
    let error = |what: &dyn std::fmt::Display| LinkError::new(format_args!("{}: SASL: {what}", line.peer()));
    let mut fresh = [0; NONCE_BYTES];
    getrandom::fill(&mut fresh).map_err(|why| error(&why))?;
    handshake(line, mechanism).await?;
    let version = versions.pick(ApiKey::SaslAuthenticate).map_err(|why| error(&why))?;
    let (mut message, mut exchange) =
        Exchange::begin(credentials, &base64::encode(&fresh)).map_err(|why| error(&why))?;
    for _ in 0..STEPS_MAX {
        let frame = line
            .send_first(version, &SaslAuthenticateRequest { auth_bytes: message.as_slice().into() })?
            .frame()
            .await?;
        let (_, answer) = read_response::<SaslAuthenticateResponse<'_>>(version, &frame).map_err(|why| error(&why))?;
        if answer.error_code != 0 {
            let said = exchange.refusal().or(answer.error_message).unwrap_or_default();
            return Err(error(&refused(answer.error_code, said)));
        }
        let (token, lifetime_ms) = (answer.auth_bytes.expose().to_vec(), answer.session_lifetime_ms);
        let stepped = executor::unblock(move || {
            let step = exchange.next(&token);
            (exchange, step)
        });
        let (next, step) = stepped.await;
        exchange = next;
        match step.map_err(|why| error(&why))? {
            Step::Send(next) => message = next,
            Step::Done => {
                let lifetime = u64::try_from(lifetime_ms).ok().filter(|ms| *ms > 0);
                return Ok(lifetime.map(Duration::from_millis));
            }
        }
    }
    Err(error(&"the broker goes on asking"))
}

/// What a refusal means, and what to do.
fn refused(code: i16, said: &str) -> String {
    // Not more of it than a line: it comes from outside.
    let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
    let said = if said.is_empty() { said } else { format!(" ({said})") };
    match ErrorCode::from_code(code) {
        Some(ErrorCode::SaslAuthenticationFailed) => {
            format!("user, password or token is not accepted{said}: correct sasl.username, or what is in its file")
        }
        _ => format!("{}{said}", Shown(code)),
    }
}

/// What a gateway is shown by the native protocol: a message of PLAIN; `None` where nothing is to be shown.
///
/// # Errors
/// What is wrong with the configuration or its files.
pub(super) fn token(config: &LinkSaslConfig) -> Result<Option<Secret>, LinkError> {
    let error = |what: &dyn std::fmt::Display| LinkError::new(format_args!("authentication: {what}"));
    match config.mechanism {
        None => Ok(None),
        Some(SaslMechanism::Plain) => {
            let credentials = credentials(SaslMechanism::Plain, config).map_err(|why| error(&why))?;
            let (message, _) = Exchange::begin(credentials, "").map_err(|why| error(&why))?;
            Ok(Some(Secret::new(message)))
        }
        Some(other) => {
            Err(error(&format_args!("the native protocol does not take {other}: set sasl.mechanism to PLAIN")))
        }
    }
}

async fn handshake(line: &Line, mechanism: SaslMechanism) -> Result<(), LinkError> {
    let error = |what: String| LinkError::new(format_args!("{}: SASL: {what}", line.peer()));
    let frame = line.send_first(1, &SaslHandshakeRequest { mechanism: mechanism.word() })?.frame().await?;
    let (_, answer) = read_response::<SaslHandshakeResponse<'_>>(1, &frame).map_err(|why| error(why.to_string()))?;
    match ErrorCode::from_code(answer.error_code) {
        Some(ErrorCode::None) => Ok(()),
        Some(ErrorCode::UnsupportedSaslMechanism) => {
            let offered = answer.mechanisms.join(", ");
            Err(error(format!("it does not take {mechanism}, but {offered}: set sasl.mechanism to one of these")))
        }
        Some(ErrorCode::IllegalSaslState) => {
            Err(error("its listener wants no SASL: use another port of it, or leave out sasl.mechanism".to_owned()))
        }
        _ => Err(error(Shown(answer.error_code).to_string())),
    }
}

/// What the configuration and its files hold, but for tokens.
///
/// # Errors
/// What is missing, or wrong with a file.
pub(super) fn credentials(mechanism: SaslMechanism, config: &LinkSaslConfig) -> Result<Credentials, String> {
    let file = |file: &Option<std::path::PathBuf>, key: &str| -> Result<Secret, String> {
        let path: &Path = file.as_deref().ok_or_else(|| format!("{key} is not set"))?;
        read_file(path).map_err(|why| format!("{key} {why}"))
    };
    let user = || config.username.clone().ok_or_else(|| "sasl.username is not set".to_owned());
    let password = || file(&config.password_file, "sasl.password_file");
    Ok(match mechanism {
        SaslMechanism::Plain => Credentials::Plain { user: user()?, password: password()? },
        SaslMechanism::ScramSha256 => {
            Credentials::Scram { hash: ScramHash::Sha256, user: user()?, password: password()? }
        }
        SaslMechanism::ScramSha512 => {
            Credentials::Scram { hash: ScramHash::Sha512, user: user()?, password: password()? }
        }
        SaslMechanism::OAuthBearer => return Err("a token comes from elsewhere".to_owned()),
    })
}

/// Authenticates again, each time before the last one runs out. What is asked meanwhile waits for the end of an exchange, as brokers want
/// it. Where it fails the connection ends, and whoever needs it calls again.
pub(super) fn keep(dialer: Dialer, line: Line, versions: Versions, first: Duration) -> Task<()> {
    let executor = dialer.shared_executor();
    executor.spawn(async move {
        let mut lifetime = first;
        loop {
            // Java's client goes by the same share.
            Timer::after(lifetime.mul_f64(0.85)).await;
            line.hold();
            let again = dialer.log_in(&line, &versions).await;
            line.release();
            match again {
                Ok(Some(next)) => lifetime = next,
                Ok(None) => return,
                Err(error) => {
                    log::warn!("{error}");
                    return line.close(error);
                }
            }
        }
    })
}
