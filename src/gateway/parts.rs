//! What runs in a gateway beside each other: listeners, links, upkeep. Each part is spawned here and ends by the shutdown, and the
//! gateway's end waits for all of them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_channel::Sender;
use smol::net::unix::UnixListener;

use super::acceptors::Acceptors;
use super::certificates::Certificates;
use super::doors::AllDoors;
use super::downlinks::Downlinks;
use super::links::Around;
use super::live::{Live, guard};
use super::reloading::Reloading;
use super::traffic::Traffic;
use super::uplinks::Uplinks;
use super::vital::Vital;
use super::{administration, local, settings};
use crate::broker::{Broker, Listener};
use crate::config::Config;
use crate::executor::Executor;
use crate::listen::auth::Authentication;
use crate::listen::budget::Budgets;
use crate::listen::http::Http;
use crate::listen::kafka::Kafka;
use crate::listen::mqtt::Mqtt;
use crate::listen::native::Native;
use crate::shutdown::Shutdown;
use crate::source::publish_host;

/// How often it is looked whether everything gets on, for `/healthz`.
const HEALTH_EVERY: Duration = Duration::from_secs(10);

/// Where it listens.
pub(super) struct Bound {
    pub(super) listeners: administration::Listeners,
    pub(super) socket: PathBuf,
    pub(super) live: Arc<Live>,
}

/// What every part that runs is given.
pub(super) struct Parts<'a> {
    pub(super) executor: &'a Arc<Executor>,
    pub(super) shutdown: &'a Shutdown,
    /// Each part holds one until it has ended.
    pub(super) alive: Sender<()>,
}

