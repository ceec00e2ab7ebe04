//! The gate of a connection: who is behind it, and what passes until that is known (KIP-43, KIP-152, KIP-368).
//!
//! Invariants: until a client has authenticated, where it must, nothing passes but ApiVersions, SaslHandshake and SaslAuthenticate; one
//! who authenticates again stays who it is; who has not in time passes nothing more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::request::Failed;
use crate::broker::{Access, Principal};
use crate::kafka::api::ApiKey;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::{self, RequestHeader};
use crate::kafka::message::{Message, Response};
use crate::kafka::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use crate::kafka::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use crate::kafka::wire::Reader;
use crate::listen::arrival::Arrival;
use crate::listen::auth::exchange::{Answer, Exchange};
use crate::listen::auth::{FRAME_BYTES_MAX, Guard, Refused, TIME_MAX};
use crate::metrics::METRICS;
use crate::sasl::Mechanism;

/// See the module.
pub(super) struct Gate {
    guard: Guard,
    arrival: Arc<Arrival>,
    /// The broker, as who is there may use it.
    access: Option<Access>,
    began: Instant,
    exchange: Option<Exchange>,
    /// The next frame is a bare token: what follows a SaslHandshake of version 0.
    is_bare: bool,
    /// Who has authenticated by SASL, and until when that holds.
    session: Option<(Principal, Option<Instant>)>,
}

/// What becomes of a frame.
pub(super) enum Passed {
    /// It goes on to whoever serves it.
    On(Access),
    /// It was for the gate; this is the answer.
    Answered(Vec<u8>),
    /// The same, and the connection ends.
    Ended(Vec<u8>, String),
}

impl Gate {
    pub(super) fn new(guard: &Guard, arrival: &Arc<Arrival>) -> Self {
        Self {
            access: guard.admit(arrival),
            guard: guard.clone(),
            arrival: Arc::clone(arrival),
            began: Instant::now(),
            exchange: None,
            is_bare: false,
            session: None,
        }
    }

    /// The largest frame that is taken now, bytes.
    pub(super) fn frame_bytes_max(&self, max: usize) -> usize {
        if self.access.is_some() { max } else { max.min(FRAME_BYTES_MAX) }
    }

    /// How long the next thing may take, which has `time` otherwise.
    pub(super) fn within(&self, time: Option<Duration>) -> Option<Duration> {
        match self.access {
            Some(_) => time,
            None => {
                let left = TIME_MAX.saturating_sub(self.began.elapsed());
                Some(time.map_or(left, |time| time.min(left)))
            }
        }
    }

    /// The time is up: whether that was the time to authenticate.
    pub(super) fn is_late(&self) -> bool {
        let is_late = self.access.is_none();
        METRICS.connections_unauthenticated.add(u64::from(is_late));
        is_late
    }

    /// Takes a frame.
    pub(super) async fn pass(&mut self, frame: &[u8]) -> Result<Passed, Failed> {
        if std::mem::take(&mut self.is_bare) {
            return Ok(Box::pin(self.bare_token(frame)).await);
        }
        let mut reader = Reader::new(frame);
        let header = RequestHeader::decode(&mut reader)?;
        match ApiKey::from_code(header.api_key) {
            Some(ApiKey::SaslHandshake) => self.handshake(&header, &mut reader),
            // Boxed: few frames of a connection are for this, and all would hold the room.
            Some(ApiKey::SaslAuthenticate) => Box::pin(self.authenticate(&header, &mut reader)).await,
            // It tells nothing of what is here, and has no use for who asks.
            Some(ApiKey::ApiVersions) if self.access.is_none() => {
                Ok(Passed::On(self.guard.admit_as(Principal::anonymous(), &self.arrival)))
            }
            _ => self.access(),
        }
    }

