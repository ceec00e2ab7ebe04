//! The executor that all sessions and uplinks run on, and waiting for a future where there is none.
//!
//! A future is boxed before it becomes a task: smol's code for a task is generic over the future, about 4 kB of the binary for each
//! kind, and there are nearly a hundred kinds. Boxed, they share one for each type of result. A task is a connection, a request that
//! waits or a part of the gateway, so the allocation is no matter.

use core::future::Future;
use core::pin::Pin;

use smol::Task;

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
        self.0.spawn(boxed)
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

/// Runs a future on this thread, and sleeps where it waits.
pub fn block_on<'a, T>(future: impl Future<Output = T> + 'a) -> T {
    let boxed: Pin<Box<dyn Future<Output = T> + 'a>> = Box::pin(future);
    smol::block_on(boxed)
}
