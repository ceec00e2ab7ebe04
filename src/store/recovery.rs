//! Rebuilds the view from the files: reads the segment that was being written, and of the others at most the one before.
//!
//! 1. The newest activated segment is the active one. Blank segments above it are spares that were never used: removed.
//! 2. State as of its first commit: hot spaces from its snapshot, cold ones from `state.redb`; a space that turned cold
//!    with it, and that `state.redb` hasn't got yet, from the snapshot of the segment before.
//! 3. If the segment before the active one isn't sealed, its commits are applied; then those of the active one. What
//!    the state already contains is skipped, the index is built in any case.
//! 4. The sealed segments below are those of the directory (`Space::Segment`); none is opened. One whose file is missing
//!    is in the ring as damaged. Files of segments at or below the evicted id are removed: a crash interrupted their
//!    eviction.
//!
//! A sealed segment that can't be read stays in the ring as damaged from the moment that is noticed; its offsets are a
//! gap. An active segment (or one before it that isn't sealed) that can't be read stops the opening: going on could
//! repeat offsets.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::cold::{ColdFile, STATE_FILE};
use super::directory::SegmentRow;
use super::disk::OpenMode;
use super::error::OpenError;
use super::format::Malformed;
use super::heads::Marks;
use super::index::SegmentIndex;
use super::renew::STATE_BAD;
use super::rewrite;
use super::ring::{REWRITE_NEW, Ring, SPARE_NEW, Segment, condemned_id, segment_id};
use super::segment::{Activation, SegmentError, SegmentFile};
use super::types::{CommitSeq, Space};
use super::view::{Known, View};

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub view: View,
    /// `None` if the directory held no store.
    pub incarnation: Option<[u8; 16]>,
    /// Spaces of which `state.redb` may lack changes.
    pub cold_behind: Vec<Space>,
    /// Bytes of segment files that aren't part of the ring.
    pub other_bytes: u64,
}

/// Whether opening may change files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    /// What repair would write stays in memory: the ring's disk is an overlay. Nothing is removed.
    Inspect,
}

impl Access {
    /// Whether a damaged page stops the opening. Who only looks gets what can be got; `fsck` tells what is damaged.
    fn checks(self) -> bool {
        self == Self::Write
    }
}

/// Rebuilds the view. Its tail is empty: what was replayed lies on the disk, and who keeps up has read it before.
pub(super) fn recover(ring: &Ring, tail_bytes_max: usize, access: Access) -> Result<Recovered, OpenError> {
    let mut found = rebuild(ring, access)?;
    found.view.begin_tail(tail_bytes_max);
    Ok(found)
}

fn rebuild(ring: &Ring, access: Access) -> Result<Recovered, OpenError> {
    let files = list(ring)?;
    if access == Access::Write && files.spare_new {
        let path = ring.dir.join(SPARE_NEW);
        ring.disk.remove(&path).map_err(|error| io_error(&path, error))?;
    }
    let mut view = View::new();
    let Some(active) = find_active(ring, &files, access)? else {
        return Ok(Recovered { view, incarnation: None, cold_behind: Vec::new(), other_bytes: 0 });
    };
    let before = Before::find(ring, &files, &active, access)?;
    let mut known = Known::default();
    let behind = load_state(ring, &active, before.as_ref(), &mut view, &mut known)?;
    view.load_corrections();
    view.load_heads().map_err(|what| damaged(&active.path, what))?;

    // One that gets a copy in its place is not replayed.
    let copied = rewrite::noted(&view).filter(|_| files.rewrite_new.is_some()).map(|(_, to)| to);
    let unsealed = before.filter(|before| !before.sealed && copied != Some(before.opened.id));
    let cold_behind = if behind || unsealed.is_some() { active.activation.cold.clone() } else { Vec::new() };
    let (incarnation, active_path) = (active.activation.incarnation, active.path.clone());
    if let Some(before) = unsealed {
        replay(ring, before.opened, &mut view, &known)?;
    }
    replay(ring, active, &mut view, &known)?;
    let files = finish_rewrite(ring, files, &view, access)?;
    let other_bytes = take_in_sealed(ring, &files, &mut view, access).map_err(|what| damaged(&active_path, what))?;
    let evicted = view.take_evicted();
    if access == Access::Write {
        finish_evictions(ring, &files, view.evicted_through(), evicted)?;
    }
    Ok(Recovered { view, incarnation: Some(incarnation), cold_behind, other_bytes })
}

