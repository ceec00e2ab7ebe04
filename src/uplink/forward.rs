//! Records on their way: read, gathered, sent, acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batches::gather::{self, Gathered, Item, Rules, Takes};
use super::batches::partitioning::{self, Route};
use super::batches::provenance::Source;
use super::exactly::{Exactly, Tally, is_cursors};
use super::gentle::Open;
use super::link::cluster::{Cluster, ClusterError, Link};
use super::link::connection::LinkError;
use super::mirror::{Class, ScanStep};
use super::sending::producer::{Again, Broken, LaneId, Moment, Outcome, Sent};
use super::sending::verdict::{Verdict, verdict};
use super::status::{count, wall_ms};
use super::task::{Event, Forwarder};
use super::upkeep::explain;
use crate::broker::dead_letter::Letter;
use crate::kafka::api::ApiKey;
use crate::kafka::header::read_response;
use crate::kafka::produce::ProduceResponse;
use crate::limits::is_internal_topic;
use crate::metrics::METRICS;
use crate::record::BatchView;
use crate::store::{CommitSeq, PartitionId, ReadError, ScanChunk, ScannedBatch, Store};

/// The longest a broker is asked to wait for its replicas.
const REPLICAS_WITHIN: Duration = Duration::from_secs(30);
/// The longest a broker's wish to be left alone is granted.
const THROTTLE_MAX: Duration = Duration::from_secs(60);

/// The highest version of Produce without transactions: from 12 on it takes part in those of the second protocol (KIP-890).
const PRODUCE_MAX: i16 = 11;
/// How often a partition looks whether the time is known now.
const CLOCK_LOOK: Duration = Duration::from_secs(10);
/// Why it stands still until then.
const CLOCK_WAIT: &str = "the gateway does not know the time yet: what it stamped waits for it, see clock_wait";

/// A scanned batch and where it goes; an owned [`Item`].
struct Planned {
    scanned: ScannedBatch,
    topic: Arc<str>,
    route: Route,
    wanted: Vec<std::ops::Range<i64>>,
    source: Source,
    takes: Takes,
    /// Records that a transaction before has found to be undeliverable.
    condemned: Vec<Letter>,
}

impl Forwarder {
    /// Everything that can be done now: one step of each kind.
    ///
    /// # Errors
    /// [`ClusterError`], if the cluster as a whole is out of reach or of no use.
    pub(super) async fn forward(&mut self) -> Result<(), ClusterError> {
        // Where nothing may be sent, what is under way is still acknowledged.
        let open = self.ask_gate();
        if open == Open::Nothing || open == Open::Urgent && !self.mirror.has_urgent() {
            return self.end_open().await;
        }
        self.refresh().await?;
        self.resume_due().await?;
        // A changed count waits until its topic is empty, and everything new waits for that.
        let settled = !self.settle_counts();
        if settled {
            self.read_on().await;
        }
        if self.exactly.is_some() {
            self.drive_transactions(settled && self.has_more()).await?;
        } else if self.producers.wants_identity() {
            let identity = self.cluster.new_identity().await?;
            self.producers.set_identity(identity);
        }
        self.send_ready();
        self.stall_blocked();
        // At the end, when the connections of this round are open.
        self.keep_alive();
        Ok(())
    }

    /// A transaction that is open is not held open until the gate opens again.
    async fn end_open(&mut self) -> Result<(), ClusterError> {
        if self.exactly.as_ref().is_some_and(|exactly| !exactly.is_at_rest()) {
            self.drive_transactions(false).await?;
            self.send_ready();
        }
        Ok(())
    }

    /// Whether there is more to read, at once.
    fn has_more(&self) -> bool {
        // What is urgent waits for no company.
        let waits = self.is_lingering() && !self.mirror.has_urgent();
        !self.reading.stash.is_empty() || !self.reading.at_end && !waits
    }

    fn is_lingering(&self) -> bool {
        self.reading.not_before.is_some_and(|at| at > Instant::now())
    }

