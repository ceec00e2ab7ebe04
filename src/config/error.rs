//! Where a value came from, and what is wrong with it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Line 1 is the first.
    File {
        path: Arc<Path>,
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command-line flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing that is wrong. Displays as `file:line: key = value: what is allowed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// `None` where no single place is to blame.
    pub origin: Option<Origin>,
    pub key: Option<String>,
    /// As it was written; absent for secrets and unknown keys, which may be misspelt secrets.
    pub value: Option<String>,
    pub problem: String,
}

impl ConfigError {
    pub(super) fn at(origin: &Origin, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError { origin: Some(origin.clone()), key: Some(key.to_owned()), value: None, problem: problem.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(key) = &self.key {
            f.write_str(key)?;
            if let Some(value) = &self.value {
                write!(f, " = {value}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.problem)
    }
}

/// Everything that is wrong with a configuration, found in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// At least one.
    pub errors: Vec<ConfigError>,
    /// The data directory the configuration names, as far as it could be told: there lies the last good configuration.
    pub data_dir: PathBuf,
}

impl fmt::Display for ConfigErrors {
    /// An error a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
