//! A line from several senders to one receiver, for connections: what waits in it is all that it takes.
//!
//! A channel that is shared by many threads spends 768 bytes on being fast, and its slots besides; a connection has two or three, and
//! thousands of connections mostly wait.
//!
//! Invariants: what was sent comes in the order it was sent; what was sent before the end is still received; nobody sleeps while there
//! is something to receive, or room to send.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// An empty line keeps room for so many at most.
const KEPT_MAX: usize = 16;

/// The line has ended: the other side has gone, or one of both has closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// Why nothing was received at once, or sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// Nothing is there, or there is no room.
    Wait,
    /// See [`Closed`].
    Closed,
}

/// Puts things into a line. The last one that goes ends it.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<Line<T>>>);

/// Takes things out of a line, and ends it when it goes.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Mutex<Line<T>>>);

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<T>,
    most: usize,
    senders: usize,
    is_closed: bool,
    /// Who waits for something to receive.
    receiver: Option<Waker>,
    /// Who waits for room.
    blocked: Vec<Waker>,
}

/// A line in which so many may wait, one at least.
pub fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let waiting = VecDeque::new();
    let line = Line { waiting, most: most.max(1), senders: 1, is_closed: false, receiver: None, blocked: Vec::new() };
    let line = Arc::new(Mutex::new(line));
    (Sender(Arc::clone(&line)), Receiver(line))
}

/// A line whose senders are bounded by something else.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    bounded(usize::MAX)
}

/// Whatever happened to who held it: a line is whole at every moment.
fn lock<T>(line: &Mutex<Line<T>>) -> MutexGuard<'_, Line<T>> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a line, and wakes who waits for it.
fn close<T>(line: &Mutex<Line<T>>) {
    let mut line = lock(line);
    line.is_closed = true;
    let woken = (line.receiver.take(), std::mem::take(&mut line.blocked));
    drop(line);
    woken.0.into_iter().chain(woken.1).for_each(Waker::wake);
}

impl<T> Sender<T> {
    /// Sends when there is room.
    ///
    /// # Errors
    /// [`Closed`]; what was to be sent is gone.
    pub async fn send(&self, thing: T) -> Result<(), Closed> {
        let mut thing = Some(thing);
        poll_fn(|context| match self.put(&mut thing, Some(context)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(NotNow::Closed) => Poll::Ready(Err(Closed)),
            Err(NotNow::Wait) => Poll::Pending,
        })
        .await
    }

    /// Sends if there is room.
    ///
    /// # Errors
    /// [`NotNow`]; what was to be sent is gone.
    pub fn try_send(&self, thing: T) -> Result<(), NotNow> {
        self.put(&mut Some(thing), None)
    }

    /// Ends the line; what waits in it is still received.
    pub fn close(&self) {
        close(&self.0);
    }

    /// Puts the thing into the line; it stays where it is if there is no room, and `context` is woken when there is.
    fn put(&self, thing: &mut Option<T>, context: Option<&mut Context<'_>>) -> Result<(), NotNow> {
        let mut line = lock(&self.0);
        if line.is_closed {
            return Err(NotNow::Closed);
        }
        if line.waiting.len() >= line.most {
            if let Some(waker) = context.map(|context| context.waker())
                && !line.blocked.iter().any(|other| other.will_wake(waker))
            {
                line.blocked.push(waker.clone());
            }
            return Err(NotNow::Wait);
        }
        line.waiting.extend(thing.take());
        let receiver = line.receiver.take();
        drop(line);
        receiver.into_iter().for_each(Waker::wake);
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut line = lock(&self.0);
        line.senders -= 1;
        let last = line.senders == 0;
        drop(line);
        if last {
            close(&self.0);
        }
    }
}

impl<T> Receiver<T> {
    /// Receives the next thing, when it comes.
    ///
    /// # Errors
    /// [`Closed`], and nothing is left.
    pub async fn recv(&self) -> Result<T, Closed> {
        poll_fn(|context| match self.take(Some(context)) {
            Ok(thing) => Poll::Ready(Ok(thing)),
            Err(NotNow::Closed) => Poll::Ready(Err(Closed)),
            Err(NotNow::Wait) => Poll::Pending,
        })
        .await
    }

    /// Receives the next thing, if it is there.
    ///
    /// # Errors
    /// [`NotNow`].
    pub fn try_recv(&self) -> Result<T, NotNow> {
        self.take(None)
    }

    /// Ends the line: senders are told.
    pub fn close(&self) {
        close(&self.0);
    }

