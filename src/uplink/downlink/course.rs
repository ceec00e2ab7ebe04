//! What a downlink does next. Pure: events and the time go in, actions come out; sockets, clocks and the store are `task`'s.
//!
//! One question at a time to each broker, so there is one connection to each, and what a downlink holds in memory is what
//! one answer a broker brings. A broker is asked anew once all that its last answer brought lies here.
//!
//! Invariants: a position moves only by what the store has confirmed, or over offsets that hold nothing to bring; where one
//! is lost, what happens is told and counted; a partition that can't go on never holds up another.

mod answers;
mod lost;
mod topics;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backoff::{Backoff, Bounds};
use super::super::gentle::Open;
use super::leg::{Leg, Lost, Place, Seek, SkipTo, Source, Trouble};
use crate::broker::UpstreamPosition;
use crate::config::{DownlinkFrom, OutOfRange};
use crate::kafka::list_offsets::{EARLIEST, LATEST};
use crate::store::PartitionId;

/// It is not asked for more often than this where that has not helped.
const METADATA_PACE: Bounds = Bounds { min: Duration::from_millis(100), max: Duration::from_secs(30) };
/// A broker that does not hold a question while there is nothing is asked this often at most.
const IDLE_PACE: Duration = Duration::from_secs(1);
/// A broker holds a question at least this long.
const WAIT_MIN: Duration = Duration::from_millis(50);

/// What the configuration says.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) from: DownlinkFrom,
    pub(super) out_of_range: OutOfRange,
    /// How long a broker holds a question.
    pub(super) wait: Duration,
    /// Metadata is asked for again after this time, to notice added partitions and topics made anew.
    pub(super) metadata_age_max: Duration,
    pub(super) bounds: Bounds,
}

/// A topic upstream, as metadata tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) id: [u8; 16],
    /// Leaders by partition.
    pub(super) leaders: Vec<Option<i32>>,
}

/// A topic's local side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) id: [u8; 16],
    /// Partitions upstream when it was met first: the others begin at their beginning.
    pub(super) met: u32,
    /// By partition upstream: where its records go, and how far it has come.
    pub(super) partitions: Vec<(PartitionId, Option<UpstreamPosition>)>,
}

/// What came of a partition that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What came is dealt with up to `to`; it lies in the store if `stored`, else there was nothing to store.
    Took { to: UpstreamPosition, stored: bool, end: i64 },
    /// An error code of the broker.
    Refused(i16),
    /// The log upstream was cut: up to this offset it is the one that was read.
    Diverged(i64),
    /// It can't be read or not be stored; the same again later.
    Fault(String),
    /// Its local side is not as it was thought.
    Stale(String),
}

/// Offsets that a broker told, or an error code; −1 is none.
pub(super) type Offsets = Vec<(Source, Result<i64, i16>)>;
/// Topics that the cluster told of, or why they can't be read.
pub(super) type Topics = BTreeMap<Arc<str>, Result<Heard, String>>;

/// What has happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Metadata, or why there is none. For each topic, or why it can't be read.
    Topics(Result<Topics, String>),
    /// A topic's local side is there, or not.
    Prepared(Arc<str>, Result<Prepared, String>),
    /// A broker's answer to a fetch: how long it wants to be left alone, and what came of each partition.
    Fetched(i32, Result<(Duration, Vec<(Source, Outcome)>), String>),
    /// A broker's answer to a question for offsets; −1 is none.
    Listed(i32, Result<Offsets, String>),
    /// A position was stored, or why not.
    Saved(Source, Result<(), String>),
    /// An operator lets a partition go on elsewhere.
    Skip(Source, SkipTo),
    /// Time has passed, or somebody has changed something.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Ask this broker for metadata, or one of those that are not at it.
    AskTopics(Option<i32>),
    /// Make the local side of a topic with so many partitions upstream; look its positions up.
    Prepare(Arc<str>, Heard),
    /// Ask for batches: from where, and where they go.
    Fetch {
        node: i32,
        wanted: Vec<Wanted>,
        wait: Duration,
    },
    /// Ask for the offset of a time.
    List {
        node: i32,
        wanted: Vec<(Source, i64)>,
    },
    /// Store a position: at once, or along with something else.
    Save {
        source: Source,
        local: PartitionId,
        from: Option<UpstreamPosition>,
        to: UpstreamPosition,
        at_once: bool,
    },
    Tell(log::Level, String),
    /// So many offsets were passed over, or gone back, because the log upstream was not as it had been.
    CountGap(u64),
    /// Something failed.
    CountFailure(String),
    /// The cluster answers again after so long.
    OutageEnded(Duration),
}

