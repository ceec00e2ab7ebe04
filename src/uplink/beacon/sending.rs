//! Notices on their way: what there is to tell, where it goes, and what the answer means.

use std::sync::Arc;
use std::time::Instant;

use super::notice::{NOTICE_BYTES_MAX, Notice};
use super::rhythm::Matters;
use super::{Beacon, REFUSED_FOR};
use crate::broker::{Topic, partition_for_key};
use crate::executor;
use crate::kafka::api::ApiKey;
use crate::kafka::error_code::ErrorCode;
use crate::kafka::header::read_response;
use crate::kafka::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use crate::record::{BatchBuilder, NO_HEADERS};
use crate::store::LossEntry;
use crate::uplink::backlog::Backlog;
use crate::uplink::dispatch::PRODUCE_MAX;
use crate::uplink::gentle::Open;
use crate::uplink::link::cluster::{ClusterError, Link, TopicState};
use crate::uplink::link::connection::Reply;
use crate::uplink::naming;
use crate::uplink::parts::Event;
use crate::uplink::sending::verdict::{Verdict, verdict};
use crate::uplink::status::LinkChange;
use crate::uplink::task::Forwarder;
use crate::uplink::upkeep::explain;

/// How long replicas may take.
const REPLICAS_WITHIN_MS: i32 = 20_000;
/// What the topic is created with at a cluster: of each gateway the newest is kept.
const SETTINGS: &[(&str, &str)] = &[("cleanup.policy", "compact")];
/// Partitions of a topic that is created.
const PARTITIONS: u32 = 1;

/// What became of a notice.
#[derive(Debug)]
pub(in crate::uplink) enum Told {
    Taken,
    /// Lost, or refused for a reason that passes; `true`: another broker leads now.
    Dropped(bool),
    Refused(String),
}

/// Where a notice goes.
enum Place {
    Broker(Link, i32),
    Gateway(u32),
}

impl Forwarder {
    /// After what this round could send: a notice, if records went and one is due.
    pub(in crate::uplink) async fn tell_centre(&mut self) {
        let now = Instant::now();
        if self.pacing.open() != Open::All || !self.beacon.may_look(now) {
            return;
        }
        let Some(topic) = self.beacon.topic() else { return };
        let Some(place) = self.place_of_notice(&topic) else { return };
        let (notice, matters) = self.notice().await;
        if !self.beacon.rhythm.is_due(now, &matters) {
            return;
        }
        self.beacon.rhythm.told(now, matters);
        let mut builder = BatchBuilder::new();
        let (key, value) = (self.options.gateway.as_bytes(), notice.to_json());
        if value.len() > NOTICE_BYTES_MAX {
            return;
        }
        if builder.push(notice.time_ms, Some(key), Some(value.as_bytes()), NO_HEADERS).is_err() {
            return;
        }
        let batch = builder.finish(self.options.compression());
        match place {
            Place::Broker(link, partition) => self.produce_notice(&link, &topic, partition, &batch),
            Place::Gateway(partition) => self.send_notice_above(&topic, partition, &batch),
        }
    }

    /// Where the notice of this gateway goes: always to the same partition, so that a compacted topic keeps one. `None`: nowhere now.
    fn place_of_notice(&mut self, topic: &Arc<str>) -> Option<Place> {
        if self.tier.is_some() {
            let partitions = self.beacon.partitions_above?;
            return Some(Place::Gateway(partition_for_key(self.options.gateway.as_bytes(), partitions)));
        }
        let TopicState::Known(leaders) = self.cluster.topic(topic)? else { return None };
        let count = u32::try_from(leaders.len()).ok().filter(|count| *count > 0)?;
        let partition = i32::try_from(partition_for_key(self.options.gateway.as_bytes(), count)).ok()?;
        let node = self.cluster.leader(topic, partition)?;
        match self.cluster.open_link(node).cloned() {
            Some(link) => Some(Place::Broker(link, partition)),
            None => {
                // With the records after these.
                self.dial(node);
                None
            }
        }
    }

