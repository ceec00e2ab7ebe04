//! The wiring: opens the store, puts the broker on it, starts listeners and uplinks, and drains them all at the end.
//!
//! Order of the end: no new connections; sessions answer what they have taken, at most [`DRAIN_TIME`]; uplinks save
//! their positions; the store commits what waits, and closes. Everything acknowledged is kept.

mod administration;
mod certificates;
mod doors;
mod downlinks;
mod draining;
mod exposition;
mod glance;
mod identity;
mod inspect;
mod last_words;
mod local;
mod own_rows;
pub mod problems;
mod settings;
mod starts;
pub mod status;
mod traffic;
mod uplinks;
mod vital;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::executor::Executor;
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use smol::future;

use crate::broker::{Broker, Listener};
use crate::config::{Config, ListenConfig};
use crate::listen::accept::Acceptor;
use crate::listen::auth::Authentication;
use crate::listen::budget::Budgets;
use crate::listen::handshake::Handshakes;
use crate::listen::http::Http;
use crate::listen::kafka::Kafka;
use crate::listen::mqtt::Mqtt;
use crate::listen::native::Native;
use crate::listen::places::{Places, Total};
use crate::metrics::{Gauge, METRICS};
use crate::shutdown::Shutdown;
use crate::source::publish_host;
use crate::store::clock::RealClock;
use crate::store::disk::{Disk, RealDisk};
use crate::store::{EngineHandle, Store};
use crate::uplink::About;

use certificates::Certificates;
use doors::AllDoors;
use downlinks::Downlinks;
use identity::Settled;
use last_words::LastWords;
use own_rows::write_rows;
use starts::Run;
use traffic::Traffic;
use uplinks::Uplinks;

pub use certificates::link_tls;
pub use draining::{DrainStatus, TopicRecords, UplinkPending};
pub use identity::{Adopted, Hardware, Place, adopt};
pub use inspect::{Inspected, inspect};
pub use last_words::leave_last_words;
pub use local::SOCKET_NAME;
pub use settings::STORE_DIR;
pub use starts::{End, Start, starts};
pub use vital::Vital;

/// Threads that run sessions and uplinks; the store has its own.
const IO_THREADS: usize = 2;
/// How often it is looked whether everything gets on, for `/healthz`.
const HEALTH_EVERY: Duration = Duration::from_secs(10);
/// How long sessions may take to answer what they have taken.
const DRAIN_TIME: Duration = Duration::from_secs(4);

/// A running gateway. Dropping it without [`Gateway::stop`] is as a power cut: what was acknowledged is kept.
pub struct Gateway {
    id: String,
    run: Run,
    about: Arc<About>,
    broker: Broker,
    uplinks: Arc<Uplinks>,
    engine: EngineHandle,
    executor: Arc<Executor>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped to end the threads.
    running: Sender<()>,
    shutdown: Shutdown,
    /// Closed when the last listener, session and uplink has ended.
    ended: Receiver<()>,
    listeners: administration::Listeners,
    certificates: Certificates,
    socket: PathBuf,
}

impl Gateway {
    /// Starts a gateway on this machine: when this returns, it serves.
    ///
    /// # Errors
    /// A text that says what is wrong and what to do: the store, an address, the data directory.
    pub fn start(config: &Config) -> Result<Self, String> {
        Self::start_at(config, &Place::Home(Hardware::here()))
    }

    /// Starts a gateway: when this returns, it serves.
    ///
    /// # Errors
    /// As [`Gateway::start`]; and where the store belongs to another gateway or board.
    pub fn start_at(config: &Config, place: &Place) -> Result<Self, String> {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        disk.create_dir_all(&config.data_dir)
            .map_err(|error| format!("cannot create the data directory {}: {error}", config.data_dir.display()))?;
        local::warn_if_open(&config.data_dir);
        let clock = Arc::new(RealClock::new(settings::clock_trust(config.clock.trust)));
        let options = settings::store(config, disk.as_ref())?;
        let (store, engine) = Store::open(options, disk, clock).map_err(|error| error.to_string())?;
        let settled = match identity::settle(config.gateway.id.as_deref(), &store, place) {
            Ok(settled) => settled,
            Err(why) => {
                store.shutdown();
                // Nothing was changed: what can't be closed is opened as after a crash.
                drop(engine.close());
                return Err(why);
            }
        };
        let engine = engine.spawn().map_err(|error| format!("cannot start the store's threads: {error}"))?;
        let started = Self::start_on(config, settled, &store, engine);
        if started.is_err() {
            store.shutdown();
        }
        started
    }

