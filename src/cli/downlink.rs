//! `brooklet downlink …`: status, check, pause, resume, skip.

pub(super) use super::links::{CheckArgs, NameArgs, StatusArgs};
use super::{
    connect::{self, Target},
    error::CliError,
    links::{self, Kind, show_check, steer, steer_with},
    parse::Parsed,
    spec::{Opt, Positional, Spec},
    status_view,
    table::Table,
    term::{self, human_count},
    when,
};
use crate::executor::block_on;
use crate::{
    config::Config,
    frame::UplinkAction,
    gateway,
    gateway::{problems::downlink_stalls, status::GatewayStatus},
    human::human_seconds,
    json,
    limits::PARTITIONS_MAX,
    uplink::{DownlinkOptions, DownlinkState, DownlinkStatus, SkipTo, check_downlink},
};

/// Longest text of a trouble in a table, characters.
const TROUBLE_CHARS_MAX: usize = 60;

pub(super) static STATUS: Spec =
    links::status_spec("downlink status", "Show what each downlink has brought and what is still upstream");

pub(super) static CHECK: Spec = links::check_spec(
    "downlink check",
    "Try to read from the centre step by step, and say what to do",
    "Resolves, connects, looks for the topics and for the right to read them. The running gateway does it, or\n\
     with --config this command. Exits 1 if a downlink would not work.",
);

pub(super) static PAUSE: Spec = links::steer_spec("downlink pause", "Bring nothing down until resumed");

pub(super) static RESUME: Spec = links::steer_spec("downlink resume", "Bring records down again");

pub(super) static SKIP: Spec = Spec {
    name: "downlink skip",
    summary: "Pass over what can't be brought; it stays at the centre only",
    positionals: &[
        Positional { name: "NAME", required: true, help: "Name of the downlink" },
        Positional { name: "TOPIC", required: true, help: "Topic at the centre" },
    ],
    options: &[
        Opt::value("partition", "N", "Only this partition of the topic").short('p'),
        Opt::value(
            "to",
            "OFFSET|latest",
            "Where it goes on: an offset at the centre, or what is committed from now on",
        ),
    ],
    shared: &[connect::OPTIONS],
    details: "What is passed over is counted as a gap, and never comes. It goes forward only: nothing comes down twice.\n\
              `downlink status` names the offset behind a batch that holds a partition up.",
};

/// Arguments of `downlink skip`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SkipArgs {
    pub downlink: NameArgs,
    /// Topic, partition and place, as the gateway is told them.
    pub words: String,
}

impl SkipArgs {
    pub(super) fn parse(args: &mut Parsed) -> Result<SkipArgs, CliError> {
        let (name, topic) = (args.positional("NAME")?, args.positional("TOPIC")?);
        let partition = args.number("partition", 0, PARTITIONS_MAX as u64 - 1)?;
        let to = args.text("to")?.ok_or_else(|| args.usage("give --to OFFSET or --to latest"))?;
        if SkipTo::parse(&to).is_none() {
            return Err(args.usage("--to is an offset or \"latest\""));
        }
        let partition = partition.map_or("all".to_owned(), |partition| partition.to_string());
        let downlink = NameArgs { name, target: Target::parse(args)? };
        Ok(SkipArgs { downlink, words: format!(" {topic} {partition} {to}") })
    }
}

/// Runs `downlink skip`.
///
/// # Errors
/// No gateway, no such downlink, topic or partition, or it is further already.
pub(super) fn skip(args: &SkipArgs) -> Result<(), CliError> {
    steer_with(Kind::Downlink, &args.downlink, UplinkAction::Skip, &args.words)
}

/// Runs `downlink status`.
///
/// # Errors
/// No gateway, or no such downlink.
pub(super) fn status(args: &StatusArgs) -> Result<(), CliError> {
    let status = block_on(async {
        let json = args.target.connect().await?.status().await?;
        GatewayStatus::parse(&json).map_err(CliError::Failed)
    })?;
    let wanted = |downlink: &DownlinkStatus| args.name.as_ref().is_none_or(|name| *name == downlink.name);
    let mut downlinks = status.downlinks;
    downlinks.retain(wanted);
    if let (true, Some(name)) = (downlinks.is_empty(), &args.name) {
        return Err(CliError::failed(name, "there is no downlink of this name"));
    }
    if args.json {
        let json = json::to_string(&downlinks);
        return term::print(&format!("{json}\n"));
    }
    if downlinks.is_empty() {
        term::note("no downlink is configured; [downlink.NAME] with bootstrap = [\"HOST:PORT\"] and topics is one");
        return Ok(());
    }
    let mut out = table(&downlinks, status.time_ms);
    for downlink in &downlinks {
        out.push_str(&details(downlink));
        out.push_str(&status_view::changes(&downlink.history, status.time_ms));
    }
    term::print(&out)
}

