//! Holds an open gateway against the model.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use brooklet::broker::{Broker, Topic, TopicId};
use brooklet::record::{BatchView, decompress, records};
use brooklet::store::{Intervals, LossReason, PartitionId, ReadError, Space, cursor_key};
use fastrand::Rng;

use crate::harness::{Verdict, ensure};
use crate::model::{Lane, Model, OffsetKey, Publish, State};
use crate::records::{Writer, identify};

/// The follower of every topic.
pub const FOLLOWER: &str = "centre";
/// Readers that commit offsets; the last is a group with members.
pub const READERS: [&str; 4] = ["a", "billing", "c", "crew"];
/// The group's number.
pub const CREW: u8 = 3;

/// Whether the store may have dropped the oldest records for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evictions {
    Possible,
    None,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The topics that are there, with their partitions.
    pub topics: BTreeMap<TopicId, Vec<PartitionId>>,
    pub logs: BTreeMap<PartitionId, Log>,
    pub offsets: BTreeMap<OffsetKey, Option<i64>>,
    pub positions: BTreeMap<PartitionId, Option<Intervals>>,
}

/// What a partition holds.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub start: i64,
    pub end: i64,
    /// Lane, number of the batch, base offset.
    pub batches: Vec<(u32, usize, i64)>,
    /// Device, serial of the record, offset.
    pub natives: Vec<(u32, u64, i64)>,
    /// Offsets between start and end that hold nothing.
    pub gaps: Vec<Range<i64>>,
}

impl Log {
    /// Whether the store has told that it lost something in there.
    fn lost(&self, range: Range<i64>) -> bool {
        range.start < self.start || self.gaps.iter().any(|gap| gap.start < range.end && range.start < gap.end)
    }
}

/// Everything that is certain must be there, and nothing that nobody asked for.
///
/// # Errors
/// What is wrong, in words.
pub fn hold(broker: &Broker, model: &Model, evictions: Evictions, rng: &mut Rng) -> Result<Found, String> {
    let mut found = Found::default();
    for topic in broker.topics().iter().filter(|topic| !topic.is_internal()) {
        check_topic(topic, model)?;
        found.topics.insert(topic.id, topic.partitions.clone());
        for (index, partition) in (0..).zip(&topic.partitions) {
            let place = |what| format!("{}/{index} ({}): {what}", topic.name, partition.0);
            let log = read_log(broker, *partition, model, rng).map_err(place)?;
            check_ends(&log, *partition, model, evictions).map_err(place)?;
            check_books(broker, &log, *partition).map_err(place)?;
            check_lanes(&log, *partition, model).map_err(place)?;
            check_follower(broker, &log, *partition, model, &mut found).map_err(place)?;
            check_offsets(broker, topic, index, model, &mut found).map_err(place)?;
            found.logs.insert(*partition, log);
        }
    }
    for (id, topic) in &model.topics {
        let there = found.topics.contains_key(id);
        ensure!(topic.exists.possible(Some(&there)), "topic {}: there: {there}, {:?}", topic.name, topic.exists);
    }
    check_devices(&found, model)?;
    Ok(found)
}

fn check_topic(topic: &Topic, model: &Model) -> Verdict {
    let known = model.topics.get(&topic.id).ok_or_else(|| format!("nobody asked for topic {}", topic.name))?;
    ensure!(known.name == topic.name, "topic {} is called {}", known.name, topic.name);
    let same = known.partitions.is_empty() || known.partitions == topic.partitions;
    ensure!(same && topic.partition_count() == known.count, "topic {}: {:?}", topic.name, topic.partitions);
    for partition in &topic.partitions {
        let owner = model.owners.get(partition).is_none_or(|owner| *owner == topic.id);
        ensure!(owner, "partition {} was another topic's before it was {}'s", partition.0, topic.name);
    }
    Ok(())
}

fn check_ends(log: &Log, partition: PartitionId, model: &Model, evictions: Evictions) -> Verdict {
    let shown = model.shown.get(&partition).copied().unwrap_or(0);
    ensure!(log.end >= shown, "high watermark {}, readers have seen {shown}", log.end);
    let trims = model.trims.get(&partition);
    let (known, start) = (trims.and_then(|trims| trims.known).unwrap_or(0), log.start);
    ensure!((known..=log.end).contains(&start), "log start {start}, not {known} to {}", log.end);
    if evictions == Evictions::None {
        let asked = start == known || trims.is_some_and(|trims| trims.possible(Some(&start)));
        ensure!(asked, "log start {start}: nobody asked for that, {trims:?}");
    }
    Ok(())
}

