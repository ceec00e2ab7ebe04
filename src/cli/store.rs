//! `brooklet store format` and `store finalize`: in which format a store is written, and going over to the newest.

use std::path::PathBuf;
use std::sync::Arc;

use super::{
    connect::{self, Target},
    error::CliError,
    fsck::{not_opened, store_dir},
    parse::Parsed,
    spec::{JSON, Positional, Spec},
    term,
};
use crate::executor::block_on;
use crate::gateway::status::FormatFigures;
use crate::json;
use crate::store::disk::{Disk, RealDisk};
use crate::store::{finalize, format_of};

const DIR: &[Positional] = &[Positional {
    name: "DIR",
    required: false,
    help: "Data directory of a gateway that does not run (default: ask the one that runs)",
}];

pub(super) static FORMAT: Spec = Spec {
    name: "store format",
    summary: "Say in which format the store is written, and which versions can open it",
    positionals: DIR,
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "A version goes on writing the format of the one before it, which can so open what it wrote, until it has run for 14 days\n\
              in health or is told `brooklet store finalize`.",
};

pub(super) static FINALIZE: Spec = Spec {
    name: "store finalize",
    summary: "Write the store in this version's newest format from now on; there is no way back to the version before",
    positionals: DIR,
    options: &[],
    shared: &[connect::OPTIONS, JSON],
    details: "Takes effect with the next segment.",
};

/// Arguments of both.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoreArgs {
    dir: Option<PathBuf>,
    finalize: bool,
    json: bool,
    target: Target,
}

impl StoreArgs {
    pub(super) fn parse(args: &mut Parsed, finalize: bool) -> Result<StoreArgs, CliError> {
        let (dir, json) = (args.positional_path("DIR"), args.switch("json"));
        Ok(StoreArgs { dir, finalize, json, target: Target::parse(args)? })
    }
}

/// Runs either.
///
/// # Errors
/// No gateway, or no store; one runs on the directory.
pub(super) fn run(args: &StoreArgs) -> Result<(), CliError> {
    let figures: FormatFigures = match &args.dir {
        Some(dir) => {
            let (store, disk): (_, Arc<dyn Disk>) = (store_dir(dir)?, Arc::new(RealDisk::new()));
            let done = if args.finalize { finalize(&store, &disk) } else { format_of(&store, disk) };
            done.map_err(|error| not_opened(dir, error))?.into()
        }
        None => {
            let asked = async { Ok::<_, CliError>(args.target.connect().await?.store_format(args.finalize).await?) };
            let json = block_on(asked)?;
            json::from_str(&json).map_err(|error| CliError::Failed(error.to_string()))?
        }
    };
    if args.json {
        return term::print(&(json::to_string(&figures) + "\n"));
    }
    term::print(&(figures.text() + "\n"))
}
