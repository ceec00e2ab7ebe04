//! All rules, as they are asked: by holder, kind and name. Immutable: a change makes a new set.
//!
//! Invariants: a denial wins over whatever allows; a denial is of what it names only, while what is allowed brings along what it implies.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::bits::Bits;
use super::model::{Operation, Resource, ResourceKind};
use super::patterns::{Patterns, Sums};
use super::rule::{Rule, Who};
use crate::broker::caller::Principal;

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// A rule denies it, or there are rules and none allows it.
    Denied,
    /// No rule is about that thing, whoever and whatever it names.
    NoRule,
}

/// The rules of one holder, by kind.
#[derive(Clone, Debug, Default)]
struct Holder([Patterns; ResourceKind::ALL.len()]);

impl Holder {
    fn of(&self, kind: ResourceKind) -> Option<&Patterns> {
        self.0.get(kind as usize)
    }

    fn add(&mut self, rule: &Rule) {
        let bits = Bits::named(rule.what);
        let none = Bits::default();
        let sums = match rule.allows {
            true => Sums { allowed: bits, denied: none },
            false => Sums { allowed: none, denied: bits },
        };
        if let Some(patterns) = self.0.get_mut(rule.kind as usize) {
            patterns.add(&rule.pattern, rule.from, sums);
        }
    }
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleSet {
    rules: BTreeSet<Rule>,
    everyone: Holder,
    named: HashMap<Principal, Holder>,
    /// Whoever they are about.
    all: Holder,
}

impl RuleSet {
    pub(super) fn new(rules: BTreeSet<Rule>) -> Self {
        let mut set = Self::default();
        for rule in &rules {
            set.all.add(rule);
            match &rule.who {
                Who::Everyone => set.everyone.add(rule),
                Who::One(principal) => set.named.entry(principal.clone()).or_default().add(rule),
            }
        }
        Self { rules, ..set }
    }

    pub(super) fn rules(&self) -> &BTreeSet<Rule> {
        &self.rules
    }

    fn holders(&self, principal: &Principal, kind: ResourceKind) -> impl Iterator<Item = &Patterns> + Clone {
        let named = self.named.get(principal);
        std::iter::once(&self.everyone).chain(named).filter_map(move |holder| holder.of(kind))
    }

    /// What the rules say of an operation.
    pub(super) fn verdict(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Verdict {
        let mut allowed = false;
        for patterns in self.holders(principal, resource.kind) {
            let sums = patterns.sums(resource.name, host);
            if sums.denied.has(operation) {
                return Verdict::Denied;
            }
            allowed |= sums.allowed.allow(operation);
        }
        match allowed {
            true => Verdict::Allowed,
            false if self.all.of(resource.kind).is_some_and(|all| all.covers(resource.name)) => Verdict::Denied,
            false => Verdict::NoRule,
        }
    }

    /// Whether there is anything of this kind that the operation is allowed on, as far as the rules tell without knowing names: something
    /// that a rule allows and no denial covers whole. What is implied doesn't count (as in Kafka).
    pub(super) fn allow_somewhere(
        &self,
        principal: &Principal,
        host: IpAddr,
        operation: Operation,
        kind: ResourceKind,
    ) -> bool {
        let holders = self.holders(principal, kind);
        let any = |is: fn(Sums, Operation) -> bool| holders.clone().any(|p| is(p.any.at(host), operation));
        if any(denies) {
            return false;
        }
        if any(allows) {
            return true;
        }
        let under_denied_prefix =
            |name: &str| holders.clone().any(|p| p.prefixes_of(name).any(|entry| denies(entry.at(host), operation)));
        let literally_denied = |name: &str| {
            holders.clone().any(|p| p.literal.get(name).is_some_and(|entry| denies(entry.at(host), operation)))
        };
        let literal = |patterns: &Patterns| {
            patterns.literal.iter().any(|(name, entry)| {
                allows(entry.at(host), operation) && !literally_denied(name) && !under_denied_prefix(name)
            })
        };
        let prefixed = |patterns: &Patterns| {
            patterns.prefixed.iter().any(|(prefix, entry)| {
                // Prefixes come from text.
                let prefix = std::str::from_utf8(prefix).unwrap_or_default();
                allows(entry.at(host), operation) && !under_denied_prefix(prefix)
            })
        };
        holders.clone().any(|patterns| literal(patterns) || prefixed(patterns))
    }
}

fn denies(sums: Sums, operation: Operation) -> bool {
    sums.denied.has(operation)
}

fn allows(sums: Sums, operation: Operation) -> bool {
    sums.allowed.has(operation)
}
