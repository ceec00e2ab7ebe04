//! The configuration of a running gateway, read again.
//!
//! Invariants: what is refused changes nothing, and is told until one is taken; what takes a restart stays as it was, also in what is kept to
//! fall back to, and is told until then; one reload at a time, and none while the gateway ends.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use serde::{Deserialize, Serialize};
use smol::lock::{Mutex as Turn, MutexGuard as TurnGuard};

use super::certificates::Certificates;
use super::live::Live;
use super::status::{ConfigFigures, wall_ms};
use super::{identity, inspect};
use crate::config::{
    Change, Config, ConfigErrors, Labels, Layers, Loaded, TakesEffect, changes, save_last_good, without_restart,
};
use crate::executor;
use crate::json;
use crate::metrics::{METRICS, Reading};
use crate::shutdown::Shutdown;
use crate::uplink::About;

/// Errors that are kept for the status.
const KEPT_MAX: usize = 4;

/// What a gateway starts with, and where that came from.
#[derive(Clone, Debug)]
pub struct Configured {
    /// Read again at each reload.
    pub layers: Layers,
    pub loaded: Loaded,
    /// Why `loaded` is not what `layers` have, but the last good configuration.
    pub refused: Option<ConfigErrors>,
}

/// What came of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadReport {
    /// Whether something was to be changed; else it was only looked at.
    pub applied: bool,
    /// How many configurations this run has had.
    pub generation: u64,
    /// What differs from what the gateway runs with.
    pub changes: Vec<ReloadChange>,
    /// What is wrong; then nothing was changed.
    pub refused: Vec<String>,
    /// What may surprise.
    pub warnings: Vec<String>,
}

/// A key whose value differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadChange {
    pub key: String,
    /// As TOML; secrets are masked. `None`: it was not there.
    pub before: Option<String>,
    pub after: Option<String>,
    /// When it takes effect: `at-once`, `new-connections`, `restart` or `adoption`.
    pub takes: String,
}

impl ReloadChange {
    /// Whether it takes a restart.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self.takes.as_str(), "restart" | "adoption")
    }
}

impl std::fmt::Display for ReloadChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |of: &Option<String>| of.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, "{}: {} → {}", self.key, or_none(&self.before), or_none(&self.after))
    }
}

impl From<Change> for ReloadChange {
    fn from(change: Change) -> Self {
        let takes = match change.takes {
            TakesEffect::AtOnce => "at-once",
            TakesEffect::NewConnections => "new-connections",
            TakesEffect::Restart => "restart",
            TakesEffect::Adoption => "adoption",
        };
        Self { key: change.key, before: change.before, after: change.after, takes: takes.to_owned() }
    }
}

impl ReloadReport {
    /// Reads what a gateway has told.
    ///
    /// # Errors
    /// Where it is no such object.
    pub fn parse(json: &str) -> Result<Self, String> {
        json::from_str(json).map_err(|error| format!("what the gateway told cannot be read: {error}"))
    }

    /// What a person reads in the log or at the terminal.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.warnings.iter().map(|warning| format!("warning: {warning}")).collect();
        for change in &self.changes {
            let when = match (change.takes.as_str(), self.applied && self.refused.is_empty()) {
                ("restart", _) => "waits for a restart",
                ("adoption", _) => {
                    "takes `brooklet adopt DIR --id NAME` and a restart: the store belongs to the name before"
                }
                ("new-connections", true) => "holds for connections from now on",
                ("new-connections", false) => "would hold for new connections",
                (_, true) => "holds now",
                _ => "would hold at once",
            };
            lines.push(format!("{change} ({when})"));
        }
        if self.changes.is_empty() && self.refused.is_empty() {
            lines.push("nothing differs from what the gateway runs with".to_owned());
        }
        lines
    }
}

/// See the module.
pub(super) struct Reloading {
    /// The gateway's id.
    id: String,
    certificates: Certificates,
    /// Uplinks tell which configuration holds.
    about: Arc<About>,
    shutdown: Shutdown,
    turn: Turn<()>,
    live: OnceLock<Weak<Live>>,
    state: Mutex<State>,
}

struct State {
    /// `None`: it was started without files.
    configured: Option<Configured>,
    labels: Labels,
    figures: ConfigFigures,
}

