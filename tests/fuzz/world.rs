//! A store on a simulated disk, and a broker on it, driven by hand.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use brooklet::broker::{Broker, BrokerOptions};
use brooklet::store::clock::ManualClock;
use brooklet::store::sim::SimDisk;
use brooklet::store::{
    Committed, Draft, Engine, OpenError, Operation, Refused, Space, Store, StoreError, StoreOptions,
};
use futures_lite::future::{block_on, poll_once};

pub(crate) const DIR: &str = "/store";
/// Turns after which what still waits is given up.
const TURNS_MAX: usize = 300;

pub(crate) struct World {
    pub(crate) store: Store,
    clock: Arc<ManualClock>,
    engine: Engine,
}

impl World {
    pub(crate) fn open(disk: &SimDisk, segment_bytes: u64) -> Result<Self, OpenError> {
        let mut options = StoreOptions::new(Path::new(DIR));
        options.max_bytes = Some(64 << 20);
        options.segment_bytes = Some(segment_bytes);
        let clock = Arc::new(ManualClock::new(1_000, 1_800_000_000_000));
        let (store, engine) = Store::open(options, Arc::new(disk.clone()), clock.clone())?;
        Ok(Self { store, clock, engine })
    }

    pub(crate) fn broker(&self) -> Result<Broker, String> {
        let group_clock = Some(Arc::clone(&self.clock) as Arc<dyn brooklet::store::clock::Clock>);
        Broker::new(self.store.clone(), BrokerOptions { group_clock, ..BrokerOptions::default() })
    }

    /// Polls while the store works; `None` if that never ends.
    pub(crate) fn drive<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        for _ in 0..TURNS_MAX {
            if let Some(done) = block_on(poll_once(&mut work)) {
                return Some(done);
            }
            self.turn();
            std::thread::yield_now();
        }
        None
    }

    /// Commits what waits, and lets maintenance work.
    pub(crate) fn turn(&mut self) {
        self.clock.advance_ms(20);
        self.engine.step_writer(true);
        let _ = self.engine.step_sealer();
        let _ = self.engine.step_evictor();
    }

    /// Sets rows, or (`None`) deletes them, whatever is in them. What the store refuses is left out.
    pub(crate) fn write(&mut self, rows: Vec<Row>) {
        let queued = self.store.try_submit(Box::new(Write(rows)));
        assert!(queued.is_ok(), "the queue is empty");
        self.turn();
    }

    pub(crate) fn close(self) {
        let _ = self.engine.close();
    }
}

pub(crate) type Row = (Space, Vec<u8>, Option<Vec<u8>>);

struct Write(Vec<Row>);

impl Operation for Write {
    fn apply(&mut self, draft: &mut Draft<'_>) -> Result<(), Refused> {
        for (space, key, value) in &self.0 {
            let _ = match value {
                Some(value) => draft.put(*space, key, value),
                None => draft.delete(*space, key),
            };
        }
        Ok(())
    }

    fn done(self: Box<Self>, _: Result<&Committed, &StoreError>) {}
}
