//! Hands the messages of a share out to its members, one after the other, to whoever has room.
//!
//! One task a share does it as long as a member is connected. It keeps nothing: what nobody has room for is read again when somebody has.
//!
//! Invariant: a message is with at most one member.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::executor::Executor;
use event_listener::EventListener;
use futures_lite::FutureExt;

use super::Context;
use super::connection::Sides;
use super::filter::Filter;
use super::log;
use super::mapping::Rules;
use super::message::Message;
use super::outbound::{Flight, Origin};
use super::permits;
use super::session::Positions;
use super::share::At;
use super::shares::Shared;
use crate::broker::{Granted, Registration, Topic, right};
use crate::metrics::METRICS;
use crate::mqtt::Qos;
use crate::store::PartitionId;

/// How often what has changed is stored, and how long that may wait for another commit. A crash delivers messages of QoS 1 again
/// that were acknowledged since.
const STORE_EVERY: Duration = Duration::from_secs(5);
const STORE_WITHIN: Duration = Duration::from_millis(500);

/// What came of an attempt to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    /// Nothing is there, or nobody has room.
    Wait,
}

struct Sharing {
    context: Arc<Context>,
    executor: Arc<Executor>,
    shared: Arc<Shared>,
    sources: Vec<(PartitionId, Arc<Topic>)>,
    watch: Option<Registration>,
    /// `None` once topics have changed.
    topics_changed: Option<EventListener>,
    next_source: usize,
    stored_at: Instant,
}

/// Takes part in a share, which begins at `begins` if it is new. Nothing is given before [`enter`].
pub(super) fn join(sides: &Sides, filter: &str, begins: &Positions) {
    let is_kept = sides.session().is_kept();
    let shared = sides.context.shares.join(filter, &sides.terms.client, is_kept, begins);
    let mut shares = sides.shares();
    if !shares.iter().any(|share| share.filter == filter) {
        shares.push(shared);
    }
}

/// Takes part no longer; what was given already stays. To be called under the lock of the session.
pub(super) fn part(sides: &Sides, filter: &str) -> Option<Arc<Shared>> {
    sides.shares().retain(|share| share.filter != filter);
    sides.context.shares.leave(filter, &sides.terms.client)
}

/// The shares of a session may give to it from now on.
pub(super) fn enter(sides: &Arc<Sides>) {
    let filters: Vec<String> = sides.session().shares().map(str::to_owned).collect();
    for filter in filters {
        if !sides.shares().iter().any(|share| share.filter == filter) {
            let pattern = Filter::parse(&filter).map_or("", |filter| filter.pattern());
            join(sides, &filter, &log::ends(&sides.context, &sides.context.own, pattern));
        }
    }
    let shares = sides.shares().clone();
    for shared in shares {
        if shared.online(&sides.terms.client, sides) {
            let handing = hand_out(Arc::clone(&sides.context), Arc::clone(&sides.executor), shared);
            sides.executor.spawn(handing).detach();
        }
    }
}

/// What was given to a client that is gone.
pub(super) struct Back {
    flights: Vec<Flight>,
}

/// The client is gone: nothing is given to it any more.
pub(super) fn leave(sides: &Sides) -> Back {
    let mut session = sides.session();
    let is_kept = session.is_kept();
    for share in sides.shares().iter() {
        share.offline(&sides.terms.client, is_kept);
    }
    sides.given().take();
    let mut flights = session.give_back();
    flights.extend(session.outbound.flights().map(|(_, flight)| flight.clone()));
    Back { flights }
}

impl Back {
    /// Now that the session is stored, or is no more, others get what it did not acknowledge. What is with a session that stays is its own.
    pub(super) fn hand_on(self, sides: &Sides) {
        let is_kept = sides.session().is_kept();
        for flight in self.flights {
            if let Origin::Shared { share, partition, offset } = &flight.origin
                && let Some(share) = sides.context.shares.get(share)
            {
                let at = (*partition, *offset);
                let stays = is_kept && !flight.comes_back();
                share.with(|share| if stays { share.settle(at) } else { share.come_back(at) });
                share.changed.notify(usize::MAX);
            }
        }
    }
}

