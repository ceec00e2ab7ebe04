//! How many crashes of which kind there were.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

use brooklet::store::sim::OpKind;

static COUNTS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Counts a crash, or another fault, of this kind.
pub fn count(kind: impl Into<String>) {
    *COUNTS.lock().unwrap_or_else(PoisonError::into_inner).entry(kind.into()).or_default() += 1;
}

/// Counts a crash before an operation of the disk.
pub fn count_at(what: &str, at: OpKind) {
    let place = match at {
        OpKind::Sync => "a sync",
        OpKind::SyncDir => "a directory sync",
        OpKind::Rename => "a rename",
        OpKind::Remove => "a removal",
        OpKind::Write => "a write",
        OpKind::SetLen => "a change of length",
        _ => "another operation",
    };
    count(format!("{what} before {place}"));
}

/// All counts, a line each, and their sum.
pub fn report() -> String {
    let counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut text = String::new();
    for (kind, count) in counts.iter() {
        let _ = writeln!(text, "{count:>9}  {kind}");
    }
    let _ = write!(text, "{:>9}  in all", counts.values().sum::<u64>());
    text
}
