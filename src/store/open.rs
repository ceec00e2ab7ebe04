//! Opens a store: settles its options, claims its directory, recovers, seals what a crash left unsealed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

use super::clock::Clock;
use super::cold::ColdFile;
use super::commit_policy::Rules;
use super::disk::{DirLock, Disk};
use super::draft::DraftEnv;
use super::epoch_time::EpochTime;
use super::error::OpenError;
use super::evictor;
use super::flash::FlashAccount;
use super::handle::Handle;
use super::medium::Device;
use super::options::{StoreOptions, max_bytes_default, segment_bytes_for};
use super::overlay::OverlayDisk;
use super::prove::HEAL_NEW;
use super::queue::Queue;
use super::recovery::{self, Access, io_error, segment_error};
use super::rewrite::Rewrite;
use super::ring::{Ring, lock};
use super::sealer;
use super::segment::SegmentError;
use super::shared::{RESERVE_BYTES, Shared};
use super::status::Opening;
use super::trust::TrustedClock;
use super::types::{BootEpoch, EpochRow, Space};
use super::view::META_FLASH;

/// The least segment: below it, redb's own pages leave no room.
const SEGMENT_BYTES_MIN: u64 = 512 * 1_024;
/// The least number of segments that the budget must hold: active, spare, one being sealed, one to give up.
const SEGMENTS_MIN: u64 = 4;

/// Opens a store to run it.
pub(super) fn open(options: StoreOptions, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Handle, OpenError> {
    let dir = &options.dir;
    disk.create_dir_all(dir).map_err(|error| io_error(dir, error))?;
    let claim = claim(dir, &*disk)?;
    let shared = start(&options, &disk, &clock, None)?;
    Ok(Handle::new(Arc::new(shared), claim, options, disk, clock))
}

/// Opens a store anew in the place of one that failed; its directory is claimed still.
pub(super) fn reopen(
    options: &StoreOptions,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    failed: &Shared,
) -> Result<Shared, OpenError> {
    start(options, disk, clock, Some(failed))
}

fn start(
    options: &StoreOptions,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
    failed: Option<&Shared>,
) -> Result<Shared, OpenError> {
    let (began_ms, read_before) = (clock.mono_ms(), disk.counters().bytes_read);
    let sizes = Sizes::settle(options, &**disk)?;
    // A copy that never took its place.
    let copy = options.dir.join(HEAL_NEW);
    match disk.remove(&copy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(&copy, error)),
        _ => {}
    }
    let (mut shared, cold_behind) = build(options, sizes, Arc::clone(disk), Arc::clone(clock), Access::Write, failed)?;
    // What a crash kept the sealer from doing.
    if !cold_behind.is_empty() {
        let last_commit = shared.view().last_commit;
        *lock(&shared.cold_changes) = Some(sealer::changes(&shared, &cold_behind, last_commit));
    }
    match sealer::step(&shared) {
        // It is done when there is room; the index is in memory as long.
        Ok(_) | Err(SegmentError::NoRoom) => {}
        Err(error) => return Err(segment_error(&shared.ring.dir, error)),
    }
    let adopted = shared.ring.adopt_reserve(options.preallocate);
    adopted.map_err(|error| io_error(&options.dir, error))?;
    // All of it before anybody is served; what can't be had now, maintenance asks for.
    while evictor::reserve(&shared, shared.planned_bytes()).map_err(|error| io_error(&options.dir, error))? {}
    shared.opening = Opening {
        ms: clock.mono_ms().saturating_sub(began_ms),
        bytes_read: disk.counters().bytes_read.saturating_sub(read_before),
    };
    Ok(shared)
}

