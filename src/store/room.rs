//! Whether there is room for a commit: within the bound, and on the filesystem.

use super::error::{DraftError, StoreError};
use super::ring::lock;
use super::segment::SegmentFile;
use super::shared::{COMMIT_OVERHEAD_BYTES, RESERVE_BYTES, Shared};

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// The store has reached `max_bytes`.
    Bound,
    /// Others have taken the room of the filesystem that the bound would leave.
    Filesystem,
}

impl Lack {
    /// With what an append is refused.
    pub(super) fn refusal(self) -> DraftError {
        match self {
            Self::Bound => DraftError::StoreFull,
            Self::Filesystem => DraftError::DiskFull,
        }
    }

    /// What it is, and what to do, for people.
    fn advice(self) -> String {
        match self {
            Self::Bound => "the store is at its bound, and nothing in it may be given up (on_full, reserves): let uplinks forward or \
                            retention expire some, or raise store.max_bytes"
                .to_owned(),
            Self::Filesystem => self.error().to_string(),
        }
    }

    /// With what a commit fails.
    pub(super) fn error(self) -> StoreError {
        match self {
            Self::Bound => StoreError::Full,
            Self::Filesystem => StoreError::DiskFull,
        }
    }
}

/// Bytes that a stream of `bytes` takes in redb's pages, at most.
pub(super) fn pages_bytes(bytes: usize) -> u64 {
    let bytes = bytes as u64;
    bytes + bytes / 16 + 8_192
}

/// What the largest commit may need.
pub(super) fn of_any_commit(shared: &Shared) -> u64 {
    pages_bytes(shared.env.commit_bytes_max) + COMMIT_OVERHEAD_BYTES + RESERVE_BYTES
}

/// Notes that appends are refused, or no more, and tells of the change.
pub(super) fn note(shared: &Shared, lack: Option<Lack>) {
    let before = std::mem::replace(&mut *lock(&shared.lacking), lack);
    match (before, lack) {
        (None, Some(lack)) => log::warn!("new records are refused: {}", lack.advice()),
        (Some(_), None) => log::info!("new records are taken again"),
        _ => {}
    }
}

/// The same by how a commit ended: of one that went well, where appends were refused because of `full`, nothing follows.
pub(super) fn note_outcome(shared: &Shared, failure: Option<&StoreError>, full: Option<Lack>) {
    match failure {
        Some(StoreError::Full) => note(shared, Some(Lack::Bound)),
        Some(StoreError::DiskFull) => note(shared, Some(Lack::Filesystem)),
        None if full.is_none() => note(shared, None),
        _ => {}
    }
}

/// Why appends are refused now. Room that has come about meanwhile is seen, though nobody has tried to append since.
pub(super) fn refused(shared: &Shared) -> Option<String> {
    let noted = *lock(&shared.lacking);
    noted.filter(|_| lack(shared, of_any_commit(shared)).is_some()).map(Lack::advice)
}

/// What there is too little of for a commit that takes `bytes`; `None` if there is room.
pub(super) fn lack(shared: &Shared, bytes: u64) -> Option<Lack> {
    let held = shared.disk_bytes();
    if held + bytes > shared.max_bytes {
        return Some(Lack::Bound);
    }
    // What was claimed for later goes first. Maintenance sees to it before there is need.
    while held + shared.reserve_bytes() + bytes > shared.max_bytes {
        if !shared.ring.shrink_reserve().unwrap_or(false) {
            break;
        }
    }
    loop {
        let free = shared.ring.disk.space(&shared.ring.dir).map_or(0, |space| space.free);
        let enough = free.saturating_add(claimed(shared)) >= bytes;
        // redb may place a page beyond the blocks that a file has.
        if enough && free >= RESERVE_BYTES {
            return None;
        }
        if !shared.ring.shrink_reserve().unwrap_or(false) {
            return (!enough).then_some(Lack::Filesystem);
        }
    }
}

/// Blocks that the next commit finds claimed already: what the active segment has and doesn't use yet, or the spare.
fn claimed(shared: &Shared) -> u64 {
    let view = shared.view();
    let unused = |used: u64| view.active().map_or(0, |active| active.allocated().saturating_sub(used));
    let used = view.active().and_then(|active| active.with_open(SegmentFile::used_bytes));
    let spare = match shared.ring.has_spare() {
        true => shared.ring.spare_bytes(),
        // It would be made out of the reserve.
        false if shared.ring.reserve.files() > 0 => shared.ring.reserve_file_bytes(),
        false => 0,
    };
    used.map_or(0, unused).max(spare)
}

/// Whether the filesystem has room for `bytes` of maintenance, beside `claimed` that the file in question has; gives up
/// room that was claimed for later, if need be.
pub(super) fn for_maintenance(shared: &Shared, bytes: u64, claimed: u64) -> bool {
    loop {
        // A filesystem that doesn't tell is asked by writing.
        let free = shared.ring.disk.space(&shared.ring.dir).map_or(u64::MAX, |space| space.free);
        if free.saturating_add(claimed) >= bytes {
            return true;
        }
        if !shared.ring.shrink_reserve().unwrap_or(false) {
            return false;
        }
    }
}
