//! Authentication: who a client is, whatever protocol it speaks.
//!
//! | file | job |
//! |---|---|
//! | this one | what a listener asks for, and what a connection has shown |
//! | [`exchange`] | SASL's exchanges, as a server |
//! | `names` | the name in a certificate |
//! | `verified`, `throttle` | passwords found right, so that they cost nothing the next time; failures by address |
//!
//! Invariants: a password crosses no wire that others can read, unless the listener is told to allow it; who is no user costs the same
//! time as who is one; failures are answered late, bounded by address, counted, and told in few lines; salting passwords, which takes
//! long, never runs on the threads that serve.

pub mod exchange;
mod names;
pub(super) mod throttle;
mod verified;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::lock::Semaphore;

use super::arrival::{Arrival, Origin};
use crate::broker::users::User;
use crate::broker::{Access, Caller, Listener, Lobby, Principal};
use crate::config::{AuthMethod, CertificateName, ListenAuthConfig};
use crate::executor;
use crate::metrics::METRICS;
use crate::sasl::{Mechanism, PASSWORD_BYTES_MAX, SaslError};
use crate::secret::{ScramHash, Secret};
use throttle::Throttle;
use verified::Verified;

/// Within this a connection must have authenticated.
pub const TIME_MAX: Duration = Duration::from_secs(30);
/// Largest frame that is taken before authentication, bytes: one message of SASL, and what is around it.
pub const FRAME_BYTES_MAX: usize = crate::sasl::MESSAGE_BYTES_MAX + 1_024;
/// How long a failure is not answered.
const FAILURE_DELAY: Duration = Duration::from_millis(250);
/// Passwords that are salted at a time: each takes a core.
const SALTED_AT_ONCE: usize = 2;
/// A failure is told no more often than this; the others are counted.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Why somebody did not get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Name and password don't fit. Which of them is wrong is not told.
    Wrong,
    /// What it sent is none of the mechanism.
    Sasl(SaslError),
    /// There were too many failures from that address.
    Throttled,
    /// The password would be in the clear.
    InTheClear,
    /// The listener does not take this way of authenticating.
    Method,
    /// The client has shown nothing, or what it has shown gives it no name.
    Nobody,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wrong | Self::Sasl(SaslError::Refused) => "user or password is wrong",
            Self::Sasl(error) => return error.fmt(f),
            Self::Throttled => "too many failures from this address: wait a while",
            Self::InTheClear => "a password in the clear is not taken here: use TLS, or a mechanism of SCRAM",
            Self::Method => "this way of authenticating is not taken here",
            Self::Nobody => "authentication is needed here",
        })
    }
}

/// What a connection is before it has said anything.
#[derive(Clone, Debug)]
pub enum Standing {
    /// Somebody: by its certificate, or because it is the owner of this machine's data directory.
    Known(Caller),
    /// Nobody, and that is allowed.
    Anonymous(Caller),
    /// Nobody, and it must say who it is.
    Unknown,
}

/// What all listeners share.
#[derive(Clone)]
pub struct Authentication {
    shared: Arc<Shared>,
}

struct Shared {
    lobby: Lobby,
    verified: Mutex<Verified>,
    failures: Mutex<Failures>,
    salting: Semaphore,
    began: Instant,
}

#[derive(Default)]
struct Failures {
    throttle: Throttle,
    told: Option<Instant>,
}

