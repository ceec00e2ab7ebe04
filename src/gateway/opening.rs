//! Opens the store of a gateway that nobody may be near.
//!
//! Invariant: what is given up so that it opens is told, in the log and in the counts.

use std::sync::Arc;

use super::settings;
use crate::config::Config;
use crate::metrics::METRICS;
use crate::store::clock::Clock;
use crate::store::disk::Disk;
use crate::store::{Engine, OpenError, Store, renew_state};

/// Opens the store; where only `state.redb` is damaged, that begins anew.
///
/// # Errors
/// Why it can't be opened, and what to do.
pub(super) fn open(config: &Config, disk: &Arc<dyn Disk>, clock: &Arc<dyn Clock>) -> Result<(Store, Engine), String> {
    let mut renewed = false;
    loop {
        let options = settings::store(config, disk.as_ref())?;
        let dir = options.dir.clone();
        let error = match Store::open(options, Arc::clone(disk), Arc::clone(clock)) {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        let OpenError::Damaged { file, what } = &error else { return Err(error.to_string()) };
        let begun = if renewed { None } else { renew_state(&dir, disk, file).map_err(|error| error.to_string())? };
        let Some(begun) = begun else { return Err(error.to_string()) };
        renewed = true;
        METRICS.state_renewed.add(1);
        let kept = begun.kept.map_or(String::new(), |kept| format!(" (it is kept as {})", kept.display()));
        log::error!(
            "{} was damaged{kept}: {what}. It begins anew, so that the gateway goes on; all records are kept. Given up: {}",
            file.display(),
            begun.given_up.join("; ")
        );
    }
}
