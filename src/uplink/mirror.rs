//! What of each local partition is forwarded, what is under way, and where to read on. Pure: positions, pieces, and the plan of
//! the scans; no clock, no I/O.
//!
//! Partitions of the same class (`urgent`, `priority` of their topics) share a scan in commit order; a class is read only where
//! those that matter more have nothing to read.
//!
//! What is gathered is cut into *pieces*: ranges of a local partition. A piece is done when every batch that carries a part of it
//! is acknowledged; only then its range enters the position.
//!
//! With transactions, what is done enters the positions only when the transaction is committed ([`Mirror::commit`]), or not at all
//! ([`Mirror::abort`]).
//!
//! Invariant: a position holds acknowledged offsets only (and those that were evicted before they could be forwarded).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::backoff::Backoff;
use super::scans::{Class, Scan, ScanStep};
use super::sending::producer::PieceId;
use crate::broker::dead_letter::Letter;
use crate::store::{CommitSeq, Intervals, PartitionId};

/// What a local partition is called, here and upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The local topic.
    pub(super) topic: Arc<str>,
    /// The partition's index in it.
    pub(super) index: u32,
    /// The topic upstream.
    pub(super) upstream: Arc<str>,
}

/// A local partition that is followed.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) names: Names,
    pub(super) class: Class,
    position: Intervals,
    /// Acknowledged ranges that would have made the position too long; they enter it as gaps close.
    deferred: BTreeMap<i64, i64>,
    /// Acknowledged within the open transaction.
    tentative: Vec<Range<i64>>,
    /// What lies before is gathered, or done.
    gathered: i64,
    /// Pieces under way.
    outstanding: u32,
    stall: Option<Stall>,
    backoff: Backoff,
    unsaved: bool,
}

/// What is to be made durable in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Unsaved {
    pub(super) positions: Vec<(PartitionId, Intervals)>,
    /// Each lies within its partition's position.
    pub(super) letters: Vec<Letter>,
}

/// What a letter takes beyond its record, bytes, about.
const LETTER_BYTES: u64 = 512;

/// Why a partition is not forwarded at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stall {
    /// `None`: it was not begun with yet.
    pub(super) why: Option<Arc<str>>,
    /// When it is tried again.
    pub(super) until: Instant,
    /// Its time had come: all it waits for is what metadata will say.
    pub(super) awaits_metadata: bool,
}

impl Stall {
    /// Of a partition that is to be begun with.
    fn before(now: Instant) -> Stall {
        Stall { why: None, until: now, awaits_metadata: false }
    }

    /// Whether it may be tried again now, or was not tried yet.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.why.is_none() || self.awaits_metadata || self.until <= now
    }
}

#[derive(Debug)]
struct Piece {
    partition: PartitionId,
    range: Range<i64>,
    /// Batches under way that carry a part of it.
    parts: u32,
    first_timestamp: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    partitions: BTreeMap<PartitionId, Followed>,
    pieces: BTreeMap<PieceId, Piece>,
    /// Records that upstream does not take, by where they lie; each is saved with the position that passes it.
    letters: BTreeMap<(PartitionId, i64), Letter>,
    next_piece: PieceId,
    scans: BTreeMap<Class, Scan>,
    /// What is done waits for the transaction's end.
    transactional: bool,
}

impl Followed {
    /// Where the next batch to gather is expected.
    pub(super) fn gathered_to(&self) -> i64 {
        self.gathered
    }

    /// What is done, for good.
    pub(super) fn position(&self) -> &Intervals {
        &self.position
    }

    pub(super) fn stall(&self) -> Option<&Stall> {
        self.stall.as_ref()
    }

    /// Failures since something was last acknowledged.
    pub(super) fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// Failures in a row, for the next wait.
    pub(super) fn backoff(&mut self) -> &mut Backoff {
        &mut self.backoff
    }

    /// Where to read on when nothing is under way.
    fn read_from(&self) -> i64 {
        let tentative = self.tentative.iter().map(|range| range.end).max().unwrap_or(0);
        self.position.first_gap().max(tentative)
    }

    fn acknowledged(&mut self, range: Range<i64>, transactional: bool) {
        if transactional {
            self.tentative.push(range);
        } else {
            self.done(range);
        }
    }

    fn done(&mut self, range: Range<i64>) {
        self.deferred.insert(range.start, range.end);
        // As long as anything melts in, others may follow.
        loop {
            let before = self.deferred.len();
            let position = &mut self.position;
            self.deferred.retain(|start, end| position.insert(*start..*end).is_err());
            if self.deferred.len() == before || self.deferred.is_empty() {
                break;
            }
        }
        self.unsaved = true;
    }
}

