//! Taking no new records for a while, so that what is here can be forwarded to its end.
//!
//! What is refused: records of every listener, of downlinks and of gateways below. Reading, positions and administration go on.
//! It is not remembered over a restart.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::call;
use super::error::{CommitError, ProduceError};
use super::{Broker, Shared};

/// Until when records are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    At(Instant),
    Told,
}

/// Whether records are refused.
#[derive(Debug, Default)]
pub(super) struct Draining(Mutex<Option<Until>>);

impl Draining {
    /// A panic elsewhere can't leave it half changed: every change is one assignment.
    fn lock(&self) -> MutexGuard<'_, Option<Until>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// Refuses new records from now on: for as long as `hold`, or until [`Broker::accept_records`].
    pub fn refuse_records(&self, hold: Option<Duration>) {
        let until = hold.and_then(|hold| Instant::now().checked_add(hold)).map_or(Until::Told, Until::At);
        let mut lock = self.shared.draining.lock();
        if *lock != Some(Until::Told) || until == Until::Told {
            *lock = Some(until);
        }
    }

    /// Takes records again.
    pub fn accept_records(&self) {
        *self.shared.draining.lock() = None;
    }

    /// Whether new records are refused.
    pub fn refuses_records(&self) -> bool {
        self.shared.check_open().is_err()
    }

    /// Returns once everything that was queued before is durable, or refused.
    ///
    /// # Errors
    /// Why the store can't say.
    pub async fn settle_queued(&self) -> Result<(), CommitError> {
        call(&self.shared.store, |_| Ok(()), |()| {}).await
    }
}

impl Shared {
    /// Whether new records are taken.
    ///
    /// # Errors
    /// [`ProduceError::Draining`].
    pub(super) fn check_open(&self) -> Result<(), ProduceError> {
        let mut lock = self.draining.lock();
        if matches!(*lock, Some(Until::At(at)) if at <= Instant::now()) {
            *lock = None;
            log::warn!("nobody drains this gateway any more: it takes records again");
        }
        if lock.is_some() { Err(ProduceError::Draining) } else { Ok(()) }
    }
}
