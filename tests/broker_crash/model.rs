//! What the gateway must hold, as its clients know it: the obvious implementation.
//!
//! The model moves by [`Event`]s: what clients asked for, and what they were told. What was told is certain; what was
//! asked for and not answered may be there or not, in the order in which it was asked. After a crash, [`Model::settle`]
//! takes what was found for certain: whoever has seen it must go on seeing it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use brooklet::broker::TopicId;
use brooklet::record::Compression;
use brooklet::store::{Intervals, PartitionId};

use crate::check::Found;
use crate::crew::{Crew, CrewEvent};
use crate::harness::{Verdict, ensure};
use crate::register::Register;

/// One life of a topic: a name that is made again is another one.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub count: u32,
    /// Known once it was told or found.
    pub partitions: Vec<PartitionId>,
    pub exists: Register<bool>,
}

impl Topic {
    /// Whether it is there for certain, with nobody deleting it.
    pub fn is_usable(&self) -> bool {
        self.exists.known == Some(true) && self.exists.last() == Some(&true)
    }

    pub fn is_gone(&self) -> bool {
        !self.exists.possible(Some(&true))
    }
}

/// What an idempotent Kafka producer writes to one partition.
#[derive(Clone, Debug)]
pub struct Lane {
    pub producer: i64,
    pub topic: TopicId,
    pub index: i32,
    pub partition: PartitionId,
    /// All that was ever sent, in order.
    pub batches: Vec<Batch>,
}

#[derive(Clone, Debug)]
pub struct Batch {
    pub sequence: i32,
    /// Bytes of each record's value.
    pub sizes: Arc<[u32]>,
    pub compression: Compression,
    pub crc: u32,
    pub acked: bool,
    /// Where it lies, once that was told or seen.
    pub at: Option<i64>,
    /// How often it was sent since the gateway was opened.
    pub sent: u32,
}

impl Batch {
    pub fn count(&self) -> i64 {
        self.sizes.len() as i64
    }
}

/// A native client: it numbers its records, and sends again what it has not had acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Device {
    pub epoch: Option<u64>,
    pub next_sequence: u64,
    pub next_serial: u64,
    pub publishes: Vec<Publish>,
    /// Where each record was seen, by its serial.
    pub placed: BTreeMap<u64, (PartitionId, i64)>,
}

/// Some records of a device, all stored or none.
#[derive(Clone, Debug)]
pub struct Publish {
    /// The session epoch that `first_sequence` is of.
    pub epoch: u64,
    pub first_sequence: u64,
    /// Numbers of the records in the device's whole life.
    pub first_serial: u64,
    pub topic: TopicId,
    /// Partition, key and bytes of the value of each.
    pub records: Vec<(PartitionId, u8, u32)>,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not acknowledged: it is sent again until it is.
    Open,
    Acked,
    /// Acknowledged from memory: it may be lost, and isn't sent again.
    Memory,
    /// Its topic is gone: its sequences were used up without it.
    Skipped,
    /// The device has forgotten it.
    Abandoned,
}

impl Publish {
    pub fn last_sequence(&self) -> u64 {
        self.first_sequence + self.records.len() as u64 - 1
    }
}

/// What clients ask for and are told.
#[derive(Clone, Debug)]
pub enum Event {
    TopicAsked {
        ticket: u64,
        id: TopicId,
        name: String,
        count: u32,
    },
    TopicMade {
        ticket: u64,
        id: TopicId,
        partitions: Vec<PartitionId>,
    },
    DeletionAsked {
        ticket: u64,
        id: TopicId,
    },
    Deleted {
        ticket: u64,
        id: TopicId,
    },
    TrimAsked {
        ticket: u64,
        partition: PartitionId,
        to: i64,
    },
    Trimmed {
        ticket: u64,
        partition: PartitionId,
    },
    ProducerId {
        id: i64,
    },
    LaneOpened {
        producer: i64,
        topic: TopicId,
        index: i32,
        partition: PartitionId,
    },
    Sent {
        lane: u32,
        batch: Batch,
    },
    SentAgain {
        lane: u32,
        number: usize,
    },
    Stored {
        lane: u32,
        number: usize,
        at: i64,
        duplicate: bool,
    },
    SessionOpened {
        device: u32,
        epoch: u64,
        resumed: bool,
        last_durable: u64,
    },
    /// It comes without its memory.
    Forgot {
        device: u32,
    },
    Published {
        device: u32,
        publish: Publish,
    },
    /// A publish was answered.
    Durable {
        device: u32,
        number: usize,
        state: State,
        last: Option<(PartitionId, i64)>,
    },
    OffsetAsked {
        ticket: u64,
        key: OffsetKey,
        offset: i64,
    },
    OffsetKept {
        ticket: u64,
        key: OffsetKey,
    },
    PositionAsked {
        ticket: u64,
        partition: PartitionId,
        position: Intervals,
    },
    PositionKept {
        ticket: u64,
        partition: PartitionId,
    },
    /// A request was refused: it is not done, and won't be.
    Refused {
        ticket: u64,
    },
    /// Of the group's members.
    Crew(CrewEvent),
    /// Readers can see this much.
    Shown {
        partition: PartitionId,
        high_watermark: i64,
    },
}

