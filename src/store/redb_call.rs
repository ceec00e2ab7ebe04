//! Calls into redb, which panics where it meets damage that it holds impossible.
//!
//! Invariants: a panic within a call is that call's error. What may read or write the file is called, never left to a drop: a second panic, in a
//! drop while the first unwinds, would end the process, and a damaged file would end it at every start. So write transactions begin here only,
//! and a database is closed here.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Database, Durability, WriteTransaction};

use super::segment::SegmentError;

/// What an error of redb means to the store.
pub(super) fn fail(error: impl Into<redb::Error>) -> SegmentError {
    match error.into() {
        // What the backend finds damaged.
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            SegmentError::Damaged(error.to_string())
        }
        redb::Error::Io(error) => SegmentError::Io(error),
        redb::Error::Corrupted(what) => SegmentError::Damaged(what),
        redb::Error::RepairAborted => SegmentError::Unclean,
        error @ (redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::UpgradeRequired(_)) => SegmentError::Damaged(error.to_string()),
        error => SegmentError::Io(io::Error::other(error.to_string())),
    }
}

/// A call that may panic.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref().cloned());
        Err(SegmentError::Damaged(format!("redb stopped: {}", text.unwrap_or_default())))
    })
}

/// Changes a database in one transaction: all of it, or nothing where `change` fails.
#[expect(clippy::disallowed_methods, reason = "here it is aborted by a call")]
pub(super) fn transaction(
    db: &Database,
    durability: Durability,
    change: impl FnOnce(&WriteTransaction) -> Result<(), SegmentError>,
) -> Result<(), SegmentError> {
    guarded(|| {
        let mut txn = db.begin_write().map_err(fail)?;
        txn.set_durability(durability).map_err(fail)?;
        match change(&txn) {
            Ok(()) => txn.commit().map_err(fail),
            Err(error) => {
                // What it can't roll back, it will repair at the next opening.
                let _ = txn.abort();
                Err(error)
            }
        }
    })
}

/// Closes a database.
pub(super) fn close(db: Database) -> Result<(), SegmentError> {
    guarded(|| db.close().map_err(fail))
}

/// Does something with a database, and closes it, whatever comes of that.
pub(super) fn with<T>(
    db: Database,
    work: impl FnOnce(&Database) -> Result<T, SegmentError>,
) -> Result<T, SegmentError> {
    let done = guarded(|| work(&db));
    let closed = close(db);
    done.and_then(|done| closed.map(|()| done))
}
