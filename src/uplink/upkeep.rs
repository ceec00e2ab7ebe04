//! Keeping up with the cluster: metadata, topics that are missing or refused, partition counts that change, stalls and their ends.

use crate::executor;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Bounds, TELL_EVERY};
use super::batches::partitioning::{self, Local};
use super::exactly;
use super::link::cluster::{ClusterError, Link, TopicState};
use super::link::connection::LinkError;
use super::parts::Upstream;
use super::sending::verdict::{Verdict, remedy, verdict};
use super::status::count;
use super::task::Forwarder;
use crate::kafka::error_code::Shown;
use crate::store::{CommitSeq, PartitionId, ReadError, Store};

/// Topics whose settings are asked for in one request.
const TOPICS_PER_REQUEST: usize = 100;
/// A topic that was just created, or still settles, is looked at again after this time.
const NOT_YET: Duration = Duration::from_millis(200);
/// Metadata is not asked for more often than this once it has not helped.
const METADATA_BACKOFF: Bounds = Bounds { min: Duration::from_millis(100), max: Duration::from_secs(30) };

impl Forwarder {
    /// Metadata, if it is out of date; and what follows from it.
    pub(super) async fn refresh(&mut self) -> Result<(), ClusterError> {
        if self.metadata_due().is_some_and(|at| at > Instant::now()) || self.is_idle() {
            return Ok(());
        }
        if self.tier.is_some() {
            self.learn_topics().await?;
            return Ok(());
        }
        let names: BTreeSet<Arc<str>> =
            self.mirror.partitions().map(|(_, followed)| Arc::clone(&followed.names.upstream)).collect();
        let names: Vec<Arc<str>> = names.into_iter().collect();
        let cursors = self.exactly.is_some().then(exactly::cursors);
        let own = cursors.into_iter().chain(self.beacon.topic());
        self.cluster.refresh(&names.iter().cloned().chain(own).collect::<Vec<_>>()).await?;
        self.link_works();
        self.refreshed();
        self.create_missing(&names).await?;
        self.learn_status_topic().await?;
        self.learn(&names).await
    }

    /// Metadata is fresh. Should it not help, it is asked for again after a while.
    pub(super) fn refreshed(&mut self) {
        let now = Instant::now();
        self.metadata.at = Some(now);
        self.metadata.stale = false;
        self.metadata.not_before = Some(now + self.metadata.backoff.fail(METADATA_BACKOFF, fastrand::f64()));
    }

    /// When metadata is asked for next; `None` is at once.
    pub(super) fn metadata_due(&self) -> Option<Instant> {
        let age_max = self.options.config.link.metadata_refresh;
        if self.metadata.stale { self.metadata.not_before } else { self.metadata.at.map(|at| at + age_max) }
    }

