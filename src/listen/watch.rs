//! Deadlines of one thing after another on a connection, which cost nothing while all goes well.
//!
//! A timer for each thing would be two calls to the reactor for each. Here one timer stays set from thing to thing: it is
//! moved only when it would go off too late, and looked at again when it has gone off too early.
//!
//! Invariant: what takes longer than its time ends with `TimedOut`; what doesn't never does.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use smol::Timer;

/// The timer of a connection's reading, or of its writing.
pub(super) struct Watch {
    timer: Timer,
    /// When it goes off.
    at: Option<Instant>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { timer: Timer::never(), at: None }
    }

    /// `work`, or an error when it takes longer than `time`.
    pub(super) async fn within<T>(
        &mut self,
        time: Option<Duration>,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let Some(time) = time else { return work.await };
        let mut work = pin!(work);
        let mut deadline = None;
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + time);
                self.poll_late(context, deadline).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        })
        .await
    }

    /// Ready when the deadline is over.
    fn poll_late(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        loop {
            if self.at.is_none_or(|at| at > deadline) {
                self.timer.set_at(deadline);
                self.at = Some(deadline);
            }
            match Pin::new(&mut self.timer).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(_) => self.at = None,
            }
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_lite::future::pending;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3_600);

    async fn yielded() -> io::Result<()> {
        smol::future::yield_now().await;
        Ok(())
    }

    #[test]
    fn each_has_its_own_time() {
        smol::block_on(async {
            let mut watch = Watch::new();
            let never = || pending::<io::Result<()>>();
            let late = |ended: io::Result<()>| ended.is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
            assert_eq!(watch.within(Some(SHORT), async { Ok(1) }).await.unwrap(), 1);
            assert!(watch.at.is_none(), "what is done at once sets no timer");
            // A long wait that ends in time leaves its timer behind; a shorter one moves it.
            let soon = async { Ok(Timer::after(SHORT).await) };
            watch.within(Some(LONG), soon).await.unwrap();
            let set = watch.at;
            assert!(late(watch.within(Some(SHORT), never()).await));
            assert!(set.is_some_and(|at| at > Instant::now()));
            // One that goes off too early is set again.
            let begun = Instant::now();
            watch.within(Some(SHORT), yielded()).await.unwrap();
            assert!(late(watch.within(Some(4 * SHORT), never()).await));
            assert!(begun.elapsed() >= 4 * SHORT);
            assert_eq!(watch.within(None, async { Ok(2) }).await.unwrap(), 2);
        });
    }
}
