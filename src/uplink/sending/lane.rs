//! The batches on their way to one partition upstream: their sequences, and what happens to them by each answer. Pure.
//!
//! Batches are sent in order, at most [`IN_FLIGHT_MAX`] unanswered. After any failure nothing is sent until all that is in flight
//! is answered; then everything unacknowledged goes again, in order, with the same bytes and sequences: a broker that has a
//! batch already recognises it. Only a lost producer id makes new sequences, and may make duplicates.
//!
//! Invariants: a batch leaves the lane only by an acknowledgement; sequences of the queue are without gap, from the front on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::backoff::{Backoff, Bounds};
use super::super::batches::origins::Origins;
use super::super::batches::recode::{self, Recoded, SplitError};
use super::super::options::{IN_FLIGHT_MAX, PATIENCE};
use super::verdict::Verdict;
use crate::broker::dead_letter::Cause;
use crate::record::{BatchView, Compression, Producer, header};
use crate::store::PartitionId;

/// Numbers a piece of a local partition; see `mirror.rs`.
pub(in crate::uplink) type PieceId = u64;

/// How often a batch's timestamps are shifted before it is given up: the last shift is some 15 years.
const SHIFTS_MAX: u32 = 18;
/// Runs of records that a batch is cut into for the sake of those whose timestamps are refused; beyond that all are shifted.
pub(in crate::uplink) const RUNS_MAX: usize = 8;
/// What a queued batch takes beyond its bytes, about.
const ENTRY_BYTES: usize = 200;

/// Who an idempotent producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Identity {
    pub(in crate::uplink) id: i64,
    pub(in crate::uplink) epoch: i16,
}

/// The circumstances of an answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::uplink) struct Moment {
    pub(in crate::uplink) now: Instant,
    /// Wall time, ms since 1970.
    pub(in crate::uplink) wall_ms: i64,
    /// Uniform in 0..1.
    pub(in crate::uplink) jitter: f64,
    pub(in crate::uplink) backoff: Bounds,
    /// For batches that must be cut.
    pub(in crate::uplink) compression: Compression,
    /// For the further parts of a batch that is cut: this one and the next [`RUNS_MAX`].
    pub(in crate::uplink) spare_tag: u64,
}

/// What an answer led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Outcome {
    /// Acknowledged: these pieces have lost a part.
    Acknowledged { pieces: Vec<PieceId>, bytes: usize, records: u32 },
    /// It will be sent again.
    Again(Again),
    /// These records will never be taken; what else was in their batch goes again.
    Rejected(Rejected),
    /// The lane can't go on; the text says why. Its batches are to be dropped, and gathered again later.
    Stalled(String),
    /// The answer to something that was dropped.
    Stray,
}

/// How a batch is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Again {
    AsItWas,
    Cut,
    /// Its timestamps were moved by that much.
    Shifted {
        by_ms: i64,
    },
    /// With new sequences of another producer id.
    NewProducer,
}

/// Records that upstream refuses for what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Rejected {
    pub(in crate::uplink) records: Vec<(PartitionId, i64)>,
    pub(in crate::uplink) cause: Cause,
    /// What they take, bytes, all together.
    pub(in crate::uplink) bytes: usize,
    /// What is wrong, for people.
    pub(in crate::uplink) why: String,
    /// These pieces have lost a part.
    pub(in crate::uplink) pieces: Vec<PieceId>,
}

/// A batch to send.
#[derive(Debug)]
pub(in crate::uplink) struct ToSend<'a> {
    pub(in crate::uplink) tag: u64,
    pub(in crate::uplink) bytes: &'a [u8],
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Lane {
    /// Its batches are parts of transactions.
    transactional: bool,
    queue: VecDeque<Entry>,
    identity: Option<Identity>,
    next_sequence: i32,
    /// Something failed: what is in flight comes back first.
    settling: bool,
    /// All of the queue needs new sequences.
    renumber: bool,
    retry_at: Option<Instant>,
    backoff: Backoff,
    /// The broker that has what is in flight.
    node: Option<i32>,
    /// Since when nothing was acknowledged although the broker (or the lack of one) answered.
    stuck_since: Option<Instant>,
    /// Its batches were dropped: it exists only until what is in flight is answered.
    abandoned: bool,
}