/// The segment files of a directory.
struct Files {
    /// Occupied bytes by id.
    segments: BTreeMap<u32, u64>,
    spare_new: bool,
    /// A copy of sealed segments that was being made, or has not got its name yet: occupied bytes.
    rewrite_new: Option<u64>,
}

fn list(ring: &Ring) -> Result<Files, OpenError> {
    let entries = ring.disk.list(&ring.dir).map_err(|error| io_error(&ring.dir, error))?;
    let mut files = Files { segments: BTreeMap::new(), spare_new: false, rewrite_new: None };
    for entry in entries {
        let Some(name) = entry.name.to_str() else { continue };
        files.spare_new |= name == SPARE_NEW;
        files.rewrite_new = if name == REWRITE_NEW { Some(entry.allocated) } else { files.rewrite_new };
        if let Some(id) = segment_id(name) {
            files.segments.insert(id, entry.allocated);
        }
        if condemned_id(name).is_some() || name == STATE_BAD {
            ring.adopt_condemned(name, entry.allocated);
        }
    }
    Ok(files)
}

/// An activated segment, open for writing.
struct Opened {
    id: u32,
    path: PathBuf,
    file: SegmentFile,
    activation: Activation,
}

/// What the newest segment brought along; `None` if nothing was written yet.
pub(super) fn newest(ring: &Ring) -> Result<Option<Activation>, OpenError> {
    let files = list(ring)?;
    Ok(find_active(ring, &files, Access::Inspect)?.map(|opened| opened.activation))
}

fn find_active(ring: &Ring, files: &Files, access: Access) -> Result<Option<Opened>, OpenError> {
    for &id in files.segments.keys().rev() {
        let path = ring.path(id);
        let file = ring.open_replay(&path, access.checks()).map_err(|error| segment_error(&path, error))?;
        match file.activation().map_err(|error| segment_error(&path, error))? {
            Some(activation) if activation.id == u64::from(id) => {
                return Ok(Some(Opened { id, path, file, activation }));
            }
            Some(_) => return Err(damaged(&path, "its name is that of another segment")),
            None => {
                drop(file);
                if access == Access::Write {
                    ring.disk.remove(&path).map_err(|error| io_error(&path, error))?;
                }
            }
        }
    }
    Ok(None)
}

/// The segment before the active one.
struct Before {
    opened: Opened,
    sealed: bool,
}

impl Before {
    /// `None` if there is none, or it can't be read although it was sealed (then it is met again as damaged).
    fn find(ring: &Ring, files: &Files, active: &Opened, access: Access) -> Result<Option<Self>, OpenError> {
        let Some(id) = active.id.checked_sub(1).filter(|id| files.segments.contains_key(id)) else { return Ok(None) };
        let path = ring.path(id);
        // A clean file was sealed: the last thing done to it was to close it.
        if let Ok(file) = ring.open_sealed_clean(&path) {
            let sealed = file.sealed().ok().flatten();
            let activation = file.activation().ok().flatten();
            if sealed.is_some()
                && let Some(activation) = activation
            {
                return Ok(Some(Self { opened: Opened { id, path, file, activation }, sealed: true }));
            }
        }
        let wrong = |error| segment_error(&path, error);
        // What is copied anew is not to be looked at.
        if files.rewrite_new.is_some() && ring.check_clean(&path).is_err() {
            return Ok(None);
        }
        let checked = if access.checks() { ring.check_clean(&path) } else { Ok(()) };
        let file = match ring.open_replay(&path, false) {
            Ok(file) => file,
            // Evicted and blanked, with the crash before it was renamed; or damaged, and nobody can tell whether it was sealed:
            // what the active segment says is complete, and this one is met again as damaged.
            Err(SegmentError::Damaged(_)) => return Ok(None),
            Err(error) => return Err(wrong(error)),
        };
        let sealed = file.sealed().map_err(wrong)?.is_some();
        let activation = file.activation().map_err(wrong)?;
        if !sealed && activation.is_some() {
            checked.map_err(wrong)?;
        }
        // Evicted, and made a spare, with the crash before the new name was durable.
        let Some(activation) = activation else { return Ok(None) };
        Ok(Some(Self { opened: Opened { id, path, file, activation }, sealed }))
    }
}

