//! `brooklet drain`: a running gateway takes no new records and forwards what it has.

use std::time::{Duration, Instant};

use super::{
    connect::{self, Target},
    error::CliError,
    parse::Parsed,
    signals,
    spec::{Opt, Spec},
    term::{self, human_count},
};
use crate::client::Connection;
use crate::config::parse_duration;
use crate::executor::block_on;
use crate::frame::DrainAction;
use crate::gateway::DrainStatus;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two lines where no terminal shows progress.
const TELL_EVERY: Duration = Duration::from_secs(10);

pub(super) static SPEC: Spec = Spec {
    name: "drain",
    summary: "Refuse new records, and forward everything that is here",
    positionals: &[],
    options: &[
        Opt::value("timeout", "TIME", "Give up after this time (default: wait for ever)"),
        Opt::switch("end", "Take records again after a drain"),
    ],
    shared: &[connect::OPTIONS],
    details: "Exits 0 once pending=0: nothing that an uplink follows is left to forward. New records are then refused until\n\
              `brooklet drain --end` or a restart. When the time is up, or it is interrupted, it says what remains, exits 1, and\n\
              the gateway takes records again. Producers are told to try again later; consumers are served all the time.",
};

/// Arguments of `drain`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DrainArgs {
    timeout: Option<Duration>,
    end: bool,
    target: Target,
}

impl DrainArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<DrainArgs, CliError> {
        let (timeout, end) = (args.read("timeout", parse_duration)?, args.switch("end"));
        if end && timeout.is_some() {
            return Err(args.usage("--end takes effect at once: there is nothing to time out"));
        }
        Ok(DrainArgs { timeout, end, target: Target::parse(args)? })
    }
}

/// Runs `drain`.
///
/// # Errors
/// No gateway, or one without uplinks; something remains when the time is up.
pub(super) fn run(args: &DrainArgs) -> Result<(), CliError> {
    let stop = signals::watch(|| {})?;
    block_on(async {
        let mut connection = args.target.connect().await?;
        if args.end {
            ask(&mut connection, DrainAction::End, Duration::ZERO).await?;
            return term::print("the gateway takes records again\n");
        }
        let mut waiting = Waiting::new(args.timeout);
        loop {
            let wait = waiting.next(LOOK_EVERY);
            let Some(asked) = stop.unless(ask(&mut connection, DrainAction::Go, wait)).await else {
                // The request under way has left the connection of no use.
                let status = ask(&mut args.target.connect().await?, DrainAction::End, Duration::ZERO).await?;
                return Err(remains(&status, "interrupted; the gateway takes records again"));
            };
            let status = asked?;
            if status.pending == 0 {
                return term::print(&done(&status));
            }
            if waiting.is_over() {
                let status = ask(&mut connection, DrainAction::End, Duration::ZERO).await?;
                return Err(remains(&status, "the time is up; the gateway takes records again"));
            }
            waiting.tell(&status);
        }
    })
}

async fn ask(connection: &mut Connection, action: DrainAction, wait: Duration) -> Result<DrainStatus, CliError> {
    DrainStatus::parse(&connection.drain(action, wait).await?).map_err(CliError::Failed)
}

/// How long it takes, and when to say something about it.
pub(super) struct Waiting {
    end: Option<Instant>,
    told: Option<Instant>,
}

impl Waiting {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { end: timeout.and_then(|timeout| Instant::now().checked_add(timeout)), told: None }
    }

    /// `most`, or what is left of the time.
    pub(super) fn next(&self, most: Duration) -> Duration {
        self.end.map_or(most, |end| end.saturating_duration_since(Instant::now()).min(most))
    }

    pub(super) fn is_over(&self) -> bool {
        self.end.is_some_and(|end| end <= Instant::now())
    }

    /// Says what is pending, now and then.
    pub(super) fn tell(&mut self, status: &DrainStatus) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            term::note(format!("pending={}\n{}", status.pending, of_uplinks(status)).trim_end());
        }
    }
}

/// That nothing is left, and what stays.
pub(super) fn done(status: &DrainStatus) -> String {
    let mut text = "pending=0\n".to_owned();
    for of in &status.unfollowed {
        text.push_str(&format!("{} records of {} stay: no uplink follows it\n", human_count(of.records), of.topic));
    }
    text
}

/// What is left.
pub(super) fn remains(status: &DrainStatus, why: &str) -> CliError {
    CliError::Failed(format!("{why}: pending={}\n{}", status.pending, of_uplinks(status)).trim_end().to_owned())
}

fn of_uplinks(status: &DrainStatus) -> String {
    let line = |uplink: &crate::gateway::UplinkPending| {
        let why = uplink.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("uplink {}: {} records{why}\n", uplink.name, human_count(uplink.pending))
    };
    status.uplinks.iter().filter(|uplink| uplink.pending > 0).map(line).collect()
}
