//! Transactions within the forwarder's loop: when one is opened and closed, who is asked what, and what follows for records and
//! positions.
//!
//! Invariant: while it is not known what became of a transaction, nothing is gathered and nothing is sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cursor::{self, CURSORS, CURSORS_PARTITIONS, Key, Value};
use super::knows::Tally;
use super::local::{self, Pending};
use super::question::{Ask, Happened, Heard, Whom};
use super::requests;
use super::settling::Histories;
use crate::broker::CommitError;
use crate::kafka::api::ApiKey;
use crate::kafka::error_code::ErrorCode;
use crate::metrics::METRICS;
use crate::record::{BatchBuilder, NO_HEADERS};
use crate::store::PartitionId;
use crate::uplink::batches::origins::Origins;
use crate::uplink::batches::recode::Recoded;
use crate::uplink::link::cluster::{ClusterError, Link, TopicState};
use crate::uplink::mirror::Unsaved;
use crate::uplink::parts::Event;
use crate::uplink::sending::producer::LaneId;
use crate::uplink::status::wall_ms;
use crate::uplink::task::Forwarder;

/// How often a fenced uplink looks whether its place is free again.
const LOOK_AFTER_EVERY: Duration = Duration::from_secs(3_600);
/// Bytes of cursors in one batch, before compression.
const CURSORS_BYTES: usize = 256 * 1024;
/// More letters than these are saved before the next transaction is made durable, not with it.
const LETTERS_AT_ONCE: usize = 16;
/// What the topic of cursors is created with.
const CURSORS_SETTINGS: &[(&str, &str)] = &[("cleanup.policy", "compact")];

impl Forwarder {
    /// All that can be done now for transactions. `more`: there are more records that can be gathered at once.
    ///
    /// # Errors
    /// [`ClusterError`], if the cluster is out of reach, or offers no transactions.
    pub(in crate::uplink) async fn drive_transactions(&mut self, more: bool) -> Result<(), ClusterError> {
        let now = Instant::now();
        let Some(exactly) = &mut self.exactly else { return Ok(()) };
        if exactly.is_fenced() && exactly.fenced_until.is_some_and(|at| at <= now) {
            exactly.machine.look_after();
        }
        if exactly.machine.is_resuming() {
            // What is in flight could still be appended under the old epoch.
            if self.in_flight > 0 || !self.prepare().await? {
                return Ok(());
            }
        }
        self.open_or_close(more, now);
        while let Some(exactly) = &self.exactly
            && let Some((ask, whom)) = exactly.machine.next(now)
        {
            if !self.put(ask, whom).await? {
                break;
            }
        }
        Ok(())
    }

    /// Before anything is asked: how transactions are made, and where the cursors lie. Whether that is known.
    async fn prepare(&mut self) -> Result<bool, ClusterError> {
        let link = self.cluster.any_link().await?;
        let protocol = link.versions.transactions().map_err(ClusterError::NoTransactions)?;
        const MISSING: i16 = ErrorCode::UnknownTopicOrPartition.code();
        let partitions = match self.cluster.topic(CURSORS) {
            Some(TopicState::Known(leaders)) => leaders.len(),
            Some(TopicState::Failed(MISSING)) => {
                let replication = self.options.config.create_replication;
                self.cluster.create_topic(CURSORS, Some(CURSORS_PARTITIONS), replication, CURSORS_SETTINGS).await?;
                log::info!("uplink {}: created topic {CURSORS} upstream", self.options.name);
                self.metadata.stale = true;
                return Ok(false);
            }
            Some(TopicState::Failed(code)) => {
                let retriable = ErrorCode::from_code(*code).is_some_and(ErrorCode::is_retriable);
                if !retriable {
                    let text = format!("the topic {CURSORS} can't be used");
                    return Err(ClusterError::Refused { api: ApiKey::Metadata, code: *code, text });
                }
                self.metadata.stale = true;
                return Ok(false);
            }
            None => {
                self.metadata.stale = true;
                return Ok(false);
            }
        };
        if let Some(exactly) = &mut self.exactly {
            let kept = exactly.machine.local.cursor_partition().filter(|p| (*p as usize) < partitions);
            let own = cursor::partition(&self.options.gateway, partitions as u32);
            exactly.machine.speak(protocol);
            exactly.machine.set_partition(kept.unwrap_or(own));
        }
        Ok(true)
    }

