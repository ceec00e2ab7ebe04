//! What topics reserve of the store, and that it stays within the part that can be reserved.
//!
//! Invariant: what is promised at creation or change is decided on the writer, over all topics as they are then. A bound
//! that was lowered since, or a reserve in the configuration, may exceed it all the same: then the store cuts all
//! reserves in proportion, and the gateway says so at its start.

use super::catalog;
use super::error::TopicError;
use super::topic::Topic;
use super::{Broker, Shared};
use crate::limits::{RESERVE_PERCENT_MAX, reserve_sum_max};
use crate::store::{Class, Draft, Space};

impl Topic {
    /// What the store must know of each of its partitions.
    pub(super) fn class(&self) -> Class {
        let config = &self.config;
        Class { topic: self.id.0, priority: config.priority, reserve: config.reserve, on_full: config.on_full }
    }
}

/// On the writer: whether `topic`, as it is to be, fits beside what all others reserve.
pub(super) fn check(draft: &Draft<'_>, shared: &Shared, topic: &Topic) -> Result<(), TopicError> {
    if topic.config.reserve == 0 {
        return Ok(());
    }
    let (rows, options) = (draft.entries(Space::Topic, &[]), shared.options());
    let others = rows.iter().filter(|(name, _)| name != topic.name.as_bytes());
    let others = others.filter_map(|(name, row)| catalog::decode(name, row, &options.defaults));
    let others = others.fold(0u64, |sum, other| sum.saturating_add(other.config.reserve));
    let most = reserve_sum_max(shared.store.max_bytes());
    if others.saturating_add(topic.config.reserve) <= most {
        return Ok(());
    }
    Err(TopicError::Invalid(format!(
        "brooklet.reserve={}: topics reserve {others} bytes already, and {RESERVE_PERCENT_MAX}% of store.max_bytes, \
         {most} bytes, is the most that can be reserved",
        topic.config.reserve
    )))
}

impl Broker {
    /// What is wrong with what all topics reserve together, for people; `None` if nothing is.
    pub fn reserves_too_large(&self) -> Option<String> {
        let sum = self.topics().iter().fold(0u64, |sum, topic| sum.saturating_add(topic.config.reserve));
        let most = reserve_sum_max(self.shared.store.max_bytes());
        (sum > most).then(|| {
            format!(
                "topics reserve {sum} bytes, more than the {RESERVE_PERCENT_MAX}% of store.max_bytes that can be \
                 reserved, {most} bytes: all reserves are cut in proportion"
            )
        })
    }
}