    /// Reads what fits into the window, and puts it on its lanes.
    async fn read_on(&mut self) {
        let lingering = self.is_lingering();
        let (window, scan_bytes) = (self.pacing.window(), self.pacing.scan_bytes());
        let full = self.producers.bytes() + scan_bytes > window && !self.producers.is_empty();
        let full = full || self.has_many_letters();
        let may = self.exactly.as_ref().is_none_or(|exactly| exactly.may_gather(Instant::now()));
        if full || !may || !self.has_more() {
            return;
        }
        if !self.reading.stash.is_empty() {
            return self.take_stashed().await;
        }
        self.listen_for_commits().await;
        let urgent_only = lingering || self.pacing.open() == Open::Urgent;
        let Some(step) = self.mirror.scan_step(urgent_only) else {
            self.reading.at_end = !lingering;
            return;
        };
        let store = self.broker.store().clone();
        let (partitions, careful) = (step.partitions.clone(), self.reading.careful);
        // Carefully: one commit at a time, whatever is in it.
        let scan = move || match careful {
            true => store.scan(step.from, &|_| true, 1),
            false => store.scan(step.from, &|partition| partitions.contains(&partition), scan_bytes),
        };
        match smol::unblock(scan).await {
            Ok(chunk) => self.take_chunk(step.class, chunk).await,
            Err(ReadError::Damaged(_)) if !careful => {
                self.reading.careful = true;
                self.busy = true;
            }
            Err(ReadError::Damaged(_)) => self.step_over(step).await,
            Err(error) => {
                self.failed(format!("the store can't be read: {error}"));
                self.reading.not_before = Some(Instant::now() + self.options.config.backoff_min);
            }
        }
    }

    async fn take_chunk(&mut self, class: Class, chunk: ScanChunk) {
        self.mirror.scanned(class, chunk.next, chunk.at_end);
        self.busy = true;
        self.reading.stash.extend(chunk.batches);
        self.take_stashed().await;
    }

    /// Gathers what was read: all of it, or what the transaction has room for.
    async fn take_stashed(&mut self) {
        let waiting = self.producers.bytes();
        let mut room = self.exactly.as_ref().map_or(usize::MAX, |exactly| exactly.room(waiting));
        let mut batches = Vec::new();
        // A batch that is larger than any room goes alone.
        while let Some(first) = self.reading.stash.front()
            && (first.bytes.len() <= room || waiting == 0 && batches.is_empty())
        {
            room = room.saturating_sub(first.bytes.len());
            batches.extend(self.reading.stash.pop_front());
        }
        self.busy |= !batches.is_empty();
        self.take_batches(batches).await;
    }

    async fn take_batches(&mut self, batches: Vec<ScannedBatch>) {
        let planned: Vec<Planned> = batches.into_iter().filter_map(|scanned| self.plan(scanned)).collect();
        if planned.is_empty() {
            return;
        }
        METRICS.bytes_fetched.add(planned.iter().map(|planned| planned.scanned.bytes.len() as u64).sum());
        let (mut planned, mut gathered) = self.gather(planned).await;
        // What a topic takes may have changed since it was asked for.
        if self.renew_limits(&gathered.letters).await {
            for one in &mut planned {
                one.takes = self.takes(&one.topic).unwrap_or(one.takes);
            }
            gathered = self.gather(planned).await.1;
        }
        self.take_gathered(gathered);
    }

    /// Unpacking and packing takes its time: not where sockets wait.
    async fn gather(&self, planned: Vec<Planned>) -> (Vec<Planned>, Gathered) {
        let (compression, provenance) = (self.options.compression(), Arc::clone(&self.provenance));
        let (min_bytes, max_bytes) = (self.options.config.batch_min_bytes, self.options.config.batch_max_bytes);
        smol::unblock(move || {
            let rules = Rules { compression, min_bytes, max_bytes, provenance: &provenance };
            let gathered = gather::gather(planned.iter().map(Planned::item).collect(), rules);
            (planned, gathered)
        })
        .await
    }

    fn plan(&mut self, scanned: ScannedBatch) -> Option<Planned> {
        let partition = scanned.partition;
        if scanned.base_offset > self.mirror.get(partition)?.gathered_to() {
            let log_start = self.broker.head(partition).map_or(0, |head| head.log_start);
            let evicted = self.mirror.evicted(partition, log_start.min(scanned.base_offset));
            self.count_evicted(partition, evicted);
        }
        let wanted = self.mirror.wanted(partition, scanned.base_offset..scanned.next_offset);
        if wanted.is_empty() {
            return None;
        }
        if scanned.provisional && self.waits_for_clock(partition) {
            return None;
        }
        let names = self.mirror.get(partition)?.names.clone();
        let Some(upstream) = self.upstreams.get(&names.upstream) else {
            self.stall_partition(partition, "the topic upstream is not known any more");
            return None;
        };
        let takes = upstream.takes();
        let source = match (scanned.gathered, is_internal_topic(&names.topic)) {
            (false, _) => Source::Client,
            (true, false) => Source::Native,
            (true, true) => Source::Internal,
        };
        let config = &self.options.config;
        let local = self.local(&names.topic, names.index);
        match partitioning::route(config.partitioning, &self.options.gateway, local, upstream.partitions) {
            Ok(route) => {
                let condemned = self.mirror.condemned(partition, scanned.base_offset..scanned.next_offset);
                Some(Planned { scanned, topic: names.upstream, route, wanted, source, takes, condemned })
            }
            Err(error) => {
                self.stall_partition(partition, &error.to_string());
                None
            }
        }
    }

