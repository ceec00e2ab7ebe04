//! What a gateway tells about itself, and how its uplinks are steered.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::certificates::Certificates;
use super::doors::Addresses;
use super::downlinks::Downlinks;
use super::draining;
use super::reloading::Reloading;
use super::starts::starts;
use super::status::{
    Amount, DeletedTopicFigures, FlashFigures, Follower, FormatFigures, GatewayStatus, GroupFigures, Loss, MqttFigures,
    PartitionFigures, ProcessFigures, StartFigures, StoreFigures, TopicFigures,
};
use super::traffic::Traffic;
use super::uplinks::Uplinks;
use super::{exposition, problems};
use crate::broker::groups::GroupDescription;
use crate::broker::{Broker, Topic, TopicId};
use crate::frame::{DrainAction, UplinkAction};
use crate::json;
use crate::listen::http::View;
use crate::listen::mqtt::Mqtt;
use crate::listen::native::Administration;
use crate::metrics::METRICS;
use crate::store::{DeletedTopic, FlashStatus, LossEntry, PartitionId, Removed, Space, Store};

/// The gateway as its administrators see it.
pub(super) struct GatewayAdministration {
    id: String,
    reloading: Arc<Reloading>,
    broker: Broker,
    uplinks: Arc<Uplinks>,
    downlinks: Arc<Downlinks>,
    listeners: Listeners,
    certificates: Certificates,
    mqtt: Mqtt,
    traffic: Arc<Traffic>,
    health: Health,
    started: Instant,
}

/// What the last look at the vital signs has found.
pub(super) type Health = Arc<Mutex<Result<(), String>>>;

/// Where clients connect, if they may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listeners {
    pub(super) native: Addresses,
    pub(super) kafka: Addresses,
    pub(super) mqtt: Addresses,
    /// MQTT over WebSocket.
    pub(super) websocket: Addresses,
    pub(super) http: Addresses,
}

impl GatewayAdministration {
    pub(super) fn new(
        (id, reloading): (&str, Arc<Reloading>),
        broker: Broker,
        (uplinks, downlinks): (Arc<Uplinks>, Arc<Downlinks>),
        (listeners, certificates): (Listeners, Certificates),
        mqtt: Mqtt,
        (traffic, health): (Arc<Traffic>, Health),
    ) -> Self {
        let (id, started) = (id.to_owned(), Instant::now());
        Self { id, reloading, broker, uplinks, downlinks, listeners, certificates, mqtt, traffic, health, started }
    }

    /// Everything as of now.
    fn status(&self) -> GatewayStatus {
        let store = self.broker.store();
        let now = store.now();
        // First: they bring the metrics of the medium and of certificates up to date.
        let figures = store_figures(store);
        let certificates = self.certificates.figures();
        self.count_kept();
        let (labels, config, metrics) = self.reloading.shown();
        let losses = store.losses();
        let mut status = GatewayStatus {
            gateway: self.id.clone(),
            labels,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.started.elapsed().as_secs(),
            time_ms: now.wall_ms,
            time_trusted: now.wall_trusted,
            draining: self.broker.refuses_records(),
            native: text(self.listeners.native.plain),
            native_tls: text(self.listeners.native.tls),
            kafka: text(self.listeners.kafka.plain),
            kafka_tls: text(self.listeners.kafka.tls),
            mqtt: text(self.listeners.mqtt.plain),
            mqtt_tls: text(self.listeners.mqtt.tls),
            websocket: text(self.listeners.websocket.plain),
            websocket_tls: text(self.listeners.websocket.tls),
            http: text(self.listeners.http.plain),
            http_tls: text(self.listeners.http.tls),
            problems: Vec::new(),
            config,
            process: ProcessFigures::now(),
            traffic: self.traffic.figures(),
            certificates,
            mqtt_clients: MqttFigures::from(self.mqtt.counts()),
            groups: self.broker.groups().into_iter().map(group).collect(),
            store: figures,
            // Before the topics: what an uplink says to have forwarded, they say as well.
            uplinks: self.uplinks.statuses(),
            downlinks: self.downlinks.statuses(),
            topics: self.broker.topics().iter().map(|topic| self.topic(topic, &losses)).collect(),
            starts: starts(store.entries(Space::Gateway, &[])).into_iter().map(StartFigures::from).collect(),
            deleted_topics: store.deleted_topics().into_iter().map(deleted).collect(),
            losses: store.removals().iter().chain(&losses).map(|loss| self.loss(loss)).collect(),
            left_off: BTreeMap::new(),
            metrics: metrics.iter().map(|reading| (reading.name.to_owned(), reading.value)).collect(),
        };
        status.problems = problems::of(&status);
        status
    }
}

