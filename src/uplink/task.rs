//! The loop of one uplink: take what has happened, do what can be done, wait for more.
//!
//! Invariant: everything mutable belongs to this one task. What runs beside it (answers, dialling, saving) reports by an event.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::executor::Executor;
use async_channel::{Receiver, Sender};
use event_listener::EventListener;
use futures_lite::FutureExt;
use futures_lite::future::poll_once;

use super::backoff::{Backoff, Bounds, Outage, TELL_EVERY};
use super::batches::provenance::Provenance;
use super::beacon::Beacon;
use super::door::Door;
use super::exactly::Exactly;
use super::gentle::Open;
use super::letters::LettersTold;
use super::link::cluster::{Cluster, ClusterError};
use super::link::dial::Dialer;
use super::link::meter::Meter;
use super::mirror::{Mirror, Names, Unsaved};
use super::naming;
use super::options::{SAVE_WITHIN, STOP_WITHIN, UplinkOptions};
use super::pacing::Pacing;
use super::parts::{Event, Freshness, Node, Reading, Upstream};
use super::running::Control;
use super::scans::Class;
use super::sending::producer::Producers;
use super::status::{Report, StallStatus, UplinkState, wall_ms};
use super::tier::Tier;
use crate::broker::{Broker, Registration};
use crate::config::{Delivery, UplinkProtocol};
use crate::metrics::METRICS;
use crate::store::PartitionId;

/// Positions are saved this often at most, each riding with another commit if one comes in time.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// After a clean stop, saving the positions may take this long.
const LAST_SAVE_WITHIN: Duration = Duration::from_millis(400);

/// See the module.
pub(super) struct Forwarder {
    pub(super) executor: Arc<Executor>,
    pub(super) broker: Broker,
    pub(super) options: Arc<UplinkOptions>,
    pub(super) provenance: Arc<Provenance>,
    pub(super) control: Arc<Control>,
    pub(super) report: Arc<Report>,
    pub(super) cluster: Cluster,
    pub(super) producers: Producers,
    /// `None`: at least once, or to a gateway.
    pub(super) exactly: Option<Exactly>,
    /// Another gateway, in place of a cluster.
    pub(super) tier: Option<Tier>,
    pub(super) mirror: Mirror,
    pub(super) upstreams: BTreeMap<Arc<str>, Upstream>,
    pub(super) nodes: BTreeMap<i32, Node>,
    pub(super) dialling: BTreeSet<i32>,
    pub(super) metadata: Freshness,
    pub(super) reading: Reading,
    pub(super) in_flight: usize,
    pub(super) events: Receiver<Event>,
    pub(super) sender: Sender<Event>,
    /// There is more to do at once.
    pub(super) busy: bool,
    /// `None` once the topics have changed.
    topics_changed: Option<EventListener>,
    /// `None` once something was committed that is to be read.
    committed: Option<EventListener>,
    link_backoff: Backoff,
    link_not_before: Option<Instant>,
    outage: Outage,
    /// Stalls that last, by the partition they hold up.
    pub(super) conditions: BTreeMap<PartitionId, Outage>,
    watch: Option<Registration>,
    /// Until then, batches whose time isn't known wait for it; `None` as long as none was met.
    pub(super) clock_until: Option<Instant>,
    pub(super) saving: bool,
    pub(super) save_not_before: Option<Instant>,
    pub(super) letters_told: LettersTold,
    pub(super) pacing: Pacing,
    pub(super) door: Door,
    pub(super) beacon: Beacon,
}

/// What ended a wait.
enum Woken {
    Event(Event),
    Commit,
    /// Something else has changed; the next round sees it.
    Other,
}

/// Resolves when the listener is notified, and takes it away then; never, if there is none.
async fn heard(listener: &mut Option<EventListener>) {
    match listener {
        Some(event) => event.await,
        None => std::future::pending().await,
    }
    *listener = None;
}