/// A partition in a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) source: Source,
    pub(super) local: PartitionId,
    /// Where to read.
    pub(super) at: UpstreamPosition,
    /// The position that the store has.
    pub(super) known: Option<UpstreamPosition>,
}

/// A topic on the way.
#[derive(Debug, Default)]
pub(super) struct TopicCourse {
    heard: Option<Heard>,
    /// Its local side was asked for.
    preparing: bool,
    ready: bool,
    pub(super) legs: Vec<Leg>,
    /// Its local side is: it waits for no window and no budget.
    urgent: bool,
    pub(super) trouble: Trouble,
}

impl TopicCourse {
    fn may_go(&self, open: Open) -> bool {
        open == Open::All || open == Open::Urgent && self.urgent
    }
}

#[derive(Debug, Default)]
struct Node {
    busy: bool,
    /// When it was last asked for batches.
    asked_at: Option<Instant>,
    /// Until then it wants to be left alone.
    throttled: Option<Instant>,
    trouble: Trouble,
}

/// What is known of the cluster, and when to ask again.
#[derive(Debug, Default)]
struct Metadata {
    at: Option<Instant>,
    /// Something has shown that it is out of date.
    stale: bool,
    /// It was asked for; of the broker within, or of any.
    asked: Option<Option<i32>>,
    /// Pauses while it does not help.
    pace: Backoff,
    not_before: Option<Instant>,
    trouble: Trouble,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Course {
    policy: Policy,
    topics: BTreeMap<Arc<str>, TopicCourse>,
    nodes: BTreeMap<i32, Node>,
    metadata: Metadata,
    /// What may go now, and until when that is certain.
    open: Open,
    holds_until: Option<Instant>,
    turns: u64,
    /// The time of the last step.
    stepped: Option<Instant>,
    actions: Vec<Action>,
}

impl Course {
    /// Of a downlink that brings these topics.
    pub(super) fn new(policy: Policy, topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            policy,
            topics: topics.into_iter().map(|name| (name, TopicCourse::default())).collect(),
            nodes: BTreeMap::new(),
            metadata: Metadata { stale: true, ..Metadata::default() },
            open: Open::All,
            holds_until: None,
            turns: 0,
            stepped: None,
            actions: Vec::new(),
        }
    }

    /// From now on what is `open` may go, at least until that time.
    pub(super) fn permit(&mut self, open: Open, holds_until: Option<Instant>) {
        (self.open, self.holds_until) = (open, holds_until);
    }

    /// Which topics are urgent, by their names upstream.
    pub(super) fn set_urgent(&mut self, is_urgent: impl Fn(&str) -> bool) {
        self.topics.iter_mut().for_each(|(name, topic)| topic.urgent = is_urgent(name));
    }

    fn is_shut(&self) -> bool {
        !self.topics.values().any(|topic| topic.may_go(self.open))
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&Arc<str>, &TopicCourse)> {
        self.topics.iter()
    }

    /// Whether the cluster has answered yet.
    pub(super) fn has_metadata(&self) -> bool {
        self.metadata.at.is_some()
    }

    /// Why the cluster is out of reach, and when it is tried again.
    pub(super) fn out_of_reach(&self) -> Option<(&str, Option<Instant>)> {
        let nodes = self.nodes.values().map(|node| &node.trouble);
        let trouble = [&self.metadata.trouble].into_iter().chain(nodes).find(|trouble| trouble.why.is_some())?;
        Some((trouble.why.as_deref()?, trouble.until))
    }

