//! TLS handshakes of clients that connect: few at once, each within its time.
//!
//! A handshake costs more than anything else that a stranger can ask for. So only some run at once. Who stalls in the middle must not
//! keep the others out: when all turns are taken, the oldest handshake ends that has had its share of the time. And half of the turns are all
//! that one address gets, this machine's own too: who has more waits for one of its own, and whoever comes from elsewhere doesn't.
//!
//! Invariants: at most `max` handshakes are under way, half of them from one address; one that is within a quarter of its time is never
//! ended for another.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;
use futures_lite::{AsyncRead, AsyncWrite, FutureExt};

use super::places::counted;
use super::stream::within;
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;
use crate::tls::{self, ServerTls, TlsStream};

/// A failed handshake is told no more often than this; the others are counted.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// The turns of all listeners. Clones share them.
#[derive(Clone, Debug)]
pub struct Handshakes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    freed: Event,
}

#[derive(Debug, Default)]
struct State {
    max: usize,
    time: Duration,
    next_id: u64,
    /// Oldest first.
    under_way: VecDeque<UnderWay>,
    told: Option<Instant>,
}

#[derive(Debug)]
struct UnderWay {
    id: u64,
    from: IpAddr,
    since: Instant,
    displaced: Shutdown,
}

impl State {
    /// Where in line the one is that has to end before another from `from` may begin; `None` if it may at once.
    fn in_the_way(&self, from: IpAddr) -> Option<usize> {
        let own = || self.under_way.iter().enumerate().filter(|(_, one)| one.from == from).map(|(at, _)| at);
        if own().count() >= self.max.div_ceil(2) {
            return own().next();
        }
        (self.under_way.len() >= self.max).then_some(0)
    }
}

impl Handshakes {
    /// `max` at once; each has `time`, in which it waits for its turn too.
    #[must_use]
    pub fn new(max: usize, time: Duration) -> Self {
        let state = Mutex::new(State { max, time, ..State::default() });
        Self { inner: Arc::new(Inner { state, freed: Event::new() }) }
    }

    /// The same from now on; those under way keep their time.
    pub fn set_max(&self, max: usize, time: Duration) {
        let mut state = self.inner.state();
        (state.max, state.time) = (max, time);
    }

    /// Shakes hands with a client; `None` if that fails, which is counted and told.
    pub(super) async fn shake<S>(&self, tls: &ServerTls, socket: S, peer: SocketAddr) -> Option<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        METRICS.tls_handshaking.add(1);
        let time = self.inner.state().time;
        let shaken = within(time, self.in_turn(tls, socket, counted(peer.ip()))).await;
        METRICS.tls_handshaking.add(-1);
        match shaken {
            Ok(stream) => {
                METRICS.tls_handshakes.add(1);
                METRICS.tls_resumed.add(u64::from(stream.is_resumed()));
                Some(stream)
            }
            Err(error) => {
                let is_late = error.kind() == io::ErrorKind::TimedOut;
                if is_late {
                    METRICS.tls_handshakes_late.add(1)
                } else {
                    METRICS.tls_handshakes_failed.add(1)
                }
                self.tell(peer, &error);
                None
            }
        }
    }

    async fn in_turn<S>(&self, held: &ServerTls, socket: S, from: IpAddr) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let turn = self.turn(from).await;
        let displaced = async {
            turn.displaced.wait().await;
            Err(io::ErrorKind::TimedOut.into())
        };
        tls::accept(held, socket).or(displaced).await
    }

    async fn turn(&self, from: IpAddr) -> Turn {
        let mut waited = false;
        loop {
            let freed = self.inner.freed.listen();
            let wait = {
                let mut state = self.inner.state();
                let Some(at) = state.in_the_way(from) else { return self.begin(&mut state, from) };
                let grace = state.time / 4;
                let age = state.under_way.get(at).map_or(grace, |oldest| oldest.since.elapsed());
                if age >= grace {
                    if let Some(oldest) = state.under_way.remove(at) {
                        oldest.displaced.begin();
                    }
                    return self.begin(&mut state, from);
                }
                grace.saturating_sub(age)
            };
            if !std::mem::replace(&mut waited, true) {
                METRICS.tls_handshakes_waited.add(1);
            }
            let later = async {
                smol::Timer::after(wait).await;
            };
            freed.or(later).await;
        }
    }

    fn begin(&self, state: &mut State, from: IpAddr) -> Turn {
        let (id, displaced) = (state.next_id, Shutdown::default());
        state.next_id += 1;
        state.under_way.push_back(UnderWay { id, from, since: Instant::now(), displaced: displaced.clone() });
        Turn { inner: Arc::clone(&self.inner), id, displaced }
    }

    fn tell(&self, peer: SocketAddr, error: &io::Error) {
        let mut state = self.inner.state();
        let silent = state.told.is_some_and(|told| told.elapsed() < TELL_EVERY);
        if !silent {
            state.told = Some(Instant::now());
        }
        drop(state);
        let level = if silent { log::Level::Debug } else { log::Level::Warn };
        log::log!(level, "{peer}: no TLS: {}", in_words(error));
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "the handshake took too long (listen.handshake_timeout)".to_owned(),
        io::ErrorKind::UnexpectedEof => "it left in the middle of the handshake".to_owned(),
        _ => error.to_string(),
    }
}

