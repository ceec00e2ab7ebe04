//! What moves an open store: step functions, and the two threads that drive them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::error::StoreError;
use super::ring::lock;
use super::segment::SegmentError;
use super::shared::Shared;
use super::writer::{Writer, WriterStep};
use super::{evictor, retention, sealer};

/// How often maintenance looks for itself.
const MAINTENANCE_EVERY: Duration = Duration::from_secs(1);
/// How often retention looks at all partitions, by the store's clock.
const RETENTION_EVERY_MS: u64 = 60_000;

/// What moves an open store. [`Engine::spawn`] drives it on threads; a simulator calls its steps, one at a time and in
/// any order, and so replays the same run from the same seed.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    writer: Writer,
    retention_at_ms: Option<u64>,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { writer: Writer::new(Arc::clone(&shared)), shared, retention_at_ms: None }
    }

    /// Takes in what waits in the queue, and commits if that is due; with `now`, whether due or not.
    pub fn step_writer(&mut self, now: bool) -> WriterStep {
        self.writer.step(now)
    }

    /// Seals what a roll left, and brings `state.redb` up to date. Whether there was anything to do.
    ///
    /// # Errors
    /// If that failed; the store is poisoned then.
    pub fn step_sealer(&mut self) -> Result<bool, StoreError> {
        step_sealer(&self.shared)
    }

    /// Does one thing that is due of: sending an eviction to the writer, removing or recycling an evicted file, making a
    /// spare, looking at retention. Whether there was anything to do.
    ///
    /// # Errors
    /// If the filesystem refused; it is tried again at the next call.
    pub fn step_evictor(&mut self) -> io::Result<bool> {
        let retained = step_retention(&self.shared, &mut self.retention_at_ms);
        Ok(step_evictor(&self.shared)? || retained)
    }

    /// Commits what waits, and closes all files cleanly, so that the next opening needs no repair.
    ///
    /// # Errors
    /// If a file couldn't be closed cleanly: nothing is lost, the next opening repairs.
    pub fn close(mut self) -> io::Result<()> {
        self.shared.queue.close();
        while !self.writer.is_idle() {
            self.writer.step(true);
        }
        close(&self.shared)
    }

    /// Runs the store on two threads: the writer, and maintenance (sealing, evicting, spares).
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn spawn(self) -> io::Result<EngineHandle> {
        let Self { shared, mut writer, retention_at_ms } = self;
        let maintained = Arc::clone(&shared);
        let maintenance = std::thread::Builder::new()
            .name("store-maintain".into())
            .spawn(move || guard(&maintained, || maintain(&maintained, retention_at_ms)))?;
        let spawned = std::thread::Builder::new().name("store-writer".into()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                guard(&shared, || run_writer(&shared, &mut writer));
                shared.maintenance.stop();
                let _panicked = maintenance.join();
                if let Err(error) = close(&shared) {
                    log::warn!("closing the store: {error}");
                }
            }
        });
        if spawned.is_err() {
            shared.maintenance.stop();
        }
        Ok(EngineHandle { writer: spawned? })
    }
}

/// The threads of a running store.
#[derive(Debug)]
pub struct EngineHandle {
    writer: JoinHandle<()>,
}

impl EngineHandle {
    /// Waits until the store has closed, after [`super::Store::shutdown`] or a failure of the medium.
    pub fn join(self) {
        let _panicked = self.writer.join();
    }
}

fn run_writer(shared: &Shared, writer: &mut Writer) {
    loop {
        let step = writer.step(false);
        if shared.queue.is_closed() && writer.is_idle() {
            return;
        }
        let time = step.due_ms.map(|due| Duration::from_millis(due.saturating_sub(shared.env.clock.mono_ms())));
        // Too early by less than the clock's grain isn't worth a sleep, but mustn't spin either.
        let time = time.map(|time| time.max(Duration::from_micros(500)));
        // Riders wait for company: whatever comes then decides when the commit is due.
        shared.queue.wait(time, step.due_ms.is_some() && !step.riders_only);
    }
}

fn maintain(shared: &Shared, mut retention_at_ms: Option<u64>) {
    while !shared.maintenance.is_stopped() {
        let mut again = step_sealer(shared).unwrap_or(false);
        match step_evictor(shared) {
            Ok(more) => again |= more,
            Err(error) => log::warn!("making room in the store: {error}"),
        }
        step_retention(shared, &mut retention_at_ms);
        if !again {
            shared.maintenance.wait(MAINTENANCE_EVERY);
        }
    }
    // What a last roll left.
    let _poisoned = step_sealer(shared);
}

fn step_sealer(shared: &Shared) -> Result<bool, StoreError> {
    match shared.poisoned() {
        Some(error) => Err(error),
        None => sealer::step(shared).map_err(|error| shared.poison(&format!("sealing: {error}"))),
    }
}

fn step_evictor(shared: &Shared) -> io::Result<bool> {
    evictor::step(shared).map_err(|error| match error {
        SegmentError::Io(error) => error,
        error => io::Error::other(error.to_string()),
    })
}

fn step_retention(shared: &Shared, at_ms: &mut Option<u64>) -> bool {
    let now = shared.env.clock.mono_ms();
    if at_ms.is_some_and(|at| now < at.saturating_add(RETENTION_EVERY_MS)) {
        return false;
    }
    *at_ms = Some(now);
    retention::step(shared)
}

fn close(shared: &Shared) -> io::Result<()> {
    let segments: Vec<_> = shared.view().segments.iter().cloned().collect();
    let closed = shared.ring.close(segments.iter()).map_err(|error| io::Error::other(error.to_string()));
    drop(lock(&shared.dir_lock).take());
    closed
}

/// A panic of an operation or observer must not leave everyone waiting for a thread that is gone.
fn guard(shared: &Shared, run: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
        let _error = shared.poison("a thread of the store panicked");
        while let Some(queued) = shared.queue.pop() {
            drop(queued);
        }
    }
}
