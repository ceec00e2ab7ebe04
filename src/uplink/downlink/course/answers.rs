//! What answers of brokers and of the store mean.

use std::time::{Duration, Instant};

use super::super::leg::{Lost, Place, Seek, Source};
use super::super::verdict;
use super::{Action, Course, IDLE_PACE, Outcome};
use crate::broker::UpstreamPosition;

impl Course {
    /// A broker has answered, or not (then why).
    pub(super) fn answered(&mut self, number: i32, failed: Option<&str>, now: Instant, jitter: f64) {
        let bounds = self.policy.bounds;
        let node = self.nodes.entry(number).or_default();
        node.busy = false;
        for topic in self.topics.values_mut() {
            topic.legs.iter_mut().filter(|leg| leg.asked == Some(number)).for_each(|leg| leg.asked = None);
        }
        let Some(why) = failed else {
            if let Some(seconds) = node.trouble.end(now) {
                let text = format!("broker {number} answers again after {seconds} s");
                self.actions.push(Action::Tell(log::Level::Info, text));
            }
            return;
        };
        if node.trouble.fail(why, now, bounds, jitter) {
            self.actions.push(Action::Tell(log::Level::Warn, format!("{why}; tried again")));
        }
        self.actions.push(Action::CountFailure(why.to_owned()));
        self.metadata.stale = true;
    }

    pub(super) fn take_fetched(
        &mut self,
        node: i32,
        told: Result<(Duration, Vec<(Source, Outcome)>), String>,
        now: Instant,
        jitter: f64,
    ) {
        self.answered(node, told.as_ref().err().map(String::as_str), now, jitter);
        let Ok((throttle, outcomes)) = told else { return };
        let is_idle = outcomes.iter().all(|(source, outcome)| self.is_nothing(source, outcome));
        let pace = self.policy.wait.min(IDLE_PACE);
        let node = self.nodes.entry(node).or_default();
        let idle_until = node.asked_at.filter(|_| is_idle).map(|at| at + pace);
        node.throttled = idle_until.into_iter().chain([now + throttle]).filter(|until| *until > now).max();
        for (source, outcome) in outcomes {
            self.take_outcome(&source, outcome, now, jitter);
        }
    }

    /// Whether an answer brings nothing new.
    fn is_nothing(&mut self, source: &Source, outcome: &Outcome) -> bool {
        let place = self.leg_mut(source).map(|leg| leg.place.clone());
        matches!(outcome, Outcome::Took { to, .. } if place == Some(Place::At(*to)))
    }

    fn take_outcome(&mut self, source: &Source, outcome: Outcome, now: Instant, jitter: f64) {
        match outcome {
            Outcome::Took { to, stored, end } => self.took(source, to, stored, end, now),
            Outcome::Refused(code) if verdict::is_out_of_range(code) => {
                let Some(leg) = self.leg_mut(source) else { return };
                if let Place::At(position) = leg.place {
                    leg.place = Place::Seek(Seek::Lost(position, Lost::AskTopic));
                    self.metadata.stale = true;
                }
            }
            Outcome::Refused(code) => {
                self.metadata.stale |= verdict::is_stale(code);
                self.leg_failed(source, &verdict::explain(code), now, jitter);
            }
            Outcome::Diverged(end) => self.diverged(source, end),
            Outcome::Fault(why) => self.leg_failed(source, &why, now, jitter),
            Outcome::Stale(why) => {
                self.leg_failed(source, &why, now, jitter);
                self.prepare_again(source);
            }
        }
    }

    fn took(&mut self, source: &Source, to: UpstreamPosition, stored: bool, end: i64, now: Instant) {
        self.turns += 1;
        let turn = self.turns;
        self.metadata.pace.succeed();
        let Some(leg) = self.leg_mut(source) else { return };
        let Place::At(before) = leg.place else { return };
        leg.end = Some(end);
        leg.place = Place::At(to);
        if before != to {
            leg.turn = turn;
        }
        let recovered = leg.trouble.end(now);
        if stored {
            leg.known = Some(to);
        } else if leg.known != Some(to) && leg.saving.is_none() {
            // Nothing but markers and what was aborted: durable some time.
            leg.saving = Some(false);
            let (from, local) = (leg.known.replace(to), leg.local);
            self.actions.push(Action::Save { source: source.clone(), local, from, to, at_once: false });
        }
        if let Some(seconds) = recovered {
            let text = format!("{}/{}: goes on after {seconds} s", source.0, source.1);
            self.actions.push(Action::Tell(log::Level::Info, text));
        }
    }

    pub(super) fn leg_failed(&mut self, source: &Source, why: &str, now: Instant, jitter: f64) {
        let bounds = self.policy.bounds;
        let Some(leg) = self.leg_mut(source) else { return };
        let told = leg.trouble.fail(why, now, bounds, jitter);
        let text = format!("{}/{}: {why}", source.0, source.1);
        if told {
            self.actions.push(Action::Tell(log::Level::Warn, format!("{text}; tried again, the others go on")));
        }
        self.actions.push(Action::CountFailure(text));
    }

    /// The local side is not as it was thought: it is looked at again.
    fn prepare_again(&mut self, source: &Source) {
        if let Some(topic) = self.topics.get_mut(&source.0) {
            topic.ready = false;
            topic.legs.iter_mut().for_each(|leg| leg.leader = None);
        }
    }

    pub(super) fn take_saved(&mut self, source: &Source, result: Result<(), String>, now: Instant, jitter: f64) {
        let Some(leg) = self.leg_mut(source) else { return };
        leg.saving = None;
        if let Err(why) = result {
            self.leg_failed(source, &why, now, jitter);
            self.prepare_again(source);
        }
    }
}