impl Reloading {
    pub(super) fn new(
        id: &str,
        config: &Config,
        configured: Option<Configured>,
        (certificates, about, shutdown): (Certificates, Arc<About>, Shutdown),
    ) -> Self {
        let mut figures = ConfigFigures { generation: 1, loaded_ms: wall_ms(), ..ConfigFigures::default() };
        if let Some(of) = &configured {
            about.reconfigured(of.loaded.fingerprint());
        }
        if let Some(refused) = configured.as_ref().and_then(|of| of.refused.as_ref()) {
            refuse(&mut figures, &texts(refused));
        }
        let state = Mutex::new(State { configured, labels: config.gateway.labels.clone(), figures });
        Self { id: id.to_owned(), certificates, about, shutdown, turn: Turn::new(()), live: OnceLock::new(), state }
    }

    /// From now on there is something to change.
    pub(super) fn begin(&self, live: Weak<Live>) {
        // Once, by the gateway's start.
        let _ = self.live.set(live);
    }

    /// What the status tells, of one moment: what the gateway is known by besides, which configuration that is from, and the metrics,
    /// some of which count configurations.
    pub(super) fn shown(&self) -> (BTreeMap<String, String>, ConfigFigures, Vec<Reading>) {
        let state = self.state();
        let labels = state.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        (labels, state.figures.clone(), METRICS.readings())
    }

    /// Keeps what the gateway runs with as the one to fall back to, unless that is what it has fallen back to.
    ///
    /// # Errors
    /// The file system's.
    pub(super) async fn keep(&self) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        match self.state().configured.clone() {
            Some(Configured { loaded, refused: None, .. }) => save_last_good(&loaded.config.data_dir, &loaded),
            _ => Ok(()),
        }
    }

    /// No reload runs, and none begins as long as this is held.
    pub(super) async fn pause(&self) -> TurnGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Reads the configuration again and applies what can change now; or, without `apply`, only tells what that would be. Files of TLS are read
    /// again in any case.
    ///
    /// # Errors
    /// A text for people: it could not be tried, or the store has stopped. Nothing was changed.
    pub(super) async fn reload(&self, apply: bool) -> Result<ReloadReport, String> {
        let _turn = self.turn.lock().await;
        if self.shutdown.has_begun() {
            return Err("the gateway is ending".to_owned());
        }
        if apply {
            self.certificates.reload();
        }
        let configured = self.state().configured.clone();
        let Some(Configured { layers, loaded: running, .. }) = configured else {
            return Err("this gateway was not started from configuration files".to_owned());
        };
        let read =
            executor::unblock(move || Config::load(&layers).map(|loaded| (found_in_files(&loaded.config), loaded)));
        let report = match read.await {
            Err(refused) => self.refused(apply, texts(&refused)),
            Ok((found, mut loaded)) => {
                let mut warnings = std::mem::take(&mut loaded.warnings);
                warnings.extend(found);
                let mut report = self.taken(apply, &running, loaded).await?;
                report.warnings.extend(warnings);
                report
            }
        };
        if apply {
            tell(&report);
        }
        Ok(report)
    }

    /// A configuration that is right for itself.
    async fn taken(&self, apply: bool, running: &Loaded, loaded: Loaded) -> Result<ReloadReport, String> {
        let Some(live) = self.live.get().and_then(Weak::upgrade) else {
            return Err("the gateway is still starting".to_owned());
        };
        let mut all = changes(running, &loaded);
        for change in all.iter_mut().filter(|change| change.takes == TakesEffect::Adoption) {
            if !identity::needs_adoption(loaded.config.gateway.id.as_deref(), &self.id) {
                change.takes = TakesEffect::AtOnce;
            }
        }
        let mut warnings = Vec::new();
        let now = without_restart(running, &loaded, &all).unwrap_or_else(|contradiction| {
            all.iter_mut().filter(|change| !change.takes.waits()).for_each(|of| of.takes = TakesEffect::Restart);
            let why = "what could change now goes together only with what waits for a restart, so all of it waits";
            warnings.push(format!("{why}: {contradiction}"));
            running.clone()
        });
        let prepared = match live.prepare(&now.config) {
            Ok(prepared) => prepared,
            Err(why) => return Ok(self.refused(apply, vec![why])),
        };
        let waiting = all.iter().filter(|change| change.takes.waits()).map(|change| change.key.clone()).collect();
        let mut generation = self.state().figures.generation;
        if apply {
            live.apply(&running.config, &now.config, prepared).await?;
            if let Err(error) = save_last_good(&now.config.data_dir, &now) {
                warnings.push(format!("it can't be kept as the last one that worked: {error}"));
            }
            generation = self.holds(now, waiting);
        }
        let changes = all.into_iter().map(ReloadChange::from).collect();
        Ok(ReloadReport { applied: apply, generation, changes, warnings, ..ReloadReport::default() })
    }

    /// From now on this holds, and that waits. Which generation it is.
    fn holds(&self, now: Loaded, waiting: Vec<String>) -> u64 {
        self.about.reconfigured(now.fingerprint());
        let mut state = self.state();
        METRICS.config_reloads.add(1);
        METRICS.config_waiting.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
        let generation = state.figures.generation + 1;
        state.figures = ConfigFigures {
            generation,
            loaded_ms: wall_ms(),
            waiting_for_restart: waiting,
            ..ConfigFigures::default()
        };
        state.labels.clone_from(&now.config.gateway.labels);
        if let Some(configured) = &mut state.configured {
            configured.loaded = now;
            configured.refused = None;
        }
        generation
    }

    fn refused(&self, apply: bool, errors: Vec<String>) -> ReloadReport {
        let mut state = self.state();
        if apply {
            METRICS.config_reloads_refused.add(1);
            refuse(&mut state.figures, &errors);
        }
        ReloadReport {
            applied: apply,
            generation: state.figures.generation,
            refused: errors,
            ..ReloadReport::default()
        }
    }

    /// A panic elsewhere can't leave it half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(figures: &mut ConfigFigures, errors: &[String]) {
    figures.refused_since_ms.get_or_insert(wall_ms());
    figures.refused = errors.iter().take(KEPT_MAX).cloned().collect();
}

