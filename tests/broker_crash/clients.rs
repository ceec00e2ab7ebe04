//! What clients do, drawn from the seed: Kafka producers, devices, readers, the follower, administrators.

use std::sync::Arc;
use std::time::Duration;

use brooklet::broker::{Acks, CommittedOffset, NewRecord, NewTopic, TopicId};
use brooklet::record::{BatchView, Compression};
use brooklet::store::{Intervals, PartitionId};
use fastrand::Rng;

use crate::check::{CREW, FOLLOWER, READERS};
use crate::gateway::{Gateway, LaneState};
use crate::model::{Batch, Event, Publish, State};
use crate::records::{Writer, batch_bytes, partition_of, value};
use crate::tasks::{Answer, Asked};

/// Names of topics.
const NAMES: usize = 4;
/// Kafka producers that are live at a time.
const PRODUCERS: usize = 3;
/// Most requests of a producer for a partition, and of a device, that wait for an answer; as in Kafka's clients.
const IN_FLIGHT_MAX: usize = 5;

impl Gateway {
    /// Lets clients do `acts` things, and the store work in between.
    pub fn drive(&mut self, acts: u64) {
        for _ in 0..acts {
            self.act();
            self.resume();
            self.clock.advance_ms(self.rng.u64(0..20));
            // Retention is looked at once a minute.
            if self.rng.u8(0..40) == 0 {
                self.clock.advance_ms(61_000);
            }
            for _ in 0..self.rng.usize(0..4) {
                self.turn();
            }
        }
    }

    fn act(&mut self) {
        if !self.members_busy.is_empty() && self.rng.u8(0..3) == 0 {
            return self.member_act();
        }
        match self.rng.u8(0..100) {
            0..40 => self.produce(),
            40..44 => self.produce_again(),
            44..76 => self.publish(),
            76..84 => self.commit_offset(),
            84..90 => self.save_position(),
            90..93 => self.create_topic(),
            93..95 => self.delete_topic(),
            95..97 => self.delete_records(),
            97 => self.reconnect(),
            98 => self.new_producer(),
            _ => self.forget(),
        }
    }

    /// Whoever had a failure, or begins, and has nothing under way, sends again what isn't acknowledged. Whether anyone
    /// did anything.
    pub fn resume(&mut self) -> bool {
        let mut any = false;
        for lane in 0..self.lanes.len() {
            any |= self.resume_lane(lane as u32);
        }
        for device in 0..self.devices.len() {
            any |= self.resume_device(device as u32);
        }
        any
    }

    fn a_topic(&mut self) -> Option<TopicId> {
        let topics: Vec<_> =
            self.model.topics.iter().filter(|(_, topic)| topic.is_usable()).map(|(id, _)| *id).collect();
        self.rng.choice(topics)
    }

    fn a_partition(&mut self) -> Option<(TopicId, i32, PartitionId)> {
        let id = self.a_topic()?;
        let partitions = &self.model.topics[&id].partitions;
        let index = self.rng.usize(0..partitions.len());
        Some((id, index as i32, partitions[index]))
    }

    // ---- Kafka producers

    fn new_producer(&mut self) {
        let broker = self.broker.clone();
        let id = async move { Answer::ProducerId(broker.new_producer_id().await) };
        self.tasks.spawn(&self.disk, Asked::ProducerId, id);
        self.listen();
    }

    fn a_lane(&mut self) -> Option<u32> {
        let producers: Vec<_> = self.model.producers.iter().rev().take(PRODUCERS).copied().collect();
        if producers.len() < PRODUCERS {
            self.new_producer();
        }
        let producer = self.rng.choice(producers)?;
        let (topic, index, partition) = self.a_partition()?;
        if let Some(lane) = self.model.lane(producer, partition) {
            return Some(lane);
        }
        self.note(Event::LaneOpened { producer, topic, index, partition });
        self.lanes.push(LaneState::default());
        Some(self.lanes.len() as u32 - 1)
    }

    fn produce(&mut self) {
        let Some(lane) = self.a_lane() else { return };
        let state = &self.lanes[lane as usize];
        if state.broken || state.in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let batch = self.invent(lane);
        let number = self.model.lanes[lane as usize].batches.len();
        self.note(Event::Sent { lane, batch });
        self.send(lane, number);
    }

