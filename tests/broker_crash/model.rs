//! What the gateway must hold, as its clients know it: the obvious implementation.
//!
//! The model moves by [`Event`]s: what clients asked for, and what they were told. What was told is certain; what was
//! asked for and not answered may be there or not, in the order in which it was asked. After a crash, [`Model::settle`]
//! takes what was found for certain: whoever has seen it must go on seeing it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use brooklet::broker::{TopicId, partition_for_key};
use brooklet::record::{BatchBuilder, Compression, NO_HEADERS, Producer};
use brooklet::store::{Intervals, PartitionId};
use fastrand::Rng;

use crate::check::Found;
use crate::harness::{Verdict, ensure};

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    Lane(u32),
    Device(u32),
}

/// A value that changes in the order asked.
#[derive(Clone, Debug)]
pub struct Register<T> {
    pub known: Option<T>,
    asked: VecDeque<(u64, T)>,
}

impl<T> Default for Register<T> {
    fn default() -> Self {
        Self { known: None, asked: VecDeque::new() }
    }
}

impl<T: Clone + PartialEq> Register<T> {
    pub fn ask(&mut self, ticket: u64, value: T) {
        self.asked.push_back((ticket, value));
    }

    /// This request was done, and so was every one before it that wasn't refused.
    pub fn told(&mut self, ticket: u64) {
        while self.asked.front().is_some_and(|(asked, _)| *asked <= ticket) {
            self.known = self.asked.pop_front().filter(|(done, _)| *done == ticket).map(|(_, value)| value);
        }
    }

    /// This request was not done, and won't be.
    pub fn refused(&mut self, ticket: u64) {
        self.asked.retain(|(asked, _)| *asked != ticket);
    }

    /// What it may be.
    pub fn possible(&self, value: Option<&T>) -> bool {
        self.known.as_ref() == value || self.asked.iter().any(|(_, asked)| Some(asked) == value)
    }

    /// What it will be once everything asked for is done.
    pub fn last(&self) -> Option<&T> {
        self.asked.back().map(|(_, value)| value).or(self.known.as_ref())
    }

    fn settle(&mut self, value: Option<T>) {
        *self = Self { known: value, asked: VecDeque::new() };
    }
}

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
                let mut exists = Register { known: Some(false), ..Register::default() };
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
            Event::Durable { device, number, state, last } => {
                let device = &mut self.devices[*device as usize];
                let publish = &mut device.publishes[*number];
                if publish.state == State::Open {
                    publish.state = *state;
                }
                if let Some(last) = last {
                    let serial = publish.first_serial + publish.records.len() as u64 - 1;
                    let before = device.placed.insert(serial, *last);
                    ensure!(before.is_none_or(|before| before == *last), "record {serial} at {before:?} and {last:?}");
                }
            }
            Event::OffsetAsked { ticket, key, offset } => self.offsets.entry(*key).or_default().ask(*ticket, *offset),
            Event::OffsetKept { ticket, key } => self.offsets.entry(*key).or_default().told(*ticket),
            Event::PositionAsked { ticket, partition, position } => {
                self.positions.entry(*partition).or_default().ask(*ticket, position.clone());
            }
            Event::PositionKept { ticket, partition } => self.positions.entry(*partition).or_default().told(*ticket),
            Event::Refused { ticket } => self.refused(*ticket),
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

/// The bytes of a batch: the same whenever they are asked for.
pub fn batch_bytes(lane: u32, producer: i64, batch: &Batch) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for (number, size) in (batch.sequence as u64..).zip(batch.sizes.iter()) {
        let value = value(Writer::Lane(lane), number, *size as usize);
        builder.push(1_700_000_000_000 + number as i64, None, Some(&value), NO_HEADERS).unwrap();
    }
    builder.finish_with(batch.compression, Producer { id: producer, epoch: 0, base_sequence: batch.sequence })
}

/// The partition of a device's record with this key.
pub fn partition_of(topic: &Topic, key: u8) -> PartitionId {
    topic.partitions[partition_for_key(&[key], topic.count) as usize]
}

const HEAD_BYTES: usize = 17;

/// A record's value: whose and which it is, and then bytes that follow from that.
pub fn value(writer: Writer, number: u64, len: usize) -> Vec<u8> {
    let (kind, writer) = match writer {
        Writer::Lane(lane) => (0, lane),
        Writer::Device(device) => (1, device),
    };
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&writer.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(len as u32).to_le_bytes());
    let mut filling = vec![0; len.saturating_sub(HEAD_BYTES)];
    Rng::with_seed(number ^ u64::from(writer) << 40 ^ u64::from(kind) << 60).fill(&mut filling);
    bytes.extend_from_slice(&filling);
    bytes
}

/// Whose record a value is, and which; `None` if a single byte of it is wrong.
pub fn identify(bytes: &[u8]) -> Option<(Writer, u64)> {
    let writer = u32::from_le_bytes(bytes.get(1..5)?.try_into().ok()?);
    let number = u64::from_le_bytes(bytes.get(5..13)?.try_into().ok()?);
    let len = u32::from_le_bytes(bytes.get(13..17)?.try_into().ok()?);
    let writer = if bytes[0] == 0 { Writer::Lane(writer) } else { Writer::Device(writer) };
    // A damaged length must not make up gigabytes.
    let plausible = (len as usize).max(HEAD_BYTES) == bytes.len();
    (plausible && value(writer, number, len as usize) == bytes).then_some((writer, number))
}
