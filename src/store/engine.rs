//! What moves an open store: step functions, and the threads that drive them.
//!
//! Two threads, writer and maintenance. When the store fails, both stop; the writer's then opens the files anew, after
//! pauses that grow from [`HEAL_AFTER_MIN`] to [`HEAL_AFTER_MAX`], and both begin again on what was recovered.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::commit_policy::CLOSE_BYTES;
use super::company::Company;
use super::error::{OpenError, StoreError};
use super::handle::Handle;
use super::heal;
use super::progress::Work;
use super::segment::SegmentError;
use super::shared::Shared;
use super::writer::{Writer, WriterStep};
use super::{evictor, learn, retention, sealer};
use crate::executor::start_thread;

/// How often maintenance looks for itself.
const MAINTENANCE_EVERY: Duration = Duration::from_secs(1);
/// How often retention looks at all partitions, by the store's clock.
const RETENTION_EVERY_MS: u64 = 60_000;
/// The pause before a store that failed is opened again, the first time.
const HEAL_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest such pause; each is twice as long as the one before.
const HEAL_AFTER_MAX: Duration = Duration::from_secs(30);
/// A store that has worked for so long begins with the shortest pause again, ms.
const SOUND_AFTER_MS: u64 = 60_000;

/// What moves an open store. [`Engine::spawn`] drives it on threads; a simulator calls its steps, one at a time and in
/// any order, and so replays the same run from the same seed.
#[derive(Debug)]
pub struct Engine {
    handle: Arc<Handle>,
    shared: Arc<Shared>,
    writer: Writer,
    retention_at_ms: Option<u64>,
}

impl Engine {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        let shared = handle.current();
        Self { handle, writer: Writer::new(Arc::clone(&shared)), shared, retention_at_ms: None }
    }

    /// Takes in what waits in the queue, and commits if that is due; with `now`, whether due or not.
    pub fn step_writer(&mut self, now: bool) -> WriterStep {
        self.writer.step(now)
    }

    /// Seals what a roll left, and brings `state.redb` up to date. Whether there was anything to do.
    ///
    /// # Errors
    /// If that failed; the store has failed then.
    pub fn step_sealer(&mut self) -> Result<bool, StoreError> {
        step_sealer(&self.shared)
    }

    /// Does one thing that is due of: sending an eviction to the writer, removing or recycling an evicted file, making a
    /// spare, looking at retention. Whether there was anything to do.
    ///
    /// # Errors
    /// If the filesystem refused; it is tried again at the next call.
    pub fn step_evictor(&mut self) -> io::Result<bool> {
        let learned = learn::step(&self.shared);
        let retained = step_retention(&self.shared, &mut self.retention_at_ms);
        Ok(step_evictor(&self.shared)? || retained || learned)
    }

    /// If the store has failed: tells all operations that wait, and tries once to open the files anew. Whether it did.
    /// Blocks.
    ///
    /// # Errors
    /// Why that failed; nothing has changed then, and it may be tried again.
    pub fn step_heal(&mut self) -> Result<bool, OpenError> {
        if self.shared.poisoned().is_none() || self.handle.is_closing() {
            return Ok(false);
        }
        while !self.writer.is_idle() {
            self.writer.step(true);
        }
        let healed = self
            .shared
            .progress
            .during(Work::Healing, &*self.handle.clock, || heal::reopen(&self.handle, &self.shared));
        match healed {
            Ok(shared) => {
                log::info!("the store is open again, at commit {}", shared.view().last_commit);
                self.writer = Writer::new(Arc::clone(&shared));
                self.shared = shared;
                self.retention_at_ms = None;
                Ok(true)
            }
            Err(error) => {
                if self.handle.note_failure(error.to_string()) {
                    log::error!("the store can't be opened again yet: {error}");
                }
                Err(error)
            }
        }
    }

    /// Commits what waits, and closes all files cleanly, so that the next opening needs no repair.
    ///
    /// # Errors
    /// If a file couldn't be closed cleanly: nothing is lost, the next opening repairs.
    pub fn close(mut self) -> io::Result<()> {
        self.handle.close();
        while !self.writer.is_idle() {
            self.writer.step(true);
        }
        self.close_files()
    }

    fn close_files(&self) -> io::Result<()> {
        let segments: Vec<_> = self.shared.view().segments.iter().cloned().collect();
        let closed = self.shared.ring.close(segments.iter()).map_err(|error| io::Error::other(error.to_string()));
        self.handle.release();
        closed
    }

    /// Runs the store on two threads: the writer, and maintenance (sealing, evicting, spares).
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn spawn(self) -> io::Result<EngineHandle> {
        let maintenance = self.spawn_maintenance()?;
        let shared = Arc::clone(&self.shared);
        let writer = start_thread("store-writer", move || self.run(maintenance));
        if writer.is_err() {
            shared.maintenance.stop();
        }
        Ok(EngineHandle { writer: writer? })
    }

    fn spawn_maintenance(&self) -> io::Result<JoinHandle<()>> {
        let (shared, retention_at_ms) = (Arc::clone(&self.shared), self.retention_at_ms);
        let run = move || guard(&shared, || maintain(&shared, retention_at_ms));
        start_thread("store-maintain", run)
    }

    /// Runs until the store is closed, over all failures.
    fn run(mut self, maintenance: JoinHandle<()>) {
        let mut maintenance = Some(maintenance);
        let mut pause = HEAL_AFTER_MIN;
        loop {
            let began_ms = self.handle.clock.mono_ms();
            guard(&self.shared, || run_writer(&self.shared, &mut self.writer));
            self.shared.maintenance.stop();
            let _panicked = maintenance.take().map(JoinHandle::join);
            if self.handle.clock.mono_ms().saturating_sub(began_ms) >= SOUND_AFTER_MS {
                pause = HEAL_AFTER_MIN;
            }
            if !self.heal(&mut pause) {
                break;
            }
            match self.spawn_maintenance() {
                Ok(thread) => maintenance = Some(thread),
                Err(error) => drop(self.shared.poison(&error.to_string())),
            }
        }
        if let Err(error) = self.close_files() {
            log::warn!("closing the store: {error}");
        }
    }

    /// Tries until the store is open again; whether it is, else it is to end.
    fn heal(&mut self, pause: &mut Duration) -> bool {
        while !self.handle.is_closing() {
            self.handle.pause(*pause);
            *pause = (*pause * 2).min(HEAL_AFTER_MAX);
            let mut healed = false;
            // The failure is in the status, and was logged.
            guard(&Arc::clone(&self.shared), || healed = self.step_heal().unwrap_or(false));
            if healed {
                return true;
            }
        }
        false
    }
}

