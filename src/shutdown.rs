//! The one signal that ends everything: set once, seen by all.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_listener::Event;
use futures_lite::FutureExt;

/// Cheap to clone; all clones are one signal.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    begun: AtomicBool,
    event: Event,
}

impl Shutdown {
    /// Tells everyone to finish. Again: no effect.
    pub fn begin(&self) {
        self.inner.begun.store(true, Ordering::Release);
        self.inner.event.notify(usize::MAX);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.inner.begun.load(Ordering::Acquire)
    }

    /// Resolves when it has begun.
    pub async fn wait(&self) {
        loop {
            let listener = self.inner.event.listen();
            if self.has_begun() {
                return;
            }
            listener.await;
        }
    }

    /// `work`, or `None` if shutdown begins first.
    pub async fn unless<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let work = async { Some(work.await) };
        let stop = async {
            self.wait().await;
            None
        };
        work.or(stop).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, pending};

    #[test]
    fn every_clone_sees_it_also_afterwards() {
        let signal = Shutdown::default();
        let clone = signal.clone();
        assert_eq!(block_on(clone.unless(async { 1 })), Some(1));
        signal.begin();
        block_on(clone.wait());
        assert_eq!(block_on(clone.unless(pending::<()>())), None);
    }
}