#[derive(Debug)]
struct Entry {
    tag: u64,
    bytes: Vec<u8>,
    records: u32,
    origins: Origins,
    sequence: Option<i32>,
    pieces: Vec<PieceId>,
    in_flight: bool,
    shifts: u32,
    /// The records (places in the batch, ascending) that upstream has named in its last answer.
    blamed: Vec<u32>,
}

impl Lane {
    pub(in crate::uplink) fn new(transactional: bool) -> Self {
        Self { transactional, ..Self::default() }
    }

    /// From the next batch on it belongs to another identity.
    pub(in crate::uplink) fn renumber(&mut self) {
        self.renumber = true;
    }

    /// Appends a batch.
    pub(in crate::uplink) fn push(&mut self, tag: u64, batch: Recoded, pieces: Vec<PieceId>) {
        self.queue.push_back(Entry::new(tag, batch, pieces));
    }

    /// Memory that is held.
    pub(in crate::uplink) fn bytes(&self) -> usize {
        self.queue.iter().map(|entry| entry.bytes.len() + entry.origins.bytes() + ENTRY_BYTES).sum()
    }

    pub(in crate::uplink) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(in crate::uplink) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    fn in_flight(&self) -> usize {
        self.queue.iter().filter(|entry| entry.in_flight).count()
    }

    /// When it may be sent again, if it waits for that.
    pub(in crate::uplink) fn retry_at(&self) -> Option<Instant> {
        if self.queue.is_empty() { None } else { self.retry_at }
    }

    /// Whether it can't send without another identity than `current`.
    pub(in crate::uplink) fn wants_identity(&self, current: Option<Identity>) -> bool {
        let needs = !self.queue.is_empty() && (self.renumber || self.identity.is_none());
        needs && (current.is_none() || current == self.identity)
    }

    /// Whether there is something to send to `node` now.
    pub(in crate::uplink) fn is_ready(&self, node: i32, now: Instant, current: Option<Identity>) -> bool {
        let in_flight = self.in_flight();
        !self.abandoned
            && in_flight < IN_FLIGHT_MAX.min(self.queue.len())
            && (!self.settling || in_flight == 0)
            // After a change of the leader, the old one's answers come first.
            && (in_flight == 0 || self.node == Some(node))
            && self.retry_at.is_none_or(|at| at <= now)
            && !self.wants_identity(current)
            && (self.identity.is_some() || current.is_some())
    }