    fn start_on(config: &Config, settled: Settled, store: &Store, engine: EngineHandle) -> Result<Self, String> {
        let Settled { id, row } = settled;
        let last_words = LastWords::take(&config.data_dir).unwrap_or_else(|error| {
            log::warn!("how the last run ended can't be read: {error}");
            LastWords::default()
        });
        let (run, mut rows) = Run::begin(store, &starts::boot_id(), last_words);
        rows.extend(row);
        let broker = Broker::new(store.clone(), settings::broker(config, &id)?)?;
        if let Some(why) = broker.reserves_too_large() {
            log::warn!("{why}");
        }
        // With it a new store's identity is durable: the next opening would make another.
        let written = future::block_on(write_rows(store, rows).recv());
        if let Err(error) = written.unwrap_or_else(|_| Err("the store takes nothing".to_owned())) {
            log::warn!("this start and the gateway's identity are not durable yet: {error}");
        }
        let executor = Arc::new(Executor::new());
        let (alive, ended) = async_channel::bounded::<()>(1);
        let shutdown = Shutdown::default();
        let mut parts = Parts { executor: &executor, shutdown: &shutdown, alive };
        let certificates = Certificates::new(store);
        let about = Arc::new(About::new(run.start().before.name()));
        let uplinks = Arc::new(Uplinks::start(&executor, config, &id, &broker, &certificates, &about));
        let downlinks = Arc::new(Downlinks::start(&executor, config, &id, &broker, &certificates));
        let forwarding = Arc::clone(&uplinks);
        let links = (Arc::clone(&uplinks), Arc::clone(&downlinks));
        let bound = future::block_on(parts.listen(config, &id, &broker, links, &certificates))?;
        parts.spawn(certificates.clone().keep(shutdown.clone()));
        parts.spawn({
            let shutdown = shutdown.clone();
            async move {
                shutdown.wait().await;
                downlinks.stop().await;
                uplinks.stop().await;
            }
        });
        parts.spawn({
            let (broker, shutdown) = (broker.clone(), shutdown.clone());
            async move {
                shutdown.unless(broker.keep_tidy()).await;
            }
        });
        parts.spawn({
            let (broker, shutdown) = (broker.clone(), shutdown.clone());
            async move {
                shutdown.unless(broker.keep_groups()).await;
                broker.close_groups();
            }
        });
        if config.source.host.enabled {
            let source = publish_host(broker.clone(), config.source.host.clone(), id.clone());
            let shutdown = shutdown.clone();
            parts.spawn(async move {
                shutdown.unless(source).await;
            });
        }
        drop(parts);
        let (running, stop) = async_channel::bounded::<()>(1);
        let threads = spawn_threads(&executor, &stop)?;
        Ok(Self {
            id,
            run,
            about,
            broker,
            uplinks: forwarding,
            engine,
            executor,
            threads,
            running,
            shutdown,
            ended,
            listeners: bound.listeners,
            certificates,
            socket: bound.socket,
        })
    }

    /// Which gateway this is.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// This start, and how the run before it ended.
    pub fn this_start(&self) -> &Start {
        self.run.start()
    }

    /// The broker inside.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// What the uplinks have still to forward.
    pub fn pending(&self) -> DrainStatus {
        draining::look(&self.broker, &self.uplinks)
    }

    /// Where native clients connect, if they may.
    pub fn native_addr(&self) -> Option<SocketAddr> {
        self.listeners.native.any()
    }

    /// Where Kafka clients connect, if they may.
    pub fn kafka_addr(&self) -> Option<SocketAddr> {
        self.listeners.kafka.any()
    }

