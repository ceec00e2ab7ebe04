//! A broker over a simulated disk, and what it answers its clients. What the clients do is in `clients`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brooklet::broker::{Broker, BrokerOptions, DeviceSession, OffsetError, ProduceError, Topic};
use brooklet::store::clock::{Clock, ManualClock};
use brooklet::store::sim::SimDisk;
use brooklet::store::{CommitObserver, Committed, Engine, Store, StoreOptions};
use fastrand::Rng;

use crate::check::FOLLOWER;
use crate::clients::publishes_to_memory;
use crate::model::{Event, Model, State};
use crate::tasks::{Answer, Asked, Tasks};

/// What happened, with the operations of the disk done by then.
pub type Journal = Vec<(u64, Event)>;

/// A gateway being driven.
pub struct Gateway {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub broker: Broker,
    pub engine: Engine,
    pub rng: Rng,
    /// What is known now.
    pub model: Model,
    pub tasks: Tasks,
    pub lanes: Vec<LaneState>,
    pub devices: Vec<DeviceState>,
    /// Which members of the group wait for an answer to joining.
    pub members_busy: Vec<bool>,
    pub tickets: u64,
    /// Largest batch of a Kafka producer, bytes of records.
    pub batch_bytes: u32,
    /// The bound is met all the time, and topics have settings of what goes first.
    pub tight: bool,
    /// Failures of the medium or a lack of room are expected.
    pub trouble_expected: bool,
    journal: Arc<Mutex<Journal>>,
    taken: usize,
    pub wrong: Vec<String>,
    pub troubles: Vec<String>,
}

/// A Kafka producer's side of a partition.
#[derive(Clone, Debug, Default)]
pub struct LaneState {
    pub in_flight: usize,
    /// Something failed: once everything is answered, all that isn't acknowledged is sent again.
    pub broken: bool,
}

/// A device's side.
#[derive(Default)]
pub struct DeviceState {
    pub session: Option<Arc<DeviceSession>>,
    pub opening: bool,
    pub in_flight: usize,
    pub broken: bool,
}

/// Tells what readers can see.
struct Observer {
    disk: SimDisk,
    journal: Arc<Mutex<Journal>>,
}

impl CommitObserver for Observer {
    fn committed(&self, committed: &Committed) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, high_watermark) in &committed.advanced {
            let event = Event::Shown { partition: *partition, high_watermark: *high_watermark };
            journal.push((self.disk.ops(), event));
        }
    }
}