    /// What follows from an event. `jitter` is uniform in 0..1.
    pub(super) fn step(&mut self, event: Event, now: Instant, jitter: f64) -> Vec<Action> {
        self.stepped = Some(now);
        match event {
            Event::Topics(told) => self.take_topics(told, now, jitter),
            Event::Prepared(topic, told) => self.take_prepared(&topic, told, now, jitter),
            Event::Fetched(node, told) => self.take_fetched(node, told, now, jitter),
            Event::Listed(node, told) => self.take_listed(node, told, now, jitter),
            Event::Saved(source, result) => self.take_saved(&source, result, now, jitter),
            Event::Skip(source, to) => {
                if let Some(leg) = self.leg_mut(&source) {
                    leg.skip = Some(to);
                }
            }
            Event::Tick => {}
        }
        self.advance(now);
        std::mem::take(&mut self.actions)
    }

    /// When to look again, if nothing happens before. It may have come by now: what was not due in the last step is to have one.
    pub(super) fn next_time(&self) -> Option<Instant> {
        if self.is_shut() {
            return None;
        }
        let age = self.metadata.at.map(|at| at + self.policy.metadata_age_max);
        let metadata = [self.metadata.trouble.until, self.metadata.not_before, age].into_iter().flatten();
        let nodes = self.nodes.values().flat_map(|node| [node.trouble.until, node.throttled]).flatten();
        let topics = self.topics.values().filter_map(|topic| topic.trouble.until);
        let legs = self.topics.values().flat_map(|topic| &topic.legs).filter_map(|leg| leg.trouble.until);
        let to_come = |at: &Instant| self.stepped.is_none_or(|step| *at > step);
        metadata.chain(nodes).chain(topics).chain(legs).filter(to_come).min()
    }

    // ---- what is to be done now

    fn advance(&mut self, now: Instant) {
        self.skip_on(now);
        if self.is_shut() {
            return;
        }
        self.ask_topics(now);
        self.prepare(now);
        let mut nodes: Vec<i32> = self.legs().filter_map(|(_, _, leg)| leg.leader).collect();
        nodes.sort_unstable();
        nodes.dedup();
        // Who leads nothing any more is not missed.
        self.nodes.retain(|number, node| node.busy || nodes.contains(number));
        for node in nodes {
            if self.is_free(node, now) {
                self.ask(node, now);
            }
        }
    }

    fn legs(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Leg)> + Clone {
        self.topics
            .iter()
            .flat_map(|(name, topic)| topic.legs.iter().enumerate().map(move |(index, leg)| (name, index as i32, leg)))
    }

    fn leg_mut(&mut self, source: &Source) -> Option<&mut Leg> {
        self.topics.get_mut(&source.0)?.legs.get_mut(usize::try_from(source.1).ok()?)
    }

    fn is_free(&self, node: i32, now: Instant) -> bool {
        self.nodes.get(&node).is_none_or(|node| {
            !node.busy && !node.trouble.waits(now) && node.throttled.is_none_or(|until| until <= now)
        })
    }

    fn ask_topics(&mut self, now: Instant) {
        let metadata = &self.metadata;
        let is_old = metadata.at.is_none_or(|at| at + self.policy.metadata_age_max <= now);
        let open = self.open;
        let is_missed = |topic: &TopicCourse| topic.may_go(open) && topic.heard.is_none() && !topic.trouble.waits(now);
        let is_wanted = metadata.stale || self.topics.values().any(is_missed);
        let too_soon = metadata.trouble.waits(now) || metadata.not_before.is_some_and(|at| at > now);
        if metadata.asked.is_some() || too_soon || !(is_wanted || is_old) {
            return;
        }
        let leaders: Vec<i32> = self.legs().filter_map(|(_, _, leg)| leg.leader).collect();
        let free = leaders.iter().copied().find(|node| self.nodes.contains_key(node) && self.is_free(*node, now));
        // What is merely old waits until a broker has answered; what is wrong does not.
        if free.is_none() && !is_wanted && !leaders.is_empty() {
            return;
        }
        self.metadata.asked = Some(free);
        if let Some(node) = free {
            self.nodes.entry(node).or_default().busy = true;
        }
        self.actions.push(Action::AskTopics(free));
    }

