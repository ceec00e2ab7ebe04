//! `brooklet status`: how the gateway is.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
};

pub(super) static SPEC: Spec = Spec {
    name: "status",
    summary: "Show how a gateway is: disk, topics, uplinks, connections, counters",
    positionals: &[],
    options: &[Opt::switch("watch", "Show it again every two seconds until interrupted").short('w')],
    shared: &[connect::OPTIONS, JSON],
    details: "With --watch --json, one object a line.",
};

/// Arguments of `status`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StatusArgs {
    pub target: Target,
    pub watch: bool,
    pub json: bool,
}

impl StatusArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<StatusArgs, CliError> {
        Ok(StatusArgs { target: Target::parse(args)?, watch: args.switch("watch"), json: args.switch("json") })
    }
}

/// Runs `status`.
pub(super) fn run(_args: &StatusArgs) -> Result<(), CliError> {
    Err(CliError::Failed("status is not built yet".to_owned()))
}
