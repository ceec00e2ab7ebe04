//! The writer's queue: bounded in operations and bytes; a full queue is the back-pressure.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;

use super::error::{Closed, TrySubmitError};
use super::ring::lock;
use super::types::Operation;

/// An operation that waits for the writer.
pub(super) struct Queued {
    pub op: Box<dyn Operation>,
    /// It may wait for company until this moment of the monotonic clock; else it wants the next commit.
    pub rides_until_ms: Option<u64>,
    bytes: usize,
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
    /// Told when operations have left, or the queue has closed.
    room: Event,
    ops_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    ops: VecDeque<Queued>,
    bytes: usize,
    /// How many of `ops` are urgent.
    urgent: usize,
    closed: bool,
    /// What the writer sleeps for; `None` while it is awake. It is woken once, when that is there, not for each arrival.
    asleep_until: Option<Until>,
}

/// What ends a wait besides its time, an urgent operation and the queue's end: so much of either.
#[derive(Clone, Copy, Debug)]
struct Until {
    ops: usize,
    bytes: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("ops", &self.ops.len()).field("closed", &self.closed).finish_non_exhaustive()
    }
}

impl Queue {
    pub(super) fn new(ops_max: usize, bytes_max: usize) -> Self {
        let inner = Mutex::default();
        Self { inner, arrived: Condvar::new(), room: Event::new(), ops_max: ops_max.max(1), bytes_max }
    }

    /// Queues an operation if there is room now. An empty queue has room for anything.
    pub(super) fn try_push(&self, op: Box<dyn Operation>, rides_until_ms: Option<u64>) -> Result<(), TrySubmitError> {
        let inner = lock(&self.inner);
        if inner.closed {
            return Err(TrySubmitError::Closed(op));
        }
        let bytes = op.queued_bytes();
        let full = inner.ops.len() >= self.ops_max || inner.bytes.saturating_add(bytes) > self.bytes_max;
        if full && !inner.ops.is_empty() {
            return Err(TrySubmitError::Full(op));
        }
        self.enter(inner, Queued { op, rides_until_ms, bytes });
        Ok(())
    }

    fn enter(&self, mut inner: MutexGuard<'_, Inner>, queued: Queued) {
        inner.push(queued);
        let wakes = inner.asleep_until.is_some_and(|until| inner.has(until));
        if wakes {
            inner.asleep_until = None;
        }
        drop(inner);
        if wakes {
            self.arrived.notify_one();
        }
    }

    /// Queues an operation; waits while the queue is full.
    pub(super) async fn push(&self, mut op: Box<dyn Operation>, rides_until_ms: Option<u64>) -> Result<(), Closed> {
        loop {
            op = match self.try_push(op, rides_until_ms) {
                Ok(()) => return Ok(()),
                Err(TrySubmitError::Closed(_)) => return Err(Closed),
                Err(TrySubmitError::Full(op)) => op,
            };
            let listener = self.room.listen();
            // Room may have come up between the two.
            op = match self.try_push(op, rides_until_ms) {
                Ok(()) => return Ok(()),
                Err(TrySubmitError::Closed(_)) => return Err(Closed),
                Err(TrySubmitError::Full(op)) => op,
            };
            listener.await;
        }
    }

    /// Queues one of the store's own operations, of which there are never many.
    pub(super) fn push_internal(&self, op: Box<dyn Operation>) -> Result<(), Closed> {
        let inner = lock(&self.inner);
        if inner.closed {
            return Err(Closed);
        }
        let bytes = op.queued_bytes();
        self.enter(inner, Queued { op, rides_until_ms: None, bytes });
        Ok(())
    }

    /// Takes the oldest operation.
    pub(super) fn pop(&self) -> Option<Queued> {
        let mut inner = lock(&self.inner);
        let queued = inner.ops.pop_front()?;
        inner.bytes = inner.bytes.saturating_sub(queued.bytes);
        inner.urgent -= usize::from(is_urgent(&*queued.op));
        drop(inner);
        self.room.notify_additional(1);
        Some(queued)
    }

    /// Waits until something arrives, the queue closes, or the time is over.
    ///
    /// While a commit is `open`, arrivals alone don't end the wait before the time, unless one is urgent, the queue is
    /// half full, or it holds the bytes that the open commit is still short of: they are taken in when the commit is due,
    /// all at once.
    pub(super) fn wait(&self, time: Option<Duration>, open: Option<usize>) {
        let until = match open {
            None => Until { ops: 1, bytes: usize::MAX },
            Some(short) => Until { ops: self.ops_max / 2 + 1, bytes: short.min(self.bytes_max / 2).max(1) },
        };
        self.sleep(time, until);
    }

    /// Waits until so many operations or bytes are queued, one of them is urgent, the queue closes, or the time is over.
    /// Whether the operations are there.
    pub(super) fn wait_for(&self, ops: usize, bytes: usize, time: Duration) -> bool {
        self.sleep(Some(time), Until { ops, bytes })
    }

