//! What the handle, the writer and maintenance share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::classes::Classes;
use super::cold::{ColdChanges, ColdFile};
use super::commit_policy::Rules;
use super::draft::DraftEnv;
use super::error::StoreError;
use super::flash::{FlashAccount, FlashDay, Notice};
use super::look::{self, Change, Look};
use super::medium::{Device, Medium};
use super::options::OnFull;
use super::progress::Progress;
use super::queue::Queue;
use super::rewrite::Rewrite;
use super::ring::{Ring, lock};
use super::room::Lack;
use super::sealer::growth_of;
use super::status::FlashStatus;
use super::types::{CommitObserver, LossSink, PartitionId, Retention};
use super::view::View;
use crate::metrics::METRICS;
use crate::record::Compression;

/// Room kept for what must go through when all else is used up: an eviction's own commit, the end of a seal.
pub(super) const RESERVE_BYTES: u64 = 256 * 1_024;
/// What a commit adds to the file besides its stream, at most: table roots, freed pages, the log's right edge.
pub(super) const COMMIT_OVERHEAD_BYTES: u64 = 64 * 1_024;

/// What the handle, the writer and maintenance share.
#[derive(Debug)]
pub(super) struct Shared {
    pub ring: Ring,
    pub env: DraftEnv,
    pub view: RwLock<View>,
    pub queue: Queue,
    /// Outlives a failure, as do `retention`, `classes`, `counters`, `progress` and the followers.
    pub observers: Arc<Mutex<Observers>>,
    pub retention: Arc<Mutex<HashMap<PartitionId, Retention>>>,
    pub classes: Arc<Mutex<Classes>>,
    /// Who tells of losses, if anyone does; outlives a failure too.
    pub loss_sink: Arc<Mutex<Option<Teller>>>,
    pub rewrite: Rewrite,
    /// Bytes a day.
    pub rewrite_budget: u64,
    /// A partition was dropped, or nobody has looked yet: there may be segments worth rewriting without need.
    pub reclaim: AtomicBool,
    pub max_bytes: u64,
    pub on_full: OnFull,
    /// Outlives a failure, as it may have been changed.
    pub rules: Arc<Mutex<Rules>>,
    pub flash: Arc<Mutex<FlashAccount>>,
    /// The device below, if known.
    pub device: Option<Device>,
    pub compression: Compression,
    pub draft_bytes_max: usize,
    pub incarnation: [u8; 16],
    pub opening: super::status::Opening,
    pub counters: Arc<Counters>,
    pub progress: Arc<Progress>,
    pub maintenance: Signal,
    pub cold: Mutex<ColdFile>,
    /// What `state.redb` occupies; while it is written, what it may come to occupy.
    pub cold_bytes: AtomicU64,
    /// What it may come to take for the changes that a roll left.
    pub cold_waiting: AtomicU64,
    /// Left by a roll for the sealer.
    pub cold_changes: Mutex<Option<ColdChanges>>,
    /// Segments up to this one are sealed, and `state.redb` has their changes.
    pub sealed_through: AtomicU32,
    /// Why the oldest segment is still wanted.
    pub witness: Mutex<Option<super::evictor::Witness>>,
    /// 1 while a quarantine is on its way to the writer, else 0.
    pub quarantining: Arc<AtomicU32>,
    /// The last segment whose eviction was sent to the writer.
    pub evicting: Arc<AtomicU32>,
    /// Held while a segment is sealed.
    pub sealing: Mutex<()>,
    /// Files that are damaged and none of the ring's any more: they count, nothing else.
    pub other_bytes: AtomicU64,
    pub poison: Mutex<Option<Arc<str>>>,
    /// For want of what the latest append was refused; `None` once one was not.
    pub lacking: Mutex<Option<Lack>>,
}

/// Who is told of commits.
#[derive(Default)]
pub(super) struct Observers(pub Vec<Arc<dyn CommitObserver>>);

impl std::fmt::Debug for Observers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Observers").field(&self.0.len()).finish()
    }
}

/// Who tells of losses.
#[derive(Clone)]
pub(super) struct Teller(pub Arc<dyn LossSink>);

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}

/// Figures since the store was opened.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub commits: AtomicU64,
    pub payload_bytes: AtomicU64,
    pub evictions: AtomicU64,
    pub rewrites: AtomicU64,
    /// Bytes of files that rewrites made.
    pub rewritten_bytes: AtomicU64,
}

/// Wakes the maintenance thread.
#[derive(Debug, Default)]
pub(super) struct Signal {
    woken: Mutex<bool>,
    condvar: Condvar,
    stopped: AtomicBool,
}

impl Signal {
    pub(super) fn wake(&self) {
        *lock(&self.woken) = true;
        self.condvar.notify_all();
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn wait(&self, time: Duration) {
        let woken = self.condvar.wait_timeout_while(lock(&self.woken), time, |woken| !*woken);
        *woken.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}

impl Shared {
    /// A thread lets go of one before it takes the next.
    pub(super) fn view(&self) -> Look<'_> {
        look::look(&self.view)
    }

    /// Only the writer, or recovery before there is one.
    pub(super) fn view_mut(&self) -> Change<'_> {
        look::change(&self.view)
    }

