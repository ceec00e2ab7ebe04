//! Opens a store again that had failed, without the process ending.
//!
//! 1. The files that were being written are closed; reads of what they hold fail meanwhile, all others go on.
//! 2. Each of them is proven (see [`super::prove`]): only what is on the medium counts.
//! 3. The store is recovered as at boot, with a boot epoch of its own, and must hold every commit that was acknowledged.
//! 4. Whoever keeps things in memory that follow from what is stored looks again ([`super::Reopened`]).
//! 5. The recovered store takes the place of the failed one; what still reads the old one is sent to the new one.
//!
//! A step that fails leaves everything as it is, to be tried again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cold::STATE_FILE;
use super::error::OpenError;
use super::handle::Handle;
use super::open;
use super::prove::prove;
use super::recovery::io_error;
use super::ring::segment_id;
use super::shared::Shared;

/// Opens the store anew in the place of `failed`. Blocks.
///
/// # Errors
/// See [`OpenError`]; `failed` stays in its place, and may be tried again.
pub(super) fn reopen(handle: &Handle, failed: &Arc<Shared>) -> Result<Arc<Shared>, OpenError> {
    withdraw(failed);
    for path in doubtful(handle, failed)? {
        let has_room = |bytes| room_for_copy(handle, failed, bytes);
        prove(&*handle.disk, &path, has_room).map_err(|error| io_error(&path, error))?;
    }
    let shared = Arc::new(open::reopen(&handle.options, &handle.disk, &handle.clock, failed)?);
    let (had, has) = (failed.view().last_commit, shared.view().last_commit);
    if has < had {
        let file = shared.view().active().map_or(failed.ring.dir.clone(), |active| active.path.clone());
        let what = format!("it ends with commit {has}, though {had} was acknowledged");
        return Err(OpenError::Damaged { file, what });
    }
    let preview = handle.preview(&shared);
    for who in handle.reopened() {
        let file = failed.ring.dir.clone();
        who.reopened(&preview).map_err(|what| OpenError::Damaged { file, what })?;
    }
    handle.replace(Arc::clone(&shared));
    let segments: Vec<_> = failed.view().segments.iter().cloned().collect();
    // Waits for the reads under way: no file of the ring changes hands before they are done.
    let _closed = failed.ring.close(segments.iter());
    handle.reopened().iter().for_each(|who| who.resumed());
    Ok(shared)
}

/// Closes what was being written.
fn withdraw(failed: &Shared) {
    let sealed = failed.sealed_through.load(Ordering::Acquire);
    let open: Vec<_> = failed.view().segments.iter().filter(|segment| segment.id > sealed).cloned().collect();
    for segment in open {
        segment.withdraw();
    }
    failed.ring.drop_spare();
}

/// The files that were written since they were last known to be safe.
fn doubtful(handle: &Handle, failed: &Shared) -> Result<Vec<PathBuf>, OpenError> {
    let dir = &failed.ring.dir;
    let sealed = failed.sealed_through.load(Ordering::Acquire);
    let entries = handle.disk.list(dir).map_err(|error| io_error(dir, error))?;
    let names = entries.iter().filter_map(|entry| entry.name.to_str());
    let doubtful = names.filter(|name| *name == STATE_FILE || segment_id(name).is_some_and(|id| id > sealed));
    Ok(doubtful.map(|name| dir.join(name)).collect())
}

/// Whether a copy of `bytes` stays within the bound. What isn't needed any more goes first.
fn room_for_copy(handle: &Handle, failed: &Shared, bytes: u64) -> bool {
    while let Some(doomed) = failed.ring.doomed() {
        if failed.ring.remove(&doomed).is_err() {
            break;
        }
    }
    let used =
        || -> io::Result<u64> { Ok(handle.disk.list(&failed.ring.dir)?.iter().map(|file| file.allocated).sum()) };
    loop {
        match used() {
            Ok(used) if used + bytes <= failed.max_bytes => return true,
            // What was claimed for later is for this, too.
            Ok(_) if failed.ring.shrink_reserve().unwrap_or(false) => {}
            _ => return false,
        }
    }
}
