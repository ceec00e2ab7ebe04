//! What lives in memory, brought in line with a store that was opened anew after a failure.
//!
//! The last commit before the failure was reported as failed, and may be there all the same: a topic may exist, be
//! changed or be gone although whoever asked for it was told otherwise. Everything else here follows from answers that
//! were durable, or from what came upstream, and stands: followers' positions, reserved producer ids, sessions.

use std::sync::Weak;

use super::Shared;
use crate::metrics::METRICS;
use crate::store::{Reopened, Store};

/// The broker as the store knows it.
pub(super) struct Rebuild(pub(super) Weak<Shared>);

impl Reopened for Rebuild {
    fn reopened(&self, store: &Store) -> Result<(), String> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        shared.publish_stored(store)?;
        shared.rights.rebuild(store)?;
        shared.groups.rebuild(store);
        shared.users.rebuild(store);
        Ok(())
    }

    fn resumed(&self) {
        let Some(shared) = self.0.upgrade() else { return };
        METRICS.store_healed.add(1);
        shared.waiters.wake_all();
        shared.followers.wake_all();
        shared.topics_changed.notify(usize::MAX);
    }
}
