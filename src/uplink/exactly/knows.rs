//! What an uplink that forwards exactly once knows besides, and what the loop asks it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::{self, CURSORS};
use super::local::{self, Local, Place};
use super::patience::Patience;
use super::requests::Context;
use super::sizing::Sizing;
use super::transaction::Transactions;
use crate::broker::Broker;
use crate::broker::dead_letter::Letter;
use crate::kafka::api::ApiKey;
use crate::store::PartitionId;
use crate::uplink::options::UplinkOptions;
use crate::uplink::sending::producer::{LaneId, Sent};

/// What an uplink that forwards exactly once knows besides.
#[derive(Debug)]
pub(in crate::uplink) struct Exactly {
    pub(super) machine: Transactions,
    pub(super) sizing: Sizing,
    pub(super) patience: Patience,
    /// The transactional id, and the group.
    pub(super) id: String,
    /// Where the last batch of cursors of the open transaction lies.
    pub(super) place: Option<Place>,
    /// The positions that the open transaction brings; known once it is closed.
    pub(super) positions: BTreeMap<PartitionId, i64>,
    /// Answers to questions of before the last change of course are strays.
    pub(super) course: u64,
    /// A transaction is not opened before, unless there is a lot to forward.
    pub(super) not_before: Option<Instant>,
    pub(super) fenced_until: Option<Instant>,
    /// What the open transaction has brought so far.
    pub(super) tally: Tally,
    /// An operator has said that it goes on although the histories differ.
    pub(super) go_on_diverged: bool,
    /// The row could not be true.
    pub(super) distrusted: bool,
    /// Of a transaction whose end is looked up in the cursors: records that it passed without delivering them.
    pub(super) letters_in_doubt: Vec<Letter>,
    /// Whether a refusal has been told since the last transaction that was committed.
    pub(super) refusal_told: bool,
}

impl Exactly {
    pub(in crate::uplink) fn new(broker: &Broker, options: &UplinkOptions) -> Self {
        let store = broker.store();
        let row = broker.follower_row(&local::key(&options.name));
        let end = |partition| store.head(partition).map(|head| head.readable_end());
        let kept = row.as_deref().and_then(Local::decode).filter(|local| local.is_possible(end));
        let distrusted = row.is_some() && kept.is_none();
        let local = kept.unwrap_or_else(|| Local::new(store.incarnation()));
        Self {
            machine: Transactions::new(local, broker.store().epoch().id),
            sizing: Sizing::default(),
            patience: Patience::new(options.config.transaction_timeout),
            id: id(options),
            place: None,
            positions: BTreeMap::new(),
            course: 0,
            not_before: None,
            fenced_until: None,
            tally: Tally::default(),
            go_on_diverged: false,
            distrusted,
            letters_in_doubt: Vec::new(),
            refusal_told: false,
        }
    }

    /// The transactional id, and the group.
    pub(in crate::uplink) fn id(&self) -> &str {
        &self.id
    }

    /// Whether more may be gathered.
    pub(in crate::uplink) fn may_gather(&self, now: Instant) -> bool {
        let machine = &self.machine;
        let streaming = || machine.open().is_some_and(|open| !self.sizing.is_full(open.since, now));
        machine.is_idle() || machine.is_ending() || machine.is_streaming() && streaming()
    }

    /// Bytes that a transaction may take: what the link lately carried in the time that one may be open.
    pub(in crate::uplink) fn allowed(&self) -> usize {
        self.sizing.allowed()
    }

    /// Bytes that may be gathered beside the `waiting` ones.
    pub(in crate::uplink) fn room(&self, waiting: usize) -> usize {
        if self.machine.is_streaming() { self.sizing.room() } else { self.sizing.allowed().saturating_sub(waiting) }
    }

    /// Bytes were gathered.
    pub(in crate::uplink) fn gathered(&mut self, bytes: usize) {
        if self.machine.is_streaming() {
            self.sizing.take(bytes);
        }
    }

    pub(in crate::uplink) fn may_send(&self, lane: &LaneId) -> bool {
        self.machine.may_send(lane)
    }