/// The store as of the first commit of a segment that can't be replayed itself.
pub(super) struct Base {
    /// Without segments.
    pub view: View,
    pub known: Known,
    pub first_commit: CommitSeq,
    pub incarnation: [u8; 16],
    /// The segment before, if it is still to be sealed.
    pub unsealed: Option<Unsealed>,
}

/// What a segment is to be sealed with.
pub(super) struct Unsealed {
    pub path: PathBuf,
    pub index: SegmentIndex,
    pub marks: Marks,
}

/// Finds out how the store was when segment `id` began: `own`, by what that says itself, else by the one before it. The ring's disk
/// is an overlay.
pub(super) fn before_segment(ring: &Ring, id: u32, own: bool) -> Result<Base, OpenError> {
    let files = list(ring)?;
    let (mut view, mut known) = (View::new(), Known::default());
    let replayed = if own { id } else { id - 1 };
    if replayed == 0 {
        // Nothing was before the first one. Who it was is lost with it.
        let mut incarnation = [0; 16];
        let random = |error: getrandom::Error| io_error(&ring.dir, io::Error::other(error.to_string()));
        getrandom::fill(&mut incarnation).map_err(random)?;
        return Ok(Base { view, known, first_commit: 1, incarnation, unsealed: None });
    }
    let path = ring.path(replayed);
    let wrong = |error| segment_error(&path, error);
    let file = ring.open_replay(&path, false).map_err(wrong)?;
    let activation = file.activation().map_err(wrong)?.filter(|activation| activation.id == u64::from(replayed));
    let activation = activation.ok_or_else(|| damaged(&path, "it doesn't say what it is"))?;
    if file.is_copy().map_err(wrong)? {
        return Err(damaged(&path, "it was rewritten, and holds no state"));
    }
    let sealed = file.sealed().map_err(wrong)?.is_some();
    let (first, incarnation) = (activation.first_commit, activation.incarnation);
    let opened = Opened { id: replayed, path: path.clone(), file, activation };
    let before = Before::find(ring, &files, &opened, Access::Inspect)?;
    load_state(ring, &opened, before.as_ref(), &mut view, &mut known)?;
    view.load_corrections();
    view.load_heads().map_err(|what| damaged(&path, what))?;
    let mut unsealed_path = None;
    if let Some(before) = before.filter(|before| !before.sealed) {
        unsealed_path = Some(before.opened.path.clone());
        replay(ring, before.opened, &mut view, &known)?;
    }
    if own {
        let (index, marks) = view.take_replayed();
        let unsealed = unsealed_path.map(|path| Unsealed { path, index, marks });
        return Ok(Base { view, known, first_commit: first, incarnation, unsealed });
    }
    view.take_replayed();
    replay(ring, opened, &mut view, &known)?;
    let first_commit = view.last_commit + 1;
    if let Some(row) = view.active_row(first_commit) {
        view.state.set(Space::Segment, SegmentRow::key(row.id).to_vec(), Some(row.encode()));
    }
    let (index, marks) = view.take_replayed();
    let unsealed = (!sealed).then_some(Unsealed { path, index, marks });
    Ok(Base { view, known, first_commit, incarnation, unsealed })
}