/// Hands out until no member is connected.
pub(super) async fn hand_out(context: Arc<Context>, executor: Arc<Executor>, shared: Arc<Shared>) {
    let mut sharing = Sharing {
        context,
        executor,
        shared,
        sources: Vec::new(),
        watch: None,
        topics_changed: None,
        next_source: 0,
        stored_at: Instant::now(),
    };
    loop {
        // The listeners first, then the looks: what happens in between is not missed.
        let changed = sharing.shared.changed.listen();
        if !sharing.shared.stays_served() {
            return sharing.store(Duration::ZERO);
        }
        sharing.plan();
        let advanced = sharing.watch.as_ref().map(Registration::listen);
        let step = match sharing.hand_back_out().await {
            Some(step) => step,
            None => sharing.hand_next_out().await,
        };
        if sharing.stored_at.elapsed() >= STORE_EVERY {
            sharing.store(STORE_WITHIN);
        }
        if step == Step::Wait {
            sharing.wait(changed, advanced).await;
        }
    }
}

impl Sharing {
    async fn wait(&mut self, changed: EventListener, advanced: Option<EventListener>) {
        let topics_changed = &mut self.topics_changed;
        let topics = async {
            match topics_changed {
                Some(listener) => listener.await,
                None => std::future::pending().await,
            }
            *topics_changed = None;
        };
        let advanced = async {
            match advanced {
                Some(advanced) => advanced.await,
                None => std::future::pending().await,
            }
        };
        let look_again = async {
            smol::Timer::after(STORE_EVERY).await;
        };
        changed.or(advanced).or(topics).or(look_again).await;
    }

    /// Which partitions may hold something for it.
    fn plan(&mut self) {
        if self.topics_changed.is_some() {
            return;
        }
        self.topics_changed = Some(self.context.broker.topics_changed());
        let (rules, pattern) = (&self.context.options().rules, self.shared.pattern());
        let topics = log::topics(&self.context.own).filter(|topic| rules.may_hold(pattern, &topic.name));
        let of_topic = |topic: Granted<right::Read>| {
            let partitions = topic.partitions.clone();
            partitions.into_iter().map(move |partition| (partition, Arc::clone(topic.topic())))
        };
        self.sources = topics.flat_map(of_topic).collect();
        self.watch = Some(self.context.broker.watch(self.sources.iter().map(|(partition, _)| *partition)));
    }

    /// What members have left behind; `None` if that is nothing.
    async fn hand_back_out(&self) -> Option<Step> {
        let at = self.shared.with(|share| share.first_back())?;
        let topic =
            self.context.own.topic_of::<right::Read>(PartitionId(at.0)).map(|(topic, _)| Arc::clone(topic.topic()));
        if topic.as_ref().is_some_and(|topic| !self.may_be_read(topic)) {
            return None;
        }
        match log::find(&self.context.own, PartitionId(at.0), at.1).await {
            Some(message) => {
                if self.give(topic.as_deref(), at, message).is_err() {
                    return Some(Step::Wait);
                }
            }
            None => {
                METRICS.mqtt_evicted.add(1);
                self.shared.with(|share| share.settle(at));
            }
        }
        Some(Step::Done)
    }

