//! The gateway's uplinks: started together, steered by name, stopped together.

use std::sync::Arc;

use crate::executor::Executor;

use super::certificates::Certificates;
use crate::broker::Broker;
use crate::config::Config;
use crate::frame::UplinkAction;
use crate::uplink::{About, Uplink, UplinkOptions, UplinkStatus, check};

/// The uplinks that are configured and enabled, by name.
#[derive(Debug)]
pub(super) struct Uplinks(Vec<Uplink>);

impl Uplinks {
    /// Starts those of `config`, for the gateway `id`.
    pub(super) fn start(
        executor: &Arc<Executor>,
        config: &Config,
        id: &str,
        broker: &Broker,
        certificates: &Certificates,
        about: &Arc<About>,
    ) -> Self {
        let enabled = config.uplinks.iter().filter(|(_, uplink)| uplink.enabled);
        let labels = &config.gateway.labels;
        let start = |(name, config): (&String, &crate::config::UplinkConfig)| {
            let tls = certificates.of_link(&format!("uplink.{name}"), (&config.tls, &config.sasl));
            let (name, gateway) = (name.clone(), id.to_owned());
            let (labels, config, about) = (labels.clone(), config.clone(), Arc::clone(about));
            let options = UplinkOptions { name, gateway, labels, config, tls, about };
            Uplink::spawn(executor, broker.clone(), options)
        };
        Self(enabled.map(start).collect())
    }

    /// Stops all, side by side: positions are durable afterwards.
    pub(super) async fn stop(&self) {
        self.0.iter().for_each(Uplink::begin_stop);
        for uplink in &self.0 {
            uplink.stop().await;
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How each is.
    pub(super) fn statuses(&self) -> Vec<UplinkStatus> {
        self.0.iter().map(Uplink::status).collect()
    }

    /// What `action` tells of the uplink `name` ("" for all): JSON for the status, lines for the others.
    ///
    /// # Errors
    /// A text for people: there is no such uplink.
    pub(super) async fn act(&self, broker: &Broker, action: UplinkAction, name: &str) -> Result<String, String> {
        let meant: Vec<&Uplink> = self.0.iter().filter(|uplink| name.is_empty() || uplink.name() == name).collect();
        if meant.is_empty() && !name.is_empty() {
            let names: Vec<&str> = self.0.iter().map(Uplink::name).collect();
            let known =
                if names.is_empty() { "there are none".to_owned() } else { format!("there is {}", names.join(", ")) };
            return Err(format!("there is no uplink {name:?} ({known})"));
        }
        Ok(match action {
            UplinkAction::Status => {
                let statuses: Vec<UplinkStatus> = meant.iter().map(|uplink| uplink.status()).collect();
                serde_json::to_string(&statuses).map_err(|error| error.to_string())?
            }
            UplinkAction::Check => {
                let mut lines = String::new();
                for uplink in meant {
                    lines.push_str(&format!("{}:\n", uplink.name()));
                    for finding in check(uplink.options(), &broker.topics(), broker.store().now().wall_ms).await {
                        lines.push_str(&format!("{finding}\n"));
                    }
                }
                lines
            }
            UplinkAction::Pause => steer(&meant, Uplink::pause, "paused"),
            UplinkAction::Resume => steer(&meant, Uplink::resume, "goes on"),
            UplinkAction::Skip => return Err("only a downlink passes anything over".to_owned()),
        })
    }
}

fn steer(uplinks: &[&Uplink], steer: fn(&Uplink), done: &str) -> String {
    let line = |uplink: &&Uplink| {
        steer(uplink);
        format!("{}: {done}\n", uplink.name())
    };
    uplinks.iter().map(line).collect()
}
