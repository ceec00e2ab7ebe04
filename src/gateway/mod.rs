//! The wiring: opens the store, puts the broker on it, starts listeners and uplinks, and drains them all at the end.
//!
//! Order of the end: no new connections; sessions answer what they have taken, at most [`DRAIN_TIME`]; uplinks save
//! their positions; the store commits what waits, and closes. Everything acknowledged is kept.

mod acceptors;
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
mod links;
mod live;
mod local;
mod own_rows;
pub mod problems;
mod reloading;
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

use crate::executor::{Executor, start_thread};
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use smol::future;
use smol::net::unix::UnixListener;

use crate::broker::{Broker, Listener};
use crate::config::Config;
use crate::listen::auth::Authentication;
use crate::listen::budget::Budgets;
use crate::listen::http::Http;
use crate::listen::kafka::Kafka;
use crate::listen::mqtt::Mqtt;
use crate::listen::native::Native;
use crate::shutdown::Shutdown;
use crate::source::publish_host;
use crate::store::clock::RealClock;
use crate::store::disk::{Disk, RealDisk};
use crate::store::{EngineHandle, Store};
use crate::uplink::About;

use acceptors::Acceptors;
use certificates::Certificates;
use doors::AllDoors;
use downlinks::Downlinks;
use identity::Settled;
use last_words::LastWords;
use links::Around;
use live::{Live, guard};
use own_rows::write_rows;
use reloading::Reloading;
use starts::Run;
use traffic::Traffic;
use uplinks::Uplinks;

pub use certificates::link_tls;
pub use doors::Addresses;
pub use draining::{DrainStatus, TopicRecords, UplinkPending};
pub use identity::{Adopted, Hardware, Place, adopt, of_another_name};
pub use inspect::{Inspected, inspect};
pub use last_words::leave_last_words;
pub use local::SOCKET_NAME;
pub use reloading::{Configured, ReloadChange, ReloadReport};
pub use settings::{STORE_DIR, clock_trust};
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
    reloading: Arc<Reloading>,
    /// Reloading has it too, weakly.
    _live: Arc<Live>,
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

    /// Starts a gateway on this machine that can read its configuration again.
    ///
    /// # Errors
    /// As [`Gateway::start`].
    pub fn start_configured(configured: Configured) -> Result<Self, String> {
        let config = configured.loaded.config.clone();
        Self::open(&config, &Place::Home(Hardware::here()), Some(configured))
    }

    /// Starts a gateway: when this returns, it serves.
    ///
    /// # Errors
    /// As [`Gateway::start`]; and where the store belongs to another gateway or board.
    pub fn start_at(config: &Config, place: &Place) -> Result<Self, String> {
        Self::open(config, place, None)
    }

    fn open(config: &Config, place: &Place, configured: Option<Configured>) -> Result<Self, String> {
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
        let engine = engine.spawn().map_err(|error| format!("the store: {error}"))?;
        let started = Self::start_on((config, configured), settled, &store, engine);
        if started.is_err() {
            store.shutdown();
        }
        started
    }

    fn start_on(
        (config, configured): (&Config, Option<Configured>),
        settled: Settled,
        store: &Store,
        engine: EngineHandle,
    ) -> Result<Self, String> {
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
        let written = future::block_on(write_rows(store, rows));
        if let Err(error) = written.unwrap_or_else(|| Err("the store takes nothing".to_owned())) {
            log::warn!("this start and the gateway's identity are not durable yet: {error}");
        }
        let executor = Arc::new(Executor::new());
        let (alive, ended) = async_channel::bounded::<()>(1);
        let shutdown = Shutdown::default();
        let mut parts = Parts { executor: &executor, shutdown: &shutdown, alive };
        let certificates = Certificates::new(store);
        let about = Arc::new(About::new(run.start().before.name()));
        let reloading = (certificates.clone(), Arc::clone(&about), shutdown.clone());
        let reloading = Arc::new(Reloading::new(&id, config, configured, reloading));
        let (around_id, of_links) = (id.clone(), broker.clone());
        let around = Around {
            executor: Arc::clone(&executor),
            id: around_id,
            broker: of_links,
            certificates: certificates.clone(),
            about,
        };
        let (uplinks, downlinks) = (Arc::new(Uplinks::default()), Arc::new(Downlinks::default()));
        let forwarding = Arc::clone(&uplinks);
        let bound = future::block_on(async {
            uplinks.change(&around, config).await;
            downlinks.change(&around, config).await;
            parts.listen(config, around, (Arc::clone(&uplinks), Arc::clone(&downlinks)), &reloading).await
        })?;
        reloading.begin(Arc::downgrade(&bound.live));
        parts.spawn(certificates.keep(shutdown.clone()));
        parts.spawn({
            let (shutdown, reloading) = (shutdown.clone(), Arc::clone(&reloading));
            async move {
                shutdown.wait().await;
                let _none_begins = reloading.pause().await;
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
            broker,
            uplinks: forwarding,
            engine,
            executor,
            threads,
            running,
            shutdown,
            ended,
            listeners: bound.listeners,
            reloading,
            _live: bound.live,
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

    /// Where each listener is reached, by its name; nowhere, where it is off.
    pub fn addresses(&self) -> [(&'static str, Addresses); 5] {
        let of = &self.listeners;
        [("native", of.native), ("Kafka", of.kafka), ("MQTT", of.mqtt), ("WebSocket", of.websocket), ("HTTP", of.http)]
    }

    /// Keeps the configuration that it runs with as the one to fall back to.
    ///
    /// # Errors
    /// The file system's.
    pub async fn keep_configuration(&self) -> std::io::Result<()> {
        self.reloading.keep().await
    }

    /// Reads the configuration again, and certificates, keys and CAs, and applies what can change now; or, without `apply`, only tells what that
    /// would be. Connections go on.
    ///
    /// # Errors
    /// A text for people: it could not be tried. A configuration that is refused is none, but told in the report.
    pub async fn reload(&self, apply: bool) -> Result<ReloadReport, String> {
        self.reloading.reload(apply).await
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
    live: Arc<Live>,
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

fn spawn_threads(executor: &Arc<Executor>, stop: &Receiver<()>) -> Result<Vec<JoinHandle<()>>, String> {
    (0..IO_THREADS)
        .map(|index| {
            let (executor, stop) = (Arc::clone(executor), stop.clone());
            let run = move || {
                // Ends when the gateway drops its end of the channel.
                let _ = smol::block_on(executor.run(stop.recv()));
            };
            start_thread(format!("brooklet-io-{index}"), run).map_err(|error| error.to_string())
        })
        .collect()
}
