//! Other settings for a broker that runs.
//!
//! Invariant: who creates or changes a topic at the same time does so before, and the topic is looked at again here, or after, by
//! the new settings: both are decided on the writer, in order.

use super::call::call_at_once;
use super::error::CommitError;
use super::{Broker, BrokerOptions, Shared, catalog, dead_letter};
use crate::store::{Space, Store};
use std::sync::Arc;

impl Broker {
    /// From now on these settings, for all topics that don't set their own. What a broker has for good stays: the gateway's id, the clock of
    /// groups and the time for which an empty one waits.
    ///
    /// # Errors
    /// The store has stopped: nothing was changed.
    pub async fn reconfigure(&self, mut options: BrokerOptions) -> Result<(), CommitError> {
        let shared = &self.shared;
        options.defaults.dead_letter_bytes = Some(dead_letter::bytes_max(shared.store.max_bytes()));
        let before = shared.options();
        let (now, after) = (Arc::clone(shared), Arc::clone(shared));
        let wanted = options.clone();
        let swapped = call_at_once(
            &shared.store,
            move |_| {
                now.options.set(wanted.clone());
                Ok(())
            },
            move |()| {
                // Each was read by the settings before, so it can be read by these.
                if let Err(error) = after.publish_stored(&after.store) {
                    log::error!("topics keep the settings that they have: {error}");
                }
            },
        );
        if let Err(error) = swapped.await {
            shared.options.set(BrokerOptions::clone(&before));
            return Err(error);
        }
        shared.rights.set_options(options.rights);
        if let Some(why) = self.reserves_too_large() {
            log::warn!("{why}");
        }
        Ok(())
    }

    /// Lets everybody who follows topics look at them again, though none has changed.
    pub fn look_at_topics_again(&self) {
        self.shared.topics_changed.notify(usize::MAX);
    }
}

impl Shared {
    /// Brings the catalogue in line with what the store has, and with the settings for topics that set none.
    ///
    /// # Errors
    /// A text that names a topic that cannot be read.
    pub(super) fn publish_stored(&self, store: &Store) -> Result<(), String> {
        let stored = catalog::stored_topics(&store.entries(Space::Topic, &[]), &self.options().defaults)?;
        for known in self.catalog.all() {
            if !stored.iter().any(|topic| topic.id == known.id) {
                self.withdraw_topic(&known);
            }
        }
        for topic in stored {
            if self.catalog.by_id(topic.id).as_deref() != Some(&topic) {
                self.publish_topic(Arc::new(topic));
            }
        }
        Ok(())
    }
}