impl Forwarder {
    pub(super) fn new(
        executor: Arc<Executor>,
        broker: Broker,
        options: Arc<UplinkOptions>,
        control: Arc<Control>,
        report: Arc<Report>,
    ) -> Self {
        let meter = Arc::<Meter>::default();
        let dialer = Dialer::new(&executor, &options, &meter);
        let pacing = Pacing::new(&broker, ("uplink", &options.name), &options.config.link, meter);
        let door = Door::restore(&broker, &options.name);
        let cluster = Cluster::new(dialer, options.config.bootstrap.clone());
        let beacon = Beacon::new(options.config.status.as_deref());
        let provenance = Arc::new(options.provenance(broker.store().incarnation()));
        // Bounded by what is under way: a handful of requests, dials and one save.
        let (sender, events) = async_channel::unbounded();
        let to_gateway = options.config.protocol == UplinkProtocol::Brooklet;
        let tier = to_gateway.then(|| Tier::new(&broker, &options, cluster.dialer().clone()));
        let transactions = !to_gateway && options.config.delivery == Delivery::ExactlyOnce;
        let exactly = transactions.then(|| Exactly::new(&broker, &options));
        let (producers, mirror) = match &exactly {
            Some(exactly) => (Producers::transactional(exactly.id().to_owned()), Mirror::transactional()),
            None => (Producers::default(), Mirror::default()),
        };
        Self {
            executor,
            broker,
            options,
            provenance,
            control,
            report,
            cluster,
            producers,
            exactly,
            tier,
            mirror,
            upstreams: BTreeMap::new(),
            nodes: BTreeMap::new(),
            dialling: BTreeSet::new(),
            metadata: Freshness { stale: true, ..Freshness::default() },
            reading: Reading::default(),
            in_flight: 0,
            events,
            sender,
            busy: false,
            topics_changed: None,
            committed: None,
            link_backoff: Backoff::default(),
            link_not_before: None,
            outage: Outage::default(),
            conditions: BTreeMap::new(),
            watch: None,
            clock_until: None,
            saving: false,
            save_not_before: None,
            letters_told: LettersTold::default(),
            pacing,
            door,
            beacon,
        }
    }

    /// Forwards until told to stop.
    pub(super) async fn run(mut self) {
        loop {
            // The listener first, then the look: what happens in between is not missed.
            let control = self.control.changed();
            if self.control.is_stopping() {
                break;
            }
            if self.control.take_resumed() {
                self.exactly.iter_mut().for_each(Exactly::let_go_on);
                self.tier.iter_mut().for_each(Tier::let_go_on);
            }
            self.follow_topics();
            self.begin_distrusted_anew().await;
            while let Ok(event) = self.events.try_recv() {
                self.take(event);
            }
            let round = Instant::now();
            self.advance().await;
            self.save();
            self.tell_ends();
            self.tell();
            if !std::mem::take(&mut self.busy) {
                let woken = self.wait(control, round).await;
                self.woken(woken);
            }
        }
        self.finish().await;
    }

    /// Does all that can be done now.
    async fn advance(&mut self) {
        if self.control.is_paused() || self.link_not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let control = Arc::clone(&self.control);
        if let Some(Err(error)) = control.unless_stopping(self.forward()).await {
            self.link_failed(&error);
        }
    }

    /// The whole cluster is out of reach, or of no use: everything waits.
    pub(super) fn link_failed(&mut self, error: &ClusterError) {
        let now = Instant::now();
        let bounds = self.bounds();
        let wait = self.link_backoff.fail(bounds, fastrand::f64());
        self.link_not_before = Some(now + wait);
        self.metadata.stale = true;
        self.metadata.not_before = None;
        self.failed(error.to_string());
        if self.outage.fail(now, TELL_EVERY) {
            let (name, attempts) = (&self.options.name, self.link_backoff.failures());
            log::warn!(
                "uplink {name}: {error}; attempt {attempts}, next in {:.1} s; records are kept",
                wait.as_secs_f32()
            );
        }
    }

    /// The cluster has answered.
    pub(super) fn link_works(&mut self) {
        self.link_backoff.succeed();
        self.link_not_before = None;
        if let Some(recovery) = self.outage.recover(Instant::now()) {
            let (name, seconds) = (&self.options.name, recovery.lasted.as_secs());
            log::info!("uplink {name}: works again after {seconds} s and {} failures", recovery.failures);
            self.outage_ended(recovery.lasted);
        }
    }

    pub(super) fn failed(&self, text: String) {
        METRICS.uplink_errors.add(1);
        self.report.failed(text);
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { min: self.options.config.backoff_min, max: self.options.config.backoff_max }
    }