    /// What comes next from the log; each partition in its turn.
    async fn hand_next_out(&mut self) -> Step {
        if !self.shared.in_turn().iter().any(|sides| sides.has_room_for_given()) {
            return Step::Wait;
        }
        for turn in 0..self.sources.len() {
            let index = (self.next_source + turn) % self.sources.len();
            let Some((partition, topic)) = self.sources.get(index) else { break };
            if !self.may_be_read(topic) {
                continue;
            }
            let held = |rules: &Rules| rules.may_hold(self.shared.pattern(), &topic.name);
            let start = || {
                let begin = self.context.remapped.begin(*partition, held);
                begin.unwrap_or_else(|| log::start(&self.context.own, (topic, *partition)))
            };
            let offset = self.shared.with(|share| share.position(partition.0, start));
            let evicted = |from| self.shared.with(|share| share.advance(partition.0, from));
            let source = (topic, *partition);
            let Some(read) =
                log::read(&self.context, &self.context.own, &self.shared.filter, source, offset, evicted).await
            else {
                continue;
            };
            let mut blocked = false;
            let next = read.next;
            read.each(&topic.name, |offset, message| {
                if !blocked && crate::mqtt::topic::matches(self.shared.pattern(), &message.topic) {
                    blocked = self.give(Some(topic), (partition.0, offset), message).is_err();
                }
            });
            if blocked {
                return Step::Wait;
            }
            self.shared.with(|share| share.advance(partition.0, next));
            self.next_source = index + 1;
            return Step::Done;
        }
        Step::Wait
    }

    /// Whether any member may have the messages of a topic. What none may have waits until one may.
    fn may_be_read(&self, topic: &Topic) -> bool {
        self.shared.in_turn().iter().any(|sides| permits::may_read(&sides.terms.access, topic))
    }

    /// Gives a message to the next member that may have it and has room; an error if none has.
    fn give(&self, topic: Option<&Topic>, at: At, message: Message) -> Result<(), ()> {
        let now = self.context.broker.now();
        if now.wall_trusted && message.left_s(now.wall_ms) == Some(0) {
            self.shared.with(|share| {
                share.advance(at.0, at.1 + 1);
                share.settle(at);
            });
            return Ok(());
        }
        if !self.shared.with(|share| share.has_room()) {
            return Err(());
        }
        let mut message = Some(message);
        let may = |sides: &Arc<Sides>| topic.is_some_and(|topic| permits::may_read(&sides.terms.access, topic));
        for sides in self.shared.in_turn().into_iter().filter(may) {
            if give_to(&sides, &self.shared, at, &mut message) {
                sides.changed.notify(usize::MAX);
                return Ok(());
            }
        }
        Err(())
    }

    /// Stores how far it is, beside the handing out.
    fn store(&mut self, within: Duration) {
        self.stored_at = Instant::now();
        if !self.shared.is_dirty() {
            return;
        }
        let (context, shared) = (Arc::clone(&self.context), Arc::clone(&self.shared));
        let storing = async move {
            let row = shared.row().into_iter().collect();
            if let Err(error) = context.broker.change_rows_guarded(row, within).await {
                ::log::warn!("mqtt: {}: its position could not be stored: {error}", shared.filter);
                shared.with(|share| share.is_dirty = true);
            }
        };
        self.executor.spawn(storing).detach();
    }
}

/// Gives a message to a member, if that has room.
fn give_to(sides: &Sides, shared: &Arc<Shared>, at: At, message: &mut Option<Message>) -> bool {
    let client = &sides.terms.client;
    let mut session = sides.session();
    let Some(matched) = message.as_ref().and_then(|message| session.matches_share(&shared.filter, message)) else {
        return false;
    };
    let mut given = sides.given();
    if !given.has_room() {
        return false;
    }
    let mut id = None;
    if matched.qos > Qos::AtMostOnce {
        let origin = Origin::Shared { share: shared.filter.clone(), partition: at.0, offset: at.1 };
        id = session.outbound.open(origin, matched.qos);
        if id.is_none() {
            return false;
        }
        session.is_dirty = true;
    }
    if !shared.hand_to(client, at, matched.qos == Qos::AtMostOnce) {
        id.map(|id| session.outbound.forget(id));
        return false;
    }
    if let Some(message) = message.take() {
        given.push(Arc::clone(shared), at, super::delivery::Outgoing { id, matched, message });
    }
    true
}
