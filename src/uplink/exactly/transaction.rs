//! One transaction after the other: what to ask next, and what follows from each answer. Pure: no socket, no clock, no record.
//!
//! `Resuming` → `Idle` → `Open` → `Idle` → … Whatever goes wrong within a transaction leads back to `Resuming`, which aborts what
//! is open (by a new epoch of the producer) and asks upstream what became of it. Only the end is asked for again and again, since
//! a coordinator recognises it.
//!
//! In an open transaction: records go out (*streaming*); no more are added, and the last acknowledgements come in (*draining*); the
//! transaction is made durable here (*recording*); upstream is told to commit (*ending*). With the first protocol the coordinator
//! is told of every partition and of the group before anything goes there; with the second (KIP-890) the brokers see to that.
//!
//! Invariants: the end is asked for only when every batch, the cursors and the witness are acknowledged, and the transaction is
//! durable here; nothing is sent to a partition that is not part of the transaction.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::local::{Local, Mark, Pending, Place};
use super::open::{Asking, Open, Phase};
use super::question::{Ask, Happened, Heard, Role, Whom};
use super::resuming::{Resuming, Step};
use super::trouble::{Failure, Remedy};
use crate::broker::dead_letter::Letter;
use crate::uplink::backoff::{Backoff, Bounds};
use crate::uplink::link::versions::Protocol;
use crate::uplink::sending::producer::{Identity, LaneId};

