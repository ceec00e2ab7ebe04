//! How an uplink finds out where it stands: what may be open is aborted, and the producer has a new epoch; then the witness; and
//! where that says nothing, the cursors. Pure.
//!
//! With the first protocol a coordinator that aborts a transaction by itself leaves no epoch to go on from (KIP-360 finds no last
//! one): it answers as if a rival were there. So an own transaction is aborted by EndTxn first, and a rival is one that the
//! witness shows.
//!
//! Invariants: nothing is concluded before the producer has its new epoch; reading goes to the high watermark that was captured
//! first, and waits where another gateway's open transaction hides what lies below it.

use std::collections::BTreeMap;

use super::committed::{Committed, Found as Record};
use super::cursor::{CURSORS, Key, Value, Witness};
use super::local::{Local, Place};
use super::question::{Ask, Heard, Role};
use super::standing::{Said, said};
use super::trouble::{Failure, Remedy};
use crate::kafka::error_code::ErrorCode;
use crate::uplink::sending::producer::Identity;

/// Most bytes that are looked through, about.
pub(super) const LOOK_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Where it is.
#[derive(Debug)]
enum At {
    /// Only looks whether a rival has done anything.
    Peek,
    /// Aborts what may be open.
    Abort,
    Producer,
    Witness,
    /// Looks at the cursors of one transaction.
    Look(Reading),
    /// Where the partition begins.
    First,
    Through(Reading),
    Looked,
}

/// Reading cursors.
#[derive(Debug)]
struct Reading {
    partition: i32,
    log: Committed,
    /// Captured first.
    end: Option<i64>,
    bytes: u64,
}

/// Records of the partition of cursors, as one answer brought them.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Chunk {
    pub(in crate::uplink) records: Vec<Record>,
    pub(in crate::uplink) log: Option<Committed>,
    pub(super) high_watermark: i64,
    pub(super) bytes: u64,
}

/// What looking through all cursors has brought.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Found {
    pub(super) cursors: BTreeMap<Key, Value>,
    pub(super) witness: Option<Witness>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Resuming {
    at: At,
    asked: bool,
    keep: Option<Identity>,
    /// The partition of this gateway's cursors; known before anything is asked.
    partition: i32,
    found: Found,
}

/// What an answer led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Further,
    Known {
        committed: bool,
    },
    Looked,
    /// The rival has done nothing.
    PlaceIsFree,
    PlaceIsTaken,
}

impl Resuming {
    pub(super) fn new(keep: Option<Identity>, partition: i32) -> Self {
        let at = if keep.is_some() { At::Abort } else { At::Producer };
        Self { at, asked: false, keep, partition, found: Found::default() }
    }

    /// Looks whether a rival has done anything, without disturbing it.
    pub(super) fn peeking(partition: i32) -> Self {
        Self { at: At::Peek, ..Self::new(None, partition) }
    }

    /// The coordinator knows no producer of that id any more.
    pub(super) fn keep_nobody(&mut self) {
        self.keep = None;
    }

    /// The partition of cursors to look through if need be, unless the witness names another.
    pub(super) fn set_partition(&mut self, partition: i32) {
        self.partition = partition;
    }

    pub(super) fn found(&mut self) -> Option<Found> {
        matches!(self.at, At::Looked).then(|| std::mem::take(&mut self.found))
    }

    /// Whose answer is awaited, if a coordinator's.
    pub(super) fn role(&self) -> Option<Role> {
        match self.at {
            At::Abort | At::Producer => Some(Role::Transactions),
            At::Peek | At::Witness => Some(Role::Group),
            _ => None,
        }
    }

    pub(super) fn next(&self) -> Option<(Ask, Option<Role>)> {
        if self.asked {
            return None;
        }
        let read = |reading: &Reading, all| Ask::Read {
            from: Place { partition: reading.partition, offset: reading.log.next },
            all,
        };
        let ask = match &self.at {
            At::Abort => Ask::End { commit: false },
            At::Producer => Ask::Producer { keep: self.keep },
            At::Peek | At::Witness => Ask::Witness,
            At::First => Ask::First { partition: self.partition },
            At::Look(reading) => read(reading, false),
            At::Through(reading) => read(reading, true),
            At::Looked => return None,
        };
        Some((ask, self.role()))
    }

    pub(super) fn asked(&mut self) {
        self.asked = true;
    }

    /// The state of the log that the next answer continues.
    pub(super) fn log(&self) -> Option<Committed> {
        match &self.at {
            At::Look(reading) | At::Through(reading) => Some(reading.log.clone()),
            _ => None,
        }
    }