impl Gateway {
    /// Opens the gateway on `disk`; its clients know `model`.
    ///
    /// # Errors
    /// In words.
    pub fn open(disk: SimDisk, options: &StoreOptions, model: Model, seed: u64) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::default());
        let (store, engine) = Store::open(options.clone(), Arc::new(disk.clone()), clock.clone())
            .map_err(|error| format!("opening: {error}"))?;
        let journal = Arc::new(Mutex::new(Vec::new()));
        store.observe(Arc::new(Observer { disk: disk.clone(), journal: Arc::clone(&journal) }));
        let options = BrokerOptions {
            auto_create: false,
            initial_rebalance_delay: Duration::ZERO,
            group_clock: Some(Arc::clone(&clock) as Arc<dyn Clock>),
            ..BrokerOptions::default()
        };
        let broker = Broker::new(store, options)?;
        broker.add_follower(FOLLOWER, Arc::new(|topic: &Topic| !topic.is_internal()));
        let mut gateway = Self {
            disk,
            clock,
            broker,
            engine,
            rng: Rng::with_seed(seed),
            lanes: vec![LaneState { in_flight: 0, broken: true }; model.lanes.len()],
            devices: model.devices.iter().map(|_| DeviceState::default()).collect(),
            members_busy: vec![false; model.crew.members.len()],
            model,
            tasks: Tasks::default(),
            tickets: 0,
            batch_bytes: 60_000,
            tight: false,
            trouble_expected: false,
            journal,
            taken: 0,
            wrong: Vec::new(),
            troubles: Vec::new(),
        };
        gateway.tickets = seed << 20;
        Ok(gateway)
    }

    /// Whether the store has failed.
    pub fn is_stopped(&self) -> bool {
        self.broker.store().status().poisoned.is_some()
    }

    pub fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    /// Notes what happened just now.
    pub fn note(&mut self, event: Event) {
        self.note_at(self.disk.ops(), event);
    }

    fn note_at(&mut self, disk_ops: u64, event: Event) {
        self.journal().push((disk_ops, event));
        self.catch_up();
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the model by what it hasn't taken.
    fn catch_up(&mut self) {
        let journal = Arc::clone(&self.journal);
        let journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, event) in journal.get(self.taken..).unwrap_or_default() {
            if let Err(what) = self.model.take(event) {
                self.wrong.push(what);
            }
        }
        self.taken = journal.len();
    }

    /// What happened since it was opened, in order.
    pub fn history(&self) -> Journal {
        let mut journal = self.journal().clone();
        journal.sort_by_key(|(disk_ops, _)| *disk_ops);
        journal
    }

    /// Takes in what was answered. Whether there was anything.
    pub fn listen(&mut self) -> bool {
        self.catch_up();
        self.keep_groups();
        let answered = self.tasks.poll();
        let any = answered.iter().any(|(_, asked, _)| !matches!(asked, Asked::Round));
        for (disk_ops, asked, answer) in answered {
            self.answered(disk_ops, asked, answer);
        }
        any
    }

    /// Groups get on, by the simulated time; where they have no members, nothing is to be done.
    fn keep_groups(&mut self) {
        if self.members_busy.is_empty() || self.tasks.keeps_groups() {
            return;
        }
        let broker = self.broker.clone();
        let round = async move {
            broker.step_groups().await;
            Answer::Round
        };
        self.tasks.spawn(&self.disk, Asked::Round, round);
    }

    fn answered(&mut self, disk_ops: u64, asked: Asked, answer: Answer) {
        let event = match (asked, answer) {
            (Asked::Topic { ticket, id }, Answer::Topic(result)) => self
                .expect(ticket, result)
                .map(|topic| Event::TopicMade { ticket, id, partitions: topic.partitions.clone() }),
            (Asked::Deletion { ticket, id }, Answer::Deleted(result)) => {
                self.expect(ticket, result).map(|()| Event::Deleted { ticket, id })
            }
            (Asked::Trim { ticket, partition }, Answer::Trimmed(result)) => match result {
                // Its topic was deleted before it.
                Err(brooklet::broker::TopicError::Unknown(_)) => Some(Event::Refused { ticket }),
                result => self.expect(ticket, result).map(|_| Event::Trimmed { ticket, partition }),
            },
            (Asked::Offset { ticket, key }, Answer::Offset(result)) => {
                self.expect(ticket, result).map(|()| Event::OffsetKept { ticket, key })
            }
            (Asked::Position { ticket, partition }, Answer::Position(result)) => {
                self.expect(ticket, result).map(|()| Event::PositionKept { ticket, partition })
            }
            (Asked::ProducerId, Answer::ProducerId(result)) => {
                self.expect(0, result).map(|id| Event::ProducerId { id })
            }
            (Asked::Batch { lane, number }, Answer::Stored(result)) => self.batch_answered(lane, number, result),
            (Asked::Session { device }, Answer::Session(result)) => self.session_answered(device, result),
            (Asked::Publish { device, number }, Answer::Published(result)) => {
                let state = if publishes_to_memory(device) { State::Memory } else { State::Acked };
                self.publish_answered(device, number, result, state)
            }
            (Asked::Skip { device, number }, Answer::Published(result)) => {
                self.publish_answered(device, number, result, State::Skipped)
            }
            (Asked::Round, Answer::Round) => None,
            (Asked::Place { member }, Answer::Place(result)) => self.place_answered(member, result),
            (Asked::Work { ticket, key, member }, Answer::Offset(result)) => match result {
                Err(OffsetError::Group(error)) => {
                    self.member_out(member, &error);
                    Some(Event::Refused { ticket })
                }
                result => self.expect(ticket, result).map(|()| Event::OffsetKept { ticket, key }),
            },
            (asked, _) => {
                self.wrong.push(format!("another kind of answer than asked for: {asked:?}"));
                None
            }
        };
        if let Some(event) = event {
            self.note_at(disk_ops, event);
        }
    }

    /// What a request that changes nothing but the store gave. A failed one may be done or not.
    fn expect<T, E: std::fmt::Display>(&mut self, ticket: u64, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.failed(&format!("request {ticket}: {error}"))).ok()
    }

    pub fn failed(&mut self, what: &str) {
        if !self.trouble_expected {
            self.wrong.push(what.to_owned());
        }
    }

    fn batch_answered(
        &mut self,
        lane: u32,
        number: usize,
        result: Result<brooklet::broker::Appended, ProduceError>,
    ) -> Option<Event> {
        let usable = self.model.topics[&self.model.lanes[lane as usize].topic].is_usable();
        let state = &mut self.lanes[lane as usize];
        state.in_flight -= 1;
        match result {
            Ok(stored) => {
                return Some(Event::Stored { lane, number, at: stored.base_offset, duplicate: stored.duplicate });
            }
            Err(ProduceError::UnknownPartition) if !usable => state.broken = true,
            // One before it has failed.
            Err(ProduceError::OutOfOrderSequence { .. }) if state.broken => {}
            Err(error) => {
                state.broken = true;
                self.failed(&format!("lane {lane}, batch {number}: {error}"));
            }
        }
        None
    }

    fn session_answered(&mut self, device: u32, result: Result<Box<DeviceSession>, ProduceError>) -> Option<Event> {
        let state = &mut self.devices[device as usize];
        state.opening = false;
        match result {
            Ok(session) => {
                let (epoch, resumed) = (session.epoch(), session.resumed());
                let last_durable = session.last_durable_sequence();
                state.session = Some(Arc::new(*session));
                state.broken = true;
                Some(Event::SessionOpened { device, epoch, resumed, last_durable })
            }
            Err(error) => {
                self.failed(&format!("device {device}: {error}"));
                None
            }
        }
    }

    fn publish_answered(
        &mut self,
        device: u32,
        number: usize,
        result: Result<brooklet::broker::Published, ProduceError>,
        then: State,
    ) -> Option<Event> {
        let state = &mut self.devices[device as usize];
        state.in_flight -= 1;
        let publish = &self.model.devices[device as usize].publishes[number];
        match result {
            Ok(published) => {
                if publish.state == State::Open && published.last_sequence != publish.last_sequence() {
                    self.wrong.push(format!("device {device}: {published:?} for {publish:?}"));
                }
                if let (State::Memory, Some(session)) = (then, &state.session) {
                    session.acknowledged_from_memory(published.last_sequence);
                }
                // What is in memory only may come to lie elsewhere.
                let last = published.last.filter(|_| then == State::Acked);
                return Some(Event::Durable { device, number, state: then, last });
            }
            Err(ProduceError::UnknownPartition) if !self.model.topics[&publish.topic].is_usable() => {
                state.broken = true
            }
            Err(ProduceError::SequenceGap { .. }) if state.broken => {}
            Err(ProduceError::SessionFenced) => state.broken = true,
            Err(error) => {
                state.broken = true;
                self.failed(&format!("device {device}, publish {number}: {error}"));
            }
        }
        None
    }

    /// Lets the store do one thing, drawn from the seed.
    pub fn turn(&mut self) {
        match self.rng.u8(0..8) {
            0..4 => drop(self.engine.step_writer(false)),
            4 => drop(self.engine.step_writer(true)),
            5 => {
                let sealed = self.engine.step_sealer().map(drop);
                self.trouble(sealed);
            }
            _ => {
                let tidied = self.engine.step_evictor().map(drop);
                self.trouble(tidied);
            }
        }
        self.listen();
    }

    fn trouble(&mut self, outcome: Result<(), impl std::fmt::Display>) {
        if let Err(error) = outcome {
            self.troubles.push(error.to_string());
        }
    }

    /// Lets the store and its clients work until everybody has an answer and nothing is left to tidy up.
    pub fn settle(&mut self) {
        for _ in 0..5_000 {
            self.clock.advance_ms(20);
            let written = self.engine.step_writer(true);
            let sealed = self.engine.step_sealer();
            let tidied = self.engine.step_evictor();
            let stopped = self.is_stopped();
            let moved = self.listen() | (!stopped && self.resume());
            let busy = written.committed.is_some() || matches!(sealed, Ok(true)) || matches!(tidied, Ok(true));
            if !busy && !moved && (self.tasks.is_empty() || stopped) {
                self.trouble(sealed.map(drop));
                self.trouble(tidied.map(drop));
                return;
            }
        }
        let (waiting, last) = (self.tasks.asked(), self.history().pop());
        self.wrong.push(format!("it never comes to rest: {waiting:?} wait; the last was {last:?}"));
    }

    /// The disk, after everything was closed in order.
    ///
    /// # Errors
    /// If that failed.
    pub fn close(self) -> Result<SimDisk, String> {
        self.broker.store().shutdown();
        self.engine.close().map_err(|error| format!("closing: {error}"))?;
        Ok(self.disk)
    }

    /// A number for everything that happened: the same for the same seed.
    pub fn trace(&self) -> u64 {
        let counters = brooklet::store::disk::Disk::counters(&self.disk);
        let mut hash = 0xCBF2_9CE4_8422_2325;
        let mut mix = |text: &str| {
            for byte in text.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
            }
        };
        self.journal().iter().for_each(|event| mix(&format!("{event:?}")));
        mix(&format!("{} {} {counters:?}", self.disk.ops(), self.disk.allocated_max()));
        hash
    }
}