    /// What there is to tell, and what of it matters.
    async fn notice(&self) -> (Notice, Matters) {
        let (broker, options, report) = (self.broker.clone(), Arc::clone(&self.options), Arc::clone(&self.report));
        // Ages of what waits are read from the disk.
        let look = move || {
            let follows = naming::follows(&options);
            let topics: Vec<Arc<Topic>> = broker.topics().into_iter().filter(|topic| follows(topic)).collect();
            Backlog::look(&broker, &options.name, &topics, &mut report.history().ages)
        };
        let backlog = executor::unblock(look).await;
        let store = self.broker.store();
        let (status, now, about) = (store.status(), store.now(), &self.options.about);
        let own = |loss: &LossEntry| (loss.reader == self.options.name).then_some(loss.records);
        let lost = store.losses().iter().filter_map(own).sum();
        let (day, life) = (&status.flash.day, status.flash.life.unwrap_or_default());
        let used = life.used_percent.into_iter().flatten().max().unwrap_or(0);
        let live = self.report.live();
        let stalled = live.stalls.len();
        let was_gone = |change: &&LinkChange| !matches!(change.link.as_str(), "up" | "connecting");
        let gone_ms = live.history.iter().rfind(was_gone).map(|change| change.at_ms);
        let under_way_ms = live.under_way_ms;
        drop(live);
        let oldest_ms = backlog.oldest_ms.or(under_way_ms);
        let age_ms = oldest_ms.map_or(0, |at| now.wall_ms.saturating_sub(at).max(0).unsigned_abs());
        let notice = Notice {
            time_ms: now.wall_ms,
            time_trusted: now.wall_trusted,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_s: about.started.elapsed().as_secs(),
            before: about.before.to_owned(),
            uplink: self.options.name.clone(),
            backlog: backlog.records,
            backlog_bytes: backlog.bytes,
            oldest_s: age_ms / 1_000,
            lost,
            stalled: stalled as u64,
            disk: status.disk_bytes,
            disk_max: status.max_bytes,
            flash_day: day.own_bytes,
            flash_budget: day.budget_bytes.unwrap_or(0),
            flash_life: used.into(),
            config: about.config(),
        };
        let flash = (day.unmet, used, life.pre_eol.unwrap_or(0));
        let (config, time_trusted) = (notice.config, notice.time_trusted);
        (notice, Matters { gone_ms, lost, stalled, config, time_trusted, flash })
    }

    /// In no transaction, and without a sequence: see the module.
    fn produce_notice(&mut self, link: &Link, topic: &Arc<str>, partition: i32, batch: &[u8]) {
        let Ok(version) = link.versions.pick_below(ApiKey::Produce, PRODUCE_MAX) else { return };
        let data = PartitionProduceData { index: partition, records: Some(batch) };
        let topic_data = vec![TopicProduceData { name: topic, partition_data: vec![data] }];
        let request = ProduceRequest { acks: -1, timeout_ms: REPLICAS_WITHIN_MS, topic_data, ..Default::default() };
        let reply = link.connection.send(version, &request);
        let Ok(reply) = reply else { return self.noticed(Told::Dropped(false)) };
        self.beacon.under_way = true;
        let sender = self.sender.clone();
        let awaited = async move {
            let told = read(version, reply).await;
            let _ = sender.send(Event::Noticed(told)).await;
        };
        self.executor.spawn(awaited).detach();
    }

    fn send_notice_above(&mut self, topic: &str, partition: u32, batch: &[u8]) {
        match self.tier.as_mut().and_then(|tier| tier.tell(topic, partition, batch)) {
            Some(told) => {
                self.beacon.under_way = true;
                let sender = self.sender.clone();
                let awaited = async move {
                    let _ = sender.send(Event::Noticed(told.await)).await;
                };
                self.executor.spawn(awaited).detach();
            }
            None => self.noticed(Told::Dropped(false)),
        }
    }

