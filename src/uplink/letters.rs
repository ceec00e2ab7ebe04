//! Records that upstream refuses for what they are: they become letters, with the position that passes them.
//!
//! Invariants: only what is known of a record itself makes it a letter, never what an operator can change; and a limit by which
//! that is decided was asked for a moment ago.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::batches::gather::Takes;
use super::options::{LETTERS_MAX, LETTERS_TOLD_EVERY, LIMITS_AGE_MAX};
use super::parts::Upstream;
use super::sending::producer::{LaneId, Rejected};
use super::status::count;
use super::task::Forwarder;
use crate::broker::dead_letter::{Cause, Letter};

/// When letters were last told of in the log, and how many have come since.
#[derive(Debug, Default)]
pub(super) struct LettersTold {
    at: Option<Instant>,
    untold: u64,
}

impl Upstream {
    /// What the topic takes.
    pub(super) fn takes(&self) -> Takes {
        let policy = self.limits.cleanup_policy.as_deref().unwrap_or_default();
        Takes {
            bytes_max: self.limits.max_message_bytes,
            told: self.limits.told,
            keyed_only: policy.split(',').any(|part| part.trim() == "compact"),
        }
    }
}

impl Forwarder {
    /// What a topic upstream takes, if that is known.
    pub(super) fn takes(&self, upstream: &str) -> Option<Takes> {
        self.upstreams.get(upstream).map(Upstream::takes)
    }

    /// So many that they are to be saved before more is read.
    pub(super) fn has_many_letters(&self) -> bool {
        self.mirror.letters() >= LETTERS_MAX
    }

    /// Asks again what the topics take by whose limits these letters came about, unless that was lately. Whether any takes
    /// something else now.
    pub(super) async fn renew_limits(&mut self, letters: &[Letter]) -> bool {
        let by_limit = letters.iter().filter(|letter| matches!(letter.cause, Cause::TooLarge | Cause::NoKey));
        let names: BTreeSet<&str> = by_limit.map(|letter| letter.upstream.as_str()).collect();
        let is_old = |upstream: &Upstream| upstream.limits_at.elapsed() > LIMITS_AGE_MAX;
        let old = self.upstreams.iter().filter(|(name, upstream)| names.contains(&***name) && is_old(upstream));
        let old: Vec<Arc<str>> = old.map(|(name, _)| Arc::clone(name)).collect();
        if old.is_empty() {
            return false;
        }
        self.ask_limits(&old).await
    }

    /// Asks what topics take. Whether any takes something else now.
    pub(super) async fn ask_limits(&mut self, topics: &[Arc<str>]) -> bool {
        // What was told before is the best that is known if the cluster can't be asked.
        let limits = match self.tier {
            Some(_) => self.limits_above(topics).await,
            None => self.cluster.limits(topics).await,
        };
        let Ok(limits) = limits else { return false };
        let mut changed = false;
        for (name, limits) in topics.iter().zip(limits) {
            if let Some(upstream) = self.upstreams.get_mut(name) {
                changed |= upstream.limits != limits;
                upstream.limits = limits;
                upstream.limits_at = Instant::now();
            }
        }
        if changed {
            self.tell_door(false);
        }
        changed
    }

    /// Upstream has refused records for good.
    pub(super) fn rejected(&mut self, lane: &LaneId, rejected: Rejected) {
        let Rejected { records, cause, bytes, why, pieces } = rejected;
        self.failed(format!("{}/{}: {why}", lane.0, lane.1));
        let bytes = bytes as u64 / records.len().max(1) as u64;
        for (partition, offset) in records {
            let (upstream, error) = (lane.0.to_string(), why.clone());
            self.mirror.condemn(Letter { partition, offset, bytes, upstream, cause, error });
        }
        self.metadata.backoff.succeed();
        if self.exactly.is_some() {
            // Sequences went by it: the transaction is made again without these records.
            self.fail_transaction(&format!("{}/{}: records of it are refused", lane.0, lane.1));
            return;
        }
        for partition in self.mirror.acknowledged(&pieces) {
            self.publish(partition);
        }
    }

    /// These letters are durable.
    pub(super) fn letters_saved(&mut self, letters: &[Letter]) {
        let Some(first) = letters.first() else { return };
        count(&self.report.counters().dead_lettered, letters.len() as u64);
        if self.mirror.letters() > 0 {
            // The others wait for no date.
            self.save_not_before = None;
        }
        let told = &mut self.letters_told;
        told.untold += letters.len() as u64;
        if told.at.is_some_and(|at| at.elapsed() < LETTERS_TOLD_EVERY) {
            return;
        }
        let records = std::mem::take(&mut told.untold);
        told.at = Some(Instant::now());
        let (name, why) = (&self.options.name, &first.error);
        let place = self.mirror.get(first.partition).map(|of| format!("{}/{}", of.names.topic, of.names.index));
        log::error!(
            "uplink {name}: {records} records are undeliverable and kept in brooklet.dead-letter, the last from {} \
             offset {}: {why}; see `brooklet dead-letter list`",
            place.unwrap_or_default(),
            first.offset
        );
    }
}