    fn invent(&mut self, lane: u32) -> Batch {
        let (model, rng) = (&self.model.lanes[lane as usize], &mut self.rng);
        let sequence = model.batches.last().map_or(0, |last| last.sequence + last.count() as i32);
        let mut left = size(rng, self.batch_bytes);
        let sizes: Arc<[u32]> = (0..1 + rng.usize(0..5))
            .map(|_| {
                let bytes = size(rng, left.max(1));
                left -= bytes.min(left);
                bytes
            })
            .collect();
        let compression = if rng.u8(0..5) == 0 { Compression::Lz4 } else { Compression::None };
        let mut batch = Batch { sequence, sizes, compression, crc: 0, acked: false, at: None, sent: 1 };
        let bytes = batch_bytes(lane, model.producer, &batch);
        batch.crc = BatchView::parse(&bytes).unwrap().0.crc();
        batch
    }

    /// A batch that was sent already, acknowledged or not, comes again: its answer was lost on the way.
    fn produce_again(&mut self) {
        if self.lanes.is_empty() {
            return;
        }
        let lane = self.rng.usize(0..self.lanes.len());
        let sent = self.model.lanes[lane].batches.len();
        let usable = self.model.topics[&self.model.lanes[lane].topic].is_usable();
        if sent == 0 || !usable || self.lanes[lane].broken || self.lanes[lane].in_flight >= IN_FLIGHT_MAX {
            return;
        }
        // The last five are remembered.
        let number = self.rng.usize(sent.saturating_sub(IN_FLIGHT_MAX)..sent);
        self.note(Event::SentAgain { lane: lane as u32, number });
        self.send(lane as u32, number);
    }

    fn send(&mut self, lane: u32, number: usize) {
        let model = &self.model.lanes[lane as usize];
        let bytes = batch_bytes(lane, model.producer, &model.batches[number]);
        let (broker, index, id) = (self.broker.clone(), model.index, model.topic);
        let send = async move {
            let Some(topic) = broker.topic_by_id(id) else {
                return Answer::Stored(Err(brooklet::broker::ProduceError::UnknownPartition));
            };
            let stored = async { broker.produce(&topic, index, bytes, Acks::Flash).await?.wait().await };
            Answer::Stored(stored.await)
        };
        self.lanes[lane as usize].in_flight += 1;
        self.tasks.spawn(&self.disk, Asked::Batch { lane, number }, send);
        self.listen();
    }

    fn resume_lane(&mut self, lane: u32) -> bool {
        let state = &mut self.lanes[lane as usize];
        if !state.broken || state.in_flight > 0 {
            return false;
        }
        let model = &self.model.lanes[lane as usize];
        if !self.model.topics[&model.topic].is_usable() {
            return false;
        }
        state.broken = false;
        let unacked: Vec<_> = (0..model.batches.len()).filter(|number| !model.batches[*number].acked).collect();
        for number in &unacked {
            self.note(Event::SentAgain { lane, number: *number });
            self.send(lane, *number);
        }
        !unacked.is_empty()
    }

    // ---- devices

    fn publish(&mut self) {
        let device = self.rng.usize(0..self.devices.len()) as u32;
        let state = &self.devices[device as usize];
        if state.session.is_none() || state.broken || state.in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let Some(id) = self.a_topic() else { return };
        let (topic, rng) = (&self.model.topics[&id], &mut self.rng);
        let count = 1 + rng.usize(0..4) * rng.usize(0..2);
        let record = |rng: &mut Rng| {
            let key = rng.u8(0..10);
            (partition_of(topic, key), key, size(rng, 400))
        };
        let records = (0..count).map(|_| record(rng)).collect();
        let model = &self.model.devices[device as usize];
        let publish = Publish {
            epoch: model.epoch.unwrap_or(0),
            first_sequence: model.next_sequence,
            first_serial: model.next_serial,
            topic: id,
            records,
            state: State::Open,
        };
        let number = model.publishes.len();
        self.note(Event::Published { device, publish });
        self.send_publish(device, number);
    }