    /// It is known what became of a notice.
    pub(in crate::uplink) fn noticed(&mut self, told: Told) {
        let beacon = &mut self.beacon;
        beacon.under_way = false;
        match told {
            Told::Taken => {
                beacon.status.sent += 1;
                beacon.status.refused = None;
            }
            Told::Dropped(moved) => {
                beacon.status.dropped += 1;
                self.metadata.stale |= moved;
            }
            Told::Refused(why) => {
                beacon.status.dropped += 1;
                beacon.not_before = Some(Instant::now() + REFUSED_FOR);
                self.notices_refused(why);
            }
        }
    }

    /// Takes over what metadata says of the topic; creates it where it is missing and topics are created.
    ///
    /// # Errors
    /// [`ClusterError`], if the cluster is out of reach.
    pub(in crate::uplink) async fn learn_status_topic(&mut self) -> Result<(), ClusterError> {
        const MISSING: i16 = ErrorCode::UnknownTopicOrPartition.code();
        let Some(topic) = self.beacon.topic() else { return Ok(()) };
        match self.cluster.topic(&topic) {
            Some(TopicState::Failed(MISSING)) if self.options.config.create_topics && !self.beacon.creation_tried => {
                self.beacon.creation_tried = true;
                let replication = self.options.config.create_replication;
                match self.cluster.create_topic(&topic, Some(PARTITIONS), replication, SETTINGS).await {
                    Ok(()) => {
                        log::info!("uplink {}: created topic {topic} upstream", self.options.name);
                        self.metadata.stale = true;
                    }
                    Err(ClusterError::Refused { code, text, .. }) => {
                        let why = format!("{topic} is missing upstream and can't be created: {}", explain(code, &text));
                        self.notices_refused(why);
                    }
                    Err(error) => return Err(error),
                }
            }
            Some(TopicState::Failed(MISSING)) => self.notices_refused(missing(&topic)),
            Some(TopicState::Failed(code)) => {
                let why = format!("{topic}: {}", explain(*code, ""));
                self.beacon.status.dropped += u64::from(self.beacon.status.refused.is_none());
                self.notices_refused(why);
            }
            Some(TopicState::Known(_)) if self.beacon.not_before.is_none() => self.beacon.status.refused = None,
            Some(TopicState::Known(_)) | None => {}
        }
        Ok(())
    }

    /// The gateway upstream has told of the topic, or why it can't be written to.
    pub(in crate::uplink) fn heard_of_status_topic(&mut self, partitions: Result<u32, String>) {
        self.beacon.partitions_above = partitions.as_ref().ok().copied().filter(|count| *count > 0);
        if let Err(why) = partitions {
            self.notices_refused(why);
        }
    }

    /// Told once; nothing else waits for it.
    fn notices_refused(&mut self, why: String) {
        if self.beacon.refused(why) {
            let (name, why) = (&self.options.name, self.beacon.status.refused.as_deref().unwrap_or_default());
            log::info!(
                "uplink {name}: the centre is not told how this gateway is: {why}; records are forwarded all the same"
            );
        }
    }
}

impl Beacon {
    /// For a topic that is missing upstream.
    pub(in crate::uplink) fn missing(&self) -> String {
        missing(&self.status.topic)
    }
}

/// What is said of a topic that is missing upstream.
pub(in crate::uplink) fn missing(topic: &str) -> String {
    format!(
        "{topic} is missing upstream: create it there (one partition, compacted), or set status = \"off\" for this uplink"
    )
}

/// The answer to a notice.
async fn read(version: i16, reply: Reply) -> Told {
    let Ok(frame) = reply.frame().await else { return Told::Dropped(false) };
    let Ok((_, response)) = read_response::<ProduceResponse<'_>>(version, &frame) else { return Told::Dropped(false) };
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    let Some(told) = partitions.next() else { return Told::Dropped(false) };
    match verdict(told.error_code) {
        Verdict::Appended => Told::Taken,
        Verdict::RetryElsewhere => Told::Dropped(true),
        Verdict::Retry => Told::Dropped(false),
        _ => Told::Refused(explain(told.error_code, told.error_message.unwrap_or_default())),
    }
}