    /// Opens a transaction where there is something to send, and closes it where there is nothing more to add.
    fn open_or_close(&mut self, more: bool, now: Instant) {
        let commit_every = self.pacing.commit_every(self.options.config.commit_every, self.broker.store().now());
        let urgent = self.mirror.has_urgent();
        let (waiting, window) = (self.producers.bytes(), self.pacing.window());
        let Some(exactly) = &mut self.exactly else { return };
        if exactly.machine.is_idle() && !self.producers.is_empty() && !self.control.is_stopping() {
            // What doesn't wait for company is not held back.
            let lot = waiting >= exactly.sizing.allowed().min(window) / 2;
            if !lot && !urgent && exactly.not_before.is_some_and(|at| at > now) {
                return;
            }
            if exactly.patience.adapts(waiting) {
                // Only a new epoch of the producer has another time-out.
                exactly.course += 1;
                exactly.machine.resume();
                return;
            }
            exactly.machine.begin(now);
            exactly.course += 1;
            exactly.sizing.begin(waiting, self.pacing.round_trip());
            exactly.not_before = Some(now + commit_every);
            exactly.place = None;
            let cursors = (cursor_topic(), exactly.machine.partition());
            exactly.machine.want(&cursors);
        }
        if exactly.machine.is_streaming() {
            for lane in self.producers.busy() {
                exactly.machine.want(lane);
            }
            let full = exactly.machine.open().is_some_and(|open| exactly.sizing.is_full(open.since, now));
            if full || !more {
                self.close_transaction();
            }
        }
        self.drain();
    }

    /// Whether all is acknowledged that belongs to the closed transaction; then it is made durable here next.
    fn drain(&mut self) {
        let Some(exactly) = &self.exactly else { return };
        let Some(place) = exactly.place.filter(|_| exactly.machine.is_draining()) else { return };
        if self.in_flight > 0 || !self.producers.is_empty() {
            return;
        }
        if self.mirror.has_passed_letters() && self.mirror.letters() > LETTERS_AT_ONCE {
            // Those of the transaction before come first: all its positions are to be durable with this one.
            self.save_at_once();
            return;
        }
        let letters = self.mirror.letters_before(&exactly.positions);
        let positions = exactly.positions.iter().map(|(partition, next)| (partition.0, *next)).collect();
        if let Some(exactly) = &mut self.exactly {
            exactly.machine.drained(place, positions, letters);
        }
    }

    /// Nothing more goes into the open transaction but the cursors.
    pub(in crate::uplink) fn close_transaction(&mut self) {
        let positions = self.mirror.proposal();
        let Some(exactly) = &mut self.exactly else { return };
        let (number, lineage) = (exactly.machine.number(), exactly.machine.local.lineage);
        let lane: LaneId = (cursor_topic(), exactly.machine.partition());
        let mut builder = BatchBuilder::new();
        let mut batches: Vec<Recoded> = Vec::new();
        let mut finish = |builder: &mut BatchBuilder| {
            let records = builder.record_count();
            let bytes = builder.finish(self.options.compression());
            batches.push(Recoded { bytes, records, origins: Origins::default() });
        };
        let histories = Histories::of(self.broker.store());
        for (partition, next) in &positions {
            let Some(followed) = self.mirror.get(*partition) else { continue };
            let names = &followed.names;
            let Some(topic) = self.broker.topic(&names.topic) else { continue };
            let key = Key::new(&self.options.gateway, &self.options.name, topic.id.to_string(), names.index);
            let epochs = histories.told(*partition, *next);
            let value = Value { topic: topic.name.clone(), next: *next, lineage, transaction: number, epochs };
            let (key, value) = (key.encode(), value.encode());
            // Too late or too early for a batch's timestamps it can't be: all of one batch have the same.
            let _fits = builder.push(wall_ms(), Some(&key), Some(&value), NO_HEADERS);
            if builder.size() >= CURSORS_BYTES {
                finish(&mut builder);
            }
        }
        // One batch there must be: its place is how the transaction is found again.
        if builder.record_count() > 0 {
            finish(&mut builder);
        }
        for batch in batches {
            self.producers.push(lane.clone(), batch, Vec::new());
        }
        exactly.positions = positions;
        exactly.machine.close();
    }