impl Mirror {
    /// One whose positions move with transactions.
    pub(super) fn transactional() -> Self {
        Self { transactional: true, ..Self::default() }
    }

    /// Where each partition that the open transaction moves will stand, once all that is under way is acknowledged.
    pub(super) fn proposal(&self) -> BTreeMap<PartitionId, i64> {
        let mut moved: BTreeMap<PartitionId, Intervals> = BTreeMap::new();
        let ranges =
            self.partitions.iter().flat_map(|(p, followed)| followed.tentative.iter().map(|range| (*p, range)));
        for (partition, range) in ranges.chain(self.pieces.values().map(|piece| (piece.partition, &piece.range))) {
            let Some(followed) = self.partitions.get(&partition).filter(|_| !range.is_empty()) else { continue };
            // Pieces come in order, so there is no room for too many of them.
            let _fits = moved.entry(partition).or_insert_with(|| followed.position.clone()).insert(range.clone());
        }
        moved.into_iter().map(|(partition, position)| (partition, position.first_gap())).collect()
    }

    /// The transaction is committed: what was acknowledged in it is done. The partitions that have moved.
    pub(super) fn commit(&mut self) -> Vec<PartitionId> {
        let mut moved = Vec::new();
        for (partition, followed) in &mut self.partitions {
            let ranges = std::mem::take(&mut followed.tentative);
            if !ranges.is_empty() {
                ranges.into_iter().for_each(|range| followed.done(range));
                moved.push(*partition);
            }
        }
        moved
    }

    /// There is no open transaction any more: everything behind the positions is to be gathered anew. Records that are condemned
    /// stay that.
    pub(super) fn abort(&mut self, now: Instant) {
        self.pieces.clear();
        self.scans.clear();
        for followed in self.partitions.values_mut() {
            followed.tentative.clear();
            followed.outstanding = 0;
            followed.gathered = followed.position.first_gap();
            followed.stall.get_or_insert(Stall::before(now));
        }
    }

    /// What lies before `next` is forwarded, as is known now. Only when nothing is under way.
    pub(super) fn advance(&mut self, partition: PartitionId, next: i64) {
        if let Some(followed) = self.partitions.get_mut(&partition) {
            followed.done(followed.position.first_gap()..next);
            followed.gathered = followed.position.first_gap();
        }
    }

    /// A partition stands at `next`, whatever was known before. Only when nothing is under way.
    pub(super) fn stand(&mut self, partition: PartitionId, next: i64) {
        if let Some(followed) = self.partitions.get_mut(&partition) {
            followed.position = Intervals::up_to(next);
            followed.deferred.clear();
            followed.gathered = next;
            followed.unsaved = true;
        }
    }

    /// Follows a partition; it is due at once, and begun with [`Mirror::rewind`]. One whose class has changed begins anew where it
    /// is.
    pub(super) fn follow(
        &mut self,
        partition: PartitionId,
        names: Names,
        class: Class,
        position: Intervals,
        now: Instant,
    ) {
        let gathered = position.first_gap();
        let due = Some(Stall::before(now));
        let followed = self.partitions.entry(partition).or_insert(Followed {
            names,
            class,
            position,
            deferred: BTreeMap::new(),
            tentative: Vec::new(),
            gathered,
            outstanding: 0,
            stall: due.clone(),
            backoff: Backoff::default(),
            unsaved: false,
        });
        if std::mem::replace(&mut followed.class, class) != class && followed.stall.is_none() {
            followed.stall = due;
        }
    }

    /// Forgets all partitions but these. What is under way of them is still acknowledged, without effect.
    pub(super) fn retain(&mut self, keep: impl Fn(PartitionId) -> bool) {
        self.partitions.retain(|partition, _| keep(*partition));
        self.letters.retain(|(partition, _), _| keep(*partition));
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Followed)> {
        self.partitions.iter().map(|(partition, followed)| (*partition, followed))
    }

    pub(super) fn get(&self, partition: PartitionId) -> Option<&Followed> {
        self.partitions.get(&partition)
    }

    pub(super) fn get_mut(&mut self, partition: PartitionId) -> Option<&mut Followed> {
        self.partitions.get_mut(&partition)
    }

    /// Whether any partition waits for no window and no budget.
    pub(super) fn has_urgent(&self) -> bool {
        self.partitions.values().any(|followed| followed.class.is_urgent())
    }

