//! The broker: topics, partitions, produce and fetch, dedup, readers' positions; protocol-neutral.
//!
//! Every change is an operation on the store's one writer, evaluated in commit order; what lives in memory here is
//! published from there after the commit. So nothing is decided twice, and no lock is held across an await.
//!
//! Absent by design: wire types and wire error codes (the listeners' and codecs'), sockets, and redb.

mod above;
mod access;
mod admin;
mod alter;
mod call;
mod caller;
mod catalog;
pub mod dead_letter;
mod devices;
mod door;
mod draining;
mod error;
mod fetch;
mod followers;
pub mod groups;
mod intake;
mod janitor;
mod kept;
mod listener_rows;
mod losses;
mod notes;
mod offsets;
pub mod owner;
mod partitioner;
mod produce;
mod producer_ids;
mod producers;
mod publish;
mod rebuild;
mod reconfigure;
mod reserves;
pub mod rights;
mod settings;
mod take_in;
mod ticket;
mod tiers;
mod topic;
pub mod users;
mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use event_listener::{Event, EventListener};
use smol::lock::Semaphore;

pub use access::{Access, AdminError, Granted, Lobby, Right, UsersError, right};
pub use admin::NewTopic;
pub use alter::SettingsChange;
pub use caller::{Caller, Listener, Principal};
pub use catalog::{Defaults, stored_topics};
pub use devices::DeviceSession;
pub use door::{OnRefused, UpstreamLimit};
pub use error::{CommitError, FetchError, IntakeError, OffsetError, ProduceError, TooLargeUpstream, TopicError};
pub use fetch::Seen;
pub use followers::Follows;
pub use intake::{Intake, UpstreamPosition, UpstreamTopic};
pub use listener_rows::{GuardedChange, Noted, NotedRecord, RowChange, Stays};
pub use offsets::CommittedOffset;
pub use partitioner::{murmur2, partition_for_key};
pub use produce::{Acks, Appended};
pub use publish::{NewRecord, Published};
pub use settings::{Setting, ValueKind};
pub use take_in::IntakeTicket;
pub use ticket::Ticket;
pub use tiers::{TierBatch, TierCursor, TierMove, TierSource, TiersKnown};
pub use topic::{FORWARD_KEY, FORWARD_NAMED, KeyDefault, TimestampType, Topic, TopicConfig, TopicId, validate_name};
pub use waiters::Registration;

use crate::current::Current;
use crate::store::clock::Clock;
use crate::store::{CommitObserver, Committed, PartitionId, Retention, Store};

/// Reads of the disk at a time. Flash serves few at once any faster.
const DISK_READS_MAX: usize = 4;
/// Batches that are unpacked beside the threads that serve at a time, to check them or to put them into another codec: each may hold what it
/// decompresses to.
const RECOMPRESSIONS_MAX: usize = 1;

/// The broker's settings.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// Who tells of losses: the key of those records.
    pub gateway_id: String,
    /// Whether native records whose key is not their client's id are kept with that id in a header.
    pub device_header: bool,
    /// Whether a topic that is named in a produce or metadata request is created.
    pub auto_create: bool,
    /// Partitions of a topic that does not say, at least 1.
    pub partitions: u32,
    /// Partitions of a topic of this name that does not say.
    pub partitions_by_name: BTreeMap<String, u32>,
    /// Configuration of topics.
    pub defaults: Defaults,
    /// How long offsets of a group without members are kept, in time that the gateway is powered.
    pub offsets_retention: Duration,
    /// How long a group that was empty waits for more members before its first generation.
    pub initial_rebalance_delay: Duration,
    /// Who may do what, beside the rules.
    pub rights: rights::RightsOptions,
    /// What the time-outs of groups go by; `None`: the time of this process, which stands still while the machine is
    /// suspended. So do its clients, mostly.
    pub group_clock: Option<Arc<dyn Clock>>,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        Self {
            gateway_id: String::new(),
            device_header: true,
            auto_create: true,
            partitions: 1,
            partitions_by_name: BTreeMap::new(),
            defaults: Defaults::default(),
            offsets_retention: Duration::from_secs(7 * 86_400),
            initial_rebalance_delay: Duration::from_millis(100),
            rights: rights::RightsOptions::default(),
            group_clock: None,
        }
    }
}

/// A handle on the broker; cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: Current<BrokerOptions>,
    store: Store,
    catalog: catalog::Catalog,
    sessions: devices::Sessions,
    draining: draining::Draining,
    followers: followers::Followers,
    door: door::Door,
    above: above::Above,
    producer_ids: producer_ids::ProducerIds,
    groups: Arc<groups::Groups>,
    rights: rights::Rights,
    users: users::Users,
    waiters: Arc<waiters::Waiters>,
    topics_changed: Event,
    /// Reads of the disk at a time: each takes a thread while it lasts.
    disk_reads: Semaphore,
    /// Batches being unpacked beside the threads that serve: the work itself holds its place, since whoever waits for it may be gone before
    /// it ends.
    recompressions: Arc<Semaphore>,
}