/// Loads the state as of some commit before the active segment's second; `known` tells which, per space. Whether
/// `state.redb` lacks a space.
fn load_state(
    ring: &Ring,
    active: &Opened,
    before: Option<&Before>,
    view: &mut View,
    known: &mut Known,
) -> Result<bool, OpenError> {
    let first = active.activation.first_commit;
    for space in Space::ALL {
        known.set(space, first - 1);
    }
    for &space in &active.activation.hot {
        let read = active.file.read_snapshot(space, &mut view.state);
        read.map_err(|error| segment_error(&active.path, error))?;
    }
    let wanted = &active.activation.cold;
    if wanted.is_empty() {
        return Ok(false);
    }
    let cold = ColdFile::new(Arc::clone(&ring.disk), ring.dir.clone(), active.activation.incarnation);
    let path = ring.dir.join(STATE_FILE);
    let loaded = cold.load(wanted, &mut view.state).map_err(|error| segment_error(&path, error))?;
    let (loaded, through) = loaded.unwrap_or_default();
    let replayed_from = before.filter(|before| !before.sealed).map(|before| before.opened.activation.first_commit);
    let behind = through + 1 < first;
    if behind && !loaded.is_empty() && replayed_from.is_none_or(|from| through + 1 < from) {
        return Err(damaged(&path, "it lacks changes that are in no segment any more"));
    }
    for &space in &loaded {
        known.set(space, through);
        view.state.set_cold(space);
    }
    for &space in wanted.iter().filter(|space| !loaded.contains(space)) {
        let lacking = || damaged(&path, "it lacks a part of the state");
        let before = &before.ok_or_else(lacking)?.opened;
        if before.activation.cold.contains(&space) || replayed_from.is_none() {
            return Err(lacking());
        }
        if before.activation.hot.contains(&space) {
            let read = before.file.read_snapshot(space, &mut view.state);
            read.map_err(|error| segment_error(&before.path, error))?;
        }
        known.set(space, before.activation.first_commit - 1);
    }
    Ok(behind || loaded.len() < wanted.len())
}

/// Finishes the swap of a rewrite that was declared, or removes its copy; removes files that were given up by a rewrite.
fn finish_rewrite(ring: &Ring, mut files: Files, view: &View, access: Access) -> Result<Files, OpenError> {
    if access == Access::Inspect {
        return Ok(files);
    }
    let new = ring.dir.join(REWRITE_NEW);
    if let Some(allocated) = files.rewrite_new.take() {
        let named = rewrite::recover(ring, view).map_err(|error| io_error(&new, error))?;
        files.segments.extend(named.map(|id| (id, allocated)));
    }
    let rows: Vec<_> = view.rows().filter_map(Result::ok).collect();
    let given_up = |id: &u32| rows.iter().any(|row| (row.covers_from..row.id).contains(id));
    let given_up: Vec<u32> = files.segments.keys().filter(|id| given_up(id)).copied().collect();
    for id in &given_up {
        let path = ring.path(*id);
        ring.disk.remove(&path).map_err(|error| io_error(&path, error))?;
        files.segments.remove(id);
    }
    if !given_up.is_empty() {
        ring.disk.sync_dir(&ring.dir).map_err(|error| io_error(&ring.dir, error))?;
    }
    Ok(files)
}

