//! Store-and-forward to a Kafka cluster, or to another gateway: each `[uplink.NAME]` is one [`Uplink`].
//!
//! | file | what it is |
//! |---|---|
//! | `options`, `naming` | what is forwarded, and where to |
//! | `mirror`, `scans` | what is done, what is under way, where to read on (pure) |
//! | `batches/` | stored batches to batches for upstream, and where each record goes (pure) |
//! | `sending/` | sequences, retries, what an error code means (pure) |
//! | `exactly/` | transactions: positions move with the records, or not at all |
//! | `backoff` | waits, and when to log (pure) |
//! | `gentle/` | what of the link may be used, and when (pure) |
//! | `link/` | the Kafka client |
//! | `tier/` | another gateway as upstream, in place of a cluster |
//! | `beacon/` | what the centre is told of this gateway, beside its records |
//! | `letters` | records that upstream refuses for what they are |
//! | `door` | what topics upstream take, so that the broker refuses what is larger |
//! | `task`, `parts`, `upkeep`, `forward`, `dispatch`, `pacing` | the loop that joins them |
//! | `running` | a handle to it |
//! | `status`, `state`, `backlog`, `check`, `rights`, `fleet` | for people |
//!
//! Invariants: nothing is forwarded that is not committed here; a position never includes what upstream has not acknowledged
//! (with all replicas in sync); a damaged batch is never given a new checksum; whatever the backlog, memory is bounded by
//! `options::WINDOW_BYTES_MAX` plus one scan, a quarter of that.

mod backlog;
mod backoff;
mod batches;
mod beacon;
mod check;
mod dispatch;
mod distrust;
mod door;
mod downlink;
mod exactly;
mod fleet;
mod forward;
mod gentle;
mod letters;
mod link;
mod mirror;
mod naming;
mod options;
mod pacing;
mod parts;
mod rights;
mod running;
mod scans;
mod sending;
mod state;
mod status;
mod task;
mod tier;
mod upkeep;

use std::sync::Arc;

pub use beacon::{About, Notice, NoticeFault, NoticesStatus};
pub use check::{Finding, Severity, check};
pub use downlink::{
    Downlink, DownlinkCounts, DownlinkOptions, DownlinkPartition, DownlinkState, DownlinkStatus, SkipTo, check_downlink,
};
pub use fleet::{Fleet, FleetGateway, read_fleet};
pub use options::UplinkOptions;
pub use status::{
    BudgetStatus, LINK_CHANGES_MAX, LastError, LinkChange, LinkStatus, PartitionStatus, StallStatus, UplinkCounts,
    UplinkState, UplinkStatus,
};

use crate::broker::Broker;
use crate::executor::Executor;
use backlog::{Backlog, Sample};
use running::{Control, Running};
use status::Report;

/// A running uplink. Dropping it ends it at once; [`Uplink::stop`] ends it cleanly.
#[derive(Debug)]
pub struct Uplink {
    broker: Broker,
    options: Arc<UplinkOptions>,
    report: Arc<Report>,
    running: Running,
}

impl Uplink {
    /// Starts forwarding in the background, on `executor`. Never fails: an unreachable cluster is the normal case
    /// at the edge.
    pub fn spawn(executor: &Arc<Executor>, broker: Broker, options: UplinkOptions) -> Self {
        Self::spawn_after(executor, broker, options, None)
    }

    /// As [`Uplink::spawn`]; in the place of one of the same name that has ended, if there was one: it counts on from there, and is paused if
    /// that one was.
    pub fn spawn_after(
        executor: &Arc<Executor>,
        broker: Broker,
        options: UplinkOptions,
        before: Option<&Self>,
    ) -> Self {
        let options = Arc::new(options);
        let control = Arc::<Control>::default();
        if before.is_some_and(|before| before.running.is_paused()) {
            control.set_paused(true);
        }
        let report = before.map(|before| Arc::clone(&before.report)).unwrap_or_default();
        if !options.config.refuse_too_large {
            broker.forget_upstream_limits(&options.name);
        }
        // At once, not when the task comes to it: from now on, what is not forwarded is protected.
        broker.add_follower(&options.name, naming::follows(&options));
        let forwarder = task::Forwarder::new(
            Arc::clone(executor),
            broker.clone(),
            Arc::clone(&options),
            Arc::clone(&control),
            Arc::clone(&report),
        );
        let running = Running::spawn(executor, control, forwarder.run());
        Self { broker, options, report, running }
    }

    /// The uplink's name, as configured.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What it was told.
    pub fn options(&self) -> &UplinkOptions {
        &self.options
    }

    /// Stops reading and sending until [`Uplink::resume`]. What is in flight is still acknowledged. Not remembered over a restart.
    pub fn pause(&self) {
        self.running.set_paused(true);
    }

    /// Ends [`Uplink::pause`]. One that is fenced, or waits because its store has diverged, tries again.
    pub fn resume(&self) {
        self.running.set_paused(false);
    }

    /// Tells it to end, without waiting.
    pub fn begin_stop(&self) {
        self.running.begin_stop();
    }

    /// Ends it cleanly, within 2 s: waits for acknowledgements under way, and makes the positions durable.
    pub async fn stop(&self) {
        self.running.stop().await;
    }

    /// How it is doing. May read a few batches from the store.
    ///
    /// What it has counted is no older than its positions: whoever sees that nothing waits any more finds everything in the counts.
    pub fn status(&self) -> UplinkStatus {
        let follows = naming::follows(&self.options);
        let topics: Vec<_> = self.broker.topics().into_iter().filter(|topic| follows(topic)).collect();
        let mut history = self.report.history();
        let backlog = Backlog::look(&self.broker, &self.options.name, &topics, &mut history.ages);
        // Records are counted before positions pass them: so in this order.
        let counts = self.report.counts();
        let live = self.report.live().clone();
        let store = self.broker.store();
        let rate = history.rates.up_to(Sample {
            ms: store.now().mono_ms,
            committed: backlog.committed,
            forwarded: counts.records,
            forwarded_bytes: counts.bytes,
        });
        drop(history);
        let room = store.status().max_bytes.saturating_sub(backlog.bytes);
        let per_record = (counts.records > 0).then(|| counts.bytes as f64 / counts.records as f64);
        let a_minute = |a_second: f64| (a_second * 60.0).round() as u64;
        UplinkStatus {
            name: self.options.name.clone(),
            bootstrap: self.options.config.bootstrap.iter().map(ToString::to_string).collect(),
            state: live.state,
            since_ms: live.since_ms,
            retry_at_ms: live.retry_at_ms,
            versions: live.versions,
            last_error: live.last_error,
            history: live.history,
            stalls: live.stalls.into_values().collect(),
            partitions: backlog.partitions,
            lag_records: backlog.records,
            lag_bytes_estimate: per_record.map(|bytes| (bytes * backlog.records as f64) as u64),
            lag_bytes: backlog.bytes,
            oldest_unforwarded_ms: backlog.oldest_ms.or(live.under_way_ms),
            committed_a_minute: a_minute(rate.committed),
            forwarded_a_minute: a_minute(rate.forwarded),
            forwarded_bytes_a_minute: a_minute(rate.forwarded_bytes),
            drain_s: backlog::drain_s(backlog.records, rate),
            full_s: backlog::full_s(room, backlog.record_bytes, rate),
            counts,
            link: live.link,
            notices: live.notices,
        }
    }
}
