//! One value from one place to another that waits for it: the answer to a request.
//!
//! Invariants: a receiver is ready once its value is there, or once it is certain that none comes, since the sender was dropped; a sender
//! never waits, and what is sent to nobody is dropped; nothing is woken, and no waker dropped, while a lock of this file is held.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A place for a value; its two ends.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { value: Mutex::new(None), end: End::default() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// The end that has the value, or is dropped without.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that waits: a future of the value, `None` where the sender was dropped without a word.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    value: Mutex<Option<T>>,
    end: End,
}

/// Whether the sender is done, and who waits for that. It knows nothing of the value: its code is there once, whatever is sent.
#[derive(Debug, Default)]
struct End(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    has_come: bool,
    waiting: Option<Waker>,
}

impl<T> Sender<T> {
    /// Sends the value. Nobody may wait for it any more: then it is dropped.
    pub fn send(self, value: T) {
        *lock(&self.0.value) = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.end.come();
    }
}

impl<T> Receiver<T> {
    /// The value, if it is there; it is so once.
    pub fn take(&self) -> Option<T> {
        lock(&self.0.value).take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.end.poll(context).map(|()| self.take())
    }
}

impl End {
    fn come(&self) {
        let mut state = lock(&self.0);
        state.has_come = true;
        let waiting = state.waiting.take();
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let waker = context.waker();
        let mut state = lock(&self.0);
        if state.has_come {
            return Poll::Ready(());
        }
        if !state.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(waker)) {
            let before = state.waiting.replace(waker.clone());
            drop(state);
            drop(before);
        }
        Poll::Pending
    }
}

/// Every change is whole: a panic elsewhere leaves nothing half done.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::thread;

    use futures_lite::future::block_on;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Woken {
        fn times(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }

        fn poll<T>(self: &Arc<Self>, receiver: &mut Receiver<T>) -> Poll<Option<T>> {
            let waker = Waker::from(Arc::clone(self));
            Pin::new(receiver).poll(&mut Context::from_waker(&waker))
        }
    }

    #[test]
    fn a_value_sent_before_anybody_looks_is_there() {
        let (sender, mut receiver) = channel();
        let woken = Arc::new(Woken::default());
        sender.send(7);
        assert_eq!(woken.poll(&mut receiver), Poll::Ready(Some(7)));
        assert_eq!((woken.poll(&mut receiver), woken.times()), (Poll::Ready(None), 0), "it is there once");
    }

    #[test]
    fn a_value_sent_later_wakes_who_waits_once() {
        let (sender, mut receiver) = channel();
        let woken = Arc::new(Woken::default());
        for _ in 0..3 {
            assert_eq!(woken.poll(&mut receiver), Poll::Pending);
        }
        assert_eq!(receiver.take(), None);
        sender.send(7);
        assert_eq!(woken.times(), 1);
        assert_eq!(woken.poll(&mut receiver), Poll::Ready(Some(7)));
    }

    #[test]
    fn who_looked_last_is_woken() {
        let (sender, mut receiver) = channel();
        let (first, second) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
        assert_eq!((first.poll(&mut receiver), second.poll(&mut receiver)), (Poll::Pending, Poll::Pending));
        assert_eq!(Arc::strong_count(&first), 1, "the first one's waker is given back");
        sender.send(7);
        assert_eq!((first.times(), second.times()), (0, 1));
        assert_eq!(Arc::strong_count(&second), 1);
    }

    #[test]
    fn a_sender_that_goes_is_noticed() {
        let (sender, mut receiver) = channel::<u8>();
        let woken = Arc::new(Woken::default());
        assert_eq!(woken.poll(&mut receiver), Poll::Pending);
        drop(sender);
        assert_eq!((woken.poll(&mut receiver), woken.times()), (Poll::Ready(None), 1));
        let (sender, receiver) = channel::<u8>();
        drop(sender);
        assert_eq!(block_on(receiver), None);
    }

    #[test]
    fn what_nobody_waits_for_is_dropped() {
        let value = Arc::new(());
        let (sender, receiver) = channel();
        drop(receiver);
        sender.send(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 1);
        let (sender, receiver) = channel();
        sender.send(Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 2);
        drop(receiver);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn between_threads_every_value_arrives() {
        for number in 0..500 {
            let (sender, receiver) = channel();
            let sending = thread::spawn(move || {
                if number % 3 > 0 {
                    sender.send(number)
                }
            });
            assert_eq!(block_on(receiver), (number % 3 > 0).then_some(number));
            sending.join().unwrap();
        }
    }
}