    /// The highest version of Produce that belongs to how transactions are made.
    pub(in crate::uplink) fn produce_version_max(&self) -> i16 {
        self.machine.protocol().version_max(ApiKey::Produce)
    }

    pub(in crate::uplink) fn is_fenced(&self) -> bool {
        self.machine.is_fenced()
    }

    /// Whether an operator must decide before it goes on.
    pub(in crate::uplink) fn is_stopped(&self) -> bool {
        self.machine.is_stopped()
    }

    /// Whether nothing is under way.
    pub(in crate::uplink) fn is_at_rest(&self) -> bool {
        self.machine.open().is_none()
    }

    /// An operator lets it go on.
    pub(in crate::uplink) fn let_go_on(&mut self) {
        if self.is_fenced() || self.is_stopped() {
            self.go_on_diverged = self.is_stopped();
            self.machine.let_go_on();
        }
    }

    /// When there is something to do, whatever happens.
    pub(in crate::uplink) fn next_time(&self) -> impl Iterator<Item = Instant> {
        let full =
            self.machine.open().filter(|_| self.machine.is_streaming()).map(|open| self.sizing.full_at(open.since));
        let open = self.not_before.filter(|_| self.machine.is_idle());
        let fenced = self.fenced_until.filter(|_| self.is_fenced());
        [self.machine.not_before(), full, open, fenced].into_iter().flatten()
    }

    /// A batch of the topic of cursors is in the log.
    pub(in crate::uplink) fn cursors_acknowledged(&mut self, sent: &Sent, base_offset: i64) {
        self.place = Some(Place { partition: sent.lane.1, offset: base_offset });
    }

    /// A batch is acknowledged within the open transaction.
    pub(in crate::uplink) fn acknowledged(&mut self, batch: Tally) {
        self.tally.records += batch.records;
        self.tally.bytes += batch.bytes;
        self.tally.batches += batch.batches;
    }

    /// A Produce request of so many bytes was answered after that time.
    pub(in crate::uplink) fn produce_answered(&mut self, bytes: usize, took: Duration, round_trip: Duration) {
        self.patience.answered(bytes, took, round_trip);
    }

    /// Whether the row could not be true, since the last call.
    pub(in crate::uplink) fn take_distrusted(&mut self) -> bool {
        std::mem::take(&mut self.distrusted)
    }

    /// What is kept here is not believed any more: upstream's cursors tell where this uplink stands. What is to be kept now, key and value.
    /// Nothing is under way.
    pub(in crate::uplink) fn doubt(&mut self, uplink: &str) -> (Vec<u8>, Vec<u8>) {
        let local = &mut self.machine.local;
        let pending = local.pending.take();
        self.letters_in_doubt.extend(pending.into_iter().flat_map(|pending| pending.letters));
        local.last = None;
        let row = (local::key(uplink), local.encode());
        self.course += 1;
        if !self.is_stopped() && !self.is_fenced() {
            self.machine.take_over();
        }
        row
    }

    /// A broker is out of reach.
    pub(in crate::uplink) fn node_failed(&mut self, node: i32) {
        self.machine.node_failed(node);
    }
}

/// What is counted once it is for good.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::uplink) struct Tally {
    pub(in crate::uplink) records: u64,
    pub(in crate::uplink) bytes: u64,
    pub(in crate::uplink) batches: u64,
}

/// Whether a topic upstream is the one of cursors.
pub(in crate::uplink) fn is_cursors(topic: &str) -> bool {
    topic == CURSORS
}

/// The transactional id, and the group, of an uplink.
pub(in crate::uplink) fn id(options: &UplinkOptions) -> String {
    cursor::id(&options.gateway, &options.name)
}

/// What metadata is asked for besides the topics.
pub(in crate::uplink) fn cursors() -> Arc<str> {
    CURSORS.into()
}

impl Exactly {
    /// What a request may need.
    pub(super) fn context(&self) -> Context {
        let machine = &self.machine;
        Context {
            id: self.id.clone(),
            protocol: machine.protocol(),
            identity: machine.identity(),
            timeout_ms: self.patience.timeout_ms(),
            number: machine.number(),
            metadata: machine.witness_metadata(),
            partition: machine.partition(),
            log: machine.log(),
        }
    }
}