    /// Whether a partition whose next batch bears a time that isn't known has still to wait for it.
    fn waits_for_clock(&mut self, partition: PartitionId) -> bool {
        let now = Instant::now();
        let until = *self.clock_until.get_or_insert(now + self.options.config.clock_wait);
        if until <= now {
            return false;
        }
        self.mirror.stall(partition, CLOCK_WAIT.into(), until.min(now + CLOCK_LOOK));
        true
    }

    fn take_gathered(&mut self, gathered: Gathered) {
        let Gathered { ready, pieces, letters, faults } = gathered;
        // Before the pieces, which may be done at once.
        letters.into_iter().for_each(|letter| self.mirror.condemn(letter));
        let mut parts = vec![0; pieces.len()];
        for at in ready.iter().flat_map(|ready| &ready.pieces) {
            if let Some(part) = parts.get_mut(*at) {
                *part += 1;
            }
        }
        let mut ids = Vec::new();
        for (piece, parts) in pieces.into_iter().zip(parts) {
            ids.push(self.mirror.gathered(piece.partition, piece.range, parts, piece.first_timestamp));
            if parts == 0 {
                self.publish(piece.partition);
            }
        }
        if let Some(exactly) = &mut self.exactly {
            exactly.gathered(ready.iter().map(|ready| ready.batch.bytes.len()).sum());
        }
        for batch in ready {
            let pieces = batch.pieces.iter().filter_map(|at| ids.get(*at).copied()).collect();
            self.producers.push(batch.lane, batch.batch, pieces);
        }
        for (partition, fault) in faults {
            self.alarm_partition(partition, &fault.to_string());
        }
    }

    /// Something in the commit at which `step` begins is damaged. Each partition's part of it is read for itself: the one that is
    /// damaged stalls, the others go on.
    async fn step_over(&mut self, step: ScanStep) {
        self.reading.careful = false;
        let gathered_to = |p: &PartitionId| Some((*p, self.mirror.get(*p)?.gathered_to()));
        let wanted: Vec<(PartitionId, i64)> = step.partitions.iter().filter_map(gathered_to).collect();
        let (store, commit) = (self.broker.store().clone(), step.from);
        let salvage = move || {
            let parts = wanted.into_iter().map(|(p, offset)| (p, salvage(&store, p, offset, commit)));
            parts.collect::<Vec<_>>()
        };
        let mut batches = Vec::new();
        for (partition, part) in smol::unblock(salvage).await {
            match part {
                Ok(part) => batches.extend(part),
                Err(error) => self.alarm_partition(partition, &format!("{error}; run `brooklet fsck`")),
            }
        }
        self.mirror.scanned(step.class, commit + 1, false);
        self.busy = true;
        self.reading.stash.extend(batches);
        self.take_stashed().await;
    }