    /// Where MQTT clients connect, if they may.
    pub fn mqtt_addr(&self) -> Option<SocketAddr> {
        self.listeners.mqtt.any()
    }

    /// Where MQTT clients connect by WebSocket, if they may: in the clear, and by TLS.
    pub fn websocket_addrs(&self) -> [Option<SocketAddr>; 2] {
        let of = &self.listeners.websocket;
        [of.plain, of.tls]
    }

    /// Where it shows itself by HTTP, if it does.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.listeners.http.any()
    }

    /// Where listeners are reached by TLS: native, Kafka, MQTT, HTTP.
    pub fn tls_addrs(&self) -> [(&'static str, Option<SocketAddr>); 4] {
        let of = &self.listeners;
        [("native", of.native.tls), ("Kafka", of.kafka.tls), ("MQTT", of.mqtt.tls), ("HTTP", of.http.tls)]
    }

    /// Tells its uplinks, and through them the centre, which configuration holds, by [`crate::config::Loaded::fingerprint`].
    pub fn configured_as(&self, fingerprint: u32) {
        self.about.reconfigured(fingerprint);
    }

    /// Reads certificates, keys and CAs again. Connections go on as they are.
    pub fn reload(&self) {
        self.certificates.reload();
    }

    /// What tells whether this gateway still gets on.
    pub fn vital(&self) -> Vital {
        Vital::new(self.broker.store(), &self.executor)
    }

    /// Drains and ends everything.
    pub fn stop(self) {
        self.shutdown.begin();
        let drained = async {
            // Nobody sends: this ends when the last part has dropped its end.
            let _ = self.ended.recv().await;
            true
        };
        let late = async {
            smol::Timer::after(DRAIN_TIME).await;
            false
        };
        if !future::block_on(drained.or(late)) {
            log::warn!("some connections did not end within {DRAIN_TIME:?}; they are cut");
        }
        // The last commit has it: nobody waits for an answer.
        drop(write_rows(self.broker.store(), vec![self.run.end()]));
        self.broker.store().shutdown();
        self.engine.join();
        drop(self.running);
        for thread in self.threads {
            if thread.join().is_err() {
                log::error!("a thread of the gateway had panicked");
            }
        }
        drop(self.executor);
        // A socket that is left is replaced at the next start.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Where it listens.
struct Bound {
    listeners: administration::Listeners,
    socket: PathBuf,
}

/// What every part that runs is given.
struct Parts<'a> {
    executor: &'a Arc<Executor>,
    shutdown: &'a Shutdown,
    alive: Sender<()>,
}

impl Parts<'_> {
    /// Runs a part until it ends; [`Gateway::stop`] waits for it.
    fn spawn(&self, part: impl Future<Output = ()> + Send + 'static) {
        let alive = self.alive.clone();
        let part = async move {
            part.await;
            drop(alive);
        };
        self.executor.spawn(part).detach();
    }

    /// Binds all listeners, then serves them: a gateway that cannot listen as told does not start.
    async fn listen(
        &mut self,
        config: &Config,
        id: &str,
        broker: &Broker,
        (uplinks, downlinks): (Arc<Uplinks>, Arc<Downlinks>),
        certificates: &Certificates,
    ) -> Result<Bound, String> {
        let doors = AllDoors::bind(&config.listen, certificates).await?;
        let (socket, local_listener) = local::bind(&config.data_dir)?;
        let listeners = administration::Listeners {
            native: doors.native.addresses,
            kafka: doors.kafka.addresses,
            mqtt: doors.mqtt.addresses,
            websocket: doors.websocket.addresses,
            http: doors.http.addresses,
        };
        let bound = Bound { listeners, socket };
        let (native, kafka, mqtt) = (&config.listen.native, &config.listen.kafka, &config.listen.mqtt);
        let who = Authentication::new(broker.lobby(), config.listen.certificate_names.clone());
        let guard = who.guard(Listener::Mqtt, &mqtt.auth.with(&mqtt.tls));
        let memory = Budgets::new(settings::bytes(config.listen.max_inflight_bytes));
        let mqtt_serving = Mqtt::new(broker.clone(), guard, settings::mqtt(mqtt)?, &memory);
        let administration = Arc::new(administration::GatewayAdministration::new(
            (id, &config.gateway.labels),
            broker.clone(),
            (uplinks, downlinks),
            (listeners, certificates.clone()),
            mqtt_serving.clone(),
            self.watch(broker),
        ));
        let http = Http::new(administration.clone(), settings::http(&config.listen.http), &memory)?;
        let acceptors = Acceptors::new(self, &config.listen);
        let serving = Native::new(
            broker.clone(),
            who.guard(Listener::Native, &native.auth.with(&native.tls)),
            settings::native(native, id),
            administration,
            &memory,
        );
        let acceptor = acceptors.with(native.max_connections, &METRICS.connections_native);
        self.spawn(local::serve(local_listener, serving.clone(), acceptor.clone()));
        for door in doors.native.all {
            let (serving, acceptor) = (serving.clone(), acceptor.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        let serving = Kafka::new(
            broker.clone(),
            who.guard(Listener::Kafka, &kafka.auth.with(&kafka.tls)),
            settings::kafka(kafka),
            &memory,
        );
        let acceptor = acceptors.with(kafka.max_connections, &METRICS.connections_kafka);
        for door in doors.kafka.all {
            let (serving, acceptor) = (serving.clone(), acceptor.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        let acceptor = acceptors.with(mqtt.max_connections, &METRICS.connections_mqtt);
        for door in doors.mqtt.all {
            let (serving, acceptor) = (mqtt_serving.clone(), acceptor.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        for door in doors.websocket.all {
            let (serving, acceptor) = (mqtt_serving.clone(), acceptor.clone());
            self.spawn(async move { serving.serve_websocket(door, acceptor).await });
        }
        let acceptor = acceptors.with(config.listen.http.max_connections, &METRICS.connections_http);
        if !doors.http.all.is_empty() {
            let (serving, shutdown) = (http.clone(), self.shutdown.clone());
            self.spawn(async move { serving.keep(&shutdown).await });
        }
        for door in doors.http.all {
            let (serving, acceptor) = (http.clone(), acceptor.clone());
            self.spawn(async move { serving.serve_tcp(door, acceptor).await });
        }
        if mqtt.enabled {
            let shutdown = self.shutdown.clone();
            self.spawn(async move { mqtt_serving.keep(&shutdown).await });
        }
        Ok(bound)
    }
}

impl Parts<'_> {
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

/// What the acceptors of all listeners share.
struct Acceptors {
    executor: Arc<Executor>,
    shutdown: Shutdown,
    alive: Sender<()>,
    total: Total,
    per_address: Option<usize>,
    handshakes: Handshakes,
}

impl Acceptors {
    fn new(parts: &Parts<'_>, config: &ListenConfig) -> Self {
        Self {
            executor: Arc::clone(parts.executor),
            shutdown: parts.shutdown.clone(),
            alive: parts.alive.clone(),
            total: Total::new(config.max_connections),
            per_address: config.max_connections_per_address,
            handshakes: Handshakes::new(config.max_handshakes, config.handshake_timeout),
        }
    }

    fn with(&self, connections_max: usize, gauge: &'static Gauge) -> Acceptor {
        Acceptor {
            executor: Arc::clone(&self.executor),
            shutdown: self.shutdown.clone(),
            alive: self.alive.clone(),
            places: Places::new(connections_max, self.per_address, self.total.clone(), gauge),
            handshakes: self.handshakes.clone(),
        }
    }
}

fn spawn_threads(executor: &Arc<Executor>, stop: &Receiver<()>) -> Result<Vec<JoinHandle<()>>, String> {
    (0..IO_THREADS)
        .map(|index| {
            let (executor, stop) = (Arc::clone(executor), stop.clone());
            let run = move || {
                // Ends when the gateway drops its end of the channel.
                let _ = smol::block_on(executor.run(stop.recv()));
            };
            let thread = std::thread::Builder::new().name(format!("brooklet-io-{index}"));
            thread.spawn(run).map_err(|error| format!("cannot start a thread: {error}"))
        })
        .collect()
}
