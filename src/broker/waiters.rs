//! Who waits for which partition to advance. A waiting reader costs one entry a partition and no thread.
//!
//! Invariant: a waiter registers before it looks at the high watermark, so an advance between look and wait is not missed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use event_listener::{Event, EventListener};

use crate::store::PartitionId;

/// The waiting readers of every partition.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    by_partition: Mutex<HashMap<PartitionId, Vec<Weak<Event>>>>,
}

impl Waiters {
    /// Registers for any of `partitions`. Look at the high watermarks only after this.
    pub(super) fn register(self: &Arc<Self>, partitions: impl IntoIterator<Item = PartitionId>) -> Registration {
        let event = Arc::new(Event::new());
        let mut registered = Vec::new();
        let mut map = self.lock();
        for partition in partitions {
            map.entry(partition).or_default().push(Arc::downgrade(&event));
            registered.push(partition);
        }
        drop(map);
        Registration { waiters: Arc::clone(self), event, partitions: registered }
    }

    /// Wakes everyone who waits for `partition`.
    pub(super) fn wake(&self, partition: PartitionId) {
        if let Some(events) = self.lock().get(&partition) {
            for event in events.iter().filter_map(Weak::upgrade) {
                event.notify(usize::MAX);
            }
        }
    }

    /// Wakes everyone.
    pub(super) fn wake_all(&self) {
        let events: Vec<_> = self.lock().values().flatten().filter_map(Weak::upgrade).collect();
        for event in events {
            event.notify(usize::MAX);
        }
    }

    /// A panic elsewhere cannot leave the map half changed: every change is one call.
    fn lock(&self) -> MutexGuard<'_, HashMap<PartitionId, Vec<Weak<Event>>>> {
        self.by_partition.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the waiters; leaves it when dropped.
#[derive(Debug)]
pub struct Registration {
    waiters: Arc<Waiters>,
    event: Arc<Event>,
    partitions: Vec<PartitionId>,
}

impl Registration {
    /// Resolves at the next advance after this call. Take it, look at the high watermarks, then await it.
    pub fn listen(&self) -> EventListener {
        self.event.listen()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut map = self.waiters.lock();
        for partition in &self.partitions {
            if let Some(events) = map.get_mut(partition) {
                events.retain(|other| !std::ptr::eq(other.as_ptr(), Arc::as_ptr(&self.event)));
                if events.is_empty() {
                    map.remove(partition);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn an_advance_wakes_only_those_who_wait_for_it_and_leaves_nothing_behind() {
        let waiters = Arc::new(Waiters::default());
        let one = waiters.register([PartitionId(1), PartitionId(2)]);
        let other = waiters.register([PartitionId(3)]);
        let (mut a, mut b) = (one.listen(), other.listen());
        waiters.wake(PartitionId(2));
        assert!(block_on(poll_once(&mut a)).is_some());
        assert!(block_on(poll_once(&mut b)).is_none());
        drop((one, other));
        assert!(waiters.lock().is_empty());
    }
}
