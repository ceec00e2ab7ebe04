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
mod opening;
mod own_rows;
mod parts;
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
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::executor::{Executor, start_thread};
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use smol::future;

use crate::broker::Broker;
use crate::config::Config;
use crate::shutdown::Shutdown;
use crate::store::clock::{Clock, RealClock};
use crate::store::disk::{Disk, RealDisk};
use crate::store::{EngineHandle, Store};
use crate::uplink::About;

use certificates::Certificates;
use downlinks::Downlinks;
use identity::Settled;
use last_words::LastWords;
use links::Around;
use live::Live;
use own_rows::write_rows;
use parts::Parts;
use reloading::Reloading;
use starts::Run;
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
        let clock: Arc<dyn Clock> = Arc::new(RealClock::new(settings::clock_trust(config.clock.trust)));
        let (store, engine) = opening::open(config, &disk, &clock)?;
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
        let id = settled.id.clone();
        let (run, broker) = begin(config, settled, store)?;
        let executor = Arc::new(Executor::new());
        let (alive, ended) = async_channel::bounded::<()>(1);
        let shutdown = Shutdown::default();
        let parts = Parts { executor: &executor, shutdown: &shutdown, alive };
        let certificates = Certificates::new(store);
        let about = Arc::new(About::new(run.start().before.name()));
        let reloading = (certificates.clone(), Arc::clone(&about), shutdown.clone());
        let reloading = Arc::new(Reloading::new(&id, config, configured, reloading));
        let around = Around {
            executor: Arc::clone(&executor),
            id: id.clone(),
            broker: broker.clone(),
            certificates: certificates.clone(),
            about,
        };
        let uplinks = Arc::new(Uplinks::default());
        let links = (Arc::clone(&uplinks), Arc::new(Downlinks::default()));
        let bound = future::block_on(async {
            links.0.change(&around, config).await;
            links.1.change(&around, config).await;
            parts.listen(config, around, links.clone(), &reloading).await
        })?;
        reloading.begin(Arc::downgrade(&bound.live));
        parts.keep(&broker, certificates);
        parts.end_links(links, &reloading);
        parts.publish_host(config, &broker, &id);
        // What is left of it would keep the end waiting.
        drop(parts);
        let (running, stop) = async_channel::bounded::<()>(1);
        let threads = spawn_threads(&executor, &stop)?;
        Ok(Self {
            id,
            run,
            broker,
            uplinks,
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

/// Opens the broker, and enters this run among the starts.
fn begin(config: &Config, settled: Settled, store: &Store) -> Result<(Run, Broker), String> {
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
    Ok((run, broker))
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