impl View for GatewayAdministration {
    fn status_json(&self) -> String {
        self.status().to_json()
    }

    fn glance_json(&self) -> String {
        self.status().glance().to_json()
    }

    fn metrics(&self) -> String {
        exposition::text(&self.status())
    }

    fn health(&self) -> Result<(), String> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn readiness(&self) -> Result<(), String> {
        let status = self.broker.store().status();
        match (status.poisoned, status.refused) {
            (None, None) => Ok(()),
            (Some(why), _) => Err(format!("the store has stopped: {why}")),
            (None, Some(why)) => Err(format!("new records are refused: {why}")),
        }
    }
}

impl Administration for GatewayAdministration {
    fn status_json(&self) -> String {
        self.status().to_json()
    }

    fn uplink<'a>(
        &'a self,
        action: UplinkAction,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async move {
            if action == UplinkAction::Skip {
                return self.downlinks.skip(name);
            }
            if self.downlinks.has(name) {
                return Ok(self.downlinks.act(action, name).await);
            }
            let mut said = self.uplinks.act(&self.broker, action, name).await?;
            if action == UplinkAction::Check && name.is_empty() {
                said.push_str(&self.downlinks.act(action, name).await);
            }
            Ok(said)
        })
    }

    fn drain<'a>(
        &'a self,
        action: DrainAction,
        wait: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(draining::drain((&self.broker, &self.uplinks, &self.downlinks), action, wait))
    }

    fn reload(&self, apply: bool) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async move { self.reloading.reload(apply).await.map(|report| json::to_string(&report)) })
    }

    fn store_format(&self, finalize: bool) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>> {
        Box::pin(async move {
            let store = self.broker.store();
            if finalize {
                store.finalize().await.map_err(|error| error.to_string())?;
            }
            Ok(json::to_string(&FormatFigures::from(store.status().format)))
        })
    }
}