    /// Follows what there is to follow now.
    fn follow_topics(&mut self) {
        if self.topics_changed.is_some() {
            return;
        }
        // The listener first, then the look.
        self.topics_changed = Some(self.broker.topics_changed());
        let now = Instant::now();
        let follows = naming::follows(&self.options);
        let mut followed = BTreeSet::new();
        for topic in self.broker.topics().iter().filter(|topic| follows(topic)) {
            let upstream = match naming::upstream_name(&self.options, &topic.name) {
                Ok(name) => name,
                Err(why) => {
                    self.failed(why);
                    continue;
                }
            };
            let local: Arc<str> = topic.name.as_str().into();
            let class = Class::new(topic.config.urgent, topic.config.priority);
            for (index, partition) in topic.partitions.iter().enumerate() {
                let names = Names { topic: Arc::clone(&local), index: index as u32, upstream: Arc::clone(&upstream) };
                let position = self.broker.position(&self.options.name, *partition);
                self.mirror.follow(*partition, names, class, position, now);
                followed.insert(*partition);
            }
        }
        self.mirror.retain(|partition| followed.contains(&partition));
        self.tell_door(self.watch.is_none());
        self.watch = Some(self.broker.watch(followed));
        self.committed = None;
        self.reading.at_end = false;
    }

    /// Saves the positions that have grown, whenever they were saved last.
    pub(super) fn save_at_once(&mut self) {
        self.save_not_before = None;
        self.save();
    }

