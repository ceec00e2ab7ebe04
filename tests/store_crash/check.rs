//! Holds a store against the model.

use brooklet::record::{BatchView, records};
use brooklet::store::{PartitionId, ReadError, Removed, Space, Store};
use fastrand::Rng;

use crate::harness::{Verdict, ensure};
use crate::model::{Item, Model, Partition, READER, STEP_KEY, What};

/// Spaces that belong to the store's callers, hence to the model.
const SPACES: [Space; 5] = [Space::Topic, Space::Cursor, Space::Group, Space::Producer, Space::Device];

/// Whether the store may have dropped the oldest records for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evictions {
    Possible,
    None,
}

/// How many steps the store holds.
pub fn steps_of(store: &Store) -> u64 {
    let (space, key) = STEP_KEY;
    store.get(space, key).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

/// Everything that the model knows must be in the store, and nothing else.
pub fn check(store: &Store, model: &Model, evictions: Evictions, rng: &mut Rng) -> Verdict {
    for space in SPACES {
        let expected: Vec<_> = model
            .state
            .iter()
            .filter(|((of, _), _)| *of == space)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        ensure!(store.entries(space, &[]) == expected, "state of {space:?} differs");
    }
    let ids: Vec<_> = model.partitions.keys().map(|id| PartitionId(*id)).collect();
    ensure!(store.partitions() == ids, "partitions are {:?}, not {ids:?}", store.partitions());
    for (id, partition) in &model.partitions {
        check_partition(store, PartitionId(*id), partition, evictions, rng)
            .map_err(|what| format!("partition {id}: {what}"))?;
    }
    check_scan(store, model).map_err(|what| format!("scan: {what}"))
}

fn check_partition(store: &Store, id: PartitionId, model: &Partition, evictions: Evictions, rng: &mut Rng) -> Verdict {
    let head = store.head(id).ok_or("it has no head")?;
    ensure!(head.high_watermark == model.next, "high watermark {}, not {}", head.high_watermark, model.next);
    ensure!(head.readable_end() == model.next, "readable end {}, not {}", head.readable_end(), model.next);
    let start = head.log_start;
    match evictions {
        Evictions::None => ensure!(start == model.log_start, "log start {start}, not {}", model.log_start),
        Evictions::Possible => {
            ensure!((model.log_start..=model.next).contains(&start), "log start {start} of {}", model.next);
        }
    }
    let mut at = start;
    let max_bytes = 1 << rng.u32(0..18);
    let mut seen = Seen::default();
    while at < model.next {
        let read = store.read(id, at, max_bytes).map_err(|error| format!("reading {at}: {error}"))?;
        ensure!(read.next_offset > at, "reading {at} doesn't get on");
        check_batches(&read.bytes, model, at, read.next_offset)?;
        seen.note(&read.bytes, start)?;
        at = read.next_offset;
    }
    ensure!(at == model.next, "read to {at} of {}", model.next);
    seen.check(store, id, model.next, rng)?;
    if start < model.next {
        let middle = rng.i64(start..model.next);
        let read = store.read(id, middle, 1).map_err(|error| format!("reading {middle}: {error}"))?;
        let (first, _) = BatchView::parse(&read.bytes).map_err(|error| format!("reading {middle}: {error}"))?;
        ensure!((first.base_offset()..first.next_offset()).contains(&middle), "reading {middle} misses it");
    }
    for outside in [start - 1, model.next + 1] {
        let read = store.read(id, outside, 1);
        ensure!(matches!(read, Err(ReadError::OutOfRange(_))), "reading {outside} gives {read:?}");
    }
    check_accounts(store, id, model, start)?;
    check_losses(store, id, model, start)
}

/// What was accepted is what is still there and what went for a reason.
fn check_accounts(store: &Store, id: PartitionId, model: &Partition, start: i64) -> Verdict {
    let accounts = store.accounts(id).ok_or("it has no accounts")?;
    let accepted = model.next.unsigned_abs();
    ensure!(accounts.accepted.records == accepted, "{accounts:?}, but {accepted} were accepted");
    let retained = model.next.abs_diff(start);
    ensure!(accounts.retained.records == retained, "{accounts:?}, but {retained} are there");
    let removed = |of: fn(&Removed) -> u64| accounts.removed.iter().map(|(_, what)| of(what)).sum::<u64>();
    let records = accounts.retained.records + removed(|what| what.records);
    let bytes = accounts.retained.bytes + removed(|what| what.bytes);
    ensure!((records, bytes) == (accepted, accounts.accepted.bytes), "{accounts:?} doesn't add up");
    ensure!((retained == 0) == (accounts.retained.bytes == 0), "{accounts:?}: records and bytes disagree");
    Ok(())
}

/// What was met while reading a partition, to hold lookups against.
#[derive(Default)]
struct Seen {
    /// Offset and timestamp.
    times: Vec<(i64, i64)>,
    /// Epoch and the first offset in it.
    epochs: Vec<(u32, i64)>,
}

impl Seen {
    fn note(&mut self, mut bytes: &[u8], start: i64) -> Verdict {
        while !bytes.is_empty() {
            let (batch, rest) = BatchView::parse(bytes).map_err(|error| error.to_string())?;
            for record in records(&batch, batch.payload()) {
                let record = record.map_err(|error| error.to_string())?;
                if record.offset >= start {
                    self.times.push((record.offset, record.timestamp));
                }
            }
            let epoch = batch.leader_epoch() as u32;
            let last = self.epochs.last().map_or(0, |(epoch, _)| *epoch);
            ensure!(epoch >= last, "batch {}: epoch {epoch} after {last}", batch.base_offset());
            if epoch > last {
                self.epochs.push((epoch, batch.base_offset()));
            }
            bytes = rest;
        }
        Ok(())
    }

    fn check(&self, store: &Store, id: PartitionId, end: i64, rng: &mut Rng) -> Verdict {
        let Some((_, some)) = rng.choice(&self.times) else { return Ok(()) };
        for at in [*some, some + 1] {
            let found = store.offset_for_time(id, at).map_err(|error| error.to_string())?;
            let expected = self.times.iter().find(|(_, time)| *time >= at).copied();
            ensure!(found == expected, "offset for {at} is {found:?}, not {expected:?}");
        }
        let found = store.max_timestamp(id).map_err(|error| error.to_string())?;
        let highest = self.times.iter().map(|(_, time)| *time).max();
        let expected = self.times.iter().find(|(_, time)| Some(*time) == highest).copied();
        ensure!(found == expected, "highest timestamp is {found:?}, not {expected:?}");
        for (number, (epoch, _)) in self.epochs.iter().enumerate() {
            let expected = (*epoch, self.epochs.get(number + 1).map_or(end, |(_, first)| *first));
            let found = store.epoch_end(id, *epoch);
            ensure!(found == Some(expected), "end of epoch {epoch} is {found:?}, not {expected:?}");
        }
        Ok(())
    }
}

/// What the reader hasn't read and can't read any more stands in the ledger.
fn check_losses(store: &Store, id: PartitionId, model: &Partition, start: i64) -> Verdict {
    let mut losses: Vec<_> =
        store.losses().into_iter().filter(|loss| loss.reader == READER && loss.partition == id).collect();
    losses.sort_by_key(|loss| loss.first_offset);
    let mut known = model.cursor;
    for loss in &losses {
        ensure!(loss.first_offset <= loss.last_offset && loss.last_offset < start, "{loss:?}, log start {start}");
        ensure!(loss.records > 0 && loss.records as i64 <= loss.last_offset + 1 - loss.first_offset, "{loss:?}");
        if loss.first_offset <= known {
            known = known.max(loss.last_offset + 1);
        }
    }
    ensure!(known >= start, "{known} to {start} were lost to the reader without a trace: {losses:?}");
    Ok(())
}

/// All retained batches come by, each once, in order per partition.
fn check_scan(store: &Store, model: &Model) -> Verdict {
    let mut next: std::collections::BTreeMap<u32, i64> = std::collections::BTreeMap::new();
    let mut from = 1;
    let mut last = (0, PartitionId(0), 0);
    loop {
        let chunk = store.scan(from, &|_| true, 10_000).map_err(|error| format!("from {from}: {error}"))?;
        for batch in &chunk.batches {
            let place = (batch.commit, batch.partition, batch.base_offset);
            ensure!(batch.commit >= from && place > last, "{place:?} after {last:?}, asked from {from}");
            last = place;
            let Some(partition) = model.partitions.get(&batch.partition.0) else { continue };
            let expected = next.entry(batch.partition.0).or_insert(batch.base_offset);
            ensure!(batch.base_offset == *expected, "{place:?}, expected offset {expected}");
            check_batches(&batch.bytes, partition, batch.base_offset, batch.next_offset)?;
            *expected = batch.next_offset;
        }
        if chunk.at_end {
            break;
        }
        ensure!(chunk.next > from, "it doesn't get on from {from}");
        from = chunk.next;
    }
    for (id, partition) in &model.partitions {
        let start = store.head(PartitionId(*id)).map_or(0, |head| head.log_start);
        let reached = next.get(id).copied().unwrap_or(start);
        ensure!(reached == partition.next, "partition {id}: scanned to {reached} of {}", partition.next);
    }
    Ok(())
}

/// `bytes` are exactly the whole batches that begin at or before `from` and end at `next`.
fn check_batches(mut bytes: &[u8], model: &Partition, from: i64, next: i64) -> Verdict {
    let mut at = None;
    while !bytes.is_empty() {
        let (batch, rest) = BatchView::parse(bytes).map_err(|error| format!("at {from}: {error}"))?;
        let base = batch.base_offset();
        ensure!(batch.crc_matches(), "batch {base}: checksum");
        ensure!(batch.leader_epoch() > 0, "batch {base}: leader epoch {}", batch.leader_epoch());
        ensure!(at.map_or(base <= from, |at| at == base), "batch {base} follows {at:?}, asked from {from}");
        check_batch(&batch, model)?;
        at = Some(batch.next_offset());
        bytes = rest;
    }
    ensure!(at == Some(next), "batches end at {at:?}, not {next}");
    Ok(())
}

pub fn check_batch(batch: &BatchView<'_>, model: &Partition) -> Verdict {
    let base = batch.base_offset();
    let first = model.items.partition_point(|item| item.next <= base);
    let items = model.items.get(first..).unwrap_or_default();
    if let Some(Item { offset, what: What::Batch(bytes), .. }) = items.first() {
        // All but base offset and leader epoch, which are the store's.
        let same = *offset == base && bytes[8..12] == batch.bytes()[8..12] && bytes[16..] == batch.bytes()[16..];
        ensure!(same, "batch {base} isn't the one appended at {offset}");
        return Ok(());
    }
    let mut items = items.iter();
    let mut stamped = None;
    for record in records(batch, batch.payload()) {
        let record = record.map_err(|error| format!("batch {base}: {error}"))?;
        let Some(Item { offset, what: What::Record { timestamp, key, value }, .. }) = items.next() else {
            return Err(format!("record {}: none was appended", record.offset));
        };
        let same = *offset == record.offset
            && key.as_deref() == record.key
            && value.as_deref() == record.value
            && timestamp.is_none_or(|timestamp| timestamp == record.timestamp);
        ensure!(same, "record {} isn't the one appended at {offset}", record.offset);
        let stamped = *stamped.get_or_insert(timestamp.is_none());
        ensure!(stamped == timestamp.is_none(), "batch {base} mixes brought and stamped times");
    }
    Ok(())
}
