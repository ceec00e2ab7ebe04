//! The loop of one downlink: what has happened goes into the course, what it says is done.
//!
//! Invariant: everything mutable belongs to this one task. Exchanges with brokers, the local side of topics and positions
//! run beside it and come back as events; one exchange a broker at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::executor::Executor;
use async_channel::{Receiver, Sender};
use event_listener::EventListener;
use futures_lite::FutureExt;

use super::super::backoff::Bounds;
use super::super::gentle::{Bucket, Open};
use super::super::link::cluster::{Cluster, Link, Told, TopicState, ask_topics};
use super::super::link::connection::LinkError;
use super::super::link::dial::Dialer;
use super::super::link::meter::Meter;
use super::super::pacing::Pacing;
use super::super::running::Control;
use super::super::status::wall_ms;
use super::course::{Action, Course, Event, Heard, Outcome, Policy, Topics, Wanted};
use super::exchange::{Exchange, Fetched};
use super::leg::{Place, SkipTo, Source};
use super::status::{DownlinkPartition, DownlinkState, DownlinkStatus, Report};
use super::{DownlinkOptions, local, verdict};
use crate::broker::{Broker, CommitError, Intake};
use crate::config::HostPort;

/// A position without records rides with another commit for so long.
const SAVE_WITHIN: Duration = Duration::from_secs(60);

/// What happened beside the loop.
enum Done {
    Event(Event),
    /// A broker's answer to a fetch.
    Fetched(i32, Result<Fetched, String>),
    /// A broker was dialled.
    Dialled(i32, Link),
    /// Metadata, and the connection that it came by.
    Topics(Result<(Told, Link), String>),
    /// What is used of the budget was saved, or not.
    BudgetSaved(Result<(), CommitError>),
}

/// Takes what operators say.
#[derive(Clone, Debug)]
pub(super) struct Skips(Sender<Done>);

impl Skips {
    /// Lets a partition go on at `to`.
    pub(super) fn push(&self, source: Source, to: SkipTo) {
        // Where nobody listens any more, there is nothing to let go on.
        let _ = self.0.try_send(Done::Event(Event::Skip(source, to)));
    }
}

/// See the module.
pub(super) struct Bringer {
    executor: Arc<Executor>,
    broker: Broker,
    options: Arc<DownlinkOptions>,
    control: Arc<Control>,
    report: Arc<Report>,
    cluster: Cluster,
    course: Course,
    topics: Arc<[Arc<str>]>,
    exchange: Exchange,
    pacing: Pacing,
    /// The rate at which answers come in.
    inflow: Bucket,
    begun: Instant,
    done: Receiver<Done>,
    sender: Sender<Done>,
}

impl Bringer {
    pub(super) fn new(
        executor: Arc<Executor>,
        broker: Broker,
        options: Arc<DownlinkOptions>,
        control: Arc<Control>,
        report: Arc<Report>,
    ) -> Self {
        let config = &options.config;
        let meter = Arc::<Meter>::default();
        let dialer = Dialer::calling(&executor, options.calling(config.fetch_wait), &meter);
        let pacing = Pacing::new(&broker, ("downlink", &options.name), &config.link, meter);
        let policy = Policy {
            from: config.from,
            out_of_range: config.out_of_range,
            wait: config.fetch_wait,
            metadata_age_max: config.link.metadata_refresh,
            bounds: Bounds { min: config.backoff_min, max: config.backoff_max },
        };
        let topics: Arc<[Arc<str>]> = options.topics().into();
        let exchange = Exchange {
            broker: broker.clone(),
            name: options.name.as_str().into(),
            gateway: options.gateway.as_str().into(),
            report: Arc::clone(&report),
            bytes_max: config.fetch_max_bytes,
        };
        // Bounded by what is under way: an exchange a broker, a question for metadata, a few of the store.
        let (sender, done) = async_channel::unbounded();
        Self {
            cluster: Cluster::new(dialer, config.bootstrap.clone()),
            course: Course::new(policy, topics.iter().cloned()),
            executor,
            broker,
            options,
            control,
            report,
            topics,
            exchange,
            pacing,
            inflow: Bucket::default(),
            begun: Instant::now(),
            done,
            sender,
        }
    }

    /// What came, and how long its broker is left alone: as it wants, and until all that came would be here at the rate.
    fn paced(&mut self, fetched: Fetched) -> (Duration, Vec<(Source, Outcome)>) {
        let now_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        (fetched.throttle.max(self.inflow.take_in(fetched.bytes, now_us)), fetched.outcomes)
    }

    /// Where operators are heard.
    pub(super) fn skips(&self) -> Skips {
        Skips(self.sender.clone())
    }

