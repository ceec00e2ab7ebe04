//! The gateway's uplinks: steered by name.

use std::sync::Arc;

use super::links::{Around, Links};
use crate::broker::Broker;
use crate::config::Config;
use crate::frame::UplinkAction;
use crate::json;
use crate::uplink::{Uplink, UplinkStatus, check};

/// The uplinks that are configured and enabled, by name.
#[derive(Debug, Default)]
pub(super) struct Uplinks(Links<Uplink>);

impl Uplinks {
    /// From now on those of `config`.
    pub(super) async fn change(&self, around: &Around, config: &Config) {
        self.0.change(around, &config.uplinks, &config.gateway.labels).await;
    }

    /// Stops all, side by side: positions are durable afterwards.
    pub(super) async fn stop(&self) {
        self.0.stop().await;
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.all().is_empty()
    }

    /// How each is.
    pub(super) fn statuses(&self) -> Vec<UplinkStatus> {
        self.0.all().iter().map(|uplink| uplink.status()).collect()
    }

    /// What `action` tells of the uplink `name` ("" for all): JSON for the status, lines for the others.
    ///
    /// # Errors
    /// A text for people: there is no such uplink.
    pub(super) async fn act(&self, broker: &Broker, action: UplinkAction, name: &str) -> Result<String, String> {
        let all = self.0.all();
        let meant: Vec<&Arc<Uplink>> = all.iter().filter(|uplink| name.is_empty() || uplink.name() == name).collect();
        if meant.is_empty() && !name.is_empty() {
            let names: Vec<&str> = all.iter().map(|uplink| uplink.name()).collect();
            let known =
                if names.is_empty() { "there are none".to_owned() } else { format!("there is {}", names.join(", ")) };
            return Err(format!("there is no uplink {name:?} ({known})"));
        }
        Ok(match action {
            UplinkAction::Status => {
                let statuses: Vec<UplinkStatus> = meant.iter().map(|uplink| uplink.status()).collect();
                json::to_string(&statuses)
            }
            UplinkAction::Check => {
                let mut lines = String::new();
                for uplink in meant {
                    lines.push_str(&format!("{}:\n", uplink.name()));
                    for finding in check(uplink.options(), &broker.topics(), broker.store().now().wall_trusted).await {
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

fn steer(uplinks: &[&Arc<Uplink>], steer: fn(&Uplink), done: &str) -> String {
    let line = |uplink: &&Arc<Uplink>| {
        steer(uplink);
        format!("{}: {done}\n", uplink.name())
    };
    uplinks.iter().map(line).collect()
}
