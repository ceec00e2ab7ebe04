//! The status as it changes, to a few watchers: one look a second for all of them, and none while nobody watches.
//!
//! A watcher gets the whole first (`event: status`), then patches (`event: patch`, RFC 7396). Invariants: one who is too slow to take
//! them is left behind, and begins anew when he comes again; a look that takes long is followed by a longer pause.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use event_listener::Event;
use futures_lite::FutureExt;

use super::View;
use crate::json;
use crate::metrics::METRICS;

/// Watchers at a time.
const WATCHERS_MAX: usize = 8;
/// Changes that wait for one watcher.
const WAITING_MAX: usize = 4;
/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// A look may take one in so many parts of the time.
const SHARE: u32 = 20;
/// Between two looks at least, however many come.
const LEAST: Duration = Duration::from_millis(200);

type Bytes = Arc<[u8]>;

/// All watchers.
#[derive(Debug, Default)]
pub(super) struct Events {
    watchers: Mutex<Vec<Seat>>,
    /// Somebody has come.
    joined: Event,
}

#[derive(Debug)]
struct Seat {
    sender: Sender<Bytes>,
    /// Has got the whole.
    is_served: bool,
}

/// One who watches, until dropped.
#[derive(Debug)]
pub(super) struct Watcher(Receiver<Bytes>);

impl Watcher {
    /// What there is to send next; `None` when there will be nothing any more.
    pub(super) async fn next(&self) -> Option<Bytes> {
        self.0.recv().await.ok()
    }
}

impl Events {
    /// A place; `None` if there is none.
    pub(super) fn join(&self) -> Option<Watcher> {
        let (sender, receiver) = async_channel::bounded(WAITING_MAX);
        let mut watchers = self.watchers();
        watchers.retain(|seat| !seat.sender.is_closed());
        if watchers.len() >= WATCHERS_MAX {
            return None;
        }
        watchers.push(Seat { sender, is_served: false });
        drop(watchers);
        self.joined.notify(usize::MAX);
        Some(Watcher(receiver))
    }

    /// Looks and tells, for ever.
    pub(super) async fn keep(&self, view: &dyn View) {
        let mut before = String::new();
        loop {
            let joined = self.joined.listen();
            if self.is_empty() {
                before = String::new();
                joined.await;
                continue;
            }
            let begun = Instant::now();
            let now = view.glance_json();
            self.tell(&before, &now);
            before = now;
            let took = begun.elapsed();
            smol::Timer::after(LEAST).await;
            let pause = async {
                smol::Timer::after(EVERY.max(took * SHARE).saturating_sub(LEAST)).await;
            };
            joined.or(pause).await;
        }
    }

    /// There is nothing more to tell.
    pub(super) fn end(&self) {
        self.watchers().clear();
    }

    fn is_empty(&self) -> bool {
        self.watchers().iter().all(|seat| seat.sender.is_closed())
    }

    fn tell(&self, before: &str, now: &str) {
        let patch = json::merge_patch(before, now).map(|patch| message("patch", &patch));
        let mut whole = None;
        self.watchers().retain_mut(|seat| {
            let event = match seat.is_served {
                false => Some(Arc::clone(whole.get_or_insert_with(|| message("status", now)))),
                true => patch.clone(),
            };
            seat.is_served = true;
            let Some(event) = event else { return !seat.sender.is_closed() };
            let told = seat.sender.try_send(event);
            METRICS.events_dropped.add(u64::from(matches!(told, Err(async_channel::TrySendError::Full(_)))));
            told.is_ok()
        });
    }

    /// A panic elsewhere can't leave it half changed.
    fn watchers(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// JSON as the gateway writes it has no line breaks.
fn message(event: &str, json: &str) -> Bytes {
    format!("event: {event}\ndata: {json}\n\n").into_bytes().into()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_lite::future::block_on;

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicU64);

    impl View for Counting {
        fn status_json(&self) -> String {
            String::new()
        }

        fn glance_json(&self) -> String {
            format!("{{\"same\":1,\"looks\":{}}}", self.0.fetch_add(1, Ordering::Relaxed))
        }

        fn metrics(&self) -> String {
            String::new()
        }

        fn health(&self) -> Result<(), String> {
            Ok(())
        }

        fn readiness(&self) -> Result<(), String> {
            Ok(())
        }
    }

    fn text(watcher: &Watcher) -> String {
        String::from_utf8(block_on(watcher.next()).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn each_gets_the_whole_once_and_then_what_changes() {
        let events = Events::default();
        let first = events.join().unwrap();
        events.tell("", "{\"a\":1,\"b\":2}");
        let second = events.join().unwrap();
        events.tell("{\"a\":1,\"b\":2}", "{\"a\":1,\"b\":3}");
        events.tell("{\"a\":1,\"b\":3}", "{\"a\":1,\"b\":3}");
        assert_eq!(text(&first), "event: status\ndata: {\"a\":1,\"b\":2}\n\n");
        assert_eq!(text(&first), "event: patch\ndata: {\"b\":3}\n\n");
        assert_eq!(text(&second), "event: status\ndata: {\"a\":1,\"b\":3}\n\n");
        events.end();
        assert!(block_on(first.next()).is_none(), "nothing has changed, and it is over");
    }

    #[test]
    fn places_are_few_and_the_slow_lose_theirs() {
        let events = Events::default();
        let mut held: Vec<_> = (0..WATCHERS_MAX).map(|_| events.join().unwrap()).collect();
        assert!(events.join().is_none());
        drop(held.pop());
        held.push(events.join().unwrap());
        for n in 0..=WAITING_MAX {
            events.tell(&format!("{{\"n\":{n}}}"), &format!("{{\"n\":{}}}", n + 1));
        }
        assert!(events.is_empty(), "nobody took anything");
        drop(held.pop());
        assert!(events.join().is_some());
    }

    #[test]
    fn nobody_looks_for_nobody() {
        let (events, view) = (Events::default(), Counting::default());
        block_on(async {
            let watching = async {
                smol::Timer::after(Duration::from_millis(50)).await;
                assert_eq!(view.0.load(Ordering::Relaxed), 0);
                let watcher = events.join().unwrap();
                assert!(watcher.next().await.is_some_and(|event| event.starts_with(b"event: status")));
                assert!(
                    watcher.next().await.is_some_and(|event| event.starts_with(b"event: patch\ndata: {\"looks\":1}"))
                );
            };
            watching.or(events.keep(&view)).await;
        });
    }
}
