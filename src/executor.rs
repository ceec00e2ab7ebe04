//! The executor that all sessions and uplinks run on, one for a client's tasks, threads, and waiting for a future where there is none.
//!
//! A future is boxed before it becomes a task: smol's code for a task is generic over the future, about 4 kB of the binary for each
//! kind, and there are nearly a hundred kinds. Boxed, they share one for each type of result. A task is a connection, a request that
//! waits or a part of the gateway, so the allocation is no matter.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use smol::Task;

use crate::metrics::METRICS;
use crate::oneshot;

/// Runs futures on whichever threads call [`Executor::run`].
#[derive(Debug, Default)]
pub struct Executor(smol::Executor<'static>);

impl Executor {
    /// An executor without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a task. It ends when its [`Task`] is dropped, unless that was detached.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Task<T> {
        let boxed: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
        self.0.spawn(Caught(Some(boxed)))
    }

    /// Lets one task go on by a step, if any is ready; says whether one was.
    pub fn try_tick(&self) -> bool {
        self.0.try_tick()
    }

    /// Runs tasks until the future is ready.
    pub async fn run<T>(&self, until: impl Future<Output = T>) -> T {
        self.0.run(until).await
    }
}

/// A task. One that panics ends, and with it the connection that it served; everything else goes on. It is caught here and not by the threads,
/// since an executor that a panic has gone through forgets to wake them.
struct Caught<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Future for Caught<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        // What it shares with others is behind locks that are used all the same.
        if let Ok(poll) = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            return poll;
        }
        METRICS.tasks_panicked.add(1);
        log::error!(
            "a part of the gateway ended by a fault in the program; the rest goes on. Please report what was printed before"
        );
        // What it held is given back; nothing will wake it.
        self.0 = None;
        Poll::Pending
    }
}

/// Begins `work` on a thread where it may wait for the disk or take its time; ready with what it returns. What has not begun when the future
/// is dropped is not done. Boxed for the same reason as tasks are.
pub fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> impl Future<Output = T> + Send {
    let result = Arc::new(Mutex::new(None));
    let place = Arc::clone(&result);
    let boxed: Box<dyn FnOnce() + Send> = Box::new(move || {
        let value = work();
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    });
    let task = smol::unblock(boxed);
    async move {
        // Goes on with the panic, where it panics.
        task.await;
        let value = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match value {
            Some(value) => value,
            // Done it is here, and taken once.
            None => core::future::pending().await,
        }
    }
}

/// Starts a thread of this name. Its work is boxed for the same reason as tasks are.
///
/// # Errors
/// It can't be started; the text says that.
pub fn start_thread(name: impl Into<String>, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    start_boxed(name.into(), Box::new(work))
}

fn start_boxed(name: String, work: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    let started = thread::Builder::new().name(name).spawn(work);
    started.map_err(|error| io::Error::new(error.kind(), format!("cannot start a thread: {error}")))
}

/// By how much [`unblock_behind`]'s threads stand back (setpriority(2)).
const BEHIND: i32 = 10;

/// As [`unblock`], on a thread of its own that stands back behind all others: for work that takes long whoever asks for it, and that nobody
/// else is to wait for. It goes on when the future is dropped.
pub async fn unblock_behind<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, result) = oneshot::channel();
    let boxed: Box<dyn FnOnce() + Send> = Box::new(move || {
        sender.send(catch_unwind(AssertUnwindSafe(work)));
    });
    run_behind(boxed).await;
    match result.await {
        Some(Ok(value)) => value,
        Some(Err(panic)) => resume_unwind(panic),
        // What became of it is sent, whatever that is.
        None => core::future::pending().await,
    }
}

async fn run_behind(work: Box<dyn FnOnce() + Send>) {
    let work = Arc::new(Mutex::new(Some(work)));
    let begin = |work: &Mutex<Option<Box<dyn FnOnce() + Send>>>| {
        let taken = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = taken {
            work();
        }
    };
    let own = Arc::clone(&work);
    let stand_back_and_begin = move || {
        // Where that can't be, it competes.
        let _ = rustix::process::setpriority_process(None, BEHIND);
        begin(&own);
    };
    if start_thread("brooklet-behind", stand_back_and_begin).is_err() {
        // There is no thread to be had: among the others, then.
        smol::unblock(move || begin(&work)).await;
    }
}

