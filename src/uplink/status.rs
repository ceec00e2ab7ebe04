//! What an uplink tells about itself.
//!
//! Invariant: fields of the status are added, never renamed: the command line reads it as JSON from gateways of any version.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::backlog::{Ages, Rates};
use super::beacon::NoticesStatus;
use crate::json;
use crate::store::PartitionId;

/// Changes of a link that are remembered.
pub const LINK_CHANGES_MAX: usize = 32;
/// Longest reason that is kept with one, characters.
const WHY_CHARS_MAX: usize = 160;

/// What an uplink is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UplinkState {
    /// On the way to the first answer of the cluster.
    #[default]
    Connecting,
    /// Records are on their way, or wait to be.
    Forwarding,
    /// All that is committed and followed is acknowledged upstream.
    CaughtUp,
    /// Paused by an operator.
    Paused,
    /// The cluster could not be reached (or used); see `retry_at_ms`.
    Backoff,
    /// What there is to forward can't be: see `stalls`.
    Stalled,
    /// Another gateway with the same id has taken its place.
    Fenced,
    /// The store and what upstream has of it differ, and `on_divergence` says that an operator decides.
    Diverged,
    /// It has ended.
    Stopped,
}

/// A partition that is not forwarded until someone changes something (or a passing trouble has passed).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StallStatus {
    pub topic: String,
    pub partition: u32,
    /// The topic upstream.
    pub upstream: String,
    /// What is wrong and what to do.
    pub why: String,
}

/// How far a local partition is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionStatus {
    pub topic: String,
    pub partition: u32,
    /// First offset not yet acknowledged upstream.
    pub position: i64,
    /// One past the last committed offset.
    pub end: i64,
    /// Records in between that are not acknowledged.
    pub lag_records: u64,
}

/// A failure, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastError {
    pub text: String,
    /// Unix ms, by the gateway's clock.
    pub at_ms: i64,
}

/// What the link came to be, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkChange {
    /// Unix ms, by the gateway's clock.
    pub at_ms: i64,
    /// `connecting` (before anything else), `up`, `down`, `paused`, `fenced`, `diverged` or `stopped`. Each try of one that is down
    /// is no change.
    pub link: String,
    /// What had failed, if it is down.
    pub why: Option<String>,
}

/// Everything an uplink counts, since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UplinkCounts {
    /// Records and bytes of batches acknowledged.
    pub records: u64,
    pub bytes: u64,
    pub batches: u64,
    /// Batches sent again, for whatever reason.
    pub resends: u64,
    /// Batches cut because the topic upstream takes smaller ones.
    pub cuts: u64,
    /// Batches whose timestamps were shifted because upstream would not take them.
    pub timestamps_shifted: u64,
    /// Producer ids that upstream had forgotten: what was in flight may have arrived twice.
    pub producers_lost: u64,
    /// Records that were evicted before they could be forwarded; the loss ledger has the details.
    pub evicted: u64,
    /// Records that upstream does not take, which are letters now; the loss ledger has the details.
    pub dead_lettered: u64,
    /// Failed attempts and lost connections.
    pub failures: u64,
}

/// What goes over the link of an uplink or a downlink, and what holds it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkStatus {
    /// Since the process started, over all connections.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Both, with headers of IP and TCP, estimated.
    pub bytes_on_wire: u64,
    /// Bytes a second that may leave (of a downlink: be brought); `None`: any.
    pub rate_limit: Option<u64>,
    pub budget: Option<BudgetStatus>,
    /// Why not all topics go on: `schedule`, `budget` or `slow-start`; `None`: all are.
    pub shut: Option<String>,
    /// Until then, Unix ms by the gateway's clock.
    pub shut_until_ms: Option<i64>,
}

/// What of the budget is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetStatus {
    /// Of this day or month, both ways, with headers.
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// When the next one begins, Unix ms by the gateway's clock.
    pub renewed_at_ms: i64,
}

/// A snapshot of an uplink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UplinkStatus {
    pub name: String,
    /// `host:port` of the bootstrap brokers.
    pub bootstrap: Vec<String>,
    pub state: UplinkState,
    /// Since when it is in that state, Unix ms by the gateway's clock.
    pub since_ms: Option<i64>,
    /// When the cluster is tried again, Unix ms by the gateway's clock; only in `Backoff`.
    pub retry_at_ms: Option<i64>,
    /// Versions spoken with the cluster, once known.
    pub versions: Option<String>,
    pub last_error: Option<LastError>,
    /// What the link was, the latest last; at most [`LINK_CHANGES_MAX`].
    pub history: Vec<LinkChange>,
    pub stalls: Vec<StallStatus>,
    pub partitions: Vec<PartitionStatus>,
    /// Records not acknowledged upstream, over all partitions.
    pub lag_records: u64,
    /// Their bytes, estimated by what was forwarded so far; `None` before anything was.
    pub lag_bytes_estimate: Option<u64>,
    /// Bytes that they take in the store.
    pub lag_bytes: u64,
    /// Timestamp of the oldest record that is not acknowledged upstream, Unix ms; `None` if there is none (or it can't be read).
    pub oldest_unforwarded_ms: Option<i64>,
    /// Records a minute of the last minute: committed here, and acknowledged upstream; and bytes of the latter's batches.
    pub committed_a_minute: u64,
    pub forwarded_a_minute: u64,
    pub forwarded_bytes_a_minute: u64,
    /// In how many seconds all will be forwarded at these rates; `None`: never.
    pub drain_s: Option<u64>,
    /// In how many seconds what waits fills the store at these rates; `None`: never.
    pub full_s: Option<u64>,
    pub counts: UplinkCounts,
    pub link: LinkStatus,
    /// What the centre was told of this gateway (`uplink.X.status`).
    pub notices: NoticesStatus,
}

