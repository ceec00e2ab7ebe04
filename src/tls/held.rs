//! A configuration of TLS that is held in memory, and read again when its files have changed.
//!
//! Invariants: what is held is whole: certificate, key, CAs and lists of one reading; files that can't be used change nothing but the
//! report; connections keep the configuration that they began with.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::certificate::Certificate;
use super::clock::CertClock;
use super::files::Stamp;
use crate::calendar::{MS_PER_DAY, format_time};
use crate::metrics::METRICS;

/// Days ahead from which on the end of a certificate is warned of.
pub const WARN_DAYS: i64 = 30;

/// What a reading gives.
pub(super) struct Fresh<C> {
    pub(super) config: Arc<C>,
    /// The certificates that are shown to others.
    pub(super) certificates: Vec<Certificate>,
}

type Load<C> = Box<dyn Fn() -> Result<Fresh<C>, String> + Send + Sync>;

/// See the module.
pub struct Held<C> {
    /// Whose it is, as in the configuration: `listen.kafka.tls`.
    what: String,
    files: Vec<PathBuf>,
    clock: CertClock,
    load: Load<C>,
    state: Mutex<State<C>>,
}

struct State<C> {
    held: Option<Fresh<C>>,
    stamps: Vec<Option<Stamp>>,
    failure: Option<String>,
    reloads: u64,
    /// The day on which the end of the certificate was last warned of.
    warned_day: Option<i64>,
}

/// What is known of what is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Whose it is, as in the configuration.
    pub what: String,
    pub certificate: Option<Certificate>,
    /// It has expired, as far as the time is known.
    pub expired: bool,
    /// Less than [`WARN_DAYS`] are left.
    pub expires_soon: bool,
    /// Why the files can't be used as they are now; what was read before stays in use.
    pub failure: Option<String>,
    /// How often changed files were taken over.
    pub reloads: u64,
}

impl<C> fmt::Debug for Held<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("what", &self.what).field("files", &self.files).finish_non_exhaustive()
    }
}

impl<C> Held<C> {
    /// Nothing is read yet.
    pub(super) fn new(what: String, files: Vec<PathBuf>, clock: CertClock, load: Load<C>) -> Self {
        let state = State { held: None, stamps: Vec::new(), failure: None, reloads: 0, warned_day: None };
        Self { what, files, clock, load, state: Mutex::new(state) }
    }

    /// What holds now; reads it if that was not done yet.
    ///
    /// # Errors
    /// Why it can't be read, while it never could.
    pub fn config(&self) -> Result<Arc<C>, String> {
        let mut state = self.state();
        if state.held.is_none() {
            self.read(&mut state);
        }
        let failure = || state.failure.clone().unwrap_or_default();
        state.held.as_ref().map(|held| Arc::clone(&held.config)).ok_or_else(failure)
    }

    /// Reads the files again, if any has changed (or `force`) since they were looked at last.
    pub fn look(&self, force: bool) {
        let mut state = self.state();
        if force || state.stamps != self.stamps() {
            self.read(&mut state);
        }
        self.warn(&mut state);
    }

    /// What is known of it: one for each certificate, or one if there is none.
    pub fn report(&self) -> Vec<Report> {
        let state = self.state();
        let now_ms = self.clock.now().ms;
        let report = |certificate: Option<&Certificate>| {
            let left_ms = certificate.map(|of| of.not_after_ms.saturating_sub(now_ms));
            Report {
                what: self.what.clone(),
                expired: left_ms.is_some_and(|ms| ms < 0),
                expires_soon: left_ms.is_some_and(|ms| ms < WARN_DAYS * MS_PER_DAY),
                certificate: certificate.cloned(),
                failure: None,
                reloads: state.reloads,
            }
        };
        let certificates = state.held.as_ref().map_or(&[][..], |held| &held.certificates);
        let mut reports: Vec<Report> = certificates.iter().map(|of| report(Some(of))).collect();
        if reports.is_empty() {
            reports.push(report(None));
        }
        if let Some(first) = reports.first_mut() {
            first.failure.clone_from(&state.failure);
        }
        reports
    }

    /// Whether a certificate of the other side has ended.
    pub(super) fn has_expired(&self, certificate: &Certificate) -> bool {
        certificate.not_after_ms < self.clock.now().ms
    }

    fn read(&self, state: &mut State<C>) {
        // Before reading: what changes meanwhile is found at the next look.
        let stamps = self.stamps();
        let is_first = state.held.is_none();
        match (self.load)().and_then(|fresh| if is_first { Ok(fresh) } else { self.unexpired(fresh) }) {
            Ok(fresh) => {
                if !is_first {
                    state.reloads += 1;
                    METRICS.tls_reloads.add(1);
                    log::info!("{}: the files were read again; new connections use them", self.what);
                }
                (state.held, state.failure, state.warned_day) = (Some(fresh), None, None);
            }
            Err(why) => {
                if state.failure.as_ref() != Some(&why) {
                    let kept = if is_first { "" } else { "; what was read before stays in use" };
                    log::error!("{}: {why}{kept}", self.what);
                }
                METRICS.tls_reload_errors.add(1);
                state.failure = Some(why);
            }
        }
        state.stamps = stamps;
    }

    /// A certificate that has expired never takes the place of another.
    fn unexpired(&self, fresh: Fresh<C>) -> Result<Fresh<C>, String> {
        let now_ms = self.clock.now().ms;
        match fresh.certificates.iter().find(|certificate| certificate.not_after_ms < now_ms) {
            Some(old) => {
                let (subject, at) = (&old.names.subject, format_time(old.not_after_ms));
                Err(format!("the new certificate of {subject} has expired at {at}"))
            }
            None => Ok(fresh),
        }
    }

    /// Once a day from [`WARN_DAYS`] before its end on.
    fn warn(&self, state: &mut State<C>) {
        let Some(held) = &state.held else { return };
        let now_ms = self.clock.now().ms;
        let day = now_ms / MS_PER_DAY;
        if state.warned_day == Some(day) {
            return;
        }
        let end = |certificate: &&Certificate| certificate.not_after_ms.saturating_sub(now_ms);
        for certificate in held.certificates.iter().filter(|of| end(of) < WARN_DAYS * MS_PER_DAY) {
            let (what, subject) = (&self.what, &certificate.names.subject);
            let (has, level) =
                if end(&certificate) < 0 { ("has expired", log::Level::Error) } else { ("expires", log::Level::Warn) };
            let at = format_time(certificate.not_after_ms);
            log::log!(
                level,
                "{what}: the certificate of {subject} {has} at {at}: replace the file, no restart is needed"
            );
            state.warned_day = Some(day);
        }
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files.iter().map(|path| Stamp::of(path)).collect()
    }

    /// A panic elsewhere can't leave it half changed: every change is whole.
    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What holds configurations of either side.
pub trait Watched: Send + Sync {
    /// As [`Held::look`].
    fn look(&self, force: bool);
    /// As [`Held::report`].
    fn report(&self) -> Vec<Report>;
}

impl<C: Send + Sync> Watched for Held<C> {
    fn look(&self, force: bool) {
        Held::look(self, force);
    }

    fn report(&self) -> Vec<Report> {
        Held::report(self)
    }
}