/// The downlinks, a row each.
pub(super) fn table(downlinks: &[DownlinkStatus], now_ms: i64) -> String {
    let mut table = Table::new(&["DOWNLINK", "STATE", ">BEHIND", ">BROUGHT", ">LEFT OUT", ">FAILURES", "LAST ERROR"]);
    for downlink in downlinks {
        let behind: u64 = downlink.partitions.iter().filter_map(|partition| partition.lag).sum();
        let error = downlink.last_error.as_ref().map_or(String::new(), |error| {
            let text: String = error.text.chars().take(TROUBLE_CHARS_MAX).collect();
            let ago = human_seconds(now_ms.saturating_sub(error.at_ms).max(0).unsigned_abs() / 1_000);
            format!("{ago} ago: {text}")
        });
        table.row([
            downlink.name.clone(),
            state(downlink, now_ms),
            human_count(behind),
            human_count(downlink.counts.records),
            human_count(downlink.counts.aborted + downlink.counts.looped),
            human_count(downlink.counts.failures),
            error,
        ]);
    }
    table.render()
}

fn state(downlink: &DownlinkStatus, now_ms: i64) -> String {
    match downlink.state {
        DownlinkState::Connecting => "connecting".to_owned(),
        DownlinkState::CatchingUp => "catching up".to_owned(),
        DownlinkState::CaughtUp => "caught up".to_owned(),
        DownlinkState::Paused => "paused".to_owned(),
        DownlinkState::Backoff => match downlink.retry_at_ms.map(|at| at - now_ms).filter(|ms| *ms > 0) {
            Some(ms) => format!("down, again in {} s", (ms + 999) / 1_000),
            None => "down".to_owned(),
        },
        DownlinkState::Stalled => format!("stalled ({})", downlink_stalls(downlink).len()),
        DownlinkState::Stopped => "stopped".to_owned(),
    }
}

/// Where a downlink reads from, what stands in its way, and how far each partition is.
fn details(downlink: &DownlinkStatus) -> String {
    let versions = downlink.versions.as_ref().map_or(String::new(), |versions| format!(" ({versions})"));
    let mut out = format!("\n{} from {}{versions}\n", downlink.name, downlink.bootstrap.join(", "));
    out.push_str(&status_view::link(&downlink.link));
    if let Some(error) = &downlink.last_error {
        out.push_str(&format!("last error, {}: {}\n", when::format_time(error.at_ms), error.text));
    }
    for stall in downlink_stalls(downlink) {
        out.push_str(&format!("{stall}\n"));
    }
    let counts = &downlink.counts;
    if counts.aborted + counts.looped + counts.gaps + counts.recreated > 0 {
        out.push_str(&format!(
            "left out: {} of aborted transactions, {} that had passed this gateway; {} offsets gone upstream, {} topics \
             made again there\n",
            human_count(counts.aborted),
            human_count(counts.looped),
            human_count(counts.gaps),
            human_count(counts.recreated)
        ));
    }
    let mut table = Table::new(&["UPSTREAM", ">PARTITION", "COMES TO", ">NEXT", ">END", ">BEHIND"]);
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
    for partition in &downlink.partitions {
        table.row([
            partition.topic.clone(),
            partition.partition.to_string(),
            format!("{}/{}", partition.local_topic, partition.local_partition),
            number(partition.position),
            number(partition.end),
            partition.lag.map_or("-".to_owned(), human_count),
        ]);
    }
    if table.is_empty() {
        out.push_str("it has found no topic yet\n");
    } else {
        out.push_str(&table.render());
    }
    out
}

/// Runs `downlink check`.
///
/// # Errors
/// A downlink would not work, or there is none.
pub(super) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let text = block_on(async {
        if args.config.is_some() {
            return check_from_here(args).await;
        }
        let mut connection = args.target.connect().await?;
        let status = GatewayStatus::parse(&connection.status().await?).map_err(CliError::Failed)?;
        let mut text = String::new();
        for downlink in status.downlinks {
            if args.name.as_ref().is_none_or(|name| *name == downlink.name) {
                text.push_str(&connection.uplink(UplinkAction::Check, &downlink.name).await?);
            }
        }
        Ok(text)
    })?;
    show_check(&text, args.json)
}

async fn check_from_here(args: &CheckArgs) -> Result<String, CliError> {
    let config = Config::load(&args.layers())?.config;
    let mut text = String::new();
    for (name, downlink) in config.downlinks {
        if args.name.as_ref().is_some_and(|only| *only != name) {
            continue;
        }
        let gateway = config.gateway.id.clone().unwrap_or_else(|| "brooklet".to_owned());
        text.push_str(&format!("{name}:\n"));
        let labels = config.gateway.labels.clone();
        let tls = gateway::link_tls(&format!("downlink.{name}"), (&downlink.tls, &downlink.sasl), config.clock.trust);
        for finding in check_downlink(&DownlinkOptions { name, gateway, labels, config: downlink, tls }).await {
            text.push_str(&format!("{finding}\n"));
        }
    }
    Ok(text)
}

/// Runs `downlink pause`.
///
/// # Errors
/// No gateway, or no such downlink.
pub(super) fn pause(args: &NameArgs) -> Result<(), CliError> {
    steer(Kind::Downlink, args, UplinkAction::Pause)
}

/// Runs `downlink resume`.
///
/// # Errors
/// No gateway, or no such downlink.
pub(super) fn resume(args: &NameArgs) -> Result<(), CliError> {
    steer(Kind::Downlink, args, UplinkAction::Resume)
}