/// The threads of a running store.
#[derive(Debug)]
pub struct EngineHandle {
    writer: JoinHandle<()>,
}

impl EngineHandle {
    /// Waits until the store has closed, after [`super::Store::shutdown`].
    pub fn join(self) {
        let _panicked = self.writer.join();
    }
}

fn run_writer(shared: &Shared, writer: &mut Writer) {
    let mut company = Company::default();
    loop {
        let begun = Instant::now();
        let step = writer.step(false);
        let ended = Instant::now();
        // With a window, commits wait anyway; without a commit, nothing is saved by waiting.
        let told = if shared.rules().window_ms == 0 && step.committed.is_some() { step.told } else { 0 };
        let expected = match told {
            0 => None,
            told => company.committed(ended - begun, told, shared.queue.len()).filter(|_| step.due_ms.is_none()),
        };
        if shared.queue.is_closed() && writer.is_idle() {
            return;
        }
        let time = step.due_ms.map(|due| Duration::from_millis(due.saturating_sub(shared.env.clock.mono_ms())));
        // Too early by less than the clock's grain isn't worth a sleep, but mustn't spin either.
        let time = time.map(|time| time.max(Duration::from_micros(500)));
        // Riders wait for company: whatever comes then decides when the commit is due.
        let open = step.due_ms.is_some() && !step.riders_only;
        shared.queue.wait(time, open.then_some(step.short_bytes));
        if let Some(expected) = expected
            && let Some(left) = expected.within.checked_sub(ended.elapsed())
        {
            company.came(shared.queue.wait_for(expected.ops, CLOSE_BYTES, left));
        }
    }
}

fn maintain(shared: &Shared, mut retention_at_ms: Option<u64>) {
    while !shared.maintenance.is_stopped() {
        let mut again = step_sealer(shared).unwrap_or(false);
        match step_evictor(shared) {
            Ok(more) => again |= more,
            Err(error) => log::warn!("making room in the store: {error}"),
        }
        learn::step(shared);
        step_retention(shared, &mut retention_at_ms);
        if !again {
            shared.maintenance.wait(MAINTENANCE_EVERY);
        }
    }
    // What a last roll left.
    let _poisoned = step_sealer(shared);
}

fn step_sealer(shared: &Shared) -> Result<bool, StoreError> {
    if let Some(error) = shared.poisoned() {
        return Err(error);
    }
    match shared.progress.during(Work::Maintenance, &*shared.env.clock, || sealer::step(shared)) {
        Ok(done) => Ok(done),
        // It waits until there is; the writer refuses then what would need it.
        Err(SegmentError::NoRoom) => Ok(false),
        Err(error) => Err(shared.poison(&format!("sealing: {error}"))),
    }
}

fn step_evictor(shared: &Shared) -> io::Result<bool> {
    let step = shared.progress.during(Work::Maintenance, &*shared.env.clock, || evictor::step(shared));
    step.map_err(|error| match error {
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

/// A panic of an operation or observer must not leave everyone waiting for a thread that is gone.
fn guard(shared: &Shared, run: impl FnOnce()) {
    if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
        let _error = shared.poison("a thread of the store panicked");
        while let Some(queued) = shared.queue.pop() {
            drop(queued);
        }
    }
}