impl Broker {
    /// The broker over an open store.
    ///
    /// # Errors
    /// A text that names what in the store cannot be read.
    pub fn new(store: Store, mut options: BrokerOptions) -> Result<Self, String> {
        options.defaults.dead_letter_bytes = Some(dead_letter::bytes_max(store.max_bytes()));
        let delay_ms = u64::try_from(options.initial_rebalance_delay.as_millis()).unwrap_or(u64::MAX);
        let rights = rights::Rights::load(&store, options.rights.clone())?;
        let shared = Shared {
            groups: Arc::new(groups::Groups::load(&store, delay_ms, options.group_clock.clone())),
            catalog: catalog::Catalog::load(&store, &options.defaults)?,
            options: Current::new(options),
            sessions: devices::Sessions::default(),
            draining: draining::Draining::default(),
            followers: followers::Followers::default(),
            door: door::Door::default(),
            above: above::Above::default(),
            producer_ids: producer_ids::ProducerIds::default(),
            rights,
            users: users::Users::load(&store),
            waiters: Arc::default(),
            topics_changed: Event::new(),
            disk_reads: Semaphore::new(DISK_READS_MAX),
            recompressions: Arc::new(Semaphore::new(RECOMPRESSIONS_MAX)),
            store,
        };
        for topic in shared.catalog.all() {
            shared.apply_settings(&topic);
        }
        shared.store.observe(Arc::new(Waker { waiters: Arc::clone(&shared.waiters) }));
        let shared = Arc::new(shared);
        let teller = Arc::new(losses::Teller::new(&shared));
        shared.store.observe(Arc::clone(&teller) as Arc<dyn CommitObserver>);
        shared.store.tell_losses(teller);
        shared.store.on_reopened(Arc::new(rebuild::Rebuild(Arc::downgrade(&shared))));
        Ok(Self { shared })
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.shared.catalog.by_name(name)
    }

    /// The topic of this identity.
    pub fn topic_by_id(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.shared.catalog.by_id(id)
    }

    /// The topic that a partition of the store belongs to, and its index in it.
    pub fn topic_of(&self, partition: PartitionId) -> Option<(Arc<Topic>, i32)> {
        self.shared.catalog.by_partition(partition)
    }

    /// All topics, ordered by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.shared.catalog.all()
    }

    /// Resolves at the next creation, change or deletion of a topic. Take it, look at the topics, then await it.
    pub fn topics_changed(&self) -> EventListener {
        self.shared.topics_changed.listen()
    }

    /// The broker's settings.
    pub fn options(&self) -> Arc<BrokerOptions> {
        self.shared.options()
    }

    /// The store below: for scans, epochs and figures.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}

impl Shared {
    /// The settings as of now.
    fn options(&self) -> Arc<BrokerOptions> {
        self.options.get()
    }

    /// After the commit: `topic` is new or changed.
    fn publish_topic(&self, topic: Arc<Topic>) {
        self.apply_settings(&topic);
        self.catalog.publish(Arc::clone(&topic));
        self.followers.topic_published(&self.store, &topic);
        self.topics_changed.notify(usize::MAX);
    }

    /// After the commit: `topic` is deleted. Whoever waits for its records is woken to find that out.
    fn withdraw_topic(&self, topic: &Topic) {
        self.catalog.remove(topic);
        self.followers.topic_withdrawn(&self.store, topic);
        for partition in &topic.partitions {
            self.waiters.wake(*partition);
        }
        self.topics_changed.notify(usize::MAX);
    }

    /// Tells the store what it must know of a topic's partitions.
    fn apply_settings(&self, topic: &Topic) {
        let config = &topic.config;
        let retention = Retention {
            ms: config.retention_ms,
            bytes: config.retention_bytes,
            expire_unforwarded: config.expire_unforwarded,
        };
        for partition in &topic.partitions {
            self.store.set_retention(*partition, retention);
            self.store.set_class(*partition, topic.class());
        }
    }
}

/// Wakes the readers of partitions that a commit has advanced; the store calls it before it answers the producers.
#[derive(Debug)]
struct Waker {
    waiters: Arc<waiters::Waiters>,
}

impl CommitObserver for Waker {
    fn committed(&self, committed: &Committed) {
        for (partition, _) in &committed.advanced {
            self.waiters.wake(*partition);
        }
    }
}
