//! What the topics upstream take, told to the broker, so that a record too large for them is refused when it comes.
//!
//! What was learned is kept over restarts, as a gateway may start without its link. Where a refusal shows that a limit matters,
//! upstream is asked whether it still holds.
//!
//! Row: version 1, then (local topic, topic upstream, bytes) of each, as postcard has it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::options::SAVE_WITHIN;
use super::parts::Event;
use super::task::Forwarder;
use crate::broker::{Broker, CommitError, UpstreamLimit};

/// Under this name the broker keeps what was learned.
const NOTE: &str = "limits";
const VERSION: u8 = 1;
/// Bytes of the row; the smallest limits are kept if there are more.
const NOTE_BYTES_MAX: usize = 256 * 1024;
/// While records are refused, limits are asked for this often at most.
const RENEW_EVERY: Duration = Duration::from_secs(10);

/// By local topic: the topic upstream, and the largest batch it takes.
type Known = BTreeMap<Arc<str>, (Arc<str>, usize)>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Door {
    known: Known,
    is_saved: bool,
    saving: bool,
    /// A refusal was told of and not taken up yet.
    refused: Arc<AtomicBool>,
    /// Topics upstream whose limits are to be asked for again.
    renew: BTreeSet<Arc<str>>,
    not_before: Option<Instant>,
}

impl Door {
    /// With what was learned before the start.
    pub(super) fn restore(broker: &Broker, name: &str) -> Self {
        let known = broker.follower_note(name, NOTE).and_then(|row| decode(&row)).unwrap_or_default();
        Self { known, is_saved: true, ..Self::default() }
    }

    /// When limits are to be asked for again.
    pub(super) fn next_time(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.renew.is_empty())
    }
}

impl Forwarder {
    /// Tells the broker what is known of the topics upstream. Cheap if that is what it was told before.
    pub(super) fn tell_door(&mut self, at_start: bool) {
        if !self.options.config.refuse_too_large {
            return;
        }
        let mut known = Known::new();
        for (_, followed) in self.mirror.partitions() {
            let (local, upstream) = (&followed.names.topic, &followed.names.upstream);
            if known.contains_key(local) {
                continue;
            }
            let bytes = match self.upstreams.get(upstream) {
                Some(told) => told.limits.told.then_some(told.limits.max_message_bytes),
                // Not asked yet: what it told before the start.
                None => self.door.known.get(local).filter(|(before, _)| before == upstream).map(|(_, bytes)| *bytes),
            };
            if let Some(bytes) = bytes {
                known.insert(Arc::clone(local), (Arc::clone(upstream), bytes));
            }
        }
        if known == self.door.known && !at_start {
            return;
        }
        self.door.is_saved &= known == self.door.known;
        self.door.known = known;
        let (compression, around) = (self.options.compression(), self.provenance.around());
        let limit = |(local, (upstream, bytes_max)): (&Arc<str>, &(Arc<str>, usize))| {
            let (upstream, bytes_max) = (Arc::clone(upstream), *bytes_max);
            let [around_native, around_client] = around;
            (local.to_string(), UpstreamLimit { upstream, bytes_max, compression, around_native, around_client })
        };
        let limits = self.door.known.iter().map(limit).collect();
        let (sender, refused) = (self.sender.clone(), Arc::clone(&self.door.refused));
        let on_refused = Arc::new(move |topic: &str| {
            // One event at a time, however many are refused.
            if !refused.swap(true, Ordering::Relaxed) {
                let _ = sender.try_send(Event::Refused(topic.to_owned()));
            }
        });
        self.broker.set_upstream_limits(&self.options.name, limits, on_refused);
        self.save_door();
    }

    /// A record for this topic was refused.
    pub(super) fn refused(&mut self, topic: &str) {
        self.door.refused.store(false, Ordering::Relaxed);
        if let Some((upstream, _)) = self.door.known.get(topic) {
            self.door.renew.insert(Arc::clone(upstream));
            self.busy = true;
        }
    }

    /// Asks again what topics take for which records were refused, if it is time.
    pub(super) async fn renew_door(&mut self) {
        if self.door.renew.is_empty() || self.door.not_before.is_some_and(|at| at > Instant::now()) {
            return;
        }
        self.door.not_before = Some(Instant::now() + RENEW_EVERY);
        let topics: Vec<Arc<str>> = std::mem::take(&mut self.door.renew).into_iter().collect();
        self.ask_limits(&topics).await;
    }

    /// The row was saved, or not.
    pub(super) fn door_saved(&mut self, result: Result<(), CommitError>) {
        self.door.saving = false;
        match result {
            Ok(()) => self.save_door(),
            // With the next change it is tried again.
            Err(error) => {
                self.door.is_saved = false;
                self.failed(format!("what topics upstream take was not saved: {error}"));
            }
        }
    }

    /// Makes durable what was learned, if that has changed.
    fn save_door(&mut self) {
        if self.door.saving || self.door.is_saved {
            return;
        }
        (self.door.saving, self.door.is_saved) = (true, true);
        let row = encode(&self.door.known);
        let (broker, name, sender) = (self.broker.clone(), self.options.name.clone(), self.sender.clone());
        let saved = async move {
            let result = broker.save_follower_note(&name, NOTE, row, SAVE_WITHIN).await;
            let _ = sender.send(Event::LimitsSaved(result)).await;
        };
        self.executor.spawn(saved).detach();
    }
}

fn encode(known: &Known) -> Vec<u8> {
    let mut rows: Vec<(&str, &str, usize)> =
        known.iter().map(|(local, (upstream, bytes))| (&**local, &**upstream, *bytes)).collect();
    rows.sort_by_key(|(_, _, bytes)| *bytes);
    let mut size = 0;
    rows.retain(|(local, upstream, _)| {
        const AROUND: usize = 16;
        size += local.len() + upstream.len() + AROUND;
        size <= NOTE_BYTES_MAX
    });
    postcard::to_extend(&rows, vec![VERSION]).unwrap_or_default()
}

/// `None`, if another version wrote it.
fn decode(row: &[u8]) -> Option<Known> {
    let (version, rest) = row.split_first()?;
    let rows: Vec<(String, String, usize)> = postcard::from_bytes(rest).ok().filter(|_| *version == VERSION)?;
    Some(rows.into_iter().map(|(local, upstream, bytes)| (local.into(), (upstream.into(), bytes))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learned_is_read_as_it_was_written_and_the_tightest_stays() {
        let known = |count: usize| -> Known {
            (0..count).map(|at| (format!("topic-{at}").into(), (format!("up.topic-{at}").into(), 1_000 + at))).collect()
        };
        assert_eq!(decode(&encode(&known(3))), Some(known(3)));
        let many = encode(&known(20_000));
        assert!(many.len() <= NOTE_BYTES_MAX);
        let kept = decode(&many).unwrap();
        assert!(kept.len() > 3_000 && kept.contains_key("topic-0") && !kept.contains_key("topic-19999"));
        for bad in [&b""[..], b"\x02", b"\x01\xff\xff\xff\xff\xff"] {
            assert_eq!(decode(bad), None);
        }
    }
}
