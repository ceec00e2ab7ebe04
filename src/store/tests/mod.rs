//! Tests of the whole store, on a real directory and driven step by step.

mod basics;
mod clock;
#[cfg(debug_assertions)]
mod cut;
mod faults;
mod format;
#[cfg(debug_assertions)]
mod healing;
mod looking;
mod loss;
mod model;
mod producers;
mod quarantine;
mod renew;
mod rewrite;
mod ring;
#[cfg(debug_assertions)]
mod room;
mod scale;
mod threads;

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::clock::ManualClock;
use super::disk::{Disk, RealDisk};
use super::*;
use crate::record::{BatchBuilder, BatchView, Compression, NO_HEADERS};

pub(super) const SEGMENT: u64 = 1 << 20;

type Outcome = Arc<Mutex<Option<Result<Committed, StoreError>>>>;

/// An operation out of a closure, and where its outcome arrives.
struct TestOp<F>(F, Outcome);

impl<F: FnMut(&mut Draft<'_>) -> Result<(), DraftError> + Send> Operation for TestOp<F> {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        match (self.0)(draft) {
            Err(DraftError::Full) => Err(Refused),
            other => {
                other.unwrap();
                Ok(())
            }
        }
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        *self.1.lock().unwrap() = Some(outcome.cloned().map_err(Clone::clone));
    }
}

/// A store that moves only when told to.
pub(super) struct Stepped {
    pub store: Store,
    pub engine: Engine,
    pub clock: Arc<ManualClock>,
}

pub(super) fn options(dir: &Path) -> StoreOptions {
    StoreOptions {
        max_bytes: Some(8 * SEGMENT),
        segment_bytes: Some(SEGMENT),
        tail_bytes_max: 64 << 10,
        ..StoreOptions::new(dir)
    }
}

impl Stepped {
    pub(super) fn open(options: StoreOptions) -> Self {
        Self::open_on(options, Arc::new(RealDisk::new()), Arc::default())
    }

    pub(super) fn open_on(options: StoreOptions, disk: Arc<dyn Disk>, clock: Arc<ManualClock>) -> Self {
        let (store, engine) = Store::open(options, disk, Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Self { store, engine, clock }
    }

    /// Queues an operation.
    pub(super) fn queue(&self, op: impl FnMut(&mut Draft<'_>) -> Result<(), DraftError> + Send + 'static) -> Outcome {
        let outcome = Outcome::default();
        self.store.try_submit(Box::new(TestOp(op, Arc::clone(&outcome)))).unwrap();
        outcome
    }

    /// Runs one operation in a commit of its own.
    pub(super) fn run(
        &mut self,
        op: impl FnMut(&mut Draft<'_>) -> Result<(), DraftError> + Send + 'static,
    ) -> Result<Committed, StoreError> {
        let outcome = self.queue(op);
        self.engine.step_writer(true);
        outcome.lock().unwrap().take().expect("told")
    }

    /// Lets the sealer and the evictor do all that is due.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            let sealed = self.engine.step_sealer().unwrap();
            let evicted = self.engine.step_evictor().unwrap();
            if !sealed && !evicted {
                return;
            }
            self.engine.step_writer(true);
        }
        panic!("maintenance never ends");
    }

    pub(super) fn create(&mut self, partition: u32) {
        self.run(move |draft| draft.create_partition(PartitionId(partition))).unwrap();
    }

    /// Appends a batch; returns its base offset.
    pub(super) fn append(&mut self, partition: u32, batch: Vec<u8>) -> i64 {
        let base = Arc::new(Mutex::new(-1));
        let told = Arc::clone(&base);
        self.run(move |draft| {
            *told.lock().unwrap() = draft.append_batch(PartitionId(partition), &batch)?;
            Ok(())
        })
        .unwrap();
        *base.lock().unwrap()
    }

    pub(super) fn close(self) {
        self.engine.close().unwrap();
    }
}

/// A batch of `records` records of `bytes` bytes each, with ascending timestamps from `timestamp` on.
pub(super) fn batch(records: usize, bytes: usize, timestamp: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for n in 0..records {
        let value: Vec<u8> = (0..bytes).map(|at| (at * 7 + n) as u8).collect();
        builder.push(timestamp + n as i64, None, Some(&value), NO_HEADERS).unwrap();
    }
    builder.finish(Compression::None)
}

/// Base and next offsets of whole batches, each checked.
pub(super) fn ranges(mut bytes: &[u8]) -> Vec<(i64, i64)> {
    let mut ranges = Vec::new();
    while !bytes.is_empty() {
        let (batch, rest) = BatchView::parse(bytes).unwrap();
        assert!(batch.crc_matches());
        ranges.push((batch.base_offset(), batch.next_offset()));
        bytes = rest;
    }
    ranges
}

/// All batches of a partition, read piece by piece.
pub(super) fn read_all(store: &Store, partition: u32, bytes_max: usize) -> Vec<(i64, i64)> {
    let partition = PartitionId(partition);
    let mut at = store.head(partition).unwrap().log_start;
    let mut all = Vec::new();
    loop {
        let read = store.read(partition, at, bytes_max).unwrap();
        if read.bytes.is_empty() {
            assert_eq!(at, read.head.high_watermark);
            return all;
        }
        all.extend(ranges(&read.bytes));
        assert!(read.next_offset > at);
        at = read.next_offset;
    }
}
