//! Proof that what a file shows is on the medium, after a failure.
//!
//! When a sync fails, the kernel marks the pages as clean that it could not write: reads go on showing bytes that are
//! nowhere else, and the next sync succeeds. So after a failure a file is evidence only once it was read past the
//! kernel's memory, and gave the same. Where the filesystem knows no such reads, or the kernel won't let its pages go,
//! what the file shows is copied to a fresh one, and that is synced: then it is safe, whatever it was before.

use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile, OpenMode};

/// Where a file is copied to on its way to be proven.
pub(super) const HEAL_NEW: &str = "heal.new";
/// Bytes looked at together.
const PIECE_BYTES: usize = 256 * 1_024;

/// How a file was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It was read past the kernel's memory, and is as it seems.
    Read,
    /// It was copied to a fresh file, which has taken its name.
    Copied,
}

/// Makes sure that what reads of `path` give is on the medium. Nobody may have it open. A copy needs the consent of
/// `has_room` for so many bytes.
///
/// # Errors
/// Of the disk, and `StorageFull` where there is no room for a copy; the file is as before then.
pub(super) fn prove(disk: &dyn Disk, path: &Path, has_room: impl FnOnce(u64) -> bool) -> io::Result<Proof> {
    let file = disk.open(path, OpenMode::ReadWrite)?;
    // What still waits to be written is no evidence either.
    file.sync_data()?;
    file.drop_cache()?;
    let direct = match disk.open(path, OpenMode::ReadDirect) {
        Ok(direct) => Some(direct),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => None,
        Err(error) => return Err(error),
    };
    if let Some(direct) = &direct
        && is_same(&*file, &**direct)?
    {
        return Ok(Proof::Read);
    }
    if !has_room(file.allocated()?) {
        let text = format!("there is no room to copy {}, which must be read anew", path.display());
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    log::info!("copying {} to a fresh file: it can't be read past the kernel's memory", path.display());
    let new = path.with_file_name(HEAL_NEW);
    let copied = copy(disk, direct.as_deref().unwrap_or(&*file), &new);
    if let Err(error) = copied {
        // It would take room; opening a store removes it as well.
        let _left = disk.remove(&new);
        return Err(error);
    }
    disk.rename(&new, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))?;
    Ok(Proof::Copied)
}

/// The pieces of a file of `len` bytes: where, and how long.
fn pieces(len: u64) -> impl Iterator<Item = (u64, usize)> {
    let starts = (0..len.div_ceil(PIECE_BYTES as u64)).map(|piece| piece * PIECE_BYTES as u64);
    starts.map(move |start| (start, usize::try_from(len - start).unwrap_or(usize::MAX).min(PIECE_BYTES)))
}

fn is_same(file: &dyn DiskFile, direct: &dyn DiskFile) -> io::Result<bool> {
    let (mut seen, mut truth) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    for (start, bytes) in pieces(file.len()?) {
        let (seen, truth) = (seen.get_mut(..bytes).unwrap_or_default(), truth.get_mut(..bytes).unwrap_or_default());
        // First the medium: reading it brings nothing into the kernel's memory.
        direct.read_at(start, truth)?;
        file.read_at(start, seen)?;
        if seen != truth {
            return Ok(false);
        }
    }
    Ok(true)
}

fn copy(disk: &dyn Disk, from: &dyn DiskFile, path: &Path) -> io::Result<()> {
    let to = match disk.open(path, OpenMode::CreateNew) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.open(path, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    let len = from.len()?;
    to.set_len(len)?;
    let mut buffer = vec![0; PIECE_BYTES];
    for (start, bytes) in pieces(len) {
        let piece = buffer.get_mut(..bytes).unwrap_or_default();
        from.read_at(start, piece)?;
        // Holes stay holes.
        if piece.iter().any(|byte| *byte != 0) {
            to.write_at(start, piece)?;
        }
    }
    to.sync_data()
}
