//! The layers of configuration and the order in which they count: later ones win, key by key.
//!
//! Built-in defaults · `/usr/lib/brooklet/*.toml` · `/etc/brooklet/brooklet.toml` · `/etc/brooklet/conf.d/*.toml` ·
//! environment · flags. A file named by `--config` stands in place of those in /etc.
//!
//! A variable is `BROOKLET_` and the key in capitals, `__` for each dot: `BROOKLET_STORE__MAX_BYTES=64MiB`. Names of
//! topics and uplinks in it are read in lower case unless they hold a lower-case letter. Lists are separated by commas.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{ConfigError, Origin},
    file::{self, Assignment},
    keys::GLOBAL,
    suggest::nearest,
    value::Raw,
};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// Where to look. [`Layers::system`] is what the program uses; tests name directories of their own.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The vendor's directory, `/usr/lib/brooklet`.
    pub vendor_dir: Option<PathBuf>,
    /// The machine's directory, `/etc/brooklet`.
    pub etc_dir: Option<PathBuf>,
    /// `--config FILE`: must exist, and replaces what is in `etc_dir`.
    pub file: Option<PathBuf>,
    /// The environment; names without `BROOKLET_` are passed over.
    pub variables: Vec<(OsString, OsString)>,
    /// Command-line flags.
    pub flags: Vec<Flag>,
}

/// A command-line flag that sets a key.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As the user knows it, `--native`.
    pub flag: &'static str,
    /// As the table knows it, `listen.native.addr`.
    pub key: &'static str,
    pub value: String,
}

/// All that the layers assign, lowest first.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) assignments: Vec<Assignment>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
    pub(super) files: Vec<PathBuf>,
}

impl Layers {
    /// The system's directories and this process's environment.
    #[must_use]
    pub fn system() -> Layers {
        Layers {
            vendor_dir: Some(PathBuf::from("/usr/lib/brooklet")),
            etc_dir: Some(PathBuf::from("/etc/brooklet")),
            file: None,
            variables: std::env::vars_os().collect(),
            flags: Vec::new(),
        }
    }

    /// One file and nothing else.
    #[must_use]
    pub fn only(file: &Path) -> Layers {
        Layers { file: Some(file.to_owned()), ..Layers::default() }
    }

    pub(super) fn gather(&self) -> Gathered {
        let mut found = Gathered::default();
        if let Some(dir) = &self.vendor_dir {
            found.read_dir(dir);
        }
        if let Some(file) = &self.file {
            found.read_file(file, true);
        } else if let Some(dir) = &self.etc_dir {
            found.read_file(&dir.join("brooklet.toml"), false);
            found.read_dir(&dir.join("conf.d"));
        }
        found.read_variables(&self.variables);
        for Flag { flag, key, value } in &self.flags {
            found.assignments.push(Assignment {
                path: key.split('.').map(str::to_owned).collect(),
                raw: Some(Raw::Text(value.clone())),
                origin: Origin::Flag(flag),
            });
        }
        found
    }
}

impl Gathered {
    /// Every `*.toml` of a directory, in the order of their names. No directory is no layer.
    fn read_dir(&mut self, dir: &Path) {
        let list = || -> io::Result<Vec<PathBuf>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "toml") {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        };
        match list() {
            Ok(files) => files.iter().for_each(|file| self.read_file(file, true)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable(dir, &error),
        }
    }

    fn read_file(&mut self, path: &Path, must_exist: bool) {
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => return,
            Err(error) => return self.unreadable(path, &error),
        };
        self.files.push(path.to_owned());
        match file::parse(&Arc::from(path), &text) {
            Ok(assignments) => self.assignments.extend(assignments),
            Err(errors) => self.errors.extend(errors),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let problem = format!("{}: can't be read: {error}", path.display());
        self.errors.push(ConfigError { origin: None, key: None, value: None, problem });
    }

    fn read_variables(&mut self, variables: &[(OsString, OsString)]) {
        let mut ours: Vec<(&str, &str, &OsString)> = variables
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?, value)))
            .filter_map(|(name, value)| Some((name, name.strip_prefix("BROOKLET_")?, value)))
            .collect();
        ours.sort();
        for (name, rest, value) in ours {
            if !rest.contains("__") && !is_top_level_key(rest) {
                self.foreign_variable(name);
                continue;
            }
            let raw = value.to_str().map_or(Raw::Other("text that is not UTF-8"), |text| Raw::Text(text.to_owned()));
            self.assignments.push(Assignment {
                path: rest.split("__").map(fold_case).collect(),
                raw: Some(raw),
                origin: Origin::Variable(name.to_owned()),
            });
        }
    }

    /// A variable in our name that has no section. Others set such variables too (Kubernetes gives every container
    /// `BROOKLET_PORT` where a service is called brooklet), so only what looks like a slip is refused.
    fn foreign_variable(&mut self, name: &str) {
        let spelled: Vec<String> = GLOBAL.iter().map(|key| variable_name(key.name)).collect();
        match nearest(name, spelled.iter().map(String::as_str)) {
            Some(meant) if meant.replace("__", "_").eq_ignore_ascii_case(name) => self.errors.push(ConfigError {
                origin: Some(Origin::Variable(name.to_owned())),
                key: None,
                value: None,
                problem: format!("unknown key; did you mean {meant}?"),
            }),
            _ => self.warnings.push(format!("environment {name}: not a key of Brooklet, ignored")),
        }
    }
}

/// The variable that sets a key of the file itself.
#[must_use]
pub fn variable_name(key: &str) -> String {
    format!("BROOKLET_{}", key.replace('.', "__").to_ascii_uppercase())
}

fn is_top_level_key(rest: &str) -> bool {
    GLOBAL.iter().any(|key| !key.name.contains('.') && key.name.eq_ignore_ascii_case(rest))
}

fn fold_case(part: &str) -> String {
    if part.chars().any(|c| c.is_ascii_lowercase()) { part.to_owned() } else { part.to_ascii_lowercase() }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(CONFIG_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(io::Error::other(format!("larger than {CONFIG_FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