    /// Brings what there is until told to stop. Whatever is under way then is committed whole or not at all.
    pub(super) async fn run(mut self) {
        let mut event = Event::Tick;
        loop {
            // The listener first, then the look: what happens in between is not missed.
            let control = self.control.changed();
            if self.control.is_stopping() {
                break;
            }
            self.ask_gate();
            for action in self.course.step(event, Instant::now(), fastrand::f64()) {
                self.act(action);
            }
            self.tell();
            event = self.wait(control).await;
        }
        self.pacing.save_at_end(&self.broker).await;
        self.report.tell(|status| status.set_state(DownlinkState::Stopped));
    }

    /// Lets the course know what may go now.
    fn ask_gate(&mut self) {
        self.pacing.ask(self.broker.store().now());
        self.inflow.set_rate(self.pacing.rate());
        self.exchange.bytes_max = self.pacing.ask_bytes(self.options.config.fetch_max_bytes);
        let open = if self.control.is_paused() { Open::Nothing } else { self.pacing.open() };
        self.course.permit(open, self.pacing.holds().map(|holds| Instant::now() + holds));
        if open == Open::Urgent {
            let (broker, options) = (&self.broker, &self.options);
            self.course.set_urgent(|topic| {
                let local = options.local_name(topic).ok().and_then(|name| broker.topic(&name));
                local.is_some_and(|topic| topic.config.urgent)
            });
        }
        if let Some(saving) = self.pacing.save(&self.broker) {
            self.beside(async { Done::BudgetSaved(saving.await) });
        }
    }

    /// The next event.
    async fn wait(&mut self, control: EventListener) -> Event {
        let next = [self.course.next_time(), self.pacing.until].into_iter().flatten().min();
        let done = async { self.done.recv().await.ok() };
        let control = async {
            control.await;
            None
        };
        let timer = async {
            match next {
                Some(at) => smol::Timer::at(at).await,
                None => std::future::pending().await,
            };
            None
        };
        match done.or(control).or(timer).await {
            None => Event::Tick,
            Some(Done::Fetched(node, told)) => Event::Fetched(node, told.map(|fetched| self.paced(fetched))),
            Some(Done::Event(event)) => event,
            Some(Done::BudgetSaved(result)) => {
                if let Err(why) = self.pacing.saved(result) {
                    self.report.failed(why);
                }
                Event::Tick
            }
            Some(Done::Dialled(node, link)) => {
                self.cluster.adopt(node, link);
                Event::Tick
            }
            Some(Done::Topics(Err(why))) => Event::Topics(Err(why)),
            Some(Done::Topics(Ok((told, link)))) => {
                self.cluster.learn(told);
                self.cluster.keep(link);
                Event::Topics(Ok(self.heard()))
            }
        }
    }

