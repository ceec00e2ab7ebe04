//! What `brooklet check` finds in the files that a configuration names: certificates, keys, secrets.

use super::certificates;
use crate::config::{ConfigError, ConfigErrors, Loaded, Origin};
use crate::gateway::{Inspected, inspect};

/// Opens them.
///
/// # Errors
/// [`ConfigErrors`] with each that can't be used: missing, damaged, expired, of different pairs, open to others.
pub(super) fn looked_at(loaded: &Loaded) -> Result<Inspected, ConfigErrors> {
    let found = inspect(&loaded.config);
    let mut errors = Vec::new();
    for figures in &found.certificates {
        let expired = format!("the certificate of {} has expired: replace its files", figures.subject);
        let problem = figures.failure.clone().or_else(|| figures.expired.then_some(expired));
        errors.extend(problem.map(|problem| error(loaded, &figures.of, problem)));
    }
    errors.extend(found.secrets.iter().map(|(key, why)| error(loaded, key, why.clone())));
    if errors.is_empty() { Ok(found) } else { Err(ConfigErrors { errors, data_dir: loaded.config.data_dir.clone() }) }
}

/// What is wrong at a key, or at the keys below it.
fn error(loaded: &Loaded, key: &str, problem: String) -> ConfigError {
    let is_there = |of: &str| of.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let set = |effective: &&crate::config::Effective| effective.origin != Origin::Default && is_there(&effective.key);
    let origin = loaded.effective.iter().find(set).map(|effective| effective.origin.clone());
    ConfigError { origin, key: Some(key.to_owned()), value: None, problem }
}

/// A line for each certificate.
pub(super) fn lines(found: &Inspected) -> String {
    let shown = found.certificates.iter().filter(|figures| !figures.subject.is_empty());
    shown.map(|figures| format!("# {}\n", certificates::line(figures))).collect()
}

/// What will have to be done.
pub(super) fn warnings(found: &Inspected) -> Vec<String> {
    let soon = found.certificates.iter().filter(|figures| figures.expires_soon);
    let soon = soon.map(|figures| format!("{}: it expires soon", certificates::line(figures)));
    soon.chain(found.warnings.iter().cloned()).collect()
}
