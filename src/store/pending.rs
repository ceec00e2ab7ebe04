//! The changes of the open commit, and their form as a stream.

use std::collections::BTreeMap;

use super::format::{CommitHeader, Room, Stream, StreamWriter};
use super::types::{Operation, PartitionId, Space};
use crate::record::{BatchBuilder, Compression, header};

/// The open commit.
#[derive(Default)]
pub(super) struct Pending {
    /// Who is told of the outcome, in order.
    pub ops: Vec<Box<dyn Operation>>,
    pub partitions: BTreeMap<PartitionId, PendingPartition>,
    /// Changed rows; `None` is deleted.
    pub state: BTreeMap<Space, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
    /// By how much the state grows.
    pub state_growth: i64,
    /// About the length of the stream.
    pub bytes: usize,
}

/// The changes of a partition.
#[derive(Debug, Default)]
pub(super) struct PendingPartition {
    pub created: bool,
    pub dropped: bool,
    /// Whether `log_start` differs from the committed one.
    pub trimmed: bool,
    pub log_start: i64,
    pub next_offset: i64,
    pub batches: Vec<PendingBatch>,
    pub gather: Option<Gather>,
}

/// A batch that only needs storing.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub bytes: Vec<u8>,
    pub gateway_stamped: bool,
}

/// A batch that still takes records.
#[derive(Debug)]
pub(super) struct Gather {
    base_offset: i64,
    pub gateway_stamped: bool,
    pub builder: BatchBuilder,
}

impl Gather {
    pub(super) fn new(base_offset: i64, gateway_stamped: bool) -> Self {
        Self { base_offset, gateway_stamped, builder: BatchBuilder::new() }
    }
}

impl PendingPartition {
    /// Turns the gathered records into a batch.
    pub(super) fn close_gather(&mut self, epoch: u32) {
        let Some(mut gather) = self.gather.take() else { return };
        if gather.builder.is_empty() {
            return;
        }
        let mut bytes = gather.builder.finish(Compression::None);
        header::set_base_offset(&mut bytes, gather.base_offset);
        header::set_leader_epoch(&mut bytes, epoch as i32);
        self.batches.push(PendingBatch { bytes, gateway_stamped: gather.gateway_stamped });
    }
}

impl Pending {
    /// Whether there is nothing to store.
    pub(super) fn is_unchanged(&self) -> bool {
        let untouched =
            |p: &PendingPartition| !p.created && !p.dropped && !p.trimmed && p.batches.is_empty() && p.gather.is_none();
        self.state.values().all(BTreeMap::is_empty) && self.partitions.values().all(untouched)
    }

    /// Its stream, in the order that can be replayed.
    pub(super) fn encode(&mut self, header: CommitHeader, room: Room) -> Stream {
        for partition in self.partitions.values_mut() {
            partition.close_gather(header.epoch_ordinal);
        }
        let mut out = StreamWriter::new(header, self.bytes);
        for (&id, _) in self.partitions.iter().filter(|(_, p)| p.created) {
            out.partition_created(id);
        }
        for (&id, partition) in &self.partitions {
            for batch in &partition.batches {
                out.batch(id, batch.gateway_stamped, &batch.bytes);
            }
        }
        for (&space, rows) in &self.state {
            for (key, value) in rows {
                match value {
                    Some(value) => out.put(space, key, value),
                    None => out.delete(space, key),
                }
            }
        }
        for (&id, partition) in self.partitions.iter().filter(|(_, p)| p.trimmed && !p.dropped) {
            out.log_start(id, partition.log_start);
        }
        for (&id, _) in self.partitions.iter().filter(|(_, p)| p.dropped) {
            out.partition_dropped(id);
        }
        out.finish(room)
    }
}
