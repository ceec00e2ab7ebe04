//! Drives a store through invented steps, by one thread, from a seed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use brooklet::store::clock::ManualClock;
use brooklet::store::sim::SimDisk;
use brooklet::store::{
    Committed, Draft, DraftError, Engine, Operation, PartitionId, Refused, Store, StoreError, StoreOptions,
    TrySubmitError,
};
use fastrand::Rng;

use crate::check::steps_of;
use crate::model::{Action, Model, READER, Shape, Step, What};

/// A store being driven.
pub struct Run {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub store: Store,
    engine: Engine,
    rng: Rng,
    shape: Shape,
    /// `history[n]` is what the store holds after `n` steps, beginning with `base` steps.
    history: Vec<Arc<Model>>,
    log: Arc<Mutex<Log>>,
}

/// What the store has told.
#[derive(Debug, Default)]
pub struct Log {
    pub acks: Vec<Ack>,
    /// Steps that failed.
    pub failed: Vec<(u64, StoreError)>,
    /// The store has refused a step for want of room.
    pub full: bool,
    /// What maintenance failed at.
    pub troubles: Vec<String>,
    /// What the store should never have said.
    pub wrong: Vec<String>,
}

/// A step that is durable, says the store.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    pub step: u64,
    pub commit: u64,
    /// Operations of the disk done by then.
    pub disk_ops: u64,
}

impl Run {
    /// Opens the store on `disk`. `model` tells what it holds after so many steps, if it can hold that many.
    ///
    /// # Errors
    /// In words.
    pub fn open(
        disk: SimDisk,
        options: &StoreOptions,
        shape: Shape,
        seed: u64,
        model: impl FnOnce(u64) -> Result<Arc<Model>, String>,
    ) -> Result<Self, String> {
        let clock = Arc::new(ManualClock::default());
        let (store, engine) = Store::open(options.clone(), Arc::new(disk.clone()), clock.clone())
            .map_err(|error| format!("opening: {error}"))?;
        let model = model(steps_of(&store))?;
        for id in model.partitions.keys() {
            store.follow(READER, PartitionId(*id));
            store.set_class(PartitionId(*id), shape.class(*id));
        }
        let (history, log, rng) = (vec![model], Arc::default(), Rng::with_seed(seed));
        Ok(Self { disk, clock, store, engine, rng, shape, history, log })
    }

    /// Submits `steps` invented steps, and lets the store work in between, in turns drawn from the seed.
    pub fn drive(&mut self, steps: u64) {
        for _ in 0..steps {
            let mut model = Model::clone(self.last());
            let step = model.step(&mut self.rng, &self.shape);
            for action in &step.actions {
                if let Action::Create(id) = action {
                    self.store.follow(READER, PartitionId(*id));
                    self.store.set_class(PartitionId(*id), self.shape.class(*id));
                }
            }
            if self.rng.u8(0..20) == 0 {
                self.retain();
            }
            self.history.push(Arc::new(model));
            self.submit(step);
            self.clock.advance_ms(self.rng.u64(0..20));
            for _ in 0..self.rng.usize(0..4) {
                self.turn();
            }
        }
    }

    /// Deletes all records.
    pub fn clear(&mut self) {
        let mut model = Model::clone(self.last());
        let step = model.clear();
        self.history.push(Arc::new(model));
        self.submit(step);
    }

    /// Where the shape wants it, bounds the partitions there are, and lets enough time pass for that to be looked at.
    fn retain(&mut self) {
        let Some(retention) = self.shape.retention else { return };
        for id in self.store.partitions() {
            self.store.set_retention(id, retention);
        }
        self.clock.advance_ms(61_000);
    }

    /// Lets the store work until it has answered everything, and has nothing more to tidy up.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.clock.advance_ms(20);
            let written = self.engine.step_writer(true);
            let sealed = self.engine.step_sealer();
            let tidied = self.engine.step_evictor();
            if written.committed.is_none() && !matches!(sealed, Ok(true)) && !matches!(tidied, Ok(true)) {
                self.note(sealed.map(drop));
                self.note(tidied.map(drop));
                return;
            }
        }
        self.wrong("the store never comes to rest".into());
    }

    fn turn(&mut self) {
        match self.rng.u8(0..8) {
            0..4 => drop(self.engine.step_writer(false)),
            4 => drop(self.engine.step_writer(true)),
            5 => {
                let sealed = self.engine.step_sealer().map(drop);
                self.note(sealed);
            }
            _ => {
                let tidied = self.engine.step_evictor().map(drop);
                self.note(tidied);
            }
        }
    }

    /// Maintenance may only fail where the disk does.
    fn note(&self, outcome: Result<(), impl std::fmt::Display>) {
        if let Err(error) = outcome {
            self.log().troubles.push(error.to_string());
        }
    }

    fn submit(&mut self, step: Step) {
        let lazy = self.rng.u8(0..10) == 0;
        let mut op: Box<dyn Operation> = Box::new(StepOp {
            step,
            disk: self.disk.clone(),
            log: Arc::clone(&self.log),
            refusals: 0,
            void: false,
            full: false,
        });
        if lazy {
            let within = Duration::from_millis(self.rng.u64(0..50));
            let submitted = self.store.submit_lazy(op, within);
            // The queue is never full here: the store works off all of it in each turn of its writer.
            if futures_lite::future::block_on(futures_lite::future::poll_once(submitted)).is_none() {
                self.wrong("the queue is full".into());
            }
            return;
        }
        for _ in 0..1_000 {
            match self.store.try_submit(op) {
                Ok(()) | Err(TrySubmitError::Closed(_)) => return,
                Err(TrySubmitError::Full(back)) => op = back,
            }
            self.clock.advance_ms(20);
            self.engine.step_writer(true);
        }
        self.wrong("the queue stays full".into());
    }

    /// What the store holds once everything submitted is committed.
    pub fn last(&self) -> &Arc<Model> {
        self.history.last().unwrap()
    }

    /// Steps taken since it was opened.
    pub fn taken(&self) -> usize {
        self.history.len() - 1
    }

    /// What the store holds after so many steps.
    pub fn after(&self, steps: u64) -> Option<&Arc<Model>> {
        let base = self.history.first()?.steps;
        self.history.get(usize::try_from(steps.checked_sub(base)?).ok()?)
    }

    /// What a store may hold that is found after `disk_ops` operations of the disk: what was acknowledged by then, and
    /// perhaps the commit that was under way.
    pub fn possible_after(&self, disk_ops: u64) -> (u64, u64) {
        let base = self.history.first().map_or(0, |model| model.steps);
        let log = self.log();
        let acked = log.acks.iter().filter(|ack| ack.disk_ops <= disk_ops).map(|ack| ack.step).max().unwrap_or(base);
        let next = log.acks.iter().find(|ack| ack.step > acked);
        let under_way = next.and_then(|next| log.acks.iter().rfind(|ack| ack.commit == next.commit));
        (acked, under_way.map_or(self.last().steps, |ack| ack.step))
    }

    /// What the store held before its last commit.
    pub fn before_last_commit(&self) -> Option<&Arc<Model>> {
        let log = self.log();
        let last = log.acks.last()?.commit;
        let step = log.acks.iter().rfind(|ack| ack.commit < last)?.step;
        drop(log);
        self.after(step)
    }

    pub fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wrong(&self, what: String) {
        self.log().wrong.push(what);
    }

    /// Closes the store in order.
    pub fn close(self) -> Result<SimDisk, String> {
        self.store.shutdown();
        self.engine.close().map_err(|error| format!("closing: {error}"))?;
        Ok(self.disk)
    }
}

