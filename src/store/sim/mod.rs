//! A disk in memory that loses what a power cut may lose: for tests, not in release builds.
//!
//! It keeps to the letter of [`Disk`]'s contract and to nothing beyond it. Writes are safe once their file is synced,
//! names once their directory is; until then a cut keeps any subset, torn at sectors or blocks. Time for it comes from
//! [`crate::store::clock::ManualClock`].
//!
//! Everything random is drawn from seeds, so a test driven by one thread replays exactly. Power is cut in two ways:
//! - [`SimDisk::power_cut`] gives the disk as it might be found if the power went now.
//! - [`SimDisk::watch`] keeps such [`Moment`]s of a run while it goes on: before every sync and at random writes. So one
//!   run gives all its crashes.
//!
//! Deliberately simpler than life: a rename is atomic; a directory created is durable at once; names take no blocks.

mod content;
mod directory;
mod file;
mod inode;
mod planted;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastrand::Rng;
use rustix::io::Errno;

use crate::store::disk::{DirLock, Disk, DiskCounters, DiskFile, FileEntry, OpenMode, Space};

use directory::{Directory, InodeId};
use file::{SimFile, SimLock};
use inode::Inode;

pub use planted::Planted;

/// Kinds of operation, for [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpKind {
    Open,
    Read,
    Write,
    SetLen,
    Sync,
    Rename,
    Remove,
    SyncDir,
}

/// An operation that is to fail. A failed write or `set_len` changes nothing; a failed sync loses some of what was
/// pending for good, and goes on showing it (see [`DiskFile::drop_cache`]).
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: OpKind,
    /// How many of the kind succeed before.
    pub after: u64,
    /// With what it fails, e.g. `Errno::IO` or `Errno::NOSPC`.
    pub errno: Errno,
}

/// A simulated disk; clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
}

/// The disk at some moment of a run; see [`SimDisk::watch`].
#[derive(Debug)]
pub struct Moment {
    /// How many operations were done before.
    pub op: u64,
    /// What was about to happen, to which file or directory.
    pub at: (OpKind, PathBuf),
    state: State,
}

impl Moment {
    /// The disk as it might be found if the power went at this moment; see [`SimDisk::power_cut`].
    pub fn power_cut(&self, seed: u64) -> SimDisk {
        SimDisk::from_state(self.state.power_cut(&mut Rng::with_seed(seed)), seed)
    }

    /// The disk if only the process was killed at this moment; see [`SimDisk::kill`].
    pub fn kill(&self, seed: u64) -> SimDisk {
        SimDisk::from_state(self.state.clone(), seed)
    }
}

/// What outlives a process.
#[derive(Clone, Debug, Default)]
struct State {
    inodes: BTreeMap<InodeId, Inode>,
    dirs: BTreeMap<PathBuf, Directory>,
    next_inode: InodeId,
    /// Bytes; `u64::MAX` is a disk without end.
    capacity: u64,
}

impl State {
    fn power_cut(&self, rng: &mut Rng) -> Self {
        let dirs: BTreeMap<_, _> = self.dirs.iter().map(|(path, dir)| (path.clone(), dir.power_cut(rng))).collect();
        let named: BTreeSet<_> = dirs.values().flat_map(Directory::reachable).collect();
        let inodes = self
            .inodes
            .iter()
            .filter(|(id, _)| named.contains(id))
            .map(|(id, inode)| (*id, inode.power_cut(rng)))
            .collect();
        Self { inodes, dirs, next_inode: self.next_inode, capacity: self.capacity }
    }
}

/// See [`SimDisk::set_hook`].
#[derive(Clone)]
struct Hook(Arc<HookFn>);

type HookFn = dyn Fn(OpKind, &Path) + Send + Sync;

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug)]
struct World {
    state: State,
    hook: Option<Hook>,
    rng: Rng,
    /// Open handles per file.
    handles: BTreeMap<InodeId, usize>,
    locks: BTreeSet<PathBuf>,
    faults: Vec<Fault>,
    /// Kinds of sync that do nothing.
    lies: Vec<OpKind>,
    /// Everything that writes fails with this.
    broken: Option<Errno>,
    /// It can't be read past the page cache.
    indirect: bool,
    counters: DiskCounters,
    ops: u64,
    /// Bytes occupied by files that have a name or are open.
    allocated: u64,
    allocated_max: u64,
    /// Chance of a moment at a write.
    watched: Option<f64>,
    moments: Vec<Moment>,
}

impl SimDisk {
    /// An empty disk without end.
    pub fn new(seed: u64) -> Self {
        Self::with_capacity(seed, u64::MAX)
    }

    /// An empty disk that holds `capacity` bytes.
    pub fn with_capacity(seed: u64, capacity: u64) -> Self {
        Self::from_state(State { capacity, ..State::default() }, seed)
    }