    /// Where to read on, and for which partitions; `None` if nothing is left to read. With `urgent_only`, other classes wait.
    pub(super) fn scan_step(&mut self, urgent_only: bool) -> Option<ScanStep> {
        let Self { partitions, scans, .. } = self;
        let ours = |class: &Class| class.is_urgent() || !urgent_only;
        scans.iter_mut().filter(|(class, _)| ours(class)).find_map(|(class, scan)| scan.step(*class, partitions))
    }

    /// Something may have been committed since: every class is to be looked at again.
    pub(super) fn look_again(&mut self) {
        self.scans.values_mut().for_each(|scan| scan.at_end = false);
    }

    /// A class was scanned up to `next`, which was the end of the log or not.
    pub(super) fn scanned(&mut self, class: Class, next: CommitSeq, end: bool) {
        if let Some(scan) = self.scans.get_mut(&class) {
            scan.scanned(next, end);
        }
    }

    /// The offsets of a batch that are to be forwarded; none if they are under way, done, or stalled.
    pub(super) fn wanted(&self, partition: PartitionId, range: Range<i64>) -> Vec<Range<i64>> {
        let going = self.partitions.get(&partition).filter(|followed| followed.stall.is_none());
        going.map_or_else(Vec::new, |followed| {
            followed.position.missing_in(range.start.max(followed.gathered)..range.end)
        })
    }

    /// A piece that `parts` batches carry; done at once if there are none. What it is called by.
    pub(super) fn gathered(
        &mut self,
        partition: PartitionId,
        range: Range<i64>,
        parts: u32,
        first_timestamp: i64,
    ) -> PieceId {
        self.next_piece += 1;
        if let Some(followed) = self.partitions.get_mut(&partition) {
            followed.gathered = followed.gathered.max(range.end);
            if parts == 0 {
                followed.acknowledged(range, self.transactional);
            } else {
                followed.outstanding += 1;
                self.pieces.insert(self.next_piece, Piece { partition, range, parts, first_timestamp });
            }
        }
        self.next_piece
    }

    /// A batch is acknowledged that carried parts of these pieces. The partitions whose position has grown.
    pub(super) fn acknowledged(&mut self, pieces: &[PieceId]) -> Vec<PartitionId> {
        let mut advanced = Vec::new();
        for id in pieces {
            let Some(piece) = self.pieces.get_mut(id) else { continue };
            piece.parts = piece.parts.saturating_sub(1);
            if piece.parts > 0 {
                continue;
            }
            let Some(piece) = self.pieces.remove(id) else { continue };
            if let Some(followed) = self.partitions.get_mut(&piece.partition) {
                followed.outstanding = followed.outstanding.saturating_sub(1);
                followed.backoff.succeed();
                followed.acknowledged(piece.range, self.transactional);
                if !self.transactional {
                    advanced.push(piece.partition);
                }
            }
        }
        advanced
    }

    /// These pieces' batches were dropped: they are not under way any more, and will be gathered again.
    pub(super) fn dropped(&mut self, pieces: &[PieceId]) {
        for id in pieces {
            let Some(piece) = self.pieces.remove(id) else { continue };
            let (from, to) = ((piece.partition, piece.range.start), (piece.partition, piece.range.end));
            let dropped: Vec<_> = self.letters.range(from..to).map(|(at, _)| *at).collect();
            dropped.iter().for_each(|at| drop(self.letters.remove(at)));
            if let Some(followed) = self.partitions.get_mut(&piece.partition) {
                followed.outstanding = followed.outstanding.saturating_sub(1);
            }
        }
    }

    /// A record will not be delivered. Before the piece that holds it is done.
    pub(super) fn condemn(&mut self, letter: Letter) {
        self.letters.insert((letter.partition, letter.offset), letter);
    }

    /// Whether a record's letter waits to be saved.
    pub(super) fn is_condemned(&self, partition: PartitionId, offset: i64) -> bool {
        self.letters.contains_key(&(partition, offset))
    }

    /// The letters of a partition's offsets.
    pub(super) fn condemned(&self, partition: PartitionId, range: Range<i64>) -> Vec<Letter> {
        self.letters.range((partition, range.start)..(partition, range.end)).map(|(_, letter)| letter.clone()).collect()
    }

    /// Whether letters wait to be saved that a position has passed.
    pub(super) fn has_passed_letters(&self) -> bool {
        let passed = |(partition, offset): &(PartitionId, i64)| {
            self.partitions.get(partition).is_some_and(|followed| followed.position.contains(*offset))
        };
        self.letters.keys().any(passed)
    }

