//! `brooklet status`: how the gateway is.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use smol::Timer;

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    spec::{JSON, Opt, Spec},
    status_view, term,
};
use crate::executor::block_on;
use crate::gateway::status::GatewayStatus;

pub(super) static SPEC: Spec = Spec {
    name: "status",
    summary: "Show how a gateway is: disk, topics, uplinks, connections, counters",
    positionals: &[],
    options: &[Opt::switch("watch", "Show it again every two seconds until interrupted").short('w')],
    shared: &[connect::OPTIONS, JSON],
    details: "With --watch --json, one object a line.",
};

/// Time between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// From the top left: the old text is overwritten, so that nothing flickers.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

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
///
/// # Errors
/// No gateway; with `--watch` only at the beginning.
pub(super) fn run(args: &StatusArgs) -> Result<(), CliError> {
    block_on(async {
        let mut status = ask(&args.target).await?;
        show(args, &status, None)?;
        if !args.watch {
            return Ok(());
        }
        loop {
            Timer::after(WATCH).await;
            match ask(&args.target).await {
                Ok(now) => {
                    // Counters of another run of the gateway say nothing about rates.
                    let earlier = Some(&status).filter(|earlier| earlier.1.uptime_s <= now.1.uptime_s);
                    show(args, &now, earlier)?;
                    status = now;
                }
                // It may come again.
                Err(error) => term::note(&error.to_string()),
            }
        }
    })
}

/// The status as it came, and what it says.
type Told = (String, GatewayStatus);

async fn ask(target: &Target) -> Result<Told, CliError> {
    let mut connection = target.connect().await?;
    let json = connection.status().await?;
    let status = GatewayStatus::parse(&json).map_err(CliError::Failed)?;
    Ok((json, status))
}

fn show(args: &StatusArgs, (json, status): &Told, earlier: Option<&Told>) -> Result<(), CliError> {
    if args.json {
        return term::print(&format!("{json}\n"));
    }
    let text = status_view::render(status, earlier.map(|(_, status)| status));
    match (args.watch, io::stdout().is_terminal()) {
        (true, true) => {
            let lines = text.replace('\n', &format!("{CLEAR_LINE}\n"));
            let clear = if earlier.is_none() { CLEAR_BELOW } else { "" };
            term::print(&format!("{HOME}{clear}{lines}{CLEAR_BELOW}"))
        }
        (true, false) => term::print(&format!("{text}\n")),
        (false, _) => term::print(&text),
    }
}
