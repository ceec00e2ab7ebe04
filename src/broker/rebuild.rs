//! What lives in memory, brought in line with a store that was opened anew after a failure.
//!
//! The last commit before the failure was reported as failed, and may be there all the same: a topic may exist, be
//! changed or be gone although whoever asked for it was told otherwise. Everything else here follows from answers that
//! were durable, or from what came upstream, and stands: followers' positions, reserved producer ids, sessions.

use std::sync::{Arc, Weak};

use super::{Shared, catalog};
use crate::metrics::METRICS;
use crate::store::{Reopened, Space, Store};

/// The broker as the store knows it.
pub(super) struct Rebuild(pub(super) Weak<Shared>);

impl Reopened for Rebuild {
    fn reopened(&self, store: &Store) -> Result<(), String> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let stored = catalog::stored_topics(&store.entries(Space::Topic, &[]), &shared.options.defaults)?;
        for known in shared.catalog.all() {
            if !stored.iter().any(|topic| topic.id == known.id) {
                shared.withdraw_topic(&known);
            }
        }
        for topic in stored {
            if shared.catalog.by_id(topic.id).as_deref() != Some(&topic) {
                shared.publish_topic(Arc::new(topic));
            }
        }
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