/// Opens a store to look at it: no file is changed.
pub(super) fn inspect(options: StoreOptions, disk: Arc<dyn Disk>, clock: Arc<dyn Clock>) -> Result<Handle, OpenError> {
    let claim = claim(&options.dir, &*disk)?;
    // No budget binds who doesn't write.
    let sizes = Sizes::settle(&StoreOptions { max_bytes: Some(1 << 30), ..options.clone() }, &*disk)?;
    let disk: Arc<dyn Disk> = Arc::new(OverlayDisk::new(disk));
    let (shared, _) = build(&options, sizes, Arc::clone(&disk), Arc::clone(&clock), Access::Inspect, None)?;
    Ok(Handle::new(Arc::new(shared), claim, options, disk, clock))
}

/// Claims the directory, against other processes.
pub(super) fn claim(dir: &std::path::Path, disk: &dyn Disk) -> Result<Box<dyn DirLock>, OpenError> {
    disk.lock(dir).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse(dir.to_path_buf()),
        _ => io_error(dir, error),
    })
}

/// Recovers. Also returns the spaces of which `state.redb` may lack changes.
fn build(
    options: &StoreOptions,
    sizes: Sizes,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    access: Access,
    failed: Option<&Shared>,
) -> Result<(Shared, Vec<Space>), OpenError> {
    let dir = &options.dir;
    let caches = (options.active_cache_bytes, options.sealed_cache_bytes);
    let ring = Ring::new(Arc::clone(&disk), dir.clone(), sizes.segment_bytes, caches.0, caches.1);
    let ring = ring.counting(&options.opening_steps);
    #[cfg(debug_assertions)]
    let ring = ring.with_planted(options.planted);
    let found = recovery::recover(&ring, options.tail_bytes_max, access)?;
    let incarnation = found.incarnation.map_or_else(|| random(dir), Ok)?;
    let last = found.view.epochs().last().map_or(0, |row: &EpochRow| row.epoch.ordinal);
    // Also one in which nothing was committed has been seen.
    let last = failed.map_or(last, |failed| last.max(failed.env.epoch.ordinal));
    let epoch = BootEpoch { ordinal: last + 1, id: u64::from_le_bytes(random(dir)?) };
    let cold = ColdFile::new(disk, dir.clone(), incarnation);
    let ordinal = last + 1;
    let clock = failed.map_or_else(|| Arc::new(TrustedClock::new(clock)), |failed| Arc::clone(&failed.env.clock));
    let (rows, raw_wall_ms) = (found.view.epochs(), clock.raw_wall_ms());
    let time = EpochTime::begin(&rows, found.view.last_stamp, clock.mono_ms(), raw_wall_ms);
    let time = match failed {
        // The same clocks go on, and what is provisional with them.
        Some(failed) => EpochTime { basis_ms: lock(&failed.env.time).basis_ms, ..time },
        None => time,
    };
    clock.set_basis(time.basis_ms);
    let classes = failed.map(|failed| Arc::clone(&failed.classes)).unwrap_or_default();
    let env = DraftEnv {
        pins: failed.map(|failed| Arc::clone(&failed.env.pins)).unwrap_or_default(),
        classes: Arc::clone(&classes),
        promises_used_up: AtomicBool::new(false),
        clock,
        time: Mutex::new(time),
        same_clock_from: failed.map_or(ordinal, |failed| failed.env.same_clock_from),
        followers: failed.map(|failed| Arc::clone(&failed.env.followers)).unwrap_or_default(),
        epoch,
        commit_bytes_max: sizes.commit_bytes_max,
        state_bytes_max: sizes.state_bytes_max,
    };
    let flash = failed.map_or_else(
        || {
            let row = found.view.state.get(Space::Meta, META_FLASH);
            let device_total = options.device.as_ref().and_then(Device::written_bytes);
            let (now, own_total) = (env.clock.mono_ms(), ring.disk.counters().bytes_written);
            Arc::new(Mutex::new(FlashAccount::new(options.flash_budget, row, now, own_total, device_total)))
        },
        |failed| Arc::clone(&failed.flash),
    );
    let shared = Shared {
        env,
        ring,
        view: RwLock::new(found.view),
        queue: Queue::new(options.queue_ops_max, options.queue_bytes_max),
        observers: failed.map(|failed| Arc::clone(&failed.observers)).unwrap_or_default(),
        retention: failed.map(|failed| Arc::clone(&failed.retention)).unwrap_or_default(),
        classes,
        loss_sink: failed.map(|failed| Arc::clone(&failed.loss_sink)).unwrap_or_default(),
        rewrite: Rewrite::default(),
        rewrite_budget: options.rewrite_budget_bytes.unwrap_or(sizes.max_bytes),
        reclaim: AtomicBool::new(true),
        max_bytes: sizes.max_bytes,
        on_full: options.on_full,
        rules: failed.map_or_else(
            || Arc::new(Mutex::new(Rules::of(options.commit_window, options.commit_interval_max))),
            |failed| Arc::clone(&failed.rules),
        ),
        flash,
        device: options.device.clone(),
        compression: options.compression,
        draft_bytes_max: sizes.draft_bytes_max,
        incarnation,
        opening: Opening::default(),
        counters: failed.map(|failed| Arc::clone(&failed.counters)).unwrap_or_default(),
        progress: failed.map(|failed| Arc::clone(&failed.progress)).unwrap_or_default(),
        maintenance: super::shared::Signal::default(),
        cold_bytes: AtomicU64::new(cold.allocated()),
        cold: Mutex::new(cold),
        cold_waiting: AtomicU64::new(0),
        cold_changes: Mutex::new(None),
        sealed_through: AtomicU32::new(0),
        witness: Mutex::new(None),
        quarantining: Arc::default(),
        evicting: Arc::default(),
        sealing: Mutex::new(()),
        other_bytes: AtomicU64::new(found.other_bytes),
        poison: Mutex::new(None),
        lacking: Mutex::new(None),
    };
    Ok((shared, found.cold_behind))
}