impl Inner {
    /// A panic elsewhere can't leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the turns, until dropped.
struct Turn {
    inner: Arc<Inner>,
    id: u64,
    /// The turn is another's now.
    displaced: Shutdown,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.state().under_way.retain(|under_way| under_way.id != self.id);
        // All: whoever is first in line may have none of its address's left.
        self.inner.freed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_lite::future::{block_on, poll_once};

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 3));

    #[test]
    fn turns_are_few_and_come_back() {
        block_on(async {
            let handshakes = Handshakes::new(2, Duration::from_secs(3_600));
            let (one, two) = (handshakes.turn(HERE).await, handshakes.turn(THERE).await);
            let mut third = pin!(handshakes.turn(ELSEWHERE));
            assert!(poll_once(&mut third).await.is_none());
            assert!(!one.displaced.has_begun() && !two.displaced.has_begun());
            drop(two);
            assert!(poll_once(&mut third).await.is_some());
        });
    }

    #[test]
    fn one_address_gets_half_of_the_turns() {
        block_on(async {
            let handshakes = Handshakes::new(4, Duration::from_secs(3_600));
            let (first, _second) = (handshakes.turn(HERE).await, handshakes.turn(HERE).await);
            let (mut third, mut fourth) = (pin!(handshakes.turn(HERE)), pin!(handshakes.turn(HERE)));
            assert!(poll_once(&mut third).await.is_none() && poll_once(&mut fourth).await.is_none());
            // Who waits for its own address's is in nobody's way, also not when it is told that one is free.
            let there = [poll_once(pin!(handshakes.turn(THERE))).await, poll_once(pin!(handshakes.turn(THERE))).await];
            assert!(there.iter().all(Option::is_some));
            let mut elsewhere = pin!(handshakes.turn(ELSEWHERE));
            assert!(poll_once(&mut elsewhere).await.is_none(), "four are all");
            drop(there);
            assert!(poll_once(&mut third).await.is_none() && poll_once(&mut elsewhere).await.is_some());
            drop(first);
            let third = poll_once(&mut third).await;
            assert!(third.is_some() && poll_once(&mut fourth).await.is_none());
        });
    }

    #[test]
    fn who_stalls_makes_room_once_it_has_had_its_share() {
        block_on(async {
            for from in [HERE, THERE] {
                let handshakes = Handshakes::new(1, Duration::from_millis(40));
                let stalled = handshakes.turn(HERE).await;
                let next = handshakes.turn(from).await;
                assert!(stalled.displaced.has_begun() && !next.displaced.has_begun());
                drop(stalled);
                assert_eq!(handshakes.inner.state().under_way.len(), 1, "the other's turn is its own");
            }
        });
    }
}