/// Reader, topic, index.
pub type OffsetKey = (u8, TopicId, i32);

/// Everything that is known.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub topics: BTreeMap<TopicId, Topic>,
    pub lanes: Vec<Lane>,
    pub devices: Vec<Device>,
    pub offsets: BTreeMap<OffsetKey, Register<i64>>,
    pub positions: BTreeMap<PartitionId, Register<Intervals>>,
    /// Log starts that were asked for.
    pub trims: BTreeMap<PartitionId, Register<i64>>,
    /// The topic of every partition there ever was.
    pub owners: BTreeMap<PartitionId, TopicId>,
    /// High watermarks that readers have seen.
    pub shown: BTreeMap<PartitionId, i64>,
    pub producers: BTreeSet<i64>,
    pub crew: Crew,
}

impl Model {
    pub fn new(devices: usize) -> Self {
        let device = Device { next_sequence: 1, ..Device::default() };
        Self { devices: vec![device; devices], ..Self::default() }
    }

    /// The lane of a producer in a partition.
    pub fn lane(&self, producer: i64, partition: PartitionId) -> Option<u32> {
        let found = self.lanes.iter().position(|lane| lane.producer == producer && lane.partition == partition);
        found.map(|lane| lane as u32)
    }

    /// Takes what happened.
    ///
    /// # Errors
    /// If it should not have.
    pub fn take(&mut self, event: &Event) -> Verdict {
        match event {
            Event::TopicAsked { ticket, id, name, count } => {
                let mut exists = Register::known(false);
                exists.ask(*ticket, true);
                self.topics.insert(*id, Topic { name: name.clone(), count: *count, partitions: Vec::new(), exists });
            }
            Event::TopicMade { ticket, id, partitions } => {
                self.topics.get_mut(id).ok_or("a topic nobody asked for")?.exists.told(*ticket);
                self.own(*id, partitions)?;
            }
            Event::DeletionAsked { ticket, id } => self.topic(id)?.exists.ask(*ticket, false),
            Event::Deleted { ticket, id } => self.topic(id)?.exists.told(*ticket),
            Event::TrimAsked { ticket, partition, to } => {
                let trim = self.trims.entry(*partition).or_default();
                let to = trim.last().copied().unwrap_or(0).max(*to);
                trim.ask(*ticket, to);
            }
            Event::Trimmed { ticket, partition } => self.trims.entry(*partition).or_default().told(*ticket),
            Event::ProducerId { id } => {
                ensure!(self.producers.insert(*id), "producer id {id} was given before");
            }
            Event::LaneOpened { producer, topic, index, partition } => self.lanes.push(Lane {
                producer: *producer,
                topic: *topic,
                index: *index,
                partition: *partition,
                batches: Vec::new(),
            }),
            Event::Sent { lane, batch } => self.lanes[*lane as usize].batches.push(batch.clone()),
            Event::SentAgain { lane, number } => self.lanes[*lane as usize].batches[*number].sent += 1,
            Event::Stored { lane, number, at, duplicate } => self.stored(*lane, *number, *at, *duplicate)?,
            Event::SessionOpened { device, epoch, resumed, last_durable } => {
                self.session_opened(*device, *epoch, *resumed, *last_durable)?;
            }
            Event::Forgot { device } => {
                let device = &mut self.devices[*device as usize];
                device.epoch = None;
                let open = device.publishes.iter_mut().filter(|publish| publish.state == State::Open);
                open.for_each(|publish| publish.state = State::Abandoned);
            }
            Event::Published { device, publish } => {
                let device = &mut self.devices[*device as usize];
                device.next_sequence = publish.last_sequence() + 1;
                device.next_serial += publish.records.len() as u64;
                device.publishes.push(publish.clone());
            }
            Event::Durable { device, number, state, last } => self.durable(*device, *number, *state, *last)?,
            Event::OffsetAsked { ticket, key, offset } => self.offsets.entry(*key).or_default().ask(*ticket, *offset),
            Event::OffsetKept { ticket, key } => self.offsets.entry(*key).or_default().told(*ticket),
            Event::PositionAsked { ticket, partition, position } => {
                self.positions.entry(*partition).or_default().ask(*ticket, position.clone());
            }
            Event::PositionKept { ticket, partition } => self.positions.entry(*partition).or_default().told(*ticket),
            Event::Refused { ticket } => self.refused(*ticket),
            Event::Crew(event) => self.crew.take(event)?,
            Event::Shown { partition, high_watermark } => {
                let shown = self.shown.entry(*partition).or_default();
                ensure!(*shown <= *high_watermark, "{partition:?} went back from {shown} to {high_watermark}");
                *shown = *high_watermark;
            }
        }
        Ok(())
    }

