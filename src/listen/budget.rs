//! Memory that all connections share: who needs some waits in line until there is.
//!
//! [`Budgets`] is that of all listeners, in both directions; each listener has a part of it ([`ByteBudget`]), and both bounds hold. What is
//! needed at once is taken at once ([`ByteBudget::take`]). What comes from a peer takes its memory as it comes ([`Arriving`]): who claims
//! a large frame and sends nothing holds nothing.
//!
//! Frames that grow could all hold some and wait for more. So one frame of each listener may go on beyond the bounds: the first in line. And
//! while somebody waits, who holds memory and is slow to send loses its connection.
//!
//! Invariants: first come, first served within a listener, so a large request is not starved by small ones; what was taken comes back
//! when the permit is dropped, whatever happened meanwhile; beyond the bounds there is one frame of each listener at most.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use event_listener::Event;
use futures_lite::FutureExt;

use crate::metrics::METRICS;
use crate::shutdown::Shutdown;

/// While others wait for memory, a frame that holds some must come at least this fast, bytes a second…
const PACE_MIN: u64 = 64 * 1024;
/// … once it has held it for this long.
const GRACE: Duration = Duration::from_millis(500);
/// How often those who wait look for who is too slow.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The memory of all listeners, in one direction. Clones share it.
#[derive(Clone, Debug)]
struct Memory {
    inner: Arc<Inner>,
}

/// Both directions of all listeners: what comes in, and what goes out. They are apart, because an answer that waited for memory which the
/// requests behind it hold would wait for ever.
#[derive(Clone, Debug)]
pub struct Budgets {
    incoming: Memory,
    outgoing: Memory,
}

impl Budgets {
    /// `total` bytes each.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Self { incoming: Memory::new(total), outgoing: Memory::new(total) }
    }

    /// A listener's parts, of at most `bytes` each.
    #[must_use]
    pub fn parts(&self, bytes: usize) -> (ByteBudget, ByteBudget) {
        (self.incoming.part(bytes), self.outgoing.part(bytes))
    }
}

/// A listener's part of a [`Memory`]; all clones share the same.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    inner: Arc<Inner>,
    part: usize,
    total: usize,
}

#[derive(Debug)]
struct Inner {
    total: usize,
    state: Mutex<State>,
    freed: Event,
}

#[derive(Debug)]
struct State {
    /// Below 0 while frames go on beyond the bound.
    free: isize,
    parts: Vec<Part>,
    next_ticket: u64,
    arriving: Vec<Arc<Pace>>,
}

#[derive(Debug)]
struct Part {
    free: isize,
    waiting: VecDeque<u64>,
    /// One frame has gone on beyond the bounds.
    is_beyond: bool,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back `bytes` of a part.
    fn give_back(&self, part: usize, bytes: usize, was_beyond: bool) {
        let mut state = self.state();
        state.free += bytes as isize;
        if let Some(part) = state.parts.get_mut(part) {
            part.free += bytes as isize;
            part.is_beyond &= !was_beyond;
        }
        drop(state);
        METRICS.memory_in_flight.add(-(bytes as i64));
        self.freed.notify(usize::MAX);
    }

    /// Ends who holds memory and sends too slowly, though it could.
    fn displace_slow(&self) {
        for pace in &self.state().arriving {
            if pace.is_too_slow() && !pace.displaced.has_begun() {
                METRICS.memory_displaced.add(1);
                pace.displaced.begin();
            }
        }
    }
}

impl State {
    /// Takes `bytes` for `permit`, if they are free or the permit may go on without.
    fn try_take(&mut self, permit: &mut Permit, bytes: usize, may_go_beyond: bool) -> bool {
        let Some(part) = self.parts.get_mut(permit.part) else { return true };
        let wanted = bytes as isize;
        if part.free < wanted || self.free < wanted {
            if !permit.is_beyond && (!may_go_beyond || part.is_beyond) {
                return false;
            }
            part.is_beyond = true;
            permit.is_beyond = true;
        }
        part.free -= wanted;
        self.free -= wanted;
        permit.bytes += bytes;
        METRICS.memory_in_flight.add(bytes as i64);
        true
    }
}

impl Memory {
    /// `total` bytes.
    fn new(total: usize) -> Self {
        let state = State { free: total as isize, parts: Vec::new(), next_ticket: 0, arriving: Vec::new() };
        Self { inner: Arc::new(Inner { total, state: Mutex::new(state), freed: Event::new() }) }
    }

    /// A part of it: at most `bytes`.
    fn part(&self, bytes: usize) -> ByteBudget {
        let total = bytes.min(self.inner.total);
        let mut state = self.inner.state();
        state.parts.push(Part { free: total as isize, waiting: VecDeque::new(), is_beyond: false });
        ByteBudget { inner: Arc::clone(&self.inner), part: state.parts.len() - 1, total }
    }
}

impl ByteBudget {
    /// A budget of `total` bytes of its own.
    #[must_use]
    pub fn new(total: usize) -> Self {
        Memory::new(total).part(total)
    }

    /// Takes `bytes` (at most the whole budget), waiting until they are free.
    pub async fn take(&self, bytes: usize) -> Permit {
        let mut permit = self.nothing();
        self.claim(&mut permit, bytes.min(self.total), false).await;
        permit
    }

    /// Takes `bytes` at once, also beyond the bounds: for what is there already, and bounded otherwise. Others wait for it.
    #[must_use]
    pub fn charge(&self, bytes: usize) -> Permit {
        let mut state = self.inner.state();
        state.free -= bytes as isize;
        if let Some(part) = state.parts.get_mut(self.part) {
            part.free -= bytes as isize;
        }
        METRICS.memory_in_flight.add(bytes as i64);
        drop(state);
        let mut permit = self.nothing();
        permit.bytes = bytes;
        permit
    }