    fn from_state(state: State, seed: u64) -> Self {
        let mut world = World {
            state,
            hook: None,
            rng: Rng::with_seed(seed ^ 0x5EED),
            handles: BTreeMap::new(),
            locks: BTreeSet::new(),
            faults: Vec::new(),
            lies: Vec::new(),
            broken: None,
            indirect: false,
            counters: DiskCounters::default(),
            ops: 0,
            allocated: 0,
            allocated_max: 0,
            watched: None,
            moments: Vec::new(),
        };
        world.recount();
        Self { world: Arc::new(Mutex::new(world)) }
    }

    /// From now on it holds `capacity` bytes: others have taken room, or given it back.
    pub fn set_capacity(&self, capacity: u64) {
        self.lock_world().state.capacity = capacity;
    }

    /// From now on all that writes, syncs or changes names fails, until [`SimDisk::mend`]; reads go on.
    pub fn break_down(&self, errno: Errno) {
        self.lock_world().broken = Some(errno);
    }

    /// Ends [`SimDisk::break_down`], and forgets failures that were planned and have not happened.
    pub fn mend(&self) {
        let mut world = self.lock_world();
        world.broken = None;
        world.faults.clear();
    }

    /// From now on [`OpenMode::ReadDirect`] is refused, as on filesystems that know no such reads.
    pub fn refuse_direct_reads(&self) {
        self.lock_world().indirect = true;
    }

    /// Bytes occupied now by all files, those unlinked but still open included.
    pub fn allocated(&self) -> u64 {
        self.lock_world().allocated
    }

    /// The most that [`SimDisk::allocated`] has been.
    pub fn allocated_max(&self) -> u64 {
        self.lock_world().allocated_max
    }

    /// Operations done: what changes the disk or makes it durable, and opens and reads.
    pub fn ops(&self) -> u64 {
        self.lock_world().ops
    }

    /// Plans a failure.
    pub fn fail(&self, fault: Fault) {
        self.lock_world().faults.push(fault);
    }

    /// From now on syncs of this kind ([`OpKind::Sync`] or [`OpKind::SyncDir`]) do nothing and succeed, as on a card
    /// that lies. No store survives a power cut on such a disk: a test that passes on it tests nothing.
    pub fn lie_about(&self, kind: OpKind) {
        self.lock_world().lies.push(kind);
    }

