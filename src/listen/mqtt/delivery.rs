//! Messages out of the log, to one client.
//!
//! What a subscription has not had is what lies behind its positions: nothing is queued for a client, connected or not. One that takes
//! messages slowly reads the log slowly.
//!
//! Invariants: of a session that is kept, a message of QoS 2 goes out once its packet id is stored, and PUBREL once PUBREC is; what a message
//! takes in memory is bounded by [`log::CHUNK_BYTES`] (or one batch) a client.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_listener::EventListener;
use futures_lite::FutureExt;

use super::connection::{FRAME_BYTES, Gone, Sides};
use super::filter::Filter;
use super::given::Given;
use super::log::{self, PAUSE};
use super::mapping::Rules;
use super::message::Message;
use super::outbound::{Flight, Origin, Stage};
use super::permits;
use super::session::{Match, Session};
use crate::broker::{Registration, Topic};
use crate::metrics::METRICS;
use crate::mqtt::{Ack, Packet, PacketId, Publish, Qos};
use crate::store::PartitionId;

/// How often a session that has changed is stored for the sake of its positions, and how long that may wait for another commit: not
/// long, because whoever else stores the session meanwhile waits for it. A crash delivers messages of QoS 1 again that were acknowledged since.
const STORE_EVERY: Duration = Duration::from_secs(5);
const STORE_WITHIN: Duration = Duration::from_millis(500);

/// Where to read, and for which reader.
#[derive(Clone)]
struct Source {
    /// The replay's filter; `None`: the plain filters.
    replay: Option<Arc<str>>,
    partition: PartitionId,
    topic: Arc<Topic>,
}

/// Messages that were read and are to be sent.
struct Chunk {
    source: Source,
    messages: VecDeque<(i64, Message)>,
    /// The offset behind all of it.
    next: i64,
}

/// A message that goes out.
pub(super) struct Outgoing {
    pub(super) id: Option<PacketId>,
    pub(super) matched: Match,
    pub(super) message: Message,
}

/// What came of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Sent,
    /// Nothing is there.
    Idle,
    /// The client has as many open as it takes.
    Blocked,
}

struct Delivery<'a> {
    sides: &'a Arc<Sides>,
    sources: Vec<Source>,
    watch: Option<Registration>,
    /// The session's revision that `sources` follow from.
    revision: Option<u64>,
    /// `None` once topics have changed.
    topics_changed: Option<EventListener>,
    next_source: usize,
    blocked: bool,
    /// The numbers that this side has given to topics.
    aliases: HashMap<String, u16>,
    /// Messages that go out together.
    frame: Vec<u8>,
    stored_at: Instant,
}

/// Delivers until nobody reads any more.
pub(super) async fn deliver(sides: &Arc<Sides>) {
    let mut delivery = Delivery {
        sides,
        sources: Vec::new(),
        watch: None,
        revision: None,
        topics_changed: None,
        next_source: 0,
        blocked: false,
        aliases: HashMap::new(),
        frame: Vec::new(),
        stored_at: Instant::now(),
    };
    // Whoever reads finds out that the client has gone.
    let Err(Gone) = delivery.run().await;
}