/// A step on its way through the store.
struct StepOp {
    step: Step,
    disk: SimDisk,
    log: Arc<Mutex<Log>>,
    refusals: u32,
    /// A step before it failed, so the model it was made for is none of the store's.
    void: bool,
    /// The store had no room for it.
    full: bool,
}

impl Operation for StepOp {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.void = log.full || !log.failed.is_empty();
        drop(log);
        if self.void {
            return Ok(());
        }
        // All or nothing: asked for before anything is done.
        if let Err(error) = draft.check_bytes(self.step.actions.iter().map(bytes_of).sum()) {
            self.refusals += 1;
            if error != DraftError::Full || self.refusals > 2 {
                self.complain(format!("refused {} times: {error}", self.refusals));
            }
            return Err(Refused);
        }
        for action in &self.step.actions {
            match perform(action, draft) {
                Ok(()) => {}
                Err(Failure::Draft(DraftError::StoreFull | DraftError::DiskFull)) => {
                    self.full = true;
                    // The next one is applied before this one is told.
                    self.log.lock().unwrap_or_else(PoisonError::into_inner).full = true;
                    break;
                }
                Err(Failure::Draft(error)) => self.complain(format!("{action:?}: {error}")),
                Err(Failure::Landed(offset)) => self.complain(format!("{action:?} landed at {offset}")),
            }
        }
        Ok(())
    }

    fn done(self: Box<Self>, outcome: Result<&Committed, &StoreError>) {
        let disk_ops = self.disk.ops();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) if self.full => log.failed.push((self.step.number, StoreError::Full)),
            Ok(_) if self.void => {}
            Ok(committed) => log.acks.push(Ack { step: self.step.number, commit: committed.seq, disk_ops }),
            Err(error) => log.failed.push((self.step.number, error.clone())),
        }
    }
}

impl StepOp {
    fn complain(&self, what: String) {
        let what = format!("step {}: {what}", self.step.number);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).wrong.push(what);
    }
}

enum Failure {
    Draft(DraftError),
    /// It landed at another offset than it must.
    Landed(i64),
}

/// What an action puts into a commit, at most.
fn bytes_of(action: &Action) -> usize {
    200 + match action {
        Action::Append { what: What::Batch(bytes), .. } => bytes.len(),
        Action::Append { what: What::Record { key, value, .. }, .. } => {
            key.as_ref().map_or(0, |key| key.len()) + value.as_ref().map_or(0, |value| value.len())
        }
        Action::Put(_, key, value) => key.len() + value.len(),
        Action::Create(_) | Action::Drop(_) | Action::Delete(..) | Action::LogStart(..) => 0,
    }
}

fn perform(action: &Action, draft: &mut Draft<'_>) -> Result<(), Failure> {
    match action {
        Action::Create(id) => draft.create_partition(PartitionId(*id)).map_err(Failure::Draft),
        Action::Drop(id) => draft.drop_partition(PartitionId(*id)).map_err(Failure::Draft),
        Action::Append { partition, offset, what } => {
            let partition = PartitionId(*partition);
            let landed = match what {
                What::Batch(bytes) => draft.append_batch(partition, bytes),
                What::Record { timestamp, key, value } => {
                    draft.append_record(partition, *timestamp, key.as_deref(), value.as_deref(), &[])
                }
            };
            match landed.map_err(Failure::Draft)? {
                landed if landed == *offset => Ok(()),
                landed => Err(Failure::Landed(landed)),
            }
        }
        Action::Put(space, key, value) => draft.put(*space, key, value).map_err(Failure::Draft),
        Action::Delete(space, key) => draft.delete(*space, key).map_err(Failure::Draft),
        Action::LogStart(id, offset) => draft.set_log_start(PartitionId(*id), *offset).map_err(Failure::Draft),
    }
}
