//! Begins `state.redb` anew where it is damaged, so that a gateway that nobody can reach comes up again with its records.
//!
//! The file has no second copy. What it held begins empty, as of the first commit of the newest segment, whose own changes are applied behind
//! it as ever: what changed since is there. The damaged file is kept as [`STATE_BAD`], which counts in the bound and goes when room is needed.
//!
//! Invariants: what finds the records, or tells who this store is and what was given, is never begun anew; nor are rules of access, of which
//! a lost refusal would let somebody in. Whoever asks is told what was given up. A crash at any point leaves a store that says again that this
//! file is damaged, or one that is renewed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cold::{ColdChanges, ColdFile, STATE_FILE, SpaceChanges};
use super::disk::Disk;
use super::error::OpenError;
use super::open::claim;
use super::overlay::OverlayDisk;
use super::recovery::{self, io_error};
use super::ring::Ring;
use super::segment::SegmentError;
use super::types::Space;

/// The name that a damaged `state.redb` gets: the first one; of later ones nothing is kept until it has gone.
pub const STATE_BAD: &str = "state.bad";
const CACHE_BYTES: usize = 1 << 20;

/// What was begun anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateRenewed {
    /// Where the damaged file is now; `None`, if there was none, or it was not kept.
    pub kept: Option<PathBuf>,
    /// What was in it, for people.
    pub given_up: Vec<&'static str>,
}

/// Begins the store's `state.redb` anew, if that is the `damaged` file. `None`, if it isn't. Blocks.
///
/// # Errors
/// [`OpenError::InUse`] if a process runs the store; [`OpenError::Options`] with what the file held that is not to be had
/// without it; else see [`OpenError`].
pub fn renew_state(dir: &Path, disk: &Arc<dyn Disk>, damaged: &Path) -> Result<Option<StateRenewed>, OpenError> {
    let path = dir.join(STATE_FILE);
    if damaged != path {
        return Ok(None);
    }
    let _claim = claim(dir, &**disk)?;
    let over: Arc<dyn Disk> = Arc::new(OverlayDisk::new(Arc::clone(disk)));
    let ring = Ring::new(over, dir.to_path_buf(), 0, CACHE_BYTES, CACHE_BYTES);
    let Some(active) = recovery::newest(&ring)? else { return Ok(None) };
    if let Some(space) = active.cold.iter().find(|space| held(**space).is_none()) {
        return Err(OpenError::Options(format!(
            "{} is damaged and held {space:?}, without which nothing is to be begun anew: put back a copy of the whole directory; \
             `brooklet export` gets out what can be read and changes nothing",
            path.display()
        )));
    }
    let mut kept = set_aside(dir, &**disk, &path)?;
    let spaces = active.cold.iter().map(|space| SpaceChanges { space: *space, whole: true, rows: Vec::new() });
    let empty = ColdChanges { format: active.format, through: active.first_commit - 1, spaces: spaces.collect() };
    let cold = ColdFile::new(Arc::clone(disk), dir.to_path_buf(), active.incarnation);
    let mut applied = cold.apply(&empty);
    // A filesystem that is full has no room for both: a gateway that comes up again is worth more than the damaged one.
    if applied.as_ref().is_err_and(is_for_room) {
        kept = None;
        remove(&**disk, &dir.join(STATE_BAD))?;
        remove(&**disk, &path)?;
        applied = cold.apply(&empty);
    }
    applied.map_err(|error| recovery::segment_error(&path, error))?;
    Ok(Some(StateRenewed { kept, given_up: active.cold.iter().filter_map(|space| held(*space)).collect() }))
}

/// What a space holds, and what follows from its loss; `None`, if nothing must follow from it.
fn held(space: Space) -> Option<&'static str> {
    Some(match space {
        Space::Cursor => {
            "how far uplinks and downlinks have come (uplinks ask upstream, or forward again all that is kept)"
        }
        Space::Group => "consumer groups and their offsets (they begin as their consumers are set)",
        Space::Producer => "producers (what they send again may be stored again)",
        Space::Device => "native clients (what they send again may be stored again)",
        Space::Ledger => "the ledger of losses",
        Space::User => "users (nobody logs in by a password before they are added again)",
        Space::Mqtt => "MQTT sessions and retained messages",
        Space::Streams | Space::Transaction => "nothing that is in use",
        Space::Topic | Space::Head | Space::Acl | Space::Epoch | Space::Meta | Space::Segment | Space::Gateway => {
            return None;
        }
    })
}

fn is_for_room(error: &SegmentError) -> bool {
    match error {
        SegmentError::NoRoom => true,
        SegmentError::Io(error) => error.kind() == io::ErrorKind::StorageFull,
        _ => false,
    }
}

fn remove(disk: &dyn Disk, file: &Path) -> Result<(), OpenError> {
    match disk.remove(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(file, error)),
        _ => Ok(()),
    }
}

/// Gives the damaged file another name, or removes it if another one has that.
fn set_aside(dir: &Path, disk: &dyn Disk, path: &Path) -> Result<Option<PathBuf>, OpenError> {
    let bad = dir.join(STATE_BAD);
    let names = disk.list(dir).map_err(|error| io_error(dir, error))?;
    let is_kept = names.iter().any(|entry| entry.name == STATE_BAD);
    let moved = if is_kept { disk.remove(path) } else { disk.rename(path, &bad) };
    match moved {
        Ok(()) => disk.sync_dir(dir).map_err(|error| io_error(dir, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
    }
    Ok((!is_kept).then_some(bad))
}
