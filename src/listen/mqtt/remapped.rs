//! Rules that changed while the gateway runs, so that topics hold messages for subscriptions for which they held none.
//!
//! What lies in such a topic is from before: nobody has subscribed to that. So whoever subscribed before the change begins where the topic
//! ended then, connected or not; only a topic or partition that is new itself is read from its start.
//!
//! Bounded: the last [`CHANGES_MAX`] changes, of each the ends of those partitions that a rule may now write to.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::log;
use super::mapping::Rules;
use super::session::Positions;
use crate::broker::Access;
use crate::store::PartitionId;

/// Changes that are remembered. Of one that is forgotten the topics are read from their start: more than is new, not less.
const CHANGES_MAX: usize = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Remapped {
    changes: Mutex<VecDeque<Change>>,
}

#[derive(Debug)]
struct Change {
    before: Rules,
    ends: Positions,
}

impl Remapped {
    /// `after` are the rules from now on. Before anybody goes by them.
    pub(super) fn changed(&self, before: &Rules, after: &Rules, access: &Access) {
        if before == after {
            return;
        }
        let mut ends = Positions::new();
        for topic in log::topics(access).filter(|topic| after.may_write(&topic.name)) {
            let end = |partition: &PartitionId| (partition.0, log::end(access, (topic.topic(), *partition)));
            ends.extend(topic.partitions.iter().map(end));
        }
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() == CHANGES_MAX {
            changes.pop_front();
        }
        changes.push_back(Change { before: before.clone(), ends });
    }

    /// Where a partition that is new to a subscription begins for it, if it was there when the rules came to name it; `held` tells whether by
    /// some rules it may have held something.
    pub(super) fn begin(&self, partition: PartitionId, held: impl Fn(&Rules) -> bool) -> Option<i64> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let end = |change: &Change| change.ends.get(&partition.0).copied();
        changes.iter().rev().find_map(|change| end(change).filter(|_| !held(&change.before)))
    }
}