/// The sizes that follow from the options.
struct Sizes {
    max_bytes: u64,
    segment_bytes: u64,
    draft_bytes_max: usize,
    commit_bytes_max: usize,
    state_bytes_max: u64,
}

impl Sizes {
    fn settle(options: &StoreOptions, disk: &dyn Disk) -> Result<Self, OpenError> {
        let max_bytes = match options.max_bytes {
            Some(bytes) => bytes,
            None => {
                let space = disk.space(&options.dir).map_err(|error| io_error(&options.dir, error))?;
                max_bytes_default(space.total)
            }
        };
        let segment_bytes = options.segment_bytes.unwrap_or_else(|| segment_bytes_for(max_bytes));
        if segment_bytes < SEGMENT_BYTES_MIN {
            return Err(OpenError::Options(format!(
                "store.max_bytes = {max_bytes} is too small: segments would have {segment_bytes} bytes, the least is \
                 {SEGMENT_BYTES_MIN}"
            )));
        }
        let least = SEGMENTS_MIN * segment_bytes + 4 * RESERVE_BYTES;
        if max_bytes < least {
            return Err(OpenError::Options(format!(
                "store.max_bytes = {max_bytes} is too small for segments of {segment_bytes} bytes: {least} is the least"
            )));
        }
        let eighth = usize::try_from(segment_bytes / 8).unwrap_or(usize::MAX);
        let draft_bytes_max = options.draft_bytes_max.unwrap_or(4 << 20).min(eighth);
        Ok(Self {
            max_bytes,
            segment_bytes,
            draft_bytes_max,
            // An operation begins below the draft's bound and may go on to this one.
            commit_bytes_max: eighth * 4,
            state_bytes_max: options.state_bytes_max.unwrap_or_else(|| (max_bytes / 16).clamp(256 << 10, 16 << 20)),
        })
    }
}

fn random<const N: usize>(dir: &std::path::Path) -> Result<[u8; N], OpenError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io_error(dir, io::Error::other(error.to_string())))?;
    Ok(bytes)
}
