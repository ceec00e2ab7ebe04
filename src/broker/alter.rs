//! Changes of a topic's settings: one by one, or all at once.

use std::sync::Arc;

use super::admin::current;
use super::call::call;
use super::error::TopicError;
use super::topic::Topic;
use super::{Broker, Shared, reserves};
use crate::store::Draft;

/// What is to become of a topic's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsChange {
    /// Sets these (`Some`) or returns them to their defaults (`None`), in this order; all others stay.
    Some(Vec<(String, Option<String>)>),
    /// Sets these; all others return to their defaults.
    All(Vec<(String, String)>),
}

impl Broker {
    /// Sets (`Some`) or resets to the default (`None`) configurations of a topic.
    ///
    /// # Errors
    /// [`TopicError::Unknown`], `Invalid`, or the store's; then nothing has changed.
    pub async fn alter_topic(
        &self,
        name: &str,
        changes: &[(String, Option<String>)],
    ) -> Result<Arc<Topic>, TopicError> {
        self.change_settings(name, SettingsChange::Some(changes.to_vec())).await
    }

    /// Changes the settings of a topic, all or none.
    ///
    /// # Errors
    /// As [`Broker::alter_topic`].
    pub async fn change_settings(&self, name: &str, change: SettingsChange) -> Result<Arc<Topic>, TopicError> {
        self.change_topic(name, move |shared, draft, topic| Ok(changed(draft, shared, topic, &change))).await
    }

    /// Whether [`Broker::change_settings`] would go well now. Changes nothing.
    ///
    /// # Errors
    /// As [`Broker::change_settings`].
    pub async fn check_settings(&self, name: &str, change: SettingsChange) -> Result<(), TopicError> {
        let topic = self.topic(name).ok_or_else(|| TopicError::Unknown(name.to_owned()))?;
        let shared = Arc::clone(&self.shared);
        let check = move |draft: &mut Draft<'_>| {
            let Some(topic) = current(draft, &shared, &topic) else {
                return Ok(Err(TopicError::Unknown(topic.name.clone())));
            };
            Ok(changed(draft, &shared, &topic, &change).map(drop))
        };
        call(&self.shared.store, check, |_| {}).await?
    }
}

/// On the writer: `topic` with its settings changed, if they are allowed.
fn changed(draft: &Draft<'_>, shared: &Shared, topic: &Topic, change: &SettingsChange) -> Result<Topic, TopicError> {
    let mut overrides = match change {
        SettingsChange::Some(_) => topic.overrides.clone(),
        SettingsChange::All(all) => all.clone(),
    };
    if let SettingsChange::Some(changes) = change {
        for (key, value) in changes {
            overrides.retain(|(k, _)| k != key);
            if let Some(value) = value {
                overrides.push((key.clone(), value.clone()));
            }
        }
    }
    let config = shared.options().defaults.effective(&topic.name, &overrides).map_err(TopicError::Invalid)?;
    let changed = Topic { overrides, config, ..topic.clone() };
    reserves::check(draft, shared, &changed)?;
    Ok(changed)
}
