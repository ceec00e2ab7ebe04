//! `brooklet status`: how the gateway is.

use std::time::Duration;

use smol::Timer;

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    signals,
    spec::{JSON, Opt, Spec},
    status_view, term,
    watch::Screen,
};
use crate::executor::block_on;
use crate::gateway::status::GatewayStatus;

pub(super) static SPEC: Spec = Spec {
    name: "status",
    summary: "Show how a gateway is: disk, topics, uplinks, connections, counters",
    positionals: &[],
    options: &[Opt::switch("watch", "Show it again every second, until q or Ctrl-C").short('w')],
    shared: &[connect::OPTIONS, JSON],
    details: "With --watch, a line a second where standard output is no terminal; with --watch --json, one object a line.",
};

/// Time between two looks of `--watch`.
const WATCH: Duration = Duration::from_secs(1);

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
        let first = ask(&args.target).await?;
        if args.watch {
            return watch(args, first).await;
        }
        term::print(&if args.json { format!("{}\n", first.0) } else { status_view::render(&first.1, None) })
    })
}

async fn watch(args: &StatusArgs, mut status: Told) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    let screen = if args.json { None } else { Screen::begin(&stop)? };
    let show = |status: &Told, earlier: Option<&Told>, trouble: &str| {
        let earlier = earlier.map(|(_, status)| status);
        match &screen {
            Some(screen) => screen.draw(&format!("{trouble}{}", status_view::watched(&status.1, earlier))),
            None if args.json => term::print(&format!("{}\n", status.0)),
            None => term::print(&format!("{}\n", status_view::line(&status.1, earlier))),
        }
    };
    show(&status, None, "")?;
    while stop.unless(Timer::after(WATCH)).await.is_some() {
        let Some(asked) = stop.unless(ask(&args.target)).await else { break };
        match asked {
            Ok(now) => {
                // Counters of another run of the gateway say nothing about rates.
                let earlier = Some(&status).filter(|earlier| earlier.1.uptime_s <= now.1.uptime_s);
                show(&now, earlier, "")?;
                status = now;
            }
            // It may come again.
            Err(error) if screen.is_some() => {
                show(&status, None, &format!("NO ANSWER    {error}; what follows is old\n"))?
            }
            Err(error) => term::note(&error.to_string()),
        }
    }
    Ok(())
}

/// The status as it came, and what it says.
type Told = (String, GatewayStatus);

async fn ask(target: &Target) -> Result<Told, CliError> {
    let mut connection = target.connect().await?;
    let json = connection.status().await?;
    let status = GatewayStatus::parse(&json).map_err(CliError::Failed)?;
    Ok((json, status))
}