impl GatewayAdministration {
    /// Brings the metrics of what is kept, and is bounded in number, up to date.
    fn count_kept(&self) {
        let store = self.broker.store();
        let mqtt = self.mqtt.counts();
        let rows = |space| store.entries(space, &[]).len();
        for (gauge, count) in [
            (&METRICS.kept_topics, self.broker.topics().len()),
            (&METRICS.kept_partitions, store.partitions().len()),
            (&METRICS.kept_groups, self.broker.groups().len()),
            (&METRICS.kept_producers, rows(Space::Producer)),
            (&METRICS.kept_clients, rows(Space::Device)),
            (&METRICS.kept_users, self.broker.users().len()),
            (&METRICS.kept_rules, rows(Space::Acl)),
            (&METRICS.kept_sessions, mqtt.connected + mqtt.waiting),
        ] {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn topic(&self, topic: &Topic, losses: &[LossEntry]) -> TopicFigures {
        let followers = self.broker.followers_of(topic);
        let mut figures = TopicFigures {
            name: topic.name.clone(),
            id: topic.id.to_string(),
            internal: topic.is_internal(),
            partitions: topic.partitions.iter().filter_map(|partition| self.partition(*partition)).collect(),
            ..TopicFigures::default()
        };
        for accounts in topic.partitions.iter().filter_map(|partition| self.broker.store().accounts(*partition)) {
            add(&mut figures.accepted, accounts.accepted);
            add(&mut figures.retained, accounts.retained);
            for (reason, what) in accounts.removed {
                add(figures.lost.entry(reason.name().to_owned()).or_default(), what);
            }
        }
        figures.followed_by = followers.into_iter().map(|uplink| self.follower(topic, uplink, losses)).collect();
        figures
    }

    /// What lies before the log start was forwarded, or is in the ledger as lost; behind it the position tells.
    fn follower(&self, topic: &Topic, uplink: String, losses: &[LossEntry]) -> Follower {
        let mut follower = Follower { uplink, ..Follower::default() };
        let mut accepted = 0;
        for partition in &topic.partitions {
            let Ok(head) = self.broker.head(*partition) else { continue };
            let position = self.broker.position(&follower.uplink, *partition);
            let missing = position.missing_in(head.log_start..head.readable_end());
            follower.lag_records += missing.iter().map(|range| range.end.abs_diff(range.start)).sum::<u64>();
            accepted += head.readable_end().unsigned_abs();
        }
        let lost = losses.iter().filter(|loss| loss.reader == follower.uplink);
        for loss in lost.filter(|loss| topic.partitions.contains(&loss.partition)) {
            *follower.lost_records.entry(loss.reason.name().to_owned()).or_default() += loss.records;
        }
        let lost: u64 = follower.lost_records.values().sum();
        follower.delivered_records = accepted.saturating_sub(follower.lag_records + lost);
        follower
    }

    fn partition(&self, partition: PartitionId) -> Option<PartitionFigures> {
        let head = self.broker.head(partition).ok()?;
        Some(PartitionFigures {
            log_start: head.log_start,
            high_watermark: head.readable_end(),
            bytes: self.broker.store().partition_bytes(partition).unwrap_or(0),
            upstream: self.broker.upstream_offset(partition),
        })
    }

    fn loss(&self, loss: &LossEntry) -> Loss {
        let (topic, partition) = match self.broker.topic_of(loss.partition) {
            Some((topic, index)) => (Some(topic.name.clone()), u32::try_from(index).ok()),
            None => (None, None),
        };
        Loss {
            uplink: loss.reader.clone(),
            topic,
            partition,
            first_offset: loss.first_offset,
            last_offset: loss.last_offset,
            records: loss.records,
            bytes: loss.bytes,
            reason: loss.reason.name().to_owned(),
            time_ms: loss.wall_ms,
            appended_from_ms: loss.appended_from_ms,
            appended_to_ms: loss.appended_to_ms,
        }
    }
}

fn group(group: GroupDescription) -> GroupFigures {
    GroupFigures { name: group.name, state: group.state.to_owned(), members: group.member_count as u64 }
}

fn flash_figures(flash: &FlashStatus) -> FlashFigures {
    let life = flash.life.unwrap_or_default();
    FlashFigures {
        day_bytes: flash.day.own_bytes,
        day_device_bytes: flash.day.device_bytes,
        day_counted_s: flash.day.counted_ms / 1_000,
        day_budget_bytes: flash.day.budget_bytes,
        budget_unmet: flash.day.unmet,
        commit_interval_ms: flash.interval_ms,
        device: flash.device.clone(),
        is_card: flash.is_card,
        life_used_percent: life.used_percent.into_iter().flatten().collect(),
        pre_eol: life.pre_eol,
    }
}

fn text(address: Option<SocketAddr>) -> Option<String> {
    address.map(|address| address.to_string())
}

fn add(sum: &mut Amount, what: Removed) {
    sum.records += what.records;
    sum.bytes += what.bytes;
}

fn deleted(topic: DeletedTopic) -> DeletedTopicFigures {
    let mut figures = DeletedTopicFigures {
        name: topic.name,
        id: TopicId(topic.id).to_string(),
        time_ms: topic.wall_ms,
        lost_to: topic.lost_to,
        ..DeletedTopicFigures::default()
    };
    add(&mut figures.accepted, topic.accepted);
    for (reason, what) in topic.removed {
        add(figures.lost.entry(reason.name().to_owned()).or_default(), what);
    }
    figures
}

fn store_figures(store: &Store) -> StoreFigures {
    let status = store.status();
    StoreFigures {
        incarnation: store.incarnation().iter().map(|byte| format!("{byte:02x}")).collect(),
        disk_bytes: status.disk_bytes,
        reserve_bytes: status.reserve_bytes,
        reserve_failure: status.reserve_failure,
        max_bytes: status.max_bytes,
        segment_bytes: status.segment_bytes,
        segments: status.segments as u64,
        damaged_segments: status.damaged_segments as u64,
        quarantined_segments: status.quarantined_segments as u64,
        quarantined_bytes: status.quarantined_bytes,
        first_commit: status.first_commit,
        last_commit: status.last_commit,
        boot_epoch: status.epoch.ordinal,
        partitions: status.partitions as u64,
        state_bytes: status.state_bytes,
        queued_operations: status.queued_ops as u64,
        tail_bytes: status.tail_bytes as u64,
        commits: status.commits,
        payload_bytes: status.payload_bytes,
        evictions: status.evictions,
        rewrites: status.rewrites,
        rewritten_bytes: status.rewritten_bytes,
        rewrite_budget_left: status.rewrite_budget_left,
        rewrite_budget: status.rewrite_budget,
        refused: status.refused,
        stopped: status.poisoned,
        not_reopened: status.healing.failure,
        healed: status.healing.healed,
        flash: flash_figures(&status.flash),
        format: status.format.into(),
    }
}
