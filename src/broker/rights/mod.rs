//! Who may do what, as in Kafka: rules by principal, host, operation and resource.

mod model;

pub use model::{CLUSTER, Denied, Operation, Resource, ResourceKind};

use super::caller::Caller;

/// What decides.
#[derive(Debug, Default)]
pub(super) struct Rights {}

impl Rights {
    /// Whether `caller` may do that.
    pub(super) fn allows(&self, _caller: &Caller, _operation: Operation, _resource: Resource<'_>) -> bool {
        true
    }

    /// As [`Rights::allows`], for something that is about to be done.
    ///
    /// # Errors
    /// [`Denied`], counted.
    pub(super) fn check(&self, caller: &Caller, operation: Operation, resource: Resource<'_>) -> Result<(), Denied> {
        if self.allows(caller, operation, resource) {
            return Ok(());
        }
        let principal = caller.principal().clone();
        Err(Denied { principal, operation, kind: resource.kind, name: resource.name.to_owned() })
    }
}