/// Puts the segments of the directory into the ring, below those that were replayed. Returns the bytes of segment files
/// that are no part of it.
fn take_in_sealed(ring: &Ring, files: &Files, view: &mut View, access: Access) -> Result<u64, Malformed> {
    let replayed: Vec<u32> = view.segments.iter().map(|segment| segment.id).collect();
    let below = replayed.first().copied().unwrap_or(0);
    let rows = view.rows().collect::<Result<Vec<_>, _>>()?;
    let mut sealed = Vec::new();
    // Where files aren't changed, a declared copy is read under the name that it has.
    let unnamed = rewrite::noted(view).filter(|_| files.rewrite_new.is_some()).map(|(_, to)| to);
    for row in rows.iter().filter(|row| row.id < below) {
        let path = if Some(row.id) == unnamed { ring.dir.join(REWRITE_NEW) } else { ring.path(row.id) };
        let listed = files.segments.get(&row.id).copied();
        // Closing what a crash left open has changed what the newest of them occupies.
        let newest = row.last_commit + 1 == view.segments.front().map_or(0, |segment| segment.first_commit);
        let now = || ring.disk.open(&path, OpenMode::Read).and_then(|file| file.allocated()).ok();
        let allocated = if newest && listed.is_some() { now().or(listed) } else { listed };
        let covers = (row.covers_from, row.id);
        let segment = Segment::sealed(covers, row.first_commit, path.clone(), allocated.unwrap_or(0));
        if listed.is_none() {
            segment.note_unreadable("its file is missing");
        }
        sealed.push(Arc::new(segment));
    }
    view.prepend(sealed);
    let known = |id: &u32| *id <= view.evicted_through() || view.segments.iter().any(|segment| segment.id == *id);
    let mut other_bytes = 0;
    for (id, allocated) in files.segments.iter().filter(|(id, _)| **id < below && !known(id)) {
        log::warn!("{}: not part of the store: its directory of segments doesn't name it", ring.path(*id).display());
        let aside = (access == Access::Write).then(|| ring.put_aside(&ring.path(*id), *allocated));
        if aside.is_none() {
            other_bytes += allocated;
        }
    }
    Ok(other_bytes)
}

/// Makes a segment the active one and applies its commits.
fn replay(ring: &Ring, opened: Opened, view: &mut View, known: &Known) -> Result<(), OpenError> {
    let Opened { id, path, file, activation } = opened;
    view.written_format = activation.format;
    let segment = Arc::new(Segment::open(id, activation.first_commit, path.clone(), file));
    view.activate(Arc::clone(&segment));
    let mut next = activation.first_commit;
    let replayed = segment.with_open(|file| {
        let replayed = file.commits(0, |seq, stream| {
            if seq != next {
                return Err(SegmentError::damaged(format!("commit {next} is missing")));
            }
            let applied = view.apply(seq, &stream, known);
            applied.map_err(|what| SegmentError::damaged(format!("commit {seq}: {what}")))?;
            ring.steps.fetch_add(1, Ordering::Relaxed);
            next += 1;
            Ok(true)
        });
        file.release();
        replayed
    });
    match replayed {
        Some(Ok(())) if next > activation.first_commit => Ok(()),
        Some(Err(error)) => Err(segment_error(&path, error)),
        _ => Err(damaged(&path, "its first commit is missing")),
    }
}

/// Removes what a crash left of evicted segments.
fn finish_evictions(
    ring: &Ring,
    files: &Files,
    evicted_through: u32,
    evicted: Vec<Arc<Segment>>,
) -> Result<(), OpenError> {
    for segment in evicted {
        segment.set_gone();
    }
    let mut removed = false;
    for &id in files.segments.keys().take_while(|&&id| id <= evicted_through) {
        let path = ring.path(id);
        ring.disk.remove(&path).map_err(|error| io_error(&path, error))?;
        removed = true;
    }
    if removed {
        ring.disk.sync_dir(&ring.dir).map_err(|error| io_error(&ring.dir, error))?;
    }
    Ok(())
}

pub(super) fn io_error(path: &Path, error: io::Error) -> OpenError {
    OpenError::Io { file: path.to_path_buf(), error }
}

fn damaged(path: &Path, what: impl Into<String>) -> OpenError {
    OpenError::Damaged { file: path.to_path_buf(), what: what.into() }
}

pub(super) fn segment_error(path: &Path, error: SegmentError) -> OpenError {
    match error {
        SegmentError::Io(error) => io_error(path, error),
        SegmentError::TooNew(needs) => OpenError::TooNew { file: path.to_path_buf(), needs },
        SegmentError::TooOld(version) => OpenError::TooOld { file: path.to_path_buf(), version },
        SegmentError::Damaged(what) => damaged(path, what),
        SegmentError::NoRoom => io_error(path, io::ErrorKind::StorageFull.into()),
        SegmentError::Unclean => damaged(path, SegmentError::Unclean.to_string()),
    }
}
