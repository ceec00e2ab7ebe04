//! By which time certificates are judged.
//!
//! Many boards have no battery clock: they start in 1970, and have the time once the network is there. What would give them the
//! time may itself need TLS. So while the clock isn't trusted, a certificate that isn't valid *yet* is taken; and one is *expired* only
//! if it had expired at the latest moment that is certain to be past: when this program was built, or when the gateway last knew the
//! time, plus the time in which it has run since.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// A time to judge by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertTime {
    /// Unix ms: now, or (untrusted) what is certain to be past.
    pub ms: i64,
    /// Whether it is now.
    pub trusted: bool,
}

/// Tells the time to judge by. Cheap to clone.
#[derive(Clone)]
pub struct CertClock(Arc<dyn Fn() -> CertTime + Send + Sync>);

impl CertClock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> CertTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> CertTime {
        (self.0)()
    }
}

impl fmt::Debug for CertClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.now())
    }
}

/// For the ages of tickets.
impl TimeProvider for CertClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now().ms))
    }
}

/// Unix ms as the verifiers take it.
pub(super) fn unix_time(ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}