/// Begins a client's task: on one thread that all such tasks of the process share, and that the first of them starts. Whoever awaits one that
/// panics goes on with the panic.
///
/// # Errors
/// No thread could be started; the next task tries again.
pub fn spawn_aside<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<Task<T>> {
    let boxed: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
    Ok(aside()?.spawn(boxed))
}

fn aside() -> io::Result<Arc<smol::Executor<'static>>> {
    static ASIDE: Mutex<Option<Arc<smol::Executor<'static>>>> = Mutex::new(None);
    let mut aside = ASIDE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(executor) = &*aside {
        return Ok(Arc::clone(executor));
    }
    let executor = Arc::new(smol::Executor::new());
    let run = {
        let executor = Arc::clone(&executor);
        move || block_on(executor.run(core::future::pending::<()>()))
    };
    start_thread("brooklet-aside", run)?;
    Ok(Arc::clone(aside.insert(executor)))
}

/// Runs a future on this thread, and sleeps where it waits.
pub fn block_on<'a, T>(future: impl Future<Output = T> + 'a) -> T {
    let boxed: Pin<Box<dyn Future<Output = T> + 'a>> = Box::pin(future);
    smol::block_on(boxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_aside_returns_its_value_or_its_panic() {
        assert_eq!(block_on(unblock(|| 7)), 7);
        let panicking = AssertUnwindSafe(|| block_on(unblock(|| -> u8 { panic!("meant so") })));
        assert!(catch_unwind(panicking).is_err());
    }

    #[test]
    fn work_behind_returns_its_value_or_its_panic_and_stands_back() {
        let priority = || rustix::process::getpriority_process(None).unwrap();
        assert_eq!(block_on(unblock_behind(priority)), priority().max(BEHIND));
        let panicking = AssertUnwindSafe(|| block_on(unblock_behind(|| -> u8 { panic!("meant so") })));
        assert!(catch_unwind(panicking).is_err());
    }

    /// By what happens, not by how long it takes: the work goes on only once somebody else's task has had its turn on the only thread of the
    /// executor, and its place is free only once it has ended, though nobody waits for it any more.
    #[test]
    fn work_behind_lets_others_go_on_and_holds_its_place_until_it_ends() {
        let executor = Executor::new();
        let places = Arc::new(smol::lock::Semaphore::new(1));
        let (turn, others_turn) = std::sync::mpsc::channel();
        let place = places.try_acquire_arc().unwrap();
        let (began, begun) = async_channel::bounded(1);
        let work = unblock_behind(move || {
            let _place = place;
            began.send_blocking(()).unwrap();
            others_turn.recv().unwrap();
        });
        let waiting = executor.spawn(work);
        block_on(executor.run(begun.recv())).unwrap();
        drop(waiting);
        let other = executor.spawn(async { 7 });
        assert_eq!(block_on(executor.run(other)), 7, "the executor's thread is free");
        assert!(places.try_acquire().is_none(), "it is at work still");
        turn.send(()).unwrap();
        drop(block_on(places.acquire()));
    }

    #[test]
    fn tasks_aside_share_a_thread_and_go_on_whatever_else_waits() {
        let thread = || async { thread::current().id() };
        let (first, second) = (spawn_aside(thread()).unwrap(), spawn_aside(thread()).unwrap());
        let ids = block_on(async { (first.await, second.await) });
        assert!(ids.0 == ids.1 && ids.0 != thread::current().id());
        let panicking = spawn_aside(async { panic!("meant so") }).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| block_on::<()>(panicking))).is_err());
        assert_eq!(block_on(spawn_aside(thread()).unwrap()), ids.0, "the thread outlives a panic");
    }

    #[test]
    fn a_task_that_panics_takes_nothing_along() {
        let executor = Executor::new();
        let before = METRICS.tasks_panicked.get();
        let held = Arc::new(());
        for _ in 0..4 {
            let held = Arc::clone(&held);
            let faulty = async move {
                let _held = held;
                panic!("meant so");
            };
            executor.spawn(faulty).detach();
        }
        let last = executor.spawn(async { 7 });
        assert_eq!(block_on(executor.run(last)), 7, "others go on");
        assert!(METRICS.tasks_panicked.get() >= before + 4);
        assert_eq!(Arc::strong_count(&held), 1, "what they held is given back");
    }
}