/// Reads a whole partition, in pieces of a random size. Offsets ascend without gaps; every byte is as it was sent.
fn read_log(broker: &Broker, partition: PartitionId, model: &Model, rng: &mut Rng) -> Result<Log, String> {
    let head = broker.head(partition).map_err(|error| error.to_string())?;
    let store = broker.store();
    let mut log = Log { start: head.log_start, end: head.high_watermark, ..Log::default() };
    let bytes_max = 1 << rng.u32(0..18);
    let mut at = log.start;
    while at < log.end {
        let read = store.read(partition, at, bytes_max).map_err(|error| format!("reading {at}: {error}"))?;
        ensure!(read.next_offset > at, "reading {at} doesn't get on");
        let mut bytes = read.bytes.as_slice();
        while !bytes.is_empty() {
            let (batch, rest) = BatchView::parse(bytes).map_err(|error| format!("at {at}: {error}"))?;
            let base = batch.base_offset();
            ensure!(base >= at || at == log.start, "batch {base} comes after {at}");
            if base > at {
                log.gaps.push(at..base);
            }
            take_batch(&batch, partition, model, &mut log).map_err(|what| format!("batch {base}: {what}"))?;
            at = batch.next_offset();
            bytes = rest;
        }
        if at < read.next_offset {
            log.gaps.push(at..read.next_offset);
            at = read.next_offset;
        }
    }
    ensure!(at == log.end, "read to {at} of {}", log.end);
    for gap in &log.gaps {
        ensure!(explained(broker, partition, gap), "nothing explains the gap {gap:?}");
    }
    for outside in [log.start - 1, log.end + 1] {
        let read = store.read(partition, outside, 1);
        ensure!(matches!(read, Err(ReadError::OutOfRange(_))), "reading {outside} gives {read:?}");
    }
    Ok(log)
}

/// Whether the follower has read all of these offsets, or the loss ledger has them.
fn explained(broker: &Broker, partition: PartitionId, gap: &Range<i64>) -> bool {
    let position = broker.store().get(Space::Cursor, &cursor_key(FOLLOWER, partition));
    let position = position.and_then(|bytes| Intervals::decode(&bytes).ok()).unwrap_or_default();
    let mut losses = broker.store().losses();
    losses.retain(|loss| loss.reader == FOLLOWER && loss.partition == partition);
    losses.sort_by_key(|loss| loss.first_offset);
    position.missing_in(gap.clone()).into_iter().all(|missing| {
        let mut known = missing.start;
        for loss in &losses {
            if loss.first_offset <= known {
                known = known.max(loss.last_offset + 1);
            }
        }
        known >= missing.end
    })
}

/// These batches are what was sent to the partition, byte for byte.
///
/// # Errors
/// What is wrong with which.
pub fn were_sent(mut bytes: &[u8], partition: PartitionId, model: &Model) -> Verdict {
    let mut log = Log::default();
    while !bytes.is_empty() {
        let (batch, rest) = BatchView::parse(bytes).map_err(|error| error.to_string())?;
        take_batch(&batch, partition, model, &mut log)
            .map_err(|what| format!("batch {}: {what}", batch.base_offset()))?;
        bytes = rest;
    }
    Ok(())
}

fn take_batch(batch: &BatchView<'_>, partition: PartitionId, model: &Model, log: &mut Log) -> Verdict {
    let base = batch.base_offset();
    ensure!(batch.crc_matches(), "checksum");
    ensure!(batch.leader_epoch() > 0, "leader epoch {}", batch.leader_epoch());
    if batch.producer_id() >= 0 {
        let (producer, sequence) = (batch.producer_id(), batch.base_sequence());
        let lane = model.lane(producer, partition).ok_or_else(|| format!("producer {producer} never wrote here"))?;
        let sent = &model.lanes[lane as usize].batches;
        let number = sent.binary_search_by_key(&sequence, |batch| batch.sequence);
        let number = number.map_err(|_| format!("producer {producer} never sent {sequence}"))?;
        let same = sent[number].crc == batch.crc() && sent[number].count() == i64::from(batch.record_count());
        ensure!(same, "sequence {sequence} of producer {producer} isn't what was sent");
        log.batches.push((lane, number, base));
        return Ok(());
    }
    let payload = decompress(batch, &Default::default()).map_err(|error| error.to_string())?;
    for record in records(batch, &payload) {
        let record = record.map_err(|error| error.to_string())?;
        if record.offset < log.start {
            continue;
        }
        let identity = record.value.and_then(identify);
        let Some((Writer::Device(device), serial)) = identity else {
            return Err(format!("record {}: {identity:?} is no device's", record.offset));
        };
        log.natives.push((device, serial, record.offset));
    }
    Ok(())
}