impl UplinkStatus {
    /// On one line.
    pub fn to_json(&self) -> String {
        json::to_string(self)
    }
}

/// What the running uplink writes and [`super::Uplink::status`] reads.
#[derive(Debug, Default)]
pub(super) struct Report {
    live: Mutex<Live>,
    /// What looks at the status leave for the next one.
    history: Mutex<History>,
    counters: Counters,
}

/// What is remembered from look to look.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) ages: Ages,
    pub(super) rates: Rates,
}

/// The part of the status that only the running uplink knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub(super) state: UplinkState,
    pub(super) since_ms: Option<i64>,
    pub(super) retry_at_ms: Option<i64>,
    pub(super) versions: Option<String>,
    pub(super) last_error: Option<LastError>,
    pub(super) history: Vec<LinkChange>,
    pub(super) stalls: BTreeMap<PartitionId, StallStatus>,
    /// Timestamp of the oldest record under way.
    pub(super) under_way_ms: Option<i64>,
    pub(super) link: LinkStatus,
    pub(super) notices: NoticesStatus,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) resends: AtomicU64,
    pub(super) cuts: AtomicU64,
    pub(super) timestamps_shifted: AtomicU64,
    pub(super) producers_lost: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    pub(super) failures: AtomicU64,
}

/// Adds to one of the [`Counters`].
pub(super) fn count(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Live {
    /// From now on this state.
    pub(super) fn set_state(&mut self, state: UplinkState) {
        if self.state != state || self.since_ms.is_none() {
            self.since_ms = Some(wall_ms());
        }
        self.state = state;
        let link = match state {
            UplinkState::Connecting => "connecting",
            UplinkState::Forwarding | UplinkState::CaughtUp | UplinkState::Stalled => "up",
            UplinkState::Backoff => "down",
            UplinkState::Paused => "paused",
            UplinkState::Fenced => "fenced",
            UplinkState::Diverged => "diverged",
            UplinkState::Stopped => "stopped",
        };
        note_link(&mut self.history, link, self.last_error.as_ref());
    }
}

/// Remembers what a link is now, if it was not so before; the error, if it is down. A try of a link that is down is no change, unless it is
/// the first of all.
pub(super) fn note_link(history: &mut Vec<LinkChange>, link: &str, error: Option<&LastError>) {
    if history.last().is_some_and(|last| last.link == link || link == "connecting") {
        return;
    }
    let why = error.filter(|_| link == "down").map(|error| error.text.chars().take(WHY_CHARS_MAX).collect());
    if history.len() >= LINK_CHANGES_MAX {
        history.remove(0);
    }
    history.push(LinkChange { at_ms: wall_ms(), link: link.to_owned(), why });
}

impl Report {
    /// A panic elsewhere can't leave it half changed.
    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn counts(&self) -> UplinkCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let c = &self.counters;
        UplinkCounts {
            records: get(&c.records),
            bytes: get(&c.bytes),
            batches: get(&c.batches),
            resends: get(&c.resends),
            cuts: get(&c.cuts),
            timestamps_shifted: get(&c.timestamps_shifted),
            producers_lost: get(&c.producers_lost),
            evicted: get(&c.evicted),
            dead_lettered: get(&c.dead_lettered),
            failures: get(&c.failures),
        }
    }

    pub(super) fn failed(&self, text: String) {
        count(&self.counters.failures, 1);
        self.live().last_error = Some(LastError { text, at_ms: wall_ms() });
    }
}

/// Unix ms by the machine's clock, believed or not.
pub(super) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_links_history_is_of_what_matters_and_bounded() {
        let mut live =
            Live { last_error: Some(LastError { text: "no route".repeat(100), at_ms: 0 }), ..Live::default() };
        let words = |live: &Live| live.history.iter().map(|change| change.link.clone()).collect::<Vec<_>>();
        use UplinkState::{Backoff, CaughtUp, Connecting, Forwarding, Paused, Stalled};
        for state in
            [Connecting, Forwarding, CaughtUp, Stalled, Backoff, Connecting, Backoff, Connecting, CaughtUp, Paused]
        {
            live.set_state(state);
        }
        assert_eq!(words(&live), ["connecting", "up", "down", "up", "paused"]);
        assert!(
            live.history[2].why.as_ref().is_some_and(|why| why.len() == WHY_CHARS_MAX) && live.history[3].why.is_none()
        );
        for _ in 0..LINK_CHANGES_MAX {
            live.set_state(Backoff);
            live.set_state(Forwarding);
        }
        assert_eq!(live.history.len(), LINK_CHANGES_MAX);
    }
}