impl Delivery<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Gone> {
        self.resend().await?;
        loop {
            // The listeners first, then the looks: what happens in between is not missed.
            let changed = self.sides.changed.listen();
            self.release().await?;
            self.plan();
            let advanced = self.watch.as_ref().map(Registration::listen);
            let step = match self.send_given().await? {
                Step::Idle => match self.send_owed().await? {
                    Step::Idle => self.send_next().await?,
                    other => other,
                },
                other => other,
            };
            self.blocked = step == Step::Blocked;
            self.store_positions();
            if step != Step::Sent {
                self.wait(changed, advanced).await;
            }
        }
    }

    async fn wait(&mut self, changed: EventListener, advanced: Option<EventListener>) {
        let Self { topics_changed, blocked, .. } = self;
        let advanced = async {
            match advanced {
                // There is no room for what comes.
                Some(advanced) if !*blocked => advanced.await,
                _ => std::future::pending().await,
            }
        };
        let topics = async {
            match topics_changed {
                Some(listener) => listener.await,
                None => std::future::pending().await,
            }
            *topics_changed = None;
        };
        let look_again = async {
            smol::Timer::after(STORE_EVERY).await;
        };
        changed.or(advanced).or(topics).or(look_again).await;
    }

    /// Which partitions may hold something for this client. A partition that is new since the subscriptions is read from its
    /// start; one that only other rules have made theirs, from where it ended then.
    fn plan(&mut self) {
        let (broker, rules) = (&self.sides.context.broker, &self.sides.context.options().rules);
        let mut session = self.sides.session();
        if self.topics_changed.is_some() && self.revision == Some(session.revision) {
            return;
        }
        self.topics_changed = Some(broker.topics_changed());
        self.revision = Some(session.revision);
        self.sources.clear();
        let replays: Vec<String> = session.replays.keys().cloned().collect();
        for topic in log::topics(&self.sides.context.own) {
            let plain = session.patterns().any(|pattern| rules.may_hold(pattern, &topic.name));
            let of_replay = |filter: &&String| {
                let filter = Filter::parse(filter);
                filter.is_ok_and(|filter| rules.may_hold(filter.pattern(), &topic.name))
            };
            let readers = plain.then_some(None).into_iter().chain(replays.iter().filter(of_replay).map(Some));
            for replay in readers {
                for partition in &topic.partitions {
                    let of_topic = (topic.topic(), *partition);
                    let begins = |session: &Session| {
                        let held =
                            |rules: &Rules| session.patterns().any(|pattern| rules.may_hold(pattern, &topic.name));
                        let begin = replay.is_none().then(|| self.sides.context.remapped.begin(*partition, held));
                        begin.flatten().unwrap_or_else(|| log::start(&self.sides.context.own, of_topic))
                    };
                    session.read_also(replay, partition.0, begins);
                    let replay = replay.map(|filter| Arc::from(filter.as_str()));
                    self.sources.push(Source { replay, partition: *partition, topic: Arc::clone(topic.topic()) });
                }
            }
        }
        self.watch = Some(broker.watch(self.sources.iter().map(|source| source.partition)));
    }

    fn position(&self, source: &Source) -> Option<i64> {
        let session = self.sides.session();
        let positions = match &source.replay {
            None => &session.positions,
            Some(filter) => session.replays.get(&**filter)?,
        };
        positions.get(&source.partition.0).copied()
    }

    /// Sends what comes next from the log; each partition in its turn.
    async fn send_next(&mut self) -> Result<Step, Gone> {
        if self.blocked && !self.sides.session().outbound.has_much_room() {
            return Ok(Step::Blocked);
        }
        for turn in 0..self.sources.len() {
            let at = (self.next_source + turn) % self.sources.len();
            let Some(source) = self.sources.get(at).cloned() else { break };
            let Some(chunk) = self.read(&source).await else { continue };
            self.next_source = at + 1;
            return self.send_chunk(chunk).await;
        }
        Ok(Step::Idle)
    }

    /// Reads what is next for a reader; `None` if there is nothing.
    async fn read(&self, source: &Source) -> Option<Chunk> {
        let offset = self.position(source)?;
        let (replay, partition) = (source.replay.as_deref(), source.partition);
        let evicted = |from| self.sides.session().advance(replay, partition.0, from);
        if !permits::may_read(&self.sides.terms.access, &source.topic) {
            // What is denied is passed over: once it is allowed, what comes from then on is delivered.
            let end = log::end(&self.sides.context.own, (&source.topic, partition));
            self.sides.session().advance(replay, partition.0, end.max(offset));
            return None;
        }
        let topic = (&source.topic, partition);
        let read =
            log::read(&self.sides.context, &self.sides.terms.access, &self.sides.terms.client, topic, offset, evicted)
                .await?;
        let mut messages = VecDeque::new();
        let session = self.sides.session();
        read.each(&source.topic.name, |offset, message| {
            if session.matches(replay, (partition.0, offset), &message).is_some() {
                messages.push_back((offset, message));
            }
        });
        Some(Chunk { source: source.clone(), messages, next: read.next })
    }

    /// Sends a chunk, as far as the client takes it.
    async fn send_chunk(&mut self, mut chunk: Chunk) -> Result<Step, Gone> {
        loop {
            let (outgoing, step) = self.open(&mut chunk);
            if outgoing.iter().any(|one| one.matched.qos == Qos::ExactlyOnce) {
                self.store().await;
            }
            self.send_all(outgoing).await?;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Takes messages off a chunk, and gives them packet ids; and what that means for the chunk, if it is done with.
    fn open(&self, chunk: &mut Chunk) -> (Vec<Outgoing>, Option<Step>) {
        let Chunk { source, messages, next } = chunk;
        let replay = source.replay.as_deref();
        let now = self.sides.context.broker.now();
        let mut session = self.sides.session();
        let (mut outgoing, mut bytes) = (Vec::new(), 0);
        while let Some((offset, message)) = messages.pop_front() {
            let matched = session.matches(replay, (source.partition.0, offset), &message);
            let expired = now.wall_trusted && message.left_s(now.wall_ms) == Some(0);
            if let Some(matched) = matched.filter(|_| !expired) {
                let mut id = None;
                if matched.qos > Qos::AtMostOnce {
                    let origin = Origin::Record { partition: source.partition.0, offset };
                    id = session.outbound.open(origin, matched.qos);
                    if id.is_none() {
                        // What is left is read again when there is room: a client that doesn't answer holds no memory.
                        return (outgoing, Some(Step::Blocked));
                    }
                }
                bytes += message.bytes();
                outgoing.push(Outgoing { id, matched, message });
            }
            session.advance(replay, source.partition.0, offset + 1);
            if bytes >= FRAME_BYTES {
                return (outgoing, None);
            }
        }
        session.advance(replay, source.partition.0, *next);
        (outgoing, Some(Step::Sent))
    }

    async fn send_all(&mut self, outgoing: Vec<Outgoing>) -> Result<(), Gone> {
        for Outgoing { id, matched, message } in outgoing {
            self.send(id, &matched, &message, false).await?;
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        self.sides.send_frame(&mut self.frame).await
    }

    /// Puts a message behind those that go out together; [`Self::flush`] sends the last of them.
    async fn send(
        &mut self,
        packet_id: Option<PacketId>,
        matched: &Match,
        message: &Message,
        dup: bool,
    ) -> Result<(), Gone> {
        let now = self.sides.context.broker.now();
        // By a clock that nobody trusts no time has passed.
        let left_s = if now.wall_trusted { message.left_s(now.wall_ms) } else { message.expiry_s };
        let mut properties = message.properties(left_s, &matched.ids);
        let topic = self.alias(&message.topic, &mut properties);
        let publish = Publish {
            dup,
            qos: matched.qos,
            retain: matched.retain,
            topic,
            packet_id,
            properties: properties.as_properties(),
            payload: &message.payload,
        };
        METRICS.mqtt_delivered.add(1);
        METRICS.bytes_out_mqtt.add(message.payload.len() as u64);
        let fits = self.sides.put(&Packet::Publish(publish), &mut self.frame);
        if !fits && let Some(id) = packet_id {
            // Larger than the client takes: it is as if it had acknowledged it (MQTT 5.0, section 3.1.2.11.4).
            let mut session = self.sides.session();
            if let Some(flight) = session.outbound.forget(id) {
                session.is_dirty = true;
                self.sides.settled(&flight.origin);
            }
        }
        if self.frame.len() < FRAME_BYTES { Ok(()) } else { self.flush().await }
    }

    /// The topic as it is sent: empty where an alias that the client knows stands for it.
    fn alias<'m>(&mut self, topic: &'m str, properties: &mut crate::mqtt::PropertiesBuilder) -> &'m str {
        use crate::mqtt::Property::TopicAlias;
        if let Some(alias) = self.aliases.get(topic) {
            properties.push(TopicAlias(*alias));
            return "";
        }
        let next = u16::try_from(self.aliases.len() + 1).unwrap_or(u16::MAX);
        if next <= self.sides.terms.aliases_max.min(super::greeting::ALIASES_MAX) {
            self.aliases.insert(topic.to_owned(), next);
            properties.push(TopicAlias(next));
        }
        topic
    }

    /// What shares have given to this session.
    async fn send_given(&mut self) -> Result<Step, Gone> {
        let given = self.sides.given().take();
        if given.is_empty() {
            return Ok(Step::Idle);
        }
        let exactly_once = || given.iter().filter(|given| given.outgoing.matched.qos == Qos::ExactlyOnce);
        // It is this session's alone, whatever happens. Of one that ends with its connection nobody has it after a crash: better that
        // than somebody else's having it again.
        let settle = || exactly_once().for_each(|Given { share, at, .. }| share.with(|share| share.settle(*at)));
        if exactly_once().next().is_some() {
            let is_kept = self.sides.session().is_kept();
            if !is_kept {
                settle();
            }
            self.store().await;
            settle();
        }
        for Given { share, outgoing: Outgoing { id, matched, message }, .. } in given {
            self.send(id, &matched, &message, false).await?;
            share.changed.notify(usize::MAX);
        }
        self.flush().await?;
        Ok(Step::Sent)
    }

    /// Retained messages that came with subscriptions.
    async fn send_owed(&mut self) -> Result<Step, Gone> {
        if self.blocked && !self.sides.session().outbound.has_much_room() {
            return Ok(Step::Blocked);
        }
        let mut step = Step::Idle;
        loop {
            let Some(owed) = self.sides.session().owed.front().cloned() else { return Ok(step) };
            let context = &self.sides.context;
            let found = context.retained.get(&context.broker, &owed.topic);
            let found = found.filter(|message| permits::may_have(context, &self.sides.terms.access, message));
            let mut id = None;
            let mut matched = Match { retain: true, ids: owed.id.into_iter().collect(), ..Match::default() };
            {
                let mut session = self.sides.session();
                if let Some(message) = &found {
                    matched.qos = Qos::of_bits(owed.qos).unwrap_or_default().min(message.qos());
                }
                if matched.qos > Qos::AtMostOnce {
                    id = session.outbound.open(Origin::Retained { topic: owed.topic.clone() }, matched.qos);
                    if id.is_none() {
                        return Ok(Step::Blocked);
                    }
                }
                session.owed.pop_front();
                session.is_dirty = true;
            }
            if matched.qos == Qos::ExactlyOnce {
                self.store().await;
            }
            if let Some(message) = found {
                self.send(id, &matched, &message, false).await?;
                self.flush().await?;
            }
            step = Step::Sent;
        }
    }

    /// PUBREL for messages whose PUBREC has come, once that is stored.
    async fn release(&mut self) -> Result<(), Gone> {
        let released = std::mem::take(&mut self.sides.session().released);
        if released.is_empty() {
            return Ok(());
        }
        self.store().await;
        for id in released {
            self.sides.send(&Packet::PubRel(Ack::of(id))).await?;
        }
        Ok(())
    }

    /// What an earlier connection has left open, in its order.
    async fn resend(&mut self) -> Result<(), Gone> {
        let flights: Vec<(PacketId, Flight)> = self.sides.session().outbound.flights().cloned().collect();
        for (id, flight) in flights {
            if flight.stage == Stage::Released {
                self.flush().await?;
                self.sides.send(&Packet::PubRel(Ack::of(id))).await?;
                continue;
            }
            let Some(message) = self.find(&flight.origin).await else {
                METRICS.mqtt_evicted.add(1);
                self.sides.session().outbound.forget(id);
                continue;
            };
            let mut matched = match &flight.origin {
                Origin::Record { partition, offset } => {
                    let session = self.sides.session();
                    session.matches(None, (*partition, *offset), &message).unwrap_or_default()
                }
                Origin::Shared { share, .. } => self.sides.session().matches_share(share, &message).unwrap_or_default(),
                Origin::Retained { .. } => Match { retain: true, ..Match::default() },
            };
            matched.qos = Qos::of_bits(flight.qos).unwrap_or_default();
            self.send(Some(id), &matched, &message, true).await?;
        }
        self.flush().await
    }

    /// The message again; `None` if it is gone.
    async fn find(&self, origin: &Origin) -> Option<Message> {
        let context = &self.sides.context;
        match origin {
            Origin::Retained { topic } => {
                let found = context.retained.get(&context.broker, topic);
                found.filter(|message| permits::may_have(context, &self.sides.terms.access, message))
            }
            Origin::Record { partition, offset } | Origin::Shared { partition, offset, .. } => {
                log::find(&self.sides.terms.access, PartitionId(*partition), *offset).await
            }
        }
    }

    /// Stores the session, however long it takes: what follows must not go out before.
    async fn store(&mut self) {
        while let Err(error) = self.sides.store(Duration::ZERO, &[]).await {
            ::log::warn!("mqtt: the session of {:?} could not be stored: {error}", self.sides.terms.client);
            smol::Timer::after(PAUSE).await;
        }
        self.stored_at = Instant::now();
    }

    /// Stores positions now and then, beside the delivering.
    fn store_positions(&mut self) {
        let is_due = self.stored_at.elapsed() >= STORE_EVERY;
        let session = self.sides.session();
        if is_due && session.is_dirty && session.is_kept() {
            self.stored_at = Instant::now();
            let sides = Arc::clone(self.sides);
            let storing = async move {
                // It is tried again: the session stays dirty.
                let _ = sides.store(STORE_WITHIN, &[]).await;
            };
            self.sides.executor.spawn(storing).detach();
        }
    }
}