/// What was accepted is still there, or was taken away for a reason: to the record.
fn check_books(broker: &Broker, log: &Log, partition: PartitionId) -> Verdict {
    let books = broker.store().accounts(partition).ok_or("it has no books")?;
    let gaps: i64 = log.gaps.iter().map(|gap| gap.end - gap.start).sum();
    let (gone, there) = ((log.start + gaps) as u64, (log.end - log.start - gaps) as u64);
    let removed: u64 = books.removed.iter().map(|(_, removed)| removed.records).sum();
    let bytes: u64 = books.removed.iter().map(|(_, removed)| removed.bytes).sum();
    ensure!(books.accepted.records == log.end as u64, "accepted {} of {}", books.accepted.records, log.end);
    ensure!(books.retained.records == there, "the books have {}, there are {there}", books.retained.records);
    ensure!(removed == gone, "{gone} records are gone, the books have {:?}", books.removed);
    ensure!(books.accepted.bytes == books.retained.bytes + bytes, "bytes don't add up: {books:?}");
    Ok(())
}

/// Each producer's batches are there once and in order, those acknowledged where it was told.
fn check_lanes(log: &Log, partition: PartitionId, model: &Model) -> Verdict {
    for (number, lane) in (0..).zip(&model.lanes).filter(|(_, lane)| lane.partition == partition) {
        let found: Vec<_> =
            log.batches.iter().filter(|(of, ..)| *of == number).map(|(_, batch, at)| (*batch, *at)).collect();
        check_lane(log, lane, &found).map_err(|what| format!("lane {number}: {what}"))?;
    }
    Ok(())
}

fn check_lane(log: &Log, lane: &Lane, found: &[(usize, i64)]) -> Verdict {
    for pair in found.windows(2) {
        let ((one, at), (other, then)) = (pair[0], pair[1]);
        ensure!(one < other, "batch {other} at {then} comes after batch {one} at {at}");
        let whole = one + 1 == other || log.lost(at..then);
        ensure!(whole, "batches between {one} at {at} and {other} at {then} are missing");
    }
    let there: BTreeMap<usize, i64> = found.iter().copied().collect();
    let first = found.first().map(|(first, _)| *first);
    for (number, batch) in lane.batches.iter().enumerate() {
        match (there.get(&number), batch.at) {
            (Some(at), Some(told)) => ensure!(*at == told, "batch {number} is at {at}, was at {told}"),
            (None, Some(told)) => {
                let lost = told + batch.count() <= log.start || log.lost(told..told + batch.count());
                ensure!(lost, "batch {number} at {told} is lost (acknowledged: {})", batch.acked);
            }
            (Some(_), None) => {}
            (None, None) => ensure!(
                first.is_none_or(|first| number > first) || log.start > 0,
                "batch {number} is missing before batch {first:?}"
            ),
        }
    }
    Ok(())
}

/// Each device's records are there once and in order, in the partitions of their keys.
fn check_devices(found: &Found, model: &Model) -> Verdict {
    let mut there: BTreeMap<(u32, u64), (PartitionId, i64)> = BTreeMap::new();
    for (partition, log) in &found.logs {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for (device, serial, offset) in &log.natives {
            let before = there.insert((*device, *serial), (*partition, *offset));
            ensure!(before.is_none(), "device {device}: record {serial} at {before:?} and {partition:?} {offset}");
            let before = last.insert(*device, *serial).unwrap_or(0);
            ensure!(before < *serial || before == 0, "device {device}: record {serial} at {offset} after {before}");
        }
    }
    for (number, device) in (0..).zip(&model.devices) {
        let mut missing = None;
        for publish in &device.publishes {
            let what = |what| format!("device {number}, sequence {}: {what}", publish.first_sequence);
            let some = check_publish(found, &there, number, &device.placed, publish).map_err(what)?;
            // Later ones can't be there without it: sequences have no gaps.
            let gone = !found.topics.contains_key(&publish.topic);
            if publish.state == State::Open && !gone {
                match (some, missing) {
                    (true, Some(before)) => return Err(what(format!("it is there, {before} before it isn't"))),
                    (false, None) => missing = Some(publish.first_sequence),
                    _ => {}
                }
            }
        }
    }
    let mut known = BTreeSet::new();
    for (number, device) in (0..).zip(&model.devices) {
        known.extend(device.publishes.iter().flat_map(|publish| serials(publish).map(move |serial| (number, serial))));
    }
    match there.keys().find(|key| !known.contains(key)) {
        Some((device, serial)) => Err(format!("device {device} never sent {serial}")),
        None => Ok(()),
    }
}

