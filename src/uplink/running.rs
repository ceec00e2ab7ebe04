//! The handle of a running link, up or down, and how the task behind it is told to pause, go on and stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::Receiver;
use event_listener::{Event, EventListener};
use futures_lite::FutureExt;
use smol::Task;

use crate::executor::Executor;

/// A task that runs until it is told to end. Dropping it ends it at once.
#[derive(Debug)]
pub(super) struct Running {
    control: Arc<Control>,
    /// Closed when it has ended.
    ended: Receiver<()>,
    _task: Task<()>,
}

impl Running {
    /// Runs `work`, which looks at `control`, in the background.
    pub(super) fn spawn(
        executor: &Executor,
        control: Arc<Control>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let (alive, ended) = async_channel::bounded(1);
        let task = executor.spawn(async move {
            work.await;
            drop(alive);
        });
        Self { control, ended, _task: task }
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.control.set_paused(paused);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.control.is_paused()
    }

    /// Tells it to end, without waiting.
    pub(super) fn begin_stop(&self) {
        self.control.stop();
    }

    /// Tells it to end, and waits until it has.
    pub(super) async fn stop(&self) {
        self.begin_stop();
        // Nobody sends: this ends when the task does.
        let _ = self.ended.recv().await;
    }
}

/// What the task is told from outside.
#[derive(Debug, Default)]
pub(super) struct Control {
    paused: AtomicBool,
    /// Told to go on since the task last looked.
    resumed: AtomicBool,
    stopping: AtomicBool,
    changed: Event,
}

impl Control {
    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
        self.resumed.store(!paused, Ordering::SeqCst);
        self.changed.notify(usize::MAX);
    }

    /// Whether it was told to go on since the last call.
    pub(super) fn take_resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::SeqCst)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.changed.notify(usize::MAX);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Resolves at the next change. Take it, look, then await it.
    pub(super) fn changed(&self) -> EventListener {
        self.changed.listen()
    }

    /// What `future` gives, or `None` as soon as the task is to stop.
    pub(super) async fn unless_stopping<T>(self: &Arc<Self>, future: impl Future<Output = T>) -> Option<T> {
        let stopped = async {
            loop {
                let changed = self.changed();
                if self.is_stopping() {
                    return None;
                }
                changed.await;
            }
        };
        async { Some(future.await) }.or(stopped).await
    }
}
