//! `brooklet uplink …`: status, check, pause, resume.

use std::path::PathBuf;

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Positional, Spec},
};
use crate::config::{Config, Layers};

const NAME: &[Positional] = &[Positional { name: "NAME", required: true, help: "Name of the uplink" }];
const ANY_NAME: &[Positional] = &[Positional { name: "NAME", required: false, help: "Only this uplink" }];

pub(super) static STATUS: Spec = Spec {
    name: "uplink status",
    summary: "Show what each uplink has forwarded and what waits",
    positionals: ANY_NAME,
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "",
};

pub(super) static CHECK: Spec = Spec {
    name: "uplink check",
    summary: "Try the way to the centre step by step, and say what to do",
    positionals: ANY_NAME,
    options: &[Opt::value("config", "FILE", "Configuration in place of that in /etc/brooklet").short('c')],
    shared: &[JSON],
    details: "Resolves, connects, compares versions, topics, size limits and clocks, from the configuration; the gateway\n\
              need not run. Exits 1 if an uplink would not work.",
};

pub(super) static PAUSE: Spec = Spec {
    name: "uplink pause",
    summary: "Stop forwarding until resumed; records are kept",
    positionals: NAME,
    options: &[],
    shared: &[connect::OPTIONS],
    details: "",
};

pub(super) static RESUME: Spec = Spec {
    name: "uplink resume",
    summary: "Forward again",
    positionals: NAME,
    options: &[],
    shared: &[connect::OPTIONS],
    details: "",
};

/// Arguments of `uplink status`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusArgs {
    pub name: Option<String>,
    pub target: Target,
    pub json: bool,
}

/// Arguments of `uplink check`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CheckArgs {
    pub name: Option<String>,
    pub config: Option<PathBuf>,
    pub json: bool,
}

/// Arguments of `uplink pause` and `uplink resume`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NameArgs {
    pub name: String,
    pub target: Target,
}

impl StatusArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<StatusArgs, CliError> {
        Ok(StatusArgs {
            name: args.optional_positional("NAME")?,
            target: Target::parse(args)?,
            json: args.switch("json"),
        })
    }
}

impl CheckArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<CheckArgs, CliError> {
        Ok(CheckArgs {
            name: args.optional_positional("NAME")?,
            config: args.path("config"),
            json: args.switch("json"),
        })
    }

    /// The system's layers, with `--config` in its place.
    #[must_use]
    pub(super) fn layers(&self) -> Layers {
        Layers { file: self.config.clone(), ..Layers::system() }
    }
}

impl NameArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<NameArgs, CliError> {
        Ok(NameArgs { name: args.positional("NAME")?, target: Target::parse(args)? })
    }
}

/// Runs `uplink status`.
pub(super) fn status(_args: &StatusArgs) -> Result<(), CliError> {
    Err(CliError::Failed("uplink status is not built yet".to_owned()))
}

/// Runs `uplink check`.
pub(super) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let loaded = Config::load(&args.layers())?;
    if let Some(unknown) = args.name.as_ref().filter(|name| !loaded.config.uplinks.contains_key(*name)) {
        return Err(CliError::failed(unknown, "no uplink of this name is configured"));
    }
    Err(CliError::Failed("uplink check is not built yet".to_owned()))
}

/// Runs `uplink pause`.
pub(super) fn pause(_args: &NameArgs) -> Result<(), CliError> {
    Err(CliError::Failed("uplink pause is not built yet".to_owned()))
}

/// Runs `uplink resume`.
pub(super) fn resume(_args: &NameArgs) -> Result<(), CliError> {
    Err(CliError::Failed("uplink resume is not built yet".to_owned()))
}
