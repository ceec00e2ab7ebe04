//! What the tests have in common: a store of some shape and size, run, crashed and recovered.

use std::sync::Arc;

use brooklet::store::sim::{Moment, SimDisk};
use brooklet::store::{Retention, StoreOptions};
use fastrand::Rng;

use crate::check::{Evictions, check};
use crate::harness::{ROOMY, TIGHT, Verdict, new_disk, options, tally};
use crate::model::{Model, Shape};
use crate::run::Run;

/// A store of some shape and size, and a seed.
#[derive(Clone)]
pub struct Scene {
    pub options: StoreOptions,
    pub shape: Shape,
    pub seed: u64,
}

impl Scene {
    pub fn new(seed: u64, max_bytes: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let (ms, bytes) = (Some(rng.u64(1..300_000)), Some(rng.u64(1..500_000)));
        let retention = Retention { ms, bytes, expire_unforwarded: rng.bool() };
        let shape = Shape {
            partitions: 5,
            actions: 4,
            batch_bytes: if max_bytes == TIGHT { 120_000 } else { 60_000 },
            value_bytes: 300,
            // Many keys don't fit into a segment's snapshot.
            keys: if rng.bool() { 5 } else { 200 },
            deletes: true,
            classes: max_bytes == TIGHT && rng.bool(),
            retention: (max_bytes == TIGHT && rng.bool()).then_some(retention),
        };
        Self { options: options(rng, max_bytes), shape, seed }
    }

    fn bound(&self) -> u64 {
        self.options.max_bytes.unwrap_or(u64::MAX)
    }

    fn evictions(&self) -> Evictions {
        if self.bound() == ROOMY { Evictions::None } else { Evictions::Possible }
    }

    /// Opens a new store on `disk`.
    pub fn create(&self, disk: SimDisk) -> Result<Run, String> {
        Run::open(disk, &self.options, self.shape, self.seed, |_| Ok(Arc::default()))
    }

    /// Opens the store on `disk`, which must hold `model`.
    pub fn reopen(&self, disk: SimDisk, model: &Arc<Model>, seed: u64) -> Result<Run, String> {
        let run = Run::open(disk, &self.options, self.shape, self.seed ^ seed, |steps| match steps {
            steps if steps == model.steps => Ok(Arc::clone(model)),
            steps => Err(format!("it holds {steps} steps, not {}", model.steps)),
        })?;
        self.check(&run)?;
        Ok(run)
    }

    /// Drives a new store for `steps`. Returns the run and the moments kept, if its disk is watched (with this chance
    /// at a write).
    pub fn live(&self, steps: u64, watched: Option<f64>) -> Result<(Run, Vec<Moment>), String> {
        let disk = new_disk(self.seed);
        if let Some(write_chance) = watched {
            disk.watch(write_chance);
        }
        let mut run = self.create(disk)?;
        run.drive(steps);
        run.settle();
        let moments = run.disk.unwatch();
        self.check_settled(&run)?;
        Ok((run, moments))
    }

    /// After `settle`: everything was acknowledged, in order, and is there.
    pub fn check_settled(&self, run: &Run) -> Verdict {
        let log = run.log();
        if let Some(what) = log.wrong.first() {
            return Err(what.clone());
        }
        if let Some((step, error)) = log.failed.first() {
            return Err(format!("step {step} failed: {error}"));
        }
        if let Some(trouble) = log.troubles.first() {
            return Err(format!("maintenance: {trouble}"));
        }
        let last = run.last().steps;
        if run.taken() > 0 && log.acks.last().map(|ack| ack.step) != Some(last) {
            return Err(format!("only {:?} of {last} steps are acknowledged", log.acks.last()));
        }
        if !log.acks.windows(2).all(|pair| pair[0].step + 1 == pair[1].step && pair[0].commit <= pair[1].commit) {
            return Err("acknowledged out of order".into());
        }
        drop(log);
        self.check(run)
    }