    /// Starts to save the positions that have grown, if it is time.
    fn save(&mut self) {
        let due = self.save_not_before.is_none_or(|at| at <= Instant::now());
        if self.saving || !due || !self.mirror.has_unsaved() {
            return;
        }
        self.saving = true;
        self.save_not_before = Some(Instant::now() + SAVE_EVERY);
        let unsaved = self.mirror.take_unsaved(self.broker.letters_bytes_max());
        // A letter is awaited by whoever looks for the record.
        let within = if unsaved.letters.is_empty() { SAVE_WITHIN - SAVE_EVERY } else { Duration::ZERO };
        let (broker, name, sender) = (self.broker.clone(), self.options.name.clone(), self.sender.clone());
        let saved = async move {
            let Unsaved { positions, letters } = unsaved.clone();
            let result = broker.save_with_letters(&name, positions, letters, within).await;
            let _ = sender.send(Event::Saved { unsaved, result }).await;
        };
        self.executor.spawn(saved).detach();
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Answered { node, version, sent, took, answer } => {
                self.sent(took, answer.is_ok());
                self.answered(node, version, &sent, answer);
            }
            Event::Above(heard) => self.heard_above(heard),
            Event::Dialled { node, link } => self.dialled(node, link),
            Event::BudgetSaved(result) => self.budget_saved(result),
            Event::LimitsSaved(result) => self.door_saved(result),
            Event::Refused(topic) => self.refused(&topic),
            Event::Noticed(told) => self.noticed(told),
            Event::Heard { course, heard } => self.heard(course, heard),
            Event::Recorded { course, unsaved, result } => self.recorded(course, unsaved, result),
            Event::Saved { unsaved, result } => {
                self.saving = false;
                match result {
                    Ok(()) => self.letters_saved(&unsaved.letters),
                    Err(error) => {
                        self.mirror.mark_unsaved(unsaved);
                        self.failed(format!("positions were not saved: {error}"));
                    }
                }
            }
        }
    }

    /// Waits until there may be something to do that was not done in the round that began at `round`.
    async fn wait(&mut self, control: EventListener, round: Instant) -> Woken {
        let next_time = self.next_time(round);
        let lingers = self.reading.not_before.is_some_and(|at| at > Instant::now()) && self.mirror.has_urgent();
        let Self { events, topics_changed, committed, reading, .. } = self;
        let event = async { events.recv().await.map_or(Woken::Other, Woken::Event) };
        let control = async {
            control.await;
            Woken::Other
        };
        let topics = async {
            heard(topics_changed).await;
            Woken::Other
        };
        let commits = async {
            if !reading.at_end && !lingers {
                std::future::pending::<()>().await;
            }
            heard(committed).await;
            Woken::Commit
        };
        let timer = async {
            match next_time {
                Some(at) => smol::Timer::at(at).await,
                None => std::future::pending().await,
            };
            Woken::Other
        };
        event.or(control).or(topics).or(commits).or(timer).await
    }

    fn woken(&mut self, woken: Woken) {
        match woken {
            Woken::Event(event) => self.take(event),
            Woken::Commit if self.reading.at_end => {
                let now = self.broker.store().now();
                self.reading.at_end = false;
                self.reading.not_before =
                    Some(Instant::now() + self.pacing.commit_every(self.options.config.linger, now));
            }
            // Something more has come while the first waits for company.
            Woken::Commit => {}
            Woken::Other => {}
        }
    }

    /// Listens for commits from now on: before a scan, so that none behind it is missed. Where some were heard of since the last
    /// time, every class is looked at again, also while another one's backlog is under way.
    pub(super) async fn listen_for_commits(&mut self) {
        let quiet = match &mut self.committed {
            Some(listener) => poll_once(listener).await.is_none(),
            None => false,
        };
        if !quiet {
            self.committed = self.watch.as_ref().map(Registration::listen);
            self.mirror.look_again();
        }
    }

    /// When to look again, whatever happens. What was due at the beginning of this round has had its chance, and now waits for
    /// something else.
    fn next_time(&self, round: Instant) -> Option<Instant> {
        let save = self.save_not_before.filter(|_| self.mirror.has_unsaved() && !self.saving);
        let link = self.link_not_before.filter(|at| *at > round);
        if self.control.is_paused() || link.is_some() {
            return [save, link.filter(|_| !self.control.is_paused())].into_iter().flatten().min();
        }
        let linger = self.reading.not_before.filter(|_| !self.reading.at_end);
        let nodes = self.nodes.values().filter_map(|node| node.not_before);
        let times = [linger, self.producers.next_retry(), self.mirror.next_due(), self.door.next_time()];
        let exactly = self.exactly.iter().flat_map(Exactly::next_time);
        let to_come = times.into_iter().flatten().chain(nodes).chain(exactly).filter(|at| *at > round);
        // Asking for metadata moves its own date, so that one may lie in the past.
        let metadata = self.metadata_due().filter(|_| !self.is_idle() && self.pacing.open() == Open::All);
        let pacing = [self.pacing.until, self.pacing.keepalive].into_iter().flatten().filter(|at| *at > round);
        to_come.chain(save).chain(metadata).chain(pacing).min()
    }

    /// Whether there is nothing to send, and what is known of the cluster will do until there is.
    pub(super) fn is_idle(&self) -> bool {
        let under_way = !self.producers.is_empty() || !self.tier.as_ref().is_none_or(Tier::is_at_rest);
        self.reading.at_end && !under_way && !self.metadata.stale && self.metadata.at.is_some()
    }

    /// Tells the state to whoever asks for the status.
    fn tell(&self) {
        let stalls = self.mirror.partitions().filter_map(|(partition, followed)| {
            let names = &followed.names;
            let why = followed.stall()?.why.as_ref()?.to_string();
            let (topic, upstream) = (names.topic.to_string(), names.upstream.to_string());
            Some((partition, StallStatus { topic, partition: names.index, upstream, why }))
        });
        let stalls: BTreeMap<PartitionId, StallStatus> = stalls.collect();
        let mut live = self.report.live();
        let now = Instant::now();
        let retry_at = self.link_not_before.filter(|at| *at > now);
        live.set_state(self.state(&stalls, retry_at.is_some()));
        live.retry_at_ms = retry_at.map(|at| wall_ms().saturating_add_unsigned((at - now).as_millis() as u64));
        live.stalls = stalls;
        live.under_way_ms = self.mirror.oldest_timestamp();
        live.link = self.pacing.status(self.broker.store().now());
        live.notices = self.beacon.status();
        if let Some(versions) = self.tier.as_ref().map_or_else(|| self.cluster.versions(), Tier::versions) {
            live.versions = Some(versions);
        }
    }

    /// The end: what is in flight may still be acknowledged, then the positions are made durable.
    async fn finish(mut self) {
        let deadline = Instant::now() + STOP_WITHIN;
        while self.in_flight > 0 || self.saving || !self.is_at_rest() {
            if !self.is_at_rest() {
                // An open transaction would hold back the centre's consumers until it times out.
                let ended = self.drive_transactions(false).await;
                if ended.is_err() {
                    break;
                }
                self.send_ready();
            }
            let next = async { self.events.recv().await.ok() };
            let late = async {
                smol::Timer::at(deadline).await;
                None
            };
            match next.or(late).await {
                Some(event) => self.take(event),
                None => break,
            }
        }
        let Unsaved { positions, letters } = self.mirror.take_unsaved(self.broker.letters_bytes_max());
        if !positions.is_empty() {
            let save = async {
                let saved = self.broker.save_with_letters(&self.options.name, positions, letters, Duration::ZERO);
                saved.await.map_err(|error| error.to_string())
            };
            let late = async {
                smol::Timer::after(LAST_SAVE_WITHIN).await;
                Err("the store did not answer in time".to_owned())
            };
            if let Err(why) = save.or(late).await {
                let name = &self.options.name;
                log::warn!(
                    "uplink {name}: its last positions were not saved: {why}; the last records will be sent again"
                );
            }
        }
        self.pacing.save_at_end(&self.broker).await;
        self.report.live().set_state(UplinkState::Stopped);
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.exactly.as_ref().is_none_or(Exactly::is_at_rest)
    }
}
