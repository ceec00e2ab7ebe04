//! Where connections come in, and how many: what the acceptors of all listeners share.

use std::sync::Arc;

use async_channel::Sender;

use crate::config::ListenConfig;
use crate::executor::Executor;
use crate::listen::accept::Acceptor;
use crate::listen::handshake::Handshakes;
use crate::listen::places::{Places, Total};
use crate::metrics::{Gauge, METRICS};
use crate::shutdown::Shutdown;

/// See the module.
pub(super) struct Acceptors {
    total: Total,
    handshakes: Handshakes,
    native: Places,
    kafka: Places,
    mqtt: Places,
    http: Places,
}

impl Acceptors {
    pub(super) fn new(config: &ListenConfig) -> Self {
        let total = Total::new(config.max_connections);
        let places = |gauge: &'static Gauge| Places::new(0, None, total.clone(), gauge);
        let acceptors = Self {
            handshakes: Handshakes::new(config.max_handshakes, config.handshake_timeout),
            native: places(&METRICS.connections_native),
            kafka: places(&METRICS.connections_kafka),
            mqtt: places(&METRICS.connections_mqtt),
            http: places(&METRICS.connections_http),
            total,
        };
        acceptors.set_limits(config);
        acceptors
    }

    /// How many may come from now on. Those that are there stay.
    pub(super) fn set_limits(&self, config: &ListenConfig) {
        self.total.set_max(config.max_connections);
        self.handshakes.set_max(config.max_handshakes, config.handshake_timeout);
        for (places, max) in [
            (&self.native, config.native.max_connections),
            (&self.kafka, config.kafka.max_connections),
            (&self.mqtt, config.mqtt.max_connections),
            (&self.http, config.http.max_connections),
        ] {
            places.set_max(max, config.max_connections_per_address);
        }
    }

    /// Those of native clients, Kafka's, MQTT's, HTTP's. Each session holds `alive`.
    pub(super) fn all(&self, executor: &Arc<Executor>, shutdown: &Shutdown, alive: &Sender<()>) -> [Acceptor; 4] {
        [&self.native, &self.kafka, &self.mqtt, &self.http].map(|places| Acceptor {
            executor: Arc::clone(executor),
            shutdown: shutdown.clone(),
            alive: alive.clone(),
            places: places.clone(),
            handshakes: self.handshakes.clone(),
        })
    }
}
