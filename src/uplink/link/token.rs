//! Where a token of OAUTHBEARER comes from: a file, a command, or an OAuth 2 server that gives one for a client's id and secret (RFC 6749,
//! section 4.4).
//!
//! Invariants: no token and no secret is in an error; a server is asked by TLS only; its token is used for at most [`SHARE`] of its time,
//! so that a session that outlives it is renewed by a fresh one; a token that was refused is not used again; a command that is not waited
//! for any more is ended.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_lite::AsyncReadExt;
use serde::Deserialize;
use smol::Async;
use smol::lock::Mutex;
use zeroize::Zeroizing;

use super::dial::{Dialer, encrypt};
use super::https::{escaped, post};
use crate::base64;
use crate::config::{HttpsUrl, LinkSaslConfig};
use crate::executor;
use crate::json;
use crate::sasl::MESSAGE_BYTES_MAX;
use crate::secret::{Secret, first_line, read_file};

/// The part of a token's time after which another one is asked for. Brokers are told who calls anew after 0.85 of a session, which lasts as
/// long as its token: so that is always a fresh one.
const SHARE: f64 = 0.8;
/// How long a token holds of which the server doesn't say it.
const UNTOLD: Duration = Duration::from_secs(300);
/// No token holds longer than that, seconds.
const LONGEST_S: f64 = 30.0 * 86_400.0;

/// Tokens that a server has given.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<Option<Held>>);

#[derive(Clone, Debug)]
struct Held {
    token: Secret,
    /// From then on another one is wanted; from then on it is worth nothing.
    due: Instant,
    ends: Instant,
}

/// What a server answers (section 5.1), or why it doesn't (5.2).
#[derive(Deserialize)]
struct Granted {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<f64>,
    error: Option<String>,
    error_description: Option<String>,
}

impl Tokens {
    /// The token was refused.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

impl Dialer {
    /// A token that can be shown now.
    ///
    /// # Errors
    /// What is wrong with its file, its command or the server, and what to do.
    pub(super) async fn bearer(&self, config: &LinkSaslConfig) -> Result<Secret, String> {
        if let Some(file) = &config.token_file {
            return read_file(file).map_err(|why| format!("sasl.token_file {why}"));
        }
        if let Some(command) = &config.token_command {
            return run(command).await.map_err(|why| format!("sasl.token_command: {why}"));
        }
        let url = config.token_url.as_ref().ok_or("sasl.token_file, token_command or token_url must be set")?;
        // Held while it is asked for: one question for all connections.
        let mut held = self.tokens().0.lock().await;
        let now = Instant::now();
        if let Some(held) = held.as_ref().filter(|held| now < held.due) {
            return Ok(held.token.clone());
        }
        match self.ask(url, config).await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                *held = Some(fresh);
                Ok(token)
            }
            Err(why) => match held.as_ref().filter(|held| now < held.ends) {
                Some(held) => {
                    log::warn!("{why}; the last token holds for a while");
                    Ok(held.token.clone())
                }
                None => Err(why),
            },
        }
    }

    async fn ask(&self, url: &HttpsUrl, config: &LinkSaslConfig) -> Result<Held, String> {
        let failed = |why: &dyn std::fmt::Display| format!("sasl.token_url {}: {why}", url.authority());
        let id = config.client_id.as_deref().ok_or("sasl.client_id is not set")?;
        let secret = config.client_secret_file.as_deref().ok_or("sasl.client_secret_file is not set")?;
        let secret = read_file(secret).map_err(|why| format!("sasl.client_secret_file {why}"))?;
        // Section 2.3.1.
        let pair = Zeroizing::new(format!("{}:{}", escaped(id.as_bytes()), escaped(secret.expose())));
        let authorization = Zeroizing::new(format!("Basic {}", base64::encode(pair.as_bytes())));
        let scope = config.scope.as_deref().map(|scope| format!("&scope={}", escaped(scope.as_bytes())));
        let form = format!("grant_type=client_credentials{}", scope.unwrap_or_default());
        let secure = self.token_tls().ok_or_else(|| failed(&"there is no TLS for it"))?;
        let begun = Instant::now();
        let stream = self.reach(&url.address).await.map_err(|why| failed(&why))?;
        let mut stream = encrypt(secure, stream, &url.address).await.map_err(|why| failed(&why))?;
        let answer = post(&mut stream, url, &authorization, &form).await.map_err(|why| failed(&why))?;
        let granted: Granted = json::from_slice(&answer.body).map_err(|_| {
            failed(&format_args!("status {}, and no JSON of OAuth 2: is it the token endpoint?", answer.status))
        })?;
        granted.held(begun, answer.status).map_err(|why| failed(&why))
    }
}

impl Granted {
    fn held(self, begun: Instant, status: u16) -> Result<Held, String> {
        let is_bearer = self.token_type.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
        match self.access_token {
            Some(token) if status == 200 && is_bearer && !token.is_empty() => {
                let seconds = self.expires_in.filter(|s| *s > 0.0).map(|s| Duration::from_secs_f64(s.min(LONGEST_S)));
                let time = seconds.unwrap_or(UNTOLD);
                Ok(Held { token: Secret::new(token), due: begun + time.mul_f64(SHARE), ends: begun + time })
            }
            Some(_) if !is_bearer => Err("its token is none of type Bearer".to_owned()),
            _ => {
                let said = [self.error, self.error_description].into_iter().flatten().collect::<Vec<_>>().join(": ");
                // Not more of it than a line: it comes from outside.
                let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
                Err(format!("status {status}, no token ({said}): correct sasl.client_id, scope, or the secret's file"))
            }
        }
    }
}

/// A command that ends, at the latest, when nobody waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // If it has ended already, that is how it should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a command prints. Its words are separated by spaces; no shell reads them.
async fn run(command: &str) -> Result<Secret, String> {
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut running = Running(command.spawn().map_err(|error| format!("can't be started: {error}"))?);
    let printed = running.0.stdout.take().ok_or("its output can't be read")?;
    let printed = Async::new(printed).map_err(|error| error.to_string())?;
    let mut bytes = Zeroizing::new(Vec::new());
    let most = MESSAGE_BYTES_MAX as u64;
    printed.take(most).read_to_end(&mut bytes).await.map_err(|error| error.to_string())?;
    if bytes.len() as u64 == most {
        return Err("it prints more than a token".to_owned());
    }
    let (running, ended) = executor::unblock(move || {
        let ended = running.0.wait();
        (running, ended)
    })
    .await;
    drop(running);
    match ended {
        Ok(status) if status.success() => {
            first_line(&bytes).ok_or_else(|| "it prints an empty line, or nothing".to_owned())
        }
        Ok(status) => Err(format!("it failed: {status}")),
        Err(error) => Err(error.to_string()),
    }
}