/// Waits before a question is asked again: another transaction's markers are written in a moment, a coordinator moves in seconds.
const WAITS: Bounds = Bounds { min: Duration::from_millis(20), max: Duration::from_secs(2) };
/// Waits after a transaction that came to nothing.
const SETBACKS: Bounds = Bounds { min: Duration::from_millis(50), max: Duration::from_secs(60) };
/// Waits where someone must change something.
const REFUSALS: Bounds = Bounds { min: Duration::from_secs(1), max: Duration::from_secs(300) };
/// A second rival within this time after this uplink took its place back is one that is alive.
const RIVAL_WITHIN: Duration = Duration::from_secs(600);
/// After this time of asking in vain somebody is told.
const ALARM_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum State {
    Resuming(Resuming),
    Idle,
    Open(Open),
    /// A rival is at work. Looked after from time to time.
    Fenced,
    /// The histories differ, and an operator wants to look first.
    Stopped,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Transactions {
    pub(super) local: Local,
    /// The boot epoch's id.
    epoch: u64,
    protocol: Protocol,
    identity: Option<Identity>,
    number: u64,
    state: State,
    /// By role: the broker, and when that was told.
    coordinators: BTreeMap<u8, (i32, Instant)>,
    /// Which coordinator is being looked for.
    looking: bool,
    /// The partition of this gateway's cursors.
    partition: i32,
    waits: Backoff,
    /// Since the last transaction that was committed.
    setbacks: Backoff,
    not_before: Option<Instant>,
    troubled: Option<(Instant, bool)>,
    /// When it last took its place back.
    taken_back: Option<Instant>,
    /// The last transaction was open for longer than the coordinator lets it be.
    overdue: bool,
}

impl Transactions {
    /// An uplink that has just started.
    pub(super) fn new(local: Local, epoch: u64) -> Self {
        Self {
            number: local.number(),
            local,
            epoch,
            protocol: Protocol::First,
            identity: None,
            state: State::Resuming(Resuming::new(None, 0)),
            coordinators: BTreeMap::new(),
            looking: false,
            partition: 0,
            waits: Backoff::default(),
            setbacks: Backoff::default(),
            not_before: None,
            troubled: None,
            taken_back: None,
            overdue: false,
        }
    }

    /// What the cluster speaks: taken over between transactions.
    pub(super) fn speak(&mut self, protocol: Protocol) {
        if !matches!(self.state, State::Open(_)) {
            self.protocol = protocol;
        }
    }

    /// Where this gateway's cursors lie; known before anything is asked.
    pub(super) fn set_partition(&mut self, partition: i32) {
        self.partition = partition;
        if let State::Resuming(resuming) = &mut self.state {
            resuming.set_partition(partition);
        }
    }

    /// Opens a transaction; only when idle.
    pub(super) fn begin(&mut self, now: Instant) {
        self.number += 1;
        self.state = State::Open(Open::new(self.number, now));
    }

    /// Takes a partition into the open transaction.
    pub(super) fn want(&mut self, lane: &LaneId) {
        if let State::Open(open) = &mut self.state
            && self.protocol == Protocol::First
            && !open.partitions.contains_key(lane)
        {
            open.partitions.insert(lane.clone(), Asking::Due);
        }
    }

    /// Nothing more is added.
    pub(super) fn close(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.phase = Phase::Draining;
        }
    }

    /// Every batch is acknowledged; the cursors lie at `place`. Goes on once the witness is taken, too.
    pub(super) fn drained(&mut self, place: Place, positions: Vec<(u32, i64)>, letters: Vec<Letter>) {
        let State::Open(open) = &mut self.state else { return };
        if open.witness != Asking::Answered {
            return;
        }
        let mark = Mark { number: open.number, epoch: self.epoch, place };
        self.local.pending = Some(Pending { mark, positions, letters });
        open.phase = Phase::Recording(Asking::Due);
    }

    /// The transaction (or what there is instead) can't go on: what became of it is asked for.
    pub(super) fn resume(&mut self) {
        self.state = State::Resuming(Resuming::new(self.identity, self.partition));
        self.settled();
    }

    /// The open transaction came to nothing, for a reason that was met elsewhere.
    pub(super) fn set_back(&mut self, now: Instant, jitter: f64) {
        self.resume();
        self.not_before = Some(now + self.setbacks.fail(SETBACKS, jitter));
    }

    /// The transaction that came to nothing had been open for longer than the coordinator lets it be, which then ends it and, with
    /// the first protocol, answers as if a rival were there.
    pub(super) fn was_overdue(&mut self) {
        self.overdue = true;
    }

    /// Fenced: looks whether the place is free again.
    pub(super) fn look_after(&mut self) {
        if self.is_fenced() {
            self.taken_back = None;
            self.look_who_it_is();
        }
    }

    fn look_who_it_is(&mut self) {
        self.state = State::Resuming(Resuming::peeking(self.partition));
        self.settled();
    }

    /// As after a start: whoever else is this uplink loses its place.
    pub(super) fn take_over(&mut self) {
        self.identity = None;
        self.resume();
    }

    /// As [`Transactions::take_over`], by an operator's word.
    pub(super) fn let_go_on(&mut self) {
        self.taken_back = None;
        self.take_over();
    }

    /// A broker is out of reach, or its answers make no sense: who coordinates is asked for anew.
    pub(super) fn node_failed(&mut self, node: i32) {
        self.coordinators.retain(|_, (coordinator, _)| *coordinator != node);
    }

    /// Metadata of `at` does not know that broker. If it was told of as a coordinator before, it has gone, and who coordinates now is asked
    /// anew; a broker that has just come (back) may be a coordinator before metadata knows it.
    pub(super) fn node_unknown(&mut self, node: i32, at: Instant) {
        self.coordinators.retain(|_, (coordinator, told)| *coordinator != node || *told >= at);
    }

    /// After [`Happened::Looked`]: where it stands is known now.
    pub(super) fn stand(&mut self, lineage: [u8; 16], number: u64) {
        self.local.lineage = lineage;
        self.local.pending = None;
        self.number = self.number.max(number);
        self.state = State::Idle;
        self.settled();
    }

    /// After [`Happened::Looked`]: an operator must decide.
    pub(super) fn stop(&mut self) {
        self.state = State::Stopped;
    }

    /// What was found by looking through the cursors; the witness besides.
    pub(super) fn looked(&mut self) -> Option<super::resuming::Found> {
        if let State::Resuming(resuming) = &mut self.state { resuming.found() } else { None }
    }

    /// What the next records of cursors continue.
    pub(super) fn log(&self) -> Option<super::committed::Committed> {
        if let State::Resuming(resuming) = &self.state { resuming.log() } else { None }
    }

    /// The next question, and whom to ask; `None` if nothing is to be asked now.
    pub(super) fn next(&self, now: Instant) -> Option<(Ask, Whom)> {
        if self.looking || self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        let (ask, role) = match &self.state {
            State::Resuming(resuming) => match resuming.next()? {
                (ask, Some(role)) => (ask, Some(role)),
                (ask @ (Ask::First { partition } | Ask::Read { from: Place { partition, .. }, .. }), None) => {
                    return Some((ask, Whom::Cursors(partition)));
                }
                (ask, None) => return Some((ask, Whom::Anyone)),
            },
            State::Open(open) => open.next(self.protocol)?,
            State::Idle | State::Fenced | State::Stopped => return None,
        };
        match role {
            None => Some((ask, Whom::Here)),
            Some(role) => match self.coordinators.get(&(role as u8)) {
                Some((node, _)) => Some((ask, Whom::Coordinator(*node))),
                None => Some((Ask::Coordinator(role), Whom::Anyone)),
            },
        }
    }

    /// The question was put.
    pub(super) fn asked(&mut self, ask: &Ask) {
        if matches!(ask, Ask::Coordinator(_)) {
            self.looking = true;
            return;
        }
        match &mut self.state {
            State::Resuming(resuming) => resuming.asked(),
            State::Open(open) => open.asked(ask),
            State::Idle | State::Fenced | State::Stopped => {}
        }
    }

    /// An answer.
    pub(super) fn heard(&mut self, heard: Heard, now: Instant, jitter: f64) -> Happened {
        if let Heard::Coordinator(role, result) = heard {
            self.looking = false;
            return match result {
                Ok(node) => {
                    self.coordinators.insert(role as u8, (node, now));
                    Happened::Nothing
                }
                Err(failure) => self.trouble(&failure, None, "FindCoordinator", now, jitter),
            };
        }
        match &self.state {
            State::Resuming(_) => self.heard_resuming(heard, now, jitter),
            State::Open(_) => self.heard_open(heard, now, jitter),
            // To a question of before.
            State::Idle | State::Fenced | State::Stopped => Happened::Nothing,
        }
    }

    fn heard_resuming(&mut self, heard: Heard, now: Instant, jitter: f64) -> Happened {
        let State::Resuming(resuming) = &mut self.state else { return Happened::Nothing };
        let role = resuming.role();
        let (step, identity) = match resuming.heard(heard, &self.local) {
            Ok(answered) => answered,
            Err((api, failure)) => {
                if failure.remedy() == Remedy::Displaced {
                    // A rival; or the coordinator itself, which ended a transaction that took too long.
                    self.look_who_it_is();
                    return Happened::Nothing;
                }
                if failure.remedy() == Remedy::Forgotten {
                    resuming.keep_nobody();
                }
                return self.trouble(&failure, role, api, now, jitter);
            }
        };
        if let Some(identity) = identity {
            self.identity = Some(identity);
        }
        self.settled();
        match step {
            Step::Further => Happened::Nothing,
            Step::Looked => Happened::Looked,
            Step::PlaceIsFree => self.take_back(now),
            Step::PlaceIsTaken => self.fenced(),
            Step::Known { committed } => {
                self.state = State::Idle;
                let pending = self.local.pending.take();
                if committed && let Some(pending) = &pending {
                    self.local.last = Some(pending.mark);
                }
                Happened::Resumed { pending, committed }
            }
        }
    }

    /// Somebody else is in this uplink's place, and has committed nothing.
    fn take_back(&mut self, now: Instant) -> Happened {
        if !std::mem::take(&mut self.overdue) {
            if self.taken_back.is_some_and(|at| now.saturating_duration_since(at) < RIVAL_WITHIN) {
                return self.fenced();
            }
            self.taken_back = Some(now);
        }
        self.take_over();
        Happened::Nothing
    }

    fn fenced(&mut self) -> Happened {
        self.state = State::Fenced;
        Happened::Fenced
    }

    fn heard_open(&mut self, heard: Heard, now: Instant, jitter: f64) -> Happened {
        let State::Open(open) = &mut self.state else { return Happened::Nothing };
        let (api, role, failure) = match heard {
            Heard::Partitions(asked, result) => match result {
                Ok(refused) => return self.heard_partitions(&asked, refused, now, jitter),
                Err(failure) => {
                    open.due_again(&asked);
                    ("AddPartitionsToTxn", Role::Transactions, failure)
                }
            },
            Heard::Group(result) => match open.group.answered(result) {
                Ok(()) => return self.went_on(),
                Err(failure) => ("AddOffsetsToTxn", Role::Transactions, failure),
            },
            Heard::CommitWitness(result) => match open.witness.answered(result) {
                Ok(()) => return self.went_on(),
                Err(failure) => ("TxnOffsetCommit", Role::Group, failure),
            },
            Heard::Record(Ok(())) => {
                open.phase = Phase::Ending(Asking::Due);
                return self.went_on();
            }
            Heard::Record(Err(why)) => {
                self.set_back(now, jitter);
                return Happened::Broken(format!("the transaction could not be made durable here: {why}"));
            }
            Heard::End(Ok(next)) => return self.committed(next),
            Heard::End(Err(failure)) => {
                open.phase = Phase::Ending(Asking::Due);
                ("EndTxn", Role::Transactions, failure)
            }
            _ => return Happened::Nothing,
        };
        self.trouble(&failure, Some(role), api, now, jitter)
    }

    fn heard_partitions(
        &mut self,
        asked: &[LaneId],
        refused: Vec<(LaneId, Failure)>,
        now: Instant,
        jitter: f64,
    ) -> Happened {
        let State::Open(open) = &mut self.state else { return Happened::Nothing };
        for lane in asked {
            open.partitions.insert(lane.clone(), Asking::Answered);
        }
        // All are refused with one that is. Those that only share its fate say so.
        const NOT_ATTEMPTED: i16 = crate::kafka::error_code::ErrorCode::OperationNotAttempted.code();
        let first = refused.iter().position(|(_, failure)| failure.code != Some(NOT_ATTEMPTED)).unwrap_or(0);
        let Some((lane, failure)) = refused.into_iter().nth(first) else { return self.went_on() };
        open.due_again(asked);
        if failure.remedy() == Remedy::Refused {
            let why = format!("AddPartitionsToTxn: {failure}");
            self.resume();
            return Happened::TopicRefused { topic: lane.0, why };
        }
        self.trouble(&failure, Some(Role::Transactions), "AddPartitionsToTxn", now, jitter)
    }

    fn committed(&mut self, next: Option<Identity>) -> Happened {
        if let Some(pending) = self.local.pending.take() {
            self.local.last = Some(pending.mark);
        }
        self.identity = next.or(self.identity);
        self.state = State::Idle;
        self.overdue = false;
        self.setbacks.succeed();
        self.settled();
        Happened::Committed
    }

    fn went_on(&mut self) -> Happened {
        self.settled();
        Happened::Nothing
    }

    /// Questions are answered again.
    fn settled(&mut self) {
        self.waits.succeed();
        self.not_before = None;
        self.troubled = None;
    }

    /// A question has no good answer.
    fn trouble(
        &mut self,
        failure: &Failure,
        role: Option<Role>,
        api: &'static str,
        now: Instant,
        jitter: f64,
    ) -> Happened {
        let text = format!("{api}: {failure}");
        let remedy = failure.remedy();
        if let (Remedy::Elsewhere, Some(role)) = (remedy, role) {
            self.coordinators.remove(&(role as u8));
        }
        if remedy == Remedy::Forgotten {
            self.identity = None;
        }
        if self.open().is_some() && !matches!(remedy, Remedy::Again | Remedy::Elsewhere | Remedy::Refused) {
            self.set_back(now, jitter);
            return Happened::Broken(text);
        }
        if remedy == Remedy::Shorter {
            self.not_before = Some(now + self.waits.fail(WAITS, jitter));
            return Happened::TooPatient(text);
        }
        if remedy == Remedy::Refused {
            if self.open().is_some() {
                self.resume();
            }
            self.not_before = Some(now + self.setbacks.fail(REFUSALS, jitter));
            return Happened::Refused(text);
        }
        self.not_before = Some(now + self.waits.fail(WAITS, jitter));
        let (since, told) = self.troubled.get_or_insert((now, false));
        if !*told && now.saturating_duration_since(*since) >= ALARM_AFTER {
            *told = true;
            return Happened::Alarm(text);
        }
        Happened::Nothing
    }
}

mod looks;
#[cfg(test)]
mod tests;