fn texts(errors: &ConfigErrors) -> Vec<String> {
    errors.errors.iter().map(ToString::to_string).collect()
}

/// What can't be used of the files for TLS and the secrets that a configuration names. A link calls all the same; a listener that takes them at
/// the next start would not.
fn found_in_files(config: &Config) -> Vec<String> {
    let found = inspect::inspect(config);
    let certificates = found.certificates.into_iter();
    let failed = certificates.filter_map(|of| Some(format!("{}: {}", of.of, of.failure?)));
    failed.chain(found.secrets.into_iter().map(|(key, why)| format!("{key}: {why}"))).collect()
}

fn tell(report: &ReloadReport) {
    if !report.refused.is_empty() {
        log::error!("the configuration is refused; the gateway goes on with the one that it has");
        return report.refused.iter().for_each(|error| log::error!("{error}"));
    }
    log::info!("configuration {} holds", report.generation);
    report.lines().iter().for_each(|line| log::info!("{line}"));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::clock::ManualClock;
    use crate::store::sim::SimDisk;
    use crate::store::{Store, StoreOptions};

    #[test]
    fn what_the_status_tells_is_of_one_configuration() {
        let options = StoreOptions {
            max_bytes: Some(8 << 20),
            segment_bytes: Some(1 << 20),
            ..StoreOptions::new(Path::new("/s"))
        };
        let (store, _engine) =
            Store::open(options, Arc::new(SimDisk::new(1)), Arc::new(ManualClock::default())).unwrap();
        let mut loaded =
            Loaded { config: Config::default(), effective: Vec::new(), warnings: Vec::new(), files: Vec::new() };
        let about = (Certificates::new(&store), Arc::new(About::new("none")), Shutdown::default());
        let reloading = Reloading::new("gw", &loaded.config, None, about);
        std::thread::scope(|scope| {
            let changes = scope.spawn(|| {
                for generation in 2..20_000_u64 {
                    loaded.config.gateway.labels = Labels::of([("made", generation.to_string().as_str())]);
                    reloading.holds(loaded.clone(), vec![String::new(); generation as usize % 2]);
                }
            });
            while !changes.is_finished() {
                let (labels, figures, metrics) = reloading.shown();
                let made = labels.get("made").map_or(1, |made| made.parse().unwrap());
                let waiting = metrics.iter().find(|reading| reading.name == "config_waiting").unwrap().value;
                assert_eq!((figures.generation, figures.waiting_for_restart.len() as i64), (made, waiting));
            }
        });
    }
}
