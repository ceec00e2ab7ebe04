//! Two configurations: what differs, when that takes effect, and what holds until the next start.
//!
//! Pure. Invariants: a difference is told once, under the key that people write; secrets are masked; what waits for a restart never takes
//! effect before, also not by the last good configuration.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Loaded,
    error::{ConfigErrors, Origin},
    file,
    last_good::what_was_set,
    relations,
    resolve::{Effective, resolve},
};

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakesEffect {
    /// At a reload.
    AtOnce,
    /// At a reload, for connections that come from then on.
    NewConnections,
    /// At the next start.
    Restart,
    /// At the next start, which fails unless the store was adopted under the new name.
    Adoption,
}

impl TakesEffect {
    /// Whether it is not for a reload.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Restart | Self::Adoption)
    }

    /// For people.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::AtOnce => "Reload: at once",
            Self::NewConnections => "Reload: for new connections",
            Self::Restart => "Takes a restart",
            Self::Adoption => "Takes `brooklet adopt` and a restart",
        }
    }
}

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As TOML.
    pub key: String,
    /// The value before, for people's eyes; `None` where it was not there: of a topic, a label, an uplink.
    pub before: Option<String>,
    /// The value from now on.
    pub after: Option<String>,
    pub takes: TakesEffect,
}

/// What differs between two configurations: in the order of the second, then what is only in the first.
#[must_use]
pub fn changes(before: &Loaded, after: &Loaded) -> Vec<Change> {
    let by_key = |of: &'_ Loaded| of.effective.iter().map(|one| (one.key.clone(), one.clone())).collect();
    let old: BTreeMap<String, Effective> = by_key(before);
    let new: BTreeMap<String, Effective> = by_key(after);
    let change = |old: Option<&Effective>, new: Option<&Effective>| {
        let either = new.or(old)?;
        // A table that comes or goes is told by what somebody has written into it.
        if (old.is_none() || new.is_none()) && either.origin == Origin::Default {
            return None;
        }
        (old.map(|old| &old.value) != new.map(|new| &new.value)).then(|| Change {
            key: either.key.clone(),
            before: old.map(|old| old.shown().to_owned()),
            after: new.map(|new| new.shown().to_owned()),
            takes: either.takes,
        })
    };
    let there = after.effective.iter().filter_map(|new| change(old.get(&new.key), Some(new)));
    let gone =
        before.effective.iter().filter(|old| !new.contains_key(&old.key)).filter_map(|old| change(Some(old), None));
    there.chain(gone).collect()
}

/// What holds after a reload until the next start: `after`, with those of `changes` undone that wait.
///
/// # Errors
/// What takes effect now contradicts what waits: nothing can be applied before a restart.
pub fn without_restart(before: &Loaded, after: &Loaded, changes: &[Change]) -> Result<Loaded, ConfigErrors> {
    let waiting: Vec<&str> = changes.iter().filter(|change| change.takes.waits()).map(|of| of.key.as_str()).collect();
    if waiting.is_empty() {
        return Ok(after.clone());
    }
    // Only keys of the file itself wait, and those are always there.
    let kept = |new: &Effective| {
        let old = waiting.contains(&new.key.as_str()).then(|| before.effective.iter().find(|old| old.key == new.key));
        old.flatten().unwrap_or(new).clone()
    };
    let effective: Vec<Effective> = after.effective.iter().map(kept).collect();
    let nowhere: Arc<Path> = Arc::from(PathBuf::from("what holds until the next start"));
    let read = file::parse(&nowhere, &what_was_set(effective.iter()));
    let refused = |errors| ConfigErrors { errors, data_dir: before.config.data_dir.clone() };
    let resolved = resolve(&read.map_err(refused)?);
    let mut errors = resolved.errors;
    if errors.is_empty() {
        errors.extend(relations::check(&resolved.config, &effective));
    }
    if !errors.is_empty() {
        for error in &mut errors {
            error.origin =
                error.origin.take().filter(|origin| !matches!(origin, Origin::File { path, .. } if *path == nowhere));
        }
        return Err(refused(errors));
    }
    Ok(Loaded { config: resolved.config, effective, warnings: after.warnings.clone(), files: after.files.clone() })
}

#[cfg(test)]
mod tests;
