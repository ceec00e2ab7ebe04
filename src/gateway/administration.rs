//! What a gateway tells about itself, and how its uplinks are steered.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use crate::broker::{Broker, Topic};
use crate::frame::UplinkAction;
use crate::json::{self, JsonObject};
use crate::listen::native::Administration;
use crate::metrics::METRICS;
use crate::store::{LossEntry, StoreStatus};

/// The gateway as its administrators see it.
pub(super) struct GatewayAdministration {
    id: String,
    broker: Broker,
    native: Option<SocketAddr>,
    kafka: Option<SocketAddr>,
    started: Instant,
}

impl GatewayAdministration {
    pub(super) fn new(id: &str, broker: Broker, native: Option<SocketAddr>, kafka: Option<SocketAddr>) -> Self {
        Self { id: id.to_owned(), broker, native, kafka, started: Instant::now() }
    }
}

impl Administration for GatewayAdministration {
    fn status_json(&self) -> String {
        let store = self.broker.store();
        let now = store.now();
        let mut status = JsonObject::new();
        status.text("gateway", &self.id).text("version", env!("CARGO_PKG_VERSION"));
        status.number("uptime_s", self.started.elapsed().as_secs());
        status.number("time_ms", now.wall_ms).boolean("time_trusted", now.wall_trusted);
        address(&mut status, "native", self.native);
        address(&mut status, "kafka", self.kafka);
        status.raw("store", &store_json(&store.status(), &store.incarnation()));
        status.raw("topics", &json::array(self.broker.topics().iter().map(|topic| self.topic_json(topic))));
        status.raw("losses", &json::array(store.losses().iter().map(|loss| self.loss_json(loss))));
        let mut metrics = JsonObject::new();
        for reading in METRICS.readings() {
            metrics.number(reading.name, reading.value);
        }
        status.raw("metrics", &metrics.finish());
        status.finish()
    }

    fn uplink<'a>(
        &'a self,
        _: UplinkAction,
        _: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
        Box::pin(async { Err("no uplink is configured".to_owned()) })
    }
}

impl GatewayAdministration {
    fn topic_json(&self, topic: &Topic) -> String {
        let mut object = JsonObject::new();
        object.text("name", &topic.name).text("id", &topic.id.to_string()).boolean("internal", topic.is_internal());
        let followers = self.broker.followers_of(topic);
        object.raw("followed_by", &json::array(followers.iter().map(|name| json::string(name))));
        let partitions = topic.partitions.iter().filter_map(|partition| {
            let head = self.broker.head(*partition).ok()?;
            let mut object = JsonObject::new();
            object.number("log_start", head.log_start).number("high_watermark", head.high_watermark);
            match self.broker.upstream_offset(*partition) {
                Some(offset) => object.number("upstream", offset),
                None => object.null("upstream"),
            };
            Some(object.finish())
        });
        object.raw("partitions", &json::array(partitions));
        object.finish()
    }

    fn loss_json(&self, loss: &LossEntry) -> String {
        let mut object = JsonObject::new();
        object.text("uplink", &loss.reader);
        match self.broker.topic_of(loss.partition) {
            Some((topic, index)) => object.text("topic", &topic.name).number("partition", index),
            None => object.null("topic").null("partition"),
        };
        object.number("first_offset", loss.first_offset).number("last_offset", loss.last_offset);
        object.number("records", loss.records).number("bytes", loss.bytes);
        object.text("reason", &format!("{:?}", loss.reason).to_lowercase()).number("time_ms", loss.wall_ms);
        object.finish()
    }
}

fn address(status: &mut JsonObject, key: &str, address: Option<SocketAddr>) {
    match address {
        Some(address) => status.text(key, &address.to_string()),
        None => status.null(key),
    };
}

fn store_json(store: &StoreStatus, incarnation: &[u8; 16]) -> String {
    let mut object = JsonObject::new();
    object.text("incarnation", &incarnation.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    object.number("disk_bytes", store.disk_bytes).number("max_bytes", store.max_bytes);
    object.number("segment_bytes", store.segment_bytes).number("segments", store.segments as u64);
    object.number("damaged_segments", store.damaged_segments as u64);
    object.number("first_commit", store.first_commit).number("last_commit", store.last_commit);
    object.number("boot_epoch", store.epoch.ordinal).number("partitions", store.partitions as u64);
    object.number("state_bytes", store.state_bytes).number("queued_operations", store.queued_ops as u64);
    object.number("tail_bytes", store.tail_bytes as u64).number("commits", store.commits);
    object.number("payload_bytes", store.payload_bytes).number("evictions", store.evictions);
    match &store.poisoned {
        Some(why) => object.text("stopped", why),
        None => object.null("stopped"),
    };
    object.finish()
}