    /// Asks for the local side of topics that are known upstream.
    fn prepare(&mut self, now: Instant) {
        for (name, topic) in &mut self.topics {
            let may = topic.may_go(self.open) && !topic.trouble.waits(now);
            let wanted = may && !topic.ready && !topic.preparing;
            if let Some(heard) = topic.heard.clone().filter(|_| wanted) {
                topic.preparing = true;
                self.actions.push(Action::Prepare(Arc::clone(name), heard));
            }
        }
    }

    /// Asks a broker that is free for what it leads: for offsets first, where some are to be found out, else for batches.
    fn ask(&mut self, node: i32, now: Instant) {
        let mine = self.legs().filter(|(_, _, leg)| leg.leader == Some(node));
        // Whoever is not done with the last answer would miss the next question.
        if mine.clone().any(|(_, _, leg)| leg.is_busy()) {
            return;
        }
        let may_go = |name: &Arc<str>| self.topics.get(name).is_some_and(|topic| topic.may_go(self.open));
        let due = mine.clone().filter(|(name, _, leg)| leg.is_due(now) && may_go(name));
        let seeking: Vec<(Source, i64)> = due.clone().filter_map(seek).collect();
        let mut wanted: Vec<(u64, Wanted)> = due.filter_map(want).collect();
        if seeking.is_empty() && wanted.is_empty() {
            return;
        }
        // Not longer than until another one may be asked for again, or the gate has another answer.
        let others = mine.filter_map(|(_, _, leg)| leg.trouble.until).chain(self.holds_until);
        let soonest = others.filter(|until| *until > now).min();
        let wait = soonest.map_or(self.policy.wait, |until| self.policy.wait.min(until - now)).max(WAIT_MIN);
        self.nodes.entry(node).or_default().busy = true;
        if !seeking.is_empty() {
            self.set_asked(node, seeking.iter().map(|(source, _)| source.clone()).collect());
            return self.actions.push(Action::List { node, wanted: seeking });
        }
        wanted.sort_by_key(|(turn, _)| *turn);
        let wanted: Vec<Wanted> = wanted.into_iter().map(|(_, wanted)| wanted).collect();
        self.nodes.entry(node).or_default().asked_at = Some(now);
        self.set_asked(node, wanted.iter().map(|wanted| wanted.source.clone()).collect());
        self.actions.push(Action::Fetch { node, wanted, wait });
    }

    fn set_asked(&mut self, node: i32, sources: Vec<Source>) {
        for source in sources {
            if let Some(leg) = self.leg_mut(&source) {
                leg.asked = Some(node);
            }
        }
    }
}

/// What to ask for, where an offset is to be found out.
fn seek((topic, index, leg): (&Arc<str>, i32, &Leg)) -> Option<(Source, i64)> {
    let Place::Seek(seek) = leg.place else { return None };
    let time = match seek {
        Seek::Begin(time) => time,
        Seek::Lost(_, Lost::AskTopic) => return None,
        Seek::Lost(_, Lost::AskStart) => EARLIEST,
        Seek::Lost(_, Lost::AskEnd | Lost::SkipToEnd) => LATEST,
    };
    Some(((Arc::clone(topic), index), time))
}

fn want((topic, index, leg): (&Arc<str>, i32, &Leg)) -> Option<(u64, Wanted)> {
    let Place::At(at) = leg.place else { return None };
    let source = (Arc::clone(topic), index);
    Some((leg.turn, Wanted { source, local: leg.local, at, known: leg.known }))
}

#[cfg(test)]
mod tests;
