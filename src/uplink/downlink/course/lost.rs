//! Where a partition begins, and where it goes on when its position is not upstream any more, or an operator says so. What that
//! costs is told and counted; with `out_of_range = "stop"` nothing is passed over.

use std::sync::Arc;
use std::time::Instant;

use super::super::leg::{Leg, Lost, Place, Seek, SkipTo, Source};
use super::super::verdict;
use super::{Action, Course, Offsets};
use crate::broker::UpstreamPosition;
use crate::config::OutOfRange;
use crate::kafka::list_offsets::LATEST;

/// Why offsets are never brought.
const GONE: &str = "gone upstream or passed over (out_of_range)";

impl Course {
    pub(super) fn take_listed(&mut self, node: i32, told: Result<Offsets, String>, now: Instant, jitter: f64) {
        self.answered(node, told.as_ref().err().map(String::as_str), now, jitter);
        for (source, offset) in told.unwrap_or_default() {
            match offset {
                Ok(offset) => self.found(&source, offset, now),
                Err(code) => {
                    self.metadata.stale |= verdict::is_stale(code);
                    self.leg_failed(&source, &verdict::explain(code), now, jitter);
                }
            }
        }
    }

    /// An offset that was asked for; −1 is none.
    fn found(&mut self, source: &Source, offset: i64, now: Instant) {
        let policy = self.policy.out_of_range;
        let Some(leg) = self.leg_mut(source) else { return };
        let Place::Seek(seek) = leg.place else { return };
        leg.trouble.end(now);
        match seek {
            // Nothing is as late as that: with what is to come, then.
            Seek::Begin(_) if offset < 0 => leg.place = Place::Seek(Seek::Begin(LATEST)),
            Seek::Begin(_) => self.go_on_at(source, offset),
            Seek::Lost(position, Lost::AskTopic | Lost::AskStart) if position.next_offset >= offset => {
                leg.place = Place::Seek(Seek::Lost(position, Lost::AskEnd));
            }
            Seek::Lost(position, Lost::AskTopic | Lost::AskStart) => match policy {
                OutOfRange::Earliest => self.pass_over(source, position, offset, GONE),
                OutOfRange::Latest => leg.place = Place::Seek(Seek::Lost(position, Lost::SkipToEnd)),
                OutOfRange::Stop => {
                    let gone = offset.abs_diff(position.next_offset);
                    self.stop(source, &format!("{gone} offsets from {} on are gone upstream", position.next_offset));
                }
            },
            Seek::Lost(position, Lost::SkipToEnd) => self.pass_over(source, position, offset, GONE),
            Seek::Lost(position, Lost::AskEnd) if position.next_offset > offset => self.cut(source, position, offset),
            // It is there after all: only the epoch was not known.
            Seek::Lost(position, Lost::AskEnd) => {
                leg.place = Place::At(UpstreamPosition { leader_epoch: -1, ..position });
            }
        }
    }

    /// The log upstream and what was brought part at `end`.
    pub(super) fn diverged(&mut self, source: &Source, end: i64) {
        let Some(leg) = self.leg_mut(source) else { return };
        let Place::At(position) = leg.place else { return };
        if end >= position.next_offset || end < 0 {
            // Only the epoch has another name now.
            leg.place = Place::At(UpstreamPosition { leader_epoch: -1, ..position });
        } else {
            self.cut(source, position, end);
        }
    }

    /// Carries out what operators have said, where nothing is on the way.
    pub(super) fn skip_on(&mut self, now: Instant) {
        let wanted = |(name, index, leg): (&Arc<str>, i32, &Leg)| {
            let to = leg.skip.filter(|_| !leg.is_busy() && leg.saving.is_none())?;
            Some(((Arc::clone(name), index), to))
        };
        let wanted: Vec<(Source, SkipTo)> = self.legs().filter_map(wanted).collect();
        for (source, to) in wanted {
            self.skip(&source, to, now);
        }
    }

    fn skip(&mut self, source: &Source, to: SkipTo, now: Instant) {
        let Some(leg) = self.leg_mut(source) else { return };
        leg.skip = None;
        leg.trouble.end(now);
        let position = leg.position();
        match (to, position) {
            (SkipTo::Latest, None) => leg.place = Place::Seek(Seek::Begin(LATEST)),
            (SkipTo::Latest, Some(position)) => leg.place = Place::Seek(Seek::Lost(position, Lost::SkipToEnd)),
            (SkipTo::Offset(to), None) => self.go_on_at(source, to),
            (SkipTo::Offset(to), Some(position)) if to > position.next_offset => {
                self.pass_over(source, position, to, "passed over by an operator's word");
            }
            // It has come further since.
            (SkipTo::Offset(_), Some(_)) => {}
        }
    }

    /// Goes on at `to`, for this reason; what lies before is never brought.
    fn pass_over(&mut self, source: &Source, position: UpstreamPosition, to: i64, why: &str) {
        let gap = to.abs_diff(position.next_offset);
        let text = format!(
            "{}/{}: {gap} offsets from {} on are {why}; goes on at {to}",
            source.0, source.1, position.next_offset
        );
        self.actions.push(Action::Tell(log::Level::Warn, text));
        self.actions.push(Action::CountGap(gap));
        self.go_on_at(source, to);
    }

    /// The log upstream ends before the position: it lost what was brought already. What comes there now is new.
    fn cut(&mut self, source: &Source, position: UpstreamPosition, end: i64) {
        let gap = position.next_offset.abs_diff(end);
        let what = format!("the log upstream lost {gap} offsets from {end} on that had been brought");
        if self.policy.out_of_range == OutOfRange::Stop {
            return self.stop(source, &what);
        }
        let text = format!("{}/{}: {what}; goes on at {end}", source.0, source.1);
        self.actions.push(Action::Tell(log::Level::Warn, text));
        self.actions.push(Action::CountGap(gap));
        self.go_on_at(source, end);
    }

    fn stop(&mut self, source: &Source, what: &str) {
        let why = format!(
            "{what}; out_of_range = \"stop\": set it to \"earliest\" or \"latest\" to go on, or `brooklet downlink skip`"
        );
        let text = format!("{}/{}: {why}", source.0, source.1);
        self.actions.push(Action::Tell(log::Level::Error, text.clone()));
        self.actions.push(Action::CountFailure(text));
        if let Some(leg) = self.leg_mut(source) {
            leg.place = Place::Stopped(why.into());
        }
    }

    /// Reads on at `offset`, once that is durable.
    fn go_on_at(&mut self, source: &Source, offset: i64) {
        let heard = self.topics.get(&source.0).and_then(|topic| topic.heard.as_ref());
        let topic_id = heard.map_or([0; 16], |heard| heard.id);
        let to = UpstreamPosition { topic_id, next_offset: offset, leader_epoch: -1 };
        let Some(leg) = self.leg_mut(source) else { return };
        leg.place = Place::At(to);
        leg.saving = Some(true);
        let (from, local) = (leg.known.replace(to), leg.local);
        self.actions.push(Action::Save { source: source.clone(), local, from, to, at_once: true });
    }
}
