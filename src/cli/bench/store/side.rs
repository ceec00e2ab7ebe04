//! The store's side of `bench store`: one operation a commit, which appends a batch of an idempotent producer to each of
//! some partitions. The store remembers what each producer wrote last, as it does for Kafka's.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::block_on;

use super::super::StateSize;
use super::Case;
use crate::cli::error::CliError;
use crate::oneshot;
use crate::record::{BatchBuilder, Compression, NO_HEADERS, Producer};
use crate::store::clock::{RealClock, WallTrust};
use crate::store::disk::RealDisk;
use crate::store::{
    Committed, Draft, DraftError, EngineHandle, Operation, PartitionId, Refused, Space, Store, StoreError, StoreOptions,
};

/// Length of a row as of a device.
const DEVICE_ROW_BYTES: usize = 100;
/// Rolls after which the filled state has found its place.
const ROLLS_TO_SETTLE: usize = 2;
/// Rows of an operation that fills the state.
const FILL_ROWS: u64 = 2_000;

/// A store and its engine.
pub(in crate::cli::bench) struct BenchStore {
    pub(in crate::cli::bench) store: Store,
    /// Bound of everything on disk.
    max_bytes: u64,
    engine: EngineHandle,
    partitions: Vec<PartitionId>,
    batch: Arc<[u8]>,
    /// The partition whose turn it is.
    next: usize,
}

impl BenchStore {
    /// Opens a store of `max_bytes` in `dir/store` with the case's partitions, which a reader follows that never gets
    /// anywhere.
    pub(in crate::cli::bench) fn open(
        case: &Case,
        disk: &RealDisk,
        dir: &Path,
        state: StateSize,
        max_bytes: u64,
    ) -> Result<BenchStore, CliError> {
        let mut options = StoreOptions::new(dir.join("store"));
        options.max_bytes = Some(max_bytes);
        // The next commit is asked for when the last one is durable: that is the cadence of the raw side.
        options.commit_window = Duration::ZERO;
        let clock = Arc::new(RealClock::new(WallTrust::Auto));
        let failed = |error: &dyn std::fmt::Display| CliError::failed(dir.display(), error);
        let (store, engine) = Store::open(options, Arc::new(disk.clone()), clock).map_err(|error| failed(&error))?;
        let engine = engine.spawn().map_err(|error| failed(&error))?;
        let partitions: Vec<PartitionId> = (0..case.partitions).map(|number| PartitionId(number as u32)).collect();
        let batch = batch_of(case.batch_bytes)?.into();
        let mut bench = BenchStore { store, max_bytes, engine, partitions, batch, next: 0 };
        bench.run(Step::Create(bench.partitions.clone()))?;
        for &partition in &bench.partitions {
            bench.store.follow("bench", partition);
        }
        if state == StateSize::Full {
            bench.fill_state()?;
            bench.settle(case)?;
        }
        Ok(bench)
    }

    /// What a commit appends to each of its partitions.
    pub(super) fn batch(&self) -> &[u8] {
        &self.batch
    }

    /// One durable commit.
    pub(in crate::cli::bench) fn commit(&mut self, case: &Case) -> Result<(), CliError> {
        let to: Vec<PartitionId> = self.partitions.iter().cycle().skip(self.next).take(case.batches).copied().collect();
        self.next = (self.next + case.batches) % self.partitions.len().max(1);
        self.run(Step::Append(to, Arc::clone(&self.batch)))
    }

    /// Puts rows as of devices until the keyed state is nearly at its bound; what the commits put must still fit.
    fn fill_state(&mut self) -> Result<(), CliError> {
        let bound = (self.max_bytes / 16).min(16 << 20);
        let room = bound - bound / 16;
        let mut rows = 0;
        while self.store.status().state_bytes < room {
            self.run(Step::Fill(rows..rows + FILL_ROWS))?;
            rows += FILL_ROWS;
        }
        Ok(())
    }

    /// Commits until the segment in which the state was filled has been rolled and what that writes is written.
    fn settle(&mut self, case: &Case) -> Result<(), CliError> {
        let full = self.store.status().segments + ROLLS_TO_SETTLE;
        while self.store.status().segments < full {
            self.commit(case)?;
        }
        Ok(())
    }

    fn run(&mut self, step: Step) -> Result<(), CliError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || CliError::Failed("the store has stopped".to_owned());
        block_on(async {
            let submitted = self.store.submit(Box::new(Run { step, result: Ok(()), reply })).await;
            submitted.map_err(|_| stopped())?;
            answer.await.ok_or_else(stopped)?.map_err(|why| CliError::failed("the store", why))
        })
    }

    pub(in crate::cli::bench) fn close(self) {
        self.store.shutdown();
        self.engine.join();
    }
}

/// What one operation does.
enum Step {
    Create(Vec<PartitionId>),
    /// The batch to each of the partitions.
    Append(Vec<PartitionId>, Arc<[u8]>),
    Fill(Range<u64>),
}

impl Step {
    fn apply(&self, draft: &mut Draft<'_>) -> Result<(), DraftError> {
        match self {
            Step::Create(partitions) => partitions.iter().try_for_each(|partition| draft.create_partition(*partition)),
            Step::Append(partitions, batch) => {
                partitions.iter().try_for_each(|partition| draft.append_batch(*partition, batch).map(drop))
            }
            Step::Fill(rows) => rows.clone().try_for_each(|row| {
                draft.put(Space::Device, format!("bench-device-{row}").as_bytes(), &[0; DEVICE_ROW_BYTES])
            }),
        }
    }
}

struct Run {
    step: Step,
    result: Result<(), DraftError>,
    reply: oneshot::Sender<Result<(), String>>,
}

impl Operation for Run {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        let result = self.step.apply(draft);
        if result == Err(DraftError::Full) {
            return Err(Refused);
        }
        self.result = result;
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let outcome = match (outcome, self.result) {
            (Err(error), _) => Err(error.to_string()),
            (Ok(_), Err(error)) => Err(error.to_string()),
            (Ok(_), Ok(())) => Ok(()),
        };
        self.reply.send(outcome);
    }
}

/// A valid batch of an idempotent producer, of exactly this size, bytes, of one record that doesn't compress.
pub(super) fn batch_of(size: usize) -> Result<Vec<u8>, CliError> {
    let mut builder = BatchBuilder::new();
    let build = |builder: &mut BatchBuilder, value: usize| -> Result<Vec<u8>, CliError> {
        let value: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(value).collect();
        builder.push(1, None, Some(&value), NO_HEADERS).map_err(|error| CliError::failed("a batch", error))?;
        Ok(builder.finish_with(Compression::None, Producer { id: 1, epoch: 0, base_sequence: 0 }))
    };
    let smallest = build(&mut builder, 0)?.len();
    let impossible = || CliError::Failed(format!("no batch is of {size} bytes"));
    // Two lengths before the value take 1 to 3 bytes more for long values.
    for slack in 0..8 {
        let value = size.checked_sub(smallest + slack).ok_or_else(impossible)?;
        let batch = build(&mut builder, value)?;
        if batch.len() == size {
            return Ok(batch);
        }
    }
    Err(impossible())
}
