//! The rules of one holder for one kind of things, by name: a lookup takes as many steps as the name has prefixes with rules.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound;

use super::bits::Bits;
use super::rule::{Origin, Pattern};

/// What is allowed and denied, by host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    by_host: Vec<(Origin, Sums)>,
}

/// What is allowed, and what denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) allowed: Bits,
    pub(super) denied: Bits,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.allowed = self.allowed.or(other.allowed);
        self.denied = self.denied.or(other.denied);
    }
}

impl Entry {
    fn add(&mut self, from: Origin, sums: Sums) {
        match self.by_host.iter_mut().find(|(host, _)| *host == from) {
            Some((_, known)) => known.add(sums),
            None => self.by_host.push((from, sums)),
        }
    }

    /// What holds at `host`.
    pub(super) fn at(&self, host: IpAddr) -> Sums {
        let mut sums = Sums::default();
        self.by_host.iter().filter(|(from, _)| from.is_at(host)).for_each(|(_, more)| sums.add(*more));
        sums
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Patterns {
    pub(super) any: Entry,
    pub(super) literal: HashMap<Box<str>, Entry>,
    /// By their bytes, so that any part of a name can be looked for.
    pub(super) prefixed: BTreeMap<Box<[u8]>, Entry>,
}

impl Patterns {
    /// Takes a rule in.
    pub(super) fn add(&mut self, pattern: &Pattern, from: Origin, sums: Sums) {
        let entry = match pattern {
            Pattern::Any => &mut self.any,
            Pattern::Literal(name) => self.literal.entry(name.as_str().into()).or_default(),
            Pattern::Prefixed(prefix) => self.prefixed.entry(prefix.as_bytes().into()).or_default(),
        };
        entry.add(from, sums);
    }

    /// What holds for the thing of this name, at `host`.
    pub(super) fn sums(&self, name: &str, host: IpAddr) -> Sums {
        let mut sums = self.any.at(host);
        if let Some(entry) = self.literal.get(name) {
            sums.add(entry.at(host));
        }
        for entry in self.prefixes_of(name) {
            sums.add(entry.at(host));
        }
        sums
    }

    /// Whether any rule is about the thing of this name.
    pub(super) fn covers(&self, name: &str) -> bool {
        !self.any.by_host.is_empty() || self.literal.contains_key(name) || self.prefixes_of(name).next().is_some()
    }

    /// The entries of all prefixes of `name`, the longest first.
    pub(super) fn prefixes_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let name = name.as_bytes();
        let mut upper = Bound::Included(name);
        std::iter::from_fn(move || {
            loop {
                let (prefix, entry) = self.prefixed.range::<[u8], _>((Bound::Unbounded, upper)).next_back()?;
                if let Some(rest) = name.strip_prefix(&**prefix) {
                    upper = Bound::Excluded(name.get(..name.len() - rest.len())?);
                    return Some(entry);
                }
                // Nothing between what both begin with and the name begins it.
                let common = name.iter().zip(prefix.iter()).take_while(|(a, b)| a == b).count();
                upper = Bound::Included(name.get(..common)?);
            }
        })
    }
}