    /// Who has authenticated passes, for as long as that holds.
    fn access(&self) -> Result<Passed, Failed> {
        let Some(access) = &self.access else {
            METRICS.connections_unauthenticated.add(1);
            return Err(Failed::Unserved(
                "it has not authenticated, and must by SASL before it asks for anything".to_owned(),
            ));
        };
        let until = self.session.as_ref().and_then(|(_, until)| *until);
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(Failed::Unserved(
                "its session is over (listen.kafka.auth_lifetime): it must authenticate again".to_owned(),
            ));
        }
        Ok(Passed::On(access.clone()))
    }

    fn handshake(&mut self, header: &RequestHeader<'_>, reader: &mut Reader<'_>) -> Result<Passed, Failed> {
        let body = SaslHandshakeRequest::decode(header.api_version, reader)?;
        let offered = self.guard.mechanisms(&self.arrival);
        let begun = Mechanism::from_name(body.mechanism)
            .ok_or(Refused::Method)
            .and_then(|mechanism| Exchange::begin(&self.guard, mechanism, &self.arrival));
        let code = match begun {
            _ if offered.is_empty() => ErrorCode::IllegalSaslState,
            Err(_) => ErrorCode::UnsupportedSaslMechanism,
            Ok(exchange) => {
                self.exchange = Some(exchange);
                self.is_bare = header.api_version == 0;
                ErrorCode::None
            }
        };
        let mechanisms = offered.iter().map(|mechanism| mechanism.name()).collect();
        Ok(Passed::Answered(answer(header, &SaslHandshakeResponse { error_code: code.code(), mechanisms })?))
    }

    async fn authenticate(&mut self, header: &RequestHeader<'_>, reader: &mut Reader<'_>) -> Result<Passed, Failed> {
        let body = SaslAuthenticateRequest::decode(header.api_version, reader)?;
        let stepped = match self.exchange {
            None => Err((ErrorCode::IllegalSaslState, "SaslHandshake comes before SaslAuthenticate".to_owned())),
            Some(_) => {
                let stepped = self.step(body.auth_bytes.expose()).await;
                stepped.map_err(|refused| (ErrorCode::SaslAuthenticationFailed, refused))
            }
        };
        match stepped {
            Ok((bytes, lifetime)) => {
                let session_lifetime_ms =
                    lifetime.map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
                let auth_bytes = bytes.as_slice().into();
                let body = SaslAuthenticateResponse { auth_bytes, session_lifetime_ms, ..Default::default() };
                Ok(Passed::Answered(answer(header, &body)?))
            }
            Err((code, text)) => {
                let body = SaslAuthenticateResponse {
                    error_code: code.code(),
                    error_message: Some(&text),
                    ..Default::default()
                };
                Ok(Passed::Ended(answer(header, &body)?, text))
            }
        }
    }

    /// A token of version 0 is answered by a token; a failure has no words there.
    async fn bare_token(&mut self, token: &[u8]) -> Passed {
        match self.step(token).await {
            Ok((bytes, _)) => {
                self.is_bare = self.exchange.is_some();
                // No mechanism says more than fits the prefix.
                let mut frame = (bytes.len() as u32).to_be_bytes().to_vec();
                frame.extend_from_slice(&bytes);
                Passed::Answered(frame)
            }
            Err(text) => Passed::Ended(Vec::new(), text),
        }
    }

    /// One step of the exchange: what to send, and how long it holds once it is done.
    async fn step(&mut self, token: &[u8]) -> Result<(Vec<u8>, Option<Duration>), String> {
        let Some(mut exchange) = self.exchange.take() else { return Err("no exchange has begun".to_owned()) };
        match exchange.step(&self.guard, token, &self.arrival).await {
            Ok(Answer::More(bytes)) => {
                self.exchange = Some(exchange);
                Ok((bytes, None))
            }
            Ok(Answer::Done(principal, bytes)) => {
                if self.session.as_ref().is_some_and(|(before, _)| *before != principal) {
                    return Err("a connection can't become another user's".to_owned());
                }
                let lifetime = self.guard.lifetime();
                self.access = Some(self.guard.admit_as(principal.clone(), &self.arrival));
                self.session = Some((principal, lifetime.map(|time| Instant::now() + time)));
                Ok((bytes, lifetime))
            }
            Err(refused) => Err(refused.to_string()),
        }
    }
}

fn answer<'a, M: Response<'a>>(header: &RequestHeader<'_>, body: &M) -> Result<Vec<u8>, Failed> {
    let mut out = Vec::new();
    header::write_response(&mut out, header.api_version, header.correlation_id, body)?;
    Ok(out)
}

/// For the table of what is served: the gate takes these before anybody is asked.
pub(super) fn unreached(
    _: Arc<super::Context>,
    _: super::request::Request,
) -> std::pin::Pin<Box<dyn Future<Output = Result<super::request::Later, Failed>> + Send>> {
    Box::pin(async { Err(Failed::Unserved("SASL is the gate's".to_owned())) })
}