fn serials(publish: &Publish) -> Range<u64> {
    publish.first_serial..publish.first_serial + publish.records.len() as u64
}

/// Whether any record of a publish is there.
fn check_publish(
    found: &Found,
    there: &BTreeMap<(u32, u64), (PartitionId, i64)>,
    device: u32,
    placed: &BTreeMap<u64, (PartitionId, i64)>,
    publish: &Publish,
) -> Result<bool, String> {
    let any = serials(publish).any(|serial| there.contains_key(&(device, serial)));
    for (serial, (partition, ..)) in serials(publish).zip(&publish.records) {
        let at = there.get(&(device, serial));
        let told = placed.get(&serial);
        if let (Some(at), Some(told)) = (at, told) {
            ensure!(at == told, "record {serial} is at {at:?}, was at {told:?}");
        }
        if let Some((other, _)) = at {
            ensure!(other == partition, "record {serial} is in {other:?}, its key says {partition:?}");
        }
        let Some(log) = found.logs.get(partition) else { continue };
        // All of a publish or nothing; and what was acknowledged or seen stays.
        if at.is_some() || !(any || told.is_some() || publish.state == State::Acked) {
            continue;
        }
        let first = log.natives.iter().filter(|(of, ..)| *of == device).map(|(_, serial, _)| *serial).min();
        let lost = match told {
            Some((_, offset)) => log.lost(*offset..*offset + 1),
            None => !log.gaps.is_empty() || log.start > 0 && first.is_none_or(|first| first > serial),
        };
        ensure!(lost, "record {serial} of {partition:?} is lost ({:?}, at {told:?})", publish.state);
    }
    Ok(any)
}

/// The follower's position is one that was saved, and what it can't read any more stands in the ledger.
fn check_follower(broker: &Broker, log: &Log, id: PartitionId, model: &Model, found: &mut Found) -> Verdict {
    // The durable one: what the broker has in memory may be ahead of it, and is after healing.
    let position = broker.store().get(Space::Cursor, &cursor_key(FOLLOWER, id));
    let position = position.map(|bytes| Intervals::decode(&bytes)).transpose().map_err(|error| error.to_string())?;
    let register = model.positions.get(&id).cloned().unwrap_or_default();
    ensure!(register.possible(position.as_ref()), "position {position:?}, not {register:?}");
    let reached = position.as_ref().map_or(0, Intervals::first_gap);
    let mut losses = broker.store().losses();
    losses.retain(|loss| loss.reader == FOLLOWER && loss.partition == id);
    losses.sort_by_key(|loss| loss.first_offset);
    let mut known = reached;
    for loss in &losses {
        ensure!(loss.first_offset <= loss.last_offset && loss.last_offset < log.end, "{loss:?}");
        ensure!(loss.reason != LossReason::Expired, "retention took what was not forwarded: {loss:?}");
        ensure!(loss.records > 0 && loss.records as i64 <= loss.last_offset + 1 - loss.first_offset, "{loss:?}");
        if loss.first_offset <= known {
            known = known.max(loss.last_offset + 1);
        }
    }
    ensure!(known >= log.start, "{known} to {} were lost to the follower without a trace: {losses:?}", log.start);
    found.positions.insert(id, position);
    Ok(())
}

fn check_offsets(broker: &Broker, topic: &Arc<Topic>, index: i32, model: &Model, found: &mut Found) -> Verdict {
    for (number, reader) in (0..).zip(READERS) {
        let key = (number, topic.id, index);
        let offset = broker.committed_offset(reader, topic, index).map(|committed| committed.offset);
        let register = model.offsets.get(&key).cloned().unwrap_or_default();
        ensure!(register.possible(offset.as_ref()), "{reader}'s offset is {offset:?}, not {register:?}");
        found.offsets.insert(key, offset);
    }
    Ok(())
}
