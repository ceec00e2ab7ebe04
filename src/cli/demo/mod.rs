//! `brooklet demo`: the main job in one command.
//!
//! | file | job |
//! |---|---|
//! | `play` | the phases, one after the other |
//! | `cli/nodes` | gateway and centre: child processes of this executable |
//! | `relay` | the link between them, which can be cut |
//! | `devices` | the devices, sending real readings of this machine |
//! | `centre` | reads back what arrived, as a Kafka consumer |
//! | `ledger` | what was acknowledged against what arrived |
//! | `view` | what the person sees |
//!
//! Invariants: every figure is computed from what was acknowledged and what was read back; only own children are
//! killed; nothing is left behind, except by a SIGKILL of the demo itself.

mod centre;
mod devices;
mod ledger;
mod play;
mod relay;
mod view;

use std::time::Duration;

use super::{
    error::CliError,
    nodes::Scratch,
    parse::Parsed,
    signals,
    spec::{Opt, Spec},
};
use crate::config::{HostPort, host_port, parse_duration};
use crate::executor::block_on;

/// Shortest and longest time that devices publish.
const DURATION_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(4)..=Duration::from_secs(3_600);

pub(super) static SPEC: Spec = Spec {
    name: "demo",
    summary: "Show the main job in 30 seconds: devices, a cut link, a killed gateway, nothing lost or repeated",
    positionals: &[],
    options: &[
        Opt::value("upstream", "ADDR", "Forward to this Kafka (HOST:PORT) in place of a second Brooklet"),
        Opt::value("duration", "TIME", "How long devices publish, 4 s to 1 h (default 22s)"),
        Opt::value("devices", "N", "How many devices, 1 to 100 (default 5)"),
        Opt::value("rate", "N", "Records a second of each device, 1 to 200 (default 25)"),
        Opt::switch("keep", "Leave everything running at the end until Ctrl-C, and print commands to try"),
    ],
    shared: &[],
    details: "Uses free ports and a temporary directory on this machine only. Exits 1 if anything was lost or repeated.",
};

/// Arguments of `demo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DemoArgs {
    pub upstream: Option<HostPort>,
    pub duration: Duration,
    pub devices: usize,
    /// Records a second of each device.
    pub rate: u32,
    pub keep: bool,
}

impl DemoArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DemoArgs, CliError> {
        let duration = |text: &str| {
            let duration = parse_duration(text)?;
            let fits = DURATION_RANGE.contains(&duration);
            if fits { Ok(duration) } else { Err("must be from 4s to 1h".to_owned()) }
        };
        Ok(DemoArgs {
            upstream: args.read("upstream", host_port)?,
            duration: args.read("duration", duration)?.unwrap_or(Duration::from_secs(22)),
            devices: args.number("devices", 1, 100)?.unwrap_or(5) as usize,
            rate: args.number("rate", 1, 200)?.unwrap_or(25) as u32,
            keep: args.switch("keep"),
        })
    }
}

/// Runs `demo`.
///
/// # Errors
/// [`CliError::Failed`] when it could not be played to its end, [`CliError::FailedAsShown`] when the ledger tells of
/// loss.
pub(super) fn run(args: &DemoArgs) -> Result<(), CliError> {
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let at_once = scratch.clone();
    let stop = signals::watch(move || at_once.clear())?;
    let outcome = block_on(play::play(args, &scratch, &stop));
    scratch.clear();
    outcome
}