    fn topic(&mut self, id: &TopicId) -> Result<&mut Topic, String> {
        self.topics.get_mut(id).ok_or_else(|| format!("topic {id} is unknown"))
    }

    /// Partitions belong to one topic for ever.
    fn own(&mut self, id: TopicId, partitions: &[PartitionId]) -> Verdict {
        for partition in partitions {
            let owner = *self.owners.entry(*partition).or_insert(id);
            ensure!(owner == id, "{partition:?} was {owner}'s and is given to {id}");
        }
        let topic = self.topic(&id)?;
        ensure!(partitions.len() == topic.count as usize, "{} has {partitions:?}", topic.name);
        ensure!(topic.partitions.is_empty() || topic.partitions == partitions, "{} has {partitions:?}", topic.name);
        topic.partitions = partitions.to_vec();
        Ok(())
    }

    fn stored(&mut self, lane: u32, number: usize, at: i64, duplicate: bool) -> Verdict {
        let batch = &mut self.lanes[lane as usize].batches[number];
        if let Some(before) = batch.at {
            ensure!(before == at && duplicate, "lane {lane}, batch {number}: at {before}, now {at} ({duplicate})");
        } else {
            ensure!(
                !duplicate || batch.sent > 1,
                "lane {lane}, batch {number}: a resend at {at}, though it wasn't there"
            );
        }
        (batch.acked, batch.at) = (true, Some(at));
        Ok(())
    }

    fn durable(&mut self, device: u32, number: usize, state: State, last: Option<(PartitionId, i64)>) -> Verdict {
        let device = &mut self.devices[device as usize];
        let publish = &mut device.publishes[number];
        if publish.state == State::Open {
            publish.state = state;
        }
        if let Some(last) = last {
            let serial = publish.first_serial + publish.records.len() as u64 - 1;
            let before = device.placed.insert(serial, last);
            ensure!(before.is_none_or(|before| before == last), "record {serial} at {before:?} and {last:?}");
        }
        Ok(())
    }

    fn session_opened(&mut self, number: u32, epoch: u64, resumed: bool, last_durable: u64) -> Verdict {
        let device = &mut self.devices[number as usize];
        let acked = |publish: &&Publish| {
            Some(publish.epoch) == device.epoch && matches!(publish.state, State::Acked | State::Skipped)
        };
        let durable = device.publishes.iter().rev().find(acked).map_or(0, Publish::last_sequence);
        if resumed {
            let sent = device.next_sequence - 1;
            ensure!(device.epoch == Some(epoch), "device {number}: epoch {epoch}, not {:?}", device.epoch);
            ensure!(
                (durable..=sent).contains(&last_durable),
                "device {number}: {last_durable} durable, not {durable} to {sent}"
            );
            return Ok(());
        }
        ensure!(durable == 0, "device {number}: its epoch is forgotten, though {durable} was durable");
        ensure!(device.epoch.is_none_or(|before| before < epoch), "device {number}: epoch {epoch} again");
        let mut next = 1;
        for publish in device.publishes.iter_mut().filter(|publish| publish.state == State::Open) {
            (publish.epoch, publish.first_sequence) = (epoch, next);
            next += publish.records.len() as u64;
        }
        (device.epoch, device.next_sequence) = (Some(epoch), next);
        Ok(())
    }

    fn refused(&mut self, ticket: u64) {
        self.topics.values_mut().for_each(|topic| topic.exists.refused(ticket));
        self.offsets.values_mut().for_each(|register| register.refused(ticket));
        self.positions.values_mut().for_each(|register| register.refused(ticket));
        self.trims.values_mut().for_each(|register| register.refused(ticket));
    }

    /// Takes what was found after a crash for certain.
    ///
    /// # Errors
    /// If it can't be.
    pub fn settle(&mut self, found: &Found) -> Verdict {
        for (id, partitions) in &found.topics {
            self.own(*id, partitions)?;
        }
        for (id, topic) in &mut self.topics {
            topic.exists.settle(Some(found.topics.contains_key(id)));
        }
        for (key, offset) in &found.offsets {
            self.offsets.entry(*key).or_default().settle(*offset);
        }
        for (partition, position) in &found.positions {
            self.positions.entry(*partition).or_default().settle(position.clone());
        }
        for (partition, log) in &found.logs {
            self.trims.entry(*partition).or_default().settle(Some(log.start));
            self.shown.insert(*partition, log.end);
            for (lane, batch, at) in &log.batches {
                self.lanes[*lane as usize].batches[*batch].at = Some(*at);
            }
            for (device, serial, offset) in &log.natives {
                self.devices[*device as usize].placed.insert(*serial, (*partition, *offset));
            }
        }
        let batches = self.lanes.iter_mut().flat_map(|lane| &mut lane.batches);
        batches.for_each(|batch| batch.sent = 0);
        Ok(())
    }
}