    /// Waits; whether it ended before its time, or what is waited for is there all the same. Only the writer sleeps here.
    fn sleep(&self, time: Option<Duration>, until: Until) -> bool {
        let mut inner = lock(&self.inner);
        let deadline = time.map(|time| Instant::now() + time);
        while !inner.closed && !inner.has(until) {
            inner.asleep_until = Some(until);
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            inner = match left {
                Some(Duration::ZERO) => {
                    inner.asleep_until = None;
                    return inner.ops.len() >= until.ops;
                }
                Some(left) => self.arrived.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.arrived.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
        inner.asleep_until = None;
        true
    }

    /// Refuses what comes from now on; what is queued stays.
    pub(super) fn close(&self) {
        lock(&self.inner).closed = true;
        self.arrived.notify_one();
        self.room.notify(usize::MAX);
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    pub(super) fn len(&self) -> usize {
        lock(&self.inner).ops.len()
    }
}

/// Whether the writer is woken for it.
fn is_urgent(op: &dyn Operation) -> bool {
    op.is_urgent() || op.commits_at_once()
}

impl Inner {
    /// Whether what ends a wait is there.
    fn has(&self, until: Until) -> bool {
        self.urgent > 0 || self.ops.len() >= until.ops || self.bytes >= until.bytes
    }

    fn push(&mut self, queued: Queued) {
        self.bytes = self.bytes.saturating_add(queued.bytes);
        self.urgent += usize::from(is_urgent(&*queued.op));
        self.ops.push_back(queued);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::super::draft::Draft;
    use super::super::error::StoreError;
    use super::super::types::{Committed, Refused};
    use super::*;

    struct Op(usize);

    impl Operation for Op {
        fn apply(&mut self, _draft: &mut Draft<'_>) -> Result<(), Refused> {
            Ok(())
        }

        fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {}

        fn queued_bytes(&self) -> usize {
            self.0
        }
    }

    #[test]
    fn bounded_in_operations_and_bytes() {
        let queue = Queue::new(3, 100);
        queue.try_push(Box::new(Op(1_000)), None).unwrap();
        assert!(matches!(queue.try_push(Box::new(Op(1)), None), Err(TrySubmitError::Full(_))));
        assert_eq!(queue.pop().unwrap().bytes, 1_000);
        for _ in 0..3 {
            queue.try_push(Box::new(Op(30)), None).unwrap();
        }
        assert!(matches!(queue.try_push(Box::new(Op(0)), None), Err(TrySubmitError::Full(_))));
        queue.push_internal(Box::new(Op(0))).unwrap();
        queue.close();
        assert!(matches!(queue.try_push(Box::new(Op(0)), None), Err(TrySubmitError::Closed(_))));
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 4);
    }

    struct Urgent;

    impl Operation for Urgent {
        fn apply(&mut self, _draft: &mut Draft<'_>) -> Result<(), Refused> {
            Ok(())
        }

        fn done(self: Box<Self>, _outcome: Result<&Committed, &StoreError>) {}

        fn is_urgent(&self) -> bool {
            true
        }
    }

    #[test]
    fn only_an_urgent_arrival_ends_the_wait_of_an_open_commit() {
        let queue = Queue::new(100, 100_000);
        let long = Duration::from_secs(60);
        queue.try_push(Box::new(Op(1)), None).unwrap();
        let begun = std::time::Instant::now();
        queue.wait(Some(Duration::from_millis(50)), Some(50_000));
        assert!(begun.elapsed() >= Duration::from_millis(50));
        queue.try_push(Box::new(Urgent), None).unwrap();
        queue.wait(Some(long), Some(50_000));
        assert!(begun.elapsed() < long);
        while queue.pop().is_some() {}
        let begun = std::time::Instant::now();
        queue.wait(Some(Duration::from_millis(20)), Some(50_000));
        assert!(begun.elapsed() >= Duration::from_millis(20), "taken, it is urgent no more");
        queue.try_push(Box::new(Op(50_000)), None).unwrap();
        queue.wait(Some(long), Some(50_000));
        assert!(begun.elapsed() < long, "enough for the commit to close early");
    }

    #[test]
    fn who_sleeps_is_woken_once_when_all_of_it_is_there() {
        let queue = Queue::new(100, 100_000);
        let wakes = |queue: &Queue, op: Box<dyn Operation>| {
            lock(&queue.inner).asleep_until = Some(Until { ops: 3, bytes: 1_000 });
            queue.try_push(op, None).unwrap();
            lock(&queue.inner).asleep_until.is_none()
        };
        assert_eq!([wakes(&queue, Box::new(Op(1))), wakes(&queue, Box::new(Op(1)))], [false, false]);
        assert!(wakes(&queue, Box::new(Op(1))), "as many as it waits for");
        while queue.pop().is_some() {}
        assert!(wakes(&queue, Box::new(Op(1_000))), "as many bytes");
        while queue.pop().is_some() {}
        assert!(wakes(&queue, Box::new(Urgent)), "whatever is urgent");
        while queue.pop().is_some() {}
        assert!(!queue.wait_for(1, 1, Duration::from_millis(1)), "nothing came");
        queue.try_push(Box::new(Op(1)), None).unwrap();
        assert!(queue.wait_for(1, 10, Duration::from_secs(60)) && lock(&queue.inner).asleep_until.is_none());
    }

    #[test]
    fn a_waiting_push_goes_on_when_there_is_room_or_the_queue_closes() {
        let queue = Queue::new(1, 100);
        let mut context = Context::from_waker(Waker::noop());
        queue.try_push(Box::new(Op(1)), None).unwrap();
        let mut push = std::pin::pin!(queue.push(Box::new(Op(2)), None));
        assert!(push.as_mut().poll(&mut context).is_pending());
        queue.pop().unwrap();
        assert!(push.as_mut().poll(&mut context).is_ready());
        let mut push = std::pin::pin!(queue.push(Box::new(Op(3)), None));
        assert!(push.as_mut().poll(&mut context).is_pending());
        queue.close();
        assert_eq!(push.as_mut().poll(&mut context), std::task::Poll::Ready(Err(Closed)));
    }
}
