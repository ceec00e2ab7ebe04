//! Memory that all connections share: who needs some waits in line until there is.
//!
//! Invariants: first come, first served, so a large request is not starved by small ones; what was taken comes back
//! when the permit is dropped, whatever happened meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event;

/// A number of bytes to share; all clones share the same.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    total: usize,
    state: Mutex<State>,
    freed: Event,
}

#[derive(Debug)]
struct State {
    free: usize,
    next_ticket: u64,
    waiting: VecDeque<u64>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ByteBudget {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Self {
        let state = State { free: total, next_ticket: 0, waiting: VecDeque::new() };
        Self { inner: Arc::new(Inner { total, state: Mutex::new(state), freed: Event::new() }) }
    }

    /// Takes `bytes` (at most the whole budget), waiting until they are free.
    pub async fn take(&self, bytes: usize) -> Permit {
        let bytes = bytes.min(self.inner.total);
        let mut place = Place::new(&self.inner);
        loop {
            let freed = self.inner.freed.listen();
            if place.try_take(bytes) {
                return Permit { inner: Arc::clone(&self.inner), bytes };
            }
            freed.await;
        }
    }

    /// Bytes that nobody has taken.
    pub fn free(&self) -> usize {
        self.inner.state().free
    }
}

/// A place in the line; leaves it when dropped, also when whoever waited has given up.
struct Place<'a> {
    inner: &'a Inner,
    ticket: u64,
}

impl<'a> Place<'a> {
    fn new(inner: &'a Inner) -> Self {
        let mut state = inner.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.push_back(ticket);
        Self { inner, ticket }
    }

    fn try_take(&mut self, bytes: usize) -> bool {
        let mut state = self.inner.state();
        if state.waiting.front() != Some(&self.ticket) || state.free < bytes {
            return false;
        }
        state.free -= bytes;
        true
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.inner.state().waiting.retain(|ticket| *ticket != self.ticket);
        // The next in line may have been waiting for this place only.
        self.inner.freed.notify(usize::MAX);
    }
}

/// Bytes taken from a [`ByteBudget`] until this is dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Permit {
    /// Gives back all but `bytes` of it.
    pub fn keep(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.inner.state().free += back;
        self.inner.freed.notify(usize::MAX);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.state().free += self.bytes;
        self.inner.freed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};
    use std::pin::pin;

    #[test]
    fn the_line_is_kept_and_everything_comes_back() {
        block_on(async {
            let budget = ByteBudget::new(10);
            let first = budget.take(8).await;
            let mut large = pin!(budget.take(10));
            assert!(poll_once(&mut large).await.is_none());
            let mut small = pin!(budget.take(1));
            assert!(poll_once(&mut small).await.is_none(), "the large one was first");
            drop(first);
            let held = poll_once(&mut large).await.expect("all is free");
            assert!(poll_once(&mut small).await.is_none());
            drop(held);
            drop(poll_once(&mut small).await.expect("its turn"));
            assert_eq!(budget.free(), 10);
        });
    }

    #[test]
    fn whoever_gives_up_leaves_the_line() {
        block_on(async {
            let budget = ByteBudget::new(4);
            let held = budget.take(4).await;
            {
                let mut gone = pin!(budget.take(4));
                assert!(poll_once(&mut gone).await.is_none());
            }
            let mut next = pin!(budget.take(2));
            assert!(poll_once(&mut next).await.is_none());
            drop(held);
            assert!(poll_once(&mut next).await.is_some());
        });
    }

    #[test]
    fn what_is_not_kept_comes_back_at_once() {
        let budget = ByteBudget::new(10);
        let mut held = block_on(budget.take(8));
        held.keep(3);
        assert_eq!(budget.free(), 7);
        held.keep(5);
        assert_eq!(budget.free(), 7, "a permit does not grow");
        drop(held);
        assert_eq!(budget.free(), 10);
    }

    #[test]
    fn more_than_all_is_all() {
        let budget = ByteBudget::new(4);
        let held = block_on(budget.take(100));
        assert_eq!(budget.free(), 0);
        drop(held);
        assert_eq!(budget.free(), 4);
    }
}