    fn send_publish(&mut self, device: u32, number: usize) {
        let state = &mut self.devices[device as usize];
        let Some(session) = state.session.clone() else { return };
        state.in_flight += 1;
        let publish = &self.model.devices[device as usize].publishes[number];
        let (broker, first) = (self.broker.clone(), publish.first_sequence);
        let topic = broker.topic_by_id(publish.topic);
        let Some(topic) = topic.filter(|_| !self.model.topics[&publish.topic].is_gone()) else {
            let count = publish.records.len() as u64;
            let skip = async move {
                let skipped = async { broker.skip(&session, first, count).await?.wait().await };
                Answer::Published(skipped.await)
            };
            self.tasks.spawn(&self.disk, Asked::Skip { device, number }, skip);
            self.listen();
            return;
        };
        let serials = publish.first_serial..;
        let records: Vec<_> = serials
            .zip(&publish.records)
            .map(|(serial, (_, key, bytes))| NewRecord {
                key: Some(vec![*key]),
                value: Some(value(Writer::Device(device), serial, *bytes as usize)),
                timestamp_ms: serial.is_multiple_of(3).then_some(1_650_000_000_000 + serial as i64),
                headers: Vec::new(),
            })
            .collect();
        let acks = if publishes_to_memory(device) { Acks::Memory } else { Acks::Flash };
        let publish = async move {
            let published = async { broker.publish(&session, &topic, first, records, acks).await?.wait().await };
            Answer::Published(published.await)
        };
        self.tasks.spawn(&self.disk, Asked::Publish { device, number }, publish);
        self.listen();
    }

    fn resume_device(&mut self, device: u32) -> bool {
        let state = &mut self.devices[device as usize];
        if state.session.as_ref().is_none_or(|session| session.is_fenced()) {
            return self.open_session(device);
        }
        if !state.broken || state.in_flight > 0 {
            return false;
        }
        state.broken = false;
        let publishes = &self.model.devices[device as usize].publishes;
        let open: Vec<_> = (0..publishes.len()).filter(|number| publishes[*number].state == State::Open).collect();
        for number in &open {
            self.send_publish(device, *number);
        }
        !open.is_empty()
    }

    fn open_session(&mut self, device: u32) -> bool {
        let state = &mut self.devices[device as usize];
        if state.opening || state.in_flight > 0 {
            return false;
        }
        state.opening = true;
        state.session = None;
        let model = &self.model.devices[device as usize];
        let open = model.publishes.iter().find(|publish| publish.state == State::Open);
        let (resume, next) = (model.epoch, open.map_or(model.next_sequence, |publish| publish.first_sequence));
        let broker = self.broker.clone();
        let session = async move {
            let name = format!("device-{device}");
            let next = if resume.is_some() { next } else { 0 };
            Answer::Session(broker.open_session(&name, resume, next).await.map(Box::new))
        };
        self.tasks.spawn(&self.disk, Asked::Session { device }, session);
        self.listen();
        true
    }

    /// A device's link drops, with answers under way.
    fn reconnect(&mut self) {
        let device = self.rng.usize(0..self.devices.len());
        if self.devices[device].in_flight == 0 {
            self.devices[device].session = None;
        }
    }

    /// A device comes back without its memory: what it had under way may be there or not.
    fn forget(&mut self) {
        let device = self.rng.usize(0..self.devices.len());
        if self.devices[device].in_flight == 0 && self.devices[device].session.take().is_some() {
            self.note(Event::Forgot { device: device as u32 });
        }
    }

    // ---- readers, follower, administrators

    fn commit_offset(&mut self) {
        let Some((id, index, partition)) = self.a_partition() else { return };
        let reader = self.rng.u8(0..CREW);
        let offset = self.rng.i64(0..=self.shown(partition));
        let (ticket, key) = (self.ticket(), (reader, id, index));
        self.note(Event::OffsetAsked { ticket, key, offset });
        let broker = self.broker.clone();
        let commit = async move {
            let committed = CommittedOffset { offset, leader_epoch: 1, metadata: format!("note {offset}") };
            Answer::Offset(broker.commit_offsets(READERS[reader as usize], vec![(id, index, committed)]).await)
        };
        self.tasks.spawn(&self.disk, Asked::Offset { ticket, key }, commit);
        self.listen();
    }

