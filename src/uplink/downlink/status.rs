//! What a downlink tells about itself.
//!
//! Invariant: fields of the status are added, never renamed: the command line reads it as JSON from gateways of any version.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::super::status::{LastError, LinkChange, LinkStatus, count, note_link, wall_ms};
use crate::metrics::METRICS;

/// What a downlink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DownlinkState {
    /// On the way to the first answer of the cluster.
    #[default]
    Connecting,
    /// There is more upstream than has come down.
    CatchingUp,
    /// All that may be read upstream is here.
    CaughtUp,
    /// Paused by an operator.
    Paused,
    /// A broker could not be reached (or used); see `last_error`.
    Backoff,
    /// A topic or partition does not come down: see `stalled`.
    Stalled,
    /// It has ended.
    Stopped,
}

/// A partition upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownlinkPartition {
    /// The topic upstream.
    pub topic: String,
    pub partition: u32,
    /// Where it comes to.
    pub local_topic: String,
    pub local_partition: u32,
    /// Next offset to bring; `None` until the beginning is found.
    pub position: Option<i64>,
    /// One past the last offset upstream, as last told.
    pub end: Option<i64>,
    /// Offsets in between; some may hold nothing to bring (markers of transactions, aborted records).
    pub lag: Option<u64>,
    /// What stands in its way, and what to do.
    pub stalled: Option<String>,
}

/// Everything a downlink counts, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownlinkCounts {
    /// Records and bytes of batches that came in.
    pub records: u64,
    pub bytes: u64,
    /// Records of aborted transactions, which did not.
    pub aborted: u64,
    /// Records that had passed this gateway before, which did not.
    pub looped: u64,
    /// Offsets that were passed over or gone back, because the log upstream was not as it had been.
    pub gaps: u64,
    /// Topics that were made again upstream, and so read from their beginning.
    pub recreated: u64,
    /// Failed attempts and lost connections.
    pub failures: u64,
}

/// A snapshot of a downlink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DownlinkStatus {
    pub name: String,
    /// `host:port` of the bootstrap brokers.
    pub bootstrap: Vec<String>,
    pub state: DownlinkState,
    /// When the cluster is tried again, Unix ms by the gateway's clock; only in `Backoff`.
    pub retry_at_ms: Option<i64>,
    /// Versions spoken with the cluster, once known.
    pub versions: Option<String>,
    pub last_error: Option<LastError>,
    /// What the link was, the latest last; at most [`crate::uplink::LINK_CHANGES_MAX`].
    pub history: Vec<LinkChange>,
    /// Topics upstream that don't come down at all, each with what is wrong.
    pub stalled: Vec<(String, String)>,
    pub partitions: Vec<DownlinkPartition>,
    /// Bytes sent and received in all connections since the process started, without headers of IP and TCP.
    pub link_sent: u64,
    pub link_received: u64,
    /// The same, and what holds it back.
    pub link: LinkStatus,
    pub counts: DownlinkCounts,
}

impl DownlinkPartition {
    /// Whether it is of this topic, and this one of it, if one is named.
    pub(super) fn is(&self, topic: &str, partition: Option<u32>) -> bool {
        self.topic == topic && partition.is_none_or(|partition| partition == self.partition)
    }

    /// Whether what lies before this offset can be passed over.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn may_skip_to(&self, to: i64) -> Result<(), String> {
        let (topic, partition) = (&self.topic, self.partition);
        match (self.position, self.end) {
            (Some(at), _) if to <= at => Err(format!("{topic}/{partition} is at {at}: nothing comes down twice")),
            (_, Some(end)) if to > end => Err(format!("{topic}/{partition} ends at {end} upstream")),
            _ => Ok(()),
        }
    }
}

impl DownlinkStatus {
    /// From now on this state.
    pub(super) fn set_state(&mut self, state: DownlinkState) {
        self.state = state;
        let link = match state {
            DownlinkState::Connecting => "connecting",
            DownlinkState::CatchingUp | DownlinkState::CaughtUp | DownlinkState::Stalled => "up",
            DownlinkState::Backoff => "down",
            DownlinkState::Paused => "paused",
            DownlinkState::Stopped => "stopped",
        };
        note_link(&mut self.history, link, self.last_error.as_ref());
    }

    /// The topics upstream that were found, each once.
    pub(super) fn topics(&self) -> Vec<&str> {
        let mut topics: Vec<&str> = self.partitions.iter().map(|one| one.topic.as_str()).collect();
        topics.dedup();
        topics
    }
}

/// What the running downlink writes and [`super::Downlink::status`] reads.
#[derive(Debug, Default)]
pub(super) struct Report {
    live: Mutex<DownlinkStatus>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    records: AtomicU64,
    bytes: AtomicU64,
    aborted: AtomicU64,
    looped: AtomicU64,
    gaps: AtomicU64,
    recreated: AtomicU64,
    failures: AtomicU64,
}

impl Report {
    /// As last written, without its counts.
    pub(super) fn live(&self) -> DownlinkStatus {
        self.lock().clone()
    }

    /// Changes what is told.
    pub(super) fn tell(&self, change: impl FnOnce(&mut DownlinkStatus)) {
        change(&mut self.lock());
    }

    pub(super) fn counts(&self) -> DownlinkCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        DownlinkCounts {
            records: get(&c.records),
            bytes: get(&c.bytes),
            aborted: get(&c.aborted),
            looped: get(&c.looped),
            gaps: get(&c.gaps),
            recreated: get(&c.recreated),
            failures: get(&c.failures),
        }
    }

    /// Records and bytes came in.
    pub(super) fn brought(&self, records: u64, bytes: u64) {
        METRICS.downlink_records.add(records);
        METRICS.downlink_bytes.add(bytes);
        count(&self.counters.records, records);
        count(&self.counters.bytes, bytes);
    }

    /// Records were left out.
    pub(super) fn left_out(&self, aborted: u64, looped: u64) {
        METRICS.downlink_looped.add(looped);
        count(&self.counters.aborted, aborted);
        count(&self.counters.looped, looped);
    }

    pub(super) fn gap(&self, offsets: u64) {
        METRICS.downlink_gaps.add(offsets);
        count(&self.counters.gaps, offsets);
    }

    pub(super) fn recreated(&self) {
        count(&self.counters.recreated, 1);
    }

    pub(super) fn failed(&self, text: String) {
        METRICS.downlink_errors.add(1);
        count(&self.counters.failures, 1);
        self.lock().last_error = Some(LastError { text, at_ms: wall_ms() });
    }

    /// A panic elsewhere can't leave it half changed.
    fn lock(&self) -> MutexGuard<'_, DownlinkStatus> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