    /// Holds all that the store has against what it must have.
    pub fn check(&self, run: &Run) -> Verdict {
        check(&run.store, run.last(), self.evictions(), &mut Rng::with_seed(self.seed))?;
        // redb may spill some pages between two commits, when its cache is tight; it is counted with the next.
        const SPILL: u64 = 64 << 10;
        let (counted, held) = (run.store.status().disk_bytes, run.disk.allocated());
        if counted + SPILL < held {
            return Err(format!("it counts {counted} bytes on disk, there are {held}"));
        }
        let most = run.disk.allocated_max();
        if most > self.bound() {
            return Err(format!("{most} bytes on disk, {} more than allowed", most - self.bound()));
        }
        Ok(())
    }

    /// Opens what a crash of `run` left, which must hold one of these numbers of steps.
    pub fn open_crashed(&self, run: &Run, disk: SimDisk, possible: &[u64], seed: u64) -> Result<Run, String> {
        Run::open(disk, &self.options, self.shape, self.seed ^ seed, |steps| match run.after(steps) {
            Some(model) if possible.contains(&steps) => Ok(Arc::clone(model)),
            _ => Err(format!("it holds {steps} steps, not one of {possible:?}")),
        })
    }

    /// Opens what a crash of `run` left, and holds it against the `possible` numbers of steps. Sometimes crashes again
    /// inside recovery, or goes on with it.
    pub fn recover(&self, run: &Run, disk: SimDisk, possible: (u64, u64), seed: u64, depth: u32) -> Verdict {
        let rng = &mut Rng::with_seed(seed);
        if depth > 0 && rng.u8(0..4) == 0 {
            disk.watch(0.02);
        }
        let again = self.open_crashed(run, disk, &[possible.0, possible.1], seed)?;
        let inside = again.disk.unwatch();
        self.check(&again)?;
        for moment in rng.choose_multiple(&inside, 2) {
            let seed = rng.u64(..);
            tally::count_at("power cut inside recovery,", moment.at.0);
            self.recover(run, moment.power_cut(seed), possible, seed, depth - 1)
                .map_err(|what| format!("again inside recovery, before {:?}: {what}", moment.at))?;
        }
        match rng.u8(0..8) {
            0 => self.go_on(again, rng),
            1 => {
                // What it has shown is safe.
                let disk = again.disk.power_cut(rng.u64(..));
                self.reopen(disk, again.last(), 2).map_err(|what| format!("power cut after opening: {what}")).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// A recovered store works like any other.
    fn go_on(&self, mut run: Run, rng: &mut Rng) -> Verdict {
        run.drive(8);
        run.settle();
        self.check_settled(&run).map_err(|what| format!("going on: {what}"))?;
        let last = Arc::clone(run.last());
        let disk = match rng.u8(0..3) {
            0 => run.close()?,
            1 => run.disk.kill(rng.u64(..)),
            _ => run.disk.power_cut(rng.u64(..)),
        };
        self.reopen(disk, &last, 3).map_err(|what| format!("going on, opened again: {what}")).map(drop)
    }

    /// Recovers from a power cut at `moment`, and fills the store again: what was left behind does harm only then.
    pub fn cut_and_refill(&self, run: &Run, moment: &Moment, seed: u64) -> Verdict {
        let possible = run.possible_after(moment.op);
        let refill = || {
            let mut again = self.open_crashed(run, moment.power_cut(seed), &[possible.0, possible.1], seed)?;
            again.drive(250);
            again.settle();
            self.check_settled(&again)
        };
        refill().map_err(|what| format!("power cut {seed} before {:?}, then filled again: {what}", moment.at))
    }

    /// Recovers from a power cut at `moment`, in a way drawn from `seed`.
    pub fn cut(&self, run: &Run, moment: &Moment, seed: u64) -> Verdict {
        tally::count_at("power cut", moment.at.0);
        self.recover(run, moment.power_cut(seed), run.possible_after(moment.op), seed, 1)
            .map_err(|what| format!("power cut {seed} before operation {}, {:?}: {what}", moment.op, moment.at))
    }
}
