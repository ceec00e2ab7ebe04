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
use super::super::batches::recode::{self, SplitError};
use super::super::options::{IN_FLIGHT_MAX, PATIENCE};
use super::verdict::Verdict;
use crate::record::{BatchView, Compression, Producer, header};

/// Numbers a piece of a local partition; see `mirror.rs`.
pub(in crate::uplink) type PieceId = u64;

/// How often a batch's timestamps are shifted before it is given up: the last shift is some 15 years.
const SHIFTS_MAX: u32 = 18;
/// What a queued batch takes beyond its bytes, about.
const ENTRY_BYTES: usize = 160;

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
    /// For the second part of a batch that is cut.
    pub(in crate::uplink) spare_tag: u64,
}

/// What an answer led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::uplink) enum Outcome {
    /// Acknowledged: these pieces have lost a part.
    Acknowledged { pieces: Vec<PieceId>, bytes: usize, records: u32 },
    /// It will be sent again.
    Again(Again),
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

/// A batch to send.
#[derive(Debug)]
pub(in crate::uplink) struct ToSend<'a> {
    pub(in crate::uplink) tag: u64,
    pub(in crate::uplink) bytes: &'a [u8],
}

/// See the module.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Lane {
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
    sequence: Option<i32>,
    pieces: Vec<PieceId>,
    in_flight: bool,
    shifts: u32,
}

impl Lane {
    /// Appends a batch.
    pub(in crate::uplink) fn push(&mut self, tag: u64, bytes: Vec<u8>, records: u32, pieces: Vec<PieceId>) {
        self.queue.push_back(Entry { tag, bytes, records, sequence: None, pieces, in_flight: false, shifts: 0 });
    }

    /// Memory that is held.
    pub(in crate::uplink) fn bytes(&self) -> usize {
        self.queue.iter().map(|entry| entry.bytes.len() + ENTRY_BYTES).sum()
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
            header::rewrite_for_forward(&mut entry.bytes, producer, false).map_err(|error| error.to_string())?;
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
            Verdict::TooLarge => self.cut(at, moment),
            Verdict::BadTimestamp => self.shift(at, text, moment),
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

    /// Two batches in the place of one. Together they have its sequences, so those behind it keep theirs.
    fn cut(&mut self, at: usize, moment: &Moment) -> Outcome {
        let Some(entry) = self.queue.remove(at) else { return Outcome::Stray };
        match recode::halve(&entry.bytes, moment.compression) {
            Err(SplitError::OneRecord(bytes)) => {
                let text = format!(
                    "a single record takes {bytes} bytes, more than the topic upstream takes: raise its max.message.bytes"
                );
                self.queue.insert(at, entry);
                Outcome::Stalled(text)
            }
            Err(SplitError::Damaged(error)) => {
                self.queue.insert(at, entry);
                Outcome::Stalled(format!("a batch was damaged in memory: {error}"))
            }
            Ok([first, second]) => {
                let middle = entry.sequence.map(|sequence| sequence_after(sequence, first.records));
                let part = |part: recode::Recoded, tag, sequence, pieces| Entry {
                    tag,
                    records: part.records,
                    bytes: part.bytes,
                    sequence,
                    pieces,
                    in_flight: false,
                    shifts: entry.shifts,
                };
                // Parts are acknowledged in order, so the second one's acknowledgement stands for both.
                let mut first = part(first, entry.tag, entry.sequence, Vec::new());
                let mut second = part(second, moment.spare_tag, middle, entry.pieces);
                self.number(&mut first);
                self.number(&mut second);
                self.queue.insert(at, second);
                self.queue.insert(at, first);
                Outcome::Again(Again::Cut)
            }
        }
    }

    /// Writes the sequence that an entry has been given.
    fn number(&self, entry: &mut Entry) {
        if let (Some(identity), Some(sequence)) = (self.identity, entry.sequence) {
            let producer = Producer { id: identity.id, epoch: identity.epoch, base_sequence: sequence };
            if header::rewrite_for_forward(&mut entry.bytes, producer, false).is_err() {
                entry.sequence = None;
            }
        }
    }

    fn shift(&mut self, at: usize, text: &str, moment: &Moment) -> Outcome {
        let Some(entry) = self.queue.get_mut(at) else { return Outcome::Stray };
        let Ok((view, _)) = BatchView::parse(&entry.bytes) else { return Outcome::Stalled(text.to_owned()) };
        // To now; then further and further back, in case the clock here is ahead of the broker's.
        let back = match entry.shifts.checked_sub(1) {
            None => 0,
            Some(doublings) => HOUR_MS << doublings.min(SHIFTS_MAX),
        };
        let by_ms = moment.wall_ms.saturating_sub(back).saturating_sub(view.max_timestamp());
        entry.shifts += 1;
        if entry.shifts > SHIFTS_MAX || header::shift_timestamps(&mut entry.bytes, by_ms).is_err() {
            return Outcome::Stalled(format!("{text}: no shift of the timestamps helps"));
        }
        Outcome::Again(Again::Shifted { by_ms })
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

const HOUR_MS: i64 = Duration::from_secs(3_600).as_millis() as i64;

/// The sequence after `records` records from `sequence` on: after `i32::MAX` comes 0.
pub(in crate::uplink) fn sequence_after(sequence: i32, records: u32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) & i64::from(i32::MAX)) as i32
}

#[cfg(test)]
mod tests;
