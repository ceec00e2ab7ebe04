//! Who may do what, as in Kafka: rules by principal, host, operation and resource, allowing and denying, over literal names and prefixes.
//!
//! | file | job |
//! |---|---|
//! | [`model`], [`rule`] | operations, resources; rules and filters |
//! | [`set`], [`patterns`], [`bits`] | all rules, as they are asked; pure |
//! | [`kept`], [`report`] | rules in the store; as JSON |
//! | [`denials`] | what was refused |
//!
//! A check looks up its caller's rules and everyone's, and in them the literal name and its prefixes: it allocates nothing unless it denies.
//! A change makes a new set, which holds from the next check on, also for sessions that are there.

mod bits;
mod denials;
mod kept;
mod model;
mod patterns;
pub mod report;
mod rule;
mod set;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

pub use kept::RuleError;
pub use model::{CLUSTER, Denied, Operation, Resource, ResourceKind};
pub use rule::{ANY, Origin, Pattern, PatternFilter, Rule, RuleFilter, What, Who};

use super::caller::{Caller, Listener, Principal};
use super::owner::{NotYours, Owner};
use crate::metrics::METRICS;
use crate::store::Store;
use denials::Denials;
use set::{RuleSet, Verdict};

/// How rights are looked at.
#[derive(Clone, Debug)]
pub struct RightsOptions {
    /// They may do everything.
    pub super_users: HashSet<Principal>,
    /// Listeners whose callers may do what no rule is about (Kafka's `allow.everyone.if.no.acl.found`).
    pub open: Vec<Listener>,
    /// Else what would be denied is counted and told, and done all the same.
    pub enforce: bool,
    /// Whether client ids belong to the principal that came with them first.
    pub bind_client_ids: bool,
}

impl Default for RightsOptions {
    fn default() -> Self {
        Self { super_users: HashSet::new(), open: Listener::ALL.to_vec(), enforce: true, bind_client_ids: true }
    }
}

/// What decides.
#[derive(Debug)]
pub(super) struct Rights {
    options: RwLock<RightsOptions>,
    /// Swapped whole.
    rules: RwLock<Arc<RuleSet>>,
    denials: Denials,
}

impl Rights {
    /// With the rules that the store has.
    ///
    /// # Errors
    /// A text: a rule can't be read.
    pub(super) fn load(store: &Store, options: RightsOptions) -> Result<Self, String> {
        METRICS.acl_dry_run.set((!options.enforce).into());
        let rights = Self { options: RwLock::new(options), rules: RwLock::default(), denials: Denials::default() };
        rights.rebuild(store)?;
        Ok(rights)
    }

    /// The rules as the store has them now.
    ///
    /// # Errors
    /// As [`Rights::load`].
    pub(super) fn rebuild(&self, store: &Store) -> Result<(), String> {
        self.replace(RuleSet::new(kept::stored(store)?));
        Ok(())
    }

    /// From the next check on.
    pub(super) fn set_options(&self, options: RightsOptions) {
        METRICS.acl_dry_run.set((!options.enforce).into());
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
    }

    fn options(&self) -> RwLockReadGuard<'_, RightsOptions> {
        self.options.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, rules: RuleSet) {
        METRICS.acl_rules.set(i64::try_from(rules.rules().len()).unwrap_or(i64::MAX));
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Whether `caller` may do that; in a dry run, always.
    pub(super) fn allows(&self, caller: &Caller, operation: Operation, resource: Resource<'_>) -> bool {
        !self.options().enforce || self.decide(caller, operation, resource)
    }

    /// As [`Rights::allows`], for something that is about to be done.
    ///
    /// # Errors
    /// [`Denied`], counted.
    pub(super) fn check(&self, caller: &Caller, operation: Operation, resource: Resource<'_>) -> Result<(), Denied> {
        if self.decide(caller, operation, resource) {
            return Ok(());
        }
        self.refuse(caller, operation, resource)
    }

    /// Whether `caller` may write somewhere, or as an idempotent producer in general (KIP-679).
    ///
    /// # Errors
    /// [`Denied`], counted.
    pub(super) fn check_idempotent_write(&self, caller: &Caller) -> Result<(), Denied> {
        let (operation, resource) = (Operation::IdempotentWrite, Resource::CLUSTER);
        if self.decide(caller, operation, resource) || self.may_write_somewhere(caller) {
            return Ok(());
        }
        self.refuse(caller, operation, resource)
    }

    fn may_write_somewhere(&self, caller: &Caller) -> bool {
        // No topic has an empty name: only what is about all topics is about this one.
        let Some((_, host)) = caller.peer_at() else { return true };
        self.decide(caller, Operation::Write, Resource::topic(""))
            || self.rules().allow_somewhere(caller.principal(), host, Operation::Write, ResourceKind::Topic)
    }

    /// Whom a client id of `owner` belongs to once `caller` uses it. Super users may use those of others.
    ///
    /// # Errors
    /// [`NotYours`], counted.
    pub(super) fn claim(&self, caller: &Caller, owner: &Owner) -> Result<Owner, NotYours> {
        let after = owner.after(caller);
        let options = self.options();
        let may = owner.yields_to(&after) || !options.bind_client_ids;
        if may || options.super_users.contains(caller.principal()) {
            return Ok(after);
        }
        METRICS.client_ids_refused.add(1);
        if options.enforce { Err(NotYours) } else { Ok(after) }
    }

    fn refuse(&self, caller: &Caller, operation: Operation, resource: Resource<'_>) -> Result<(), Denied> {
        let principal = caller.principal().clone();
        let denied = Denied { principal, operation, kind: resource.kind, name: resource.name.to_owned() };
        let enforce = self.options().enforce;
        self.denials.count(caller, &denied, enforce);
        if enforce { Err(denied) } else { Ok(()) }
    }

    fn decide(&self, caller: &Caller, operation: Operation, resource: Resource<'_>) -> bool {
        let Some((listener, host)) = caller.peer_at() else { return true };
        let principal = caller.principal();
        let options = self.options();
        if options.super_users.contains(principal) {
            return true;
        }
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        match rules.verdict(principal, host, operation, resource) {
            Verdict::Allowed => true,
            Verdict::Denied => false,
            Verdict::NoRule => options.open.contains(&listener),
        }
    }
}