    /// Flips bits of one byte of a file, as a failing medium does; in a hole, nothing.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn flip(&self, path: &Path, offset: u64, bits: u8) -> io::Result<()> {
        let mut world = self.lock_world();
        let (dir, name) = world.parent(path)?;
        let file = dir.find(&name).ok_or(io::ErrorKind::NotFound)?;
        world.inode(file)?.flip(offset, bits);
        Ok(())
    }

    /// Begins to keep [`Moment`]s: before every sync of a file or directory, rename and removal, and before a write
    /// with this probability.
    pub fn watch(&self, write_chance: f64) {
        self.lock_world().watched = Some(write_chance);
    }

    /// The moments kept since the last call.
    pub fn take_moments(&self) -> Vec<Moment> {
        std::mem::take(&mut self.lock_world().moments)
    }

    /// Ends [`SimDisk::watch`], and gives the moments kept.
    pub fn unwatch(&self) -> Vec<Moment> {
        self.lock_world().watched = None;
        self.take_moments()
    }

    /// The disk as it might be found if the power went now, one of many ways drawn from `seed`. This one lives on.
    pub fn power_cut(&self, seed: u64) -> Self {
        let state = self.lock_world().state.power_cut(&mut Rng::with_seed(seed));
        Self::from_state(state, seed)
    }

    /// The disk after the process was killed now: nobody holds files or locks, and nothing is lost, since the kernel
    /// lives on. This one lives on as well.
    pub fn kill(&self, seed: u64) -> Self {
        Self::from_state(self.lock_world().state.clone(), seed)
    }

    /// Calls `hook` before each operation, on the thread that does it: to let time pass, or to hold a reader up.
    pub fn set_hook(&self, hook: impl Fn(OpKind, &Path) + Send + Sync + 'static) {
        self.lock_world().hook = Some(Hook(Arc::new(hook)));
    }

    fn call_hook(&self, kind: OpKind, path: &Path) {
        let hook = self.lock_world().hook.clone();
        if let Some(Hook(hook)) = hook {
            hook(kind, path);
        }
    }

    /// Begins an operation.
    fn begin(&self, kind: OpKind, path: &Path) -> io::Result<MutexGuard<'_, World>> {
        self.call_hook(kind, path);
        let mut world = self.lock_world();
        world.enter(kind, path)?;
        Ok(world)
    }

    fn lock_world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Every operation begins here.
    fn enter(&mut self, kind: OpKind, path: &Path) -> io::Result<()> {
        if let Some(write_chance) = self.watched {
            let keep = match kind {
                OpKind::Sync | OpKind::SyncDir | OpKind::Rename | OpKind::Remove => true,
                OpKind::Write | OpKind::SetLen => self.rng.f64() < write_chance,
                OpKind::Open | OpKind::Read => false,
            };
            if keep {
                let state = self.state.clone();
                self.moments.push(Moment { op: self.ops, at: (kind, path.to_path_buf()), state });
            }
        }
        self.ops += 1;
        if let Some(errno) = self.broken.filter(|_| !matches!(kind, OpKind::Open | OpKind::Read)) {
            return Err(errno.into());
        }
        let mut hit = None;
        for (number, fault) in self.faults.iter_mut().enumerate().filter(|(_, fault)| fault.kind == kind) {
            match fault.after.checked_sub(1) {
                Some(after) => fault.after = after,
                None => hit = Some(number),
            }
        }
        match hit {
            Some(number) => Err(self.faults.remove(number).errno.into()),
            None => Ok(()),
        }
    }

    fn dir(&mut self, path: &Path) -> io::Result<&mut Directory> {
        self.state.dirs.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The directory of a path, and its last name.
    fn parent(&mut self, path: &Path) -> io::Result<(&mut Directory, OsString)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok((self.dir(parent)?, name.to_os_string()))
    }

    fn inode(&mut self, id: InodeId) -> io::Result<&mut Inode> {
        self.state.inodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// To be called after whatever may have changed what is occupied.
    fn recount(&mut self) {
        let named = self.state.dirs.values().flat_map(|dir| dir.names().map(|(_, file)| file));
        let held: BTreeSet<_> = named.chain(self.handles.keys().copied()).collect();
        self.allocated = held.iter().filter_map(|id| self.state.inodes.get(id)).map(Inode::allocated).sum();
        self.allocated_max = self.allocated_max.max(self.allocated);
    }

    fn check_room(&self, growth: u64) -> io::Result<()> {
        if growth > 0 && self.allocated.saturating_add(growth) > self.state.capacity {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }

    /// Forgets files that no name leads to and nobody has open.
    fn forget_orphans(&mut self) {
        let reachable: BTreeSet<_> = self.state.dirs.values().flat_map(Directory::reachable).collect();
        let handles = &self.handles;
        self.state.inodes.retain(|id, _| reachable.contains(id) || handles.contains_key(id));
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.begin(OpKind::Open, path)?;
        let next = world.state.next_inode;
        let indirect = world.indirect;
        let (dir, name) = world.parent(path)?;
        let id = match (mode, dir.find(&name)) {
            (OpenMode::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                dir.create(name, next);
                world.state.inodes.insert(next, Inode::default());
                world.state.next_inode += 1;
                next
            }
            (OpenMode::ReadDirect, _) if indirect => return Err(Errno::INVAL.into()),
            (OpenMode::ReadWrite | OpenMode::Read | OpenMode::ReadDirect, found) => {
                found.ok_or(io::ErrorKind::NotFound)?
            }
        };
        *world.handles.entry(id).or_default() += 1;
        drop(world);
        let writes = matches!(mode, OpenMode::CreateNew | OpenMode::ReadWrite);
        let direct = mode == OpenMode::ReadDirect;
        Ok(Arc::new(SimFile { disk: self.clone(), id, path: path.to_path_buf(), writes, direct }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.begin(OpKind::Rename, from)?;
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let to = to.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
        let (dir, from) = world.parent(from)?;
        let file = dir.find(&from).ok_or(io::ErrorKind::NotFound)?;
        dir.rename(file, to);
        world.recount();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.begin(OpKind::Remove, path)?;
        let (dir, name) = world.parent(path)?;
        let file = dir.find(&name).ok_or(io::ErrorKind::NotFound)?;
        dir.remove(file);
        world.recount();
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<FileEntry>> {
        let mut world = self.lock_world();
        let names: Vec<_> = world.dir(dir)?.names().map(|(name, file)| (name.clone(), file)).collect();
        names
            .into_iter()
            .map(|(name, file)| {
                let inode = world.inode(file)?;
                Ok(FileEntry { name, len: inode.len(), allocated: inode.allocated() })
            })
            .collect()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.lock_world();
        for path in dir.ancestors() {
            world.state.dirs.entry(path.to_path_buf()).or_default();
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.begin(OpKind::SyncDir, dir)?;
        world.counters.syncs += 1;
        if !world.lies.contains(&OpKind::SyncDir) {
            world.dir(dir)?.sync();
            world.forget_orphans();
        }
        Ok(())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let world = self.lock_world();
        let total = world.state.capacity;
        Ok(Space { total, free: total.saturating_sub(world.allocated) })
    }

    fn lock(&self, dir: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut world = self.lock_world();
        world.dir(dir)?;
        if !world.locks.insert(dir.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), dir: dir.to_path_buf() }))
    }

    fn counters(&self) -> DiskCounters {
        self.lock_world().counters
    }
}