    /// The letters that these positions pass and the present ones don't.
    pub(super) fn letters_before(&self, positions: &BTreeMap<PartitionId, i64>) -> Vec<Letter> {
        let before = |((partition, offset), _): &(&(PartitionId, i64), &Letter)| {
            positions.get(partition).is_some_and(|next| offset < next)
        };
        self.letters.iter().filter(before).map(|(_, letter)| letter.clone()).collect()
    }

    /// How many letters wait to be saved.
    pub(super) fn letters(&self) -> usize {
        self.letters.len()
    }

    /// Stops forwarding a partition until then.
    pub(super) fn stall(&mut self, partition: PartitionId, why: Arc<str>, until: Instant) {
        if let Some(followed) = self.partitions.get_mut(&partition) {
            followed.stall = Some(Stall { why: Some(why), until, awaits_metadata: false });
        }
    }

    /// A stall whose time has come lasts longer, for the same reason: metadata is to be had no sooner.
    pub(super) fn postpone(&mut self, partition: PartitionId, until: Instant) {
        if let Some(stall) = self.partitions.get_mut(&partition).and_then(|followed| followed.stall.as_mut()) {
            stall.until = until;
            stall.awaits_metadata = true;
        }
    }

    /// The stalled partitions whose time has come.
    pub(super) fn due(&self, now: Instant) -> Vec<PartitionId> {
        let due = |followed: &Followed| followed.stall.as_ref().is_some_and(|stall| stall.until <= now);
        self.partitions.iter().filter(|(_, followed)| due(followed)).map(|(p, _)| *p).collect()
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.partitions.values().filter_map(|followed| followed.stall.as_ref()).map(|stall| stall.until).min()
    }

    /// Goes on with a partition (at first, or after a stall) whose first offset to forward lies in commit `from` or later.
    pub(super) fn rewind(&mut self, partition: PartitionId, from: CommitSeq) {
        let Some(followed) = self.partitions.get_mut(&partition) else { return };
        followed.stall = None;
        if followed.outstanding == 0 {
            followed.gathered = followed.read_from();
        }
        self.scans.entry(followed.class).or_default().rewind(partition, from);
    }

    /// The partition begins at `log_start`: what was not gathered before is gone, and not waited for. How many offsets.
    pub(super) fn evicted(&mut self, partition: PartitionId, log_start: i64) -> u64 {
        let Some(followed) = self.partitions.get_mut(&partition) else { return 0 };
        let lost = followed.position.missing_in(followed.gathered..log_start);
        followed.gathered = followed.gathered.max(log_start);
        let count = lost.iter().map(|range| range.end.abs_diff(range.start)).sum();
        for range in lost {
            followed.done(range);
        }
        count
    }

    /// The positions that have grown since the last call, and the letters that they pass: of those at most `bytes_max` (one may
    /// be larger). What finds no room stays unsaved, and the position ends before it.
    pub(super) fn take_unsaved(&mut self, bytes_max: u64) -> Unsaved {
        let (mut unsaved, mut bytes) = (Unsaved::default(), 0);
        let Self { partitions, letters, .. } = self;
        for (partition, followed) in partitions {
            if !std::mem::take(&mut followed.unsaved) {
                continue;
            }
            let mut position = followed.position.clone();
            let of_partition = letters.range((*partition, i64::MIN)..=(*partition, i64::MAX));
            let passed: Vec<i64> =
                of_partition.map(|((_, offset), _)| *offset).filter(|offset| position.contains(*offset)).collect();
            for offset in passed {
                let size = letters.get(&(*partition, offset)).map_or(0, |letter| letter.bytes + LETTER_BYTES);
                if bytes + size > bytes_max && !unsaved.letters.is_empty() {
                    position = position.before(offset);
                    followed.unsaved = true;
                    break;
                }
                bytes += size;
                unsaved.letters.extend(letters.remove(&(*partition, offset)));
            }
            unsaved.positions.push((*partition, position));
        }
        unsaved
    }

    /// Saving these failed: they are unsaved again.
    pub(super) fn mark_unsaved(&mut self, unsaved: Unsaved) {
        for (partition, _) in unsaved.positions {
            if let Some(followed) = self.partitions.get_mut(&partition) {
                followed.unsaved = true;
            }
        }
        unsaved.letters.into_iter().for_each(|letter| self.condemn(letter));
    }

    pub(super) fn has_unsaved(&self) -> bool {
        self.partitions.values().any(|followed| followed.unsaved)
    }

    /// The earliest timestamp among what is under way, ms since 1970.
    pub(super) fn oldest_timestamp(&self) -> Option<i64> {
        self.pieces.values().map(|piece| piece.first_timestamp).min()
    }
}

#[cfg(test)]
mod tests;