    /// Puts a question on its way. Whether there may be another one.
    async fn put(&mut self, ask: Ask, whom: Whom) -> Result<bool, ClusterError> {
        let link = match whom {
            Whom::Here => {
                self.record(ask);
                return Ok(true);
            }
            Whom::Anyone => self.cluster.any_link().await?,
            Whom::Coordinator(node) => match self.link_to(node) {
                Some(link) => link,
                None => {
                    self.doubt_coordinator(node);
                    return Ok(false);
                }
            },
            Whom::Cursors(partition) => match self.cluster.leader(CURSORS, partition).map(|node| self.link_to(node)) {
                Some(Some(link)) => link,
                Some(None) => return Ok(false),
                None => {
                    self.metadata.stale = true;
                    return Ok(false);
                }
            },
        };
        let Some(exactly) = &mut self.exactly else { return Ok(false) };
        exactly.machine.asked(&ask);
        let (context, course, sender) = (exactly.context(), exactly.course, self.sender.clone());
        let answered = async move {
            if let Some(heard) = requests::put(ask, link, context).await {
                let _ = sender.send(Event::Heard { course, heard }).await;
            }
        };
        self.executor.spawn(answered).detach();
        Ok(true)
    }

    /// The connection to a broker; if there is none, one is made beside the loop.
    fn link_to(&mut self, node: i32) -> Option<Link> {
        if let Some(link) = self.cluster.open_link(node) {
            return Some(link.clone());
        }
        if !self.cluster.brokers().contains_key(&node) {
            // A coordinator that has just come (back): who told of it knew more than the metadata.
            self.metadata.stale = true;
            return None;
        }
        let waits = self.nodes.get(&node).and_then(|node| node.not_before).is_some_and(|at| at > Instant::now());
        if !waits {
            self.dial(node);
        }
        None
    }

    /// A coordinator can't be asked now. One that metadata no longer knows has gone for good.
    fn doubt_coordinator(&mut self, node: i32) {
        if self.cluster.brokers().contains_key(&node) {
            return;
        }
        if let (Some(exactly), Some(at)) = (&mut self.exactly, self.metadata.at) {
            exactly.machine.node_unknown(node, at);
        }
    }

    /// Makes the transaction durable here.
    fn record(&mut self, ask: Ask) {
        let unsaved = self.mirror.take_unsaved(self.broker.letters_bytes_max());
        let Some(exactly) = &mut self.exactly else { return };
        exactly.machine.asked(&ask);
        let row = (local::key(&self.options.name), exactly.machine.local.encode());
        let (broker, name, sender) = (self.broker.clone(), self.options.name.clone(), self.sender.clone());
        let course = exactly.course;
        let saved = async move {
            let Unsaved { positions, letters } = unsaved.clone();
            let result = broker.save_with_row(&name, positions, letters, row).await;
            let _ = sender.send(Event::Recorded { course, unsaved, result }).await;
        };
        self.executor.spawn(saved).detach();
    }

    /// The transaction is durable here, or not.
    pub(in crate::uplink) fn recorded(&mut self, course: u64, unsaved: Unsaved, result: Result<(), CommitError>) {
        let result = match result {
            Ok(()) => {
                self.letters_saved(&unsaved.letters);
                Ok(())
            }
            Err(error) => {
                self.mirror.mark_unsaved(unsaved);
                Err(error.to_string())
            }
        };
        self.heard(course, Heard::Record(result));
    }

    /// An answer.
    pub(in crate::uplink) fn heard(&mut self, course: u64, heard: Heard) {
        let now = Instant::now();
        let Some(exactly) = &mut self.exactly else { return };
        if course != exactly.course && !matches!(heard, Heard::Coordinator(..)) {
            return;
        }
        let took = exactly.machine.open().map(|open| now.saturating_duration_since(open.since)).unwrap_or_default();
        if matches!(heard, Heard::Record(Ok(()))) {
            exactly.sizing.delivered(took);
        }
        let happened = exactly.machine.heard(heard, now, fastrand::f64());
        if happened == Happened::Committed {
            exactly.patience.committed(took);
        }
        self.follow_up(happened, took);
    }