    /// For a frame that is about to come, of which nothing has.
    #[must_use]
    pub fn arriving(&self) -> Arriving {
        Arriving { budget: self.clone(), permit: None, pace: None }
    }

    /// Bytes that nobody has taken.
    pub fn free(&self) -> usize {
        let state = self.inner.state();
        let own = state.parts.get(self.part).map_or(0, |part| part.free);
        usize::try_from(own.min(state.free)).unwrap_or(0)
    }

    fn nothing(&self) -> Permit {
        Permit { inner: Arc::clone(&self.inner), part: self.part, bytes: 0, is_beyond: false }
    }

    /// Adds `bytes` to `permit`, in line behind those who came before.
    async fn claim(&self, permit: &mut Permit, bytes: usize, may_go_beyond: bool) {
        let mut place = Place::new(self);
        let mut waits = false;
        loop {
            let freed = self.inner.freed.listen();
            if place.try_take(permit, bytes, may_go_beyond) {
                return;
            }
            if !waits {
                METRICS.memory_waits.add(1);
                waits = true;
            }
            let look = async {
                smol::Timer::after(LOOK_EVERY).await;
                self.inner.displace_slow();
            };
            freed.or(look).await;
        }
    }
}

/// A place in the line; leaves it when dropped, also when whoever waited has given up.
struct Place<'a> {
    budget: &'a ByteBudget,
    ticket: u64,
}

impl<'a> Place<'a> {
    fn new(budget: &'a ByteBudget) -> Self {
        let mut state = budget.inner.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        if let Some(part) = state.parts.get_mut(budget.part) {
            part.waiting.push_back(ticket);
        }
        Self { budget, ticket }
    }

    fn try_take(&mut self, permit: &mut Permit, bytes: usize, may_go_beyond: bool) -> bool {
        let mut state = self.budget.inner.state();
        let first = state.parts.get(self.budget.part).and_then(|part| part.waiting.front());
        let is_next = first == Some(&self.ticket) || permit.is_beyond;
        is_next && state.try_take(permit, bytes, may_go_beyond)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.inner.state();
        if let Some(part) = state.parts.get_mut(self.budget.part) {
            part.waiting.retain(|ticket| *ticket != self.ticket);
            if part.waiting.is_empty() {
                return;
            }
        }
        drop(state);
        // The next in line may have been waiting for this place only.
        self.budget.inner.freed.notify(usize::MAX);
    }
}

/// Bytes taken from a [`ByteBudget`] until this is dropped.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    part: usize,
    bytes: usize,
    is_beyond: bool,
}

impl Permit {
    /// Gives back all but `bytes` of it.
    pub fn keep(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.bytes -= back;
        self.inner.give_back(self.part, back, false);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.give_back(self.part, self.bytes, self.is_beyond);
    }
}

/// How fast a frame comes.
#[derive(Debug)]
struct Pace {
    since: Mutex<Instant>,
    come: AtomicUsize,
    /// It waits for memory, not for its peer.
    waits: AtomicUsize,
    displaced: Shutdown,
}

impl Pace {
    fn is_too_slow(&self) -> bool {
        let held = self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        let least = u64::try_from(held.as_millis()).unwrap_or(u64::MAX).saturating_mul(PACE_MIN) / 1_000;
        self.waits.load(Ordering::Relaxed) == 0 && held >= GRACE && (self.come.load(Ordering::Relaxed) as u64) < least
    }
}

/// A frame on its way in, and the memory that it has taken so far.
#[derive(Debug)]
pub struct Arriving {
    budget: ByteBudget,
    permit: Option<Permit>,
    pace: Option<Arc<Pace>>,
}

impl Arriving {
    /// Makes the memory taken `bytes` in all, waiting until there are so many.
    pub async fn grow(&mut self, bytes: usize) {
        let permit = self.permit.get_or_insert_with(|| self.budget.nothing());
        let more = bytes.saturating_sub(permit.bytes);
        if more == 0 {
            return;
        }
        let pace = self.pace.get_or_insert_with(|| {
            let (since, displaced) = (Mutex::new(Instant::now()), Shutdown::default());
            let pace = Arc::new(Pace { since, come: AtomicUsize::new(0), waits: AtomicUsize::new(0), displaced });
            self.budget.inner.state().arriving.push(Arc::clone(&pace));
            pace
        });
        let began = Instant::now();
        pace.waits.store(1, Ordering::Relaxed);
        self.budget.claim(permit, more, true).await;
        *pace.since.lock().unwrap_or_else(PoisonError::into_inner) += began.elapsed();
        pace.waits.store(0, Ordering::Relaxed);
    }

    /// `read`, which says how many bytes have come, unless others need the memory and this frame is too slow.
    ///
    /// # Errors
    /// [`io::ErrorKind::TimedOut`] then, else those of `read`.
    pub async fn unless_too_slow(&self, read: impl Future<Output = io::Result<usize>>) -> io::Result<usize> {
        let Some(pace) = &self.pace else { return read.await };
        let come = pace.displaced.unless(read).await.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
        pace.come.fetch_add(come, Ordering::Relaxed);
        Ok(come)
    }

    /// The frame has come whole: its memory, if it took any.
    #[must_use]
    pub fn whole(mut self) -> Option<Permit> {
        self.permit.take()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        if let Some(pace) = self.pace.take() {
            self.budget.inner.state().arriving.retain(|other| !Arc::ptr_eq(other, &pace));
        }
    }
}

#[cfg(test)]
mod tests;