    fn take(&self, context: Option<&mut Context<'_>>) -> Result<T, NotNow> {
        let mut line = lock(&self.0);
        let Some(thing) = line.waiting.pop_front() else {
            if line.is_closed {
                return Err(NotNow::Closed);
            }
            let before = context.and_then(|context| line.receiver.replace(context.waker().clone()));
            // Not while the line is held: with it may go what holds the line.
            drop((line, before));
            return Err(NotNow::Wait);
        };
        if line.waiting.is_empty() && line.waiting.capacity() > KEPT_MAX {
            line.waiting = VecDeque::new();
        }
        // All of them: one that has given up meanwhile would take the place of one that has not.
        let blocked = std::mem::take(&mut line.blocked);
        drop(line);
        blocked.into_iter().for_each(Waker::wake);
        Ok(thing)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        close(&self.0);
        // Nobody will receive it; dropped when the line is free again, as it may send something itself.
        let left = std::mem::take(&mut lock(&self.0).waiting);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::thread;

    use futures_lite::future::{block_on, poll_once, zip};

    use super::*;

    #[test]
    fn order_is_kept_and_what_was_sent_before_the_end_still_comes() {
        let (sender, receiver) = unbounded();
        let other = sender.clone();
        for number in 0..100 {
            let sender = if number % 2 == 0 { &sender } else { &other };
            sender.try_send(number).unwrap();
        }
        drop(sender);
        assert_eq!(block_on(receiver.recv()), Ok(0));
        other.close();
        assert_eq!(other.try_send(7), Err(NotNow::Closed));
        assert!((1..100).all(|number| receiver.try_recv() == Ok(number)));
        assert_eq!((receiver.try_recv(), block_on(receiver.recv())), (Err(NotNow::Closed), Err(Closed)));
    }

    #[test]
    fn either_side_that_goes_ends_it() {
        let (sender, receiver) = bounded::<u8>(1);
        let clone = sender.clone();
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(NotNow::Wait), "another sender is there");
        drop(clone);
        assert_eq!(block_on(receiver.recv()), Err(Closed));
        let (sender, receiver) = bounded(1);
        let held = Arc::new(());
        sender.try_send(Arc::clone(&held)).unwrap();
        drop(receiver);
        assert_eq!(Arc::strong_count(&held), 1, "what nobody receives is dropped");
        assert_eq!(block_on(sender.send(held)), Err(Closed));
    }

    #[test]
    fn a_full_line_stops_its_senders_and_room_lets_all_of_them_go_on() {
        let (sender, receiver) = bounded(2);
        let mut sends: Vec<_> = (0..4).map(|number| Box::pin(sender.send(number))).collect();
        let done: Vec<bool> = sends.iter_mut().map(|send| block_on(poll_once(send)).is_some()).collect();
        assert_eq!((done, sender.try_send(9)), (vec![true, true, false, false], Err(NotNow::Wait)));
        // One that gives up takes no place.
        drop(sends.remove(2));
        assert_eq!(receiver.try_recv(), Ok(0));
        assert_eq!(block_on(poll_once(&mut sends[2])), Some(Ok(())));
        assert_eq!([receiver.try_recv(), receiver.try_recv()], [Ok(1), Ok(3)]);
    }

    #[test]
    fn who_waits_is_woken_by_the_other_thread() {
        for most in [1, 3] {
            let (sender, receiver) = bounded(most);
            let both = [sender.clone(), sender]
                .map(|sender| thread::spawn(move || block_on(async { for_each(&sender, 10_000).await })));
            let mut next = [0; 2];
            while let Ok((who, number)) = block_on(receiver.recv()) {
                let who: usize = who;
                assert_eq!(number, next[who]);
                next[who] += 1;
                if next == [10_000; 2] {
                    break;
                }
            }
            both.into_iter().for_each(|thread| thread.join().unwrap());
        }
    }

    async fn for_each(sender: &Sender<(usize, u32)>, count: u32) {
        // Threads have different names of their own: the address of the handle tells the two apart.
        static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let who = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2;
        for number in 0..count {
            sender.send((who, number)).await.unwrap();
        }
    }

    #[test]
    fn a_blocked_sender_hears_of_the_end() {
        let (sender, receiver) = bounded(1);
        sender.try_send(1).unwrap();
        let end = async {
            receiver.close();
            receiver.try_recv()
        };
        let (sent, received) = block_on(zip(pin!(sender.send(2)), end));
        assert_eq!((sent, received), (Err(Closed), Ok(1)));
    }

    #[test]
    fn an_empty_line_gives_back_what_many_took() {
        let (sender, receiver) = unbounded();
        (0..1_000).for_each(|number| sender.try_send(number).unwrap());
        while receiver.try_recv().is_ok() {}
        assert_eq!(lock(&sender.0).waiting.capacity(), 0);
        sender.try_send(1).unwrap();
        assert!(lock(&sender.0).waiting.capacity() <= KEPT_MAX);
    }
}