impl Parts<'_> {
    /// Runs a part until it ends; the gateway's end waits for it.
    fn spawn(&self, part: impl Future<Output = ()> + Send + 'static) {
        let alive = self.alive.clone();
        let part = async move {
            part.await;
            drop(alive);
        };
        self.executor.spawn(part).detach();
    }

    /// Binds all listeners, then serves them: a gateway that cannot listen as told does not start.
    pub(super) async fn listen(
        &self,
        config: &Config,
        around: Around,
        (uplinks, downlinks): (Arc<Uplinks>, Arc<Downlinks>),
        reloading: &Arc<Reloading>,
    ) -> Result<Bound, String> {
        let (broker, certificates) = (&around.broker, &around.certificates);
        let doors = AllDoors::bind(&config.listen, certificates).await?;
        let (socket, local_listener) = local::bind(&config.data_dir)?;
        let listeners = doors.listeners();
        let who = Authentication::new(broker.lobby());
        let memory = Budgets::new(settings::bytes(config.listen.max_inflight_bytes));
        let of_mqtt = settings::mqtt(&config.listen.mqtt)?;
        let mqtt = Mqtt::new(broker.clone(), guard(&who, config, Listener::Mqtt), of_mqtt, &memory);
        let administration = Arc::new(administration::GatewayAdministration::new(
            (&around.id, Arc::clone(reloading)),
            broker.clone(),
            (Arc::clone(&uplinks), Arc::clone(&downlinks)),
            (listeners, certificates.clone()),
            mqtt.clone(),
            self.watch(broker),
        ));
        let http = Http::new(administration.clone(), settings::http(&config.listen.http), &memory)?;
        let of_native = settings::native(&config.listen.native, &around.id);
        let native_guard = guard(&who, config, Listener::Native);
        let native = Native::new(broker.clone(), native_guard, of_native, administration, &memory);
        let kafka_guard = guard(&who, config, Listener::Kafka);
        let kafka = Kafka::new(broker.clone(), kafka_guard, settings::kafka(&config.listen.kafka), &memory);
        let acceptors = Acceptors::new(&config.listen);
        let live = Live { around, uplinks, downlinks, who, acceptors, native, kafka, mqtt, http };
        self.serve(&live, doors, local_listener);
        if config.listen.mqtt.enabled {
            let (mqtt, shutdown) = (live.mqtt.clone(), self.shutdown.clone());
            self.spawn(async move { mqtt.keep(&shutdown).await });
        }
        Ok(Bound { listeners, socket, live: Arc::new(live) })
    }

    /// Serves whoever comes by a door, or by the local socket.
    fn serve(&self, live: &Live, doors: AllDoors, local: Option<UnixListener>) {
        let [of_native, of_kafka, of_mqtt, of_http] = live.acceptors.all(self.executor, self.shutdown, &self.alive);
        self.spawn(local::serve(local, live.native.clone(), of_native.clone()));
        for door in doors.native.all {
            let (serving, acceptor) = (live.native.clone(), of_native.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        for door in doors.kafka.all {
            let (serving, acceptor) = (live.kafka.clone(), of_kafka.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        for door in doors.mqtt.all {
            let (serving, acceptor) = (live.mqtt.clone(), of_mqtt.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        for door in doors.websocket.all {
            let (serving, acceptor) = (live.mqtt.clone(), of_mqtt.clone());
            self.spawn(async move { serving.serve_websocket(door, acceptor).await });
        }
        if !doors.http.all.is_empty() {
            let (serving, shutdown) = (live.http.clone(), self.shutdown.clone());
            self.spawn(async move { serving.keep(&shutdown).await });
        }
        for door in doors.http.all {
            let (serving, acceptor) = (live.http.clone(), of_http.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
    }

    /// Keeps what the broker and the certificates need done from time to time.
    pub(super) fn keep(&self, broker: &Broker, certificates: Certificates) {
        let shutdown = self.shutdown;
        self.spawn(certificates.keep(shutdown.clone()));
        self.spawn({
            let (broker, shutdown) = (broker.clone(), shutdown.clone());
            async move {
                shutdown.unless(broker.keep_tidy()).await;
            }
        });
        self.spawn({
            let (broker, shutdown) = (broker.clone(), shutdown.clone());
            async move {
                shutdown.unless(broker.keep_groups()).await;
                broker.close_groups();
            }
        });
    }

    /// Ends uplinks and downlinks in order when everything ends: no reload begins others then.
    pub(super) fn end_links(&self, links: (Arc<Uplinks>, Arc<Downlinks>), reloading: &Arc<Reloading>) {
        let (shutdown, reloading) = (self.shutdown.clone(), Arc::clone(reloading));
        let (uplinks, downlinks) = links;
        self.spawn(async move {
            shutdown.wait().await;
            let _none_begins = reloading.pause().await;
            downlinks.stop().await;
            uplinks.stop().await;
        });
    }

    /// Publishes this machine's own telemetry, if it is to.
    pub(super) fn publish_host(&self, config: &Config, broker: &Broker, gateway: &str) {
        if !config.source.host.enabled {
            return;
        }
        let source = publish_host(broker.clone(), config.source.host.clone(), gateway.to_owned());
        let shutdown = self.shutdown.clone();
        self.spawn(async move {
            shutdown.unless(source).await;
        });
    }

    /// Looks after what only time tells: what goes through, and whether everything gets on.
    fn watch(&self, broker: &Broker) -> (Arc<Traffic>, administration::Health) {
        let traffic = Arc::new(Traffic::default());
        let health = Arc::new(Mutex::new(Ok(())));
        self.spawn({
            let (traffic, shutdown) = (Arc::clone(&traffic), self.shutdown.clone());
            async move { traffic.keep(shutdown).await }
        });
        self.spawn({
            let (health, shutdown) = (Arc::clone(&health), self.shutdown.clone());
            let mut vital = Vital::new(broker.store(), self.executor);
            async move {
                while shutdown.unless(smol::Timer::after(HEALTH_EVERY)).await.is_some() {
                    *health.lock().unwrap_or_else(PoisonError::into_inner) = vital.check();
                }
            }
        });
        (traffic, health)
    }
}
