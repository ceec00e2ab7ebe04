//! The gateway's downlinks: steered by name.

use super::links::{Around, Links};
use crate::config::Config;
use crate::frame::UplinkAction;
use crate::json;
use crate::uplink::{Downlink, DownlinkStatus, SkipTo, check_downlink};

/// The downlinks that are configured and enabled, by name.
#[derive(Debug, Default)]
pub(super) struct Downlinks(Links<Downlink>);

impl Downlinks {
    /// From now on those of `config`.
    pub(super) async fn change(&self, around: &Around, config: &Config) {
        self.0.change(around, &config.downlinks, &config.gateway.labels).await;
        if around.broker.refuses_records() {
            self.pause_all();
        }
    }

    /// Stops all, side by side.
    pub(super) async fn stop(&self) {
        self.0.stop().await;
    }

    /// Lets none bring anything, until [`Downlinks::resume_all`].
    pub(super) fn pause_all(&self) {
        self.0.all().iter().for_each(|downlink| downlink.pause());
    }

    /// Lets all go on.
    pub(super) fn resume_all(&self) {
        self.0.all().iter().for_each(|downlink| downlink.resume());
    }

    /// How each is.
    pub(super) fn statuses(&self) -> Vec<DownlinkStatus> {
        self.0.all().iter().map(|downlink| downlink.status()).collect()
    }

    /// Whether one has this name, which no uplink has then.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.all().iter().any(|downlink| downlink.name() == name)
    }

    /// Lets a downlink go on behind what can't be brought: name, topic upstream, partition or `all`, offset or `latest`.
    ///
    /// # Errors
    /// A text for people: why not.
    pub(super) fn skip(&self, words: &str) -> Result<String, String> {
        let words: Vec<&str> = words.split(' ').collect();
        let &[name, topic, partition, to] = words.as_slice() else {
            return Err(
                "name the downlink, a topic upstream, a partition or \"all\", and an offset or \"latest\"".to_owned()
            );
        };
        let all = self.0.all();
        let meant = all.iter().find(|downlink| downlink.name() == name);
        let meant = meant.ok_or_else(|| format!("there is no downlink {name:?}"))?;
        let partition = match partition {
            "all" => None,
            number => Some(number.parse().map_err(|_| format!("{number} is no partition"))?),
        };
        let to = SkipTo::parse(to).ok_or_else(|| format!("{to} is neither an offset nor \"latest\""))?;
        meant.skip(topic, partition, to)
    }

    /// What `action` tells of the downlink `name` ("" for all): JSON for the status, lines for the others.
    pub(super) async fn act(&self, action: UplinkAction, name: &str) -> String {
        let mut lines = String::new();
        if action == UplinkAction::Status {
            let statuses: Vec<DownlinkStatus> = self.statuses();
            return json::to_string(&statuses);
        }
        for downlink in self.0.all().iter().filter(|downlink| name.is_empty() || downlink.name() == name) {
            let name = downlink.name();
            match action {
                UplinkAction::Pause => {
                    downlink.pause();
                    lines.push_str(&format!("{name}: paused\n"));
                }
                UplinkAction::Resume => {
                    downlink.resume();
                    lines.push_str(&format!("{name}: goes on\n"));
                }
                UplinkAction::Check | UplinkAction::Status | UplinkAction::Skip => {
                    lines.push_str(&format!("{name}:\n"));
                    for finding in check_downlink(downlink.options()).await {
                        lines.push_str(&format!("{finding}\n"));
                    }
                }
            }
        }
        lines
    }
}