    /// What the cluster says of each topic.
    fn heard(&self) -> Topics {
        let one = |name: &Arc<str>| {
            let told = match self.cluster.topic(name)? {
                TopicState::Known(leaders) => Ok(Heard { id: self.cluster.topic_id(name), leaders: leaders.clone() }),
                TopicState::Failed(code) => Err(verdict::explain(*code)),
            };
            Some((Arc::clone(name), told))
        };
        self.topics.iter().filter_map(one).collect()
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::AskTopics(node) => self.ask_topics(node),
            Action::Prepare(topic, heard) => self.prepare(topic, heard),
            Action::Fetch { node, wanted, wait } => self.fetch(node, wanted, wait),
            Action::List { node, wanted } => self.list(node, wanted),
            Action::Save { source, local, from, to, at_once } => {
                let intake = Intake {
                    upstream: (source.0.to_string(), source.1),
                    from,
                    to,
                    partition: local,
                    batches: Vec::new(),
                };
                let within = (!at_once).then_some(SAVE_WITHIN);
                let (broker, name) = (self.broker.clone(), Arc::clone(&self.exchange.name));
                self.beside(async move {
                    let saved = broker.take_in(&name, vec![intake], within).await;
                    Done::Event(Event::Saved(source, saved.map_err(|error| format!("not stored: {error}"))))
                });
            }
            Action::Tell(level, text) => log::log!(level, "downlink {}: {text}", self.options.name),
            Action::CountGap(offsets) => self.report.gap(offsets),
            Action::CountFailure(text) => self.report.failed(text),
            Action::OutageEnded(lasted) => self.pacing.outage_ended(lasted, self.broker.store().now()),
        }
    }

    /// Runs something beside the loop.
    fn beside(&self, work: impl Future<Output = Done> + Send + 'static) {
        let (sender, control) = (self.sender.clone(), Arc::clone(&self.control));
        let work = async move {
            if let Some(done) = control.unless_stopping(work).await {
                let _ = sender.send(done).await;
            }
        };
        self.executor.spawn(work).detach();
    }

    fn ask_topics(&mut self, node: Option<i32>) {
        let open = node.and_then(|node| self.cluster.open_link(node)).cloned();
        let (dialer, addresses) = self.cluster.dialling_any();
        let topics = Arc::clone(&self.topics);
        self.beside(async move {
            let asked = async {
                let link = match open {
                    Some(link) => link,
                    None => dial_any(&dialer, &addresses).await.map_err(|error| error.to_string())?,
                };
                let told = ask_topics(&link, &topics).await.map_err(|error| error.to_string())?;
                Ok((told, link))
            };
            Done::Topics(asked.await)
        });
    }

    fn prepare(&mut self, topic: Arc<str>, heard: Heard) {
        let (broker, options, report) = (self.broker.clone(), Arc::clone(&self.options), Arc::clone(&self.report));
        self.beside(async move {
            let prepared = local::prepare(&broker, &options, &report, &topic, &heard).await;
            Done::Event(Event::Prepared(topic, prepared))
        });
    }

    fn fetch(&mut self, node: i32, wanted: Vec<Wanted>, wait: Duration) {
        let (exchange, link) = (self.exchange.clone(), self.link(node));
        self.beside(async move {
            let told = async { exchange.fetch(&link.await?, wanted, wait).await };
            Done::Fetched(node, told.await)
        });
    }

    fn list(&mut self, node: i32, wanted: Vec<(Source, i64)>) {
        let (exchange, link) = (self.exchange.clone(), self.link(node));
        self.beside(async move {
            let told = async { exchange.list(&link.await?, &wanted).await };
            Done::Event(Event::Listed(node, told.await))
        });
    }

    /// The connection to a broker: the open one, or one that is made first.
    fn link(&self, node: i32) -> impl Future<Output = Result<Link, String>> + use<> {
        let open = self.cluster.open_link(node).cloned();
        let (dialling, sender) = (self.cluster.dialling(node), self.sender.clone());
        async move {
            if let Some(link) = open {
                return Ok(link);
            }
            let (dialer, address) = dialling.ok_or_else(|| format!("broker {node} is not in the metadata"))?;
            let link = Link::dial(&dialer, &address).await.map_err(|error| error.to_string())?;
            let _ = sender.send(Done::Dialled(node, link.clone())).await;
            Ok(link)
        }
    }

    /// Tells the state to whoever asks for the status.
    fn tell(&self) {
        let mut status = DownlinkStatus { versions: self.cluster.versions(), ..DownlinkStatus::default() };
        for (name, topic) in self.course.topics() {
            if let Some(why) = &topic.trouble.why {
                status.stalled.push((name.to_string(), why.to_string()));
            }
            for (index, leg) in topic.legs.iter().enumerate() {
                let here = self.broker.topic_of(leg.local);
                let position = match &leg.place {
                    Place::At(position) => Some(position.next_offset),
                    _ => leg.known.map(|known| known.next_offset),
                };
                status.partitions.push(DownlinkPartition {
                    topic: name.to_string(),
                    partition: index as u32,
                    local_topic: here.as_ref().map(|(topic, _)| topic.name.clone()).unwrap_or_default(),
                    local_partition: here.map_or(0, |(_, index)| index.unsigned_abs()),
                    position,
                    end: leg.end,
                    lag: leg.lag(),
                    stalled: leg.why().map(str::to_owned),
                });
            }
        }
        let trouble = self.course.out_of_reach();
        status.retry_at_ms = trouble.and_then(|(_, until)| until).map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            wall_ms().saturating_add_unsigned(left.as_millis() as u64)
        });
        let state = self.state(&status, trouble.is_some());
        status.link = self.pacing.status(self.broker.store().now());
        (status.link_sent, status.link_received) = (status.link.bytes_sent, status.link.bytes_received);
        self.report.tell(|live| {
            let last_error = live.last_error.take();
            let versions = status.versions.take().or_else(|| live.versions.take());
            let history = std::mem::take(&mut live.history);
            *live = DownlinkStatus { last_error, versions, history, ..status };
            live.set_state(state);
        });
    }

    fn state(&self, status: &DownlinkStatus, out_of_reach: bool) -> DownlinkState {
        let partitions = &status.partitions;
        if self.control.is_paused() {
            DownlinkState::Paused
        } else if out_of_reach {
            DownlinkState::Backoff
        } else if !self.course.has_metadata() {
            DownlinkState::Connecting
        } else if !status.stalled.is_empty() || partitions.iter().any(|partition| partition.stalled.is_some()) {
            DownlinkState::Stalled
        } else if !partitions.is_empty() && partitions.iter().all(|partition| partition.lag == Some(0)) {
            DownlinkState::CaughtUp
        } else {
            DownlinkState::CatchingUp
        }
    }
}

/// The first of these that answers.
async fn dial_any(dialer: &Dialer, addresses: &[HostPort]) -> Result<Link, LinkError> {
    let mut last = LinkError::new("no bootstrap address is configured");
    for address in addresses {
        match Link::dial(dialer, address).await {
            Ok(link) => return Ok(link),
            Err(error) => last = error,
        }
    }
    Err(last)
}