    /// The next batch for `node`, its header written. Only when [`Lane::is_ready`].
    ///
    /// # Errors
    /// A text, if the batch was damaged in memory.
    pub(in crate::uplink) fn next(
        &mut self,
        node: i32,
        current: Option<Identity>,
    ) -> Result<Option<ToSend<'_>>, String> {
        if self.in_flight() == 0 {
            self.settling = false;
            self.retry_at = None;
            self.adopt(current);
        }
        let (Some(identity), Some(at)) = (self.identity, self.queue.iter().position(|entry| !entry.in_flight)) else {
            return Ok(None);
        };
        let next_sequence = &mut self.next_sequence;
        let Some(entry) = self.queue.get_mut(at) else { return Ok(None) };
        if entry.sequence.is_none() {
            let producer = Producer { id: identity.id, epoch: identity.epoch, base_sequence: *next_sequence };
            header::rewrite_for_forward(&mut entry.bytes, producer, self.transactional)
                .map_err(|error| error.to_string())?;
            entry.sequence = Some(*next_sequence);
            *next_sequence = sequence_after(*next_sequence, entry.records);
        }
        entry.in_flight = true;
        self.node = Some(node);
        Ok(Some(ToSend { tag: entry.tag, bytes: &entry.bytes }))
    }

    /// Takes a new identity, where one is needed, and numbers the queue anew.
    fn adopt(&mut self, current: Option<Identity>) {
        if (self.renumber || self.identity.is_none()) && current.is_some() && current != self.identity {
            self.identity = current;
            self.renumber = false;
            self.next_sequence = 0;
            for entry in &mut self.queue {
                entry.sequence = None;
            }
        }
    }

    /// The answer that is to be taken next names these records of the batch `tag` as those at fault.
    pub(in crate::uplink) fn blame(&mut self, tag: u64, mut blamed: Vec<u32>) {
        if let Some(entry) = self.queue.iter_mut().find(|entry| entry.tag == tag) {
            blamed.retain(|at| *at < entry.records);
            blamed.sort_unstable();
            blamed.dedup();
            entry.blamed = blamed;
        }
    }

    /// The answer to the batch `tag`. `text` is for people, if it comes to that.
    pub(in crate::uplink) fn answered(&mut self, tag: u64, verdict: Verdict, text: &str, moment: &Moment) -> Outcome {
        let Some(at) = self.queue.iter().position(|entry| entry.tag == tag) else { return Outcome::Stray };
        if self.abandoned {
            self.queue.remove(at);
            return Outcome::Stray;
        }
        if let Some(entry) = self.queue.get_mut(at) {
            entry.in_flight = false;
        }
        if verdict == Verdict::Appended {
            return self.acknowledged(at);
        }
        self.settling = true;
        match verdict {
            Verdict::Appended | Verdict::Unanswered => Outcome::Again(Again::AsItWas),
            Verdict::Retry | Verdict::RetryElsewhere => self.later(text, moment),
            // Behind one that failed this says nothing new.
            Verdict::SequenceGap if at > 0 => Outcome::Again(Again::AsItWas),
            Verdict::SequenceGap | Verdict::ProducerLost => self.new_producer(text, moment),
            Verdict::TooLarge => self.cut(at, Cause::TooLarge, text, moment),
            Verdict::BadRecord => self.bad_record(at, text, moment),
            Verdict::BadTimestamp => self.bad_timestamp(at, text, moment),
            Verdict::Refused => Outcome::Stalled(text.to_owned()),
        }
    }

    fn acknowledged(&mut self, at: usize) -> Outcome {
        self.backoff.succeed();
        self.stuck_since = None;
        self.queue.remove(at).map_or(Outcome::Stray, |entry| Outcome::Acknowledged {
            pieces: entry.pieces,
            bytes: entry.bytes.len(),
            records: entry.records,
        })
    }

    fn later(&mut self, text: &str, moment: &Moment) -> Outcome {
        if self.blocked(moment.now) {
            return Outcome::Stalled(text.to_owned());
        }
        // Several in flight that fail together are one failure.
        if self.retry_at.is_none_or(|at| at <= moment.now) {
            self.retry_at = Some(moment.now + self.backoff.fail(moment.backoff, moment.jitter));
        }
        Outcome::Again(Again::AsItWas)
    }

    /// It can't be sent at the moment (no leader, the leader out of reach). Whether that has lasted too long.
    pub(in crate::uplink) fn blocked(&mut self, now: Instant) -> bool {
        let since = *self.stuck_since.get_or_insert(now);
        now.saturating_duration_since(since) >= PATIENCE
    }

    fn new_producer(&mut self, text: &str, moment: &Moment) -> Outcome {
        if self.blocked(moment.now) {
            return Outcome::Stalled(text.to_owned());
        }
        let already = std::mem::replace(&mut self.renumber, true);
        if already { Outcome::Again(Again::AsItWas) } else { Outcome::Again(Again::NewProducer) }
    }

    /// Two batches in the place of one; what can't be cut is rejected.
    fn cut(&mut self, at: usize, cause: Cause, text: &str, moment: &Moment) -> Outcome {
        let Some(entry) = self.queue.get(at) else { return Outcome::Stray };
        match recode::halve(&entry.bytes, &entry.origins, moment.compression) {
            Ok(halves) => self.replace(at, halves.map(|half| (half, 0)).into(), moment),
            Err(SplitError::OneRecord(_)) => return self.reject(at, &|_| true, cause, text, moment),
            Err(SplitError::Damaged(error)) => return Outcome::Stalled(damaged(error)),
        }
        Outcome::Again(Again::Cut)
    }

    /// Puts batches (each with how often its timestamps were shifted) in the place of the one they were cut out of. Together
    /// they have its sequences, so those behind it keep theirs.
    fn replace(&mut self, at: usize, parts: Vec<(Recoded, u32)>, moment: &Moment) {
        let Some(whole) = self.queue.remove(at) else { return };
        let mut sequence = whole.sequence;
        let tags = std::iter::once(whole.tag).chain(moment.spare_tag..);
        let mut entries = Vec::new();
        for ((part, shifts), tag) in parts.into_iter().zip(tags) {
            let mut entry = Entry { sequence, shifts, ..Entry::new(tag, part, Vec::new()) };
            sequence = sequence.map(|sequence| sequence_after(sequence, entry.records));
            self.number(&mut entry);
            entries.push(entry);
        }
        // Parts are acknowledged in order, so the last one's acknowledgement stands for all.
        if let Some(last) = entries.last_mut() {
            last.pieces = whole.pieces;
        }
        for entry in entries.into_iter().rev() {
            self.queue.insert(at, entry);
        }
    }

    /// Takes the records that `is_bad` names out of a batch for good. What is behind them needs other sequences then, and with
    /// another producer id no batch can be taken for one that had its number before.
    fn reject(&mut self, at: usize, is_bad: &dyn Fn(u32) -> bool, cause: Cause, why: &str, moment: &Moment) -> Outcome {
        let Some(entry) = self.queue.get(at) else { return Outcome::Stray };
        let rest = match recode::filter(&entry.bytes, &entry.origins, moment.compression, |place| !is_bad(place)) {
            Ok(rest) => rest,
            Err(error) => return Outcome::Stalled(damaged(error)),
        };
        let records: Vec<_> = entry.origins.filter(is_bad).iter().collect();
        let bytes = entry.bytes.len().saturating_sub(rest.as_ref().map_or(0, |rest| rest.bytes.len()));
        let mut rejected = Rejected { records, cause, bytes, why: why.to_owned(), pieces: Vec::new() };
        self.renumber = true;
        self.stuck_since = None;
        match rest {
            Some(rest) => self.replace(at, vec![(rest, 0)], moment),
            None => {
                let pieces = self.queue.remove(at).map(|entry| entry.pieces).unwrap_or_default();
                // What is before it may be a part of the same pieces.
                match at.checked_sub(1).and_then(|before| self.queue.get_mut(before)) {
                    Some(before) => before.pieces.extend(pieces),
                    None => rejected.pieces = pieces,
                }
            }
        }
        Outcome::Rejected(rejected)
    }

    /// Upstream names the records at fault, or they are found by halves.
    fn bad_record(&mut self, at: usize, text: &str, moment: &Moment) -> Outcome {
        let blamed = self.queue.get_mut(at).map(|entry| std::mem::take(&mut entry.blamed)).unwrap_or_default();
        if blamed.is_empty() {
            return self.cut(at, Cause::Invalid, text, moment);
        }
        self.reject(at, &|place| blamed.binary_search(&place).is_ok(), Cause::Invalid, text, moment)
    }

    /// Timestamps are shifted, only those that upstream names if it does; where no shift helps, the record is found by halves.
    fn bad_timestamp(&mut self, at: usize, text: &str, moment: &Moment) -> Outcome {
        let blamed = self.queue.get_mut(at).map(|entry| std::mem::take(&mut entry.blamed)).unwrap_or_default();
        let Some(entry) = self.queue.get_mut(at) else { return Outcome::Stray };
        if let Some(by_ms) = entry.shift(moment.wall_ms, &blamed) {
            return Outcome::Again(Again::Shifted { by_ms });
        }
        if entry.shifts >= SHIFTS_MAX {
            let why = format!("{text}: no shift of the timestamps helps");
            return self.cut(at, Cause::Timestamp, &why, moment);
        }
        let runs = runs(&blamed, entry.records);
        let mut parts = Vec::new();
        for (run, is_blamed) in runs {
            match recode::filter(&entry.bytes, &entry.origins, moment.compression, |place| run.contains(&place)) {
                Ok(part) => parts.extend(part.map(|part| (part, is_blamed))),
                Err(error) => return Outcome::Stalled(damaged(error)),
            }
        }
        let mut shifted = 0;
        let mut made = Vec::new();
        for (part, is_blamed) in parts {
            let mut part = Entry::new(0, part, Vec::new());
            if is_blamed {
                shifted = part.shift(moment.wall_ms, &[]).unwrap_or(shifted);
            }
            let Entry { bytes, records, origins, shifts, .. } = part;
            made.push((Recoded { bytes, records, origins }, shifts));
        }
        self.replace(at, made, moment);
        Outcome::Again(Again::Shifted { by_ms: shifted })
    }

    /// Writes the sequence that an entry has been given.
    fn number(&self, entry: &mut Entry) {
        if let (Some(identity), Some(sequence)) = (self.identity, entry.sequence) {
            let producer = Producer { id: identity.id, epoch: identity.epoch, base_sequence: sequence };
            if header::rewrite_for_forward(&mut entry.bytes, producer, self.transactional).is_err() {
                entry.sequence = None;
            }
        }
    }

    /// Drops all batches; the pieces they carried parts of. What is in flight is waited for.
    pub(in crate::uplink) fn abandon(&mut self) -> Vec<PieceId> {
        self.abandoned = true;
        let pieces = self.queue.iter_mut().flat_map(|entry| std::mem::take(&mut entry.pieces)).collect();
        self.queue.retain_mut(|entry| {
            entry.bytes = Vec::new();
            entry.in_flight
        });
        pieces
    }
}

