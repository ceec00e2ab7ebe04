//! What of a running gateway follows its configuration.
//!
//! Invariant: what can be refused is made first ([`Live::prepare`]); then the broker takes its part or nothing, and nothing behind that fails.

use std::sync::Arc;

use super::acceptors::Acceptors;
use super::downlinks::Downlinks;
use super::links::Around;
use super::settings;
use super::uplinks::Uplinks;
use crate::broker::{BrokerOptions, Listener};
use crate::config::Config;
use crate::listen::auth::{Authentication, Guard};
use crate::listen::http::{Http, HttpOptions};
use crate::listen::kafka::Kafka;
use crate::listen::mqtt::{Mqtt, MqttOptions};
use crate::listen::native::Native;

/// The parts, as they run.
pub(super) struct Live {
    pub(super) around: Around,
    pub(super) uplinks: Arc<Uplinks>,
    pub(super) downlinks: Arc<Downlinks>,
    pub(super) who: Authentication,
    pub(super) acceptors: Acceptors,
    pub(super) native: Native,
    pub(super) kafka: Kafka,
    pub(super) mqtt: Mqtt,
    pub(super) http: Http,
}

/// Settings that were found to be good.
pub(super) struct Prepared {
    broker: BrokerOptions,
    mqtt: MqttOptions,
    http: HttpOptions,
}

impl Live {
    /// Changes nothing.
    ///
    /// # Errors
    /// A text that names the key, and what is wrong.
    pub(super) fn prepare(&self, config: &Config) -> Result<Prepared, String> {
        let (broker, mqtt) = (settings::broker(config, &self.around.id)?, settings::mqtt(&config.listen.mqtt)?);
        let http = settings::http(&config.listen.http);
        http.check()?;
        Ok(Prepared { broker, mqtt, http })
    }

    /// Goes over from `before` to `config`, which differs only in what can change now.
    ///
    /// # Errors
    /// The store has stopped: nothing was changed.
    pub(super) async fn apply(&self, before: &Config, config: &Config, prepared: Prepared) -> Result<(), String> {
        self.around.broker.reconfigure(prepared.broker).await.map_err(|error| error.to_string())?;
        if before.log.level != config.log.level {
            log::set_max_level(config.log.level);
        }
        if before.store != config.store {
            self.around.broker.store().set_pace(settings::pace(config));
        }
        self.acceptors.set_limits(&config.listen);
        let (native, kafka) = (&config.listen.native, &config.listen.kafka);
        self.native.reconfigure(guard(&self.who, config, Listener::Native), settings::native(native, &self.around.id));
        self.kafka.reconfigure(guard(&self.who, config, Listener::Kafka), settings::kafka(kafka));
        self.mqtt.reconfigure(guard(&self.who, config, Listener::Mqtt), prepared.mqtt);
        self.http.reconfigure(prepared.http);
        if before.listen.mqtt.map != config.listen.mqtt.map {
            // Other topics may hold something for those who have subscribed.
            self.around.broker.look_at_topics_again();
        }
        self.uplinks.change(&self.around, config).await;
        self.downlinks.change(&self.around, config).await;
        Ok(())
    }
}

/// Who is let in by a listener.
pub(super) fn guard(who: &Authentication, config: &Config, listener: Listener) -> Guard {
    let of = &config.listen;
    let asked = match listener {
        Listener::Native => of.native.auth.with(&of.native.tls),
        Listener::Kafka => of.kafka.auth.with(&of.kafka.tls),
        Listener::Mqtt => of.mqtt.auth.with(&of.mqtt.tls),
    };
    who.guard(listener, &asked, &of.certificate_names)
}