    async fn create_missing(&mut self, names: &[Arc<str>]) -> Result<(), ClusterError> {
        if !self.options.config.create_topics {
            return Ok(());
        }
        for name in names {
            if !self.is_missing(name) || !self.has_started_or_due(name) {
                continue;
            }
            let config = &self.options.config;
            match self.cluster.create_topic(name, config.create_partitions, config.create_replication, &[]).await {
                Ok(()) => {
                    log::info!("uplink {}: created topic {name} upstream", self.options.name);
                    self.metadata.stale = true;
                }
                Err(ClusterError::Refused { code, text, .. }) => {
                    let why = format!("the topic is missing upstream and can't be created: {}", explain(code, &text));
                    self.stall_topic(name, &why);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_missing(&self, name: &str) -> bool {
        const MISSING: i16 = crate::kafka::error_code::ErrorCode::UnknownTopicOrPartition.code();
        self.cluster.topic(name) == Some(&TopicState::Failed(MISSING))
    }

    /// Whether any partition of the topic is to be forwarded now, or was not begun with: a refused creation is not repeated before
    /// its time.
    pub(super) fn has_started_or_due(&self, name: &str) -> bool {
        let now = Instant::now();
        let mut of_topic = self.mirror.partitions().filter(|(_, followed)| *followed.names.upstream == *name);
        of_topic.any(|(_, followed)| followed.stall().is_none_or(|stall| stall.is_over(now)))
    }

    /// Takes over what metadata says about topics: new ones, and numbers of partitions that have changed.
    async fn learn(&mut self, names: &[Arc<str>]) -> Result<(), ClusterError> {
        let mut new = Vec::new();
        for name in names {
            let Some(TopicState::Known(leaders)) = self.cluster.topic(name) else { continue };
            let partitions = leaders.len() as u32;
            if leaders.iter().any(Option::is_none) {
                self.metadata.stale = true;
            }
            match self.upstreams.get_mut(name) {
                Some(upstream) => upstream.heard = (upstream.partitions != partitions).then_some(partitions),
                None => new.push((Arc::clone(name), partitions)),
            }
        }
        for some in new.chunks(TOPICS_PER_REQUEST) {
            let topics: Vec<Arc<str>> = some.iter().map(|(name, _)| Arc::clone(name)).collect();
            let limits = self.cluster.limits(&topics).await?;
            for ((name, partitions), limits) in some.iter().zip(limits) {
                let limits_at = Instant::now();
                let upstream = Upstream { partitions: *partitions, heard: None, limits, limits_at };
                self.upstreams.insert(Arc::clone(name), upstream);
            }
        }
        self.tell_door(false);
        Ok(())
    }

    /// Lets changed partition counts take effect where nothing is under way. Whether any is still waiting for that.
    pub(super) fn settle_counts(&mut self) -> bool {
        let mut waiting = false;
        for (name, upstream) in &mut self.upstreams {
            let Some(partitions) = upstream.heard else { continue };
            if !self.producers.is_topic_empty(name) {
                waiting = true;
                continue;
            }
            let (uplink, before) = (&self.options.name, upstream.partitions);
            log::info!("uplink {uplink}: topic {name} has {partitions} partitions upstream now, {before} before");
            upstream.partitions = partitions;
            upstream.heard = None;
        }
        waiting
    }

    /// Goes on with partitions whose time has come: those not begun with, and those that were stalled.
    pub(super) async fn resume_due(&mut self) -> Result<(), ClusterError> {
        let due = self.mirror.due(Instant::now());
        if due.is_empty() {
            return Ok(());
        }
        // Topics that were refused are judged by fresh metadata.
        let stalled = |p: &PartitionId| self.mirror.get(*p).and_then(|f| f.stall()).is_some_and(|s| s.why.is_some());
        let unknown = |p: &PartitionId| self.mirror.get(*p).is_some_and(|f| !self.has_heard_of(&f.names.upstream));
        if due.iter().any(|p| stalled(p) || unknown(p)) {
            self.metadata.stale = true;
            self.refresh().await?;
            self.settle_counts();
        }
        let mut ready = Vec::new();
        for partition in due {
            let Some(followed) = self.mirror.get(partition) else { continue };
            let (upstream, local) =
                (Arc::clone(&followed.names.upstream), self.local(&followed.names.topic, followed.names.index));
            match self.usable(&upstream, local) {
                Ok(true) => ready.push((partition, followed.position().first_gap())),
                Ok(false) => self.mirror.postpone(partition, Instant::now() + NOT_YET),
                Err(why) => self.stall_partition(partition, &why),
            }
        }
        self.rewind(ready).await
    }

    /// A partition of a local topic, among as many as that has now.
    pub(super) fn local(&self, topic: &str, index: u32) -> Local {
        let count = self.broker.topic(topic).map_or(index + 1, |topic| topic.partition_count());
        Local { index, count }
    }

    /// Whether upstream has told of a topic, if only that it isn't there. What metadata tells of one that was asked for to other ends (that
    /// of notices) was not learned for records.
    fn has_heard_of(&self, upstream: &str) -> bool {
        match (&self.tier, self.cluster.topic(upstream)) {
            (Some(_), _) | (None, Some(TopicState::Known(_))) => self.upstreams.contains_key(upstream),
            (None, told) => told.is_some(),
        }
    }

    /// Whether a topic can be written to: not yet, if it is being created or still settles.
    ///
    /// # Errors
    /// Why it can't be.
    fn usable(&self, upstream: &str, local: Local) -> Result<bool, String> {
        self.refusal(upstream)?;
        let is_there = self.tier.is_some() || matches!(self.cluster.topic(upstream), Some(TopicState::Known(_)));
        let Some(known) = self.upstreams.get(upstream).filter(|_| is_there) else { return Ok(false) };
        let config = &self.options.config;
        partitioning::route(config.partitioning, &self.options.gateway, local, known.partitions)
            .map_err(|error| error.to_string())?;
        let settled = known.heard.is_none() && !self.producers.is_topic_abandoned(upstream);
        Ok(self.producers.is_topic_empty(upstream) || settled)
    }

    /// Whether metadata says that a topic can't be written to, for a reason that does not pass by itself.
    fn refusal(&self, upstream: &str) -> Result<(), String> {
        let Some(TopicState::Failed(code)) = self.cluster.topic(upstream) else { return Ok(()) };
        let passes = if self.is_missing(upstream) {
            self.options.config.create_topics
        } else {
            matches!(verdict(*code), Verdict::RetryElsewhere | Verdict::Retry)
        };
        if passes { Ok(()) } else { Err(explain(*code, "")) }
    }

    async fn rewind(&mut self, ready: Vec<(PartitionId, i64)>) -> Result<(), ClusterError> {
        if ready.is_empty() {
            return Ok(());
        }
        let store = self.broker.store().clone();
        let starts = executor::unblock(move || starts(&store, &ready)).await;
        for (partition, start) in starts {
            match start {
                Ok(Some((from, log_start))) => {
                    let evicted = self.mirror.evicted(partition, log_start);
                    self.count_evicted(partition, evicted);
                    // It is read again from there: what was read before would go ahead of that.
                    self.reading.stash.retain(|batch| batch.partition != partition);
                    self.mirror.rewind(partition, from);
                }
                // It was dropped; the change of topics will tell.
                Ok(None) => self.stall_partition(partition, "the partition is gone"),
                Err(error) => self.stall_partition(partition, &format!("the store can't be read: {error}")),
            }
        }
        self.reading.at_end = false;
        self.busy = true;
        Ok(())
    }

    /// Gives up for a while on all that goes to a topic, and the memory it holds.
    pub(super) fn stall_topic(&mut self, upstream: &str, why: &str) {
        if self.exactly.is_none() {
            let pieces = self.producers.abandon_topic(upstream);
            self.mirror.dropped(&pieces);
        } else if !self.producers.is_topic_empty(upstream) {
            // A part of it would be all that there ever was of this stretch.
            self.fail_transaction(&format!("{upstream}: {why}"));
        }
        let of_topic = self.mirror.partitions().filter(|(_, followed)| *followed.names.upstream == *upstream);
        let partitions: Vec<PartitionId> = of_topic.map(|(partition, _)| partition).collect();
        for partition in partitions {
            self.stall_partition(partition, why);
        }
        // Asked for anew once it goes on.
        self.upstreams.remove(upstream);
        self.metadata.stale = true;
    }

    /// Gives up for a while on one partition; what is under way of it goes on.
    pub(super) fn stall_partition(&mut self, partition: PartitionId, why: &str) {
        self.stall_telling(partition, why, log::Level::Warn);
    }

    /// As [`Forwarder::stall_partition`], for what only an operator can repair: data that is damaged.
    pub(super) fn alarm_partition(&mut self, partition: PartitionId, why: &str) {
        self.stall_telling(partition, why, log::Level::Error);
    }

    fn stall_telling(&mut self, partition: PartitionId, why: &str, level: log::Level) {
        let bounds = self.bounds();
        let Some(followed) = self.mirror.get_mut(partition) else { return };
        let wait = followed.backoff().fail(bounds, fastrand::f64());
        let tell = self.conditions.entry(partition).or_default().fail(Instant::now(), TELL_EVERY);
        let text = format!("{}/{} to {}: {why}", followed.names.topic, followed.names.index, followed.names.upstream);
        self.mirror.stall(partition, why.into(), Instant::now() + wait);
        if tell {
            let (name, seconds) = (&self.options.name, wait.as_secs_f32());
            log::log!(level, "uplink {name}: {text}; tried again in {seconds:.0} s, the others go on");
        }
        self.failed(text);
    }

    pub(super) fn count_evicted(&self, partition: PartitionId, records: u64) {
        if records == 0 {
            return;
        }
        count(&self.report.counters().evicted, records);
        let name = &self.options.name;
        if let Some(followed) = self.mirror.get(partition) {
            let (topic, index) = (&followed.names.topic, followed.names.index);
            log::warn!(
                "uplink {name}: {records} records of {topic}/{index} were evicted before they could be forwarded"
            );
        }
    }

    /// Tells of stalls that are over: what was held up is acknowledged again.
    pub(super) fn tell_ends(&mut self) {
        let Self { conditions, mirror, options, .. } = self;
        conditions.retain(|partition, outage| {
            let Some(followed) = mirror.get(*partition) else { return false };
            if followed.stall().is_some() || followed.failures() > 0 {
                return true;
            }
            if let Some(recovery) = outage.recover(Instant::now()) {
                let (name, names) = (&options.name, &followed.names);
                let (topic, index, seconds) = (&names.topic, names.index, recovery.lasted.as_secs());
                log::info!("uplink {name}: {topic}/{index} is forwarded again after {seconds} s");
            }
            false
        });
    }

    /// A broker was dialled beside the loop.
    pub(super) fn dialled(&mut self, node: i32, link: Result<Link, LinkError>) {
        self.dialling.remove(&node);
        match link {
            Ok(link) => {
                self.cluster.adopt(node, link);
                self.link_works();
            }
            Err(error) => self.node_failed(node, &error.to_string()),
        }
    }

    /// A broker can't be reached, or its connection ended.
    pub(super) fn node_failed(&mut self, node: i32, why: &str) {
        let bounds = self.bounds();
        let failed = self.nodes.entry(node).or_default();
        failed.not_before = Some(Instant::now() + failed.backoff.fail(bounds, fastrand::f64()));
        self.metadata.stale = true;
        if let Some(exactly) = &mut self.exactly {
            exactly.node_failed(node);
        }
        self.failed(why.to_owned());
        log::debug!("uplink {}: broker {node}: {why}", self.options.name);
    }

    /// The topics whose batches could not be sent for too long: no leader, or the leader is out of reach.
    pub(super) fn stall_blocked(&mut self) {
        let now = Instant::now();
        let lanes: Vec<_> = self.producers.busy().cloned().collect();
        let mut given_up: BTreeMap<Arc<str>, String> = BTreeMap::new();
        for lane in lanes {
            if let Err(why) = self.refusal(&lane.0) {
                given_up.insert(lane.0, why);
                continue;
            }
            let why = match self.cluster.leader(&lane.0, lane.1) {
                None => format!("partition {} has no leader upstream", lane.1),
                Some(node) if self.is_out_of_reach(node) => format!("broker {node} can't be reached"),
                Some(_) => continue,
            };
            if self.producers.blocked(&lane, now) {
                given_up.insert(lane.0, why);
            } else {
                self.metadata.stale = true;
            }
        }
        for (topic, why) in given_up {
            self.stall_topic(&topic, &why);
        }
    }

    fn is_out_of_reach(&self, node: i32) -> bool {
        let failed = self.nodes.get(&node).is_some_and(|node| node.backoff.failures() > 0);
        failed && self.cluster.open_link(node).is_none()
    }
}

/// An error code and what to do about it, in a line.
pub(super) fn explain(code: i16, text: &str) -> String {
    let parts = [Shown(code).to_string(), remedy(code).to_owned(), text.to_owned()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ")
}

type Start = Result<Option<(CommitSeq, i64)>, ReadError>;

/// Where the scan must begin to meet each partition's offset, and its log start. Blocks.
fn starts(store: &Store, wanted: &[(PartitionId, i64)]) -> Vec<(PartitionId, Start)> {
    wanted.iter().map(|(partition, offset)| (*partition, start(store, *partition, *offset))).collect()
}

fn start(store: &Store, partition: PartitionId, offset: i64) -> Start {
    // Before the head is looked at: what is committed in between comes later in the scan.
    let after_all = store.status().last_commit + 1;
    let Some(head) = store.head(partition) else { return Ok(None) };
    let offset = offset.max(head.log_start);
    let from = if offset >= head.readable_end() { after_all } else { store.scan_start(partition, offset)? };
    Ok(Some((from, head.log_start)))
}