    /// Sends what can be sent, to each broker what it leads.
    pub(super) fn send_ready(&mut self) {
        let lanes: Vec<LaneId> = self.producers.busy().cloned().collect();
        let mut nodes: Vec<i32> = lanes.iter().filter_map(|lane| self.cluster.leader(&lane.0, lane.1)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let now = Instant::now();
        for node in nodes {
            let waits = self.nodes.get(&node).and_then(|node| node.not_before).is_some_and(|at| at > now);
            let (cluster, exactly) = (&self.cluster, &self.exactly);
            let ready = self.producers.is_ready(node, &|lane| destination(cluster, exactly.as_ref(), lane), now);
            if waits || !ready {
                continue;
            }
            match self.cluster.open_link(node).cloned() {
                Some(link) => while self.send_one(node, &link, now) {},
                None => self.dial(node),
            }
        }
    }

    /// Sends one Produce request. Whether there may be more to send.
    fn send_one(&mut self, node: i32, link: &Link, now: Instant) -> bool {
        let version_max = self.exactly.as_ref().map_or(PRODUCE_MAX, Exactly::produce_version_max);
        let version = match link.versions.pick_below(ApiKey::Produce, version_max) {
            Ok(version) => version,
            Err(error) => {
                self.node_failed(node, &error.to_string());
                return false;
            }
        };
        let timeout = self.options.config.request_timeout.min(REPLICAS_WITHIN);
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let (cluster, exactly) = (&self.cluster, &self.exactly);
        let leader = |lane: &LaneId| destination(cluster, exactly.as_ref(), lane);
        let made =
            self.producers.request(node, &leader, now, timeout_ms, |request| link.connection.send(version, request));
        let (sent, reply) = match made {
            Ok(Some(made)) => made,
            Ok(None) => return false,
            Err(Broken { lane, why }) => {
                self.stall_topic(&lane.0, &format!("a batch was damaged in memory: {why}"));
                return false;
            }
        };
        self.in_flight += 1;
        let sender = self.sender.clone();
        let awaited = async move {
            let answer = match reply {
                Ok(reply) => reply.frame().await,
                Err(error) => Err(error),
            };
            let _ = sender.send(Event::Answered { node, version, sent, answer }).await;
        };
        self.executor.spawn(awaited).detach();
        !link.connection.is_closed()
    }

    pub(super) fn dial(&mut self, node: i32) {
        let Some((dialer, address)) = self.cluster.dialling(node) else { return };
        if self.dialling.insert(node) {
            let sender = self.sender.clone();
            let dialled = async move {
                let link = Link::dial(&dialer, &address).await;
                let _ = sender.send(Event::Dialled { node, link }).await;
            };
            self.executor.spawn(dialled).detach();
        }
    }

    /// The answer to a Produce request.
    pub(super) fn answered(&mut self, node: i32, version: i16, sent: &[Sent], answer: Result<Vec<u8>, LinkError>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let decoded = answer.as_ref().map_err(ToString::to_string).and_then(|frame| {
            read_response::<ProduceResponse<'_>>(version, frame)
                .map_err(|error| format!("broker {node}: the answer to Produce is not one: {error}"))
        });
        let response = match decoded {
            Ok((_, response)) => response,
            Err(why) => {
                self.node_failed(node, &why);
                for one in sent {
                    self.judge(one, Verdict::Unanswered, &why);
                }
                return;
            }
        };
        self.link_works();
        let throttled = u64::try_from(response.throttle_time_ms).ok().filter(|ms| *ms > 0);
        let throttled = throttled.map(|ms| Instant::now() + Duration::from_millis(ms).min(THROTTLE_MAX));
        let working = self.nodes.entry(node).or_default();
        working.backoff.succeed();
        working.not_before = throttled;
        for one in sent {
            let topics = response.responses.iter().filter(|topic| *topic.name == *one.lane.0);
            let partition = topics.flat_map(|topic| &topic.partition_responses).find(|p| p.index == one.lane.1);
            match partition {
                Some(told) => {
                    if let Some(exactly) =
                        self.exactly.as_mut().filter(|_| is_cursors(&one.lane.0) && told.error_code == 0)
                    {
                        exactly.cursors_acknowledged(one, told.base_offset);
                    }
                    let text = explain(told.error_code, told.error_message.unwrap_or_default());
                    let blamed = told.record_errors.iter().filter_map(|error| u32::try_from(error.batch_index).ok());
                    self.producers.blame(one, blamed.collect());
                    self.judge(one, verdict(told.error_code), &text);
                }
                None => self.judge(one, Verdict::Retry, "the answer to Produce leaves the partition out"),
            }
        }
        self.pacing.answered(self.in_flight, self.broker.store().now());
    }

    /// What an answer means for one batch, and what follows for the rest.
    fn judge(&mut self, sent: &Sent, verdict: Verdict, text: &str) {
        if verdict == Verdict::RetryElsewhere {
            self.metadata.stale = true;
        }
        let moment = Moment {
            now: Instant::now(),
            wall_ms: wall_ms(),
            jitter: fastrand::f64(),
            backoff: self.bounds(),
            compression: self.options.compression(),
            spare_tag: 0,
        };
        match self.producers.answered(sent, verdict, text, moment) {
            Outcome::Acknowledged { .. } if is_cursors(&sent.lane.0) => {}
            Outcome::Acknowledged { pieces, bytes, records } => {
                self.pacing.carried(bytes as u64);
                let tally = Tally { records: records.into(), bytes: bytes as u64, batches: 1 };
                match &mut self.exactly {
                    Some(exactly) => exactly.acknowledged(tally),
                    None => self.count_acknowledged(tally),
                }
                self.metadata.backoff.succeed();
                for partition in self.mirror.acknowledged(&pieces) {
                    self.publish(partition);
                }
            }
            // Its batches can't become part of another producer's transaction.
            Outcome::Again(Again::NewProducer) if self.exactly.is_some() => {
                self.fail_transaction(&format!("{}/{}: {text}", sent.lane.0, sent.lane.1));
            }
            Outcome::Again(again) => self.again(sent, again, verdict, text),
            Outcome::Rejected(rejected) => self.rejected(&sent.lane, rejected),
            Outcome::Stalled(why) => self.stall_topic(&sent.lane.0, &why),
            Outcome::Stray => {}
        }
    }

    /// Counts what is in the log upstream, for good.
    pub(super) fn count_acknowledged(&self, tally: Tally) {
        METRICS.uplink_records.add(tally.records);
        METRICS.uplink_bytes.add(tally.bytes);
        let counters = self.report.counters();
        count(&counters.records, tally.records);
        count(&counters.bytes, tally.bytes);
        count(&counters.batches, tally.batches);
    }

    fn again(&self, sent: &Sent, again: Again, verdict: Verdict, text: &str) {
        let counters = self.report.counters();
        count(&counters.resends, 1);
        if verdict != Verdict::Unanswered {
            self.failed(format!("{}/{}: {text}", sent.lane.0, sent.lane.1));
        }
        let (name, topic, partition) = (&self.options.name, &sent.lane.0, sent.lane.1);
        match again {
            Again::AsItWas => log::debug!("uplink {name}: {topic}/{partition}: {text}; sent again"),
            Again::Cut => count(&counters.cuts, 1),
            Again::Shifted { by_ms } => {
                count(&counters.timestamps_shifted, 1);
                log::warn!(
                    "uplink {name}: {topic}/{partition}: {text}; the batch's timestamps are shifted by {by_ms} ms"
                );
            }
            Again::NewProducer => {
                count(&counters.producers_lost, 1);
                log::warn!(
                    "uplink {name}: {topic}/{partition}: {text}; sent again as a new producer, records may arrive twice"
                );
            }
        }
    }

    /// Tells the broker how far a partition has come.
    pub(super) fn publish(&self, partition: PartitionId) {
        if let Some(followed) = self.mirror.get(partition) {
            self.broker.advance_position(&self.options.name, partition, followed.position().clone());
        }
    }
}

/// The broker that a lane's batches go to now; `None` if there is none, or they are not part of the transaction yet.
fn destination(cluster: &Cluster, exactly: Option<&Exactly>, lane: &LaneId) -> Option<i32> {
    if exactly.is_some_and(|exactly| !exactly.may_send(lane)) {
        return None;
    }
    cluster.leader(&lane.0, lane.1)
}

/// The batches of a partition from `offset` on that lie in `commit`, or before it. Blocks.
fn salvage(
    store: &Store,
    partition: PartitionId,
    mut offset: i64,
    commit: CommitSeq,
) -> Result<Vec<ScannedBatch>, ReadError> {
    let mut batches = Vec::new();
    while let Some(head) = store.head(partition).filter(|head| offset < head.readable_end()) {
        offset = offset.max(head.log_start);
        if store.scan_start(partition, offset)? > commit {
            break;
        }
        let read = store.read(partition, offset, 1)?;
        let mut rest = read.bytes.as_slice();
        while let Ok((view, after)) = BatchView::parse(rest) {
            rest = after;
            batches.push(ScannedBatch {
                commit,
                partition,
                base_offset: view.base_offset(),
                next_offset: view.next_offset(),
                bytes: view.bytes().into(),
                gateway_stamped: false,
                provisional: false,
                gathered: false,
                epoch: view.leader_epoch().unsigned_abs(),
            });
        }
        if read.next_offset <= offset {
            break;
        }
        offset = read.next_offset;
    }
    Ok(batches)
}

impl Planned {
    fn item(&self) -> Item<'_> {
        Item {
            partition: self.scanned.partition,
            topic: Arc::clone(&self.topic),
            route: self.route,
            batch: &self.scanned.bytes,
            wanted: self.wanted.clone(),
            estimated: self.scanned.provisional,
            source: self.source,
            takes: self.takes,
            condemned: self.condemned.clone(),
        }
    }
}
