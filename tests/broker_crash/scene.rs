//! A gateway of some shape and size: run, crashed, and held against the model after it was opened again.

use brooklet::store::StoreOptions;
use brooklet::store::sim::{Moment, Planted, SimDisk};
use fastrand::Rng;

use crate::check::{Evictions, Found, hold};
use crate::gateway::{Gateway, Journal};
use crate::harness::{ROOMY, Verdict, ensure, options, tally};
use crate::model::Model;

/// A seed, and the fault that is planted, if any.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub seed: u64,
    pub planted: Option<Planted>,
}

/// A gateway of some shape and size.
#[derive(Clone)]
pub struct Scene {
    pub options: StoreOptions,
    pub seed: u64,
    /// Which losses are right.
    pub evictions: Evictions,
    /// Members of the group.
    pub members: usize,
    batch_bytes: u32,
    devices: usize,
}

/// A run that is over: what happened, and the disk at some moments of it.
pub struct Past {
    pub gateway: Gateway,
    pub moments: Vec<Moment>,
    base: Model,
    journal: Journal,
}

impl Scene {
    pub fn new(case: Case, max_bytes: u64) -> Self {
        let rng = &mut Rng::with_seed(case.seed);
        let options = StoreOptions { planted: case.planted, ..options(rng, max_bytes) };
        let batch_bytes = if max_bytes == ROOMY { 60_000 } else { 120_000 };
        let evictions = if max_bytes == ROOMY { Evictions::None } else { Evictions::Possible };
        Self { options, seed: case.seed, evictions, members: 0, batch_bytes, devices: rng.usize(1..4) }
    }

    fn bound(&self) -> u64 {
        self.options.max_bytes.unwrap_or(u64::MAX)
    }

    /// A new gateway on `disk`.
    pub fn create(&self, disk: SimDisk) -> Result<Gateway, String> {
        self.open(disk, self.beginning(), 0)
    }

    /// Opens the gateway on `disk`, whose clients know `model`.
    pub fn open(&self, disk: SimDisk, model: Model, seed: u64) -> Result<Gateway, String> {
        let mut gateway = Gateway::open(disk, &self.options, model, self.seed ^ seed)?;
        gateway.batch_bytes = self.batch_bytes;
        gateway.tight = self.evictions == Evictions::Possible && self.bound() < ROOMY;
        Ok(gateway)
    }

    /// Drives a new gateway on `disk` for `acts` of its clients; keeps moments, if its disk is watched.
    pub fn live(&self, disk: SimDisk, acts: u64) -> Result<Past, String> {
        let mut gateway = self.create(disk)?;
        gateway.drive(acts);
        self.past(gateway)
    }

    /// As [`Scene::live`], until so many segments were evicted.
    pub fn live_through(&self, disk: SimDisk, evictions: u64) -> Result<Past, String> {
        let mut gateway = self.create(disk)?;
        for _ in 0..100 {
            gateway.drive(50);
            if gateway.broker.store().status().evictions >= evictions {
                return self.past(gateway);
            }
        }
        Err(format!("{evictions} evictions take too long"))
    }

    fn past(&self, mut gateway: Gateway) -> Result<Past, String> {
        gateway.settle();
        let moments = gateway.disk.unwatch();
        self.check_settled(&gateway)?;
        let journal = gateway.history();
        Ok(Past { gateway, moments, base: self.beginning(), journal })
    }

    fn beginning(&self) -> Model {
        let mut model = Model::new(self.devices);
        model.crew.members.resize_with(self.members, Default::default);
        model
    }

    /// After `settle`: everything was answered, and is there.
    pub fn check_settled(&self, gateway: &Gateway) -> Result<Found, String> {
        if let Some(what) = gateway.wrong.first() {
            return Err(what.clone());
        }
        if let Some(trouble) = gateway.troubles.first() {
            return Err(format!("maintenance: {trouble}"));
        }
        self.check(gateway)
    }

    /// Holds all that the gateway has against the model, and the disk against the bound.
    pub fn check(&self, gateway: &Gateway) -> Result<Found, String> {
        let most = gateway.disk.allocated_max();
        ensure!(most <= self.bound(), "{most} bytes on disk, {} more than allowed", most - self.bound());
        hold(&gateway.broker, &gateway.model, self.evictions, &mut Rng::with_seed(self.seed))
    }

    /// Opens what a crash left, holds it against `model`, and takes what it has for certain.
    pub fn reopen(&self, disk: SimDisk, model: Model, seed: u64) -> Result<Gateway, String> {
        let mut gateway = self.open(disk, model, seed)?;
        let found = self.check(&gateway)?;
        gateway.model.settle(&found)?;
        Ok(gateway)
    }

    /// Opens what a crash left. Sometimes crashes again inside recovery, or after it, or goes on.
    pub fn recover(&self, disk: SimDisk, model: &Model, seed: u64, depth: u32) -> Verdict {
        let rng = &mut Rng::with_seed(seed);
        if depth > 0 && rng.u8(0..4) == 0 {
            disk.watch(0.02);
        }
        let mut again = self.open(disk, model.clone(), seed)?;
        let inside = again.disk.unwatch();
        let found = self.check(&again)?;
        again.model.settle(&found)?;
        for moment in rng.choose_multiple(&inside, 2) {
            tally::count_at("power cut inside recovery,", moment.at.0);
            let seed = rng.u64(..);
            self.recover(moment.power_cut(seed), model, seed, depth - 1)
                .map_err(|what| format!("again inside recovery, before {:?}: {what}", moment.at))?;
        }
        match rng.u8(0..8) {
            0..2 => self.go_on(again, 8, rng).map(drop),
            2 => {
                // What it has shown is safe.
                tally::count("power cut after recovery");
                let disk = again.disk.power_cut(rng.u64(..));
                let reopened = self.reopen(disk, again.model.clone(), 2);
                reopened.map_err(|what| format!("power cut after opening: {what}")).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Clients send again what they must, and go on; then it ends in some way, and is opened again.
    pub fn go_on(&self, mut gateway: Gateway, acts: u64, rng: &mut Rng) -> Result<Gateway, String> {
        gateway.drive(acts);
        gateway.settle();
        self.check_settled(&gateway).map_err(|what| format!("going on: {what}"))?;
        let model = gateway.model.clone();
        let disk = match rng.u8(0..3) {
            0 => gateway.close()?,
            1 => gateway.disk.kill(rng.u64(..)),
            _ => gateway.disk.power_cut(rng.u64(..)),
        };
        self.reopen(disk, model, rng.u64(..)).map_err(|what| format!("going on, opened again: {what}"))
    }
}

impl Past {
    /// What clients knew at each of `moments`, which must be of this run and in order.
    pub fn models<'a>(
        &'a self,
        moments: impl Iterator<Item = &'a Moment> + 'a,
    ) -> impl Iterator<Item = (&'a Moment, Model)> {
        let (mut model, mut journal) = (self.base.clone(), self.journal.iter().peekable());
        moments.map(move |moment| {
            while let Some((_, event)) = journal.next_if(|(disk_ops, _)| *disk_ops <= moment.op) {
                // The run has been judged as it went.
                let _ = model.take(event);
            }
            (moment, model.clone())
        })
    }
}
