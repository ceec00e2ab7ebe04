//! `brooklet demo`: the main job in one command.

use super::{
    error::CliError,
    parse::Parsed,
    spec::{Opt, Spec},
};
use crate::config::{HostPort, host_port};

pub(super) static SPEC: Spec = Spec {
    name: "demo",
    summary: "Show the main job in 30 seconds: devices, a cut link, a killed gateway, nothing lost",
    positionals: &[],
    options: &[
        Opt::value("upstream", "ADDR", "Forward to this Kafka (HOST:PORT) in place of a second Brooklet"),
        Opt::switch("keep", "Leave everything running at the end, and print commands to try"),
    ],
    shared: &[],
    details: "Uses free ports and a temporary directory on this machine only. Exits 1 if anything was lost.",
};

/// Arguments of `demo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DemoArgs {
    pub upstream: Option<HostPort>,
    pub keep: bool,
}

impl DemoArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DemoArgs, CliError> {
        Ok(DemoArgs { upstream: args.read("upstream", host_port)?, keep: args.switch("keep") })
    }
}

/// Runs `demo`.
pub(super) fn run(_args: &DemoArgs) -> Result<(), CliError> {
    Err(CliError::Failed("demo is not built yet".to_owned()))
}
