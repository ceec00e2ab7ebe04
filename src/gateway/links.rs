//! The gateway's links, up or down: started together, changed one by one, stopped together.
//!
//! Invariants: no two links of one name run at a time; a link that is told the same as before is not touched; one that is told otherwise ends
//! in order first, so that the next goes on where it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::certificates::Certificates;
use crate::broker::Broker;
use crate::config::{DownlinkConfig, Labels, LinkSaslConfig, LinkTlsConfig, UplinkConfig};
use crate::executor::Executor;
use crate::tls::LinkTls;
use crate::uplink::{About, Downlink, DownlinkOptions, Uplink, UplinkOptions};

/// What every link works with.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) executor: Arc<Executor>,
    /// The gateway's id.
    pub(super) id: String,
    pub(super) broker: Broker,
    pub(super) certificates: Certificates,
    /// What uplinks tell of the gateway.
    pub(super) about: Arc<About>,
}

/// What is the same of uplinks and downlinks.
pub(super) trait Link: Send + Sync + Sized + 'static {
    /// Its table in the configuration.
    type Config: Clone + PartialEq + Send + Sync;
    /// How its keys begin.
    const KIND: &'static str;

    fn is_enabled(config: &Self::Config) -> bool;
    fn secured(config: &Self::Config) -> (&LinkTlsConfig, &LinkSaslConfig);
    /// In the place of `before`, which has ended.
    fn start(around: &Around, name: &str, told: (&Self::Config, &Labels), tls: LinkTls, before: Option<&Self>) -> Self;
    fn name(&self) -> &str;
    fn told(&self) -> (&Self::Config, &Labels, &LinkTls);
    fn begin_stop(&self);
    fn stop(&self) -> impl Future<Output = ()> + Send;
    /// There is none of this name any more.
    fn is_gone(around: &Around, name: &str);
}

impl Link for Uplink {
    type Config = UplinkConfig;
    const KIND: &'static str = "uplink";

    fn is_enabled(config: &UplinkConfig) -> bool {
        config.enabled
    }

    fn secured(config: &UplinkConfig) -> (&LinkTlsConfig, &LinkSaslConfig) {
        (&config.tls, &config.sasl)
    }

    fn start(
        around: &Around,
        name: &str,
        (config, labels): (&UplinkConfig, &Labels),
        tls: LinkTls,
        before: Option<&Self>,
    ) -> Self {
        let (name, gateway) = (name.to_owned(), around.id.clone());
        let (labels, config, about) = (labels.clone(), config.clone(), Arc::clone(&around.about));
        let options = UplinkOptions { name, gateway, labels, config, tls, about };
        Uplink::spawn_after(&around.executor, around.broker.clone(), options, before)
    }

    fn name(&self) -> &str {
        Uplink::name(self)
    }

    fn told(&self) -> (&UplinkConfig, &Labels, &LinkTls) {
        let options = self.options();
        (&options.config, &options.labels, &options.tls)
    }

    fn begin_stop(&self) {
        Uplink::begin_stop(self);
    }

    fn stop(&self) -> impl Future<Output = ()> + Send {
        Uplink::stop(self)
    }

    fn is_gone(around: &Around, name: &str) {
        around.broker.remove_follower(name);
    }
}

impl Link for Downlink {
    type Config = DownlinkConfig;
    const KIND: &'static str = "downlink";

    fn is_enabled(config: &DownlinkConfig) -> bool {
        config.enabled
    }

    fn secured(config: &DownlinkConfig) -> (&LinkTlsConfig, &LinkSaslConfig) {
        (&config.tls, &config.sasl)
    }

    fn start(
        around: &Around,
        name: &str,
        (config, labels): (&DownlinkConfig, &Labels),
        tls: LinkTls,
        before: Option<&Self>,
    ) -> Self {
        let (name, gateway) = (name.to_owned(), around.id.clone());
        let options = DownlinkOptions { name, gateway, labels: labels.clone(), config: config.clone(), tls };
        Downlink::spawn_after(&around.executor, around.broker.clone(), options, before)
    }

    fn name(&self) -> &str {
        Downlink::name(self)
    }

    fn told(&self) -> (&DownlinkConfig, &Labels, &LinkTls) {
        let options = self.options();
        (&options.config, &options.labels, &options.tls)
    }

    fn begin_stop(&self) {
        Downlink::begin_stop(self);
    }

    fn stop(&self) -> impl Future<Output = ()> + Send {
        Downlink::stop(self)
    }

    fn is_gone(_: &Around, _: &str) {}
}

/// The links of a kind that are configured and enabled, by name.
#[derive(Debug)]
pub(super) struct Links<L>(Mutex<Vec<Arc<L>>>);

impl<L> Default for Links<L> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<L: Link> Links<L> {
    /// As of now.
    pub(super) fn all(&self) -> Vec<Arc<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops all, side by side: positions are durable afterwards.
    pub(super) async fn stop(&self) {
        stop(&self.all()).await;
    }

    /// From now on there are those of `wanted` that are enabled. Which of them are new or told otherwise start anew, once those that they
    /// replace have ended: within 2 s.
    pub(super) async fn change(&self, around: &Around, wanted: &BTreeMap<String, L::Config>, labels: &Labels) {
        let wanted: Vec<_> = wanted.iter().filter(|(_, config)| L::is_enabled(config)).collect();
        let stays = |link: &Arc<L>| {
            let (config, own_labels, _) = link.told();
            wanted.iter().any(|(name, wanted)| *name == link.name() && *wanted == config) && own_labels == labels
        };
        let (mut now, ended): (Vec<_>, Vec<_>) = self.all().into_iter().partition(stays);
        stop(&ended).await;
        for link in &ended {
            around.certificates.forget(link.told().2);
            if !wanted.iter().any(|(name, _)| *name == link.name()) {
                L::is_gone(around, link.name());
            }
        }
        for (name, config) in wanted {
            if now.iter().any(|link| link.name() == name) {
                continue;
            }
            let before = ended.iter().find(|link| link.name() == name).map(|link| &**link);
            let tls = around.certificates.of_link(&format!("{}.{name}", L::KIND), L::secured(config));
            now.push(Arc::new(L::start(around, name, (config, labels), tls, before)));
        }
        now.sort_by(|one, other| one.name().cmp(other.name()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

async fn stop<L: Link>(links: &[Arc<L>]) {
    links.iter().for_each(|link| link.begin_stop());
    for link in links {
        link.stop().await;
    }
}
