//! SIGTERM and SIGINT: the first asks for an orderly end, the second ends the process at once. SIGHUP asks to read the configuration again.

use async_signal::{Signal, Signals};
use futures_lite::StreamExt;
use futures_lite::future::block_on;

use super::{error::CliError, term};
use crate::executor::start_thread;
use crate::shutdown::Shutdown;

/// From now on the first signal begins the returned shutdown, in place of ending the process. A second one runs
/// `at_once` and ends the process with exit code 1: for a person who will not wait.
///
/// # Errors
/// When signals cannot be received.
pub(super) fn watch(at_once: impl FnOnce() + Send + 'static) -> Result<Shutdown, CliError> {
    listen(&[Signal::Term, Signal::Int], Box::new(at_once), Box::new(|| {}))
}

/// As [`watch`]; SIGHUP, which would end the process otherwise, calls `reload`.
///
/// # Errors
/// When signals cannot be received.
pub(super) fn watch_and_reload(
    at_once: impl FnOnce() + Send + 'static,
    reload: impl Fn() + Send + 'static,
) -> Result<Shutdown, CliError> {
    listen(&[Signal::Term, Signal::Int, Signal::Hup], Box::new(at_once), Box::new(reload))
}

fn listen(
    signals: &[Signal],
    at_once: Box<dyn FnOnce() + Send>,
    reload: Box<dyn Fn() + Send>,
) -> Result<Shutdown, CliError> {
    let failed = |error| CliError::failed("cannot receive signals", error);
    let mut signals = Signals::new(signals).map_err(failed)?;
    let stop = Shutdown::default();
    let begin = stop.clone();
    let watch = move || {
        let mut at_once = Some(at_once);
        while let Some(signal) = block_on(signals.next()) {
            match signal {
                Ok(Signal::Hup) => reload(),
                Ok(signal) if !begin.has_begun() => {
                    log::info!("{}: ending; a second signal ends at once", name(signal));
                    begin.begin();
                }
                _ => {
                    at_once.take().into_iter().for_each(|at_once| at_once());
                    term::note("brooklet: ended at once, by a second signal");
                    std::process::exit(1);
                }
            }
        }
    };
    start_thread("brooklet-signal", watch).map_err(failed)?;
    Ok(stop)
}

fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::Int => "SIGINT",
        _ => "SIGTERM",
    }
}