    fn save_position(&mut self) {
        let Some((_, _, partition)) = self.a_partition() else { return };
        let from = self.broker.position(FOLLOWER, partition).first_gap();
        // A slow one: evictions find much that it has not read.
        let to = self.shown(partition).min(from + self.rng.i64(0..10));
        if to <= from {
            return;
        }
        let position = Intervals::up_to(to);
        self.broker.advance_position(FOLLOWER, partition, position.clone());
        let ticket = self.ticket();
        self.note(Event::PositionAsked { ticket, partition, position: position.clone() });
        let (broker, within) = (self.broker.clone(), Duration::from_millis(self.rng.u64(0..50)));
        let save =
            async move { Answer::Position(broker.save_positions(FOLLOWER, vec![(partition, position)], within).await) };
        self.tasks.spawn(&self.disk, Asked::Position { ticket, partition }, save);
        self.listen();
    }

    fn shown(&self, partition: PartitionId) -> i64 {
        self.model.shown.get(&partition).copied().unwrap_or(0)
    }

    fn create_topic(&mut self) {
        let name = format!("t{}", self.rng.usize(0..NAMES));
        if self.model.topics.values().any(|topic| topic.name == name && !topic.is_gone()) {
            return;
        }
        let mut id = TopicId([0; 16]);
        self.rng.fill(&mut id.0);
        // Never again, also where another life draws the same numbers.
        id.0[..4].copy_from_slice(&(self.model.topics.len() as u32).to_be_bytes());
        let (ticket, count) = (self.ticket(), self.rng.u32(1..4));
        self.note(Event::TopicAsked { ticket, id, name: name.clone(), count });
        let configs = if self.tight { configs(&mut self.rng) } else { Vec::new() };
        let broker = self.broker.clone();
        let create = async move {
            let new = NewTopic { name, partitions: Some(count), configs, id: Some(id) };
            Answer::Topic(broker.create_topic(new).await)
        };
        self.tasks.spawn(&self.disk, Asked::Topic { ticket, id }, create);
        self.listen();
    }

    fn delete_topic(&mut self) {
        let usable = self.model.topics.values().filter(|topic| topic.is_usable()).count();
        if usable < 2 {
            return;
        }
        let Some(id) = self.a_topic() else { return };
        let (ticket, name) = (self.ticket(), self.model.topics[&id].name.clone());
        self.note(Event::DeletionAsked { ticket, id });
        let broker = self.broker.clone();
        let delete = async move { Answer::Deleted(broker.delete_topic(&name).await) };
        self.tasks.spawn(&self.disk, Asked::Deletion { ticket, id }, delete);
        self.listen();
    }

    fn delete_records(&mut self) {
        let Some((_, _, partition)) = self.a_partition() else { return };
        let Ok(head) = self.broker.head(partition) else { return };
        let to = self.rng.i64(head.log_start..=(head.log_start + head.high_watermark) / 2);
        let ticket = self.ticket();
        self.note(Event::TrimAsked { ticket, partition, to });
        let broker = self.broker.clone();
        let trim = async move { Answer::Trimmed(broker.delete_records(partition, to).await) };
        self.tasks.spawn(&self.disk, Asked::Trim { ticket, partition }, trim);
        self.listen();
    }
}

/// Settings of a topic that decide what goes first.
fn configs(rng: &mut Rng) -> Vec<(String, String)> {
    let mut configs = vec![("brooklet.priority", rng.u8(0..3).to_string())];
    if rng.bool() {
        configs.push(("retention.bytes", rng.u32(20_000..200_000).to_string()));
    }
    if rng.bool() {
        configs.push(("retention.ms", rng.u32(1_000..300_000).to_string()));
    }
    if rng.u8(0..4) == 0 {
        configs.push(("brooklet.urgent", "true".to_owned()));
    }
    configs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Whether a device is content with records that are in memory.
pub fn publishes_to_memory(device: u32) -> bool {
    device == 2
}

/// Of every order of magnitude up to the bound, the larger ones more often.
fn size(rng: &mut Rng, max: u32) -> u32 {
    let bits_max = rng.u32(0..=max.ilog2());
    let bits = rng.u32(0..=bits_max);
    rng.u32(0..=(max >> bits))
}
