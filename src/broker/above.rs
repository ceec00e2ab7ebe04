//! Which gateways are above this one, by its own uplinks, so that a circle is noticed. Not kept over restarts: each connection tells
//! anew.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Broker;

/// By uplink.
#[derive(Debug, Default)]
pub(super) struct Above(Mutex<BTreeMap<String, Vec<String>>>);

impl Above {
    /// A panic elsewhere can't leave it half changed: every change is one insertion.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Vec<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// From now on `uplink` forwards to the first of these gateways, which forwards to the others.
    pub fn set_gateways_above(&self, uplink: &str, gateways: Vec<String>) {
        self.shared.above.lock().insert(uplink.to_owned(), gateways);
    }

    /// The ids of all gateways that records are forwarded to from here, as far as is known; each once.
    pub fn gateways_above(&self) -> Vec<String> {
        let mut all: Vec<String> = self.shared.above.lock().values().flatten().cloned().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}