    fn follow_up(&mut self, happened: Happened, took: Duration) {
        let name = self.options.name.clone();
        match happened {
            Happened::Nothing => {}
            Happened::Committed => {
                self.link_works();
                self.take_over_identity();
                if let Some(exactly) = &mut self.exactly {
                    exactly.refusal_told = false;
                    let tally = std::mem::take(&mut exactly.tally);
                    self.count_acknowledged(tally);
                }
                for partition in self.mirror.commit() {
                    self.publish(partition);
                }
                self.busy = true;
            }
            Happened::Resumed { pending, committed } => {
                if let Some(pending) = pending {
                    self.resolved(&pending, committed);
                }
                self.take_over_identity();
                self.busy = true;
            }
            Happened::Broken(why) => {
                self.give_up_transaction(took);
                log::info!("uplink {name}: a transaction came to nothing and is made again: {why}");
                self.failed(why);
            }
            Happened::TopicRefused { topic, why } => {
                self.give_up_transaction(took);
                self.stall_topic(&topic, &why);
            }
            Happened::TooPatient(why) => {
                let shorter = self.exactly.as_mut().is_some_and(|exactly| exactly.patience.refused());
                if !shorter {
                    self.failed(why);
                }
                self.busy = true;
            }
            Happened::Refused(why) => {
                self.give_up_transaction(took);
                let told =
                    self.exactly.as_mut().is_some_and(|exactly| std::mem::replace(&mut exactly.refusal_told, true));
                if !told {
                    log::error!("uplink {name}: {why}; nothing is forwarded until that is changed");
                }
                self.failed(why);
            }
            Happened::Alarm(why) => {
                log::error!(
                    "uplink {name}: no transaction can be begun upstream for a minute: {why}; it goes on trying"
                );
                self.failed(why);
            }
            Happened::Fenced => {
                self.give_up_transaction(took);
                let why = "another gateway with the same id forwards in its place: give one of them another gateway.id";
                log::error!("uplink {name}: {why}; it looks again every hour, or at once by `brooklet uplink resume`");
                self.failed(why.to_owned());
                if let Some(exactly) = &mut self.exactly {
                    exactly.fenced_until = Some(Instant::now() + LOOK_AFTER_EVERY);
                }
            }
            Happened::Looked => self.settle(),
        }
    }

    /// It is known now what became of a transaction in doubt.
    fn resolved(&mut self, pending: &Pending, committed: bool) {
        let (name, number) = (&self.options.name, pending.mark.number);
        let counter = if committed { &METRICS.uplink_doubt_committed } else { &METRICS.uplink_doubt_aborted };
        counter.add(1);
        if !committed {
            log::info!("uplink {name}: transaction {number} was not committed upstream; its records are sent again");
            return;
        }
        log::info!("uplink {name}: transaction {number} was committed upstream");
        for letter in &pending.letters {
            self.mirror.condemn(letter.clone());
        }
        for (partition, next) in pending.positions() {
            self.mirror.advance(partition, next);
            self.publish(partition);
            if self.mirror.get(partition).is_none() {
                self.advance_left(partition, next);
            }
        }
    }

    /// The topic is followed no more: what was forwarded of it is not to be forwarded again if that changes.
    fn advance_left(&self, partition: PartitionId, next: i64) {
        let (broker, name) = (self.broker.clone(), self.options.name.clone());
        let saving = async move {
            if let Err(error) = broker.advance_left(&name, partition, next).await {
                log::warn!("uplink {name}: a position was not saved: {error}");
            }
        };
        self.executor.spawn(saving).detach();
    }

    pub(super) fn take_over_identity(&mut self) {
        if let Some(identity) = self.exactly.as_ref().and_then(|exactly| exactly.machine.identity()) {
            self.producers.go_on_as(identity);
        }
    }

    /// What is under way can't go on; what became of it is asked for.
    pub(in crate::uplink) fn fail_transaction(&mut self, why: &str) {
        let now = Instant::now();
        let Some(exactly) = &mut self.exactly else { return };
        let machine = &exactly.machine;
        if machine.is_resuming() || machine.is_fenced() || machine.is_stopped() {
            return;
        }
        let took = machine.open().map(|open| now.saturating_duration_since(open.since)).unwrap_or_default();
        exactly.machine.set_back(now, fastrand::f64());
        self.follow_up(Happened::Broken(why.to_owned()), took);
    }

    /// Everything since the last transaction that is known to be committed is gathered anew, later.
    fn give_up_transaction(&mut self, took: Duration) {
        let Some(exactly) = &mut self.exactly else { return };
        exactly.course += 1;
        exactly.tally = Tally::default();
        exactly.sizing.failed(took);
        if exactly.patience.is_up(took) {
            exactly.machine.was_overdue();
        }
        self.producers.abandon_all();
        self.mirror.abort(Instant::now());
        self.reading.start_anew();
    }
}

fn cursor_topic() -> Arc<str> {
    CURSORS.into()
}
