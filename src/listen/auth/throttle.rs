//! How often an address may fail to authenticate: some times at once, then one in a while.
//!
//! Invariants: pure, the time is given; bounded in memory: when too many addresses have failed, the one that did longest ago is forgotten.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Failures that are forgiven at once.
const BURST: u64 = 20;
/// One is forgiven in this time, ms.
const FORGIVE_MS: u64 = 3_000;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 1_024;

/// The failures of all addresses.
#[derive(Debug, Default)]
pub(in crate::listen) struct Throttle {
    /// Until when each is in debt, ms: a failure adds [`FORGIVE_MS`].
    debts: HashMap<IpAddr, u64>,
}

impl Throttle {
    /// Whether somebody at this address may try.
    pub(in crate::listen) fn allows(&self, address: IpAddr, now_ms: u64) -> bool {
        let debt = self.debts.get(&whole(address)).map_or(0, |until| until.saturating_sub(now_ms));
        debt < BURST * FORGIVE_MS
    }

    /// Somebody there has failed.
    pub(in crate::listen) fn failed(&mut self, address: IpAddr, now_ms: u64) {
        if self.debts.len() >= ADDRESSES_MAX {
            self.debts.retain(|_, until| *until > now_ms);
        }
        if self.debts.len() >= ADDRESSES_MAX {
            let first = self.debts.iter().min_by_key(|(_, until)| **until).map(|(address, _)| *address);
            first.and_then(|address| self.debts.remove(&address));
        }
        let until = self.debts.entry(whole(address)).or_insert(now_ms);
        *until = (*until).max(now_ms) + FORGIVE_MS;
    }
}

/// An IPv4 address, or the network that one customer has of IPv6.
fn whole(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_failures_are_forgiven_and_time_forgives_the_others() {
        let (one, two) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut throttle = Throttle::default();
        for failures in 0..BURST {
            assert!(throttle.allows(one, 5), "{failures}");
            throttle.failed(one, 5);
        }
        assert!(!throttle.allows(one, 5) && throttle.allows(two, 5));
        assert!(!throttle.allows("::ffff:10.0.0.1".parse().unwrap(), 5));
        assert!(throttle.allows(one, 6));
        throttle.failed(one, 6);
        assert!(!throttle.allows(one, 6) && throttle.allows(one, 6 + FORGIVE_MS));
    }

    #[test]
    fn memory_is_bounded_and_a_network_of_ipv6_is_one() {
        let mut throttle = Throttle::default();
        for n in 0..2 * ADDRESSES_MAX as u32 {
            throttle.failed(std::net::Ipv4Addr::from_bits(n).into(), u64::from(n));
            assert!(throttle.debts.len() <= ADDRESSES_MAX);
        }
        let mut throttle = Throttle::default();
        for n in 0..BURST {
            throttle.failed(format!("2001:db8::{n:x}").parse().unwrap(), 0);
        }
        assert!(!throttle.allows("2001:db8::ffff".parse().unwrap(), 0));
        assert!(throttle.allows("2001:db8:0:1::1".parse().unwrap(), 0));
    }
}
