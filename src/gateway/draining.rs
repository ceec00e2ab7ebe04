//! How far a gateway is from having nothing left to forward.
//!
//! Invariant: nothing pending is told only where two looks in a row found nothing, with everything queued in between settled.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::downlinks::Downlinks;
use super::uplinks::Uplinks;
use crate::broker::Broker;
use crate::frame::DrainAction;
use crate::json;
use crate::uplink::UplinkState;

/// Records are refused for so long after the last time that somebody asked for it.
const HOLD: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest that an answer waits.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(10);

/// What is left to forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainStatus {
    /// Records that an uplink has still to forward, over all uplinks.
    pub pending: u64,
    pub uplinks: Vec<UplinkPending>,
    /// Records in topics that no uplink follows: they stay here.
    pub unfollowed: Vec<TopicRecords>,
}

/// What an uplink has still to forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UplinkPending {
    pub name: String,
    pub state: UplinkState,
    pub pending: u64,
    /// What is wrong, if something is, and what to do.
    pub why: Option<String>,
}

/// The records of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicRecords {
    pub topic: String,
    pub records: u64,
}

impl DrainStatus {
    /// Reads what a gateway has told.
    ///
    /// # Errors
    /// Where it is no such object.
    pub fn parse(json: &str) -> Result<Self, String> {
        json::from_str(json).map_err(|error| format!("what is pending cannot be read: {error}"))
    }
}

/// What is left now.
pub(super) fn look(broker: &Broker, uplinks: &Uplinks) -> DrainStatus {
    let mut status = DrainStatus::default();
    for uplink in uplinks.statuses() {
        status.pending += uplink.lag_records;
        let stall = uplink.stalls.first().map(|stall| format!("{}: {}", stall.topic, stall.why));
        let why = stall.or(uplink.last_error.map(|error| error.text)).filter(|_| uplink.lag_records > 0);
        let (name, state, pending) = (uplink.name, uplink.state, uplink.lag_records);
        status.uplinks.push(UplinkPending { name, state, pending, why });
    }
    for topic in broker.topics().iter().filter(|topic| !topic.is_internal()) {
        let heads = topic.partitions.iter().filter_map(|partition| broker.head(*partition).ok());
        let records = heads.map(|head| head.readable_end().abs_diff(head.log_start)).sum();
        if records > 0 && broker.followers_of(topic).is_empty() {
            status.unfollowed.push(TopicRecords { topic: topic.name.clone(), records });
        }
    }
    status
}

/// Begins to drain, or goes on, for at most `wait`; or ends it. What is left then, as JSON.
///
/// # Errors
/// A text for people: there is nothing that it could be forwarded to, or the store has stopped.
pub(super) async fn drain(
    (broker, uplinks, downlinks): (&Broker, &Uplinks, &Downlinks),
    action: DrainAction,
    wait: Duration,
) -> Result<String, String> {
    if action == DrainAction::End {
        broker.accept_records();
        downlinks.resume_all();
        return Ok(json::to_string(&look(broker, uplinks)));
    }
    if uplinks.is_empty() {
        return Err("there is no uplink: nothing is forwarded from here ([uplink.NAME] makes one)".to_owned());
    }
    if !broker.refuses_records() {
        log::info!("draining: new records are refused until what is here is forwarded");
    }
    broker.refuse_records(Some(HOLD));
    downlinks.pause_all();
    let end = Instant::now() + wait.min(WAIT_MAX);
    let mut found_nothing = false;
    loop {
        broker.settle_queued().await.map_err(|error| error.to_string())?;
        let status = look(broker, uplinks);
        if status.pending == 0 && found_nothing {
            broker.refuse_records(None);
            log::info!(
                "drained: everything is forwarded; new records are refused until `brooklet drain --end` or a restart"
            );
            return Ok(json::to_string(&status));
        }
        found_nothing = status.pending == 0;
        if Instant::now() >= end && !found_nothing {
            return Ok(json::to_string(&status));
        }
        smol::Timer::after(LOOK_EVERY).await;
    }
}
