//! The last configuration that the gateway ran with, kept in the data directory.
//!
//! A gateway that is configured from afar must not die of a bad key: `serve` falls back to this file and says so. It
//! holds only what differed from the defaults, so that a new version's better defaults still apply. Written whole or
//! not at all (a new file, fsynced, renamed over the old one), and only when it changes: flash wears.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::{
    Layers, Loaded,
    error::{ConfigErrors, Origin},
    reading::quoted,
    resolve::Effective,
};

const NAME: &str = "last-good.toml";

/// Where the last good configuration of a data directory lies.
#[must_use]
pub fn last_good_path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Keeps this configuration as the one to fall back to. Mode 0600: it may hold secrets.
///
/// # Errors
/// The file system's. The earlier file is then still whole.
pub fn save_last_good(data_dir: &Path, loaded: &Loaded) -> io::Result<()> {
    let text = as_toml(loaded);
    let path = last_good_path(data_dir);
    if fs::read_to_string(&path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    let fresh = data_dir.join(".last-good.toml.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&fresh, &path)?;
    File::open(data_dir)?.sync_all()
}

/// Loads the last good configuration of this data directory; `None` if there is none.
///
/// # Errors
/// As [`super::Config::load`]: a newer version may refuse what an older one kept.
pub fn load_last_good(data_dir: &Path) -> Result<Option<Loaded>, ConfigErrors> {
    let path = last_good_path(data_dir);
    if !path.exists() {
        return Ok(None);
    }
    let mut loaded = Loaded::from_layers(&Layers::only(&path))?;
    // The file does not name its directory, which may be mounted elsewhere today.
    data_dir.clone_into(&mut loaded.config.data_dir);
    if let Some(kept) = loaded.effective.iter_mut().find(|effective| effective.key == "data_dir") {
        kept.value = quoted(&data_dir.display().to_string());
        kept.origin = Origin::File { path: path.into(), line: 1 };
    }
    Ok(Some(loaded))
}

fn as_toml(loaded: &Loaded) -> String {
    let head = "# The configuration Brooklet last ran with. Written by `brooklet serve`; edits are lost.\n";
    let kept = loaded.effective.iter().filter(|effective| effective.key != "data_dir");
    head.to_owned() + &what_was_set(kept)
}

/// A line for each key that is not as by default.
pub(super) fn what_was_set<'a>(effective: impl Iterator<Item = &'a Effective>) -> String {
    let set = effective.filter(|effective| effective.origin != Origin::Default);
    set.map(|effective| format!("{} = {}\n", effective.key, effective.value)).collect()
}
