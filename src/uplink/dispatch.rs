//! Batches on their way to the brokers, and what their answers mean.
//!
//! Invariant: a batch goes to the broker that leads its partition, and within a transaction only once it is a part of it.

use std::time::{Duration, Instant};

use super::exactly::{Exactly, Tally, is_cursors};
use super::link::cluster::{Cluster, Link};
use super::link::connection::LinkError;
use super::parts::Event;
use super::sending::producer::{Again, Broken, LaneId, Moment, Outcome, Sent};
use super::sending::verdict::{Verdict, verdict};
use super::status::{count, wall_ms};
use super::task::Forwarder;
use super::upkeep::explain;
use crate::kafka::api::ApiKey;
use crate::kafka::header::read_response;
use crate::kafka::produce::ProduceResponse;
use crate::metrics::METRICS;
use crate::store::PartitionId;

/// The longest a broker is asked to wait for its replicas; less than what nothing may move for, by default.
const REPLICAS_WITHIN: Duration = Duration::from_secs(20);
/// The longest a broker's wish to be left alone is granted.
const THROTTLE_MAX: Duration = Duration::from_secs(60);
/// The highest version of Produce without transactions: from 12 on it takes part in those of the second protocol (KIP-890).
pub(super) const PRODUCE_MAX: i16 = 11;

impl Forwarder {
    /// Sends what can be sent, to each broker what it leads.
    pub(super) fn send_ready(&mut self) {
        let lanes: Vec<LaneId> = self.producers.busy().cloned().collect();
        let mut nodes: Vec<i32> = lanes.iter().filter_map(|lane| self.cluster.leader(&lane.0, lane.1)).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let now = Instant::now();
        for node in nodes {
            let waits = self.nodes.get(&node).and_then(|node| node.not_before).is_some_and(|at| at > now);
            let (cluster, exactly) = (&self.cluster, &self.exactly);
            let ready = self.producers.is_ready(node, &|lane| destination(cluster, exactly.as_ref(), lane), now);
            if waits || !ready {
                continue;
            }
            match self.cluster.open_link(node).cloned() {
                Some(link) => while self.send_one(node, &link, now) {},
                None => self.dial(node),
            }
        }
    }

    /// Sends one Produce request. Whether there may be more to send.
    fn send_one(&mut self, node: i32, link: &Link, now: Instant) -> bool {
        let version_max = self.exactly.as_ref().map_or(PRODUCE_MAX, Exactly::produce_version_max);
        let version = match link.versions.pick_below(ApiKey::Produce, version_max) {
            Ok(version) => version,
            Err(error) => {
                self.node_failed(node, &error.to_string());
                return false;
            }
        };
        let timeout = self.options.config.request_timeout.min(REPLICAS_WITHIN);
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let (cluster, exactly) = (&self.cluster, &self.exactly);
        let leader = |lane: &LaneId| destination(cluster, exactly.as_ref(), lane);
        let made = self
            .producers
            .request(node, &leader, now, timeout_ms, |request, bytes| (bytes, link.connection.send(version, request)));
        let (sent, (bytes, reply)) = match made {
            Ok(Some(made)) => made,
            Ok(None) => return false,
            Err(Broken { lane, why }) => {
                self.stall_topic(&lane.0, &format!("a batch was damaged in memory: {why}"));
                return false;
            }
        };
        self.in_flight += 1;
        if sent.iter().any(|one| !is_cursors(&one.lane.0)) {
            self.beacon.records_went();
        }
        let sender = self.sender.clone();
        let awaited = async move {
            let begun = Instant::now();
            let answer = match reply {
                Ok(reply) => reply.frame().await,
                Err(error) => Err(error),
            };
            let took = (bytes, begun.elapsed());
            let _ = sender.send(Event::Answered { node, version, sent, took, answer }).await;
        };
        self.executor.spawn(awaited).detach();
        !link.connection.is_closed()
    }

    pub(super) fn dial(&mut self, node: i32) {
        let Some((dialer, address)) = self.cluster.dialling(node) else { return };
        if self.dialling.insert(node) {
            let sender = self.sender.clone();
            let dialled = async move {
                let link = Link::dial(&dialer, &address).await;
                let _ = sender.send(Event::Dialled { node, link }).await;
            };
            self.executor.spawn(dialled).detach();
        }
    }

    /// A Produce request of so many bytes has ended after that time, with an answer or without.
    pub(super) fn sent(&mut self, (bytes, took): (usize, Duration), answered: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let round_trip = self.pacing.round_trip();
        if let Some(exactly) = self.exactly.as_mut().filter(|_| answered) {
            exactly.produce_answered(bytes, took, round_trip);
        }
    }

