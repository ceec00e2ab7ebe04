//! `brooklet reload`: a running gateway reads its configuration again.

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
    term,
};
use crate::executor::block_on;
use crate::gateway::ReloadReport;

pub(super) static SPEC: Spec = Spec {
    name: "reload",
    summary: "Let a running gateway read its configuration again",
    positionals: &[],
    options: &[Opt::switch("dry-run", "Only show what would change, and what would wait for a restart")],
    shared: &[connect::OPTIONS, JSON],
    details: "The files, variables and flags that the gateway was started with are read and checked again, on its machine. What can\n\
              change while it runs does; what can't waits for a restart and is named. If anything is wrong nothing changes, and it exits\n\
              1. SIGHUP does the same. `brooklet check --reference` says of each key when a change takes effect.",
};

/// Arguments of `reload`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReloadArgs {
    dry_run: bool,
    json: bool,
    target: Target,
}

impl ReloadArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<ReloadArgs, CliError> {
        let (dry_run, json) = (args.switch("dry-run"), args.switch("json"));
        Ok(ReloadArgs { dry_run, json, target: Target::parse(args)? })
    }
}

/// Runs `reload`.
///
/// # Errors
/// No gateway; the configuration is refused; or it could not be applied.
pub(super) fn run(args: &ReloadArgs) -> Result<(), CliError> {
    let json = block_on(async { Ok::<_, CliError>(args.target.connect().await?.reload(!args.dry_run).await?) })?;
    let report = ReloadReport::parse(&json).map_err(CliError::Failed)?;
    if args.json {
        term::print(&format!("{json}\n"))?;
    }
    if !report.refused.is_empty() {
        let why = report.refused.join("\n");
        return Err(CliError::Failed(format!("the configuration is refused; nothing was changed\n{why}")));
    }
    if args.json {
        return Ok(());
    }
    report.warnings.iter().for_each(|warning| term::note(&format!("brooklet reload: {warning}")));
    let shown = ReloadReport { warnings: Vec::new(), ..report };
    term::print(&(shown.lines().join("\n") + "\n"))
}
