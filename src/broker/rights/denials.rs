//! What was refused for want of rights: counted, and told in the log, the same thing once an hour.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::model::Denied;
use crate::broker::caller::Caller;
use crate::metrics::METRICS;

/// How often the same thing is told.
const EVERY: Duration = Duration::from_secs(3_600);
/// Different things told in that time.
const TOLD_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Denials {
    told: Mutex<HashMap<Denied, Instant>>,
}

impl Denials {
    /// Something was refused, or (in a dry run) would have been.
    pub(super) fn count(&self, caller: &Caller, denied: &Denied, enforced: bool) {
        let counter = if enforced { &METRICS.denied } else { &METRICS.denied_dry };
        counter.add(1);
        if !self.is_news(denied, Instant::now()) {
            return;
        }
        let by = caller.peer_at().map(|(listener, host)| format!(" (by {} from {host})", listener.name()));
        let (by, dry) = (by.unwrap_or_default(), if enforced { "" } else { "dry run, not enforced: " });
        log::warn!("{dry}{denied}{by}");
    }

    fn is_news(&self, denied: &Denied, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |at: &Instant| now.duration_since(*at) >= EVERY;
        if told.get(denied).is_some_and(|at| !is_old(at)) {
            return false;
        }
        if told.len() >= TOLD_MAX && !told.contains_key(denied) {
            told.retain(|_, at| !is_old(at));
            if told.len() >= TOLD_MAX {
                return false;
            }
        }
        told.insert(denied.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::caller::Principal;
    use crate::broker::rights::{Operation, ResourceKind};

    #[test]
    fn the_same_is_told_once_an_hour_and_not_too_much_in_all() {
        let denials = Denials::default();
        let denied = |name: usize| Denied {
            principal: Principal::anonymous(),
            operation: Operation::Read,
            kind: ResourceKind::Topic,
            name: name.to_string(),
        };
        let now = Instant::now();
        assert!(denials.is_news(&denied(0), now));
        assert!(!denials.is_news(&denied(0), now + EVERY / 2));
        assert!(denials.is_news(&denied(0), now + EVERY));
        let told = (0..2 * TOLD_MAX).filter(|name| denials.is_news(&denied(*name), now + EVERY)).count();
        assert_eq!(told, TOLD_MAX - 1);
        assert!(denials.is_news(&denied(TOLD_MAX + 5), now + 2 * EVERY), "what is old makes room");
    }
}