impl Entry {
    fn new(tag: u64, batch: Recoded, pieces: Vec<PieceId>) -> Self {
        let Recoded { bytes, records, origins } = batch;
        let (sequence, in_flight, shifts, blamed) = (None, false, 0, Vec::new());
        Self { tag, bytes, records, origins, sequence, pieces, in_flight, shifts, blamed }
    }

    /// Shifts all timestamps: to now; then further and further back, in case the clock here is ahead of the broker's. By how
    /// much; `None` if that doesn't help any more, or if only the blamed ones should be shifted.
    fn shift(&mut self, wall_ms: i64, blamed: &[u32]) -> Option<i64> {
        let runs = runs(blamed, self.records).len();
        if self.shifts >= SHIFTS_MAX || (1 < runs && runs <= RUNS_MAX) {
            return None;
        }
        let (view, _) = BatchView::parse(&self.bytes).ok()?;
        let back = match self.shifts.checked_sub(1) {
            None => 0,
            Some(doublings) => HOUR_MS << doublings,
        };
        let by_ms = wall_ms.saturating_sub(back).saturating_sub(view.max_timestamp());
        self.shifts += 1;
        if header::shift_timestamps(&mut self.bytes, by_ms).is_err() {
            self.shifts = SHIFTS_MAX;
            return None;
        }
        Some(by_ms)
    }
}

/// The places of a batch of `records`, as runs of those that are blamed and those that are not. None, if none is blamed.
fn runs(blamed: &[u32], records: u32) -> Vec<(std::ops::Range<u32>, bool)> {
    let mut runs: Vec<(std::ops::Range<u32>, bool)> = Vec::new();
    for place in 0..if blamed.is_empty() { 0 } else { records } {
        let is_blamed = blamed.binary_search(&place).is_ok();
        match runs.last_mut() {
            Some((run, same)) if *same == is_blamed => run.end = place + 1,
            _ => runs.push((place..place + 1, is_blamed)),
        }
    }
    runs
}

fn damaged(error: crate::record::BatchError) -> String {
    format!("a batch was damaged in memory: {error}")
}

const HOUR_MS: i64 = Duration::from_secs(3_600).as_millis() as i64;

/// The sequence after `records` records from `sequence` on: after `i32::MAX` comes 0.
pub(in crate::uplink) fn sequence_after(sequence: i32, records: u32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests;