    /// The answer to a Produce request.
    pub(super) fn answered(&mut self, node: i32, version: i16, sent: &[Sent], answer: Result<Vec<u8>, LinkError>) {
        let decoded = answer.as_ref().map_err(ToString::to_string).and_then(|frame| {
            read_response::<ProduceResponse<'_>>(version, frame)
                .map_err(|error| format!("broker {node}: the answer to Produce is not one: {error}"))
        });
        let response = match decoded {
            Ok((_, response)) => response,
            Err(why) => {
                self.node_failed(node, &why);
                for one in sent {
                    self.judge(one, Verdict::Unanswered, &why);
                }
                return;
            }
        };
        self.link_works();
        let throttled = u64::try_from(response.throttle_time_ms).ok().filter(|ms| *ms > 0);
        let throttled = throttled.map(|ms| Instant::now() + Duration::from_millis(ms).min(THROTTLE_MAX));
        let working = self.nodes.entry(node).or_default();
        working.backoff.succeed();
        working.not_before = throttled;
        for one in sent {
            let topics = response.responses.iter().filter(|topic| *topic.name == *one.lane.0);
            let partition = topics.flat_map(|topic| &topic.partition_responses).find(|p| p.index == one.lane.1);
            match partition {
                Some(told) => {
                    if let Some(exactly) =
                        self.exactly.as_mut().filter(|_| is_cursors(&one.lane.0) && told.error_code == 0)
                    {
                        exactly.cursors_acknowledged(one, told.base_offset);
                    }
                    let text = explain(told.error_code, told.error_message.unwrap_or_default());
                    let blamed = told.record_errors.iter().filter_map(|error| u32::try_from(error.batch_index).ok());
                    self.producers.blame(one, blamed.collect());
                    self.judge(one, verdict(told.error_code), &text);
                }
                None => self.judge(one, Verdict::Retry, "the answer to Produce leaves the partition out"),
            }
        }
        self.pacing.answered(self.in_flight, self.broker.store().now());
    }

    /// What an answer means for one batch, and what follows for the rest.
    fn judge(&mut self, sent: &Sent, verdict: Verdict, text: &str) {
        if verdict == Verdict::RetryElsewhere {
            self.metadata.stale = true;
        }
        let moment = Moment {
            now: Instant::now(),
            wall_ms: wall_ms(),
            jitter: fastrand::f64(),
            backoff: self.bounds(),
            compression: self.options.compression(),
            spare_tag: 0,
        };
        match self.producers.answered(sent, verdict, text, moment) {
            Outcome::Acknowledged { .. } if is_cursors(&sent.lane.0) => {}
            Outcome::Acknowledged { pieces, bytes, records } => {
                self.pacing.carried(bytes as u64);
                let tally = Tally { records: records.into(), bytes: bytes as u64, batches: 1 };
                match &mut self.exactly {
                    Some(exactly) => exactly.acknowledged(tally),
                    None => self.count_acknowledged(tally),
                }
                self.metadata.backoff.succeed();
                for partition in self.mirror.acknowledged(&pieces) {
                    self.publish(partition);
                }
            }
            // Its batches can't become part of another producer's transaction.
            Outcome::Again(Again::NewProducer) if self.exactly.is_some() => {
                self.fail_transaction(&format!("{}/{}: {text}", sent.lane.0, sent.lane.1));
            }
            Outcome::Again(again) => self.again(sent, again, verdict, text),
            Outcome::Rejected(rejected) => self.rejected(&sent.lane, rejected),
            Outcome::Stalled(why) => self.stall_topic(&sent.lane.0, &why),
            Outcome::Stray => {}
        }
    }

    /// Counts what is in the log upstream, for good.
    pub(super) fn count_acknowledged(&self, tally: Tally) {
        METRICS.uplink_records.add(tally.records);
        METRICS.uplink_bytes.add(tally.bytes);
        let counters = self.report.counters();
        count(&counters.records, tally.records);
        count(&counters.bytes, tally.bytes);
        count(&counters.batches, tally.batches);
    }

    fn again(&self, sent: &Sent, again: Again, verdict: Verdict, text: &str) {
        let counters = self.report.counters();
        count(&counters.resends, 1);
        if verdict != Verdict::Unanswered {
            self.failed(format!("{}/{}: {text}", sent.lane.0, sent.lane.1));
        }
        let (name, topic, partition) = (&self.options.name, &sent.lane.0, sent.lane.1);
        match again {
            Again::AsItWas => log::debug!("uplink {name}: {topic}/{partition}: {text}; sent again"),
            Again::Cut => count(&counters.cuts, 1),
            Again::Shifted { by_ms } => {
                count(&counters.timestamps_shifted, 1);
                log::warn!(
                    "uplink {name}: {topic}/{partition}: {text}; the batch's timestamps are shifted by {by_ms} ms"
                );
            }
            Again::NewProducer => {
                count(&counters.producers_lost, 1);
                log::warn!(
                    "uplink {name}: {topic}/{partition}: {text}; sent again as a new producer, records may arrive twice"
                );
            }
        }
    }

    /// Tells the broker how far a partition has come.
    pub(super) fn publish(&self, partition: PartitionId) {
        if let Some(followed) = self.mirror.get(partition) {
            self.broker.advance_position(&self.options.name, partition, followed.position().clone());
        }
    }
}

/// The broker that a lane's batches go to now; `None` if there is none, or they are not part of the transaction yet.
fn destination(cluster: &Cluster, exactly: Option<&Exactly>, lane: &LaneId) -> Option<i32> {
    if exactly.is_some_and(|exactly| !exactly.may_send(lane)) {
        return None;
    }
    cluster.leader(&lane.0, lane.1)
}
