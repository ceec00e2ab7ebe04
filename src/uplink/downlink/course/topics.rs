//! What metadata and the local side tell of topics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::leg::{Leg, Lost, Place, Seek};
use super::{Action, Course, Heard, METADATA_PACE, Prepared, Topics};
use crate::config::DownlinkFrom;
use crate::kafka::list_offsets::{EARLIEST, LATEST};

impl Course {
    pub(super) fn take_topics(&mut self, told: Result<Topics, String>, now: Instant, jitter: f64) {
        if let Some(Some(node)) = self.metadata.asked.take() {
            self.nodes.entry(node).or_default().busy = false;
        }
        let told = match told {
            Ok(told) => told,
            Err(why) => return self.metadata_failed(&why, now, jitter),
        };
        self.metadata.at = Some(now);
        self.metadata.stale = false;
        self.metadata.not_before = Some(now + self.metadata.pace.fail(METADATA_PACE, jitter));
        if let Some(seconds) = self.metadata.trouble.end(now) {
            self.actions.push(Action::Tell(log::Level::Info, format!("works again after {seconds} s")));
            self.actions.push(Action::OutageEnded(Duration::from_secs(seconds)));
        }
        for (name, told) in told {
            match told {
                Ok(heard) => self.hear(&name, heard),
                Err(why) => self.topic_failed(&name, &why, now, jitter),
            }
        }
    }

    /// A topic is there. If it is not as it was, its local side is looked at again.
    fn hear(&mut self, name: &Arc<str>, heard: Heard) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let before = topic.heard.as_ref().map(|before| (before.id, before.leaders.len()));
        let is_same = before == Some((heard.id, heard.leaders.len()));
        topic.ready &= is_same;
        for (index, leg) in topic.legs.iter_mut().enumerate() {
            // Where it may be another topic's, nothing is asked for before that is settled.
            leg.leader = if topic.ready { heard.leaders.get(index).copied().flatten() } else { None };
            if let Place::Seek(Seek::Lost(position, Lost::AskTopic)) = leg.place {
                leg.place = Place::Seek(Seek::Lost(position, Lost::AskStart));
            }
        }
        self.metadata.stale |= heard.leaders.iter().any(Option::is_none);
        topic.heard = Some(heard);
    }

    fn metadata_failed(&mut self, why: &str, now: Instant, jitter: f64) {
        self.metadata.stale = true;
        self.actions.push(Action::CountFailure(why.to_owned()));
        if self.metadata.trouble.fail(why, now, self.policy.bounds, jitter) {
            let text = format!("{why}; nothing comes down until it works again");
            self.actions.push(Action::Tell(log::Level::Warn, text));
        }
    }

    fn topic_failed(&mut self, name: &Arc<str>, why: &str, now: Instant, jitter: f64) {
        let bounds = self.policy.bounds;
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.preparing = false;
        topic.ready = false;
        // No partition is asked for: there may be none, or another topic's.
        topic.legs.iter_mut().for_each(|leg| leg.leader = None);
        topic.heard = None;
        let told = topic.trouble.fail(why, now, bounds, jitter);
        self.actions.push(Action::CountFailure(format!("{name}: {why}")));
        if told {
            let text = format!("{name}: {why}; tried again, the others go on");
            self.actions.push(Action::Tell(log::Level::Warn, text));
        }
    }

    pub(super) fn take_prepared(&mut self, name: &Arc<str>, told: Result<Prepared, String>, now: Instant, jitter: f64) {
        let prepared = match told {
            Ok(prepared) => prepared,
            Err(why) => return self.topic_failed(name, &why, now, jitter),
        };
        let from = match self.policy.from {
            DownlinkFrom::Earliest => EARLIEST,
            DownlinkFrom::Latest => LATEST,
            DownlinkFrom::Time(ms) => ms,
        };
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.preparing = false;
        // Meanwhile it may have become another one.
        let Some(heard) = topic.heard.clone().filter(|heard| heard.id == prepared.id) else { return };
        let mut before: Vec<Option<Leg>> = topic.legs.drain(..).map(Some).collect();
        for (index, (local, position)) in prepared.partitions.into_iter().enumerate() {
            let kept = before.get_mut(index).and_then(Option::take);
            let begin = Seek::Begin(if index < prepared.met as usize { from } else { EARLIEST });
            let place = position.map_or(Place::Seek(begin), Place::At);
            // What was known goes on where it was, if the store agrees.
            let mut leg = match kept {
                Some(leg) if leg.local == local && (leg.known == position || leg.is_busy()) => leg,
                Some(leg) => {
                    Leg { asked: leg.asked, trouble: leg.trouble, skip: leg.skip, ..Leg::new(place, position, local) }
                }
                None => Leg::new(place, position, local),
            };
            leg.leader = heard.leaders.get(index).copied().flatten();
            topic.legs.push(leg);
        }
        topic.ready = true;
        if let Some(seconds) = topic.trouble.end(now) {
            self.actions.push(Action::Tell(log::Level::Info, format!("{name}: goes on after {seconds} s")));
        }
    }
}
