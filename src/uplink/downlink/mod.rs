//! Topics of a Kafka cluster brought down into local ones, exactly once: each `[downlink.NAME]` is one [`Downlink`].
//!
//! | file | what it is |
//! |---|---|
//! | `course`, `leg` | what to do next: whom to ask for what, where a position is lost, what waits (pure) |
//! | `digest` | what a broker's answer brings, as batches for the store (pure) |
//! | `verdict` | what an error code means (pure) |
//! | `exchange` | one question to one broker, and what came of it laid into the store |
//! | `local` | the local side of a topic |
//! | `task` | the loop that joins them |
//! | `status`, `check` | for people |
//!
//! Invariants: records and the upstream position behind them are one commit of the store, which moves only from the position
//! it was read at; so nothing comes twice, whatever breaks when. Nothing of an open or aborted transaction comes down. What is
//! passed over (gone upstream, this gateway's own, or by an operator's word) is counted and told. Memory is bounded by
//! `fetch.max_bytes`, or one batch, a broker.

mod check;
mod course;
mod digest;
mod exchange;
mod leg;
mod local;
mod status;
mod task;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

pub use check::check_downlink;
pub use leg::SkipTo;
pub use status::{DownlinkCounts, DownlinkPartition, DownlinkState, DownlinkStatus};

use super::link::dial::{Calling, Secure};
use super::running::{Control, Running};
use crate::broker::{Broker, validate_name};
use crate::config::{DownlinkConfig, Labels};
use crate::executor::Executor;
use crate::limits::is_internal_topic;
use crate::tls::LinkTls;
use status::Report;
use task::Skips;

/// What one downlink is told. The gateway fills it from the configuration.
#[derive(Clone, Debug)]
pub struct DownlinkOptions {
    /// Name of the downlink: part of the durable positions' keys.
    pub name: String,
    /// The gateway's id.
    pub gateway: String,
    /// `[gateway.labels]`.
    pub labels: Labels,
    /// `[downlink.NAME]`.
    pub config: DownlinkConfig,
    /// What TLS stands on.
    pub tls: LinkTls,
}

impl DownlinkOptions {
    /// The topics upstream.
    fn topics(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> =
            self.config.topics.iter().map(|name| Arc::from(name.render("", &self.gateway, &self.labels))).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// The local name of a topic upstream.
    ///
    /// # Errors
    /// A text that says why the template gives no usable name, and what to do.
    fn local_name(&self, topic: &str) -> Result<String, String> {
        let name = self.config.topic.render(topic, &self.gateway, &self.labels);
        let refused = |why: &str| format!("downlink.{}.topic gives no usable name for {topic}: {why}", self.name);
        validate_name(&name).map_err(|why| refused(&why))?;
        if is_internal_topic(&name) {
            return Err(refused(&format!("{name} would be one of the gateway's own topics")));
        }
        Ok(name)
    }

    /// How brokers are called; each may hold a question for `wait`.
    fn calling(&self, wait: Duration) -> Calling {
        let config = &self.config;
        Calling {
            client_id: config.client_id.clone().unwrap_or_else(|| format!("brooklet-{}", self.gateway)),
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout + wait,
            proxy: config.link.proxy.clone(),
            proxy_auth: config.link.proxy_auth.clone(),
            tls: Secure::of(config.tls.server_name.clone(), &self.tls.brokers),
            token_tls: Secure::of(None, &self.tls.tokens),
            sasl: config.sasl.clone(),
        }
    }
}

/// A running downlink. Dropping it ends it at once, which loses nothing and repeats nothing.
#[derive(Debug)]
pub struct Downlink {
    options: Arc<DownlinkOptions>,
    report: Arc<Report>,
    skips: Skips,
    running: Running,
}

impl Downlink {
    /// Starts to bring topics down, in the background, on `executor`.
    pub fn spawn(executor: &Arc<Executor>, broker: Broker, options: DownlinkOptions) -> Self {
        Self::spawn_after(executor, broker, options, None)
    }

    /// As [`Downlink::spawn`]; in the place of one of the same name that has ended, if there was one: it counts on from there, and is paused
    /// if that one was.
    pub fn spawn_after(
        executor: &Arc<Executor>,
        broker: Broker,
        options: DownlinkOptions,
        before: Option<&Self>,
    ) -> Self {
        let options = Arc::new(options);
        let control = Arc::<Control>::default();
        if before.is_some_and(|before| before.running.is_paused()) {
            control.set_paused(true);
        }
        let report = before.map(|before| Arc::clone(&before.report)).unwrap_or_default();
        let bringer = task::Bringer::new(
            Arc::clone(executor),
            broker,
            Arc::clone(&options),
            Arc::clone(&control),
            Arc::clone(&report),
        );
        let skips = bringer.skips();
        let running = Running::spawn(executor, control, bringer.run());
        Self { options, report, skips, running }
    }

    /// The downlink's name, as configured.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What it was told.
    pub fn options(&self) -> &DownlinkOptions {
        &self.options
    }

    /// Asks for nothing more until [`Downlink::resume`]; what was asked for still comes in. Not remembered over a restart.
    pub fn pause(&self) {
        self.running.set_paused(true);
    }

    /// Ends [`Downlink::pause`].
    pub fn resume(&self) {
        self.running.set_paused(false);
    }

    /// Tells it to end, without waiting.
    pub fn begin_stop(&self) {
        self.running.begin_stop();
    }

    /// Ends it.
    pub async fn stop(&self) {
        self.running.stop().await;
    }

    /// Passes over what lies before `to` in a topic upstream, or in one partition of it: for what can't be read or stored. It is
    /// counted as a gap. What it says, for people.
    ///
    /// # Errors
    /// Why not, and what to do: nothing is passed over then.
    pub fn skip(&self, topic: &str, partition: Option<u32>, to: SkipTo) -> Result<String, String> {
        let status = self.report.live();
        let meant: Vec<&DownlinkPartition> = status.partitions.iter().filter(|one| one.is(topic, partition)).collect();
        if meant.is_empty() {
            let known: Vec<&str> = status.topics();
            let known = if known.is_empty() { "it has found none yet".to_owned() } else { known.join(", ") };
            let which = partition.map_or(String::new(), |partition| format!(", partition {partition}"));
            return Err(format!("downlink {} brings no topic {topic}{which} ({known})", self.options.name));
        }
        if let (SkipTo::Offset(to), [one]) = (to, meant.as_slice()) {
            one.may_skip_to(to)?;
        } else if let SkipTo::Offset(_) = to {
            return Err(format!("{topic} has {} partitions: name one, or skip to \"latest\"", meant.len()));
        }
        let mut said = String::new();
        for one in meant {
            self.skips.push((one.topic.as_str().into(), one.partition as i32), to);
            said.push_str(&format!("{}: {}/{} goes on at {to}\n", self.options.name, one.topic, one.partition));
        }
        Ok(said)
    }

    /// How it is doing.
    pub fn status(&self) -> DownlinkStatus {
        let live = self.report.live();
        DownlinkStatus {
            name: self.options.name.clone(),
            bootstrap: self.options.config.bootstrap.iter().map(ToString::to_string).collect(),
            counts: self.report.counts(),
            ..live
        }
    }
}