impl Authentication {
    /// For the users of a broker.
    #[must_use]
    pub fn new(lobby: Lobby) -> Self {
        let mut secret = [0; 32];
        if let Err(error) = getrandom::fill(&mut secret) {
            log::error!("no randomness: {error}");
        }
        let shared = Shared {
            lobby,
            verified: Mutex::new(Verified::new(&secret)),
            failures: Mutex::default(),
            salting: Semaphore::new(SALTED_AT_ONCE),
            began: Instant::now(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// For one listener, which asks for what `config` says; `names` says what certificates are called.
    #[must_use]
    pub fn guard(&self, listener: Listener, config: &ListenAuthConfig, names: &[CertificateName]) -> Guard {
        Guard { shared: Arc::clone(&self.shared), listener, config: config.clone(), names: names.into() }
    }
}

/// Authentication as one listener asks for it. Clones are the same.
#[derive(Clone)]
pub struct Guard {
    shared: Arc<Shared>,
    listener: Listener,
    config: ListenAuthConfig,
    names: Arc<[CertificateName]>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("listener", &self.listener).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Guard {
    /// What a connection is as it comes.
    #[must_use]
    pub fn standing(&self, arrival: &Arrival) -> Standing {
        let Origin::Network(_) = arrival.from else { return Standing::Known(Caller::local()) };
        if self.takes(AuthMethod::Certificate)
            && let Some(certificate) = &arrival.certificate
        {
            let name = names::name_of(&certificate.names, &self.names);
            match name.map(|name| Principal::new(&name)) {
                Some(Ok(principal)) => return Standing::Known(self.caller(principal, arrival)),
                Some(Err(why)) => self.tell(arrival, &format_args!("the name in its certificate is none: {why}")),
                None => self.tell(arrival, &"no rule of security.names finds a name in its certificate"),
            }
        }
        if self.takes(AuthMethod::None) {
            return Standing::Anonymous(self.caller(Principal::anonymous(), arrival));
        }
        Standing::Unknown
    }

    /// The broker as who is there may use it; `None` while it must say who it is.
    #[must_use]
    pub fn admit(&self, arrival: &Arrival) -> Option<Access> {
        match self.standing(arrival) {
            Standing::Known(caller) | Standing::Anonymous(caller) => Some(self.shared.lobby.admit(caller)),
            Standing::Unknown => None,
        }
    }

    /// The broker as `principal` may use it.
    #[must_use]
    pub fn admit_as(&self, principal: Principal, arrival: &Arrival) -> Access {
        self.shared.lobby.admit(self.caller(principal, arrival))
    }

    /// The broker as who is there may use it, by what it has shown and by name and password, if it sends them. Where passwords are not
    /// taken, they are passed over. A refusal comes late.
    ///
    /// # Errors
    /// [`Refused`], counted and told.
    pub async fn let_in(&self, arrival: &Arrival, credentials: Option<(String, Secret)>) -> Result<Access, Refused> {
        let is_local = matches!(arrival.from, Origin::LocalUser(_));
        match (self.admit(arrival), credentials) {
            (Some(access), Some(_)) if is_local || !self.takes(AuthMethod::Password) => Ok(access),
            (_, Some((name, password))) => {
                self.password(&name, &password, arrival).await.map(|principal| self.admit_as(principal, arrival))
            }
            (Some(access), None) => Ok(access),
            (None, None) => {
                self.refuse(&Refused::Nobody, None, arrival).await;
                Err(Refused::Nobody)
            }
        }
    }

    /// The mechanisms of SASL that a connection may use, the best first.
    #[must_use]
    pub fn mechanisms(&self, arrival: &Arrival) -> Vec<Mechanism> {
        let mut mechanisms = Vec::new();
        if self.takes(AuthMethod::Password) || self.takes(AuthMethod::Scram) {
            mechanisms.extend([ScramHash::Sha512, ScramHash::Sha256].map(Mechanism::Scram));
        }
        if self.takes(AuthMethod::Password) && self.may_be_clear(arrival) {
            mechanisms.push(Mechanism::Plain);
        }
        mechanisms
    }

    /// How long who has authenticated stays so; `None`: as long as the connection lasts.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.config.lifetime
    }

    /// Checks a name and a password. A refusal comes late.
    ///
    /// # Errors
    /// [`Refused`], counted and told.
    pub async fn password(&self, name: &str, password: &Secret, arrival: &Arrival) -> Result<Principal, Refused> {
        let checked = if !self.takes(AuthMethod::Password) {
            Err(Refused::Method)
        } else if !self.may_be_clear(arrival) {
            Err(Refused::InTheClear)
        } else {
            self.check(name, password, arrival).await
        };
        match checked {
            Ok(principal) => {
                METRICS.authenticated.add(1);
                Ok(principal)
            }
            Err(refused) => {
                self.refuse(&refused, Some(name), arrival).await;
                Err(refused)
            }
        }
    }

    async fn check(&self, name: &str, password: &Secret, arrival: &Arrival) -> Result<Principal, Refused> {
        let principal = Principal::new(name).map_err(|_| Refused::Wrong)?;
        if password.expose().len() > PASSWORD_BYTES_MAX {
            return Err(Refused::Wrong);
        }
        let user = self.shared.lobby.user(name);
        if let Some(user) = &user
            && self.shared.verified().knows(name, password.expose(), user)
        {
            return Ok(principal);
        }
        self.check_throttle(arrival)?;
        if !self.salt(name, password, user.as_deref()).await {
            return Err(Refused::Wrong);
        }
        if let Some(user) = &user {
            self.shared.verified().learn(name, password.expose(), user);
        }
        Ok(principal)
    }

    /// Whether a password fits; who is no user is salted with all the same.
    async fn salt(&self, name: &str, password: &Secret, user: Option<&User>) -> bool {
        let kept = user.and_then(|user| user.verifiers().first().cloned());
        let is_user = kept.is_some();
        let verifier = kept.unwrap_or_else(|| self.shared.lobby.verifier(ScramHash::Sha256, name));
        let password = password.clone();
        let _turn = self.shared.salting.acquire().await;
        executor::unblock(move || verifier.fits(password.expose())).await && is_user
    }

    fn check_throttle(&self, arrival: &Arrival) -> Result<(), Refused> {
        let allowed = self.shared.failures().throttle.allows(address(arrival), self.shared.now_ms());
        if allowed { Ok(()) } else { Err(Refused::Throttled) }
    }

    /// Counts and tells a refusal, and lets it wait.
    async fn refuse(&self, refused: &Refused, name: Option<&str>, arrival: &Arrival) {
        METRICS.authentication_failures.add(1);
        match refused {
            Refused::Throttled => METRICS.authentication_throttled.add(1),
            _ => self.shared.failures().throttle.failed(address(arrival), self.shared.now_ms()),
        }
        match name {
            Some(name) => self.tell(arrival, &format_args!("user {name:?} did not get in: {refused}")),
            None => self.tell(arrival, &format_args!("it did not get in: {refused}")),
        }
        smol::Timer::after(FAILURE_DELAY).await;
    }

    fn tell(&self, arrival: &Arrival, what: &dyn fmt::Display) {
        let mut failures = self.shared.failures();
        let silent = failures.told.is_some_and(|told| told.elapsed() < TELL_EVERY);
        if !silent {
            failures.told = Some(Instant::now());
        }
        drop(failures);
        let level = if silent { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "{}: {arrival}: {what}", self.listener.name());
    }

    fn caller(&self, principal: Principal, arrival: &Arrival) -> Caller {
        Caller::peer(principal, self.listener, address(arrival))
    }

    fn takes(&self, method: AuthMethod) -> bool {
        self.config.methods.contains(&method)
    }

    fn may_be_clear(&self, arrival: &Arrival) -> bool {
        arrival.is_private || self.config.clear_passwords
    }
}

/// The address that rights and failures go by. Only the local socket has none.
fn address(arrival: &Arrival) -> IpAddr {
    arrival.address().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

impl Shared {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A panic elsewhere can't leave it half changed.
    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As above.
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
