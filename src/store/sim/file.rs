//! Handles on the simulated disk: open files and directory locks.

use std::io;
use std::path::PathBuf;

use crate::store::disk::{DirLock, DiskFile};

use super::directory::InodeId;
use super::{OpKind, SimDisk};

#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) id: InodeId,
    /// The name it was opened by.
    pub(super) path: PathBuf,
    pub(super) writes: bool,
    /// Its reads go past the page cache.
    pub(super) direct: bool,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock_world().inode(self.id)?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.disk.lock_world().inode(self.id)?.allocated())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut world = self.disk.begin(OpKind::Read, &self.path)?;
        let inode = world.inode(self.id)?;
        if self.direct { inode.read_direct(offset, out) } else { inode.read(offset, out) }?;
        world.counters.bytes_read += out.len() as u64;
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_writes()?;
        let mut world = self.disk.begin(OpKind::Write, &self.path)?;
        world.counters.bytes_written += data.len() as u64;
        let growth = world.inode(self.id)?.growth(offset, data.len());
        world.check_room(growth)?;
        world.inode(self.id)?.write(offset, data);
        world.recount();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writes()?;
        let mut world = self.disk.begin(OpKind::SetLen, &self.path)?;
        world.inode(self.id)?.set_len(len);
        world.recount();
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writes()?;
        let mut world = self.disk.begin(OpKind::SetLen, &self.path)?;
        let growth = world.inode(self.id)?.holes_bytes(len);
        world.check_room(growth)?;
        world.inode(self.id)?.allocate(len);
        world.recount();
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.call_hook(OpKind::Sync, &self.path);
        let mut guard = self.disk.lock_world();
        let world = &mut *guard;
        let entered = world.enter(OpKind::Sync, &self.path);
        world.counters.syncs += 1;
        let lying = world.lies.contains(&OpKind::Sync);
        let Some(inode) = world.state.inodes.get_mut(&self.id) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match entered {
            Ok(()) if lying => {}
            Ok(()) => inode.sync(),
            Err(_) => inode.sync_failed(&mut world.rng),
        }
        entered
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.disk.lock_world().inode(self.id)?.drop_cache();
        Ok(())
    }
}

impl SimFile {
    fn check_writes(&self) -> io::Result<()> {
        if self.writes { Ok(()) } else { Err(rustix::io::Errno::BADF.into()) }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.disk.lock_world();
        if let Some(handles) = world.handles.get_mut(&self.id) {
            *handles -= 1;
            if *handles == 0 {
                world.handles.remove(&self.id);
                world.forget_orphans();
                world.recount();
            }
        }
    }
}

/// A directory claimed until this is dropped.
#[derive(Debug)]
pub(super) struct SimLock {
    pub(super) disk: SimDisk,
    pub(super) dir: PathBuf,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock_world().locks.remove(&self.dir);
    }
}
