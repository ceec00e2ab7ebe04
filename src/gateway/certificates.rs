//! What TLS stands on in this gateway: certificates, keys and CAs, and the time by which they are judged.
//!
//! Their files are looked at every [`LOOK_EVERY`], and at once when [`Certificates::reload`] asks for it (SIGHUP).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_lite::FutureExt;

use super::settings::clock_trust;
use super::status::CertificateFigures;
use crate::config::{ClockTrust, LinkSaslConfig, LinkTlsConfig};
use crate::metrics::METRICS;
use crate::shutdown::Shutdown;
use crate::store::Store;
use crate::store::clock::{Clock, RealClock, WALL_FLOOR_MS};
use crate::tls::{self, CertClock, CertTime, LinkTls, Watched};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// All that is held of TLS. Clones share it.
#[derive(Clone)]
pub(super) struct Certificates {
    clock: CertClock,
    held: Arc<Mutex<Vec<Arc<dyn Watched>>>>,
    asked: Arc<event_listener::Event>,
}

impl Certificates {
    pub(super) fn new(store: &Store) -> Self {
        let store = store.clone();
        let clock = CertClock::new(move || time(&store));
        Self { clock, held: Arc::default(), asked: Arc::default() }
    }

    /// The time by which certificates are judged.
    pub(super) fn clock(&self) -> &CertClock {
        &self.clock
    }

    /// From now on this is looked after.
    pub(super) fn watch(&self, held: Arc<dyn Watched>) {
        self.held().push(held);
    }

    /// What the uplink or downlink `name` (`uplink.centre`) has for TLS. Its files are read when it calls: what is wrong with them is no
    /// reason not to serve.
    pub(super) fn of_link(&self, name: &str, config: (&LinkTlsConfig, &LinkSaslConfig)) -> LinkTls {
        let held = link(name, config, &self.clock);
        for held in [&held.brokers, &held.tokens].into_iter().flatten() {
            self.watch(held.clone());
        }
        held
    }

    /// A link that had this has ended.
    pub(super) fn forget(&self, held: &LinkTls) {
        let mut watched = self.held();
        for gone in [&held.brokers, &held.tokens].into_iter().flatten() {
            watched.retain(|one| !std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(gone)));
        }
    }

    /// Reads all files again, soon.
    pub(super) fn reload(&self) {
        self.asked.notify(usize::MAX);
    }

    /// Looks at files until shutdown.
    pub(super) async fn keep(self, shutdown: Shutdown) {
        loop {
            let asked = self.asked.listen();
            let force = {
                let asked = async {
                    asked.await;
                    true
                };
                let due = async {
                    smol::Timer::after(LOOK_EVERY).await;
                    false
                };
                shutdown.unless(asked.or(due)).await
            };
            let Some(force) = force else { return };
            self.look(force);
        }
    }

    fn look(&self, force: bool) {
        let held = self.held().clone();
        held.iter().for_each(|held| held.look(force));
        self.figures();
    }

    /// What the status tells of each; the metric of the first end is brought up to date.
    pub(super) fn figures(&self) -> Vec<CertificateFigures> {
        let held = self.held().clone();
        let now_ms = self.clock.now().ms;
        let figures: Vec<_> =
            held.iter().flat_map(|held| held.report()).map(|report| CertificateFigures::new(report, now_ms)).collect();
        let first = figures.iter().filter_map(|of| of.not_after_ms).min();
        METRICS.tls_expires_in_s.set(first.map_or(0, |at| (at - now_ms) / 1_000));
        figures
    }

    /// A panic elsewhere can't leave it half changed.
    fn held(&self) -> MutexGuard<'_, Vec<Arc<dyn Watched>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an uplink or downlink has for TLS in a process that is no gateway, by this machine's clock.
#[must_use]
pub fn link_tls(name: &str, (tls, sasl): (&LinkTlsConfig, &LinkSaslConfig), trust: ClockTrust) -> LinkTls {
    link(name, (tls, sasl), &machine_clock(trust))
}

/// The time by this machine's clock alone.
pub(super) fn machine_clock(trust: ClockTrust) -> CertClock {
    let clock = RealClock::new(clock_trust(trust));
    CertClock::new(move || {
        let trusted = clock.wall_trusted();
        CertTime { ms: if trusted { clock.wall_ms() } else { WALL_FLOOR_MS }, trusted }
    })
}

fn link(name: &str, (tls, sasl): (&LinkTlsConfig, &LinkSaslConfig), clock: &CertClock) -> LinkTls {
    let held = |what: &str, config: &LinkTlsConfig| {
        config.enabled.then(|| Arc::new(tls::client(&format!("{name}.{what}"), config, clock)))
    };
    LinkTls { brokers: held("tls", tls), tokens: sasl.token_tls().and_then(|config| held("sasl", &config)) }
}

/// Now; or, while the clock isn't trusted, the latest moment that is certain to be past: when this program was made, or when the time
/// was last known and as long after it as the gateway has run since.
fn time(store: &Store) -> CertTime {
    let now = store.now();
    if now.wall_trusted {
        return CertTime { ms: now.wall_ms, trusted: true };
    }
    let rows = store.epochs();
    // Wall time less the store's own age, when it was last known.
    let line = rows.iter().rev().find_map(|row| Some(row.time.learned_ms?.saturating_sub(row.time.age_ms)));
    let age = rows.last().map(|last| {
        let is_now = last.epoch.ordinal == store.epoch().ordinal;
        last.time.age_ms.saturating_add(if is_now { i64::try_from(now.mono_ms).unwrap_or(0) } else { 0 })
    });
    let past = line.zip(age).map(|(line, age)| line.saturating_add(age));
    CertTime { ms: past.unwrap_or(WALL_FLOOR_MS).max(WALL_FLOOR_MS), trusted: false }
}
