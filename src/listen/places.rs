//! Places for connections: so many on a listener, so many from one address, so many in all.
//!
//! Invariants: a place comes back when it is dropped; what is counted by address is bounded by the places that are taken.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::{Gauge, METRICS};

/// Connections of all listeners together.
#[derive(Clone, Debug, Default)]
pub struct Total {
    open: Arc<AtomicUsize>,
    /// 0: any number.
    max: Arc<AtomicUsize>,
}

impl Total {
    /// At most `max`; `None`: any number.
    #[must_use]
    pub fn new(max: Option<usize>) -> Self {
        let total = Self::default();
        total.set_max(max);
        total
    }

    /// From now on at most `max`. Those that are there stay.
    pub fn set_max(&self, max: Option<usize>) {
        self.max.store(max.unwrap_or(0), Ordering::Release);
    }

    fn take(&self) -> bool {
        let max = self.max.load(Ordering::Acquire);
        let one_more = |open: usize| (max == 0 || open < max).then_some(open + 1);
        self.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The places of a listener, on all its sockets. Clones share them.
#[derive(Clone, Debug)]
pub struct Places {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    total: Total,
    gauge: &'static Gauge,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    max: usize,
    per_address: Option<usize>,
    connections: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Places {
    /// `max` places, `per_address` of them for one address; `None`: half of them, and all for this machine itself. `gauge` shows how
    /// many are taken.
    #[must_use]
    pub fn new(max: usize, per_address: Option<usize>, total: Total, gauge: &'static Gauge) -> Self {
        let open = Mutex::new(Open { max, per_address, ..Open::default() });
        Self { inner: Arc::new(Inner { total, gauge, open }) }
    }

    /// From now on so many, as [`Places::new`] has it. Those that are taken stay.
    pub fn set_max(&self, max: usize, per_address: Option<usize>) {
        let mut open = self.inner.open();
        (open.max, open.per_address) = (max, per_address);
    }

    /// A place for a connection from `address` (`None`: not by the network); `None` if there is none.
    pub(super) fn take(&self, address: Option<IpAddr>) -> Option<Place> {
        let inner = &self.inner;
        let address = address.map(counted);
        let mut open = inner.open();
        let from_there = address.and_then(|address| open.by_address.get(&address).copied()).unwrap_or(0);
        if address.is_some_and(|address| from_there >= open.max_from(address)) {
            METRICS.connections_refused_per_address.add(1);
            return None;
        }
        if open.connections >= open.max || !inner.total.take() {
            METRICS.connections_refused.add(1);
            return None;
        }
        open.connections += 1;
        if let Some(address) = address {
            open.by_address.insert(address, from_there + 1);
        }
        inner.gauge.add(1);
        Some(Place { inner: Arc::clone(inner), address })
    }
}

impl Open {
    fn max_from(&self, address: IpAddr) -> usize {
        match self.per_address {
            Some(max) => max,
            None if address.is_loopback() => self.max,
            None => self.max.div_ceil(2),
        }
    }
}

impl Inner {
    /// A panic elsewhere can't leave it half changed.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: whoever has one of IPv6 has 2^64 of them.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        other => other,
    }
}

/// One of the places.
#[derive(Debug)]
pub(super) struct Place {
    inner: Arc<Inner>,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.inner.open();
        open.connections = open.connections.saturating_sub(1);
        if let Some(address) = self.address
            && let Some(from_there) = open.by_address.get_mut(&address)
        {
            *from_there -= 1;
            if *from_there == 0 {
                open.by_address.remove(&address);
            }
        }
        drop(open);
        self.inner.total.give_back();
        self.inner.gauge.add(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static GAUGE: Gauge = Gauge::new();

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn places_are_counted_in_all_by_listener_and_by_address() {
        let total = Total::new(Some(5));
        let one = Places::new(4, Some(2), total.clone(), &GAUGE);
        let other = Places::new(4, None, total, &GAUGE);
        let (here, there) = (address("10.0.0.1"), address("::ffff:10.0.0.2"));
        let first = one.take(here);
        let held = [one.take(here), one.take(there)];
        assert!(first.is_some() && held.iter().all(Option::is_some));
        assert!(one.take(here).is_none(), "two are all from one address");
        let local = one.take(None);
        assert!(local.is_some() && one.take(None).is_none(), "four are all on one listener");
        let fifth = other.take(there);
        assert!(fifth.is_some() && other.take(here).is_none(), "five are all");
        drop(first);
        assert!(one.take(there).is_some());
        drop((held, local, fifth));
        assert_eq!(one.inner.open().by_address.len(), 0);
        assert_eq!(one.inner.total.open.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn by_default_one_address_gets_half_and_this_machine_all() {
        let places = Places::new(4, None, Total::default(), &GAUGE);
        let held: Vec<_> = (0..4).map(|_| places.take(address("127.0.0.1"))).collect();
        assert!(held.iter().all(Option::is_some));
        drop(held);
        // One network of IPv6 is one address.
        let held: Vec<_> = (1..5).map(|n| places.take(address(&format!("2001:db8::{n}")))).collect();
        assert_eq!(held.iter().flatten().count(), 2);
        assert!(places.take(address("2001:db8:0:1::1")).is_some());
    }
}
