//! The broker as one caller may use it: what listeners have of it, and all that they have.
//!
//! A listener holds a [`Lobby`], which does nothing with records; [`Lobby::admit`] gives an [`Access`] for somebody who has been told apart,
//! and each operation of that is checked. What is done to a topic often (records in, records out) takes a [`Granted`], which a check has
//! given: one for each topic and request.
//!
//! Invariant: there is no other way from a listener to the broker, so no operation can forget its check.

mod admin;
mod granted;
mod groups;
mod records;
mod tiers;
mod topics;
mod users;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use event_listener::EventListener;

pub use admin::AdminError;
pub use granted::{Granted, Right, right};
pub use users::UsersError;

use super::caller::Caller;
use super::fetch::Seen;
use super::listener_rows::{GuardedChange, RowChange};
use super::owner::{NotYours, Owner};
use super::rights::{Denied, Operation, Resource};
use super::waiters::Registration;
use super::{Broker, BrokerOptions, CommitError};
use crate::store::{BootEpoch, PartitionId, Stamp};

/// What a listener has of the broker before it knows who asks: the time, waiting, and its own books. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lobby {
    broker: Broker,
}

impl Broker {
    /// The broker for a listener.
    pub fn lobby(&self) -> Lobby {
        Lobby { broker: self.clone() }
    }
}

impl Lobby {
    /// The broker as `caller` may use it.
    pub fn admit(&self, caller: Caller) -> Access {
        Access { lobby: self.clone(), caller: Arc::new(caller) }
    }

    /// The time, as records are stamped with it.
    pub fn now(&self) -> Stamp {
        self.broker.store().now()
    }

    /// The boot epoch, which Kafka clients know as leader epoch.
    pub fn epoch(&self) -> BootEpoch {
        self.broker.store().epoch()
    }

    /// Resolves at the next creation, change or deletion of a topic. Take it, look at the topics, then await it.
    pub fn topics_changed(&self) -> EventListener {
        self.broker.topics_changed()
    }

    /// Registers for any advance of `partitions`; look at their heads only after this.
    pub fn watch(&self, partitions: impl IntoIterator<Item = PartitionId>) -> Registration {
        self.broker.watch(partitions)
    }

    /// As [`Broker::wait_for_records`].
    pub async fn wait_for_records(&self, wanted: &[(PartitionId, i64)], wait: Duration) {
        self.broker.wait_for_records(wanted, wait).await;
    }

    /// How much a partition has got so far; `None` if it is not there. Look before the read whose end is waited at.
    pub fn seen(&self, partition: PartitionId) -> Option<Seen> {
        self.broker.seen(partition)
    }

    /// As [`Broker::wait_for_bytes`].
    pub async fn wait_for_bytes(&self, seen: &[Seen], bytes: u64, wait: Duration) {
        self.broker.wait_for_bytes(seen, bytes, wait).await;
    }

    /// Resolves at the next progress of any uplink. Take it, look at [`Lobby::upstream_offset`], then await it.
    pub fn upstream_progress(&self) -> EventListener {
        self.broker.upstream_progress()
    }

    /// The offset up to which every uplink of the partition has forwarded it; `None` if none follows it.
    pub fn upstream_offset(&self, partition: PartitionId) -> Option<i64> {
        self.broker.upstream_offset(partition)
    }

    /// The index of a partition in its topic; `None` if that is gone.
    pub fn index_of(&self, partition: PartitionId) -> Option<i32> {
        self.broker.topic_of(partition).map(|(_, index)| index)
    }

    /// The rows of the listener's own books whose keys begin with `prefix`, by key. What they hold of records is shown to nobody without
    /// [`Access::allow`].
    pub fn rows(&self, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.broker.rows(prefix)
    }

    /// One row of the listener's own books.
    pub fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.broker.row(key)
    }

    /// As [`Lobby::change_rows`], with a say for the rows that are there.
    ///
    /// # Errors
    /// As there.
    pub async fn change_rows_guarded(&self, changes: Vec<GuardedChange>, within: Duration) -> Result<(), CommitError> {
        self.broker.change_rows_guarded(changes, within).await
    }

    /// Changes rows of the listener's own books, as [`Broker::change_rows`].
    ///
    /// # Errors
    /// Why it was not committed; then nothing of it was.
    pub async fn change_rows(&self, rows: Vec<RowChange>, within: Duration) -> Result<(), CommitError> {
        self.broker.change_rows(rows, within).await
    }
}

/// The broker as one caller may use it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Access {
    lobby: Lobby,
    caller: Arc<Caller>,
}

impl Deref for Access {
    type Target = Lobby;

    fn deref(&self) -> &Lobby {
        &self.lobby
    }
}

impl Access {
    /// Who it is.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Whether the caller may do something: for what isn't an operation of the broker, and for answers that show rights.
    ///
    /// # Errors
    /// [`Denied`], counted.
    pub fn allow(&self, operation: Operation, resource: Resource<'_>) -> Result<(), Denied> {
        self.broker().shared.rights.check(&self.caller, operation, resource)
    }

    /// Whom a client id of `owner` belongs to once the caller uses it.
    ///
    /// # Errors
    /// [`NotYours`], counted.
    pub fn claim(&self, owner: &Owner) -> Result<Owner, NotYours> {
        self.broker().shared.rights.claim(&self.caller, owner)
    }

    /// As [`Access::allow`], for what is merely shown or left out: not counted as a denial.
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        self.broker().shared.rights.allows(&self.caller, operation, resource)
    }

    /// The broker's settings and the directory of its store, to those who may see them.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn broker_settings(&self) -> Result<(Arc<BrokerOptions>, PathBuf), Denied> {
        self.allow(Operation::DescribeConfigs, Resource::CLUSTER)?;
        Ok((self.broker().options(), self.broker().store().dir()))
    }

    fn broker(&self) -> &Broker {
        &self.lobby.broker
    }

    /// The broker behind it, for tests of what a check lets through.
    #[cfg(test)]
    pub(in crate::broker) fn unchecked(&self) -> &Broker {
        self.broker()
    }
}