    /// An answer; with the producer's identity, if it is that.
    ///
    /// # Errors
    /// The API that was asked, and why there is no answer.
    pub(super) fn heard(
        &mut self,
        heard: Heard,
        local: &Local,
    ) -> Result<(Step, Option<Identity>), (&'static str, Failure)> {
        match (&mut self.at, heard) {
            (At::Abort, Heard::End(result)) => {
                self.asked = false;
                match result {
                    Ok(next) => self.keep = next.or(self.keep),
                    Err(failure) if matches!(failure.remedy(), Remedy::Again | Remedy::Elsewhere) => {
                        return Err(("EndTxn", failure));
                    }
                    // Nothing is open, or it isn't this producer's any more: the next answer tells.
                    Err(_) => {}
                }
                self.at = At::Producer;
                Ok((Step::Further, self.keep))
            }
            (At::Producer, Heard::Producer(result)) => {
                self.asked = false;
                let identity = result.map_err(|failure| ("InitProducerId", failure))?;
                self.at = At::Witness;
                Ok((Step::Further, Some(identity)))
            }
            (At::Peek, Heard::Witness(result)) => {
                self.asked = false;
                let witness = result.map_err(|failure| ("OffsetFetch", failure))?;
                let known = matches!(said(local, witness.as_ref()), Said::Committed | Said::Aborted);
                let free = known || witness.is_none();
                Ok((if free { Step::PlaceIsFree } else { Step::PlaceIsTaken }, None))
            }
            (At::Witness, Heard::Witness(result)) => {
                self.asked = false;
                let witness = result.map_err(|failure| ("OffsetFetch", failure))?;
                Ok((self.witnessed(witness, local), None))
            }
            (At::First, Heard::First(result)) => {
                self.asked = false;
                let first = result.map_err(|failure| ("ListOffsets", failure))?;
                self.at = At::Through(Reading::new(self.partition, first));
                Ok((Step::Further, None))
            }
            (At::Look(_) | At::Through(_), Heard::Read(result)) => {
                self.asked = false;
                self.read(result, local).map(|step| (step, None))
            }
            // To a question of before.
            _ => Ok((Step::Further, None)),
        }
    }

    fn witnessed(&mut self, witness: Option<Witness>, local: &Local) -> Step {
        let says = said(local, witness.as_ref());
        if let Some(witness) = &witness {
            self.partition = witness.partition;
        }
        self.found.witness = witness;
        match says {
            Said::Committed => Step::Known { committed: true },
            Said::Aborted => Step::Known { committed: false },
            Said::LookAt(place) => {
                self.partition = place.partition;
                self.at = At::Look(Reading::new(place.partition, place.offset));
                Step::Further
            }
            Said::LookThrough => {
                self.at = At::First;
                Step::Further
            }
        }
    }

    fn read(&mut self, result: Result<Chunk, Failure>, local: &Local) -> Result<Step, (&'static str, Failure)> {
        const OUT_OF_RANGE: i16 = ErrorCode::OffsetOutOfRange.code();
        let looks = matches!(self.at, At::Look(_));
        let (At::Look(reading) | At::Through(reading)) = &mut self.at else { return Ok(Step::Further) };
        let chunk = match result {
            Ok(chunk) => chunk,
            Err(failure) if failure.code == Some(OUT_OF_RANGE) => {
                // The topic was made anew, or what was to be looked at is gone.
                self.found.cursors.clear();
                self.at = At::First;
                return Ok(Step::Further);
            }
            Err(failure) => return Err(("Fetch", failure)),
        };
        let end = *reading.end.get_or_insert(chunk.high_watermark);
        reading.bytes += chunk.bytes;
        let hidden = chunk.records.is_empty() && chunk.log.as_ref().is_none_or(|log| log.next == reading.log.next);
        if let Some(log) = chunk.log {
            reading.log = log;
        }
        if hidden && reading.log.next < end {
            return Err(("Fetch", hidden_by_others()));
        }
        let (next, bytes) = (reading.log.next, reading.bytes);
        if looks {
            return Ok(self.looked_at(&chunk.records, local));
        }
        for record in chunk.records.iter().filter(|record| !record.aborted) {
            self.found.take(record);
        }
        if bytes > LOOK_BYTES_MAX {
            self.at = At::First;
            return Err(("Fetch", too_much()));
        }
        if next >= end {
            self.at = At::Looked;
            return Ok(Step::Looked);
        }
        Ok(Step::Further)
    }

    /// The cursors of the transaction in question were to lie at one place.
    fn looked_at(&mut self, records: &[Record], local: &Local) -> Step {
        let pending = local.pending.as_ref().map(|pending| pending.mark);
        let Some(mark) = pending.or(local.last) else { return Step::Further };
        let record = records.iter().find(|record| record.offset >= mark.place.offset);
        let of = record.and_then(|record| Some((Value::decode(record.value.as_ref()?)?, record.aborted)));
        if let Some((value, aborted)) = of
            && value.transaction == mark.number
            && value.lineage == local.lineage
            && !(aborted && pending.is_none())
        {
            // No other transaction ever has that number: as it ended, so did the one in question.
            return Step::Known { committed: pending.is_some() && !aborted };
        }
        self.at = At::First;
        Step::Further
    }
}

/// Another gateway's open transaction stands before what is to be read.
fn hidden_by_others() -> Failure {
    let text = "an open transaction of another gateway stands before the positions".to_owned();
    Failure { code: Some(ErrorCode::UnstableOffsetCommit.code()), text }
}

fn too_much() -> Failure {
    let text = format!(
        "the positions are not among the first {LOOK_BYTES_MAX} bytes of the topic {CURSORS}: let it be compacted more often \
         (its segment.ms and min.cleanable.dirty.ratio)"
    );
    Failure { code: Some(ErrorCode::PolicyViolation.code()), text }
}

impl Reading {
    fn new(partition: i32, from: i64) -> Self {
        Self { partition, log: Committed::from(from), end: None, bytes: 0 }
    }
}

impl Found {
    fn take(&mut self, record: &Record) {
        let Some(key) = Key::decode(&record.key) else { return };
        match record.value.as_ref().and_then(|value| Value::decode(value)) {
            Some(value) => {
                self.cursors.insert(key, value);
            }
            None => {
                self.cursors.remove(&key);
            }
        }
    }
}