    /// Stops all writing: what is on disk is unknown until the store is opened again (see [`super::heal`]).
    pub(super) fn poison(&self, why: &str) -> StoreError {
        log::error!("the store stops: {why}");
        let why: Arc<str> = lock(&self.poison).get_or_insert_with(|| why.into()).clone();
        self.queue.close();
        self.maintenance.wake();
        StoreError::Poisoned(why)
    }

    /// What an operation is told that isn't tried any more.
    pub(super) fn poisoned(&self) -> Option<StoreError> {
        lock(&self.poison).clone().map(StoreError::Stopped)
    }

    /// Why the queue takes nothing any more.
    pub(super) fn why_closed(&self) -> StoreError {
        self.poisoned().unwrap_or(StoreError::Closed)
    }

    /// Enters what was written since the last time into the account of the day. Returns when the budget has earned all
    /// of it.
    pub(super) fn account(&self, with_device: bool) -> u64 {
        let device = self.device.as_ref().filter(|_| with_device).and_then(Device::written_bytes);
        let mut flash = lock(&self.flash);
        let before = flash.totals();
        let notice = flash.note(self.env.clock.mono_ms(), self.ring.disk.counters().bytes_written, device);
        let (own, below) = flash.totals();
        METRICS.store_bytes_written.add(own.saturating_sub(before.0));
        METRICS.device_bytes_written.add(below.saturating_sub(before.1));
        if with_device {
            self.tell(flash.day());
        }
        if let Some(notice) = notice {
            METRICS.flash_budget_unmet.set(i64::from(notice == Notice::Unmet));
            let day = flash.day();
            let (budget, own) = (day.budget_bytes.unwrap_or(0), day.own_bytes);
            match notice {
                Notice::Unmet => log::warn!(
                    "store.flash_budget = {budget} bytes a day can't be met: {own} were written in the last 24 hours \
                     although commits wait as long as store.commit_interval_max lets them; nothing is refused"
                ),
                Notice::Met => log::info!("store.flash_budget is met again: {own} bytes in the last 24 hours"),
            }
        }
        flash.earned_ms()
    }

    /// Tells the metrics of the day, and of the card's life.
    fn tell(&self, day: FlashDay) {
        let figure = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        METRICS.store_day_bytes.set(figure(day.own_bytes));
        METRICS.device_day_bytes.set(figure(day.device_bytes));
        let life = self.device.as_ref().and_then(Device::life).unwrap_or_default();
        METRICS.card_life_used_percent.set(life.used_percent.into_iter().flatten().max().unwrap_or(0).into());
        METRICS.card_pre_eol.set(life.pre_eol.unwrap_or(0).into());
    }

    /// How often commits may be.
    pub(super) fn rules(&self) -> Rules {
        *lock(&self.rules)
    }

    /// What is written, and how commits are held back for it.
    pub(super) fn flash_status(&self) -> FlashStatus {
        let earned = self.account(true);
        let wait = earned.saturating_sub(self.env.clock.mono_ms()).min(self.rules().interval_max_ms);
        FlashStatus {
            day: lock(&self.flash).day(),
            interval_ms: self.rules().window_ms.max(wait),
            device: self.device.as_ref().map(Device::name).unwrap_or_default(),
            is_card: self.device.as_ref().is_some_and(|device| device.medium() == Medium::FlashCard),
            life: self.device.as_ref().and_then(Device::life),
        }
    }

    /// Bytes of everything on disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let segments: u64 = self.view().segments.iter().map(|segment| segment.allocated()).sum();
        let other = self.other_bytes.load(Ordering::Relaxed);
        segments + self.ring.idle_bytes() + self.cold_bytes.load(Ordering::Relaxed) + other
    }

    /// Bytes that `store.preallocate` has claimed, beside [`Shared::disk_bytes`].
    pub(super) fn reserve_bytes(&self) -> u64 {
        self.ring.reserve.files() * self.ring.reserve_file_bytes()
    }

    /// What `state.redb` may come to take more for what it is still to be told: by the rows that changed, and never more
    /// than three times what there is.
    fn cold_growth(&self, view: &View) -> u64 {
        let (rows, bytes) = view.state.dirty();
        let most = (3 * view.state.bytes()).saturating_sub(self.cold_bytes.load(Ordering::Relaxed));
        (growth_of(rows, bytes) + self.cold_waiting.load(Ordering::Relaxed)).min(most)
    }

    /// Bytes of everything on disk once the active segment is full and what is under way is finished. While this stays
    /// within `max_bytes`, no commit needs to wait for room.
    pub(super) fn planned_bytes(&self) -> u64 {
        let (growth, cold) = {
            let view = self.view();
            let allocated = view.active().map_or(0, |active| active.allocated());
            let cold = if view.state.cold_spaces().is_empty() { 0 } else { self.cold_growth(&view) };
            // The first segment is made out of the reserve.
            let growth = match view.active() {
                None if self.ring.reserve.is_wanted() => 0,
                _ => self.ring.segment_bytes.saturating_sub(allocated),
            };
            (growth, cold)
        };
        // The writer wants to have room for the largest commit before it begins any.
        let commit = self.env.commit_bytes_max as u64;
        self.disk_bytes() + growth + cold + commit + commit / 8 + 3 * RESERVE_BYTES
    }
}
