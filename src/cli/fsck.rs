//! `brooklet fsck DIR`: is a data directory whole?

use std::path::PathBuf;

use super::{
    error::CliError,
    parse::Parsed,
    spec::{JSON, Positional, Spec},
};

const DIR: &[Positional] =
    &[Positional { name: "DIR", required: true, help: "Data directory of a gateway that does not run" }];

pub(super) static SPEC: Spec = Spec {
    name: "fsck",
    summary: "Verify every segment and batch of a data directory",
    positionals: DIR,
    options: &[],
    shared: &[JSON],
    details: "Reads only; nothing is repaired. Says what is wrong and where, and exits 1 if anything is.",
};

/// Arguments of `fsck`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FsckArgs {
    pub dir: PathBuf,
    pub json: bool,
}

impl FsckArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<FsckArgs, CliError> {
        let dir = args.positional_path("DIR").ok_or_else(|| args.usage("missing argument DIR"))?;
        Ok(FsckArgs { dir, json: args.switch("json") })
    }
}

/// Runs `fsck`.
pub(super) fn run(_args: &FsckArgs) -> Result<(), CliError> {
    Err(CliError::Failed("fsck is not built yet".to_owned()))
}
