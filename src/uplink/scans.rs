//! Where to read on: partitions whose topics matter alike share a scan in commit order. Pure.
//!
//! Invariant: a partition that lags behind its scan (it was stalled) is read alone until it has caught up, and holds back nobody.

use std::collections::{BTreeMap, BTreeSet};

use super::mirror::Followed;
use crate::limits::PRIORITY_MAX;
use crate::store::{CommitSeq, PartitionId};

/// How much a topic matters: what matters more comes first in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    /// It is not `urgent`.
    pub(super) waits: bool,
    /// How far its `priority` is below the highest.
    pub(super) below: u8,
}

impl Class {
    pub(super) fn new(urgent: bool, priority: u8) -> Self {
        Self { waits: !urgent, below: PRIORITY_MAX.saturating_sub(priority) }
    }

    /// Whether it waits for no window and no budget.
    pub(super) fn is_urgent(self) -> bool {
        !self.waits
    }
}

/// Partitions that lag behind the scan (they were stalled) are read alone until they have caught up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CatchUp {
    partitions: BTreeSet<PartitionId>,
    until: CommitSeq,
}

/// The next step of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanStep {
    pub(super) class: Class,
    pub(super) from: CommitSeq,
    pub(super) partitions: BTreeSet<PartitionId>,
}

/// How far the partitions of a class are read.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// `None` before the first [`Scan::rewind`].
    pub(super) at: Option<CommitSeq>,
    catch_up: Option<CatchUp>,
    /// All that was committed when it was last looked at is read.
    pub(super) at_end: bool,
}

impl Scan {
    /// What to read next.
    pub(super) fn step(&mut self, class: Class, followed: &BTreeMap<PartitionId, Followed>) -> Option<ScanStep> {
        let going = |p: &PartitionId| followed.get(p).is_some_and(|f| f.stall().is_none() && f.class == class);
        // A lagging partition that stalls again comes back by another rewind, and must not hold back the others.
        if let Some(catch_up) = self.catch_up.take_if(|catch_up| !catch_up.partitions.iter().any(going)) {
            self.at = Some(catch_up.until);
        }
        let partitions: BTreeSet<PartitionId> = match &self.catch_up {
            Some(catch_up) => catch_up.partitions.iter().copied().filter(going).collect(),
            None => followed.keys().copied().filter(going).collect(),
        };
        let from = self.at.filter(|_| !self.at_end && !partitions.is_empty())?;
        Some(ScanStep { class, from, partitions })
    }

    /// What was scanned up to `next`; `end`: that is all there is.
    pub(super) fn scanned(&mut self, next: CommitSeq, end: bool) {
        self.at = Some(next);
        let caught_up = self.catch_up.take_if(|catch_up| next >= catch_up.until);
        if let Some(catch_up) = &caught_up {
            // The others were not read beyond `until`.
            self.at = Some(catch_up.until);
        }
        self.at_end = end && caught_up.is_none() && self.catch_up.is_none();
    }

    /// Reads a partition again from there.
    pub(super) fn rewind(&mut self, partition: PartitionId, from: CommitSeq) {
        self.at_end = false;
        let Some(at) = self.at else {
            self.at = Some(from);
            return;
        };
        // What the scan has passed is read again, for this partition (and others that lag behind) alone.
        let until = self.catch_up.as_ref().map_or(at, |catch_up| catch_up.until);
        if from < until {
            let catch_up = self.catch_up.get_or_insert(CatchUp { partitions: BTreeSet::new(), until });
            catch_up.partitions.insert(partition);
            self.at = Some(from.min(at));
        }
    }
}
